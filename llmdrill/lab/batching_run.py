"""Time decode steps by batch in every engine and precision, then serve a queue three ways: `llmdrill lab batching`.

Shapes in comments: B sequences.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from llmdrill.errors import UsageError
from llmdrill.lab.bandwidth import Reader, peak_flops
from llmdrill.lab.engine_choice import EngineName, WeightPrecision, choose_engine, prompt_precision
from llmdrill.lab.load_decoder import load_decoder
from llmdrill.lab.native.engine import NativeDecoder, NativePrecision, native_or_torch
from llmdrill.lab.prompt_text import draw_prompts
from llmdrill.lab.scheduler import Request, serve_alone, serve_continuously, serve_static

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from llmdrill.lab.decoder import Decoder, Session
    from llmdrill.lab.native.engine import ChosenEngine
    from llmdrill.lab.scheduler import QueueRun

READING_S: Final = 0.02  # a reading is as many steps as take this long
MOST_STEPS: Final = 32
P95_OF_NORMAL: Final = 1.6449  # standard deviations
BYTES_OF_WEIGHT: Final[dict[NativePrecision, int]] = {"fp32": 4, "bf16": 2, "int8": 1}


@dataclass(frozen=True, slots=True)
class Lengths:
    """Lengths in tokens, lognormal with these percentiles, cut off at both ends."""

    p50: int
    p95: int
    least: int
    most: int

    def draw(self, count: int, rng: np.random.Generator) -> list[int]:
        """Return so many lengths."""
        sigma = math.log(self.p95 / self.p50) / P95_OF_NORMAL
        drawn = np.exp(rng.normal(math.log(self.p50), sigma, count)).round()
        return [int(length) for length in np.clip(drawn, self.least, self.most)]


MIXED_PROMPTS: Final = Lengths(p50=48, p95=160, least=8, most=256)
MIXED_OUTPUTS: Final = Lengths(p50=48, p95=192, least=4, most=256)
SHORT_OUTPUTS: Final = Lengths(p50=12, p95=48, least=4, most=64)


@dataclass(frozen=True, slots=True)
class BatchingOptions:
    """What to run.

    Attributes:
        model: A folder or hub id; or ``shape`` for random weights; neither for the embedded model.
        engine: That serves the queue; the sweep runs every one there is.
        precision: Of its weights; None: int8 in the native engine, fp32 in torch.
        batches: Of the sweep.
        context_tokens: Before each sequence of the sweep.
        slots: Sequences that the queue is served with at a time.
        requests: Of the queue.
        prompts: Lengths of their prompts.
        outputs: Lengths of their answers.
    """

    model: str | None = None
    shape: str | None = None
    engine: EngineName = "auto"
    precision: WeightPrecision | None = None
    batches: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    context_tokens: int = 64
    slots: int = 16
    requests: int = 64
    prompts: Lengths = MIXED_PROMPTS
    outputs: Lengths = MIXED_OUTPUTS
    warm_up: int = 1
    repeats: int = 3

    def __post_init__(self) -> None:
        if self.slots < 2 or self.requests < self.slots:
            raise UsageError(
                f"{self.requests} requests in {self.slots} slots: at least two slots, and a request for each"
            )


@dataclass(frozen=True, slots=True)
class Runner:
    """An engine with a precision of weights."""

    engine: str
    precision: NativePrecision
    decoder: Decoder

    @property
    def name(self) -> str:
        return f"{self.engine}_{self.precision}"


@dataclass(frozen=True, slots=True)
class Queue:
    """One queue served in three ways with the same engine; a run of each a round.

    Attributes:
        requests: In order of arrival.
        prompt_text: What the prompts are.
        engine: That served them.
        alone: Once, as the reference that the others' tokens are held against.
    """

    requests: tuple[Request, ...]
    prompt_text: str
    engine: ChosenEngine
    static: tuple[QueueRun, ...]
    continuous: tuple[QueueRun, ...]
    alone: QueueRun


@dataclass(frozen=True, slots=True)
class BatchingRun:
    """All that was seen.

    Attributes:
        decoder: The torch engine of the model, in fp32.
        step_s: Seconds of a decode step, a reading a round, by name of the runner and batch.
        bandwidth_bytes_per_s: Plain reading of as many bytes as the weights have, by precision; a reading a round.
        peak_flops_per_s: Of torch's matrix product, by precision; a reading a round.
        native_absent: Why there is no native engine; None if there is.
    """

    decoder: Decoder
    runners: tuple[Runner, ...]
    step_s: Mapping[tuple[str, int], Sequence[float]]
    bandwidth_bytes_per_s: Mapping[str, Sequence[float]]
    peak_flops_per_s: Mapping[str, Sequence[float]]
    native_absent: str | None
    queue: Queue


def run_batching(
    options: BatchingOptions,
    *,
    seed: int,
    say: Callable[[str], None] = lambda _: None,
    now: Callable[[], float] = time.perf_counter,
) -> BatchingRun:
    """Time the sweep round by round, every engine in each, then serve the queue.

    Raises:
        MissingExtraError, ModelFileError, UnknownNameError: As ``load_decoder`` says.
        UsageError: If a sequence does not fit the model's context, or the engine asked for cannot be had.
    """
    bases = {
        kind: load_decoder(options.model, shape=options.shape, precision=kind, seed=seed) for kind in ("fp32", "bf16")
    }
    _refuse(options, bases["fp32"])
    runners, absent = engines_of(bases)
    sweep = _Sweep(runners, options, seed=seed, now=now)
    for number in range(options.warm_up + options.repeats):
        say(f"steps by batch: round {number + 1} of {options.warm_up + options.repeats}")
        sweep.round(counts=number >= options.warm_up)
    chosen = choose_engine(
        bases[prompt_precision(options.precision)], engine=options.engine, precision=options.precision
    )
    queue = serve_queue(chosen, options, seed=seed, say=say, now=now)
    return BatchingRun(
        bases["fp32"], runners, sweep.step_s, sweep.bandwidth_bytes_per_s, sweep.peak_flops_per_s, absent, queue
    )


def engines_of(bases: Mapping[str, Decoder]) -> tuple[tuple[Runner, ...], str | None]:
    """Return every engine and precision there is for a model in fp32 and bf16, and why none is native if so."""
    runners = [Runner("torch", "fp32", bases["fp32"]), Runner("torch", "bf16", bases["bf16"])]
    for precision in BYTES_OF_WEIGHT:
        chosen = native_or_torch(bases["bf16" if precision == "bf16" else "fp32"], precision=precision)
        if not isinstance(chosen.decoder, NativeDecoder):
            return tuple(runners), chosen.reason
        runners.append(Runner("native", precision, chosen.decoder))
    return tuple(runners), None


def draw_queue(decoder: Decoder, options: BatchingOptions, *, seed: int) -> tuple[tuple[Request, ...], str]:
    """Return requests of mixed lengths, and what their prompts are."""
    rng = np.random.default_rng(seed)
    lengths, outputs = (one.draw(options.requests, rng) for one in (options.prompts, options.outputs))
    prompts = draw_prompts(decoder, lengths, model=options.model, rng=rng)
    pairs = zip(prompts.ids, outputs, strict=True)
    return tuple(Request(ids, output_tokens) for ids, output_tokens in pairs), prompts.what


def serve_queue(
    chosen: ChosenEngine,
    options: BatchingOptions,
    *,
    seed: int,
    say: Callable[[str], None],
    now: Callable[[], float],
) -> Queue:
    """Serve the queue alone once, then in static batches and continuously in turn."""
    requests, text = draw_queue(chosen.decoder, options, seed=seed)
    say("the queue, each request alone")
    alone = serve_alone(chosen.decoder, requests, now=now)
    static, continuous = [], []
    for number in range(options.repeats):
        say(f"the queue: round {number + 1} of {options.repeats}")
        static.append(serve_static(chosen.decoder, requests, slots=options.slots, now=now))
        continuous.append(serve_continuously(chosen.decoder, requests, slots=options.slots, now=now))
    return Queue(requests, text, chosen, tuple(static), tuple(continuous), alone)


class _Sweep:
    """Readings of all engines, precisions and batches, and of the ceilings beside them."""

    def __init__(
        self, runners: tuple[Runner, ...], options: BatchingOptions, *, seed: int, now: Callable[[], float]
    ) -> None:
        self._runners, self._options, self._now = runners, options, now
        self._ids = torch.randint(
            runners[0].decoder.shape.vocab, (max(options.batches),), generator=torch.Generator().manual_seed(seed)
        )
        parameters = runners[0].decoder.shape.parameters
        self._readers = {
            one.precision: Reader(size_bytes=parameters * BYTES_OF_WEIGHT[one.precision]) for one in runners
        }
        self.step_s: dict[tuple[str, int], list[float]] = {
            (one.name, batch): [] for one in runners for batch in options.batches
        }
        self.bandwidth_bytes_per_s: dict[str, list[float]] = {one: [] for one in self._readers}
        self.peak_flops_per_s: dict[str, list[float]] = {"fp32": [], "bf16": []}

    def round(self, *, counts: bool) -> None:
        """Read everything once, and keep it if it counts."""
        for batch in self._options.batches:  # all engines beside each other, batch by batch
            for runner in self._runners:
                seconds = self._step_s(runner.decoder, batch)
                self.step_s[runner.name, batch] += [seconds] if counts else []
        for precision, reader in self._readers.items():
            seen = reader.bytes_per_s(now=self._now)
            self.bandwidth_bytes_per_s[precision] += [seen] if counts else []
        for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            rate = peak_flops(dtype, repeats=1, now=self._now)
            self.peak_flops_per_s[precision] += [rate] if counts else []

    def _step_s(self, decoder: Decoder, batch: int) -> float:
        """Return the time of a step: the mean of as many as fill a reading.

        Keys and values of the context are zeros: what they are does not matter to how long a step takes.
        """
        context = self._options.context_tokens
        session = decoder.start(sequences=batch, capacity_tokens=context + MOST_STEPS)
        self._decode(session, batch)  # the first touches the cache's memory
        steps, spent_s = 0, 0.0
        while not steps or (spent_s < READING_S and steps < MOST_STEPS):
            spent_s += self._decode(session, batch)
            steps += 1
        return spent_s / steps

    def _decode(self, session: Session, batch: int) -> float:
        session.cache.lengths.fill_(self._options.context_tokens)
        start = self._now()
        session.decode(self._ids[:batch])
        return self._now() - start


def _refuse(options: BatchingOptions, decoder: Decoder) -> None:
    longest = max(options.context_tokens + MOST_STEPS, options.prompts.most + options.outputs.most)
    if longest > decoder.shape.max_positions:
        raise UsageError(f"{longest} tokens of context: this model has {decoder.shape.max_positions}; ask for less")


def batches_up_to(most: int, *, and_also: int = 1) -> tuple[int, ...]:
    """Return 1, 2, 4 … up to ``most``, with one more among them.

    >>> batches_up_to(32, and_also=12)
    (1, 2, 4, 8, 12, 16, 32)
    """
    return tuple(sorted({and_also, *(2**power for power in range(most.bit_length()))}))
