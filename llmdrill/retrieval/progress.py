"""Tell a person how far a long piece of work is, and how long it will take before it starts."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def _silent(_: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where progress is told.

    Attributes:
        say: Shows a line in place of the one before.
        tell: Shows a line that stays.
        now: The clock, in seconds.
    """

    say: Callable[[str], None] = _silent
    tell: Callable[[str], None] = _silent
    now: Callable[[], float] = time.perf_counter


def in_words(seconds: float) -> str:
    """Return a span of time as people say it.

    >>> in_words(0.4), in_words(42.4), in_words(95), in_words(5400)
    ('under 1 s', '42 s', '1 min 35 s', '1 h 30 min')
    """
    whole = round(seconds)
    if whole < 1:
        return "under 1 s"
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def left(begun: float, now: float, share: float) -> str:
    """Return the time left when a share of the work took so long; empty while nothing is known.

    >>> left(0.0, 30.0, 0.25)
    ', 1 min 30 s left'
    """
    return f", {in_words((now - begun) * (1 - share) / share)} left" if share > 0 else ""
