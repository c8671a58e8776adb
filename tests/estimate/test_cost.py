"""Cost: the numbers of the pinned prices, laws, refusals."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.catalog.load import find_price, load_prices
from llmdrill.errors import UsageError
from llmdrill.estimate.checks import NumberError
from llmdrill.estimate.cost import (
    api_request_cost,
    api_request_usd,
    api_usd_per_month,
    api_usd_points,
    billed_rates,
    expected_attempts,
    explain_api_cost,
)

if TYPE_CHECKING:
    from llmdrill.catalog.records import Price

TIERED = [price for price in load_prices() if price.tiers]
PRICES = st.sampled_from(load_prices())
TOKENS = st.integers(0, 10**6)


@pytest.mark.parametrize(("model", "usd"), [("gpt-4o", 3250), ("gpt-4o-mini", 195), ("claude-sonnet-4-5", 4500)])
def test_a_million_requests_of_500_and_200_tokens(model: str, usd: float) -> None:
    one = api_request_usd(find_price(model), input_tokens=500, output_tokens=200)
    assert api_usd_per_month(usd_per_request=one, requests_per_month=1e6) == pytest.approx(usd, abs=1e-6)
    explained = explain_api_cost(find_price(model), requests=1e6, input_tokens=500, output_tokens=200)
    assert explained.value == pytest.approx(usd, abs=1e-6)
    assert f"= ${usd:,}" in explained.filled
    assert "2026-11-10" in explained.source


def test_batch_halves_and_the_cache_saves() -> None:
    price = find_price("claude-sonnet-4-5")
    plain = api_request_usd(price, input_tokens=1000, output_tokens=100)
    assert api_request_usd(price, input_tokens=1000, output_tokens=100, batch=True) == pytest.approx(plain / 2)
    cached = api_request_usd(price, input_tokens=1000, output_tokens=100, cached_input_tokens=1000)
    assert plain - cached == pytest.approx(1000 * (3 - 0.3) / 1e6)
    written = api_request_usd(price, input_tokens=1000, cache_write_tokens=1000)
    assert written == pytest.approx(3.75e-3)
    assert api_request_usd(price, input_tokens=1000, cache_write_tokens=1000, batch=True) == pytest.approx(1.875e-3)


def test_a_model_without_a_cached_price_charges_cached_input_in_full() -> None:
    price = find_price("llama-3.1-8b-instant")
    plain = api_request_usd(price, input_tokens=100)
    assert api_request_usd(price, input_tokens=100, cached_input_tokens=100) == plain


@given(first=TOKENS, second=TOKENS, output=TOKENS)
def test_cost_is_linear_so_the_mean_request_gives_the_mean_cost(first: int, second: int, output: int) -> None:
    price = find_price("gpt-4o-mini")
    costs = [api_request_usd(price, input_tokens=tokens, output_tokens=output) for tokens in (first, second)]
    mean = api_request_usd(price, input_tokens=(first + second) / 2, output_tokens=output)
    assert mean == pytest.approx(sum(costs) / 2, abs=1e-12)


@given(output=TOKENS, thinking=TOKENS)
def test_thinking_is_billed_as_output(output: int, thinking: int) -> None:
    price = find_price("o3")
    thought = api_request_usd(price, input_tokens=10, output_tokens=output, reasoning_tokens=thinking)
    assert thought == api_request_usd(price, input_tokens=10, output_tokens=output + thinking)


def test_what_has_no_price_is_refused() -> None:
    with pytest.raises(UsageError, match="no batch price"):
        api_request_usd(find_price("llama-3.1-8b-instant"), input_tokens=1, batch=True)
    with pytest.raises(UsageError, match="writes no tokens"):
        api_request_usd(find_price("text-embedding-3-small"), input_tokens=1, output_tokens=1)
    with pytest.raises(ValueError, match="said to be cached"):
        api_request_usd(find_price("gpt-4o"), input_tokens=1, cached_input_tokens=2)
    with pytest.raises(ValueError, match="input_tokens"):
        api_request_usd(find_price("gpt-4o"), input_tokens=-1)


@given(price=PRICES, many=st.integers(1, 10**9), prompt=TOKENS, answer=TOKENS)
def test_cost_is_linear_in_the_number_of_requests(price: Price, many: int, prompt: int, answer: int) -> None:
    answer = 0 if price.output_usd_per_mtok is None else answer
    one = explain_api_cost(price, requests=1, input_tokens=prompt, output_tokens=answer).value
    all_of_them = explain_api_cost(price, requests=many, input_tokens=prompt, output_tokens=answer).value
    assert all_of_them == pytest.approx(many * one, rel=1e-12)


@given(price=PRICES, shares=st.lists(TOKENS, min_size=4, max_size=4), answer=TOKENS)
def test_the_kinds_of_a_request_add_up_to_it(price: Price, shares: list[int], answer: int) -> None:
    plain, cached, written, thinking = shares
    writes = price.output_usd_per_mtok is not None
    tokens = {
        "input_tokens": plain + cached + written,
        "cached_input_tokens": cached,
        "cache_write_tokens": written,
        "output_tokens": answer if writes else 0,
        "reasoning_tokens": thinking if writes else 0,
    }
    parts = api_request_cost(price, batch=False, **tokens)
    assert parts.usd == pytest.approx(api_request_usd(price, batch=False, **tokens), rel=1e-12)


@given(price=PRICES, counts=st.lists(st.tuples(TOKENS, TOKENS, TOKENS), min_size=1, max_size=20))
def test_a_union_costs_the_sum_and_arrays_cost_what_each_element_does(
    price: Price, counts: list[tuple[int, int, int]]
) -> None:
    prompt, cached, answer = (np.array(column, dtype=float) for column in zip(*counts, strict=True))
    prompt += cached
    answer *= price.output_usd_per_mtok is not None
    points = api_usd_points(price, input_tokens=prompt, output_tokens=answer, cached_input_tokens=cached)
    each = [
        api_request_usd(price, input_tokens=a, cached_input_tokens=b, output_tokens=c)
        for a, b, c in zip(prompt, cached, answer, strict=True)
    ]
    assert points.tolist() == pytest.approx(each, rel=1e-12)
    half = len(counts) // 2
    parts = [
        api_usd_points(price, input_tokens=prompt[s], output_tokens=answer[s], cached_input_tokens=cached[s])
        for s in (slice(None, half), slice(half, None))
    ]
    assert points.sum() == pytest.approx(sum(part.sum() for part in parts), rel=1e-12)
    plain = api_usd_points(price, input_tokens=prompt, output_tokens=answer)
    assert (points <= plain * (1 + 1e-12)).all()


@given(price=PRICES, prompt=TOKENS, answer=TOKENS, more=TOKENS)
def test_more_tokens_never_cost_less_across_any_tier(price: Price, prompt: int, answer: int, more: int) -> None:
    writes = price.output_usd_per_mtok is not None
    answers = (answer, answer + more) if writes else (0, 0)
    costs = [
        api_request_usd(price, input_tokens=tokens, output_tokens=written)
        for tokens, written in itertools.product((prompt, prompt + more), answers)
    ]
    assert costs[0] == min(costs)
    assert costs[-1] == max(costs)


@pytest.mark.parametrize("price", TIERED, ids=lambda price: f"{price.name}-{price.since}")
def test_above_a_bound_every_token_of_the_request_costs_more(price: Price) -> None:
    for tier in price.tiers:
        at, above = (billed_rates(price, prompt_tokens=tier.above_tokens + extra) for extra in (0, 1))
        assert above.above_tokens == tier.above_tokens > at.above_tokens
        assert above.input > at.input
        cost = api_request_usd(price, input_tokens=tier.above_tokens + 1, output_tokens=100)
        assert cost == pytest.approx(((tier.above_tokens + 1) * above.input + 100 * (above.output or 0)) / 1e6)
        filled = explain_api_cost(price, requests=1, input_tokens=tier.above_tokens + 1)
        assert f"above {tier.above_tokens:,} tokens" in filled.source


def test_cached_tokens_count_for_the_tier() -> None:
    price = find_price("gemini-2.5-pro")
    cost = api_request_usd(price, input_tokens=250_000, cached_input_tokens=240_000)
    assert cost == pytest.approx((10_000 * 2.5 + 240_000 * 0.25) / 1e6)


@given(share=st.floats(0, 0.99), retries=st.integers(0, 20))
def test_expected_attempts_are_the_sum_over_what_can_happen(share: float, retries: int) -> None:
    once_more = [share**sent * (1 - share) * (sent + 1) for sent in range(retries)]
    never = share**retries * (retries + 1)
    assert expected_attempts(failure_share=share, retries=retries) == pytest.approx(sum(once_more) + never)


def test_attempts_at_the_ends() -> None:
    assert expected_attempts(failure_share=0, retries=5) == 1
    assert expected_attempts(failure_share=1, retries=5) == 6
    assert expected_attempts(failure_share=0.5, retries=10**6) == pytest.approx(2)
    with pytest.raises(NumberError):
        expected_attempts(failure_share=1.1, retries=1)
    with pytest.raises(NumberError):
        expected_attempts(failure_share=0.1, retries=-1)


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_arrays_with_impossible_counts_are_refused(bad: float) -> None:
    good = np.array([1.0, 2.0])
    with pytest.raises(NumberError):
        api_usd_points(find_price("gpt-4o"), input_tokens=np.array([1.0, bad]), output_tokens=good)
    with pytest.raises(NumberError):
        api_usd_points(find_price("gpt-4o"), input_tokens=good, output_tokens=np.array([bad, 1.0]))
    with pytest.raises(NumberError):
        api_usd_points(find_price("gpt-4o"), input_tokens=good, output_tokens=good, cached_input_tokens=good + 1)


def test_arrays_know_what_has_no_price() -> None:
    one = np.array([1.0])
    with pytest.raises(UsageError, match="writes no tokens"):
        api_usd_points(find_price("text-embedding-3-small"), input_tokens=one, output_tokens=one)
    with pytest.raises(UsageError, match="no batch price"):
        api_usd_points(find_price("llama-3.1-8b-instant"), input_tokens=one, output_tokens=one, batch=True)
    assert api_usd_points(find_price("gpt-4o"), input_tokens=one[:0], output_tokens=one[:0]).shape == (0,)
