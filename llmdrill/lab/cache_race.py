"""What a key-value cache saves: generation with one and without, token by token in turn."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmdrill.lab.decoder import Decoder

WARM_UP_TOKENS: Final = 8


@dataclass(frozen=True, slots=True)
class Race:
    """Generation with a cache and without one.

    Attributes:
        cached_s: Of each repeat, the seconds until the first, the second … token.
        uncached_s: The same where every token reads the whole text before it again.
        same_tokens: Of each repeat, whether both chose the same tokens.
    """

    cached_s: tuple[tuple[float, ...], ...]
    uncached_s: tuple[tuple[float, ...], ...]
    same_tokens: tuple[bool, ...]

    def median_s(self, *, cached: bool) -> tuple[float, ...]:
        """Return the seconds until each token, median over repeats."""
        return tuple(median(each) for each in zip(*(self.cached_s if cached else self.uncached_s), strict=True))

    @property
    def speed_up_ratio(self) -> float:
        """Return how many times faster the cache makes the longest output: median over median."""
        return self.median_s(cached=False)[-1] / self.median_s(cached=True)[-1]

    @property
    def crossover_tokens(self) -> int | None:
        """Return the output length from which on the cache is faster; None if it is not at the longest.

        At least 2: the first token takes a pass over the prompt either way, so there only noise decides.

        >>> Race(((1.0, 3.0, 4.0),), ((1.0, 2.0, 5.0),), (True,)).crossover_tokens
        3
        """
        behind = np.array(self.median_s(cached=True)) >= np.array(self.median_s(cached=False))
        slower = np.flatnonzero(behind)
        first = (int(slower[-1]) if len(slower) else 0) + 2
        return first if first <= len(behind) else None


def race(
    decoder: Decoder,
    prompt: Sequence[int],
    *,
    output_tokens: int,
    repeats: int,
    now: Callable[[], float] = time.perf_counter,
    say: Callable[[str], None] = lambda _: None,
) -> Race:
    """Generate greedily with and without the cache, one token of each in turn, a clock for each.

    Raises:
        UsageError: If prompt and output do not fit the model's context.

    Source:
        Arithmetic.
    """
    _lap(decoder, prompt, min(output_tokens, WARM_UP_TOKENS), now)
    laps = []
    for number in range(1, repeats + 1):
        say(f"generating with and without a cache, repeat {number} of {repeats}")
        laps.append(_lap(decoder, prompt, output_tokens, now))
    return Race(*(tuple(column) for column in zip(*laps, strict=True)))


def _lap(
    decoder: Decoder, prompt: Sequence[int], output_tokens: int, now: Callable[[], float]
) -> tuple[tuple[float, ...], tuple[float, ...], bool]:
    """Return the seconds until each token with the cache and without, and whether the tokens were the same."""
    capacity = len(prompt) + output_tokens - 1
    session, forgetful = (decoder.start(sequences=1, capacity_tokens=capacity) for _ in range(2))
    cached_s, uncached_s = [], []
    ours: list[int] = []
    theirs: list[int] = []
    picked = None
    for _ in range(output_tokens):
        start = now()
        logits = session.prefill([prompt]) if picked is None else session.decode(picked)
        picked = logits.argmax(dim=-1)
        middle = now()
        forgetful.cache.keep(0)
        again = int(forgetful.prefill([[*prompt, *theirs]]).argmax())
        uncached_s.append(now() - middle)
        cached_s.append(middle - start)
        ours.append(int(picked))
        theirs.append(again)
    return tuple(np.cumsum(cached_s).tolist()), tuple(np.cumsum(uncached_s).tolist()), ours == theirs
