"""Serving a queue from a pool of blocks: answers as if alone, whatever is preempted, shared or copied."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmdrill.errors import UsageError
from llmdrill.lab.shapes import NAMED_SHAPES

torch = pytest.importorskip("torch")

from llmdrill.lab.decoder import Decoder, random_decoder  # noqa: E402
from llmdrill.lab.paged_compare import Agreement, agreement, answer_alone, compare_steps  # noqa: E402
from llmdrill.lab.paged_lab import serve_in_turn, share_prefix, share_samples  # noqa: E402
from llmdrill.lab.paged_run import Answer, PoolSettings, QueueRun, Request, _Server, serve_queue  # noqa: E402

pytestmark = pytest.mark.lab


def sharp() -> Decoder:
    """Return a small decoder whose weights are large enough that a wrong position shows in its logits."""
    decoder = random_decoder(dataclasses.replace(NAMED_SHAPES["tiny"], layers=1), seed=0)
    for layer in decoder.weights.layers:
        for matrix in (layer.qkv, layer.out, layer.gate_up, layer.down):
            matrix.mul_(6)
    return decoder


DECODER = sharp()


def requests(*sizes: tuple[int, int], prefix: int = 0) -> list[Request]:
    rng = torch.Generator().manual_seed(1)
    start = torch.randint(0, 256, (prefix,), generator=rng).tolist()
    drawn = (torch.randint(0, 256, (length,), generator=rng).tolist() for length, _ in sizes)
    return [Request((*start, *ids), output) for ids, (_, output) in zip(drawn, sizes, strict=True)]


def same(run: QueueRun, queue: list[Request]) -> bool:
    """Say whether logits agree up to where two near choices may part, and each answer is whole."""
    whole = all(len(one.tokens) == request.output_tokens for one, request in zip(run.answers, queue, strict=True))
    return whole and agreement(run.answers, answer_alone(DECODER, queue)).logit_difference < 1e-4


FULL = requests((9, 14), (3, 20), (17, 9), (5, 16), (8, 1))


@pytest.mark.parametrize("preemption", ["swap", "recompute"])
def test_a_pool_that_runs_full_preempts_and_still_answers_as_if_each_were_alone(preemption: Any) -> None:
    run = serve_queue(DECODER, FULL, PoolSettings(9, 4, preemption=preemption))
    assert run.preemptions > 0
    assert (run.swapped_bytes > 0, run.recomputed_tokens > 0) == (preemption == "swap", preemption == "recompute")
    assert same(run, FULL)
    assert run.lost_blocks == 0


def test_blocks_as_long_as_the_longest_request_are_contiguous_reservation() -> None:
    run = serve_queue(DECODER, FULL, PoolSettings(2, 25))
    assert (run.peak_sequences, run.preemptions, run.copied_blocks) == (2, 0, 0)
    held = 25 * DECODER.shape.kv_bytes_per_token
    assert all(one.used_bytes == one.sequences * held for one in run.residents)
    assert same(run, FULL)


def test_waste_is_what_blocks_hold_beyond_their_tokens() -> None:
    (one,) = queue = requests((5, 4))
    run = serve_queue(DECODER, queue, PoolSettings(3, 4))
    token = DECODER.shape.kv_bytes_per_token
    assert [step.wasted_bytes for step in run.residents] == [2 * token, token, 0]  # 6, 7 and 8 tokens in two blocks
    assert run.waste_share == pytest.approx(3 / 24)
    assert run.prefilled_tokens == len(one.prompt)


class Watched(_Server):
    """A server that says when it does what it must not."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.admitted, self.mistakes = 0, list[str]()

    def _admit(self) -> None:
        before = len(self.running)
        super()._admit()
        self.admitted = len(self.running) - before

    def _preempt(self, one: Any) -> None:
        super()._preempt(one)
        order = [each.index for each in (*self.running, *self.waiting)]
        self.mistakes += ["not in order of arrival"] if order != sorted(order) else []
        self.mistakes += ["taken up only to be preempted"] if self.admitted > 0 else []


def test_the_earliest_are_served_first_and_none_is_taken_up_only_to_be_preempted() -> None:
    long = requests(*[(3, 30)] * 4, *[(9, 4)] * 3)
    server = Watched(DECODER, long, PoolSettings(18, 2, preemption="recompute"))
    server.serve()
    assert server.counts.preemptions > 1
    assert server.mistakes == []


@settings(max_examples=12)
@given(
    st.lists(st.tuples(st.integers(1, 14), st.integers(1, 12)), min_size=1, max_size=5),
    st.integers(1, 6),
    st.integers(0, 6),
    st.integers(0, 3),
    st.sampled_from(["swap", "recompute"]),
)
def test_whatever_the_pool_every_request_is_answered_and_no_block_is_lost(
    sizes: list[tuple[int, int]], block_tokens: int, prefix: int, spare: int, preemption: Any
) -> None:
    queue = requests(*sizes, prefix=prefix)
    shared = queue[0].prompt[:prefix]
    least = max(-(-one.cached_tokens // block_tokens) for one in queue) + bool(prefix % block_tokens)
    pool = PoolSettings(least + spare, block_tokens, 4, preemption, shared)
    run = serve_queue(DECODER, queue, pool)
    assert same(run, queue)
    assert run.lost_blocks == 0


def test_a_shared_prefix_is_read_once_and_saves_its_whole_blocks() -> None:
    queue = requests((3, 5), (6, 5), (2, 5), prefix=10)
    saved = share_prefix(DECODER, queue, queue[0].prompt[:10], block_tokens=4)
    block = 4 * DECODER.shape.kv_bytes_per_token
    # 17, 20 and 16 tokens: 5 + 5 + 4 blocks; shared: 2 whole ones, 1 that the prefix keeps, and 3 + 3 + 2
    assert (saved.unshared_bytes, saved.shared_bytes) == (14 * block, 11 * block)
    assert saved.copied_blocks == 3
    assert saved.agreement.logit_difference < 1e-4


@pytest.mark.parametrize(("prompt", "copies"), [(10, 2), (8, 0)])
def test_samples_of_one_prompt_copy_only_its_half_filled_block(prompt: int, copies: int) -> None:
    (one,) = requests((prompt, 1))
    saved = share_samples(DECODER, one.prompt, samples=3, output_tokens=6, block_tokens=4, seed=0)
    block = 4 * DECODER.shape.kv_bytes_per_token
    assert saved.copied_blocks == copies
    assert saved.unshared_bytes - saved.shared_bytes == 2 * 2 * block
    assert saved.agreement.logit_difference < 1e-4


def test_steps_with_either_cache_are_timed_in_turn_and_agree() -> None:
    ticks = iter(range(1000))
    run = compare_steps(
        DECODER, [one.prompt for one in requests((6, 1), (6, 1))], steps=3, block_tokens=4, now=lambda: next(ticks)
    )
    assert (run.plain_s, run.paged_s, run.paged_ratio) == ((1, 1, 1), (1, 1, 1), 1)
    assert run.logit_difference < 1e-5


def test_a_queue_is_served_once_unread_and_then_by_every_pool_in_turn() -> None:
    ticks, said = iter(range(1000)), list[str]()
    pools = {"one": PoolSettings(2, 25), "other": PoolSettings(13, 4)}
    served = serve_in_turn(DECODER, FULL, pools, repeats=2, now=lambda: next(ticks), say=said.append)
    assert {name: one.seconds for name, one in served.items()} == {"one": (1, 1), "other": (1, 1)}
    rounds = [
        f"the queue, {name}, {which}" for which in ("warming up", "round 1 of 2", "round 2 of 2") for name in pools
    ]
    assert said[1:] == rounds
    assert all(one.agreement.logit_difference < 1e-4 for one in served.values())


def test_a_difference_counts_up_to_the_first_other_token_and_no_further() -> None:
    ours = Answer((1, 2, 3), torch.tensor([[0.0], [0.5], [9.0]]))
    theirs = Answer((1, 4, 3), torch.zeros(3, 1))
    assert agreement([ours], [theirs]) == Agreement(0.0, 0.5)
    assert agreement([theirs], [theirs]) == Agreement(1.0, 0.0)


@pytest.mark.parametrize(
    ("queue", "pool", "words"),
    [
        (requests((9, 9)), PoolSettings(4, 4), "takes 5 blocks of 4 tokens, but the pool has 4"),
        (requests((9, 8)), PoolSettings(4, 4, prefix=(1,)), "must begin with the shared prefix"),
        (requests((9, 0)), PoolSettings(9, 4), "at least one token"),
        ([], PoolSettings(9, 4), "at least one request"),
    ],
)
def test_a_queue_that_cannot_be_served_is_refused(queue: list[Request], pool: PoolSettings, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        serve_queue(DECODER, queue, pool)
