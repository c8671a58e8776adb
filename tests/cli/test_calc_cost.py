"""`llmdrill calc cost`: the pinned figures, every option, and nothing that turns an unknown price into zero."""

from __future__ import annotations

import sys

import pytest
from calc_cases import run, run_json

from llmdrill.errors import EXIT_CANNOT_RUN

USUAL = ("cost", "--input", "500", "--output", "200", "--model")


@pytest.mark.parametrize(("model", "usd"), [("gpt-4o", 3250), ("gpt-4o-mini", 195), ("claude-sonnet-4-5", 4500)])
@pytest.mark.parametrize("prices", ["catalogue", "genai"])
def test_a_million_requests_by_either_source(model: str, usd: float, prices: str) -> None:
    if prices == "genai":
        pytest.importorskip("genai_prices")
    found = run_json(*USUAL, model, "--requests", "1M", "--prices", prices)
    assert found["schema"] == "llmdrill/calc-cost@1"
    assert found["usd_total"] == usd
    assert found["total_tokens"] == 700_000_000
    assert found["usd_per_request"] == pytest.approx(usd / 1e6)
    assert found["usd_per_1000_requests"] == pytest.approx(usd / 1e3)
    assert found["usd_per_month"] is None
    assert found["price_date"] == "2026-11-10"
    assert "genai-prices 0.2.3" in found["price_source"]


def test_a_day_s_requests_make_a_month() -> None:
    found = run_json(*USUAL, "gpt-4o", "--per-day", "1200")
    assert found["usd_per_month"] == pytest.approx(0.00325 * 1200 * 365 / 12)
    assert run_json(*USUAL, "gpt-4o", "--per-month", "1M")["usd_per_month"] == pytest.approx(3250)


def test_every_kind_of_token_has_its_rate() -> None:
    words = ["cost", "--model", "claude-sonnet-4-5", "--input", "10k", "--cached", "6k", "--cache-write", "3k"]
    found = run_json(*words, "--output", "500", "--reasoning", "1000")
    parts = {"input": 1000 * 3, "read": 6000 * 0.3, "write": 3000 * 3.75, "output": 500 * 15, "thought": 1000 * 15}
    assert found["usd_total"] == pytest.approx(sum(parts.values()) / 1e6)
    rows = found["one_attempt"]
    assert [row["kind"] for row in rows] == [
        "input",
        "input read from cache",
        "input written to cache",
        "output",
        "reasoning",
    ]
    assert [row["usd"] for row in rows] == pytest.approx([part / 1e6 for part in parts.values()])
    pytest.importorskip("genai_prices")
    by_genai = run_json(*words, "--output", "500", "--reasoning", "1000", "--prices", "genai")
    assert by_genai["usd_total"] == pytest.approx(found["usd_total"])


def test_a_long_prompt_is_in_its_tier_and_a_batch_has_its_own_price() -> None:
    words = ("cost", "--model", "gemini-2.5-pro", "--output", "1000", "--input")
    short, long = run_json(*words, "200000"), run_json(*words, "200001")
    assert (short["tier_above_tokens"], long["tier_above_tokens"]) == (0, 200_000)
    assert short["usd_total"] == pytest.approx(0.26)
    assert long["usd_total"] == pytest.approx((200_001 * 2.5 + 15_000) / 1e6, rel=1e-5)
    assert any("above 200,000 tokens" in note for note in long["notes"])
    assert run_json(*words, "200001", "--batch")["usd_total"] == pytest.approx(long["usd_total"] / 2, rel=1e-5)


def test_failed_attempts_are_billed_unless_it_is_said_that_they_are_not() -> None:
    words = (*USUAL, "gpt-4o", "--requests", "1000", "--failures", "10%", "--retries", "2")
    billed, free = run_json(*words), run_json(*words, "--failures-free")
    assert billed["billed_attempts_per_request"] == pytest.approx(1.11)
    assert billed["usd_total"] == pytest.approx(3.25 * 1.11)
    assert billed["usd_per_answered_request"] == pytest.approx(0.00325 * 1.11 / 0.999, rel=1e-5)
    assert free["usd_total"] == pytest.approx(3.25 * 0.999)
    assert any("failed attempts are billed in full" in note for note in billed["notes"])
    assert any("failed attempts are not billed" in note for note in free["notes"])


def test_a_day_pins_the_price() -> None:
    words = ("cost", "--model", "o3", "--input", "1M", "--date")
    assert run_json(*words, "2025-06-09")["usd_total"] == 10
    assert run_json(*words, "2025-06-10")["usd_total"] == 2
    later = run_json(*words, "2027-01-01")
    assert any("2026-11-10: a change after that day is not known" in note for note in later["notes"])


def test_a_model_that_is_free_says_free() -> None:
    status, out, _ = run("cost", "--model", "gemma-4-31b-it", "--input", "1000", "--output", "10")
    assert status == 0
    assert out.startswith("Free of charge: $0 for 1 request.")
    assert run_json("cost", "--model", "gemma-4-31b-it", "--input", "1000")["free"] is True


def test_the_formula_is_shown_with_its_numbers() -> None:
    status, out, _ = run(*USUAL, "gpt-4o", "--requests", "1M", "--explain")
    assert status == 0
    assert "requests × (input_tokens × price + output_tokens × price) / 1,000,000" in out
    assert "1,000,000 × (500 × 2.5 + 200 × 10) / 1,000,000 = $3,250" in out


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ((*USUAL, "gpt-4o-mni"), "did you mean gpt-4o-mini"),
        ((*USUAL, "azure:gpt-4o"), "is openai's, not azure's"),
        ((*USUAL, "text-embedding-3-small"), "writes no tokens"),
        ((*USUAL, "llama-3.1-8b-instant", "--batch"), "no batch price"),
        ((*USUAL, "gpt-4o", "--cached", "501"), "are said to be cached"),
        ((*USUAL, "gpt-4o", "--per-day", "1", "--per-month", "1"), "not both"),
        ((*USUAL, "gpt-4o", "--failures", "100%"), "must be below 1"),
        ((*USUAL, "gpt-4o", "--retries", "1000"), "too many"),
        ((*USUAL, "gpt-4o", "--requests", "0"), "--requests"),
        ((*USUAL, "gpt-4o", "--requests", "nan"), "'nan'"),
        (("cost", "--model", "gpt-4o", "--input", "-5"), "--input"),
        ((*USUAL, "gpt-4oo-maxi", "--prices", "genai"), "model of genai-prices"),
    ],
)
def test_what_cannot_be_priced_is_refused(words: tuple[str, ...], what: str) -> None:
    if "genai" in words:
        pytest.importorskip("genai_prices")
    status, out, err = run(*words)
    assert status == EXIT_CANNOT_RUN
    assert what in err
    assert not out


def test_without_the_extra_its_name_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    status, _, err = run(*USUAL, "gpt-4o", "--prices", "genai")
    assert status == EXIT_CANNOT_RUN
    assert "llmdrill[prices]" in err


def test_a_price_without_a_first_day_is_not_said_to_have_held_before() -> None:
    early = run_json(*USUAL, "gpt-4o", "--date", "2020-01-01")
    assert any("does not say since when" in note for note in early["notes"])
    assert not any("since when" in note for note in run_json(*USUAL, "gpt-4o")["notes"])


def test_a_count_that_cannot_be_read_names_its_option() -> None:
    _, _, err = run("cost", "--model", "gpt-4o", "--input", "1,5")
    assert err.startswith("--input: ")
