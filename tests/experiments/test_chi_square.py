"""Pearson's test against published values, and against counts whose answer is plain."""

from __future__ import annotations

import math

import pytest

from llmdrill.experiments.chi_square import chi_square, upper_tail


@pytest.mark.parametrize(
    ("statistic", "degrees", "share"),
    [
        (3.84146, 1, 0.05),
        (9.21034, 2, 0.01),
        (7.81473, 3, 0.05),
        (11.07050, 5, 0.05),
        (23.20925, 10, 0.01),
        (16.74960, 5, 0.005),
    ],
)
def test_the_tail_is_that_of_printed_tables(statistic: float, degrees: int, share: float) -> None:
    assert upper_tail(statistic, degrees=degrees) == pytest.approx(share, rel=1e-4)


def test_counts_as_expected_fit_and_others_do_not() -> None:
    fair = dict.fromkeys("abcd", 0.25)
    assert chi_square(dict.fromkeys("abcd", 50), fair).p_share == 1
    skewed = chi_square({"a": 80, "b": 40, "c": 40, "d": 40}, fair)
    assert (skewed.statistic, skewed.degrees) == (24, 3)
    assert skewed.p_share < 0.001


def test_what_cannot_be_must_not_be_seen() -> None:
    found = chi_square({"a": 99, "z": 1}, {"a": 1.0, "z": 0.0})
    assert (found.statistic, found.p_share) == (math.inf, 0)


def test_rare_cells_are_counted_together() -> None:
    probabilities = {"often": 0.9, "rare": 0.03, "rarer": 0.03, "rarest": 0.04}
    found = chi_square({"often": 90, "rare": 10}, probabilities)
    assert (found.degrees, found.statistic) == (1, pytest.approx(0, abs=1e-9))


def test_a_single_possible_outcome_always_fits() -> None:
    assert chi_square({"only": 7}, {"only": 1.0}).p_share == 1
