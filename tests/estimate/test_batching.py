"""Batching: order statistics, a simulated scheduler, laws, refusals."""

from __future__ import annotations

import heapq
import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.estimate.batching import (
    expected_longest,
    expected_longest_lognormal,
    ratio_in_order,
    throughput_ratio,
)
from llmdrill.estimate.checks import NumberError
from llmdrill.estimate.lognormal import Lognormal, lognormal

LENGTHS = st.lists(st.integers(1, 5000), min_size=1, max_size=60)
BATCHES = st.integers(1, 300)


def steps_of_static_batches(lengths: list[float], batch: int) -> float:
    """Return the steps that a scheduler takes that waits for the whole batch."""
    return sum(max(lengths[start : start + batch]) for start in range(0, len(lengths), batch))


def steps_of_continuous_batches(lengths: list[float], batch: int) -> float:
    """Return the steps that a scheduler takes that fills a slot as soon as it is free."""
    slots = [0.0] * batch
    heapq.heapify(slots)
    for length in lengths:
        heapq.heapreplace(slots, slots[0] + length)
    return max(slots)


@pytest.mark.parametrize("batch", [1, 4, 32])
def test_a_simulated_scheduler_gains_what_the_formula_says(batch: int) -> None:
    lengths = np.ceil(lognormal(p50=200, p95=800).draw(np.random.default_rng(5), 60_000)).tolist()
    seen = steps_of_static_batches(lengths, batch) / steps_of_continuous_batches(lengths, batch)
    mean = sum(lengths) / len(lengths)
    by_list = throughput_ratio(mean_tokens=mean, longest_tokens=expected_longest(lengths, batch=batch))
    distribution = lognormal(p50=200, p95=800)
    by_shape = throughput_ratio(
        mean_tokens=distribution.mean, longest_tokens=expected_longest_lognormal(distribution, batch=batch)
    )
    assert seen == pytest.approx(by_list, rel=0.02)
    assert seen == pytest.approx(by_shape, rel=0.02)
    assert ratio_in_order(lengths, batch=batch) == pytest.approx(by_list, rel=0.02)


@given(lengths=st.lists(st.integers(1, 50), min_size=1, max_size=5), batch=st.integers(1, 4))
def test_the_expected_longest_is_the_mean_over_every_draw(lengths: list[int], batch: int) -> None:
    every = [max(drawn) for drawn in itertools.product(lengths, repeat=batch)]
    assert expected_longest(lengths, batch=batch) == pytest.approx(sum(every) / len(every))


@given(sigma=st.floats(0, 3))
def test_of_two_lognormal_answers_the_longer_is_known_in_closed_form(sigma: float) -> None:
    shape = Lognormal(mu=4, sigma=sigma)
    closed = shape.mean * 2 * 0.5 * math.erfc(-sigma / 2)  # 2 Phi(sigma / sqrt 2)
    assert expected_longest_lognormal(shape, batch=2) == pytest.approx(closed, rel=1e-9)


@given(lengths=LENGTHS, batch=BATCHES, more=BATCHES)
def test_the_ratio_is_at_least_one_and_grows_with_the_batch(lengths: list[int], batch: int, more: int) -> None:
    mean = sum(lengths) / len(lengths)

    def ratio(size: int) -> float:
        return throughput_ratio(mean_tokens=mean, longest_tokens=expected_longest(lengths, batch=size))

    assert 1 <= ratio(batch) <= ratio(batch + more) * (1 + 1e-9)
    assert ratio(batch) <= max(lengths) / mean * (1 + 1e-9)
    assert 1 - 1e-12 <= ratio_in_order(lengths, batch=batch) <= max(lengths) / mean * (1 + 1e-9)


@given(length=st.integers(1, 10**6), batch=BATCHES)
def test_answers_of_one_length_gain_nothing(length: int, batch: int) -> None:
    assert throughput_ratio(mean_tokens=length, longest_tokens=expected_longest([length] * 7, batch=batch)) == 1
    same = lognormal(p50=length, p95=length)
    assert expected_longest_lognormal(same, batch=batch) == pytest.approx(length, rel=1e-9)


@given(sigma=st.floats(0, 2), batch=BATCHES)
def test_a_longer_tail_loses_more(sigma: float, batch: int) -> None:
    short, long = Lognormal(0, sigma), Lognormal(0, sigma + 0.1)
    assert expected_longest_lognormal(short, batch=batch) / short.mean <= (
        expected_longest_lognormal(long, batch=batch) / long.mean * (1 + 1e-9)
    )


@pytest.mark.parametrize("batch", [0, -1])
def test_a_batch_below_one_is_refused(batch: int) -> None:
    with pytest.raises(NumberError, match="batch"):
        expected_longest([1], batch=batch)
    with pytest.raises(NumberError, match="batch"):
        ratio_in_order([1], batch=batch)


def test_lengths_that_are_none_are_refused() -> None:
    for lengths in ([], [0, 5], [5, -1], [float("inf")]):
        with pytest.raises(NumberError):
            expected_longest(lengths, batch=2)
        with pytest.raises(NumberError):
            ratio_in_order(lengths, batch=2)
    with pytest.raises(NumberError, match="longest"):
        throughput_ratio(mean_tokens=10, longest_tokens=5)
