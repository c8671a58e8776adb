"""What an engine of benchmarks/decode.py is asked for, and how single steps are timed."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True, slots=True)
class Answer:
    """Tokens chosen greedily, and the seconds of reading the prompt and of each further token (median)."""

    tokens: tuple[int, ...]
    prefill_s: float
    step_s: float | None


class Engine(Protocol):
    """What is timed."""

    def answer(self, prompt: Sequence[int], *, tokens: int) -> Answer: ...


def stepped(prefill: Callable[[], int], step: Callable[[int], int], *, tokens: int) -> Answer:
    """Time a prefill and single steps, each of which returns the token chosen."""
    start = time.perf_counter()
    chosen, seconds = [prefill()], []
    prefill_s = time.perf_counter() - start
    for _ in range(tokens - 1):
        start = time.perf_counter()
        chosen.append(step(chosen[-1]))
        seconds.append(time.perf_counter() - start)
    return Answer(tuple(chosen), prefill_s, statistics.median(seconds) if seconds else None)
