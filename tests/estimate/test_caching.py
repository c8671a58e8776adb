"""Caches: published prices, a simulated cache, laws, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from llmdrill.catalog.load import find_price
from llmdrill.estimate.caching import (
    break_even_hit_share,
    break_even_prefix_hit_share,
    break_even_reuses,
    break_even_wrong_share,
    cached_latency_quantile_s,
    cached_latency_s,
    cached_request_usd,
    prefill_saved_s,
    prefix_usd_per_mtok,
)
from llmdrill.estimate.checks import NumberError
from llmdrill.estimate.cost import BilledRates, billed_rates
from llmdrill.estimate.lognormal import lognormal

SHARES = st.floats(0, 1)
USD = st.floats(1e-6, 10)


def test_a_simulated_cache_costs_and_waits_what_the_formulas_say() -> None:
    rng = np.random.default_rng(11)
    hit = rng.random(400_000) < 0.35
    wrong = hit & (rng.random(400_000) < 0.02)
    spent = 0.0001 + np.where(hit, 0, 0.01) + np.where(wrong, 0.3, 0)
    expected = cached_request_usd(hit_share=0.35, request_usd=0.01, lookup_usd=0.0001, wrong_share=0.02, wrong_usd=0.3)
    assert float(spent.mean()) == pytest.approx(expected, rel=0.02)
    request = lognormal(p50=2, p95=6)
    waited = 0.05 + np.where(hit, 0, request.draw(rng, 400_000))
    mean = cached_latency_s(hit_share=0.35, lookup_s=0.05, request_mean_s=request.mean)
    assert float(waited.mean()) == pytest.approx(mean, rel=0.02)
    for quantile in (0.2, 0.5, 0.95):
        seen = cached_latency_quantile_s(quantile, hit_share=0.35, lookup_s=0.05, request=request)
        assert float(np.quantile(waited, quantile)) == pytest.approx(seen, rel=0.02)


@given(request=USD, lookup=st.floats(0, 1), wrong=SHARES, price=st.floats(0, 5))
def test_at_the_break_even_hit_rate_the_cache_costs_what_it_saves(
    request: float, lookup: float, wrong: float, price: float
) -> None:
    even = break_even_hit_share(request_usd=request, lookup_usd=lookup, wrong_share=wrong, wrong_usd=price)

    def cost(hit: float) -> float:
        return cached_request_usd(
            hit_share=hit, request_usd=request, lookup_usd=lookup, wrong_share=wrong, wrong_usd=price
        )

    if even is None:
        assert cost(1) >= request * (1 - 1e-9)
    else:
        assert cost(even) == pytest.approx(request, abs=1e-9 * (1 + price))
        assert cost(1) <= request * (1 + 1e-9) + 1e-12


@given(hit=SHARES, request=USD, lookup=st.floats(0, 1), price=st.floats(0, 5))
def test_at_the_break_even_share_of_wrong_hits_nothing_is_saved(
    hit: float, request: float, lookup: float, price: float
) -> None:
    even = break_even_wrong_share(hit_share=hit, request_usd=request, lookup_usd=lookup, wrong_usd=price)

    def cost(wrong: float) -> float:
        return cached_request_usd(
            hit_share=hit, request_usd=request, lookup_usd=lookup, wrong_share=wrong, wrong_usd=price
        )

    if even is None:
        assert hit * request < lookup or hit * price == 0
    elif even < 1:
        assert cost(even) == pytest.approx(request, rel=1e-6, abs=1e-9)
    else:
        assert cost(1) <= request * (1 + 1e-9)


@given(hits=st.tuples(SHARES, SHARES), request=USD, lookup=st.floats(0, 1))
def test_more_hits_never_cost_more_and_never_take_longer(
    hits: tuple[float, float], request: float, lookup: float
) -> None:
    few, many = sorted(hits)
    assert cached_request_usd(hit_share=many, request_usd=request, lookup_usd=lookup) <= (
        cached_request_usd(hit_share=few, request_usd=request, lookup_usd=lookup) + 1e-12
    )
    latency = lognormal(p50=2, p95=5)
    slow, fast = (cached_latency_quantile_s(0.95, hit_share=hit, lookup_s=0.01, request=latency) for hit in (few, many))
    assert fast <= slow + 1e-9


@given(first=SHARES, quantiles=st.tuples(st.floats(0.01, 0.99), st.floats(0.01, 0.99)))
def test_percentiles_rise(first: float, quantiles: tuple[float, float]) -> None:
    low, high = sorted(quantiles)
    latency = lognormal(p50=2, p95=5)
    assert cached_latency_quantile_s(low, hit_share=first, lookup_s=0.1, request=latency) <= (
        cached_latency_quantile_s(high, hit_share=first, lookup_s=0.1, request=latency) + 1e-12
    )


def test_anthropic_s_write_premium_pays_with_the_first_read() -> None:
    rates = billed_rates(find_price("claude-sonnet-4-5"), prompt_tokens=10_000)
    assert (rates.cache_write / rates.input, rates.cached_input / rates.input) == (1.25, pytest.approx(0.1))
    assert break_even_reuses(rates) == pytest.approx(0.25 / 0.9)
    assert break_even_prefix_hit_share(rates) == pytest.approx(0.25 / 1.15)


def test_where_writing_is_free_every_hit_saves() -> None:
    rates = billed_rates(find_price("gpt-4o"), prompt_tokens=10_000)
    assert break_even_reuses(rates) == 0
    assert break_even_prefix_hit_share(rates) == 0
    assert prefix_usd_per_mtok(rates, hit_share=0) == rates.input


@given(price=USD, read=SHARES, write=st.floats(1, 3), hit=SHARES)
def test_the_prefix_saves_exactly_above_its_break_even(price: float, read: float, write: float, hit: float) -> None:
    rates = BilledRates(input=price, output=None, cached_input=read * price, cache_write=write * price)
    even, reuses = break_even_prefix_hit_share(rates), break_even_reuses(rates)
    if even is None or reuses is None:
        assert rates.cached_input >= price
        return
    assert reuses / (reuses + 1) == pytest.approx(even, rel=1e-6, abs=1e-12)
    assume(abs(hit - even) > 1e-6)
    assert (prefix_usd_per_mtok(rates, hit_share=hit) < price) == (hit > even)


@given(hit=SHARES, prefix=st.floats(0, 1e5), fresh=st.floats(1, 1e5))
def test_a_cached_prefix_saves_at_most_its_own_prefill(hit: float, prefix: float, fresh: float) -> None:
    saved = prefill_saved_s(prefill_s=2, prefix_tokens=prefix, input_tokens=prefix + fresh, hit_share=hit)
    assert 0 <= saved <= 2


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(NumberError, match="hit_share"):
        cached_request_usd(hit_share=1.1, request_usd=1)
    with pytest.raises(NumberError, match="wrong_share"):
        cached_request_usd(hit_share=0.1, request_usd=1, wrong_share=-0.1)
    with pytest.raises(NumberError, match="request_usd"):
        cached_request_usd(hit_share=0.1, request_usd=float("nan"))
    with pytest.raises(NumberError, match="quantile"):
        cached_latency_quantile_s(1, hit_share=0.5, lookup_s=0, request=lognormal(p50=1, p95=2))
    with pytest.raises(NumberError, match="longer than the prompt"):
        prefill_saved_s(prefill_s=1, prefix_tokens=2, input_tokens=1, hit_share=1)
