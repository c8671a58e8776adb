"""What typing does to a completion service: requests sent, and those cancelled by the next keystroke.

``replay_typing`` follows a trace by arithmetic; a ``Typist`` lets a real engine answer it and leaves each request where
the next keystroke finds it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Final

import numpy as np

from llmdrill.errors import UsageError
from llmdrill.units import MS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmdrill.lab.completion import Completer


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

    def intervals_ms(self, rng: np.random.Generator) -> np.ndarray:
        """Return the time from each keystroke to the next (keystrokes,): after the last one, for ever.

        One is drawn from each of as many equally likely parts of the lognormal, and their order is drawn too: a short
        trace then has the shares of a long one.
        """
        parts = self.keystrokes - 1
        shares = (rng.permutation(parts) + rng.uniform(0.01, 0.99, parts)) / max(1, parts)
        quantiles = np.array([NormalDist().inv_cdf(share) for share in shares.tolist()])
        return np.append(self.interval_p50_ms * np.exp(self.interval_sigma * quantiles), np.inf)


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
    left_alone_ms = trace.intervals_ms(rng) - trace.debounce_ms  # after sending, until the next keystroke
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


@dataclass(frozen=True, slots=True)
class TypingPolicy:
    """How editor and engine treat keystrokes.

    Attributes:
        name: For tables.
        trace: With the debounce.
        cancel: Whether the next keystroke stops a request, or it runs to its end for nobody.
        reuse: Whether keys and values of the last prompt are kept.
    """

    name: str
    trace: TypingTrace
    cancel: bool
    reuse: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one request to a real engine.

    Attributes:
        waited_s: From its keystroke to its last token, by the trace's clock; None if it was left before that.
        first_token: Whether it wrote a token.
        seen: Whether it was whole before the next keystroke.
        engine_s: Seconds the engine worked for it.
        prompt_tokens: Of its prompt; 0 if it never started.
        read_tokens: Of those, the ones that the engine had to read.
    """

    waited_s: float | None
    first_token: bool
    seen: bool
    engine_s: float
    prompt_tokens: int
    read_tokens: int


NEVER_STARTED: Final = Answer(None, first_token=False, seen=False, engine_s=0.0, prompt_tokens=0, read_tokens=0)


@dataclass(frozen=True, slots=True)
class DrivenTyping:
    """A whole trace answered by a real engine.

    Attributes:
        keystrokes: Of the trace.
        answers: One a request sent.
        typed_through: Keystrokes that typed what stood there in grey already.
    """

    keystrokes: int
    answers: tuple[Answer, ...]
    typed_through: int

    @property
    def outcome(self) -> TypingOutcome:
        """Return the counts that ``replay_typing`` predicts."""
        unseen = [one for one in self.answers if not one.seen]
        early = sum(not one.first_token for one in unseen)
        engine_s = sum(one.engine_s for one in self.answers)
        wasted_s = sum(one.engine_s for one in unseen)
        return TypingOutcome(
            sent=len(self.answers),
            cancelled_before_first_token=early,
            cancelled_later=len(unseen) - early,
            wasted_compute_share=wasted_s / engine_s if engine_s > 0 else None,
        )

    @property
    def engine_s(self) -> float:
        return sum(one.engine_s for one in self.answers)

    @property
    def waits_s(self) -> tuple[float, ...]:
        """Return keystroke to grey text of every suggestion that was seen."""
        return tuple(one.waited_s for one in self.answers if one.seen and one.waited_s is not None)


@dataclass(frozen=True, slots=True)
class Typed:
    """A file up to the cursor, and what each keystroke adds to it."""

    before: str
    keys: tuple[str, ...]


def keys_of(text: str) -> tuple[str, ...]:
    r"""Return what each keystroke adds to a text: the return key brings the indentation of the new line with it.

    >>> keys_of("if x:\n    y")
    ('i', 'f', ' ', 'x', ':', '\n    ', 'y')
    """
    return tuple(re.findall(r"\n[ \t]*|.", text))


class Typist:
    """Types a text key by key while an engine answers: a request is left between two steps when the next key is there.

    The trace's clock runs while the engine works, ``pace`` times as fast as it, and skips the pauses in which the
    engine has nothing to do; so several typists on one machine can take turns, key by key. A running step cannot be
    broken off, and one engine answers one request at a time: a request waits for the step, or without cancelling for
    the whole requests, before it.

    Source:
        Arithmetic on real clocks; the policy is that of ``replay_typing``.
    """

    def __init__(
        self,
        completer: Completer,
        policy: TypingPolicy,
        typed: Typed,
        *,
        rng: np.random.Generator,
        pace: Callable[[str], float] = lambda _: 1.0,
    ) -> None:
        """Sit down before an engine.

        Args:
            completer: On the engine.
            policy: With the trace.
            typed: A text, with at least as many keys as the trace has keystrokes.
            rng: Draws the intervals, the same as ``replay_typing`` with the same seed.
            pace: Seconds of the trace for a second of the engine, asked with the text before each request.

        Raises:
            UsageError: If there are too few keys.
        """
        trace = policy.trace
        if len(typed.keys) < trace.keystrokes:
            raise UsageError(f"{trace.keystrokes} keystrokes, but the text to be typed has {len(typed.keys)}")
        self._completer, self._policy, self._pace, self._text = completer, policy, pace, typed.before
        self._coming = zip(typed.keys, (trace.intervals_ms(rng) / MS_PER_S).tolist(), strict=False)
        self._at_s, self._free_s = 0.0, 0.0  # the key to come, and the engine's next free moment
        self._grey = ""
        self._answers: list[Answer] = []
        self._typed_through = 0

    def press(self) -> None:
        """Type the next key; if nothing follows it during the debounce, ask, and leave the request at the next key."""
        key, interval_s = next(self._coming)
        self._text += key
        follows = self._grey.startswith(key)
        self._typed_through += follows
        self._grey = self._grey[len(key) :] if follows else ""
        send_s, next_s = self._at_s + self._policy.trace.debounce_ms / MS_PER_S, self._at_s + interval_s
        if send_s < next_s:
            self._ask(send_s=send_s, next_s=next_s)
        self._at_s = next_s

    def driven(self) -> DrivenTyping:
        """Return what came of the keys so far."""
        return DrivenTyping(self._policy.trace.keystrokes, tuple(self._answers), self._typed_through)

    def _ask(self, *, send_s: float, next_s: float) -> None:
        begin_s = max(send_s, self._free_s)
        if self._policy.cancel and begin_s >= next_s:
            self._answers.append(NEVER_STARTED)
            return
        pace = self._pace(self._text)
        request = self._completer.request(self._text, reuse=self._policy.reuse)
        limit_s = (next_s - begin_s) / pace if self._policy.cancel else math.inf
        while not request.done and request.worked_s < limit_s:
            request.step()
        self._free_s = begin_s + pace * request.worked_s
        seen = request.done and self._free_s <= next_s
        self._answers.append(
            Answer(
                waited_s=self._free_s - self._at_s if request.done else None,
                first_token=request.written > 0,
                seen=seen,
                engine_s=request.worked_s,
                prompt_tokens=len(request.prompt.ids),
                read_tokens=request.read_tokens,
            )
        )
        if seen:
            self._grey = request.completion().text
