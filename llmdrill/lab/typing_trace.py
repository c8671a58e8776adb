"""What typing does to a completion service: requests sent, and those cancelled by the next keystroke."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmdrill.errors import UsageError


@dataclass(frozen=True, slots=True)
class TypingTrace:
    """A synthetic person typing: intervals between keystrokes are lognormal.

    Attributes:
        keystrokes: How many.
        interval_p50_ms: Median time between two keystrokes.
        interval_sigma: Standard deviation of the interval's logarithm; 0 types like a metronome.
        debounce_ms: A request is sent only after so long without a keystroke.
    """

    keystrokes: int
    interval_p50_ms: float
    interval_sigma: float
    debounce_ms: float

    def __post_init__(self) -> None:
        if self.keystrokes < 1 or self.interval_p50_ms <= 0 or self.interval_sigma < 0 or self.debounce_ms < 0:
            raise UsageError("a typing trace needs a keystroke, a positive median interval and no negative figure")


@dataclass(frozen=True, slots=True)
class TypingOutcome:
    """What became of the requests of one trace; the shares are None where nothing was sent or computed."""

    sent: int
    cancelled_before_first_token: int
    cancelled_later: int
    wasted_compute_share: float | None

    @property
    def cancelled_before_first_token_share(self) -> float | None:
        return self.cancelled_before_first_token / self.sent if self.sent else None

    @property
    def wasted_share(self) -> float | None:
        """Return the share of requests that were cancelled before their answer was whole."""
        return (self.cancelled_before_first_token + self.cancelled_later) / self.sent if self.sent else None


def replay_typing(trace: TypingTrace, *, ttft_ms: float, total_ms: float, rng: np.random.Generator) -> TypingOutcome:
    """Follow every request of a trace, given the latency of one that is left alone.

    Formula:
        A keystroke sends a request ``debounce_ms`` later unless another keystroke comes first. The next keystroke
        cancels it and frees the engine at once. Wasted is the engine's time on requests that were cancelled.

    Error:
        No queueing: each request runs as if alone, and a running step can be broken off at any moment.

    >>> metronome = TypingTrace(keystrokes=5, interval_p50_ms=100, interval_sigma=0, debounce_ms=20)
    >>> replay_typing(metronome, ttft_ms=90, total_ms=160, rng=np.random.default_rng(0))
    TypingOutcome(sent=5, cancelled_before_first_token=4, cancelled_later=0, wasted_compute_share=0.6666666666666666)
    """
    intervals = trace.interval_p50_ms * np.exp(trace.interval_sigma * rng.standard_normal(trace.keystrokes - 1))
    left_alone_ms = np.append(intervals, np.inf) - trace.debounce_ms  # after sending, until the next keystroke
    left_alone_ms = left_alone_ms[left_alone_ms > 0]  # the others never leave the editor
    busy_ms = np.minimum(left_alone_ms, total_ms)
    cancelled = left_alone_ms < total_ms
    early = int((left_alone_ms < ttft_ms).sum())
    return TypingOutcome(
        sent=len(left_alone_ms),
        cancelled_before_first_token=early,
        cancelled_later=int(cancelled.sum()) - early,
        wasted_compute_share=float(busy_ms[cancelled].sum() / busy_ms.sum()) if busy_ms.sum() > 0 else None,
    )
