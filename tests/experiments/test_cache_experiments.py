"""What the closed forms of the cache experiments say, and the sentences that are made of what was measured."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.experiments.kv import KvOptions, measure_kv
from llmdrill.experiments.paged import PagedOptions, PagedWork
from llmdrill.experiments.paged_forms import PagedForms, mean_cached_tokens
from llmdrill.experiments.prefix import PrefixOptions
from llmdrill.experiments.prompt_flops import prompt_flops
from llmdrill.experiments.record import record_of
from llmdrill.lab.shapes import NAMED_SHAPES

if TYPE_CHECKING:
    from llmdrill.lab.paged_run import Request

RECORD = record_of(NAMED_SHAPES["smollm2-135m"])


def forms(*, prefix_tokens: int, block_tokens: int) -> PagedForms:
    options = PagedOptions(longest_tokens=math.ceil(prefix_tokens / 0.4), block_tokens=block_tokens)
    return PagedForms(NAMED_SHAPES["tiny"], options, PagedWork((), (), (), (), ""))


@given(st.integers(1, 500), st.integers(1, 500))
def test_a_prompt_read_in_two_pieces_takes_the_operations_of_one_and_another_head(first: int, second: int) -> None:
    head = 2 * RECORD.vocab_size * RECORD.hidden
    pieces = prompt_flops(RECORD, tokens=first) + prompt_flops(RECORD, tokens=second, cached_tokens=first)
    assert pieces - head == pytest.approx(prompt_flops(RECORD, tokens=first + second), rel=1e-9)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=6), st.integers(1, 20), st.integers(1, 60))
def test_shared_bytes_are_those_of_blocks_counted_one_by_one(tails: list[int], block: int, prefix: int) -> None:
    closed = forms(prefix_tokens=prefix, block_tokens=block)
    prefix = closed.options.prefix_tokens
    lengths = [prefix + tail for tail in tails]
    whole = prefix // block
    own = sum(math.ceil(tokens / block) - whole for tokens in lengths)
    block_bytes = block * NAMED_SHAPES["tiny"].kv_bytes_per_token
    assert closed.shared_bytes(lengths, kept=True) == (own + math.ceil(prefix / block)) * block_bytes
    assert closed.shared_bytes(lengths, kept=False) == (own + whole) * block_bytes
    assert closed.unshared_bytes(lengths) == (own + whole * len(lengths)) * block_bytes


def test_a_prefix_of_whole_blocks_is_never_copied() -> None:
    assert forms(prefix_tokens=32, block_tokens=16).copies(8, kept=True) == 0
    assert forms(prefix_tokens=33, block_tokens=16).copies(8, kept=True) == 8
    assert forms(prefix_tokens=33, block_tokens=16).copies(8, kept=False) == 7


@pytest.mark.parametrize(("pool_tokens", "says"), [(512, "= 8"), (100_000, ", at most 16 = ⌊"), (100_000, "= 16")])
def test_what_fits_is_the_pool_over_a_cache_but_never_more_than_was_asked(pool_tokens: int, says: str) -> None:
    options = PagedOptions(longest_tokens=64, pool_tokens=pool_tokens)
    form = PagedForms(NAMED_SHAPES["tiny"], options, PagedWork((), (), (), (), ""))
    assert says in form.sequences_filled(paged=False)
    assert form.sequences_filled(paged=False).endswith(f"= {form.sequences(paged=False)}")


@pytest.mark.lab
@pytest.mark.parametrize(
    ("swapped", "again", "equal", "apart", "says"),
    [
        (0, 0, 1.0, 0.0, "The pool never ran full, a shared prefix saved 60% of the cache, and every answer"),
        (3, 0, 1.0, 0.0, "give up a request's blocks 3 × by swapping, 0 × by recomputing; a shared prefix saved 60%"),
        (0, 2, 1.0, 0.5, "contiguous cache gives, but logits differ by up to 0.5."),
        (1, 1, 0.75, 0.0, "In some run 25% of the answers are not what the contiguous cache gives"),
    ],
)
def test_what_is_said_of_a_pool_follows_preemptions_and_answers(
    swapped: int, again: int, equal: float, apart: float, says: str
) -> None:
    from llmdrill.experiments.paged import _output_meaning
    from llmdrill.lab.paged_compare import Agreement, StepRun
    from llmdrill.lab.paged_lab import Served, Sharing
    from llmdrill.lab.paged_run import QueueRun

    def served(preemptions: int) -> Served:
        run = QueueRun((), (), 1.0, 1, preemptions, 0, 0, 0, 0, 0)
        return Served(run, (1.0,), Agreement(equal, apart))

    pools = {"contiguous": served(0), "paged, swap": served(swapped), "paged, recompute": served(again)}
    shared = Sharing(100, 40, 0, Agreement(1.0, 0.0))
    assert says in _output_meaning(pools, shared, shared, StepRun((1.0,), (1.0,), apart))


@pytest.mark.lab
@pytest.mark.parametrize(
    ("seconds", "apart", "precision", "says"),
    [
        ((8.0, 2.0, 1.0), 0.0, "fp32", ("4 times as fast, where", "times: with all but one token cached it still")),
        ((8.0, 0.1, 1.0), 0.0, "fp32", ("80 times as fast, where", "times; with all but one", "changes nothing")),
        ((8.0, 9.0, 9.0), 0.1, "fp32", ("came no sooner, where", "more than rounding should leave")),
        ((8.0, 2.0, 1.0), 0.1, "bf16", ("bf16 rounds otherwise by length",)),
    ],
)
def test_what_is_said_of_a_hit_follows_its_time_and_its_logits(
    seconds: tuple[float, ...], apart: float, precision: Any, says: tuple[str, ...]
) -> None:
    from llmdrill.experiments.prefix import _meaning
    from llmdrill.lab.prefix_run import PrefixHit

    hits = [PrefixHit(size, (took,), apart, True) for size, took in zip((0, 448, 511), seconds, strict=True)]
    text = " ".join(_meaning(PrefixOptions(precision=precision), RECORD, hits))
    assert all(part in text for part in says)


@pytest.mark.lab
def test_the_mean_length_is_that_of_every_step_written_out() -> None:
    from llmdrill.lab.paged_run import Request

    queue: list[Request] = [Request((0,) * 5, 4), Request((0,) * 20, 2), Request((0,) * 9, 1)]
    assert mean_cached_tokens(queue) == pytest.approx((6 + 7 + 8 + 21) / 4)


def test_the_sizes_of_a_hit_go_from_none_to_all_but_one_token() -> None:
    assert PrefixOptions().cached_tokens == (0, 128, 256, 384, 448, 511)
    assert PrefixOptions(prompt_tokens=8).cached_tokens == (0, 2, 4, 6, 7)


@pytest.mark.lab
def test_the_embedded_model_makes_the_same_tokens_with_and_without_a_cache() -> None:
    options = KvOptions(context_tokens=64, sequences=1, output_tokens=12, repeats=1, sweep=False)
    found = measure_kv(options)
    measured = {one.name: one.measured for one in found.findings}
    assert (measured["same_tokens_share"], measured["tensor_bytes"]) == (1.0, 64 * 5120)
    assert "the same tokens came out" in found.meaning[1]
    assert found.inputs["prompt_source"] == "held-out Python source"
    assert any("hard to read in a process's memory: as asked" in note for note in found.notes)


@pytest.mark.lab
def test_a_sentence_follows_what_was_measured() -> None:
    from llmdrill.experiments.kv import _Forms, _race_meaning
    from llmdrill.lab.cache_race import Race

    options = KvOptions(prompt_tokens=16, output_tokens=3)
    said = _Forms(RECORD, options)
    assert said.crossover_tokens == 2
    never = Race(((1.0, 2.0, 3.0),), ((1.0, 2.0, 3.0),), (True,))
    assert "still not slower" in _race_meaning(never, said)
    faster = dataclasses.replace(never, uncached_s=((2.0, 4.0, 6.0),), same_tokens=(False,))
    assert "From output token 2 on the cache is faster" in _race_meaning(faster, said)
    assert "other tokens in some repeats" in _race_meaning(faster, said)
    assert "grows with the square" in _race_meaning(faster, said)
    barely = dataclasses.replace(never, uncached_s=((1.0, 2.1, 3.1),))
    longer = _Forms(RECORD, KvOptions(prompt_tokens=500, output_tokens=3))
    assert "bound by reading weights" in _race_meaning(barely, longer)
    wild = dataclasses.replace(never, uncached_s=((1.0, 2.1, 900.0),))
    assert "more than arithmetic explains" in _race_meaning(wild, said)
