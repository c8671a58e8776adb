"""What `lab faults` shows: tables, a picture, the text of a fault with its trace, and two sentences."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Final

from llmdrill.experiments.faults_run import MEASURES, RANKING
from llmdrill.picture import Picture, Series
from llmdrill.retrieval.fault_guards import GUARDS
from llmdrill.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmdrill.experiments.faults import Compared, Planted
    from llmdrill.experiments.faults_run import PipelineRun
    from llmdrill.retrieval.fault_texts import FaultText
    from llmdrill.retrieval.trace import Trace, TracePair

SOUND: Final = "(sound)"
DIGITS: Final = 3
WIDTH: Final = 78
WORDS: Final = {
    "citation_accuracy": "citation accuracy",
    "evidence_in_prompt": "evidence in the prompt",
    "ndcg": "nDCG",
    "mrr": "MRR",
}
UNSUPPORTED: Final = "unsupported_figures"


def effect_table(compared: Compared) -> Table:
    """Return every measure of the sound pipeline and of each faulty one."""
    columns = ("fault", "layer", *MEASURES)
    rows = [(SOUND, "", *_means(compared.sound))]
    rows += [(one.text.id, one.text.layer, *_means(one.run)) for one in compared.planted]
    return Table("before and after", columns, tuple(rows))


def _means(run: PipelineRun | None) -> tuple[float | None, ...]:
    means = [run.mean(measure) if run else None for measure in MEASURES]
    return tuple(None if mean is None else round(mean, DIGITS) for mean in means)


def seen_table(compared: Compared) -> Table:
    """Return who sees each fault: measures that fall for sure, and the guard that needs no labels."""
    columns = ("fault", "lower_for_sure", "guard", "before", "after")
    rows = tuple((one.text.id, _lowered(compared, one), *_guarded(compared, one)) for one in compared.planted)
    note = "lower for sure: paired 95 % bootstrap interval below 0; a guard is a share of what is wrong, without labels"
    return Table("who sees it", columns, rows, note)


def _lowered(compared: Compared, one: Planted) -> str:
    if one.run is None:
        return "cannot be planted here"
    lowered = compared.lowered(one)
    if len(lowered) == len(MEASURES):
        return "all"
    return ", ".join(WORDS.get(measure, measure) for measure in lowered) or "none"


def _guarded(compared: Compared, one: Planted) -> tuple[str, float | None, float | None]:
    guard = one.text.guard
    if guard is None:
        return "none: answers must be graded", None, None
    if guard not in GUARDS:
        return guard, None, None  # of an answer: the trace has it
    after = None if one.run is None else round(one.run.guards[guard], DIGITS)
    return guard, round(compared.sound.guards[guard], DIGITS), after


def picture(compared: Compared) -> Picture:
    """Return recall and evidence in the prompt by fault, those of reasoning left out: they change neither."""
    shown = [one for one in compared.planted if one.run and one.text.layer != "reasoning"]
    runs = [compared.sound, *(one.run for one in shown if one.run)]
    at = tuple(float(place) for place in range(len(runs)))
    series = tuple(
        Series(WORDS.get(measure, measure), at, tuple(run.mean(measure) or 0.0 for run in runs))
        for measure in (MEASURES[0], MEASURES[-1])
    )
    labels = (SOUND, *(one.text.id for one in shown))
    return Picture("What is found, and what reaches the prompt", "fault", "share", series, kind="bars", labels=labels)


def meaning_of_all(compared: Compared) -> tuple[str, str]:
    """Return how many faults the ranking's metrics see, and who sees the others."""
    planted = [(one.text, compared.lowered(one)) for one in compared.planted if one.run]
    ranking = [text for text, lowered in planted if any(measure in RANKING for measure in lowered)]
    further = [text for text, lowered in planted if lowered and text not in ranking]
    blind = [text for text, lowered in planted if not lowered]
    first = (
        f"Of {len(planted)} faults, {len(ranking)} lower recall, nDCG or MRR for sure, and {len(further)} more show"
        f" only in what the prompt holds or where its citations lead ({_ids(further)})."
    )
    graded = [text for text in blind if text.guard is None]
    second = (
        f"{len(blind)} move no metric ({_ids(blind)}): guards without labels see all of these but {_ids(graded)},"
        " for which answers must be graded."
    )
    return first, second


def meaning_of_one(compared: Compared) -> tuple[str, str]:
    """Return what a fault lowers, and which guard sees it."""
    one = compared.planted[0]
    if one.run is None:
        return "This corpus or design has nothing to plant the fault in.", "Take the shipped corpus to see it at work."
    lowered = compared.lowered(one)
    falls = [f"{WORDS.get(m, m)} from {_shown(compared.sound.mean(m))} to {_shown(one.run.mean(m))}" for m in lowered]
    first = f"It lowers {', '.join(falls)}." if falls else "No metric sees it: none is lower for sure."
    guard = one.text.guard
    if guard is None:
        return first, "No check on the pipeline sees it either: answers must be graded against references."
    if guard not in GUARDS:
        return first, "Beside the pipeline, a check of the answer's figures against the passages it cites sees it."
    before, after = compared.sound.guards[guard], one.run.guards[guard]
    return first, f"Without labels a guard sees it: {GUARDS[guard].counts} were {before:.1%} and are {after:.1%}."


def _shown(mean: float | None) -> str:
    return "none" if mean is None else f"{mean:.3f}"


def _ids(texts: Sequence[FaultText]) -> str:
    return ", ".join(text.id for text in texts) or "none"


def fault_lines(text: FaultText, pair: TracePair | None) -> tuple[str, ...]:
    """Return a fault in words, and the question that shows it in both pipelines."""
    return tuple(_lines(text, pair))


def _lines(text: FaultText, pair: TracePair | None) -> Iterator[str]:
    yield from _wrapped(f"{text.id} · layer: {text.layer}")
    yield from _wrapped(f"Planted: {text.planted}")
    yield from _wrapped(f"Symptom: {text.symptom}")
    yield from _wrapped(f"Smallest fix: {text.fix}")
    for wrong in text.wrong_fixes:
        yield from _wrapped(f"No fix: {wrong.fix} {wrong.why}", "  ")
    if pair is None:
        return
    yield ""
    yield from _wrapped(f"Question {pair.sound.question_id}: {pair.sound.question}")
    yield from _traced("SOUND", pair.sound)
    yield from _traced("FAULTY", pair.faulty)
    yield ""
    yield "The faulty pipeline's prompt:"
    for line in pair.faulty.prompt.splitlines():
        yield from textwrap.wrap(line, WIDTH, initial_indent="| ", subsequent_indent="| ") or ["|"]


def _traced(name: str, trace: Trace) -> Iterator[str]:
    yield ""
    yield f"{name}: hits"
    for hit in trace.hits:
        yield from _wrapped(f"{hit.rank}. {hit.chunk} ({hit.score:g}) {hit.excerpt}", "  ")
    for found in trace.evidence:
        where = f"hit {found.rank}" if found.rank else "not found"
        shown = "in the prompt" if found.in_prompt else "not in the prompt"
        leads = "its citation leads there" if found.looked_up else "no citation leads there"
        yield from _wrapped(f"evidence in {found.document} (grade {found.grade}): {where}, {shown}, {leads}", "  ")
    if trace.answer:
        yield from _wrapped(f"Answer, written by a person: {trace.answer.text}", "  ")
        if trace.answer.unsupported:
            yield from _wrapped(f"Figures in no passage it cites: {', '.join(trace.answer.unsupported)}", "  ")


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ")
