from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmdrill.retrieval.compare import (
    compare_all,
    compare_pairs,
    difference_interval,
    mean_interval,
    permutation_p,
)

VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=20)


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def test_the_interval_of_a_share_agrees_with_the_normal_approximation() -> None:
    values = [1.0] * 120 + [0.0] * 80
    half = 1.96 * (0.6 * 0.4 / 200) ** 0.5
    found = mean_interval(values, rng=rng())
    assert (found.mean, found.low, found.high) == pytest.approx((0.6, 0.6 - half, 0.6 + half), abs=0.01)


def test_about_95_of_100_intervals_hold_the_true_mean() -> None:
    draws = np.random.default_rng(0)
    found = [mean_interval(draws.random(60).tolist(), rng=draws, resamples=500) for _ in range(300)]
    assert 0.90 < np.mean([interval.low <= 0.5 <= interval.high for interval in found]) < 0.99


def test_the_same_seed_gives_the_same_interval_and_the_difference_is_paired() -> None:
    a, b = [0.2, 0.4, 0.9, 0.1], [0.1, 0.3, 0.8, 0.0]
    assert difference_interval(a, b, rng=rng()) == difference_interval(a, b, rng=rng())
    paired = difference_interval(a, b, rng=rng())
    assert (paired.low, paired.high) == pytest.approx((0.1, 0.1))


@settings(max_examples=30)
@given(values=VALUES)
def test_an_interval_stays_within_its_values(values: list[float]) -> None:
    found = mean_interval(values, rng=rng(), resamples=200)
    assert min(values) - 1e-9 <= found.low <= found.high <= max(values) + 1e-9


@settings(max_examples=30)
@given(values=VALUES, shift=st.floats(-1, 1))
def test_swapping_the_two_leaves_the_p_value(values: list[float], shift: float) -> None:
    other = [value * 0.5 + shift for value in values]
    forth = permutation_p(values, other, rng=rng(), resamples=300)
    assert permutation_p(other, values, rng=rng(), resamples=300) == forth
    assert 0 < forth <= 1


def test_no_difference_has_p_one_and_a_constant_one_the_smallest() -> None:
    assert permutation_p([0.5] * 9, [0.5] * 9, rng=rng()) == 1.0
    # Of the 2^5 sign patterns, 2 are as far from 0.
    assert permutation_p([1.0] * 5, [0.0] * 5, rng=rng()) == pytest.approx(2 / 32, abs=0.01)


def test_many_values_are_drawn_in_blocks_of_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(1).random(50).tolist()
    monkeypatch.setattr("llmdrill.retrieval.compare.BLOCK_VALUES", 120)
    small = mean_interval(values, rng=rng(), resamples=1001)
    monkeypatch.undo()
    whole = mean_interval(values, rng=rng(), resamples=1001)
    assert (small.low, small.high) == pytest.approx((whole.low, whole.high), rel=1e-12)


def test_metrics_compared_together_come_out_as_one_by_one() -> None:
    draws = np.random.default_rng(3)
    first, second = ({name: draws.random(30).tolist() for name in ("a", "b")} for _ in range(2))
    together = compare_all(first, second, seed=5)
    for name, found in together.items():
        alone = compare_pairs(first[name], second[name], seed=5)
        assert found.difference.low == pytest.approx(alone.difference.low)
        assert found.difference.high == pytest.approx(alone.difference.high)
        assert found.p_value == pytest.approx(alone.p_value)
        assert (found.wins, found.losses, found.wins + found.losses) == (alone.wins, alone.losses, 30)
    assert compare_pairs([1.0, 0.0, 0.5], [0.0, 0.5, 0.5], seed=0).wins == 1
    with pytest.raises(ValueError, match="0 values"):
        compare_all({"a": []}, {"a": []}, seed=0)


def test_no_value_and_unequal_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        mean_interval([], rng=rng())
    with pytest.raises(ValueError, match="2 values against 1"):
        difference_interval([1, 2], [1], rng=rng())
    with pytest.raises(ValueError, match="0 values"):
        permutation_p([], [], rng=rng())
