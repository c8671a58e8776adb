"""A paged key-value cache: one pool of blocks, a block table per sequence, sharing by count, copy-on-write.

After PagedAttention: Kwon et al. 2023, arXiv:2309.06180, sections 4.1 to 4.5. Where the paper's kernel fetches each
block as it goes, this one gathers a sequence's blocks before it attends; what is stored is the same.

Shapes in comments: B sequences, T new tokens, S cached positions, K key-value heads, D head size, N blocks of a
sequence; a block holds ``block_tokens`` positions of all layers.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import torch

from llmdrill.errors import UsageError
from llmdrill.lab.decoder import KvCache

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from llmdrill.lab.shapes import DecoderShape

BLOCK_TOKENS: Final = 16  # the paper's default


@dataclass(slots=True)
class BlockTable:
    """Where one sequence's tokens lie: block i holds positions i * block_tokens and on.

    Attributes:
        blocks: In the order of the positions they hold; several tables may hold the same one.
        tokens: Positions in use.
    """

    blocks: list[int] = field(default_factory=list)
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class SwappedOut:
    """A sequence's keys and values outside the pool.

    Attributes:
        keys_values: (layers, 2, N, block_tokens, K, D), of the blocks after the first ``kept_blocks``.
        kept_blocks: Blocks that were not copied, because another table keeps them in the pool.
        tokens: Positions in use.
    """

    keys_values: Tensor
    kept_blocks: int
    tokens: int


class BlockLedger:
    """Which blocks are free, and how many tables hold each of the others."""

    def __init__(self, blocks: int) -> None:
        self.holders = [0] * blocks
        self._free = list(reversed(range(blocks)))

    @property
    def free_blocks(self) -> int:
        return len(self._free)

    @property
    def used_blocks(self) -> int:
        return len(self.holders) - len(self._free)

    def take(self) -> int:
        """Return a free block, now held by one table.

        Raises:
            UsageError: If none is free.
        """
        if not self._free:
            raise UsageError(f"all {len(self.holders)} blocks of the pool are in use: give it more, or preempt")
        block = self._free.pop()
        self.holders[block] = 1
        return block

    def share(self, block: int) -> None:
        """Count one more table that holds a block."""
        self.holders[block] += 1

    def release(self, block: int) -> None:
        """Count one table less; the block is free when that was the last."""
        self.holders[block] -= 1
        if not self.holders[block]:
            self._free.append(block)


class BlockPool:
    """The memory of all sequences, allocated once, and who holds which part of it.

    Attributes:
        keys_values: (layers, 2, blocks, block_tokens, K, D).
        copied_blocks: How many blocks were copied because a table wrote to one that it shared.
    """

    def __init__(self, shape: DecoderShape, *, blocks: int, block_tokens: int, dtype: torch.dtype) -> None:
        if blocks < 1 or block_tokens < 1:
            raise UsageError(f"{blocks} blocks of {block_tokens} tokens: a pool has at least one of each")
        size = (shape.layers, 2, blocks, block_tokens, shape.kv_heads, shape.head_dim)
        self.keys_values = torch.zeros(size, dtype=dtype)
        self.max_positions, self.block_tokens = shape.max_positions, block_tokens
        self.ledger = BlockLedger(blocks)
        self.copied_blocks = 0

    @property
    def blocks(self) -> int:
        return self.keys_values.shape[2]

    @property
    def block_bytes(self) -> int:
        """Return the bytes of one block, all layers together."""
        return self.keys_values[:, :, 0].nbytes

    @property
    def used_bytes(self) -> int:
        """Return the bytes of all blocks that are held."""
        return self.ledger.used_blocks * self.block_bytes

    def needed_blocks(self, table: BlockTable, tokens: int) -> int:
        """Return how many blocks ``extend`` would take for so many more tokens: new ones, and copies of shared ones."""
        first = table.tokens // self.block_tokens
        copies = sum(self.ledger.holders[block] > 1 for block in table.blocks[first:])
        return copies + max(0, math.ceil((table.tokens + tokens) / self.block_tokens) - len(table.blocks))

    def extend(self, table: BlockTable, tokens: int) -> None:
        """Make room for so many more tokens, in blocks that only this table holds.

        Raises:
            UsageError: If the pool is full; blocks taken before that stay with the table.
        """
        for at in range(table.tokens // self.block_tokens, math.ceil((table.tokens + tokens) / self.block_tokens)):
            if at >= len(table.blocks):
                table.blocks.append(self.ledger.take())
            elif self.ledger.holders[table.blocks[at]] > 1:
                table.blocks[at] = self._own_copy(table.blocks[at])

    def _own_copy(self, shared: int) -> int:
        own = self.ledger.take()
        self.keys_values[:, :, own] = self.keys_values[:, :, shared]
        self.ledger.release(shared)
        self.copied_blocks += 1
        return own

    def fork(self, table: BlockTable, tokens: int | None = None) -> BlockTable:
        """Return a table of the same first ``tokens`` tokens (all, if None) in the same blocks: nothing is copied."""
        tokens = table.tokens if tokens is None else min(tokens, table.tokens)
        blocks = table.blocks[: math.ceil(tokens / self.block_tokens)]
        for block in blocks:
            self.ledger.share(block)
        return BlockTable(blocks, tokens)

    def keep(self, table: BlockTable, tokens: int) -> None:
        """Forget all but the first ``tokens`` positions of a table, and release the blocks that held only others."""
        table.tokens = min(table.tokens, tokens)
        kept = math.ceil(table.tokens / self.block_tokens)
        for block in table.blocks[kept:]:
            self.ledger.release(block)
        del table.blocks[kept:]

    def swap_out(self, table: BlockTable, *, kept_blocks: int = 0) -> SwappedOut:
        """Copy a table's blocks after the first ``kept_blocks`` out of the pool, and release all of them."""
        copied = self.keys_values[:, :, table.blocks[kept_blocks:]].clone()
        swapped = SwappedOut(copied, kept_blocks, table.tokens)
        self.keep(table, 0)
        return swapped

    def swap_in(self, swapped: SwappedOut, kept: BlockTable | None = None) -> BlockTable:
        """Return a table of what was swapped out, its first blocks shared again with the table that kept them."""
        table = BlockTable() if kept is None else self.fork(kept, swapped.kept_blocks * self.block_tokens)
        back = [self.ledger.take() for _ in range(swapped.keys_values.shape[2])]
        self.keys_values[:, :, back] = swapped.keys_values
        return BlockTable(table.blocks + back, swapped.tokens)


class PagedCache(KvCache):
    """Some tables of a pool, used by a ``Session`` as it uses the contiguous cache.

    The tables are the truth: what a session appends stays in them when the cache object is gone. Prompts of one call
    should be equally long, since padding takes blocks like tokens until ``keep`` releases them.
    """

    def __init__(self, pool: BlockPool, tables: Sequence[BlockTable]) -> None:
        self.pool, self.tables = pool, tuple(tables)
        self._slots = torch.empty(0, dtype=torch.long)  # (B, T), of the tokens being written
        self._blocks = torch.empty(0, dtype=torch.long)  # (B, N)

    @property
    def lengths(self) -> Tensor:
        """Return the positions in use (B,); what is assigned goes to the tables."""
        return torch.tensor([table.tokens for table in self.tables])

    @lengths.setter
    def lengths(self, lengths: Tensor) -> None:
        for table, tokens in zip(self.tables, lengths.tolist(), strict=True):
            table.tokens = tokens

    @property
    def capacity_tokens(self) -> int:
        return self.pool.max_positions

    @property
    def allocated_bytes(self) -> int:
        """Return the size of the blocks that these tables hold, a shared one once."""
        return len({block for table in self.tables for block in table.blocks}) * self.pool.block_bytes

    @property
    def used_bytes(self) -> int:
        """Return the size of the part of those blocks that holds tokens."""
        filled: dict[int, int] = {}
        for table in self.tables:
            for at, block in enumerate(table.blocks):
                held = min(table.tokens - at * self.pool.block_tokens, self.pool.block_tokens)
                filled[block] = max(held, filled.get(block, 0))
        return sum(filled.values()) * self.pool.block_bytes // self.pool.block_tokens

    def write(self, layer: int, keys: Tensor, values: Tensor, positions: Tensor) -> None:
        """Store keys and values (B, T, K, D) at ``positions`` (B, T), in blocks that are taken as they are needed."""
        if layer == 0:
            self._map(positions)
        flat = self.pool.keys_values[layer].flatten(1, 2)  # (2, blocks * block_tokens, K, D)
        flat[0, self._slots] = keys
        flat[1, self._slots] = values

    def read(self, layer: int, tokens: int) -> Tensor:
        """Return the keys and values (2, B, K, S, D) of the first ``tokens`` positions, gathered from their blocks."""
        gathered = self.pool.keys_values[layer][:, self._blocks]  # (2, B, N, block_tokens, K, D)
        return gathered.flatten(2, 3)[:, :, :tokens].transpose(2, 3)

    def keep(self, tokens: int) -> None:
        """Forget all but the first ``tokens`` positions."""
        for table in self.tables:
            self.pool.keep(table, tokens)

    def _map(self, positions: Tensor) -> None:
        """Take the blocks that the positions (B, T) need, and note where they lie."""
        for table in self.tables:
            self.pool.extend(table, positions.shape[1])
        rows = itertools.zip_longest(*(table.blocks for table in self.tables), fillvalue=0)  # others' blocks are masked
        self._blocks = torch.tensor(list(rows)).T  # (B, N)
        size = self.pool.block_tokens
        self._slots = self._blocks.gather(1, positions // size) * size + positions % size
