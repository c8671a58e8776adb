"""Serve a queue of requests from one pool of cache blocks, and read what it wasted, shared, copied and preempted.

The scheduler is that of Kwon et al. 2023, arXiv:2309.06180, section 4.5: first come, first served; when the pool is
full the latest request loses all its blocks, and comes back before any new one. With blocks as long as the longest
request allowed, the same scheduler is contiguous reservation (section 3.1).
"""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import torch

from llmdrill.errors import UsageError
from llmdrill.lab.decoder import Session
from llmdrill.lab.paged_cache import BLOCK_TOKENS, BlockPool, BlockTable, PagedCache

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from llmdrill.lab.decoder import Decoder
    from llmdrill.lab.paged_cache import SwappedOut

Preemption = Literal["swap", "recompute"]


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt and how many tokens are wanted after it."""

    prompt: tuple[int, ...]
    output_tokens: int

    @property
    def cached_tokens(self) -> int:
        """Return the longest its cache gets: the last token chosen is never read back."""
        return len(self.prompt) + self.output_tokens - 1


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """How a queue is served.

    Attributes:
        blocks: Of the pool.
        block_tokens: Of one block.
        most_sequences: Served at once, if the pool allows.
        preemption: What becomes of a preempted request's blocks: copied out, or dropped and computed again.
        prefix: Tokens that every prompt begins with, computed once and shared; empty for no sharing.
    """

    blocks: int
    block_tokens: int = BLOCK_TOKENS
    most_sequences: int = 16
    preemption: Preemption = "swap"
    prefix: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request got.

    Attributes:
        tokens: Chosen greedily.
        logits: (tokens, V), each token's.
    """

    tokens: tuple[int, ...]
    logits: Tensor


@dataclass(frozen=True, slots=True)
class Resident:
    """The pool after one decoding step.

    Attributes:
        sequences: Being decoded.
        used_bytes: Of the blocks they hold, a shared one once.
        wasted_bytes: The part of those that holds no token.
        waiting: Requests that the pool had no room for, preempted ones included.
    """

    sequences: int
    used_bytes: int
    wasted_bytes: int
    waiting: int


@dataclass(frozen=True, slots=True)
class QueueRun:
    """What serving a queue took.

    Attributes:
        answers: In the order of the requests.
        residents: One for each decoding step.
        seconds: From the first request taken up to the last one answered.
        peak_bytes: The most that was in use at once.
        preemptions: How often a request lost its blocks.
        swapped_bytes: Copied out of the pool for that.
        recomputed_tokens: Read again for that.
        prefilled_tokens: Read in all prompts, again or not.
        copied_blocks: On writing to a shared one.
        lost_blocks: Still held when all was done; anything but 0 is a fault.
    """

    answers: tuple[Answer, ...]
    residents: tuple[Resident, ...]
    seconds: float
    peak_bytes: int
    preemptions: int
    swapped_bytes: int
    recomputed_tokens: int
    prefilled_tokens: int
    copied_blocks: int
    lost_blocks: int

    @property
    def peak_sequences(self) -> int:
        return max((one.sequences for one in self.residents), default=0)

    @property
    def mean_sequences(self) -> float:
        """Return how many were decoded at a step, mean over the steps at which others waited; the peak if none did."""
        full = [one.sequences for one in self.residents if one.waiting]
        return sum(full) / len(full) if full else float(self.peak_sequences)

    @property
    def waste_bytes(self) -> float:
        """Return what a sequence wasted, mean over steps and sequences."""
        return sum(one.wasted_bytes for one in self.residents) / max(1, sum(one.sequences for one in self.residents))

    @property
    def waste_share(self) -> float:
        """Return the part of the bytes in use that held no token, mean over steps."""
        return sum(one.wasted_bytes for one in self.residents) / max(1, sum(one.used_bytes for one in self.residents))


@dataclass(slots=True, eq=False)
class _Serving:
    """One request on its way: waiting, decoded, or preempted with what ``swapped`` holds."""

    index: int
    request: Request
    table: BlockTable = field(default_factory=BlockTable)
    tokens: list[int] = field(default_factory=list)
    logits: list[Tensor] = field(default_factory=list)
    swapped: SwappedOut | None = None


@dataclass(slots=True)
class _Counts:
    preemptions: int = 0
    swapped_bytes: int = 0
    recomputed_tokens: int = 0
    prefilled_tokens: int = 0
    peak_bytes: int = 0


class _Server:
    """The state of a queue being served."""

    def __init__(self, decoder: Decoder, requests: Sequence[Request], settings: PoolSettings) -> None:
        self.decoder, self.settings = decoder, settings
        self.pool = BlockPool(
            decoder.shape, blocks=settings.blocks, block_tokens=settings.block_tokens, dtype=decoder.dtype
        )
        self.prefix = BlockTable()
        _refuse(requests, settings)
        self.all = [_Serving(index, request) for index, request in enumerate(requests)]
        self.waiting = deque(self.all)  # in order of arrival, the preempted first: they came before all others here
        self.running: list[_Serving] = []  # in order of arrival
        self.counts, self.residents = _Counts(), list[Resident]()

    def serve(self) -> None:
        if self.settings.prefix:
            self._prefill(self.prefix, self.settings.prefix)
        while self.waiting or self.running:
            self._admit()
            self._make_room()
            if self.running:
                self._decode()
        self.pool.keep(self.prefix, 0)

    def _admit(self) -> None:
        """Take up requests while they, and the next token of all that run, fit."""
        while self.waiting and len(self.running) < self.settings.most_sequences:
            one = self.waiting[0]
            if self._blocks_to_start(one) + self._blocks_to_step() > self.pool.ledger.free_blocks:
                return
            self.running.append(self.waiting.popleft())
            if one.swapped is not None:
                one.table, one.swapped = self.pool.swap_in(one.swapped, self.prefix), None
            else:
                self._read(one)

    def _blocks_to_start(self, one: _Serving) -> int:
        """Return the blocks that a request takes with its next token: of its own, beside those of a shared prefix."""
        tokens = min(len(one.request.prompt) + len(one.tokens) + 1, one.request.cached_tokens)
        return math.ceil(tokens / self.pool.block_tokens) - len(self.settings.prefix) // self.pool.block_tokens

    def _blocks_to_step(self) -> int:
        return sum(self.pool.needed_blocks(one.table, 1) for one in self.running)

    def _read(self, one: _Serving) -> None:
        """Read a prompt, with what was answered before a preemption; the shared prefix is there already."""
        one.table = self.pool.fork(self.prefix)
        known = (*one.request.prompt, *one.tokens)[len(self.settings.prefix) :]
        self.counts.recomputed_tokens += len(known) if one.tokens else 0
        self._append(one, self._prefill(one.table, known))

    def _prefill(self, table: BlockTable, ids: Sequence[int]) -> Tensor:
        logits = Session(self.decoder, PagedCache(self.pool, [table])).prefill([ids])
        self.counts.prefilled_tokens += len(ids)
        self.counts.peak_bytes = max(self.counts.peak_bytes, self.pool.used_bytes)
        return logits[0]

    def _make_room(self) -> None:
        """Take a place for the next token of each, earliest first; where there is none, the latest must go."""
        for one in tuple(self.running):
            while one in self.running and self.pool.needed_blocks(one.table, 1) > self.pool.ledger.free_blocks:
                self._preempt(self.running.pop())
            if one in self.running:
                self.pool.extend(one.table, 1)

    def _preempt(self, one: _Serving) -> None:
        self.counts.preemptions += 1
        if self.settings.preemption == "swap":
            one.swapped = self.pool.swap_out(one.table, kept_blocks=self.prefix.tokens // self.pool.block_tokens)
            self.counts.swapped_bytes += one.swapped.keys_values.nbytes
        else:
            self.pool.keep(one.table, 0)
        self.waiting.appendleft(one)

    def _decode(self) -> None:
        cache = PagedCache(self.pool, [one.table for one in self.running])
        logits = Session(self.decoder, cache).decode(torch.tensor([one.tokens[-1] for one in self.running]))
        used = cache.allocated_bytes
        self.residents.append(Resident(len(self.running), used, used - cache.used_bytes, len(self.waiting)))
        self.counts.peak_bytes = max(self.counts.peak_bytes, self.pool.used_bytes)
        for one, row in zip(tuple(self.running), logits, strict=True):
            self._append(one, row)

    def _append(self, one: _Serving, logits: Tensor) -> None:
        one.logits.append(logits)
        one.tokens.append(int(logits.argmax()))
        if len(one.tokens) == one.request.output_tokens:
            self.running.remove(one)
            self.pool.keep(one.table, 0)


def _refuse(requests: Sequence[Request], settings: PoolSettings) -> None:
    if min((one.output_tokens for one in requests), default=0) < 1:
        raise UsageError("a queue has at least one request, and each wants at least one token")
    if any(one.prompt[: len(settings.prefix)] != settings.prefix or one.prompt == settings.prefix for one in requests):
        raise UsageError("every prompt must begin with the shared prefix and go on after it")
    copy = 1 if len(settings.prefix) % settings.block_tokens else 0  # of the prefix's last block, which stays shared
    longest = max(one.cached_tokens for one in requests)
    needed = math.ceil(longest / settings.block_tokens) + copy
    if needed > settings.blocks:
        raise UsageError(
            f"the longest request takes {needed} blocks of {settings.block_tokens} tokens, but the pool has"
            f" {settings.blocks}: give it more, or ask for less"
        )


def serve_queue(
    decoder: Decoder,
    requests: Sequence[Request],
    settings: PoolSettings,
    *,
    now: Callable[[], float] = time.perf_counter,
) -> QueueRun:
    """Answer all requests greedily, with continuous batching, from one pool.

    Raises:
        UsageError: If a request cannot be served from such a pool even alone.

    Source:
        Kwon et al. 2023, arXiv:2309.06180, sections 4.2 to 4.5.
    """
    server = _Server(decoder, requests, settings)
    start = now()
    server.serve()
    seconds, counts = now() - start, server.counts
    return QueueRun(
        answers=tuple(Answer(tuple(one.tokens), torch.stack(one.logits)) for one in server.all),
        residents=tuple(server.residents),
        seconds=seconds,
        peak_bytes=counts.peak_bytes,
        preemptions=counts.preemptions,
        swapped_bytes=counts.swapped_bytes,
        recomputed_tokens=counts.recomputed_tokens,
        prefilled_tokens=counts.prefilled_tokens,
        copied_blocks=server.pool.copied_blocks,
        lost_blocks=server.pool.ledger.used_blocks,
    )
