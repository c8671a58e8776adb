"""Serving on rented devices: worked numbers, and the break-even against the staircase itself."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from llmdrill.estimate.checks import NumberError
from llmdrill.estimate.selfhost import (
    break_even,
    rental_usd_per_month,
    replica_requests_per_s,
    replicas_for,
    selfhost_usd_per_mtok,
    selfhost_usd_per_request,
)

USD = st.floats(1e-6, 0.1)
RENT = st.floats(0.1, 20)
RATE = st.floats(0.01, 100)
SHARE = st.floats(0.05, 1)
DEVICES = st.integers(1, 8)


def test_a_device_at_1_dollar_an_hour_costs_730_a_month() -> None:
    assert rental_usd_per_month(usd_per_hour=1) == 730
    assert rental_usd_per_month(usd_per_hour=2.5, devices=4) == 7300


def test_a_hundred_tokens_a_second_at_3_60_an_hour_cost_10_dollars_per_million() -> None:
    assert selfhost_usd_per_mtok(usd_per_hour=3.6, devices=1, tokens_per_s=100) == pytest.approx(10)
    assert selfhost_usd_per_mtok(usd_per_hour=3.6, devices=2, tokens_per_s=100, utilisation=0.25) == pytest.approx(80)


@given(rent=RENT, devices=DEVICES, rate=RATE, share=SHARE)
def test_a_full_month_costs_the_rent(rent: float, devices: int, rate: float, share: float) -> None:
    each = selfhost_usd_per_request(usd_per_hour=rent, devices=devices, requests_per_s=rate, utilisation=share)
    finished = rate * share * 3600 * 730
    assert each * finished == pytest.approx(rental_usd_per_month(usd_per_hour=rent, devices=devices))
    assert replicas_for(requests_per_month=finished, requests_per_s=rate, utilisation=share) == 1
    assert replicas_for(requests_per_month=finished * 1.001, requests_per_s=rate, utilisation=share) == 2


def test_no_request_still_needs_a_replica() -> None:
    assert replicas_for(requests_per_month=0, requests_per_s=1) == 1


def test_the_closed_loop_s_rate() -> None:
    assert replica_requests_per_s(concurrency=1, ttft_s=1, tpot_s=1, output_tokens=1) == 1
    assert replica_requests_per_s(concurrency=8, ttft_s=0.5, tpot_s=0.01, output_tokens=151) == pytest.approx(4)


@given(api=USD, rent=RENT, devices=DEVICES, rate=RATE, share=SHARE)
def test_the_break_even_is_that_of_the_staircase(
    api: float, rent: float, devices: int, rate: float, share: float
) -> None:
    found = break_even(
        api_usd_per_request=api, usd_per_hour=rent, devices=devices, requests_per_s=rate, utilisation=share
    )
    month, capacity = rent * devices * 730, rate * share * 3600 * 730
    assume(abs(api * capacity / month - 1) > 1e-3)  # where a full replica costs what the API does, a hair decides

    def gain(volume: float) -> float:
        replicas = replicas_for(requests_per_month=volume, requests_per_s=rate, utilisation=share)
        return api * volume - replicas * month

    if api * capacity < month:
        assert found.first_requests_per_month is None
        assert found.always_replicas is None
        assert all(gain(capacity * k) < 0 for k in (1, 2, 10, 1000))
        return
    first, always, most = found.first_requests_per_month, found.always_requests_per_month, found.always_replicas
    assert first is not None
    assert always is not None
    assert most is not None
    assert found.first_replicas == 1
    assert gain(first * 0.999) < 0
    assert gain(first * 1.001) > -1e-6 * month or first * 1.001 > capacity
    assert most == replicas_for(requests_per_month=always, requests_per_s=rate, utilisation=share)
    assert gain(always) >= -1e-6 * month
    for replicas in range(most, most + 20):  # just after each further step: never dearer again
        assert gain(capacity * replicas * (1 + 1e-7)) >= -1e-5 * month * replicas
    if most > 1:
        assert gain(capacity * (most - 1) * (1 + 1e-7)) < 1e-5 * month * most


def test_where_a_full_replica_costs_what_the_api_does() -> None:
    found = break_even(api_usd_per_request=1 / 3600, usd_per_hour=1, devices=1, requests_per_s=1)
    assert found.first_requests_per_month == pytest.approx(730 * 3600)
    assert found.always_requests_per_month is None


def test_a_dear_api_breaks_even_on_the_first_replica() -> None:
    found = break_even(api_usd_per_request=0.01, usd_per_hour=2, devices=1, requests_per_s=10, utilisation=0.5)
    assert found.first_requests_per_month == pytest.approx(146_000)
    assert (found.always_requests_per_month, found.always_replicas) == (found.first_requests_per_month, 1)
    assert found.full_usd_per_request == pytest.approx(2 / 18_000)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_impossible_numbers_are_refused(bad: float) -> None:
    good = {"usd_per_hour": 1.0, "devices": 1.0, "requests_per_s": 1.0}
    for name in good:
        with pytest.raises(NumberError):
            selfhost_usd_per_request(**{**good, name: bad})
        with pytest.raises(NumberError):
            break_even(api_usd_per_request=1, **{**good, name: bad})
    with pytest.raises(NumberError):
        break_even(api_usd_per_request=bad, **good)
    with pytest.raises(NumberError):
        selfhost_usd_per_request(utilisation=bad, **good)
    with pytest.raises(NumberError):
        replica_requests_per_s(concurrency=bad, ttft_s=1, tpot_s=1, output_tokens=1)
    with pytest.raises(NumberError):
        replica_requests_per_s(concurrency=1, ttft_s=1, tpot_s=1, output_tokens=0.5)


def test_a_share_above_one_is_refused() -> None:
    with pytest.raises(NumberError, match="utilisation"):
        replicas_for(requests_per_month=1, requests_per_s=1, utilisation=1.01)
