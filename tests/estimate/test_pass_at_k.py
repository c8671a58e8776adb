"""pass@k: published numbers, laws, and brute force."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.errors import UsageError
from llmdrill.estimate.pass_at_k import (
    Problem,
    biased_pass_at_k,
    explain_interval,
    mean_interval,
    mean_pass_at_k,
    pass_at_k,
)

PROBLEMS = st.integers(1, 60).flatmap(lambda n: st.builds(Problem, st.just(n), st.integers(0, n)))


def test_the_example_of_human_eval_s_readme_is_a_half() -> None:
    assert pass_at_k(Problem(6, 3), k=1) == pytest.approx(0.5)
    assert mean_pass_at_k([Problem(6, 0), Problem(6, 3), Problem(6, 6)], k=1) == pytest.approx(0.5)


def test_every_choice_of_k_samples_counted_one_by_one_gives_the_same() -> None:
    for n, c, k in itertools.product(range(1, 8), range(8), range(1, 8)):
        if c <= n and k <= n:
            draws = list(itertools.combinations(range(n), k))
            passing = sum(any(sample < c for sample in draw) for draw in draws)
            assert pass_at_k(Problem(n, c), k=k) == pytest.approx(passing / len(draws))


@given(problem=PROBLEMS, data=st.data())
def test_it_is_the_closed_form_and_never_below_the_biased_one(problem: Problem, data: st.DataObject) -> None:
    n, c = problem.samples, problem.correct
    k = data.draw(st.integers(1, n))
    value = pass_at_k(problem, k=k)
    assert value == pytest.approx(1 - math.comb(n - c, k) / math.comb(n, k), abs=1e-12)
    assert value >= biased_pass_at_k(problem, k=k) - 1e-12
    assert pass_at_k(problem, k=1) == pytest.approx(c / n)


@given(problem=PROBLEMS, data=st.data())
def test_more_draws_and_more_passing_samples_never_lower_it(problem: Problem, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, problem.samples))
    value = pass_at_k(problem, k=k)
    if k < problem.samples:
        assert pass_at_k(problem, k=k + 1) >= value - 1e-12
    if problem.correct < problem.samples:
        assert pass_at_k(Problem(problem.samples, problem.correct + 1), k=k) >= value - 1e-12


def test_many_samples_do_not_overflow() -> None:
    assert pass_at_k(Problem(100_000, 1), k=50_000) == pytest.approx(0.5)


def test_its_mean_over_random_samples_is_the_truth_where_the_biased_one_s_is_not() -> None:
    p, n, k = 0.1, 10, 5
    shares = [math.comb(n, c) * p**c * (1 - p) ** (n - c) for c in range(n + 1)]
    truth = 1 - (1 - p) ** k
    unbiased = sum(share * pass_at_k(Problem(n, c), k=k) for c, share in enumerate(shares))
    biased = sum(share * biased_pass_at_k(Problem(n, c), k=k) for c, share in enumerate(shares))
    assert unbiased == pytest.approx(truth)
    assert biased < truth - 0.03


@given(problems=st.lists(PROBLEMS, min_size=1, max_size=30))
def test_the_mean_lies_in_its_interval_and_equal_scores_have_none(problems: list[Problem]) -> None:
    found, mean = mean_interval(problems, k=1), mean_pass_at_k(problems, k=1)
    if found is None:
        assert len({pass_at_k(one, k=1) for one in problems}) == 1
        assert explain_interval(problems, k=1) == ()
    else:
        assert 0 <= found.low <= mean + 1e-12
        assert mean - 1e-12 <= found.high <= 1


@pytest.mark.parametrize(("n", "c", "k"), [(5, 3, 6), (5, 6, 1), (0, 0, 1), (5, -1, 1), (5, 1, 0), (5, 1, -1)])
def test_counts_that_do_not_determine_it_are_refused(n: int, c: int, k: int) -> None:
    for estimate in (pass_at_k, biased_pass_at_k):
        with pytest.raises(UsageError):
            estimate(Problem(n, c), k=k)


def test_no_problem_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one problem"):
        mean_pass_at_k([], k=1)
