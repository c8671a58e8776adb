"""Time to first token of a prompt whose beginning the cache holds already, by how much of it that is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from llmdrill.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from llmdrill.lab.decoder import Decoder


@dataclass(frozen=True, slots=True)
class PrefixHit:
    """A prompt of which the first ``cached_tokens`` were in the cache.

    Attributes:
        ttft_s: Of each repeat: finding the common beginning, reading the rest, choosing the first token.
        logit_difference: The largest to the logits of the same prompt read whole into an empty cache.
        same_token: Whether that run chose the same first token.
    """

    cached_tokens: int
    ttft_s: tuple[float, ...]
    logit_difference: float
    same_token: bool

    @property
    def median_s(self) -> float:
        return median(self.ttft_s)


def shared_tokens(held: Sequence[int], prompt: Sequence[int]) -> int:
    """Return how many tokens two texts have in common at their beginning, leaving one of the prompt to be read.

    >>> shared_tokens([1, 2, 3], [1, 2, 4]), shared_tokens([1, 2, 3], [1, 2, 3])
    (2, 2)
    """
    pairs = enumerate(zip(held, prompt, strict=False))
    first_other = next((at for at, (one, other) in pairs if one != other), min(len(held), len(prompt)))
    return min(first_other, len(prompt) - 1)


def time_prefix_hits(
    decoder: Decoder,
    held: Sequence[int],
    tail: Sequence[int],
    *,
    cached_tokens: Sequence[int],
    repeats: int,
    now: Callable[[], float] = time.perf_counter,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[PrefixHit, ...]:
    """Time prompts that begin like a text in the cache and go on otherwise, the sizes of the hit in turn.

    Args:
        decoder: Reads them.
        held: The text (P,) in the cache; every prompt is as long.
        tail: Tokens (P,): a prompt has held's first tokens, then tail's from the same place on.
        cached_tokens: How much of the prompt is held, 0 for none; each less than P.
        repeats: Rounds after one that does not count.
        now: The clock.
        say: Told the round.

    Raises:
        UsageError: If nothing would be left to read, or the text is longer than the model's context.

    Source:
        Kwon et al. 2023, arXiv:2309.06180, section 4.4, shared prefix.
    """
    if not cached_tokens or not 0 <= min(cached_tokens) <= max(cached_tokens) < len(held):
        raise UsageError(f"of a prompt of {len(held)} tokens at most {len(held) - 1} can be cached: one must be read")
    prompts = {size: _prompt(held, tail, size, decoder.shape.vocab) for size in cached_tokens}
    session = decoder.start(sequences=1, capacity_tokens=len(held))
    seconds: dict[int, list[float]] = {size: [] for size in prompts}
    found: dict[int, Tensor] = {}
    for round_ in range(repeats + 1):
        say(f"round {round_} of {repeats}" if round_ else "warming up")
        session.cache.keep(0)
        session.prefill([held])
        for size in sorted(prompts, reverse=True):  # a smaller hit needs nothing that a larger one has overwritten
            start = now()
            session.cache.keep(shared_tokens(held, prompts[size]))
            logits = session.prefill([prompts[size][int(session.cache.lengths[0]) :]])
            int(logits.argmax())  # the first token is there when it is chosen
            seconds[size] += [now() - start] if round_ else []
            found[size] = logits
    whole = {size: _read_whole(decoder, prompt) for size, prompt in prompts.items()}
    return tuple(
        PrefixHit(
            cached_tokens=size,
            ttft_s=tuple(seconds[size]),
            logit_difference=float((whole[size] - found[size]).abs().max()),
            same_token=bool(whole[size].argmax() == found[size].argmax()),
        )
        for size in cached_tokens
    )


def _prompt(held: Sequence[int], tail: Sequence[int], size: int, vocabulary: int) -> list[int]:
    """Return a prompt that is held's for so many tokens and not for one more."""
    prompt = [*held[:size], *tail[size:]]
    if prompt[size] == held[size]:
        prompt[size] = (prompt[size] + 1) % vocabulary
    return prompt


def _read_whole(decoder: Decoder, prompt: Sequence[int]) -> Tensor:
    """Return the logits (1, V) after a prompt that was read at once into an empty cache."""
    return decoder.start(sequences=1, capacity_tokens=len(prompt)).prefill([prompt])
