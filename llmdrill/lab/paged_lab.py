"""The runs of `llmdrill lab paged`: one queue from pools of the same bytes, and what sharing saves."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from llmdrill.lab.paged_compare import agreement, answer_alone, sample_from, sample_plainly
from llmdrill.lab.paged_run import PoolSettings, Request, serve_queue

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmdrill.lab.decoder import Decoder
    from llmdrill.lab.paged_compare import Agreement
    from llmdrill.lab.paged_run import QueueRun


@dataclass(frozen=True, slots=True)
class Served:
    """One way to serve the queue, several times.

    Attributes:
        run: The last time.
        seconds: Of each time.
        agreement: With each request answered alone from a contiguous cache.
    """

    run: QueueRun
    seconds: tuple[float, ...]
    agreement: Agreement

    @property
    def median_s(self) -> float:
        return median(self.seconds)


@dataclass(frozen=True, slots=True)
class Sharing:
    """The same work with shared blocks and without.

    Attributes:
        unshared_bytes: The most in use when every sequence has its own blocks.
        shared_bytes: The same with shared ones.
        copied_blocks: On writing to a shared one.
        agreement: Of the answers with those of the contiguous cache.
    """

    unshared_bytes: int
    shared_bytes: int
    copied_blocks: int
    agreement: Agreement


def serve_in_turn(
    decoder: Decoder,
    requests: Sequence[Request],
    pools: dict[str, PoolSettings],
    *,
    repeats: int,
    now: Callable[[], float] = time.perf_counter,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Served]:
    """Serve a queue from each pool in turn, so many times after one unread, and compare with each request alone.

    Raises:
        UsageError: If a request cannot be served from one of the pools even alone.

    Source:
        As ``serve_queue``.
    """
    say("every request alone")
    alone = answer_alone(decoder, requests)
    seconds: dict[str, list[float]] = {name: [] for name in pools}
    runs: dict[str, QueueRun] = {}
    for round_ in range(repeats + 1):
        for name, settings in pools.items():
            say(f"the queue, {name}, " + (f"round {round_} of {repeats}" if round_ else "warming up"))
            runs[name] = serve_queue(decoder, requests, settings, now=now)
            seconds[name] += [runs[name].seconds] if round_ else []
    return {name: Served(run, tuple(seconds[name]), agreement(run.answers, alone)) for name, run in runs.items()}


def share_prefix(
    decoder: Decoder, requests: Sequence[Request], prefix: tuple[int, ...], *, block_tokens: int
) -> Sharing:
    """Serve requests that begin alike, from a pool with room for all at once, the beginning shared or not.

    Source:
        Kwon et al. 2023, arXiv:2309.06180, section 4.4, shared prefix.
    """
    blocks = sum(math.ceil(one.cached_tokens / block_tokens) + 1 for one in requests) + math.ceil(
        len(prefix) / block_tokens
    )
    own = PoolSettings(blocks, block_tokens, most_sequences=len(requests))
    shared = PoolSettings(blocks, block_tokens, most_sequences=len(requests), prefix=prefix)
    apart, together = serve_queue(decoder, requests, own), serve_queue(decoder, requests, shared)
    agreed = agreement(together.answers, answer_alone(decoder, requests))
    return Sharing(apart.peak_bytes, together.peak_bytes, together.copied_blocks, agreed)


def share_samples(
    decoder: Decoder, prompt: Sequence[int], *, samples: int, output_tokens: int, block_tokens: int, seed: int
) -> Sharing:
    """Draw several answers to one prompt, its blocks shared or not."""
    apart, together = (
        sample_from(
            decoder,
            prompt,
            samples=samples,
            output_tokens=output_tokens,
            block_tokens=block_tokens,
            shared=shared,
            seed=seed,
        )
        for shared in (False, True)
    )
    plain = sample_plainly(decoder, prompt, samples=samples, output_tokens=output_tokens, seed=seed)
    agreed = agreement(together.answers, plain)
    return Sharing(apart.used_bytes, together.used_bytes, together.copied_blocks, agreed)
