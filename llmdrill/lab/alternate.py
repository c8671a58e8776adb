"""Timing of variants against each other: in turn, in one run, so that a machine that drifts drifts for all."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from llmdrill.lab.clock import Timing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

WARM_UP: Final = 1  # unread runs of every variant


def timed_alternately(
    works: Mapping[str, Callable[[], object]], *, repeats: int, now: Callable[[], float] = time.perf_counter
) -> dict[str, Timing]:
    """Run all works once unread, then in turn ``repeats`` times with the clock read around each.

    >>> ticks = iter([0.0, 1.0, 1.0, 4.0, 4.0, 5.0, 5.0, 8.0])
    >>> both = {"one": lambda: None, "other": lambda: None}
    >>> timed_alternately(both, repeats=1, now=lambda: next(ticks))["other"].seconds
    (3.0,)
    """
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for repeat in range(WARM_UP + repeats):
        for name, work in works.items():
            start = now()
            work()
            took = now() - start
            if repeat >= WARM_UP:
                seconds[name].append(took)
    return {name: Timing(tuple(values)) for name, values in seconds.items()}
