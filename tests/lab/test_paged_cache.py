"""The paged cache: what it stores, who holds which block, and that a decoder cannot tell it from the plain one."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmdrill.errors import UsageError
from llmdrill.lab.shapes import NAMED_SHAPES

torch = pytest.importorskip("torch")

from llmdrill.lab.decoder import Decoder, Session, random_decoder  # noqa: E402
from llmdrill.lab.paged_cache import BlockPool, BlockTable, PagedCache, SwappedOut  # noqa: E402

pytestmark = pytest.mark.lab

SMALL = dataclasses.replace(NAMED_SHAPES["tiny"], layers=2, heads=2, kv_heads=1, head_dim=2)
BLOCKS, BLOCK_TOKENS = 12, 3


class Ledger:
    """Tables of a small pool, and beside each the numbers that it should hold."""

    def __init__(self) -> None:
        self.pool = BlockPool(SMALL, blocks=BLOCKS, block_tokens=BLOCK_TOKENS, dtype=torch.float32)
        self.tables: list[BlockTable] = []
        self.held: list[list[int]] = []
        self.swapped: list[tuple[SwappedOut, BlockTable | None, list[int]]] = []
        self.next = 1

    def append(self, at: int, tokens: int) -> None:
        table, needed = self.tables[at], self.pool.needed_blocks(self.tables[at], tokens)
        free = self.pool.ledger.free_blocks
        if needed > free:
            return
        written = list(range(self.next, self.next + tokens))
        self.next += tokens
        cache = PagedCache(self.pool, [table])
        positions = torch.arange(table.tokens, table.tokens + tokens)[None]
        keys = torch.tensor(written, dtype=torch.float32)[None, :, None, None].expand(1, -1, 1, 2)
        for layer in range(SMALL.layers):
            cache.write(layer, keys + layer, -keys, positions)
        cache.lengths += tokens
        assert self.pool.ledger.free_blocks == free - needed
        self.held[at] += written

    def fork(self, at: int, tokens: int) -> None:
        self.tables.append(self.pool.fork(self.tables[at], tokens))
        self.held.append(self.held[at][:tokens])

    def keep(self, at: int, tokens: int) -> None:
        self.pool.keep(self.tables[at], tokens)
        del self.held[at][tokens:]

    def swap_out(self, at: int) -> None:
        self.swapped.append((self.pool.swap_out(self.tables[at]), None, self.held[at]))
        self.held[at] = []

    def swap_in(self) -> None:
        if self.swapped and len(self.swapped[0][0].keys_values[0, 0]) <= self.pool.ledger.free_blocks:
            out, kept, held = self.swapped.pop(0)
            self.tables.append(self.pool.swap_in(out, kept))
            self.held.append(held)

    def check(self) -> None:
        ledger = self.pool.ledger
        counted = [sum(block in table.blocks for table in self.tables) for block in range(BLOCKS)]
        assert ledger.holders == counted
        assert ledger.free_blocks == counted.count(0)
        assert ledger.free_blocks + ledger.used_blocks == BLOCKS
        for table, held in zip(self.tables, self.held, strict=True):
            assert len(set(table.blocks)) == len(table.blocks) == math.ceil(table.tokens / BLOCK_TOKENS)
            values = self.pool.keys_values[:, :, table.blocks].flatten(2, 3)[:, :, : table.tokens, 0, 0]
            expected = torch.tensor(held, dtype=torch.float32)
            for layer in range(SMALL.layers):
                assert torch.equal(values[layer], torch.stack((expected + layer, -expected)))


BEGINNING: list[tuple[Any, ...]] = [("new",), ("append", 0, 4), ("fork", 0, 4)]  # two that share a half-filled block
doings = st.lists(
    st.one_of(
        st.just(("new",)),
        st.tuples(st.just("append"), st.integers(0, 9), st.integers(1, 7)),
        st.tuples(st.just("fork"), st.integers(0, 9), st.integers(0, 12)),
        st.tuples(st.just("keep"), st.integers(0, 9), st.integers(0, 12)),
        st.tuples(st.just("swap_out"), st.integers(0, 9)),
        st.just(("swap_in",)),
    ),
    max_size=25,
)


@settings(max_examples=100)
@given(doings)
def test_no_block_is_lost_or_held_uncounted_and_each_table_reads_what_it_wrote(what: list[tuple[Any, ...]]) -> None:
    ledger = Ledger()
    for name, *numbers in [*BEGINNING, *what]:
        if name == "new":
            ledger.tables.append(BlockTable())
            ledger.held.append([])
        elif name == "swap_in":
            ledger.swap_in()
        else:
            getattr(ledger, name)(numbers[0] % len(ledger.tables), *numbers[1:])
        ledger.check()
    for table in ledger.tables:
        ledger.pool.keep(table, 0)
    assert ledger.pool.ledger.used_blocks == 0


def sharp(seed: int = 0) -> Decoder:
    """Return a tiny decoder whose weights are large enough that a wrong position shows in its logits."""
    decoder = random_decoder(NAMED_SHAPES["tiny"], seed=seed)
    for layer in decoder.weights.layers:
        for matrix in (layer.qkv, layer.out, layer.gate_up, layer.down):
            matrix.mul_(6)
    return decoder


def rows(*lengths: int) -> list[list[int]]:
    rng = torch.Generator().manual_seed(1)
    return [torch.randint(0, 256, (length,), generator=rng).tolist() for length in lengths]


def test_a_decoder_gives_the_same_logits_with_either_cache() -> None:
    decoder, prompts = sharp(), rows(37, 5, 16)
    pool = BlockPool(decoder.shape, blocks=20, block_tokens=16, dtype=decoder.dtype)
    pool.ledger.take()  # so that no table begins at the pool's beginning
    paged = Session(decoder, PagedCache(pool, [BlockTable() for _ in prompts]))
    plain = decoder.start(sequences=3, capacity_tokens=80)
    ours, theirs = paged.prefill(prompts), plain.prefill(prompts)
    for _ in range(20):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
        picked = theirs.argmax(dim=-1)
        ours, theirs = paged.decode(picked), plain.decode(picked)
    verified = torch.tensor([[1, 2, 3]] * 3)
    torch.testing.assert_close(paged.verify(verified), plain.verify(verified), atol=1e-5, rtol=0)
    assert paged.cache.lengths.tolist() == plain.cache.lengths.tolist()
    assert paged.cache.used_bytes == plain.cache.used_bytes


def test_two_that_share_a_beginning_go_on_differently_without_disturbing_each_other() -> None:
    decoder, (prompt,) = sharp(), rows(20)
    pool = BlockPool(decoder.shape, blocks=8, block_tokens=16, dtype=decoder.dtype)
    first = BlockTable()
    Session(decoder, PagedCache(pool, [first])).prefill([prompt])
    second = pool.fork(first)
    assert pool.ledger.used_blocks == 2
    picked = torch.tensor([7, 200])
    ours = Session(decoder, PagedCache(pool, [first, second])).decode(picked)
    plain = decoder.start(sequences=2, capacity_tokens=21)
    plain.prefill([prompt, prompt])
    torch.testing.assert_close(ours, plain.decode(picked), atol=1e-5, rtol=0)
    assert (pool.copied_blocks, pool.ledger.used_blocks) == (1, 3)  # only the half-filled block was copied


def test_what_is_swapped_out_comes_back_into_other_blocks_and_goes_on_alike() -> None:
    decoder, (prompt, other) = sharp(), rows(40, 30)
    pool = BlockPool(decoder.shape, blocks=6, block_tokens=16, dtype=decoder.dtype)
    prefix, table, plain = BlockTable(), BlockTable(), decoder.start(sequences=1, capacity_tokens=41)
    Session(decoder, PagedCache(pool, [prefix])).prefill([prompt[:20]])
    table = pool.fork(prefix)
    Session(decoder, PagedCache(pool, [table])).prefill([prompt[20:]])
    before = list(table.blocks)
    swapped = pool.swap_out(table, kept_blocks=1)
    assert (pool.ledger.used_blocks, swapped.keys_values.shape[2]) == (2, 2)
    Session(decoder, PagedCache(pool, [BlockTable()])).prefill([other])  # takes the blocks that were left
    back = pool.swap_in(swapped, prefix)
    assert back.blocks[0] == before[0] == prefix.blocks[0]
    assert back.blocks != before
    plain.prefill([prompt])
    picked = torch.tensor([9])
    ours = Session(decoder, PagedCache(pool, [back])).decode(picked)
    torch.testing.assert_close(ours, plain.decode(picked), atol=1e-5, rtol=0)


def test_bytes_of_shared_blocks_count_once() -> None:
    pool = BlockPool(SMALL, blocks=8, block_tokens=4, dtype=torch.float32)
    table = BlockTable()
    pool.extend(table, 6)
    table.tokens = 6
    cache = PagedCache(pool, [table, pool.fork(table)])
    assert pool.block_bytes == 4 * SMALL.kv_bytes_per_token
    assert (cache.allocated_bytes, cache.used_bytes) == (2 * pool.block_bytes, 6 * SMALL.kv_bytes_per_token)
    assert pool.used_bytes == cache.allocated_bytes


def test_a_full_pool_is_refused_with_the_remedy() -> None:
    decoder = sharp()
    pool = BlockPool(decoder.shape, blocks=2, block_tokens=4, dtype=decoder.dtype)
    with pytest.raises(UsageError, match="all 2 blocks of the pool are in use: give it more, or preempt"):
        Session(decoder, PagedCache(pool, [BlockTable()])).prefill(rows(9))


def test_an_empty_pool_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one of each"):
        BlockPool(SMALL, blocks=0, block_tokens=16, dtype=torch.float32)
