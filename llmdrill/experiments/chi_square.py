"""Pearson's chi-square test: whether counts come from a known distribution."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Cell = TypeVar("Cell")
LEAST_EXPECTED: Final = 5.0  # cells expected less often are counted together, as is usual


@dataclass(frozen=True, slots=True)
class ChiSquare:
    """A test's outcome: ``p_share`` is how often a deviation as large comes by chance alone."""

    statistic: float
    degrees: int
    p_share: float


def chi_square(seen: Mapping[Cell, int], probabilities: Mapping[Cell, float]) -> ChiSquare:
    """Return how well counts fit probabilities; a cell that cannot be, but was seen, makes the fit impossible."""
    total = sum(seen.values())
    if any(count and not probabilities.get(cell) for cell, count in seen.items()):
        return ChiSquare(math.inf, max(1, len(probabilities) - 1), 0.0)
    cells = sorted(((total * likely, seen.get(cell, 0)) for cell, likely in probabilities.items()), reverse=True)
    groups = _together(cells)
    statistic = math.fsum((count - expected) ** 2 / expected for expected, count in groups if expected)
    return ChiSquare(statistic, len(groups) - 1, upper_tail(statistic, degrees=len(groups) - 1))


def _together(cells: Sequence[tuple[float, int]]) -> list[tuple[float, int]]:
    """Return cells (expected, seen), the likeliest first, with rare ones added up; what is left joins the last."""
    groups: list[tuple[float, int]] = []
    expected, count = 0.0, 0
    for more, others in cells:
        expected, count = expected + more, count + others
        if expected >= LEAST_EXPECTED:
            groups.append((expected, count))
            expected, count = 0.0, 0
    before = groups.pop() if groups and expected else (0.0, 0)
    return [*groups, (before[0] + expected, before[1] + count)] if expected else groups


def upper_tail(statistic: float, *, degrees: int) -> float:
    """Return the probability that a chi-square variable exceeds a value.

    Formula:
        exp(-x/2) * sum of (x/2)^k / k! for an even number of degrees; for an odd one erfc(sqrt(x/2)) and the same sum
        over k + 1/2.
    Source:
        Arithmetic: the density integrated by parts. Tables of the distribution: 5 % lies beyond 11.07050 at 5 degrees
        of freedom, and beyond 18.30704 at 10.

    >>> round(upper_tail(11.07050, degrees=5), 6), round(upper_tail(18.30704, degrees=10), 6)
    (0.05, 0.05)
    """
    half = statistic / 2
    if degrees == 0 or half == 0:
        return 1.0
    odd = degrees % 2
    terms = (half ** (k + odd / 2) / math.gamma(k + 1 + odd / 2) for k in range(degrees // 2))
    return (math.erfc(math.sqrt(half)) if odd else 0.0) + math.exp(-half) * math.fsum(terms)
