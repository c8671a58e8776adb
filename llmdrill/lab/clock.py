"""Timing: warm up, repeat, and keep every reading."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class Timing:
    """Wall seconds of every repeat, in the order they were taken."""

    seconds: tuple[float, ...]

    @property
    def median_s(self) -> float:
        """Return the median; half way between the two middle readings if their number is even."""
        return float(np.median(self.seconds))

    @property
    def p95_s(self) -> float:
        """Return the 95th percentile, between two readings by straight line."""
        return float(np.percentile(self.seconds, 95))

    @property
    def spread_share(self) -> float:
        """Return the distance between the quartiles as a share of the median: over 0.1 the machine was not quiet.

        >>> Timing((1.0, 1.0, 1.0)).spread_share
        0.0
        """
        low, high = np.percentile(self.seconds, (25, 75))
        return float((high - low) / self.median_s)

    def per(self, count: int) -> Timing:
        """Return the seconds of one of ``count`` steps that stand behind each reading.

        >>> Timing((4.0, 6.0)).per(2).seconds
        (2.0, 3.0)
        """
        return Timing(tuple(one / count for one in self.seconds))

    def over(self, other: Timing) -> tuple[float, ...]:
        """Return each reading as a multiple of the other work's in the same round, where they were taken in turn.

        >>> Timing((4.0, 6.0)).over(Timing((2.0, 2.0)))
        (2.0, 3.0)
        """
        return tuple(one / two for one, two in zip(self.seconds, other.seconds, strict=True))


def timed(
    work: Callable[[], Any],
    *,
    warm_up: int,
    repeats: int,
    now: Callable[[], float] = time.perf_counter,
) -> Timing:
    """Run ``work`` ``warm_up`` times unread, then ``repeats`` times with the clock read around each.

    Raises:
        ValueError: If there is nothing to repeat.

    >>> ticks = iter([0.0, 2.0, 2.0, 3.0])
    >>> timed(lambda: None, warm_up=3, repeats=2, now=lambda: next(ticks)).seconds
    (2.0, 1.0)
    """
    if repeats < 1 or warm_up < 0:
        raise ValueError(f"cannot time {repeats} repeats after {warm_up} warm-ups")
    for _ in range(warm_up):
        work()
    return Timing(tuple(_read(work, now) for _ in range(repeats)))


def timed_alternately(
    works: Mapping[str, Callable[[], object]],
    *,
    repeats: int,
    warm_up: int = 1,
    now: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """Time works against each other: all of them ``warm_up`` times unread, then in turn ``repeats`` times.

    In turn, so that a machine that drifts drifts for all.

    >>> ticks = iter([0.0, 1.0, 1.0, 4.0, 4.0, 5.0, 5.0, 8.0])
    >>> both = {"one": lambda: None, "other": lambda: None}
    >>> timed_alternately(both, repeats=1, now=lambda: next(ticks))["other"].seconds
    (3.0,)
    """
    rounds = [{name: _read(work, now) for name, work in works.items()} for _ in range(warm_up + repeats)]
    return {name: Timing(tuple(one[name] for one in rounds[warm_up:])) for name in works}


def _read(work: Callable[[], Any], now: Callable[[], float]) -> float:
    start = now()
    work()
    return now() - start
