"""Cost: the numbers of the pinned prices, laws, refusals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.catalog.load import find_price
from llmdrill.errors import UsageError
from llmdrill.estimate.cost import api_request_usd, api_usd_per_month, explain_api_cost, rental_usd_per_month

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


def test_a_device_at_1_dollar_an_hour_costs_730_a_month() -> None:
    assert rental_usd_per_month(usd_per_hour=1) == 730
    assert rental_usd_per_month(usd_per_hour=2.5, devices=4) == 7300


def test_what_has_no_price_is_refused() -> None:
    with pytest.raises(UsageError, match="no batch price"):
        api_request_usd(find_price("llama-3.1-8b-instant"), input_tokens=1, batch=True)
    with pytest.raises(UsageError, match="writes no tokens"):
        api_request_usd(find_price("text-embedding-3-small"), input_tokens=1, output_tokens=1)
    with pytest.raises(ValueError, match="said to be cached"):
        api_request_usd(find_price("gpt-4o"), input_tokens=1, cached_input_tokens=2)
    with pytest.raises(ValueError, match="input_tokens"):
        api_request_usd(find_price("gpt-4o"), input_tokens=-1)
