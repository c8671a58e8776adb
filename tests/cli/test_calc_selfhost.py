"""`llmdrill calc selfhost`: rent per request and token, replicas, and the break-even."""

from __future__ import annotations

import pytest
from calc_cases import run, run_json

from llmdrill.errors import EXIT_CANNOT_RUN

USUAL = ("selfhost", "--input", "500", "--output", "200")
STATED = (*USUAL, "--usd-per-hour", "3.6", "--tokens-per-s", "1000")
PREDICTED = (*USUAL, "--on", "h100", "--model", "llama-3.1-8b", "--batch", "32")


def test_a_stated_throughput() -> None:
    found = run_json(*STATED, "--utilisation", "50%", "--per-month", "10M", "--against", "gpt-4o")
    assert found["schema"] == "llmdrill/calc-selfhost@1"
    assert found["requests_per_s"] == 5
    assert found["usd_per_request"] == pytest.approx(3.6 / 3600 / 2.5)
    assert found["usd_per_mtok_output"] == pytest.approx(2)
    assert found["usd_per_mtok_total"] == pytest.approx(2 * 200 / 700, rel=1e-5)
    assert found["replicas"] == 2  # one carries 2.5 * 3600 * 730 = 6.57M
    assert found["usd_per_month"] == pytest.approx(2 * 3.6 * 730)
    assert found["api_usd_per_request"] == pytest.approx(0.00325)
    assert found["break_even_requests_per_month"] == pytest.approx(3.6 * 730 / 0.00325, rel=1e-5)
    assert found["rent_source"] == "your figure"


def test_a_predicted_throughput_names_its_rent_and_has_a_band() -> None:
    found = run_json(*PREDICTED)
    assert found["throughput"] == "predicted"
    assert found["rent_source"].startswith("runpod, ")
    rate = 32 / (found["ttft_s"] + 199 * found["tpot_s"])
    assert found["requests_per_s"]["value"] == pytest.approx(rate, rel=1e-3)
    each = found["usd_per_request"]
    assert each["value"] == pytest.approx(3.99 / 3600 / rate / 0.5, rel=1e-3)
    assert each["low"] < each["value"] < each["high"]
    assert each["low"] * found["requests_per_s"]["high"] == pytest.approx(each["value"] * rate, rel=1e-3)


def test_more_load_and_less_rent_are_cheaper() -> None:
    shares = ("20%", "40%", "100%")
    costs = [run_json(*PREDICTED, "--utilisation", share)["usd_per_request"]["value"] for share in shares]
    assert costs == sorted(costs, reverse=True)
    assert costs[0] == pytest.approx(5 * costs[2], rel=1e-4)
    halved = run_json(*PREDICTED, "--utilisation", "100%", "--usd-per-hour", "1.995")["usd_per_request"]
    assert halved["value"] == pytest.approx(costs[2] / 2, rel=1e-4)


def test_the_break_even_is_said_in_words() -> None:
    _, dear, _ = run(*STATED, "--against", "gpt-4o")
    assert "cheaper than gpt-4o ($0.00325) from 809k requests a month on" in dear
    _, cheap, _ = run(*STATED, "--against", "gpt-6-luna", "--utilisation", "5%")
    assert "gpt-6-luna" in cheap
    assert "at any volume" in cheap
    found = run_json(*STATED, "--against", "gpt-6-luna", "--utilisation", "5%")
    assert found["break_even_requests_per_month"] is None


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (USUAL, "what does a device cost"),
        ((*USUAL, "--on", "h20", "--tokens-per-s", "100"), "knows no rent of 'h20-96gb': give --usd-per-hour"),
        ((*USUAL, "--on", "h101", "--tokens-per-s", "100"), "did you mean"),
        ((*USUAL, "--on", "h100", "--model", "llama-3.1-8b"), "give --on and --batch"),
        ((*PREDICTED, "--tokens-per-s", "100"), "one of the two"),
        ((*STATED, "--utilisation", "0"), "utilisation"),
        ((*STATED, "--utilisation", "120%"), "utilisation"),
        ((*STATED, "--against", "gemma-4-31b-it"), "free of charge"),
        ((*STATED, "--against", "gpt-4o-mni"), "did you mean gpt-4o-mini"),
        (("selfhost", "--input", "5", "--usd-per-hour", "1", "--tokens-per-s", "9"), "--output is missing"),
        (
            (*USUAL, "--on", "h100", "--model", "llama-3.1-70b", "--batch", "32"),
            "not even its weights fit",
        ),
    ],
)
def test_what_cannot_be_answered_is_refused(words: tuple[str, ...], what: str) -> None:
    status, out, err = run(*words)
    assert status == EXIT_CANNOT_RUN
    assert what in err
    assert not out


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ((*STATED, "--date", "2026-01-01"), "--against"),
        ((*STATED, "--engine", "vllm"), "one of the two"),
        ((*STATED, "--precision", "fp8"), "one of the two"),
        ((*STATED, "--per-month", "many"), "--per-month"),
    ],
)
def test_what_would_be_ignored_is_refused(words: tuple[str, ...], why: str) -> None:
    status, out, err = run(*words)
    assert (status, out) == (EXIT_CANNOT_RUN, "")
    assert why in err


def test_a_predicted_cost_shows_its_band_and_what_queues() -> None:
    _, out, _ = run(*PREDICTED)
    assert out.splitlines()[1].startswith("80 % band: $")
    assert "queue" not in out
    _, out, _ = run(*PREDICTED[:-1], "100k")
    assert "the others queue" in out


def test_the_rent_that_was_taken_is_in_the_json() -> None:
    assert run_json(*STATED)["usd_per_hour"] == 3.6


def test_a_utilisation_that_nobody_gave_is_said_to_be_assumed() -> None:
    assert any(note.startswith("assumed: 50% utilisation") for note in run_json(*STATED)["notes"])
    given = run_json(*STATED, "--utilisation", "50%")
    assert given["usd_per_request"] == run_json(*STATED)["usd_per_request"]
    assert not any("assumed" in note for note in given["notes"])
