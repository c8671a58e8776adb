"""Bytes of real caches in real processes, and generation with and without one."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.errors import UsageError
from llmdrill.lab.kv_run import READABLE_BYTES, CachePoint, measure_caches, sweep_points
from llmdrill.lab.shapes import NAMED_SHAPES

WIDE = dataclasses.replace(NAMED_SHAPES["tiny"], layers=4, heads=8, kv_heads=8, head_dim=64)


@pytest.mark.lab
def test_a_process_grows_by_the_bytes_of_the_cache_it_fills() -> None:
    point = CachePoint(WIDE, context_tokens=1030, sequences=4, dtype="bf16")
    (seen,) = measure_caches([point])
    assert seen.tensor_bytes == 4 * 1030 * WIDE.kv_bytes_per_token // 2 == point.needed_bytes > READABLE_BYTES
    assert seen.rss_bytes is None or seen.rss_bytes == pytest.approx(seen.tensor_bytes, rel=0.02)


@pytest.mark.lab
@pytest.mark.parametrize("layers", [0, 1, 4])
def test_a_process_grows_by_the_layers_that_are_written_and_by_no_other(
    layers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llmdrill.lab import kv_child

    whole = kv_child.fill
    monkeypatch.setattr(
        kv_child, "fill", lambda cache, shape, piece: whole(cache, dataclasses.replace(shape, layers=layers), piece)
    )
    point = CachePoint(WIDE, context_tokens=1030, sequences=4, dtype="bf16")
    seen = kv_child.measure({**dataclasses.asdict(point), "shape": {**dataclasses.asdict(WIDE), "long_rope": None}})
    assert seen["tensor_bytes"] == point.needed_bytes
    if seen["rss_bytes"] is not None:
        assert seen["rss_bytes"] == pytest.approx(layers / 4 * point.needed_bytes, abs=0.1 * point.needed_bytes)


@given(st.integers(1, 64), st.integers(1, 64), st.sampled_from(["fp32", "bf16"]))
def test_a_sweep_has_the_asked_cache_and_only_others_beside_it(context: int, sequences: int, dtype: str) -> None:
    main = CachePoint(WIDE, context, sequences, "fp32" if dtype == "fp32" else "bf16")
    points = sweep_points(main)
    assert points.pop("as asked") == main
    assert main not in points.values()
    assert "MHA" not in points  # it is MHA already
    assert points["MQA"].shape.kv_heads == 1
    assert points["twice the batch"].needed_bytes == 2 * main.needed_bytes == 2 * 8 * points["MQA"].needed_bytes


def test_a_cache_that_the_memory_does_not_hold_is_refused_before_it_is_allocated() -> None:
    with pytest.raises(UsageError, match=r"are to be filled, but .* of memory are free: ask for a smaller"):
        measure_caches([CachePoint(WIDE, 1 << 40, 1, "fp32")])


def test_a_process_that_fails_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmdrill.lab.kv_run.sys.executable", "false")
    with pytest.raises(UsageError, match=r"^the process that fills a cache of 16.4 kB .* failed: status 1$"):
        measure_caches([CachePoint(WIDE, 1, 1, "fp32")])


@pytest.mark.lab
def test_both_ways_of_generating_give_the_same_tokens_and_each_has_its_own_clock() -> None:
    from llmdrill.lab.cache_race import race
    from llmdrill.lab.decoder import random_decoder

    ticks = itertools.accumulate(itertools.cycle([0, 1, 3]))  # a step with the cache takes 1, one without 3
    ran = race(
        random_decoder(NAMED_SHAPES["tiny"], seed=0),
        [1, 2, 3],
        output_tokens=10,
        repeats=2,
        now=lambda: float(next(ticks)),
    )
    assert ran.same_tokens == (True, True)
    assert ran.cached_s == (tuple(range(1, 11)),) * 2
    assert ran.uncached_s == (tuple(range(3, 33, 3)),) * 2
    assert (ran.crossover_tokens, ran.speed_up_ratio) == (2, 3.0)
    with pytest.raises(UsageError, match="this model has 1 to 2048"):
        race(random_decoder(NAMED_SHAPES["tiny"], seed=0), [1] * 2048, output_tokens=2, repeats=1)


@pytest.mark.lab
def test_the_crossover_is_the_length_from_which_the_cache_stays_faster() -> None:
    from llmdrill.lab.cache_race import Race

    def crossover(cached: tuple[float, ...], uncached: tuple[float, ...]) -> int | None:
        return Race((cached,), (uncached,), (True,)).crossover_tokens

    assert crossover((1.0, 2.0, 5.0, 6.0), (2.0, 3.0, 4.0, 7.0)) == 4
    assert crossover((1.0, 2.0), (1.0, 3.0)) == 2
    assert crossover((1.0, 3.0), (2.0, 3.0)) is None
    assert crossover((1.0, 2.0), (1.1, 3.0)) == 2  # both read the prompt for the first token: no saving can show
