"""How far a statistic may be from what more items would show: resample the items, seeded."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Final, TypeVar

from llmdrill.estimate.checks import NumberError

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping, Sequence

_T = TypeVar("_T")
MOST_ITEMS: Final = 20_000  # resampling more takes longer than a person waits, and their interval is narrow
MOST_PATTERNS: Final = 2_000  # each resample walks them all
_WORK: Final = 1_000_000  # items drawn and patterns walked in all
_DRAWS: Final = (200, 1000)
_DEFINED_SHARE: Final = 0.95  # of the resamples; with fewer the interval would describe only the lucky ones


@dataclass(frozen=True, slots=True)
class Interval:
    """Where the middle 95 % of the resamples lie."""

    low: float
    high: float


def bootstrap_intervals(
    patterns: Mapping[_T, int],
    statistics: Sequence[Callable[[Mapping[_T, int]], float | None]],
    *,
    rng: random.Random,
) -> tuple[Interval | None, ...]:
    """Return the 95 % percentile interval of each statistic of counted items.

    Formula:
        the 2.5 % and 97.5 % quantiles of the statistic over resamples of as many items, drawn with replacement

    Args:
        patterns: How many items show each pattern.
        statistics: Each from counted patterns to a number, or None where it is undefined.
        rng: Seeded; decides what is drawn.

    Returns:
        One interval per statistic; None where over 5 % of the resamples leave it undefined, and for all of them with
        over 20,000 items or 2,000 patterns.

    Raises:
        NumberError: If there is no item.

    Error:
        Too narrow with few items (under about 30); 200 to 1,000 resamples place the ends within about a tenth of the
        interval's width.
    Source:
        Arithmetic: the percentile bootstrap.

    >>> import random
    >>> def share_of_yes(counts):
    ...     return counts["yes"] / (counts["yes"] + counts["no"])
    >>> found = bootstrap_intervals({"yes": 50, "no": 50}, [share_of_yes], rng=random.Random(0))
    >>> 0.38 < found[0].low < 0.42 and 0.58 < found[0].high < 0.62
    True
    """
    n = sum(patterns.values())
    if not n:
        raise NumberError("there is nothing to resample")
    if n > MOST_ITEMS or len(patterns) > MOST_PATTERNS:
        return (None,) * len(statistics)
    kinds, bounds = list(patterns), list(accumulate(patterns.values()))
    draws = min(_DRAWS[1], max(_DRAWS[0], _WORK // (n + 10 * len(patterns))))
    found: list[list[float]] = [[] for _ in statistics]
    for _ in range(draws):
        resample = Counter(rng.choices(kinds, cum_weights=bounds, k=n))
        for values, statistic in zip(found, statistics, strict=True):
            value = statistic(resample)
            if value is not None:
                values.append(value)
    return tuple(_middle(sorted(values), draws) for values in found)


def _middle(values: list[float], draws: int) -> Interval | None:
    if len(values) < _DEFINED_SHARE * draws:
        return None
    last = len(values) - 1
    return Interval(values[round(0.025 * last)], values[round(0.975 * last)])
