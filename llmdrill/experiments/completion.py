"""`llmdrill lab completion`: the code-completion scenario on files the model never saw, beside closed forms."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from llmdrill.estimate.flops import matmul_parameters, prefill_flops
from llmdrill.estimate.kv_cache import kv_cache_bytes
from llmdrill.estimate.memory import bytes_per_value, ideal_weights_bytes
from llmdrill.experiments.record import record_of
from llmdrill.experiments.result import Experiment, Finding, Protocol
from llmdrill.picture import Picture, Series
from llmdrill.table import Table
from llmdrill.units import format_seconds, format_share

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from llmdrill.lab.completion import Completion
    from llmdrill.lab.completion_run import CompletionOptions, CompletionRun, Line, TypingRun
    from llmdrill.lab.typing_trace import TypingOutcome

MS_PER_S: Final = 1000.0
BUDGETS_MS: Final = (100, 300)  # a completion should stand there within this; the scenario's band for engine time
SHOWN_SHARES: Final = (1.0, 0.8, 0.6, 0.4, 0.2)
EXAMPLES: Final = 4
EXAMPLE_WIDTH: Final = 34
RESAMPLES: Final = 2000
FP32_BYTES: Final = 4.0
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


@dataclass(frozen=True, slots=True)
class Floor:
    """The least seconds a completion can take on this machine."""

    ttft_s: float
    tpot_s: float
    tokens: int

    @property
    def total_s(self) -> float:
        return self.ttft_s + (self.tokens - 1) * self.tpot_s


def floor_of(run: CompletionRun, completion: Completion) -> Floor:
    """Return the floor of one completion: a prefill without cache, then a step for every further token.

    Formula:
        ttft = prefill_flops(prompt) / peak; tpot = (weights + keys and values) / bandwidth
    """
    record, prompt = record_of(run.decoder.shape), completion.prompt_tokens
    head = 2 * record.vocab_size * record.hidden * (prompt - 1)  # the output head runs for the last token only
    precision = getattr(run.decoder, "precision", "fp32")
    weights = ideal_weights_bytes(parameters=matmul_parameters(record), bits=8 * bytes_per_value(precision))
    cache = kv_cache_bytes(record.attention, context_tokens=prompt, bytes_per_value=FP32_BYTES)
    return Floor(
        ttft_s=(prefill_flops(record, input_tokens=prompt) - head) / run.peak_flops_per_s,
        tpot_s=(weights + cache) / run.bandwidth_bytes_per_s,
        tokens=completion.tokens,
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
    yield Finding("completion_mean_tokens", mean_tokens, n=n, weights_matter=True)


def _share(name: str, hits: Sequence[bool], note: str) -> Finding:
    from llmdrill.lab.classify_metrics import wilson_interval

    found = wilson_interval(successes=sum(hits), n=len(hits))
    share = sum(hits) / len(hits)
    return Finding(
        name, share, None, found.low, found.high, len(hits), weights_matter=True, note=f"{note}; 95 %, Wilson"
    )


def _latency(run: CompletionRun) -> Iterator[Finding]:
    done = [line.completion for line in run.lines]
    floors, n = [floor_of(run, one) for one in done], len(done)
    totals = np.array([one.total_s for one in done]) * MS_PER_S
    for percent in (50, 90, 99):
        yield Finding(
            f"total_p{percent}_ms",
            float(np.percentile(totals, percent)),
            float(np.percentile([MS_PER_S * one.total_s for one in floors], percent)),
            n=n,
            formula="ttft + (tokens - 1) × tpot of each line" if percent == 50 else "",
            note="tokenizing, prefill and every token of the line, nothing cached",
        )
    for budget_ms in BUDGETS_MS:
        yield Finding(f"within_{budget_ms}ms_share", float((totals <= budget_ms).mean()), n=n)
    yield from _median_parts(run, done, floors)


def _median_parts(run: CompletionRun, done: Sequence[Completion], floors: Sequence[Floor]) -> Iterator[Finding]:
    middle = floors[int(np.argsort([one.ttft_s for one in floors])[len(floors) // 2])]
    ttft_ms = [MS_PER_S * one.ttft_s for one in done]
    yield Finding(
        "ttft_p50_ms",
        float(np.median(ttft_ms)),
        MS_PER_S * middle.ttft_s,
        min(ttft_ms),
        max(ttft_ms),
        len(done),
        formula=f"prefill FLOPs / {run.peak_flops_per_s / 1e9:.4g} GFLOP/s",
        note="low and high are the fastest and slowest line",
    )
    steps = [MS_PER_S * (one.total_s - one.ttft_s) / (one.tokens - 1) for one in done if one.tokens > 1]
    yield Finding(
        "tpot_p50_ms",
        float(np.median(steps)) if steps else None,
        MS_PER_S * middle.tpot_s,
        min(steps, default=None),
        max(steps, default=None),
        len(steps),
        formula=f"weights and cache read / {run.bandwidth_bytes_per_s / 1e9:.4g} GB/s",
        note="(total - TTFT) / (tokens - 1) of each line",
    )


def _prefix(run: CompletionRun) -> Iterator[Finding]:
    keys = run.keystrokes
    cold, warm = (float(np.median([getattr(one, at) for one in keys])) for at in ("cold_s", "warm_s"))
    n, prompt = len(keys), sum(one.prompt_tokens for one in keys)
    cached = 1 - sum(one.read_tokens for one in keys) / prompt
    yield Finding("keystroke_ttft_cold_p50_ms", MS_PER_S * cold, n=n, note="the whole prompt read at each keystroke")
    yield Finding("keystroke_ttft_warm_p50_ms", MS_PER_S * warm, n=n, note="the prefix shared with the last one kept")
    yield Finding("prefix_speedup_ratio", cold / warm, n=n, note="cold over warm, measured in turn")
    yield Finding("cached_prompt_share", cached, n=prompt, note="of all prompt tokens after a keystroke")


def _typing(run: TypingRun, *, seed: int) -> Iterator[Finding]:
    seen, said, trace = run.driven.outcome, predicted_outcome(run, seed=seed), run.policy.trace
    formula = (
        f"replay of the same {trace.keystrokes} intervals, TTFT {MS_PER_S * run.lone_ttft_s:.4g} ms, "
        f"total {MS_PER_S * run.lone_total_s:.4g} ms"
    )
    yield Finding(
        "wasted_share", seen.wasted_share, said.wasted_share, n=seen.sent, formula=formula, note="requests left unseen"
    )
    yield Finding("engine_waste_share", seen.wasted_compute_share, said.wasted_compute_share, n=seen.sent)
    keystrokes = trace.keystrokes
    yield Finding("requests_per_keystroke_ratio", seen.sent / keystrokes, said.sent / keystrokes, n=keystrokes)
    waits = run.driven.waits_s
    for percent in (50, 90):
        value = float(np.percentile(waits, percent)) * MS_PER_S if waits else None
        yield Finding(f"keystroke_to_text_p{percent}_ms", value, n=len(waits), note="debounce and engine, if seen")
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
    rows = [shown_above(lines, max(1, round(share * len(lines)))) for share in SHOWN_SHARES]
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
                float(np.median(one.driven.waits_s)) * MS_PER_S if one.driven.waits_s else None,
            )
        )
    columns = ("policy", "sent", "wasted_share", "predicted_share", "engine_share", "wait_p50_ms")
    return Table(
        "typing",
        columns,
        tuple(rows),
        note="the same text and intervals under each; engine: its time on requests nobody saw",
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
    totals = [line.completion.total_s for line in run.lines]
    p50, p99 = np.percentile(totals, (50, 99)).tolist()
    worst = BUDGETS_MS[-1] / MS_PER_S
    fits = (
        "all within"
        if max(totals) <= worst
        else "mostly within"
        if np.mean(np.array(totals) <= worst) > 0.5
        else "over"
    )
    every, few = shown_above(run.lines, len(run.lines)), shown_above(run.lines, max(1, len(run.lines) // 5))
    first = (
        f"A line takes {format_seconds(p50)} in the middle and {format_seconds(p99)} at p99, {fits} the "
        f"{BUDGETS_MS[-1]} ms of the scenario, and {format_share(every.precision)} are exactly what was written; "
        f"of the surest fifth {format_share(few.precision)} are."
    )
    with_all, eager = (one.driven.outcome for one in run.typing[:2])
    saved = 1 - with_all.sent / eager.sent
    speedup = float(
        np.median([one.cold_s for one in run.keystrokes]) / np.median([one.warm_s for one in run.keystrokes])
    )
    prefix = f"makes the next first token {speedup:.1f} times as fast" if speedup > 1 else "does not pay here"
    second = (
        f"The pause of {run.options.typing.debounce_ms:g} ms keeps {format_share(saved)} of the requests away and "
        f"{format_share(with_all.wasted_share or 0.0)} of the rest are overtaken by the next key "
        f"({format_share(eager.wasted_share or 0.0)} without it); keeping the prefix {prefix}."
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
    yield "the typing trace is synthetic (lognormal intervals), the text typed is real; idle time is skipped"


def _example(line: Line) -> str:
    before = line.case.before.rpartition("\n")[2].lstrip()[-EXAMPLE_WIDTH:]
    mark = "as written" if line.exact else f"written: {line.case.rest[:EXAMPLE_WIDTH]}"
    return f"{before}▸{line.completion.text[:EXAMPLE_WIDTH]}   ({mark})"
