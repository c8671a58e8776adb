"""Say how sure a mean, or a difference of two, is: bootstrap intervals and a permutation test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

RESAMPLES: Final = 10_000
CONFIDENCE_SHARE: Final = 0.95
BLOCK_VALUES: Final = 4_000_000  # drawn at once: 32 MB of indices


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over n values and its interval."""

    mean: float
    low: float
    high: float
    n: int


def mean_interval(
    values: Sequence[float],
    *,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
    confidence_share: float = CONFIDENCE_SHARE,
) -> Interval:
    """Return the mean of ``values`` and its percentile bootstrap interval.

    Args:
        values: One figure for each question, (n,).
        rng: Seeded by the caller.
        resamples: How many samples of size n are drawn with replacement.
        confidence_share: Share of the resampled means inside the interval.

    Raises:
        ValueError: If there is no value.

    Error:
        Too narrow below about 20 values, and where values hang together (questions about the same document).
    Source:
        Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13.

    >>> mean_interval([0.5] * 40, rng=np.random.default_rng(0))
    Interval(mean=0.5, low=0.5, high=0.5, n=40)
    """
    column = np.asarray(values, dtype=np.float64)[:, None]
    return _intervals(column, rng=rng, resamples=resamples, confidence_share=confidence_share)[0]


def difference_interval(
    first: Sequence[float],
    second: Sequence[float],
    *,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
    confidence_share: float = CONFIDENCE_SHARE,
) -> Interval:
    """Return the mean of ``first - second``, paired question by question, and its percentile bootstrap interval.

    Raises:
        ValueError: If the two differ in length or are empty.
    """
    differences = _differences(first, second)
    return mean_interval(differences.tolist(), rng=rng, resamples=resamples, confidence_share=confidence_share)


def permutation_p(
    first: Sequence[float], second: Sequence[float], *, rng: np.random.Generator, resamples: int = RESAMPLES
) -> float:
    """Return the two-sided p-value of the mean paired difference, its signs flipped at random.

    Formula:
        (1 + flips whose mean is at least as far from 0 as the real one) / (1 + flips)

    Raises:
        ValueError: If the two differ in length or are empty.
    Source:
        Smucker, Allan and Carterette 2007, "A comparison of statistical significance tests for information retrieval
        evaluation", CIKM.
    """
    return _p_values(_differences(first, second)[:, None], rng=rng, resamples=resamples)[0]


@dataclass(frozen=True, slots=True)
class Paired:
    """How the first of two differs from the second on the same questions.

    Attributes:
        difference: First minus second.
        p_value: Two-sided, by a permutation test.
        wins: Questions on which the first is higher.
        losses: Questions on which it is lower.
    """

    difference: Interval
    p_value: float
    wins: int
    losses: int


def compare_pairs(first: Sequence[float], second: Sequence[float], *, seed: int) -> Paired:
    """Return interval and p-value of the mean paired difference.

    Raises:
        ValueError: If the two differ in length or are empty.

    >>> compare_pairs([1.0, 0.5], [0.5, 0.5], seed=0).wins
    1
    """
    return compare_all({"": first}, {"": second}, seed=seed)[""]


def compare_all(
    first: Mapping[str, Sequence[float]], second: Mapping[str, Sequence[float]], *, seed: int
) -> dict[str, Paired]:
    """Compare metric by metric; each is resampled by the same draws, so that their intervals go together.

    Raises:
        ValueError: If a metric's two columns differ in length or are empty, or the metrics are not of the same n.
        KeyError: If ``second`` lacks a metric.
    """
    rng = np.random.default_rng(seed)
    differences = np.stack([_differences(values, second[name]) for name, values in first.items()], axis=1)  # (n, m)
    intervals = _intervals(differences, rng=rng)
    p_values = _p_values(differences, rng=rng)
    wins, losses = (differences > 0).sum(axis=0).tolist(), (differences < 0).sum(axis=0).tolist()
    return {name: Paired(*figures) for name, *figures in zip(first, intervals, p_values, wins, losses, strict=True)}


def _intervals(
    values: np.ndarray,
    *,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
    confidence_share: float = CONFIDENCE_SHARE,
) -> list[Interval]:
    """Return mean and interval of each column of ``values`` (n, m)."""
    n = len(values)
    if not n:
        raise ValueError("there is no value: a mean needs at least one")
    means = []
    for rows in _blocks(resamples, n):
        drawn = rng.integers(n, size=(rows, n)) + n * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n)  # that each value was drawn
        means.append(times @ values / n)  # (rows, m)
    tail = (1 - confidence_share) / 2
    lows, highs = np.quantile(np.concatenate(means), [tail, 1 - tail], axis=0).tolist()
    return [Interval(*figures, n) for figures in zip(values.mean(axis=0).tolist(), lows, highs, strict=True)]


def _p_values(differences: np.ndarray, *, rng: np.random.Generator, resamples: int = RESAMPLES) -> list[float]:
    """Return the p-value of each column of ``differences`` (n, m)."""
    n = len(differences)
    seen = np.abs(differences.sum(axis=0)) - 1e-12  # a flip that gives the same sum in another order of adding counts
    extreme = np.zeros(differences.shape[1], dtype=np.int64)
    for rows in _blocks(resamples, n):
        extreme += (np.abs(rng.choice([-1.0, 1.0], size=(rows, n)) @ differences) >= seen).sum(axis=0)
    return [(1 + times) / (1 + resamples) for times in extreme.tolist()]


def _differences(first: Sequence[float], second: Sequence[float]) -> np.ndarray:
    if len(first) != len(second) or not len(first):
        raise ValueError(f"{len(first)} values against {len(second)}: pairs need as many on either side, at least one")
    return np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)


def _blocks(resamples: int, n: int) -> Iterator[int]:
    """Yield how many resamples of n values to draw at once, so that memory stays bounded."""
    rows = max(1, BLOCK_VALUES // n)
    for start in range(0, resamples, rows):
        yield min(rows, resamples - start)
