"""`lab completion` and `lab dpo` as experiments: keys, bounds, and closed forms that hold whatever the weights are."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.estimate.checks import NumberError
from llmdrill.experiments.dpo import least_kl_nats, smoothed

shares = st.floats(0.01, 0.99)


@given(shares, st.floats(0.05, 5))
def test_the_least_kl_is_that_of_the_best_policy_at_any_price(before: float, beta: float) -> None:
    lifted = before * math.exp(1 / beta)
    after = lifted / (lifted + 1 - before)  # reward 1 for right: the optimum of reward - beta * KL
    kl = after / beta - math.log(lifted + 1 - before)
    assert least_kl_nats(before_share=before, after_share=after) == pytest.approx(kl, rel=1e-6, abs=1e-9)


@given(shares, shares, shares, shares)
def test_the_least_kl_is_convex_so_means_give_a_bound(a: float, b: float, c: float, d: float) -> None:
    middle = least_kl_nats(before_share=(a + c) / 2, after_share=(b + d) / 2)
    ends = least_kl_nats(before_share=a, after_share=b) + least_kl_nats(before_share=c, after_share=d)
    assert middle <= ends / 2 + 1e-9


def test_what_the_reference_never_does_takes_infinitely_many_nats() -> None:
    assert least_kl_nats(before_share=0.0, after_share=0.1) == math.inf
    assert least_kl_nats(before_share=0.0, after_share=0.0) == 0.0
    with pytest.raises(NumberError, match=r"between 0 and 1, got 1\.5"):
        least_kl_nats(before_share=0.5, after_share=1.5)


def test_a_smoothed_curve_is_the_mean_of_the_last_few() -> None:
    assert smoothed((1.0, 2.0, 3.0, 4.0, 5.0, 6.0)) == (1.0, 1.5, 2.0, 2.5, 3.0, 4.0)
