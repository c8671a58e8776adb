"""`llmdrill lab kv`: the cache's bytes beside the formula, and generation with and without a cache."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from llmdrill.errors import UsageError
from llmdrill.estimate.explain import figure
from llmdrill.estimate.flops import decode_flops
from llmdrill.estimate.kv_cache import cache_bytes_per_value, explain_kv_cache, kv_cache_bytes
from llmdrill.experiments.prompt_flops import prompt_flops
from llmdrill.experiments.record import record_of
from llmdrill.experiments.result import Experiment, Finding, Protocol, over_rounds
from llmdrill.measurement import RANDOM_WEIGHTS_NOTE
from llmdrill.picture import Picture, Series
from llmdrill.table import Table
from llmdrill.units import format_bytes, format_share

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from llmdrill.catalog.architecture import ModelRecord
    from llmdrill.estimate.explain import Explained
    from llmdrill.lab.cache_race import Race
    from llmdrill.lab.kv_run import CacheBytes, CachePoint
    from llmdrill.lab.shapes import DecoderShape

DEFAULT_CONTEXT_TOKENS: Final = 1024
COMFORTABLE_BYTES: Final = 64 << 20  # half of it, as in the sweep, is still readable in a process's memory
ROWS_SHOWN: Final = 12
LARGER: Final = 2.0  # times: from here on one ratio does not explain the other


@dataclass(frozen=True, slots=True)
class KvOptions:
    """What to run.

    Attributes:
        model: A folder or hub id; or ``shape`` for random weights; neither for the embedded model.
        context_tokens: Of each sequence; None: 1,024, or what the model has.
        sequences: None: so many that the cache is readable in the memory of a process.
        dtype: Of the cache, and of the model that generates.
        prompt_tokens: Before generation with and without a cache.
        output_tokens: Generated.
        sweep: Whether the neighbours of the main cache are measured too.
    """

    model: str | None = None
    shape: str | None = None
    context_tokens: int | None = None
    sequences: int | None = None
    dtype: Literal["fp32", "bf16"] = "fp32"
    prompt_tokens: int = 16
    output_tokens: int = 192
    repeats: int = 3
    sweep: bool = True


def measure_kv(
    options: KvOptions,
    *,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
    now: Callable[[], float] = time.perf_counter,
) -> Experiment:
    """Fill caches in processes of their own, then generate with and without one, beside what closed forms say.

    Raises:
        MissingExtraError, ModelFileError, UnknownNameError: As ``load_decoder`` says.
        UsageError: If the context is longer than the model's, or the memory does not suffice.

    Source:
        ``kv_cache_bytes``: Kwon et al. 2023, arXiv:2309.06180, section 3; ``decode_flops``, ``prefill_flops``.
    """
    from llmdrill.lab.cache_race import race
    from llmdrill.lab.kv_run import measure_caches, sweep_points
    from llmdrill.lab.load_decoder import load_decoder
    from llmdrill.lab.machine import this_machine
    from llmdrill.lab.prompt_text import draw_prompts

    started = now()
    decoder = load_decoder(options.model, shape=options.shape, precision=options.dtype, seed=seed)
    machine, main = this_machine(), _main_point(decoder.shape, options)
    points = sweep_points(main) if options.sweep else {"as asked": main}
    seen = dict(zip(points, measure_caches(list(points.values()), say=say), strict=True))
    prompts = draw_prompts(decoder, [options.prompt_tokens], model=options.model, rng=np.random.default_rng(seed))
    ran = race(decoder, prompts.ids[0], output_tokens=options.output_tokens, repeats=options.repeats, now=now, say=say)
    forms = _Forms(record_of(decoder.shape), options)
    return Experiment(
        name="kv",
        title="The key-value cache: what it costs in bytes, and what it saves in time",
        inputs=_inputs(options, main, prompts.what),
        findings=(*_byte_findings(main, seen["as asked"]), *_race_findings(ran, forms)),
        tables=(_bytes_table(points, seen), _race_table(ran, forms)),
        pictures=(_picture(ran),),
        meaning=(_bytes_meaning(main, seen["as asked"]), _race_meaning(ran, forms)),
        machine=machine,
        protocol=Protocol(seed, 1, options.repeats, machine.threads, now() - started),
        notes=tuple(_notes(points, seen, random_weights=decoder.random_weights)),
    )


def _main_point(shape: DecoderShape, options: KvOptions) -> CachePoint:
    from llmdrill.lab.kv_run import CachePoint

    context = min(DEFAULT_CONTEXT_TOKENS, shape.max_positions)
    context = context if options.context_tokens is None else options.context_tokens
    longest = max(context, options.prompt_tokens + options.output_tokens - 1)
    if longest > shape.max_positions:
        raise UsageError(f"{longest} tokens of context: this model has {shape.max_positions}; ask for less")
    sequences = options.sequences or 1
    while options.sequences is None and CachePoint(shape, context, sequences, options.dtype).needed_bytes < (
        COMFORTABLE_BYTES
    ):
        sequences *= 2
    return CachePoint(shape, context, sequences, options.dtype)


def _formula(point: CachePoint) -> Explained:
    return explain_kv_cache(
        record_of(point.shape).attention,
        context_tokens=point.context_tokens,
        sequences=point.sequences,
        bytes_per_value=cache_bytes_per_value(point.dtype),
        name="formula_bytes",
    )


class _Forms:
    """What closed forms say of generation: FLOPs until each token."""

    def __init__(self, record: ModelRecord, options: KvOptions) -> None:
        read, count = options.prompt_tokens, options.output_tokens
        first = prompt_flops(record, tokens=read)
        steps = (decode_flops(record, context_tokens=read + at) for at in range(1, count))
        again = (prompt_flops(record, tokens=read + at) for at in range(count))
        self.cached = tuple(accumulate((first, *steps)))
        self.uncached = tuple(accumulate(again))

    @property
    def crossover_tokens(self) -> int | None:
        """Return the output length from which on the cache saves FLOPs."""
        pairs = zip(self.cached, self.uncached, strict=True)
        return next((number for number, (one, other) in enumerate(pairs, start=1) if one < other), None)


def _byte_findings(main: CachePoint, seen: CacheBytes) -> Iterator[Finding]:
    form = _formula(main)
    yield Finding("formula_bytes", form.value, note="the closed form itself: nothing is measured here")
    note = "of keys and values, as their tensors tell"
    yield Finding("tensor_bytes", float(seen.tensor_bytes), form.value, n=1, formula=form.filled, note=note)
    grown = None if seen.rss_bytes is None else float(seen.rss_bytes)
    note = "growth of a fresh process while every position was written, all pages of the cache untouched before"
    note = note if grown is not None else f"{note}: not told here"
    yield Finding("rss_bytes", grown, form.value, n=1, formula=form.filled, note=note)


def _race_findings(ran: Race, forms: _Forms) -> Iterator[Finding]:
    count = len(forms.cached)
    for name, laps, cached in (("cached_total_s", ran.cached_s, True), ("uncached_total_s", ran.uncached_s, False)):
        totals = [lap[-1] for lap in laps]
        note = f"{count} tokens {'with the cache' if cached else 'reading the whole text again for each'}"
        yield over_rounds(name, totals, note=note)
    ratios = [slow[-1] / fast[-1] for fast, slow in zip(ran.cached_s, ran.uncached_s, strict=True)]
    flops, again = forms.cached[-1], forms.uncached[-1]
    yield over_rounds(
        "speed_up_ratio",
        ratios,
        measured=ran.speed_up_ratio,
        predicted=again / flops,
        formula=f"FLOP without / with the cache = {again:.4g} / {flops:.4g} = {figure(again / flops)}",
        note="of the medians at the longest output; low and high are the worst and the best repeat",
    )
    crossover = None if ran.crossover_tokens is None else float(ran.crossover_tokens)
    note = "output tokens from which on the cache is faster, at least 2; predicted: from which on it saves FLOPs"
    said = forms.crossover_tokens
    formula = (
        "" if said is None else f"prompt + a step a token < the whole text read again for each: from token {said} on"
    )
    yield Finding("crossover_tokens", crossover, said, n=len(ratios), formula=formula, note=note)
    same = sum(ran.same_tokens) / len(ran.same_tokens)
    note = "of repeats in which both ways chose the same tokens"
    yield Finding("same_tokens_share", same, n=len(ratios), weights_matter=True, note=note)


def _bytes_table(points: dict[str, CachePoint], seen: dict[str, CacheBytes]) -> Table:
    columns = ("cache", "dtype", "context_tokens", "sequences", "formula_bytes", "tensor_bytes", "rss_bytes")
    main = points["as asked"]
    attention = record_of(main.shape).attention
    rows: list[tuple[str | float | None, ...]] = [
        (name, point.dtype, point.context_tokens, point.sequences, _formula(point).value, *_seen(seen[name]))
        for name, point in points.items()
    ]
    size = main.context_tokens, main.sequences
    int8 = kv_cache_bytes(attention, context_tokens=size[0], sequences=size[1], bytes_per_value=1)
    rows.append(("int8", "int8", *size, int8, None, None))
    note = (
        f"as asked is {attention.kind}; each cache was filled in a fresh process; the engines cache fp32 and bf16, so"
        " int8 is the formula alone"
    )
    return Table("sweep", columns, tuple(rows), note)


def _seen(one: CacheBytes) -> tuple[int, int | None]:
    return one.tensor_bytes, one.rss_bytes


def _race_table(ran: Race, forms: _Forms) -> Table:
    cached, uncached = ran.median_s(cached=True), ran.median_s(cached=False)
    rows = tuple(
        (number, round(cached[at], 5), round(uncached[at], 5), forms.cached[at], forms.uncached[at])
        for number in _lengths(len(cached))
        for at in (number - 1,)
    )
    columns = ("output_tokens", "cached_s", "uncached_s", "cached_flops", "uncached_flops")
    return Table("with and without a cache", columns, rows, "seconds are medians over repeats, FLOPs the closed form")


def _lengths(longest: int) -> list[int]:
    """Return the output lengths that a table shows: powers of two, and the longest.

    >>> _lengths(48)
    [1, 2, 4, 8, 16, 32, 48]
    """
    return [*(2**power for power in range(ROWS_SHOWN) if 2**power < longest), longest]


def _picture(ran: Race) -> Picture:
    cached, uncached = ran.median_s(cached=True), ran.median_s(cached=False)
    at = tuple(float(number) for number in range(1, len(cached) + 1))
    series = (Series("with the cache", at, cached), Series("without", at, uncached))
    return Picture("Time to generate, by length", "output tokens", "seconds, median of the repeats", series)


def _bytes_meaning(main: CachePoint, seen: CacheBytes) -> str:
    form = _formula(main).value
    right = "exactly" if seen.tensor_bytes == form else f"{format_share(seen.tensor_bytes / form - 1)} off"
    held = f"The cache of {main.sequences} × {main.context_tokens} tokens takes {format_bytes(seen.tensor_bytes)}"
    grew = "" if seen.rss_bytes is None else f", and the process grew by {format_bytes(seen.rss_bytes)}"
    return (
        f"{held}, {right} what the formula says{grew}; each further token costs {format_bytes(form / _tokens(main))}."
    )


def _tokens(point: CachePoint) -> int:
    return point.context_tokens * point.sequences


def _race_meaning(ran: Race, forms: _Forms) -> str:
    tokens = "the same tokens" if all(ran.same_tokens) else "other tokens in some repeats"
    count, saved = len(forms.cached), forms.uncached[-1] / forms.cached[-1]
    if ran.crossover_tokens is None:
        return (
            f"After {count} tokens generation without the cache was still not slower ({tokens} came out): at this size"
            " a pass costs its dispatch, not its arithmetic."
        )
    ratio = ran.speed_up_ratio
    first = (
        f"From output token {ran.crossover_tokens} on the cache is faster, and after {count} tokens {ratio:.3g} times"
        f" as fast ({tokens} came out) at {saved:.3g} times fewer FLOPs"
    )
    if saved >= LARGER * ratio:
        return f"{first}: a pass over one token is bound by reading weights and by dispatch, not by its arithmetic."
    if ratio >= LARGER * saved:
        return f"{first}: more than arithmetic explains, so look at the spread before you believe it."
    return f"{first}: what is saved is arithmetic that grows with the square of the length."


def _inputs(options: KvOptions, main: CachePoint, prompt: str) -> dict[str, object]:
    return {
        "model": options.model or options.shape or "embedded",
        "context_tokens": main.context_tokens,
        "sequences": main.sequences,
        "dtype": main.dtype,
        "prompt_source": prompt,
        "prompt_tokens": options.prompt_tokens,
        "output_tokens": options.output_tokens,
    }


def _notes(points: dict[str, CachePoint], seen: dict[str, CacheBytes], *, random_weights: bool) -> Iterator[str]:
    from llmdrill.lab.kv_run import READABLE_BYTES

    if random_weights:
        yield RANDOM_WEIGHTS_NOTE
    small = [name for name, point in points.items() if point.needed_bytes < READABLE_BYTES]
    if small:
        names = ", ".join(small)
        yield f"a cache under {format_bytes(READABLE_BYTES)} is hard to read in a process's memory: {names}"
    if any(one.rss_bytes is None for one in seen.values()):
        yield "this system does not tell the memory of a process: rss_bytes is unknown"
    yield "both ways of generating run in the torch engine, each with one clock, a token of each in turn"
