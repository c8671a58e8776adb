"""`llmdrill lab completion`: the code-completion scenario on files the model never saw, beside closed forms."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Final

import numpy as np

from llmdrill.experiments.floors import Floors
from llmdrill.experiments.prompt_flops import prompt_flops
from llmdrill.experiments.record import record_of
from llmdrill.experiments.result import Experiment, Finding, Protocol
from llmdrill.picture import Picture, Series
from llmdrill.table import Table
from llmdrill.units import MS_PER_S, format_seconds, format_share

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from llmdrill.lab.completion_run import CompletionOptions, CompletionRun, Line, TypingRun
    from llmdrill.lab.typing_trace import TypingOutcome

BUDGETS_MS: Final = (100, 300)  # a completion that stands there within this feels as if it had not been waited for
FASTER: Final = 1.1  # times as fast: less is not called a gain
SHOWN_SHARES: Final = (1.0, 0.8, 0.6, 0.4, 0.2)
EXAMPLES: Final = 4
EXAMPLE_WIDTH: Final = 34
RESAMPLES: Final = 2000
SMALL_MODEL: Final = (
    "the model is a small one: exact match, similarity and precision say how the pipeline is measured, not how good a"
    " product's model is"
)


def measure_completion_lab(
    options: CompletionOptions,
    *,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
    now: Callable[[], float] = time.perf_counter,
) -> Experiment:
    """Complete held-out lines and answer a typing trace with the real engine, beside floors and arithmetic.

    Raises:
        MissingExtraError, ModelFileError, UsageError: As ``run_completion`` says.

    Error:
        Predicted latencies are floors (operations over peak, bytes over bandwidth). The predicted waste lets a request
        be broken off at any moment and never wait for another.
    Source:
        As ``run_completion``, ``is_exact``, ``edit_similarity`` and ``replay_typing`` say.
    """
    from llmdrill.lab.completion_run import run_completion
    from llmdrill.lab.machine import this_machine

    started = now()
    run, machine = run_completion(options, seed=seed, say=say, now=now), this_machine()
    return Experiment(
        name="completion",
        title="A line completed while somebody types: how fast, how often right, how much for nothing",
        inputs=_inputs(run),
        findings=(*_quality(run, seed=seed), *_latency(run), *_prefix(run), *_typing(run.typing[0], seed=seed)),
        tables=(_threshold_table(run.lines), _policy_table(run, seed=seed)),
        pictures=(_threshold_picture(run.lines), _policy_picture(run)),
        meaning=_meaning(run),
        machine=machine,
        protocol=Protocol(seed, 1, len(run.lines), machine.threads, now() - started),
        notes=tuple(_notes(run)),
        lines=tuple(_example(line) for line in run.lines[:EXAMPLES]),
    )


def _inputs(run: CompletionRun) -> dict[str, object]:
    options, trace = run.options, run.options.typing
    return {
        "model": options.model or "embedded",
        "engine": run.engine,
        "completed_lines": options.cases,
        "context_tokens": options.lengths.context_tokens,
        "max_new_tokens": options.lengths.max_new_tokens,
        "keystrokes": trace.keystrokes,
        "interval_p50_ms": trace.interval_p50_ms,
        "interval_sigma": trace.interval_sigma,
        "debounce_ms": trace.debounce_ms,
    }


def floors_of(run: CompletionRun) -> Floors:
    """Return what closed forms say of the engine that wrote, under the ceilings measured between the lines."""
    return Floors(
        record=record_of(run.decoder.shape),
        precision=getattr(run.decoder, "precision", "fp32"),
        cache_precision="fp32",
        bandwidth_bytes_per_s=run.bandwidth_bytes_per_s,
        peak_flops_per_s=run.peak_flops_per_s,
    )


def _quality(run: CompletionRun, *, seed: int) -> Iterator[Finding]:
    n = len(run.lines)
    yield _share("exact_match_share", [line.exact for line in run.lines], "completions equal to what was written")
    yield _share(
        "exact_match_without_healing_share",
        [line.unhealed_exact for line in run.lines],
        "the same lines, the prompt's last token left as it is",
    )
    similarities = np.array([line.similarity for line in run.lines])
    draws = np.random.default_rng(seed).choice(similarities, size=(RESAMPLES, n)).mean(axis=1)
    low, high = np.percentile(draws, (2.5, 97.5)).tolist()
    note = "mean of 1 - edit distance / longer text; 95 %, bootstrap over lines"
    yield Finding(
        "edit_similarity_share", float(similarities.mean()), None, low, high, n, weights_matter=True, note=note
    )
    mean_tokens = float(np.mean([line.completion.tokens for line in run.lines]))
    note = "written before the line ended, or the most that are allowed"
    yield Finding("completion_mean_tokens", mean_tokens, n=n, weights_matter=True, note=note)


def _share(name: str, hits: Sequence[bool], note: str) -> Finding:
    from llmdrill.lab.classify_metrics import wilson_interval

    found, n = wilson_interval(successes=sum(hits), n=len(hits)), len(hits)
    said = f"{note}; 95 %, Wilson"
    return Finding(name, sum(hits) / n, None, found.low, found.high, n, weights_matter=True, note=said)


def _latency(run: CompletionRun) -> Iterator[Finding]:
    done, floors = [line.completion for line in run.lines], floors_of(run)
    totals_ms = [one.total_s * MS_PER_S for one in done]
    least_s = [floors.total_s(prompt_tokens=one.prompt_tokens, output_tokens=one.tokens) for one in done]
    for percent in (50, 90, 99):
        yield Finding(
            f"total_p{percent}_ms",
            float(np.percentile(totals_ms, percent)),
            float(np.percentile(least_s, percent)) * MS_PER_S,
            n=len(done),
            formula="the same percentile over the lines of prefill FLOP / peak + (tokens - 1) × step bytes / bandwidth",
            weights_matter=True,  # they decide how many tokens are written
            note="tokenizing, prefill and every token of the line, nothing cached",
        )
    for budget_ms in BUDGETS_MS:
        within = [one <= budget_ms for one in totals_ms]
        note = "of the engine's time alone, without pause and network"
        yield _share(f"within_{budget_ms}ms_share", within, note)
    yield from _median_parts(run, floors)


def _median_parts(run: CompletionRun, floors: Floors) -> Iterator[Finding]:
    done = [line.completion for line in run.lines]
    prompt = median(one.prompt_tokens for one in done)
    prefill_ms, step_ms = MS_PER_S * floors.prefill_s(tokens=prompt), MS_PER_S * floors.step_s(context_tokens=prompt)
    ttft_ms = [MS_PER_S * one.ttft_s for one in done]
    yield Finding(
        "ttft_p50_ms",
        median(ttft_ms),
        prefill_ms,
        min(ttft_ms),
        max(ttft_ms),
        len(done),
        formula=f"FLOP of {prompt:g} tokens / peak = {prompt_flops(floors.record, tokens=prompt):.4g} /"
        f" {run.peak_flops_per_s:.4g} = {prefill_ms:.3g} ms",
        note="low and high are the fastest and slowest line; read in chunks, between which a request can be left",
    )
    steps = [MS_PER_S * (one.total_s - one.ttft_s) / (one.tokens - 1) for one in done if one.tokens > 1]
    yield Finding(
        "tpot_p50_ms",
        median(steps) if steps else None,
        step_ms,
        min(steps, default=None),
        max(steps, default=None),
        len(steps),
        formula=f"bytes of a step after {prompt:g} tokens / bandwidth ="
        f" {floors.step_bytes(context_tokens=prompt):.4g} / {run.bandwidth_bytes_per_s:.4g} = {step_ms:.3g} ms",
        note="(total - TTFT) / (tokens - 1) of each line",
    )


def _prefix(run: CompletionRun) -> Iterator[Finding]:
    keys, (cold, warm) = run.keystrokes, _cold_and_warm_s(run)
    n, prompt = len(keys), sum(one.prompt_tokens for one in keys)
    cached = 1 - sum(one.read_tokens for one in keys) / prompt
    yield Finding("keystroke_ttft_cold_p50_ms", MS_PER_S * cold, n=n, note="the whole prompt read at each keystroke")
    yield Finding("keystroke_ttft_warm_p50_ms", MS_PER_S * warm, n=n, note="the prefix shared with the last one kept")
    yield Finding("prefix_speedup_ratio", cold / warm, n=n, note="cold over warm, measured in turn")
    yield Finding("cached_prompt_share", cached, n=prompt, note="of all prompt tokens after a keystroke")


def _cold_and_warm_s(run: CompletionRun) -> tuple[float, float]:
    return median(one.cold_s for one in run.keystrokes), median(one.warm_s for one in run.keystrokes)


def _typing(run: TypingRun, *, seed: int) -> Iterator[Finding]:
    seen, said, keystrokes = run.driven.outcome, predicted_outcome(run, seed=seed), run.policy.trace.keystrokes
    alone = f"TTFT {MS_PER_S * run.lone_ttft_s:.4g} ms, total {MS_PER_S * run.lone_total_s:.4g} ms"
    formula = f"replay of the same {keystrokes} intervals, a request left alone: {alone}"
    for name, measured, predicted, note in (
        ("wasted_share", seen.wasted_share, said.wasted_share, "of requests, not whole before the next key"),
        ("engine_waste_share", seen.wasted_compute_share, said.wasted_compute_share, "of the engine's time, on those"),
    ):
        yield Finding(name, measured, predicted, n=seen.sent, formula=formula, weights_matter=True, note=note)
    sent, note = seen.sent / keystrokes, "requests that the pause let through"
    name = "requests_per_keystroke_ratio"
    yield Finding(name, sent, said.sent / keystrokes, n=keystrokes, formula=formula, note=note)
    waits, note = run.driven.waits_s, "debounce and engine, of suggestions that were seen"
    for percent in (50, 90):
        value = float(np.percentile(waits, percent)) * MS_PER_S if waits else None
        yield Finding(f"keystroke_to_text_p{percent}_ms", value, n=len(waits), weights_matter=True, note=note)
    yield Finding(
        "typed_through_share",
        run.driven.typed_through / keystrokes,
        n=keystrokes,
        weights_matter=True,
        note="keystrokes that typed what stood there in grey: an editor's cache would answer them",
    )


def predicted_outcome(run: TypingRun, *, seed: int) -> TypingOutcome:
    """Return what arithmetic makes of the same trace, from the latency of a request that is left alone."""
    from llmdrill.lab.typing_trace import replay_typing

    return replay_typing(
        run.policy.trace,
        ttft_ms=MS_PER_S * run.lone_ttft_s,
        total_ms=MS_PER_S * run.lone_total_s,
        rng=np.random.default_rng(seed),
    )


@dataclass(frozen=True, slots=True)
class Shown:
    """The lines whose mean log-probability reaches a threshold.

    Attributes:
        threshold: Nats a token.
        share: Of all lines.
        lines: How many.
        precision: Share of them that are exact.
        low: Of its 95 % Wilson interval.
        high: Likewise.
    """

    threshold: float
    share: float
    lines: int
    precision: float
    low: float
    high: float


def shown_above(lines: Sequence[Line], shown: int) -> Shown:
    """Return what showing the ``shown`` surest lines comes to."""
    from llmdrill.lab.classify_metrics import wilson_interval

    surest = sorted(lines, key=lambda line: -line.completion.mean_logprob)[:shown]
    hits = sum(line.exact for line in surest)
    interval = wilson_interval(successes=hits, n=shown)
    threshold = surest[-1].completion.mean_logprob
    return Shown(threshold, shown / len(lines), shown, hits / shown, interval.low, interval.high)


def _threshold_table(lines: Sequence[Line]) -> Table:
    counts = dict.fromkeys(max(1, round(share * len(lines))) for share in SHOWN_SHARES)  # few lines: fewer rows
    rows = [shown_above(lines, count) for count in counts]
    return Table(
        "threshold",
        ("at_least_nats", "shown_share", "lines", "precision_share", "low_share", "high_share"),
        tuple((one.threshold, one.share, one.lines, one.precision, one.low, one.high) for one in rows),
        note="mean log-probability; exact among the shown, 95 % Wilson; choose a threshold on other lines than these",
    )


def _threshold_picture(lines: Sequence[Line]) -> Picture:
    counts = sorted({max(1, round(len(lines) * step / 20)) for step in range(1, 21)})
    curve = [shown_above(lines, count) for count in counts]
    x = tuple(one.share for one in curve)
    return Picture(
        "Showing only what the model is sure of",
        "share of completions shown",
        "share of them exact",
        (
            Series("precision", x, tuple(one.precision for one in curve)),
            Series("95 % low", x, tuple(one.low for one in curve)),
            Series("95 % high", x, tuple(one.high for one in curve)),
        ),
    )


def _policy_table(run: CompletionRun, *, seed: int) -> Table:
    rows = []
    for one in run.typing:
        seen, said = one.driven.outcome, predicted_outcome(one, seed=seed)
        rows.append(
            (
                one.policy.name,
                seen.sent,
                seen.wasted_share,
                said.wasted_share,
                seen.wasted_compute_share,
                median(one.driven.waits_s) * MS_PER_S if one.driven.waits_s else None,
            )
        )
    columns = ("policy", "sent", "wasted_share", "predicted_share", "engine_share", "wait_p50_ms")
    return Table(
        "typing",
        columns,
        tuple(rows),
        note="the same text and intervals under each, in turn; predicted: none waits for another; engine: its time on"
        " requests nobody saw",
    )


def _policy_picture(run: CompletionRun) -> Picture:
    x = tuple(float(at) for at in range(len(run.typing)))
    outcomes = [one.driven.outcome for one in run.typing]
    return Picture(
        "What typing on costs",
        "policy",
        "share",
        (
            Series("requests unseen", x, tuple(one.wasted_share or 0.0 for one in outcomes)),
            Series("engine time on them", x, tuple(one.wasted_compute_share or 0.0 for one in outcomes)),
        ),
        kind="bars",
        labels=tuple(one.policy.name for one in run.typing),
    )


def _meaning(run: CompletionRun) -> tuple[str, str]:
    totals_s = [line.completion.total_s for line in run.lines]
    p50, p99 = np.percentile(totals_s, (50, 99)).tolist()
    within = sum(one <= BUDGETS_MS[-1] / MS_PER_S for one in totals_s) / len(totals_s)
    every, few = shown_above(run.lines, len(run.lines)), shown_above(run.lines, max(1, len(run.lines) // 5))
    first = (
        f"A line takes {format_seconds(p50)} in the middle and {format_seconds(p99)} at p99, "
        f"{format_share(within)} of the lines within {BUDGETS_MS[-1]} ms, and {format_share(every.precision)} are"
        f" exactly what was written; of the {few.lines} that the model is surest of {format_share(few.precision)} are."
    )
    with_all, eager = (one.driven.outcome for one in run.typing[:2])
    cold, warm = _cold_and_warm_s(run)
    prefix = "does not pay here"
    if cold / warm > FASTER:
        prefix = f"makes the next first token {cold / warm:.3g} times as fast"
    second = (
        f"The pause of {run.options.typing.debounce_ms:g} ms leaves {with_all.sent} of {eager.sent} requests, and "
        f"{format_share(with_all.wasted_share or 0.0)} of those are not whole before the next key "
        f"({format_share(eager.wasted_share or 0.0)} without the pause); keeping the prefix {prefix}."
    )
    return first, second


def _notes(run: CompletionRun) -> Iterator[str]:
    yield SMALL_MODEL
    if run.reason is not None:
        yield f"no native engine: {run.reason}"
    if run.options.model is None and not run.of_trained_version:
        yield "this Python is not the version the model was trained on: its files differ a little from those held out"
    if run.options.model is not None:
        yield "this model may have seen these files: they are public"
    yield (
        "predicted latencies are floors whose bandwidth and peak were read in this very run, by plain reading and a"
        " matrix product: they tell what of a line is reading and arithmetic; `lab calibrate` predicts what was not run"
    )
    yield (
        "predicted waste replays the trace with this run's own latency of a request left alone: it can be wrong about"
        " waiting and breaking off, not about the latency"
    )
    yield "the typing trace is synthetic (lognormal intervals), the text typed is real; idle time is skipped"


def _example(line: Line) -> str:
    before = line.case.before.rpartition("\n")[2].lstrip()[-EXAMPLE_WIDTH:]
    mark = "as written" if line.exact else f"written: {line.case.rest[:EXAMPLE_WIDTH]}"
    return f"{before}▸{line.completion.text[:EXAMPLE_WIDTH]}   ({mark})"
