"""`llmdrill lab batching`: steps by batch beside two ceilings, and a queue in static batches and continuously."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import fmean, median
from typing import TYPE_CHECKING, Final

import numpy as np

from llmdrill.estimate.batching import expected_longest, ratio_in_order
from llmdrill.estimate.explain import figure
from llmdrill.estimate.flops import decode_flops, matmul_parameters
from llmdrill.estimate.kv_cache import kv_cache_bytes
from llmdrill.estimate.memory import bytes_per_value, ideal_weights_bytes
from llmdrill.experiments.record import record_of
from llmdrill.experiments.result import Experiment, Finding, Protocol, over_rounds
from llmdrill.measurement import RANDOM_WEIGHTS_NOTE
from llmdrill.picture import Picture, Series
from llmdrill.table import Table
from llmdrill.units import MS_PER_S, format_share

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from llmdrill.lab.batching_run import BatchingOptions, BatchingRun, Runner
    from llmdrill.lab.scheduler import QueueRun

NEAR: Final = 0.7  # of the predicted gain: from here on the prediction explains it


def measure_batching(
    options: BatchingOptions,
    *,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
    now: Callable[[], float] = time.perf_counter,
) -> Experiment:
    """Time steps by batch in every engine and precision, and a queue of mixed lengths served in three ways.

    Raises:
        MissingExtraError, ModelFileError, UnknownNameError, UsageError: As ``run_batching`` says.

    Error:
        Predicted rates are ceilings: bytes over bandwidth, FLOP over peak. The predicted gain of continuous batching
        takes prompts for free, and a step to last as long with a few live answers as with many.
    Source:
        Williams et al. 2009, doi:10.1145/1498765.1498785 (roofline); ``ratio_in_order``: Yu et al. 2022, Orca, OSDI.
    """
    from llmdrill.lab.batching_run import run_batching
    from llmdrill.lab.machine import this_machine

    started = now()
    run, machine = run_batching(options, seed=seed, say=say, now=now), this_machine()
    steps, queue = _Steps(run, options), _Queue(run, options)
    return Experiment(
        name="batching",
        title="Batching: what more sequences at a time gain, and what waiting for the longest answer costs",
        inputs=_inputs(run, options),
        findings=(*_step_findings(steps), *_queue_findings(queue)),
        tables=(_steps_table(steps), _queue_table(run)),
        pictures=(_picture(steps),),
        meaning=(_steps_meaning(steps), _queue_meaning(queue)),
        machine=machine,
        protocol=Protocol(seed, options.warm_up, options.repeats, machine.threads, now() - started),
        notes=tuple(_notes(run)),
    )


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The least that a step takes: the longer of its bytes over the bandwidth and its FLOP over the peak."""

    read_bytes: float
    flops: float | None  # None where no peak of that precision was measured
    bandwidth_bytes_per_s: float
    peak_flops_per_s: float

    @property
    def seconds(self) -> float:
        return max(self.read_bytes / self.bandwidth_bytes_per_s, (self.flops or 0.0) / self.peak_flops_per_s)

    @property
    def filled(self) -> str:
        reading = f"{self.read_bytes:.4g} / {self.bandwidth_bytes_per_s:.4g}"
        return reading if self.flops is None else f"max({reading}, {self.flops:.4g} / {self.peak_flops_per_s:.4g})"


class _Steps:
    """Decode steps by batch, measured and predicted."""

    def __init__(self, run: BatchingRun, options: BatchingOptions) -> None:
        self.run, self.batches, self.slots = run, options.batches, options.slots
        self._context, self._record = options.context_tokens, record_of(run.decoder.shape)

    def seconds(self, runner: Runner, batch: int) -> float:
        return median(self.run.step_s[runner.name, batch])

    def tokens_per_s(self, runner: Runner, batch: int) -> float:
        return batch / self.seconds(runner, batch)

    def gains(self, runner: Runner) -> list[float]:
        """Return in each round how many times the throughput of one sequence the slots have."""
        pairs = zip(self.run.step_s[runner.name, 1], self.run.step_s[runner.name, self.slots], strict=True)
        return [self.slots * one / many for one, many in pairs]

    def ceiling(self, runner: Runner, batch: int) -> Ceiling:
        record, precision = self._record, runner.precision
        cached = 2.0 if runner.precision == "bf16" else 4.0
        weights = ideal_weights_bytes(parameters=matmul_parameters(record), bits=8 * bytes_per_value(precision))
        cache = kv_cache_bytes(record.attention, context_tokens=self._context, sequences=batch, bytes_per_value=cached)
        peak = self.run.peak_flops_per_s.get(precision)
        return Ceiling(
            weights + cache,
            None if peak is None else batch * decode_flops(record, context_tokens=self._context),
            median(self.run.bandwidth_bytes_per_s[precision]),
            1.0 if peak is None else median(peak),
        )

    def predicted_gain(self, runner: Runner) -> float:
        return self.slots * self.ceiling(runner, 1).seconds / self.ceiling(runner, self.slots).seconds

    @property
    def best_gain(self) -> Runner:
        return max(self.run.runners, key=lambda one: median(self.gains(one)))

    @property
    def fastest(self) -> Runner:
        return max(self.run.runners, key=lambda one: self.tokens_per_s(one, self.slots))


class _Queue:
    """The queue's runs, and what the closed form says of its lengths."""

    def __init__(self, run: BatchingRun, options: BatchingOptions) -> None:
        self.run, self.slots = run.queue, options.slots
        self.outputs = [one.output_tokens for one in run.queue.requests]
        self.ratios = [
            static.seconds / continuous.seconds
            for static, continuous in zip(run.queue.static, run.queue.continuous, strict=True)
        ]
        self.predicted_ratio = ratio_in_order(self.outputs, batch=options.slots)

    @property
    def predicted_waste(self) -> float:
        """Return the share of a static batch's slots that wait; prefill gives the first token, so steps are counted."""
        return 1 - 1 / ratio_in_order(self._steps, batch=self.slots)

    @property
    def predicted_waste_filled(self) -> str:
        """Return ``predicted_waste`` with the numbers put in."""
        wanted = sum(self._steps)
        computed = ratio_in_order(self._steps, batch=self.slots) * wanted
        what = "1 - steps wanted / (requests of each batch × its most steps, summed)"
        return f"{what} = 1 - {wanted} / {figure(computed)} = {figure(self.predicted_waste)}"

    @property
    def _steps(self) -> list[int]:
        return [tokens - 1 for tokens in self.outputs]


def _step_findings(steps: _Steps) -> Iterator[Finding]:
    slots = steps.slots
    for runner in steps.run.runners:
        gains, one, many = steps.gains(runner), steps.ceiling(runner, 1), steps.ceiling(runner, slots)
        yield over_rounds(
            f"{runner.name}_batch_{slots}_over_1_ratio",
            gains,
            predicted=steps.predicted_gain(runner),
            formula=f"{slots} × ({one.filled}) / ({many.filled}) = {figure(steps.predicted_gain(runner))}",
            note=f"output tokens per second of {slots} sequences / of one, within a round",
        )
    gains, fastest = steps.gains(steps.best_gain), steps.fastest
    note = f"the largest of the ratios above: {steps.best_gain.name}"
    yield over_rounds("best_gain_ratio", gains, note=note)
    ceiling = steps.ceiling(fastest, slots)
    yield over_rounds(
        f"best_batch_{slots}_tokens_per_s",
        [slots / seconds for seconds in steps.run.step_s[fastest.name, slots]],
        predicted=slots / ceiling.seconds,
        formula=f"{slots} / ({ceiling.filled}) = {figure(slots / ceiling.seconds)}",
        note=f"output tokens of decode steps alone: {fastest.name}",
    )


def _queue_findings(queue: _Queue) -> Iterator[Finding]:
    run, ratio, wanted = queue.run, queue.predicted_ratio, sum(queue.outputs)
    yield over_rounds(
        "continuous_over_static_ratio",
        queue.ratios,
        predicted=ratio,
        formula=f"requests of each batch × its longest, summed / sum of lengths ="
        f" {figure(ratio * wanted)} / {wanted} = {figure(ratio)}",
        note="output tokens per second with prefills; low and high are the worst and the best round",
    )
    for name, runs in (("static", run.static), ("continuous", run.continuous)):
        yield from _schedule_findings(queue, name, runs)
    yield Finding("alone_tokens_per_s", run.alone.tokens_per_s, n=1, note="one request after the other, once")


def _schedule_findings(queue: _Queue, name: str, runs: Sequence[QueueRun]) -> Iterator[Finding]:
    rates = [one.tokens_per_s for one in runs]
    note = "output tokens of the queue / its seconds, prompts included"
    yield over_rounds(f"{name}_tokens_per_s", rates, note=note)
    waits = [at * MS_PER_S for one in runs for at in _ttft_s(one)]
    for share in (50, 95):
        note = "from when the queue began to be served, so waiting counts; all requests of all rounds"
        yield Finding(f"{name}_ttft_p{share}_ms", _percentile(waits, share), n=len(waits), note=note)
    gaps = [at * MS_PER_S for one in runs for at in _tpot_s(one)]
    note = "(last token - first token) / (tokens - 1) of each request; prompts read in between count"
    yield Finding(f"{name}_tpot_p50_ms", _percentile(gaps, 50), n=len(gaps), note=note)
    is_static = name == "static"
    yield Finding(
        f"{name}_wasted_slots_share",
        runs[0].wasted_slots_share,
        queue.predicted_waste if is_static else None,
        n=runs[0].computed_tokens,
        formula=queue.predicted_waste_filled if is_static else "",
        note="of the tokens that decode steps computed, a token a slot: those that nobody wanted",
    )
    yield Finding(
        f"{name}_same_as_alone_share",
        _same_share(queue.run.alone, runs),
        n=len(queue.outputs),
        weights_matter=True,
        note="of answers that are token for token what the same request gets alone, in all rounds",
    )


def _same_share(alone: QueueRun, runs: Sequence[QueueRun]) -> float:
    from llmdrill.lab.scheduler import same_answers_share

    return fmean(same_answers_share(one, alone) for one in runs)


def _ttft_s(run: QueueRun) -> list[float]:
    return [one.ttft_s for one in run.answers]


def _tpot_s(run: QueueRun) -> list[float]:
    return [one.tpot_s for one in run.answers if one.tpot_s is not None]


def _percentile(values: Sequence[float], share: int) -> float:
    return float(np.percentile(values, share))


def _steps_table(steps: _Steps) -> Table:
    rows = tuple(
        (
            *(runner.engine, runner.precision, batch),
            round(steps.tokens_per_s(runner, batch), 1),
            round(batch / steps.ceiling(runner, batch).seconds, 1),
            round(steps.seconds(runner, batch) * MS_PER_S, 4),
            round(steps.tokens_per_s(runner, batch) / steps.tokens_per_s(runner, 1), 2),
        )
        for runner in steps.run.runners
        for batch in steps.batches
    )
    columns = ("engine", "precision", "batch", "tokens_per_s", "predicted_tokens_per_s", "tpot_ms", "over_batch_1")
    note = "medians over rounds; predicted: the ceiling, of int8 by reading alone"
    return Table("batches", columns, rows, note)


def _queue_table(run: BatchingRun) -> Table:
    queue = run.queue
    rows = []
    for name, runs in (("static", queue.static), ("continuous", queue.continuous), ("alone", (queue.alone,))):
        first, waits = runs[0], [at * MS_PER_S for one in runs for at in _ttft_s(one)]
        gaps = [at * MS_PER_S for one in runs for at in _tpot_s(one)]
        rows.append(
            (
                name,
                *(
                    round(median(getattr(one, at) for one in runs), 3)
                    for at in ("tokens_per_s", "seconds", "prefill_s")
                ),
                *(first.steps, round(first.wasted_slots_share, 3)),
                *(round(median(of), 2) for of in (waits, gaps)),
            )
        )
    note = "all requests wait from the start, so TTFT counts the queue; prompts are read one by one in every schedule"
    columns = ("schedule", "tokens_per_s", "seconds", "prefill_s", "steps", "wasted_slots_share")
    return Table("queue", (*columns, "ttft_p50_ms", "tpot_p50_ms"), tuple(rows), note)


def _picture(steps: _Steps) -> Picture:
    at = tuple(float(batch) for batch in steps.batches)
    series = tuple(
        Series(runner.name, at, tuple(steps.tokens_per_s(runner, batch) for batch in steps.batches))
        for runner in steps.run.runners
    )
    return Picture("Throughput by batch", "sequences", "output tokens per second", series, log_x=True, log_y=True)


def _steps_meaning(steps: _Steps) -> str:
    fastest, gain, slots = steps.fastest, steps.best_gain, steps.slots
    rate, times = steps.tokens_per_s(fastest, slots), median(steps.gains(gain))
    first = (
        f"{slots} sequences at a time gave {rate:,.0f} tokens/s at best ({fastest.name}), and {times:.3g} times"
        f" the throughput of one where batching gains most ({gain.name})"
    )
    longer = slots / times
    if longer <= 1:
        return f"{first}: a step of all took no longer than a step of one, for which the weights are read as well."
    step = f"a step of all took {longer:.3g} times as long as a step of one"
    if times >= NEAR * slots:
        return f"{first}: {step}, because the weights are read once for all of them."
    return f"{first}, not {slots} times: {step}, because each adds arithmetic and a cache of its own."


def _queue_meaning(queue: _Queue) -> str:
    ratio, run = median(queue.ratios), queue.run
    waste, kept = (format_share(runs[0].wasted_slots_share) for runs in (run.static, run.continuous))
    first = f"Static batches computed {waste} of their tokens for nobody, continuous batching {kept}"
    if ratio <= 1:
        prompts = format_share(median(one.prefill_s / one.seconds for one in run.continuous))
        return f"{first}; yet it was not faster ({ratio:.3g} times): reading prompts one by one took {prompts} of it."
    bound = f"{queue.predicted_ratio:.3g} times if prompts were free and no slot ever idle"
    return f"{first}, and the queue was done {ratio:.3g} times as fast ({bound})."


def _inputs(run: BatchingRun, options: BatchingOptions) -> dict[str, object]:
    from llmdrill.lab.native.engine import NativeDecoder

    native = run.queue.engine.decoder if isinstance(run.queue.engine.decoder, NativeDecoder) else None
    outputs = [one.output_tokens for one in run.queue.requests]
    return {
        "model": options.model or options.shape or "embedded",
        "batches": list(options.batches),
        "context_tokens": options.context_tokens,
        "slots": options.slots,
        "requests": len(outputs),
        "prompt": run.queue.prompt_text,
        "prompt_mean_tokens": fmean(len(one.prompt) for one in run.queue.requests),
        "output_mean_tokens": fmean(outputs),
        "output_longest_expected_tokens": expected_longest(outputs, batch=options.slots),
        "queue_engine": "torch" if native is None else f"native {native.precision} ({native.path})",
    }


def _notes(run: BatchingRun) -> Iterator[str]:
    if run.decoder.random_weights:
        yield RANDOM_WEIGHTS_NOTE
    same_as_alone = _same_share(run.queue.alone, (*run.queue.static, *run.queue.continuous))
    if same_as_alone < 1:
        yield "torch multiplies one sequence otherwise than several, so a near tie may fall otherwise than alone"
    if run.native_absent:
        yield f"no native engine here: {run.native_absent}"
    yield "low and high are the slowest and the fastest round; all engines are read beside each other, batch by batch"
    yield "predicted rates are ceilings: bytes over the bandwidth of plain reading, FLOP over torch's peak"
    yield "an answer is as long as its request says: no token ends it early, and so every schedule does the same work"
