"""Speculative decoding: the paper's tables, a simulated run, laws, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.estimate.checks import NumberError
from llmdrill.estimate.speculative import (
    best_draft_tokens,
    expected_accepted_tokens,
    operations_factor,
    speculative_speedup,
)

SHARES = st.floats(0, 1)
LENGTHS = st.integers(0, 60)
COSTS = st.floats(0, 2)


@pytest.mark.parametrize(
    ("alpha", "gamma", "operations", "speed"),
    [(0.6, 2, 1.53, 1.96), (0.7, 3, 1.58, 2.53), (0.8, 2, 1.23, 2.44), (0.8, 5, 1.63, 3.69), (0.9, 2, 1.11, 2.71)],
)
def test_table_1_of_the_paper(alpha: float, gamma: int, operations: float, speed: float) -> None:
    free = speculative_speedup(acceptance_share=alpha, draft_tokens=gamma, cost_ratio=0)
    assert free == pytest.approx(speed, abs=0.005)
    spent = operations_factor(acceptance_share=alpha, draft_tokens=gamma, operations_ratio=0)
    assert spent == pytest.approx(operations, abs=0.005)


@pytest.mark.parametrize(
    ("gamma", "alpha", "cost", "expected"),
    [(7, 0.75, 0.02, 3.2), (7, 0.82, 0.11, 2.5), (5, 0.68, 0.04, 2.4), (5, 0.53, 0.02, 1.9), (3, 0.74, 0.11, 2.0)],
)
def test_predictions_of_table_4_of_the_paper(gamma: int, alpha: float, cost: float, expected: float) -> None:
    found = speculative_speedup(acceptance_share=alpha, draft_tokens=gamma, cost_ratio=cost)
    assert found == pytest.approx(expected, abs=0.06)  # of rounded inputs


@given(alpha=SHARES, gamma=LENGTHS)
def test_tokens_of_a_pass_are_the_sum_of_the_chances_that_a_draft_gets_that_far(alpha: float, gamma: int) -> None:
    found = expected_accepted_tokens(acceptance_share=alpha, draft_tokens=gamma)
    assert found == pytest.approx(sum(alpha**k for k in range(gamma + 1)), rel=1e-9)
    assert 1 <= found <= gamma + 1 + 1e-9


def test_a_simulated_run_agrees() -> None:
    rng = np.random.default_rng(7)
    accepted = rng.random((200_000, 6)) < 0.7
    run_lengths = np.cumprod(accepted, axis=1).sum(axis=1)
    expected = expected_accepted_tokens(acceptance_share=0.7, draft_tokens=6)
    assert float(run_lengths.mean()) + 1 == pytest.approx(expected, rel=0.01)


@given(shares=st.tuples(SHARES, SHARES), gamma=LENGTHS, cost=COSTS, verify=COSTS)
def test_more_acceptance_is_never_slower_and_more_cost_never_faster(
    shares: tuple[float, float], gamma: int, cost: float, verify: float
) -> None:
    low, high = sorted(shares)

    def speed(alpha: float, cost: float, verify: float) -> float:
        return speculative_speedup(acceptance_share=alpha, draft_tokens=gamma, cost_ratio=cost, verify_cost=verify)

    assert speed(low, cost, verify) <= speed(high, cost, verify) * (1 + 1e-12)
    assert speed(low, cost, verify) <= speed(low, cost / 2, verify)
    assert speed(low, cost, verify) <= speed(low, cost, verify / 2)


@given(alpha=st.floats(0, 0.97), cost=st.floats(0.005, 1), verify=st.floats(0, 0.5))
def test_the_best_length_is_the_best_of_all_that_are_tried(alpha: float, cost: float, verify: float) -> None:
    best = best_draft_tokens(acceptance_share=alpha, cost_ratio=cost, verify_cost=verify)
    assert best is not None

    def speed(gamma: int) -> float:
        return speculative_speedup(acceptance_share=alpha, draft_tokens=gamma, cost_ratio=cost, verify_cost=verify)

    assert all(speed(best) >= speed(gamma) * (1 - 1e-12) for gamma in range(300))
    if abs(alpha - cost - verify) > 1e-9:
        assert (best > 0) == (alpha > cost + verify)  # corollary 3.9


@given(alpha=SHARES, gamma=LENGTHS)
def test_where_arithmetic_is_the_bottleneck_speculation_never_gains(alpha: float, gamma: int) -> None:
    speed = speculative_speedup(acceptance_share=alpha, draft_tokens=gamma, cost_ratio=0, verify_cost=1)
    assert speed <= 1 + 1e-12


def test_a_free_draft_can_always_be_longer_and_a_hopeless_one_is_not_used() -> None:
    assert best_draft_tokens(acceptance_share=0.3, cost_ratio=0) is None
    assert best_draft_tokens(acceptance_share=1, cost_ratio=0.9) is None
    assert best_draft_tokens(acceptance_share=1, cost_ratio=1) == 0
    assert best_draft_tokens(acceptance_share=0, cost_ratio=0) == 0


@pytest.mark.parametrize(("alpha", "gamma", "cost"), [(-0.1, 3, 0.1), (1.1, 3, 0.1), (float("nan"), 3, 0.1)])
def test_what_is_no_share_is_refused(alpha: float, gamma: int, cost: float) -> None:
    with pytest.raises(NumberError, match="acceptance_share"):
        speculative_speedup(acceptance_share=alpha, draft_tokens=gamma, cost_ratio=cost)
    with pytest.raises(NumberError, match="acceptance_share"):
        best_draft_tokens(acceptance_share=alpha, cost_ratio=cost)


def test_negative_lengths_and_costs_are_refused() -> None:
    with pytest.raises(NumberError, match="draft_tokens"):
        expected_accepted_tokens(acceptance_share=0.5, draft_tokens=-1)
    with pytest.raises(NumberError, match="cost_ratio"):
        speculative_speedup(acceptance_share=0.5, draft_tokens=1, cost_ratio=-1)
