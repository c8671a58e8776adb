"""`llmdrill lab paged`: what a paged cache wastes, shares, copies and preempts, beside the closed forms."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from llmdrill.errors import UsageError
from llmdrill.estimate.kv_cache import BLOCK_TOKENS
from llmdrill.experiments.paged_findings import paged_findings, queue_table, sharing_table
from llmdrill.experiments.paged_forms import PagedForms
from llmdrill.experiments.result import Experiment, Protocol
from llmdrill.measurement import RANDOM_WEIGHTS_NOTE
from llmdrill.picture import Picture, Series
from llmdrill.units import format_bytes, format_share

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from llmdrill.lab.decoder import Decoder
    from llmdrill.lab.paged_compare import StepRun
    from llmdrill.lab.paged_lab import Served, Sharing
    from llmdrill.lab.paged_run import PoolSettings, Request

LEAST_TOKENS: Final = 4  # of a prompt, and of an answer
PROMPT_SIGMA, OUTPUT_SIGMA = 0.7, 0.6  # lognormal spread: lengths of requests are skewed
MEDIAN_SHARE: Final = 1 / 8  # of the longest request: the median prompt, and the median answer
POOL_REQUESTS: Final = 2  # of the longest kind that the pool has room for
PREFIX_SHARE: Final = 0.4  # of the longest request: the beginning that requests share
SHARED_OUTPUT_SHARE: Final = 0.1
TOLERANCE: Final = 1e-5  # of logits, same batch
STEPS: Final = 32
STEP_SEQUENCES: Final = 8


@dataclass(frozen=True, slots=True)
class PagedOptions:
    """What to run.

    Attributes:
        model: A folder or hub id; or ``shape`` for random weights; neither for the embedded model.
        requests: In the queue.
        longest_tokens: That a request may have, and what contiguous reservation sets aside for each.
        pool_tokens: That every pool has room for; None: two of the longest.
        block_tokens: Of the paged pool.
        samples: Of one prompt, and requests that share a prefix twice as many.
    """

    model: str | None = None
    shape: str | None = None
    requests: int = 16
    longest_tokens: int = 256
    pool_tokens: int | None = None
    block_tokens: int = BLOCK_TOKENS
    samples: int = 4
    repeats: int = 3

    @property
    def room_tokens(self) -> int:
        """Return the tokens that a pool has room for: whole blocks."""
        wanted = POOL_REQUESTS * self.longest_tokens if self.pool_tokens is None else self.pool_tokens
        return wanted // self.block_tokens * self.block_tokens

    @property
    def prefix_tokens(self) -> int:
        return max(1, int(PREFIX_SHARE * self.longest_tokens))

    @property
    def shared_output_tokens(self) -> int:
        return max(2, int(SHARED_OUTPUT_SHARE * self.longest_tokens))


@dataclass(frozen=True, slots=True)
class PagedWork:
    """What is to be answered.

    Attributes:
        queue: Requests of mixed lengths.
        alike: Requests that begin with ``prefix``.
        batch: Equally long prompts for single steps.
        what: What the prompts are.
    """

    queue: tuple[Request, ...]
    alike: tuple[Request, ...]
    prefix: tuple[int, ...]
    batch: tuple[tuple[int, ...], ...]
    what: str


def measure_paged(
    options: PagedOptions,
    *,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
    now: Callable[[], float] = time.perf_counter,
) -> Experiment:
    """Serve one queue from pools of the same bytes, contiguous and paged, and measure sharing and single steps.

    Raises:
        MissingExtraError, ModelFileError, UnknownNameError: As ``load_decoder`` says.
        UsageError: If the longest request fits neither the model nor the pool.

    Source:
        Kwon et al. 2023, arXiv:2309.06180, sections 3.1 and 4.1 to 4.5; ``paged_waste_bytes`` and its neighbours.
    """
    from llmdrill.lab.load_decoder import load_decoder
    from llmdrill.lab.machine import this_machine
    from llmdrill.lab.paged_compare import compare_steps
    from llmdrill.lab.paged_lab import serve_in_turn, share_prefix, share_samples

    started = now()
    decoder = load_decoder(options.model, shape=options.shape, seed=seed)
    _refuse(options, decoder)
    machine, work = this_machine(), draw_work(decoder, options, seed=seed)
    served = serve_in_turn(decoder, work.queue, _pools(options), repeats=options.repeats, now=now, say=say)
    say("sharing a prefix, and the prompt of several samples")
    prefix = share_prefix(decoder, work.alike, work.prefix, block_tokens=options.block_tokens)
    samples = share_samples(
        decoder,
        work.prefix,
        samples=options.samples,
        output_tokens=options.shared_output_tokens,
        block_tokens=options.block_tokens,
        seed=seed,
    )
    steps = compare_steps(decoder, work.batch, steps=STEPS, block_tokens=options.block_tokens, now=now)
    forms = PagedForms(decoder.shape, options, work)
    return Experiment(
        name="paged",
        title="A paged key-value cache: what blocks waste, share, copy and give up",
        inputs=_inputs(options, work),
        findings=tuple(paged_findings(forms, served, prefix, samples, steps)),
        tables=(queue_table(served), sharing_table(forms, prefix, samples)),
        pictures=(_picture(served),),
        meaning=(_memory_meaning(forms, served), _output_meaning(served, prefix, samples, steps)),
        machine=machine,
        protocol=Protocol(seed, 1, options.repeats, machine.threads, now() - started),
        notes=tuple(_notes(options, random_weights=decoder.random_weights)),
    )


def _refuse(options: PagedOptions, decoder: Decoder) -> None:
    if options.longest_tokens > decoder.shape.max_positions:
        raise UsageError(f"--longest {options.longest_tokens}: this model has {decoder.shape.max_positions} positions")
    if options.block_tokens > options.longest_tokens:
        raise UsageError(
            f"--block {options.block_tokens}: no request is longer than --longest {options.longest_tokens}"
        )
    if options.room_tokens < options.longest_tokens:
        size, whole = options.block_tokens, options.room_tokens // options.block_tokens
        raise UsageError(
            f"--pool {options.pool_tokens} is cut into blocks of {size} tokens, and {whole} whole ones have no room for"
            f" one request of {options.longest_tokens}: raise --pool, or lower --longest"
        )


def _pools(options: PagedOptions) -> dict[str, PoolSettings]:
    """Return the pools that the queue is served from: the same bytes, cut otherwise."""
    from llmdrill.lab.paged_run import PoolSettings

    room, longest, most = options.room_tokens, options.longest_tokens, options.requests
    return {
        "contiguous": PoolSettings(room // longest, longest, most),
        "paged, swap": PoolSettings(room // options.block_tokens, options.block_tokens, most),
        "paged, recompute": PoolSettings(room // options.block_tokens, options.block_tokens, most, "recompute"),
    }


def draw_work(decoder: Decoder, options: PagedOptions, *, seed: int) -> PagedWork:
    """Return requests of skewed lengths, none longer than allowed, and others that begin alike."""
    from llmdrill.lab.paged_run import Request
    from llmdrill.lab.prompt_text import draw_prompts

    rng = np.random.default_rng(seed)
    lengths = _lengths(options, PROMPT_SIGMA, rng)
    outputs = _lengths(options, OUTPUT_SIGMA, rng)
    tails = _lengths(options, PROMPT_SIGMA, rng)[: 2 * options.samples]
    middle = options.longest_tokens // 2
    drawn = draw_prompts(
        decoder, [*lengths, *tails, options.prefix_tokens, *[middle] * STEP_SEQUENCES], model=options.model, rng=rng
    )
    ids = iter(drawn.ids)
    queue = tuple(Request(next(ids), output) for output in outputs)
    own = [next(ids) for _ in tails]
    prefix = next(ids)
    alike = tuple(Request((*prefix, *tail), options.shared_output_tokens) for tail in own)
    return PagedWork(queue, alike, prefix, tuple(ids), drawn.what)


def _lengths(options: PagedOptions, sigma: float, rng: np.random.Generator) -> list[int]:
    """Return lognormal lengths, each at most half of the longest request."""
    half = options.longest_tokens // 2
    drawn = rng.lognormal(np.log(MEDIAN_SHARE * options.longest_tokens), sigma, options.requests)
    return [int(each) for each in np.clip(drawn, LEAST_TOKENS, half)]


def _picture(served: dict[str, Served]) -> Picture:
    series = []
    for name, one in served.items():
        counts = tuple(float(each.sequences) for each in one.run.residents)
        series.append(Series(name, tuple(float(at) for at in range(1, len(counts) + 1)), counts))
    return Picture("Requests held at once, in the same bytes", "decoding step", "requests", tuple(series))


def _memory_meaning(forms: PagedForms, served: dict[str, Served]) -> str:
    plain, paged = served["contiguous"].run, served["paged, swap"].run
    ratio = served["contiguous"].median_s / served["paged, swap"].median_s
    pace = f"{ratio:.3g} times as fast" if ratio > 1 else f"in {1 / ratio:.3g} times the time"
    return (
        f"In {format_bytes(forms.pool_bytes)} of cache, reservation held {plain.mean_sequences:.3g} of the"
        f" {forms.options.requests} requests at once and left {format_share(plain.waste_share)} of its bytes empty;"
        f" blocks held {paged.mean_sequences:.3g} and left {format_share(paged.waste_share)}, and the queue was done"
        f" {pace}."
    )


def _output_meaning(served: dict[str, Served], prefix: Sharing, samples: Sharing, steps: StepRun) -> str:
    agreed = [*(one.agreement for one in served.values()), prefix.agreement, samples.agreement]
    swapped, again = (served[name].run.preemptions for name in ("paged, swap", "paged, recompute"))
    saved = 1 - prefix.shared_bytes / prefix.unshared_bytes
    shared = f"a shared prefix saved {format_share(saved) if saved > 0 else 'none'} of the cache"
    worst = min(each.equal_share for each in agreed)
    if worst < 1:
        return (
            f"In some run {format_share(1 - worst)} of the answers are not what the contiguous cache gives; {shared}."
        )
    same = "every answer has the very tokens that the contiguous cache gives"
    if steps.logit_difference > TOLERANCE:
        same = f"{same}, but logits differ by up to {steps.logit_difference:.2g}"
    if swapped or again:
        given_up = f"had to give up a request's blocks {swapped} × by swapping, {again} × by recomputing"
        return f"The pool ran full and {given_up}; {shared}, and still {same}."
    return f"The pool never ran full, {shared}, and {same}."


def _inputs(options: PagedOptions, work: PagedWork) -> dict[str, object]:
    return {
        "model": options.model or options.shape or "embedded",
        "requests": options.requests,
        "longest_tokens": options.longest_tokens,
        "pool_tokens": options.room_tokens,
        "block_tokens": options.block_tokens,
        "prefix_tokens": options.prefix_tokens,
        "samples": options.samples,
        "prompt_source": work.what,
    }


def _notes(options: PagedOptions, *, random_weights: bool) -> Iterator[str]:
    if random_weights:
        yield RANDOM_WEIGHTS_NOTE
    yield (
        f"contiguous is the same engine with blocks of {options.longest_tokens} tokens, the longest request allowed;"
        " all pools are cut from as many bytes, and every queue is served with continuous batching by the torch engine"
    )
    yield (
        "this engine gathers a sequence's blocks before it attends, where the paper's kernel reads them in place:"
        " paged_step_ratio is what that costs"
    )
    yield "low and high are the fastest and the slowest round or step; the pools take turns"
