"""Say how sure a mean, or a difference of two, is: bootstrap intervals and a permutation test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

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
    sample = np.asarray(values, dtype=np.float64)
    if not len(sample):
        raise ValueError("there is no value: a mean needs at least one")
    means = np.concatenate(
        [
            sample[rng.integers(len(sample), size=(rows, len(sample)))].mean(axis=1)
            for rows in _blocks(resamples, sample)
        ]
    )
    tail = (1 - confidence_share) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(sample.mean()), float(low), float(high), len(sample))


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
    differences = _differences(first, second)
    seen = abs(differences.sum()) - 1e-12  # a flip that gives the same sum in another order of adding counts
    extreme = sum(
        int((np.abs(rng.choice([-1.0, 1.0], size=(rows, len(differences))) @ differences) >= seen).sum())
        for rows in _blocks(resamples, differences)
    )
    return (1 + extreme) / (1 + resamples)


def _differences(first: Sequence[float], second: Sequence[float]) -> np.ndarray:
    if len(first) != len(second) or not len(first):
        raise ValueError(f"{len(first)} values against {len(second)}: pairs need as many on either side, at least one")
    return np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)


def _blocks(resamples: int, sample: np.ndarray) -> Iterator[int]:
    """Yield how many resamples to draw at once, so that memory stays bounded."""
    rows = max(1, BLOCK_VALUES // len(sample))
    for start in range(0, resamples, rows):
        yield min(rows, resamples - start)
