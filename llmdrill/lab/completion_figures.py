"""What the embedded model makes of a completion design: real lines completed, a typing trace really answered."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from llmdrill.lab.classify_metrics import wilson_interval
from llmdrill.lab.completion import Lengths
from llmdrill.lab.completion_cases import draw_cases, edit_similarity, is_exact
from llmdrill.lab.completion_run import Bench, drive_policies
from llmdrill.measurement import Figure
from llmdrill.table import Table
from llmdrill.units import MS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from llmdrill.lab.completion import Completion
    from llmdrill.lab.completion_cases import Case
    from llmdrill.lab.completion_plan import SmallModelPlan
    from llmdrill.lab.completion_run import TypingRun

TYPING_CONTEXT_TOKENS: Final = 256  # of the typing trace: the clock is scaled, so the prompt's size hardly matters
SMALL_MODEL_NOTE: Final = (
    "small_model_ figures are of the embedded 8M model on files it never saw: they say whether prompt, stop and output"
    " cap work, not how good the product's model is"
)
PACE_NOTE: Final = (
    "the typing trace is answered by the embedded model; its clock is scaled so that a request left alone takes as long"
    " as the service the scenario states, so it judges debounce and cancelling, not the processor"
)


@dataclass(frozen=True, slots=True)
class SmallModelFigures:
    """Figures and tables for a measurement, and the notes that belong beside them."""

    figures: tuple[Figure, ...]
    tables: tuple[Table, ...]
    notes: tuple[str, ...]


def measure_small_model(
    plan: SmallModelPlan, *, seed: int, now: Callable[[], float] = time.perf_counter
) -> SmallModelFigures:
    """Complete held-out lines with the design's sizes, and answer the typing trace under its policy.

    Raises:
        MissingExtraError, ModelFileError: As ``load_decoder`` says.
        UsageError: If the files have too few lines.
    """
    bench = Bench(None)
    room = bench.decoder.shape.max_positions - plan.max_new_tokens
    context_tokens = min(plan.context_tokens, room)
    figures: list[Figure] = []
    notes: list[str] = []
    if plan.lines:
        completer = bench.completer(Lengths(context_tokens, plan.max_new_tokens), now=now)
        cases = draw_cases(bench.texts, cases=plan.lines, rng=np.random.default_rng(seed))
        figures += _line_figures(cases, [completer.complete(case.before) for case in cases])
        notes.append(SMALL_MODEL_NOTE)
        if context_tokens < plan.context_tokens:
            notes.append(f"its prompts are cut to {context_tokens} tokens, its context less the completion")
    if plan.policy is not None:
        short = Lengths(min(context_tokens, TYPING_CONTEXT_TOKENS), plan.max_new_tokens)
        characters, rng = short.prompt_characters, np.random.default_rng(seed)
        typed = bench.typed_text(keystrokes=plan.policy.trace.keystrokes, characters=characters, rng=rng)
        total_s = plan.service_total_s
        runs = drive_policies(bench, short, (plan.policy,), typed, seed=seed, service_total_s=total_s, now=now)
        figures += _typing_figures(runs[0])
        notes.append(PACE_NOTE)
    return SmallModelFigures(tuple(figures), tuple(_table(figures)), tuple(notes))


def _line_figures(cases: Sequence[Case], done: Sequence[Completion]) -> Iterator[Figure]:
    n = len(cases)
    pairs = list(zip(cases, done, strict=True))
    exact = sum(is_exact(one.text, case.rest) for case, one in pairs)
    interval = wilson_interval(successes=exact, n=n)
    note = "of held-out lines, cut at a random place; 95 %, Wilson"
    yield Figure("small_model_exact_match", exact / n, interval.low, interval.high, n, note)
    similarity = float(np.mean([edit_similarity(one.text, case.rest) for case, one in pairs]))
    yield Figure("small_model_edit_similarity", similarity, n=n, note="1 - edit distance / longer text")
    totals_ms = np.array([one.total_s for one in done]) * MS_PER_S
    for percent in (50, 95):
        yield Figure(f"small_model_total_p{percent}_ms", float(np.percentile(totals_ms, percent)), n=n)


def _table(figures: Sequence[Figure]) -> Iterator[Table]:
    """Yield what a terminal shows of these figures, which are no metrics that a requirement could name."""
    rows = [
        (one.name, one.value, one.low, one.high, one.n)
        for one in figures
        if one.name.startswith(("small_model_", "typing_"))
    ]
    if rows:
        yield Table("Embedded model", ("figure", "value", "low", "high", "n"), tuple(rows))


def _typing_figures(run: TypingRun) -> Iterator[Figure]:
    seen, driven, trace = run.driven.outcome, run.driven, run.policy.trace
    note = f"{trace.keystrokes} keystrokes answered by a real engine"
    yield Figure("wasted_share", seen.wasted_share, n=seen.sent, note=f"of requests sent, overtaken by a key; {note}")
    yield Figure("typing_requests_per_keystroke", seen.sent / trace.keystrokes, n=trace.keystrokes, note=note)
    yield Figure(
        "typing_cancelled_share",
        seen.cancelled_before_first_token_share,
        n=seen.sent,
        note="overtaken before the first token",
    )
    yield Figure("typing_engine_waste_share", seen.wasted_compute_share, n=seen.sent, note="of the engine's time")
    yield Figure(
        "typing_typed_through_share",
        driven.typed_through / trace.keystrokes,
        n=trace.keystrokes,
        note="keystrokes that typed what the small model had suggested",
    )
