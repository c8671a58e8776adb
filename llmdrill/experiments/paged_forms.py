"""What closed forms say of `llmdrill lab paged`: waste, sequences that fit, bytes of shared beginnings, copies."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from llmdrill.estimate.explain import figure
from llmdrill.estimate.kv_cache import kv_cache_bytes, max_sequences
from llmdrill.estimate.paging import explain_contiguous_waste, explain_paged_waste
from llmdrill.experiments.record import record_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdrill.estimate.explain import Explained
    from llmdrill.experiments.paged import PagedOptions, PagedWork
    from llmdrill.lab.paged_run import Request
    from llmdrill.lab.shapes import DecoderShape

BYTES_FP32: Final = 4.0


class PagedForms:
    """The closed forms of one experiment."""

    def __init__(self, shape: DecoderShape, options: PagedOptions, work: PagedWork) -> None:
        self.attention, self.options, self.work = record_of(shape).attention, options, work

    def _bytes(self, tokens: float, *, sequences: float = 1, block_tokens: int = 1) -> float:
        return kv_cache_bytes(
            self.attention,
            context_tokens=tokens,
            sequences=sequences,
            bytes_per_value=BYTES_FP32,
            block_tokens=block_tokens,
        )

    @property
    def pool_bytes(self) -> float:
        return self._bytes(self.options.room_tokens)

    @property
    def mean_tokens(self) -> float:
        """Return the tokens a sequence has in the cache, mean over all decoding steps of the queue."""
        return mean_cached_tokens(self.work.queue)

    def paged_waste(self) -> Explained:
        return explain_paged_waste(self.attention, bytes_per_value=BYTES_FP32, block_tokens=self.options.block_tokens)

    def contiguous_waste(self) -> Explained:
        return explain_contiguous_waste(
            self.attention,
            context_tokens=self.mean_tokens,
            reserved_tokens=self.options.longest_tokens,
            bytes_per_value=BYTES_FP32,
        )

    def sequences(self, *, paged: bool) -> int:
        """Return how many sequences of the queue fit into the pool at once."""
        fit = max_sequences(
            self.attention,
            memory_bytes=self.pool_bytes,
            context_tokens=self.mean_tokens if paged else self.options.longest_tokens,
            bytes_per_value=BYTES_FP32,
            block_tokens=self.options.block_tokens if paged else 1,
        )
        return min(fit or 0, self.options.requests)

    def sequences_filled(self, *, paged: bool) -> str:
        """Return the formula of ``sequences`` with the numbers put in."""
        tokens = self.mean_tokens if paged else self.options.longest_tokens
        one = self._bytes(tokens, block_tokens=self.options.block_tokens if paged else 1)
        fit, most = f"⌊{figure(self.pool_bytes)} / {figure(one)}⌋", self.options.requests
        return f"⌊pool / cache of {tokens:.4g} tokens⌋, at most {most} = {fit} = {self.sequences(paged=paged)}"

    def unshared_bytes(self, lengths: Sequence[int]) -> float:
        """Return the bytes of sequences that hold all their blocks alone."""
        return sum(self._bytes(tokens, block_tokens=self.options.block_tokens) for tokens in lengths)

    def shared_bytes(self, lengths: Sequence[int], *, kept: bool) -> float:
        """Return the bytes of sequences that share all whole blocks of the prefix.

        Args:
            lengths: Tokens of each sequence, the prefix included.
            kept: Whether the prefix also stays by itself, with its last block.
        """
        size, prefix = self.options.block_tokens, self.options.prefix_tokens
        whole = self._bytes(prefix // size * size)
        last = self._bytes(prefix, block_tokens=size) - whole if kept else 0.0
        return self.unshared_bytes(lengths) - (len(lengths) - 1) * whole + last

    def copies(self, sequences: int, *, kept: bool) -> int:
        """Return the blocks copied on writing: the prefix's last block, by all who write while another holds it."""
        if self.options.prefix_tokens % self.options.block_tokens == 0:
            return 0
        return sequences if kept else sequences - 1

    @property
    def alike_lengths(self) -> list[int]:
        """Return the tokens of each request that begins with the prefix, at its longest."""
        return [one.cached_tokens for one in self.work.alike]

    @property
    def sample_lengths(self) -> list[int]:
        return [self.options.prefix_tokens + self.options.shared_output_tokens - 1] * self.options.samples


def mean_cached_tokens(queue: Sequence[Request]) -> float:
    """Return the tokens in the cache of a sequence, mean over the decoding steps of all requests.

    The first token of an answer comes with the prompt; after the j-th of the others the cache holds prompt + j.
    """
    steps = [(len(one.prompt), one.output_tokens - 1) for one in queue]
    return math.fsum(count * (prompt + (count + 1) / 2) for prompt, count in steps) / max(1, sum(n for _, n in steps))
