"""`llmdrill calc agent`."""

from __future__ import annotations

import pytest
from calc_cases import run, run_json

from llmdrill.errors import EXIT_CANNOT_RUN, EXIT_NO

LOOP = ("agent", "--steps", "10", "--base", "2000", "--output", "150", "--observation", "350")


def test_a_loop_grows_quadratically_and_a_prefix_cache_writes_linearly() -> None:
    found = run_json(*LOOP, "--model", "claude-sonnet-4-5")
    assert found["schema"] == "llmdrill/calc-agent@1"
    assert found["input_tokens"] == 10 * 2000 + 500 * 45
    assert found["cache_write_tokens"] == 2000 + 9 * 500
    assert found["cached_input_tokens"] == found["input_tokens"] - found["cache_write_tokens"]
    plain = (found["input_tokens"] * 3 + 1500 * 15) / 1e6
    cached = (found["cached_input_tokens"] * 0.3 + found["cache_write_tokens"] * 3.75 + 1500 * 15) / 1e6
    assert found["usd_per_run"] == pytest.approx(plain, rel=1e-5)
    assert found["cached_usd_per_run"] == pytest.approx(cached, rel=1e-5)
    assert found["latency_s"] is None
    last = found["by_step"][-1]
    assert last["usd_so_far"] == pytest.approx(found["usd_per_run"], rel=1e-5)
    assert last["cached_usd_so_far"] == pytest.approx(found["cached_usd_per_run"], rel=1e-5)


def test_a_cache_that_loses_entries_saves_less() -> None:
    words = (*LOOP, "--model", "claude-sonnet-4-5")
    full, half, none = (run_json(*words, "--cache-hit", hit)["cached_usd_per_run"] for hit in ("1", "50%", "0"))
    assert full < half < none
    assert none > run_json(*words)["usd_per_run"]  # writing costs a quarter more


def test_own_prices_are_those_of_self_hosted_tokens() -> None:
    found = run_json(*LOOP, "--input-price", "$0.1", "--output-price", "$0.4")
    assert found["usd_per_run"] == pytest.approx((42500 * 0.1 + 1500 * 0.4) / 1e6, rel=1e-5)
    assert found["cached_usd_per_run"] == found["usd_per_run"]
    assert found["price_source"] == "your own prices"


def test_latency_adds_up_and_prefill_is_what_caching_saves() -> None:
    words = (*LOOP, "--ttft", "500ms", "--tpot", "20ms", "--tool", "1s")
    flat = run_json(*words)
    assert flat["latency_s"] == pytest.approx(10 * (0.5 + 149 * 0.02 + 1), rel=1e-5)
    assert flat["cached_latency_s"] == flat["latency_s"]
    growing = run_json(*words, "--prefill-rate", "5k/s")
    assert growing["latency_s"] == pytest.approx(flat["latency_s"] + 42500 / 5000, rel=1e-5)
    assert growing["cached_latency_s"] == pytest.approx(flat["latency_s"] + 6500 / 5000, rel=1e-5)


def test_a_plan_with_small_executors_is_cheaper_than_a_long_loop() -> None:
    words = ("agent", "--steps", "30", *LOOP[3:], "--model", "claude-sonnet-4-5", "--plan", "600")
    words = (*words, "--executor-base", "300", "--executor-model", "claude-haiku-4-5", "--ttft", "1s", "--tpot", "20ms")
    found, parallel = run_json(*words), run_json(*words, "--parallel")
    assert found["plan_input_tokens"] == 2000 + 30 * (300 + 20 + 350) + 2000 + 600 + 30 * 150
    assert found["plan_usd_per_run"] < found["usd_per_run"]
    assert parallel["plan_latency_s"] < found["plan_latency_s"]
    assert parallel["plan_usd_per_run"] == found["plan_usd_per_run"]
    assert not any(note.startswith("assumed for the plan") for note in found["notes"])


def test_the_odds_of_a_chain_need_no_tokens() -> None:
    found = run_json("agent", "--steps", "20", "--step-success", "0.95")
    assert found["success_share"] == found["unaided_success_share"] == pytest.approx(0.358486, abs=1e-6)
    assert found["input_tokens"] is None
    aided = run_json(
        *("agent", "--steps", "20", "--step-success", "95%"),
        *("--retries", "1", "--checkpoint", "5", "--restarts", "1", "--detected", "80%"),
    )
    assert aided["unaided_success_share"] == found["success_share"] < aided["success_share"]
    assert aided["step_success_share"] == pytest.approx(0.95 * (1 + 0.05 * 0.8), rel=1e-5)
    assert aided["attempts_per_step"] == pytest.approx(1.04, rel=1e-5)


def test_an_assertion_can_gate_the_odds() -> None:
    status, _, err = run("agent", "--steps", "20", "--step-success", "95%", "--assert", "success_share >= 50%")
    assert (status, "success_share" in err) == (EXIT_NO, True)


def test_a_long_loop_s_table_stays_readable() -> None:
    rows = run_json("agent", "--steps", "1000", *LOOP[3:])["by_step"]
    assert len(rows) <= 40
    assert rows[-1]["step"] == 1000


def test_every_figure_explains_itself() -> None:
    words = ("--model", "gpt-4o", "--ttft", "1s", "--tpot", "20ms", "--step-success", "0.9", "--restarts", "1")
    found = run_json(*LOOP, *words, "--explain")
    for name, derivation in found["explained"].items():
        assert all(derivation.values()), name
        assert any(digit in derivation["filled"] for digit in "0123456789"), name
    assert "10 × 2,000 + 500 × 10 × (10 − 1) / 2 = 42,500" in found["explained"]["input_tokens"]["filled"]


@pytest.mark.parametrize(
    "words",
    [
        ("agent", "--steps", "10"),
        ("agent", "--steps", "10", "--base", "100"),
        ("agent", "--steps", "10", "--base", "100", "--step-success", "0.9"),
        ("agent", "--steps", "0", *LOOP[3:]),
        ("agent", "--steps", "2.5", *LOOP[3:]),
        ("agent", "--steps", "1M", *LOOP[3:]),
        ("agent", "--steps", "1e400", *LOOP[3:]),
        ("agent", "--steps", "nan", *LOOP[3:]),
        (*LOOP, "--model", "gpt-9"),
        (*LOOP, "--model", "text-embedding-3-small"),
        (*LOOP, "--model", "gpt-4o", "--input-price", "1"),
        (*LOOP, "--input-price", "1"),
        (*LOOP, "--input-price", "-1", "--output-price", "1"),
        (*LOOP, "--cache-hit", "2"),
        (*LOOP, "--ttft", "1s"),
        (*LOOP, "--tool", "1s"),
        (*LOOP, "--ttft", "1s", "--tpot", "-1ms"),
        (*LOOP, "--ttft", "1s", "--tpot", "1ms", "--prefill-rate", "0"),
        (*LOOP, "--plan", "0"),
        (*LOOP, "--step-success", "1.1"),
        (*LOOP, "--retries", "1"),
        (*LOOP, "--step-success", "0.9", "--retries", "-1"),
        (*LOOP, "--step-success", "0.9", "--checkpoint", "0"),
        (*LOOP, "--step-success", "0.9", "--detected", "inf"),
    ],
)
def test_bad_input_is_one_line(words: tuple[str, ...]) -> None:
    status, out, err = run(*words)
    assert (status, len(err.splitlines()), out) == (EXIT_CANNOT_RUN, 1, "")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ((*LOOP, "--model", "azure:gpt-4o"), "openai's, not azure's"),
        ((*LOOP, "--executor-model", "gpt-4o-mini"), "planner's price"),
        ((*LOOP, "--step-success", "0.9", "--checkpoint", "2"), "--restarts"),
        (("agent", "--steps", "5", "--step-success", "0.9", "--model", "gpt-4o"), "--base and --output"),
        (("agent", "--steps", "5", "--step-success", "0.9", "--ttft", "1s", "--tpot", "20ms"), "--base and --output"),
    ],
)
def test_what_would_be_ignored_is_refused(words: tuple[str, ...], why: str) -> None:
    status, out, err = run(*words)
    assert (status, out) == (EXIT_CANNOT_RUN, "")
    assert why in err


def test_one_step_is_told_as_one() -> None:
    _, out, _ = run("agent", "--steps", "1", "--base", "100", "--output", "10", "--step-success", "0.9")
    assert out.startswith("1 step reads 100 tokens and writes 10\n")
    assert "the step succeeds with probability 90%" in out


def test_a_prompt_too_short_to_be_cached_is_said() -> None:
    words = ("agent", "--steps", "3", "--output", "10", "--model", "gpt-4o", "--base")
    assert any("from 1,024 tokens on" in note for note in run_json(*words, "1023")["notes"])
    assert not any("from 1,024 tokens on" in note for note in run_json(*words, "1024")["notes"])
