"""Agents: a paper's formula, a simulated chain, laws, refusals."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.catalog.load import find_price
from llmdrill.estimate.agents import (
    Call,
    call_latency_s,
    call_usd,
    chain_success_share,
    expected_attempts,
    loop_calls,
    loop_input_tokens,
    plan_calls,
    retried_share,
)
from llmdrill.estimate.checks import NumberError
from llmdrill.estimate.cost import BilledRates, api_request_usd, billed_rates

STEPS = st.integers(1, 60)
TOKENS = st.integers(0, 20_000)
SHARES = st.floats(0, 1)


def rewoo_input_tokens(steps: int, base: float, growth: float) -> float:
    """Return equation 1 of ReWOO: k times what is fixed, and (k - j) times the tokens of step j."""
    return steps * base + sum((steps - j) * growth for j in range(1, steps))


@given(steps=STEPS, base=TOKENS, output=TOKENS, observation=TOKENS)
def test_a_loop_reads_what_rewoo_s_equation_says(steps: int, base: int, output: int, observation: int) -> None:
    calls = loop_calls(steps=steps, base_tokens=base, output_tokens=output, observation_tokens=observation)
    total = loop_input_tokens(steps=steps, base_tokens=base, growth_tokens=output + observation)
    assert total == sum(call.input_tokens for call in calls) == rewoo_input_tokens(steps, base, output + observation)


@given(base=st.integers(0, 100), growth=st.integers(1, 5000))
def test_the_growth_is_quadratic(base: int, growth: int) -> None:
    few, many = (loop_input_tokens(steps=n, base_tokens=0, growth_tokens=growth) for n in (1000, 2000))
    assert many / few == pytest.approx(4, rel=0.01)


@given(steps=STEPS, base=TOKENS, output=TOKENS, observation=TOKENS, hit=SHARES)
def test_with_a_prefix_cache_every_token_is_read_or_written_once(
    steps: int, base: int, output: int, observation: int, hit: float
) -> None:
    calls = loop_calls(
        steps=steps,
        base_tokens=base,
        output_tokens=output,
        observation_tokens=observation,
        cached=True,
        hit_share=hit,
    )
    for before, call in itertools.pairwise(calls):
        assert call.read_tokens == pytest.approx(hit * before.input_tokens)
    for call in calls:
        assert call.read_tokens + call.write_tokens == pytest.approx(call.input_tokens)
    if hit == 1:  # what is written, in all, is the last prompt: linear in the steps
        assert sum(call.write_tokens for call in calls) == pytest.approx(calls[-1].input_tokens)


def test_one_step_costs_what_an_api_request_costs() -> None:
    price = find_price("claude-sonnet-4-5")
    call = Call("step", 5000, 300, read_tokens=3000, write_tokens=1500)
    expected = api_request_usd(
        price, input_tokens=5000, output_tokens=300, cached_input_tokens=3000, cache_write_tokens=1500
    )
    assert call_usd(billed_rates(price, prompt_tokens=5000), call) == pytest.approx(expected)


@given(steps=st.integers(2, 60), base=st.integers(1, 20_000), growth=st.integers(1, 5000))
def test_caching_never_costs_more_where_writing_is_free_and_pays_from_the_second_step(
    steps: int, base: int, growth: int
) -> None:
    rates = BilledRates(input=3.0, output=15.0, cached_input=0.3, cache_write=3.0)

    def usd(*, cached: bool) -> float:
        calls = loop_calls(steps=steps, base_tokens=base, output_tokens=growth, observation_tokens=0, cached=cached)
        return sum(call_usd(rates, call) for call in calls)

    assert usd(cached=True) < usd(cached=False)


@given(steps=STEPS, output=TOKENS, observation=TOKENS, plan=TOKENS, executor=TOKENS)
def test_a_plan_is_linear_in_its_steps_where_a_loop_is_not(
    steps: int, output: int, observation: int, plan: int, executor: int
) -> None:
    def read(count: int) -> float:
        calls = plan_calls(
            steps=count,
            base_tokens=2000,
            output_tokens=output,
            observation_tokens=observation,
            plan_tokens=plan,
            executor_tokens=executor,
        )
        assert len(calls) == count + 2
        return sum(call.input_tokens for call in calls)

    each = executor + observation + output
    assert read(2 * steps) - read(steps) == pytest.approx(steps * each, abs=1e-6)


def test_time_adds_up_and_a_read_prefix_is_not_read_again() -> None:
    whole = call_latency_s(Call("step", 8000, 1), ttft_s=0.2, tpot_s=1, tool_s=2, prefill_tokens_per_s=8000)
    assert whole == pytest.approx(0.2 + 1 + 0 + 2)
    cached = call_latency_s(
        Call("step", 8000, 1, read_tokens=6000), ttft_s=0.2, tpot_s=1, tool_s=2, prefill_tokens_per_s=8000
    )
    assert cached == pytest.approx(0.2 + 0.25 + 2)
    assert call_latency_s(Call("planner", 1, 1, uses_tool=False), ttft_s=0, tpot_s=0, tool_s=9) == 0


def test_twenty_steps_at_95_percent_succeed_36_times_in_a_hundred() -> None:
    assert chain_success_share(step_share=0.95, steps=20) == pytest.approx(0.358, abs=0.0005)


def test_a_simulated_chain_succeeds_as_often() -> None:
    rng = np.random.default_rng(17)
    runs, steps, every, restarts, retries, p, detected = 40_000, 9, 4, 2, 1, 0.8, 0.7

    def attempt(chance: float, many: int) -> tuple[bool, bool]:
        """Return whether one of many + 1 attempts succeeds, and whether the failure was noticed."""
        for _ in range(many + 1):
            if rng.random() < chance:
                return True, True
            if rng.random() >= detected:
                return False, False
        return False, True

    step = sum(attempt(p, retries)[0] for _ in range(runs)) / runs
    assert step == pytest.approx(retried_share(success_share=p, retries=retries, detected_share=detected), abs=0.01)
    exact = retried_share(success_share=p, retries=retries, detected_share=detected)
    done = 0
    for _ in range(runs):
        segments = [exact**length for length in (every, every, steps - 2 * every)]
        done += all(attempt(chance, restarts)[0] for chance in segments)
    expected = chain_success_share(
        step_share=p,
        steps=steps,
        retries=retries,
        checkpoint_steps=every,
        restarts=restarts,
        detected_share=detected,
    )
    assert done / runs == pytest.approx(expected, abs=0.01)


@given(p=SHARES, steps=STEPS, retries=st.integers(0, 5), every=st.integers(1, 60), restarts=st.integers(0, 5))
def test_retries_and_checkpoints_never_hurt(p: float, steps: int, retries: int, every: int, restarts: int) -> None:
    alone = chain_success_share(step_share=p, steps=steps)
    assert alone == pytest.approx(p**steps)
    retried = chain_success_share(step_share=p, steps=steps, retries=retries)
    restarted = chain_success_share(step_share=p, steps=steps, retries=retries, restarts=restarts)
    saved = chain_success_share(step_share=p, steps=steps, retries=retries, restarts=restarts, checkpoint_steps=every)
    assert 0 <= alone <= retried + 1e-12
    assert retried <= restarted + 1e-12
    assert restarted <= saved + 1e-12
    assert saved <= 1 + 1e-12


@given(p=SHARES, retries=st.integers(0, 20), detected=SHARES)
def test_attempts_are_between_one_and_all(p: float, retries: int, detected: float) -> None:
    attempts = expected_attempts(success_share=p, retries=retries, detected_share=detected)
    assert 1 - 1e-12 <= attempts <= retries + 1 + 1e-9
    series = sum(((1 - p) * detected) ** k for k in range(retries + 1))
    assert attempts == pytest.approx(series, rel=1e-6)
    assert retried_share(success_share=p, retries=retries, detected_share=0) == pytest.approx(p)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(NumberError, match="steps"):
        loop_input_tokens(steps=0, base_tokens=1, growth_tokens=1)
    with pytest.raises(NumberError, match="growth_tokens"):
        loop_input_tokens(steps=1, base_tokens=1, growth_tokens=-1)
    with pytest.raises(NumberError, match="hit_share"):
        loop_calls(steps=1, base_tokens=1, output_tokens=1, observation_tokens=1, hit_share=2)
    with pytest.raises(NumberError, match="success_share"):
        chain_success_share(step_share=1.5, steps=2)
    with pytest.raises(NumberError, match="retries"):
        expected_attempts(success_share=0.5, retries=-1)
    with pytest.raises(NumberError, match="prefill_tokens_per_s"):
        call_latency_s(Call("step", 1, 1), ttft_s=0, tpot_s=0, prefill_tokens_per_s=0)
