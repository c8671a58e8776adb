"""`llmdrill calc batching`."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from calc_cases import run, run_json

from llmdrill.errors import EXIT_CANNOT_RUN

TRACES = Path(__file__).parents[3] / "shared" / "data" / "traces"


def test_two_dice_of_answers() -> None:
    found = run_json("batching", "--batch", "2", "--lengths", "1,2,3,4,5,6")
    assert found["schema"] == "llmdrill/calc-batching@1"
    assert found["throughput_ratio"] == pytest.approx(161 / 36 / 3.5, rel=1e-5)
    assert found["wasted_slots_share"] == pytest.approx(1 - 3.5 / (161 / 36), rel=1e-5)


def test_percentiles_make_a_lognormal() -> None:
    found = run_json("batching", "--batch", "32", "--p50", "200", "--p95", "800")
    assert found["mean_tokens"] == pytest.approx(285.28, rel=1e-4)
    assert found["throughput_ratio"] == pytest.approx(found["expected_longest_tokens"] / found["mean_tokens"], rel=1e-4)
    assert found["throughput_ratio_in_order"] is None
    assert found["by_batch"][0]["throughput_ratio"] == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\n0,9,10\n1,9,30\n2,9,0\n"),
        ("a.jsonl", '{"timestamp": 0, "output_length": 10}\n\n{"timestamp": 1, "output_length": 30}\n'),
    ],
)
def test_traces_are_read_plain_and_gzipped_and_from_standard_input(tmp_path: Path, name: str, text: str) -> None:
    plain, packed = tmp_path / name, tmp_path / f"{name}.gz"
    plain.write_text(text)
    packed.write_bytes(gzip.compress(text.encode()))
    for trace, stdin in ((str(plain), None), (str(packed), None), ("-", text)):
        found = run_json("batching", "--batch", "2", "--trace", trace, stdin=stdin)
        assert (found["answers"], found["mean_tokens"]) == (2, 20)
        assert found["throughput_ratio_in_order"] == 1.5
    named = tmp_path / "b.csv"
    named.write_text("n\n10\n30\n")
    assert run_json("batching", "--batch", "2", "--trace", str(named), "--column", "n")["mean_tokens"] == 20


@pytest.mark.skipif(not TRACES.exists(), reason="the traces lie beside the repository, and are not there")
def test_real_services_waste_most_of_a_static_batch() -> None:
    waste = {
        name: run_json("batching", "--batch", "32", "--trace", str(TRACES / name))["wasted_slots_share"]
        for name in ("azure_2023_code_first_half.csv", "azure_2023_conv_first_half.csv")
    }
    waste["mooncake"] = run_json(
        "batching", "--batch", "32", "--trace", str(TRACES / "mooncake_conversation_first40pct.jsonl.gz")
    )["wasted_slots_share"]
    assert all(0.5 < share < 0.95 for share in waste.values()), waste


def test_the_formula_is_shown_with_its_numbers() -> None:
    _, out, _ = run("batching", "--batch", "2", "--lengths", "10,30", "--explain")
    assert "25 / 20 = 1.25 times, at batch 2" in out
    assert "Orca" in out


@pytest.mark.parametrize(
    "words",
    [
        ("--batch", "8"),
        ("--batch", "0", "--lengths", "5"),
        ("--batch", "2.5", "--lengths", "5"),
        ("--batch", "1e400", "--lengths", "5"),
        ("--batch", "1B", "--lengths", "5"),
        ("--batch", "8", "--lengths", ""),
        ("--batch", "8", "--lengths", "5,,6"),
        ("--batch", "8", "--lengths", "5,-6"),
        ("--batch", "8", "--lengths", "nan"),
        ("--batch", "8", "--p50", "10"),
        ("--batch", "8", "--p50", "10", "--p95", "5"),
        ("--batch", "8", "--p50", "10", "--p95", "50", "--lengths", "5"),
        ("--batch", "8", "--lengths", "5", "--column", "n"),
        ("--batch", "8", "--trace", "/no/such/file.csv"),
        ("--batch", "8", "--trace", "/"),
        ("--batch", "8", "--trace", "/no/such/file.jsonl.gz"),
    ],
)
def test_bad_input_is_one_line(words: tuple[str, ...]) -> None:
    status, out, err = run("batching", *words)
    assert (status, len(err.splitlines()), out) == (EXIT_CANNOT_RUN, 1, "")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (b"a,b\n1,2\n", ":2:1: has none of the columns"),
        (b"output_tokens\n5\nmany\n", ":3:1: output_tokens is no count"),
        (b"output_tokens\n-5\n", ":2:1: output_tokens is no count"),
        (b"output_tokens\n1e999\n", ":2:1: output_tokens is no count"),
        (b"output_tokens\n0\n", "holds no request with output tokens"),
        (b"", "holds no request with output tokens"),
        (b"output_tokens\n1,000\n", ":2:1: has more cells than the header"),
        (b'{"output_length": 5}\n{"output_length"\n', ":2:"),
        (b"[1]\n", ":1:1: is no JSON object"),
        (b'{"output_length": %s}\n' % (b"9" * 400), ":1:"),
        (b'{"output_length": null}\n', ":1:1: output_length is no count"),
        (b"output_tokens\n\xff\n", "is not UTF-8"),
        (b"output_tokens\n" + b"x" * 200_000 + b"\n", ":"),
    ],
)
def test_a_trace_that_cannot_be_read_is_told_with_its_place(tmp_path: Path, text: bytes, place: str) -> None:
    file = tmp_path / "trace"
    file.write_bytes(text)
    status, out, err = run("batching", "--batch", "2", "--trace", str(file))
    assert (status, len(err.splitlines()), out) == (EXIT_CANNOT_RUN, 1, "")
    assert place in err


def test_half_a_gzip_file_is_no_traceback(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv.gz"
    file.write_bytes(gzip.compress(b"output_tokens\n" + b"5\n" * 1000)[:20])
    status, _, err = run("batching", "--batch", "2", "--trace", str(file))
    assert (status, len(err.splitlines())) == (EXIT_CANNOT_RUN, 1)


def test_large_ratios_and_lengths_have_no_exponents() -> None:
    _, out, _ = run("batching", "--batch", "100k", "--p50", "100", "--p95", "10k")
    assert "e+" not in out
