"""The commands of `llmdrill calc`, run in this process."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from calc_cases import run, run_json

from llmdrill.errors import EXIT_CANNOT_RUN

if TYPE_CHECKING:
    from pathlib import Path

NUMBERS = ("--layers", "80", "--kv-heads", "8", "--head-dim", "128")


def test_kv_of_a_70b_shape_at_100k_tokens() -> None:
    found = run_json("kv", *NUMBERS, "--context", "100000", "--dtype", "fp16")
    assert found["schema"] == "llmdrill/calc-kv@1"
    assert found["kv_cache_bytes"] == 32_768_000_000
    by_name = run_json("kv", "--model", "llama-3.1-70b", "--context", "100k")
    assert by_name["kv_cache_bytes"] == found["kv_cache_bytes"]


def test_kv_from_a_config_file_says_what_was_guessed(tmp_path: Path) -> None:
    config = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 10}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = run_json("kv", "--config", str(tmp_path / "config.json"), "--context", "10", "--sequences", "3")
    assert found["kv_cache_bytes"] == 2 * 2 * 4 * 16 * 2 * 10 * 3
    assert any("num_key_value_heads" in note for note in found["notes"])


def test_cost_of_a_million_requests() -> None:
    words = ("cost", "--model", "gpt-4o-mini", "--input", "500", "--output", "200", "--requests", "1M")
    found = run_json(*words)
    assert found["usd_total"] == 195
    assert found["usd_per_request"] == 0.000195
    assert found["price_date"] == "2026-11-10"
    assert "genai-prices" in found["price_source"]
    assert run_json(*words, "--batch")["usd_total"] == 97.5
    assert run_json(*words, "--cached", "500")["usd_total"] == 157.5


def test_tokens_from_text_file_and_standard_input_agree(tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text("x" * 420)
    for words, stdin in ((("--text", "x" * 420), None), ((str(file),), None), (("-",), "x" * 420)):
        found = run_json("tokens", "--approximate", *words, stdin=stdin)
        assert (found["tokens"], found["exact"]) == (100, False)


def test_explain_shows_formula_then_numbers_then_source() -> None:
    _, out, _ = run("kv", *NUMBERS, "--context", "100000", "--explain")
    lines = out.splitlines()
    first = next(place for place, line in enumerate(lines) if line.startswith("kv_cache_bytes = "))
    formula, filled, source = lines[first : first + 3]
    assert "kv_heads × head_dim" in formula
    assert "2 × 8 × 128 × 80 × 100,000 × 2 × 1 = 32,768,000,000 B" in filled
    assert "arXiv:2309.06180" in source
    assert run_json("kv", *NUMBERS, "--context", "1", "--explain")["explained"]["kv_cache_bytes"]["source"] in source


@pytest.mark.parametrize(
    ("assertion", "holds"),
    [
        ("kv_cache_bytes <= 40GB", True),
        ("kv_cache_bytes<30.5GiB", False),
        ("kv_cache_bytes > 32GB", True),
        ("kv_cache_bytes == 32768000000", True),
        ("kv_cache_bytes != 32768000000", False),
        ("kv_cache_bytes >= 33GB", False),
    ],
)
def test_an_assertion_decides_the_exit_status_and_the_failing_line_is_told(assertion: str, holds: bool) -> None:
    status, out, err = run("kv", *NUMBERS, "--context", "100000", "--json", "--assert", assertion)
    assert status == (0 if holds else 1)
    assert json.loads(out)["kv_cache_bytes"] == 32_768_000_000
    assert (assertion in err) is not holds


def test_every_failing_assertion_is_told() -> None:
    words = ("cost", "--model", "gpt-4o", "--input", "500", "--output", "200", "--requests", "1M")
    status, _, err = run(*words, "--assert", "usd_total < $3k", "--assert", "usd_per_request <= 0.4c")
    assert status == 1
    assert "usd_total < $3k (it is $3,250.00)" in err
    assert "usd_per_request" not in err


@pytest.mark.parametrize(
    "words",
    [
        ("kv", *NUMBERS, "--context", "-5"),
        ("kv", *NUMBERS, "--context", "0"),
        ("kv", *NUMBERS, "--context", "NaN"),
        ("kv", *NUMBERS, "--context", "1e400"),
        ("kv", *NUMBERS, "--context", "1e30"),
        ("kv", *NUMBERS, "--context", "1.5"),
        ("kv", *NUMBERS),
        ("kv", *NUMBERS, "--context", "1", "--dtype", "fp17"),
        ("kv", *NUMBERS[:4], "--context", "1"),
        ("kv", *NUMBERS, "--model", "gpt2", "--context", "1"),
        ("kv", "--model", "gpt-5", "--context", "1"),
        ("kv", "--model", "all-minilm-l6-v2", "--context", "1"),
        ("kv", "--config", "/no/such/config.json", "--context", "1"),
        ("kv", *NUMBERS, "--context", "1", "--assert", "kv_cache_bytes is small"),
        ("kv", *NUMBERS, "--context", "1", "--assert", "kv_cash_bytes < 1GB"),
        ("kv", *NUMBERS, "--context", "1", "--assert", "kv_cache_bytes < 1 parsec"),
        ("cost", "--model", "gpt-9", "--input", "5"),
        ("cost", "--model", "gpt-4o", "--input", "0"),
        ("cost", "--model", "gpt-4o", "--input", "5", "--cached", "6"),
        ("cost", "--model", "gpt-4o", "--input", "5", "--requests", "1e400"),
        ("tokens", "--approximate"),
        ("tokens", "--approximate", "/"),
        ("tokens", "--text", "x"),
        ("tokens", "--text", "x", "--encoding", "o200k_base", "--model", "gpt-4o"),
    ],
)
def test_bad_input_is_one_clear_line_and_status_2(words: tuple[str, ...]) -> None:
    status, out, err = run(*words)
    assert status == EXIT_CANNOT_RUN
    assert len(err.splitlines()) == 1
    assert "Traceback" not in out + err


def test_a_file_that_is_no_utf_8_is_refused_at_its_line(tmp_path: Path) -> None:
    file = tmp_path / "latin.txt"
    file.write_bytes(b"one\ntwo \xe9\n")
    _, _, err = run("tokens", "--approximate", str(file))
    assert f"{file}:2:1: is not UTF-8" in err


def test_a_calculation_imports_nothing_heavy() -> None:
    heavy = ["numpy", "pydantic", "torch", "tiktoken", "yaml"]
    code = (
        "import sys\n"
        "from llmdrill.cli.calc import build_group\n"
        f"build_group(['kv'])({['kv', *NUMBERS, '--context', '1', '--json']!r}, standalone_mode=False)\n"
        f"sys.exit(' '.join(name for name in {heavy!r} if name in sys.modules) or 0)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
