"""`llmdrill calc cache`."""

from __future__ import annotations

import pytest
from calc_cases import run, run_json

from llmdrill.errors import EXIT_CANNOT_RUN

ANSWERS = ("cache", "--kind", "semantic", "--hit-rate", "30%", "--request-cost", "$0.01")
PREFIX = ("cache", "--kind", "prefix", "--model", "claude-sonnet-4-5", "--prefix", "8k", "--input", "10k")


def test_a_semantic_cache_pays_for_lookups_and_wrong_hits() -> None:
    found = run_json(*ANSWERS, "--lookup-cost", "$0.0001", "--wrong", "1%", "--wrong-cost", "$0.5", "--requests", "1M")
    assert found["schema"] == "llmdrill/calc-cache@1"
    cost = 0.0001 + 0.7 * 0.01 + 0.3 * 0.01 * 0.5
    assert found["usd_per_request"] == pytest.approx(cost, rel=1e-5)
    assert found["saved_usd"] == pytest.approx((0.01 - cost) * 1e6, rel=1e-5)
    assert found["wrong_hits_usd_per_request"] == pytest.approx(0.0015, rel=1e-5)
    assert found["break_even_hit_share"] == pytest.approx(0.0001 / (0.01 - 0.005), rel=1e-5)
    assert found["break_even_wrong_share"] == pytest.approx((0.3 * 0.01 - 0.0001) / (0.3 * 0.5), rel=1e-5)
    assert found["latency_mean_ms"] is None


def test_wrong_hits_can_eat_everything() -> None:
    status, out, _ = run(*ANSWERS, "--wrong", "10%", "--wrong-cost", "$1")
    assert status == 0
    assert "loses" in out
    assert "pays at no hit rate" in out


def test_latency_is_a_mixture_of_hits_and_misses() -> None:
    found = run_json(*ANSWERS, "--lookup", "20ms", "--latency", "2s", "--latency-p95", "6s")
    assert found["latency_p50_ms"] < 2000
    assert 2000 < found["latency_p95_ms"] < 6020
    assert found["saved_latency_mean_ms"] > 0
    fast = run_json(*ANSWERS[:3], "--hit-rate", "0.6", *ANSWERS[5:], "--lookup", "20ms", "--latency", "2s")
    assert fast["latency_p50_ms"] == 20


def test_the_price_comes_from_the_catalogue() -> None:
    found = run_json(
        "cache", "--kind", "exact", "--hit-rate", "50%", "--model", "gpt-4o-mini", "--input", "500", "--output", "200"
    )
    assert found["uncached_usd_per_request"] == 0.000195
    assert found["usd_per_request"] == pytest.approx(0.000195 / 2, rel=1e-5)
    assert found["price_date"] == "2026-11-10"
    assert not any("--wrong" in note for note in found["notes"])


def test_a_semantic_cache_without_wrong_hits_is_told_to_be_an_assumption() -> None:
    assert any(note.startswith("assumed: no hit is wrong") for note in run_json(*ANSWERS)["notes"])


def test_a_prefix_is_written_once_and_read_cheaply() -> None:
    found = run_json(*PREFIX, "--output", "500", "--reuses", "5", "--prefill", "800ms", "--requests", "1M")
    cost = (8000 * (5 / 6 * 0.3 + 1 / 6 * 3.75) + 2000 * 3 + 500 * 15) / 1e6
    assert found["usd_per_request"] == pytest.approx(cost, rel=1e-5)
    assert found["break_even_reuses"] == pytest.approx(0.75 / 2.7, rel=1e-5)
    assert found["saved_ttft_ms"] == pytest.approx(800 * 5 / 6 * 0.8, rel=1e-5)
    once = run_json(*PREFIX, "--reuses", "0")
    assert once["saved_usd_per_request"] == pytest.approx(-8000 * 0.75 / 1e6, rel=1e-5)


def test_a_short_prefix_is_warned_of() -> None:
    notes = run_json(*PREFIX[:5], "--prefix", "500", "--input", "1k", "--hit-rate", "1")["notes"]
    assert any("too few" in note for note in notes)
    assert not any("too few" in note for note in run_json(*PREFIX, "--hit-rate", "1")["notes"])


def test_every_figure_explains_itself() -> None:
    words = (*ANSWERS, "--wrong", "1%", "--wrong-cost", "1", "--latency", "2s", "--lookup-cost", "0.001")
    for found in (run_json(*words, "--explain"), run_json(*PREFIX, "--reuses", "2", "--prefill", "1s", "--explain")):
        for name, derivation in found["explained"].items():
            assert all(derivation.values()), name
            assert any(digit in derivation["filled"] for digit in "0123456789"), name


@pytest.mark.parametrize(
    "words",
    [
        (*ANSWERS[:3], "--request-cost", "1"),
        (*ANSWERS, "--reuses", "3"),
        (*ANSWERS, "--model", "gpt-4o"),
        (*ANSWERS, "--prefix", "5"),
        (*ANSWERS, "--wrong", "101%"),
        (*ANSWERS, "--wrong-cost", "-1"),
        (*ANSWERS, "--lookup-cost", "inf"),
        (*ANSWERS, "--lookup", "-5ms"),
        (*ANSWERS, "--latency", "0"),
        (*ANSWERS, "--latency", "2s", "--latency-p95", "1s"),
        (*ANSWERS, "--latency-p95", "1s"),
        (*ANSWERS, "--requests", "1e400"),
        ("cache", "--kind", "semantic", "--hit-rate", "1.1", "--request-cost", "1"),
        ("cache", "--kind", "semantic", "--hit-rate", "nan", "--request-cost", "1"),
        ("cache", "--kind", "semantic", "--hit-rate", "0.5"),
        ("cache", "--kind", "semantic", "--hit-rate", "0.5", "--model", "gpt-4o"),
        ("cache", "--kind", "semantic", "--hit-rate", "0.5", "--request-cost", "0"),
        ("cache", "--kind", "exact", "--hit-rate", "0.5", "--request-cost", "1", "--wrong", "1%"),
        (*PREFIX, "--hit-rate", "0.5", "--reuses", "1"),
        (*PREFIX, "--hit-rate", "0.5", "--wrong", "1%"),
        (*PREFIX, "--hit-rate", "0.5", "--lookup-cost", "1"),
        (*PREFIX, "--hit-rate", "0.5", "--latency", "1s"),
        (*PREFIX[:7], "--input", "100", "--hit-rate", "0.5"),
        ("cache", "--kind", "prefix", "--hit-rate", "0.5", "--prefix", "1k", "--input", "2k"),
        ("cache", "--kind", "prefix", "--model", "gpt-9", "--hit-rate", "1", "--prefix", "1k", "--input", "2k"),
        ("cache", "--kind", "prefix", "--model", "gpt-4o", "--hit-rate", "1", "--input", "2k"),
    ],
)
def test_bad_input_is_one_line(words: tuple[str, ...]) -> None:
    status, out, err = run(*words)
    assert (status, len(err.splitlines()), out) == (EXIT_CANNOT_RUN, 1, "")


@pytest.mark.parametrize("hits", [("--reuses", "2"), ("--hit-rate", "0"), ("--hit-rate", "1"), ("--hit-rate", "0.3")])
def test_a_prompt_that_is_all_prefix_is_no_mistake(hits: tuple[str, ...]) -> None:
    found = run_json("cache", "--kind", "prefix", "--model", "gpt-4o", "--input", "100", "--prefix", "100", *hits)
    assert found["usd_per_request"] == pytest.approx((100 - 50 * found["hit_share"]) * 2.5e-6, rel=1e-5)


def test_a_small_saving_beside_a_large_cost_is_exact() -> None:
    found = run_json(*PREFIX[:5], "--input", "99999", "--prefix", "1", "--hit-rate", "0.3", "--requests", "1k")
    assert found["saved_usd"] == pytest.approx(1000 * found["saved_usd_per_request"], rel=1e-5)


def test_a_loss_is_said_in_words() -> None:
    _, out, _ = run(*ANSWERS, "--requests", "1M", "--lookup-cost", "0.05")
    assert "it loses $" in out
    assert "-$" not in out


def test_another_provider_s_price_is_not_taken() -> None:
    words = ("--model", "azure:gpt-4o", "--input", "2k", "--hit-rate", "0.5")
    for kind in (("exact",), ("prefix", "--prefix", "1k")):
        status, _, err = run("cache", "--kind", *kind, *words)
        assert status == EXIT_CANNOT_RUN
        assert "openai's, not azure's" in err
