"""`llmdrill lab faults`: what one planted fault does to a real pipeline, and who sees it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from llmdrill.errors import UsageError
from llmdrill.experiments.faults_run import MEASURES, RANKING, ClsPooled, Measure, PipelineRun, change, run_pipeline
from llmdrill.experiments.faults_shown import (
    effect_table,
    fault_lines,
    meaning_of_all,
    meaning_of_one,
    picture,
    seen_table,
)
from llmdrill.experiments.result import Experiment, Finding, Protocol
from llmdrill.retrieval.fault_texts import fault_text, fault_texts
from llmdrill.retrieval.faults import Parts, make_sound, plant
from llmdrill.retrieval.index import RetrievalConfig
from llmdrill.retrieval.trace import TracePair, trace_json, trace_pair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from llmdrill.experiments.retrieval_bench import Bench
    from llmdrill.retrieval.corpora import Question
    from llmdrill.retrieval.fault_texts import FaultText
    from llmdrill.retrieval.faults import Sound

FACTOR: Final = 1.25  # of k chunks, the budget: room for all of them and their headings
SHARES: Final = frozenset({"evidence_in_prompt"})


@dataclass(frozen=True, slots=True)
class FaultOptions:
    """What to run.

    Attributes:
        fault: One of them, with a trace; None for all.
        question: Of the trace; None for the one that shows the fault.
        split: Questions that are scored; nothing is tuned here, so all of them may be.
    """

    fault: str | None = None
    question: str | None = None
    chunker: str = "structural"
    chunk_tokens: int = 256
    overlap_tokens: int = 32
    k: int = 5
    split: Literal["dev", "test", "all"] = "all"

    @property
    def budget_tokens(self) -> int:
        """Return the budget of the context."""
        return int(self.k * self.chunk_tokens * FACTOR)


@dataclass(frozen=True, slots=True)
class Planted:
    """A fault, and the run of the pipeline with it; None where it cannot be planted here."""

    text: FaultText
    run: PipelineRun | None


@dataclass(frozen=True, slots=True)
class Compared:
    """The sound pipeline's run beside those of the faulty ones."""

    sound: PipelineRun
    planted: tuple[Planted, ...]
    seed: int

    def lowered(self, one: Planted) -> tuple[Measure, ...]:
        """Return the measures that a fault lowers for sure: the paired 95 % interval lies below 0."""
        if one.run is None:
            return ()
        changes = {measure: change(one.run, self.sound, measure, seed=self.seed) for measure in MEASURES}
        return tuple(measure for measure, found in changes.items() if found is not None and found.high < 0)


def measure_faults(
    bench: Bench,
    options: FaultOptions,
    *,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
    now: Callable[[], float] = time.perf_counter,
) -> Experiment:
    """Plant faults one at a time in a pipeline that works, and measure before and after on the same questions.

    Raises:
        UnknownNameError: If there is no such fault or question.
        UsageError: If the corpus's questions have no labelled passages.
        MissingExtraError, ModelFileError: If the embedder cannot be loaded.
    """
    started = now()
    texts = (fault_text(options.fault),) if options.fault else fault_texts()
    questions = _questions(bench, options)
    say("the sound pipeline")
    sound = sound_pipeline(bench, options)
    pair = _traces(sound, options)
    before = run_pipeline(sound.pipeline, questions)
    compared = Compared(before, tuple(_planted(text, sound, questions, before, say) for text in texts), seed)
    machine = bench.machine
    return Experiment(
        name="faults",
        title=f"Fault: {texts[0].title}" if options.fault else "Faults: what one mistake does to a working pipeline",
        inputs=_inputs(options, bench, pair),
        findings=tuple(_findings(compared, one=options.fault is not None)),
        tables=(effect_table(compared), seen_table(compared)),
        pictures=() if options.fault else (picture(compared),),
        meaning=meaning_of_one(compared) if options.fault else meaning_of_all(compared),
        machine=machine,
        protocol=Protocol(seed, 0, 1, machine.threads, now() - started),
        notes=tuple(_notes(compared)),
        lines=fault_lines(texts[0], pair) if options.fault else (),
    )


def sound_pipeline(bench: Bench, options: FaultOptions) -> Sound:
    """Return the pipeline that faults are planted in.

    Raises:
        MissingExtraError, ModelFileError: If the embedder cannot be loaded.
    """
    embedder = bench.need_embedder()
    return make_sound(
        Parts(
            bench.corpus,
            _config(options),
            embedder,
            ClsPooled(embedder),
            bench.cache,
            budget_tokens=options.budget_tokens,
        )
    )


def _planted(
    text: FaultText, sound: Sound, questions: tuple[Question, ...], before: PipelineRun, say: Callable[[str], None]
) -> Planted:
    say(text.id)
    faulty = plant(text.id, sound)
    if faulty is None or faulty is sound.pipeline:  # nothing to plant, or nothing in the pipeline is touched
        return Planted(text, None if faulty is None else before)
    return Planted(text, run_pipeline(faulty, questions))


def _traces(sound: Sound, options: FaultOptions) -> TracePair | None:
    if options.fault is None:
        return None
    shows = options.question or fault_text(options.fault).question
    if options.question is None and shows not in {one.id for one in sound.parts.corpus.questions}:
        return None  # the question that shows it is of the shipped corpus
    return trace_pair(sound, options.fault, question=options.question)


def _config(options: FaultOptions) -> RetrievalConfig:
    return RetrievalConfig(
        retriever="hybrid",
        chunker=options.chunker,
        chunk_tokens=options.chunk_tokens,
        overlap_tokens=options.overlap_tokens,
        k=options.k,
        codes=True,
    )


def _questions(bench: Bench, options: FaultOptions) -> tuple[Question, ...]:
    bench.need_questions()
    if bench.corpus.labels != "spans":
        raise UsageError(
            f"the corpus '{bench.corpus.source}' labels whole documents: whether a prompt holds what answers a question"
            " needs labelled passages; take `--corpus rag`"
        )
    found = tuple(one for one in bench.corpus.questions if options.split in ("all", one.split))
    if not any(one.answerable for one in found):
        raise UsageError(f"the split '{options.split}' has no question that the corpus answers: take --split all")
    return found


def _findings(compared: Compared, *, one: bool) -> Iterator[Finding]:
    n = len(compared.sound.outcomes)
    for measure in MEASURES:
        yield Finding(_key(measure), compared.sound.mean(measure), n=n, weights_matter=True, note="the sound pipeline")
    if one:
        yield from _findings_of(compared, compared.planted[0])
        return
    seen = [(planted, compared.lowered(planted)) for planted in compared.planted if planted.run]
    yield Finding("faults", float(len(seen)), note="planted, one at a time")
    by_ranking = sum(any(measure in RANKING for measure in lowered) for _, lowered in seen)
    note = "lower recall, nDCG or MRR, paired 95 % interval below 0"
    yield Finding("faults_seen_by_ranking", float(by_ranking), weights_matter=True, note=note)
    by_any = sum(bool(lowered) for _, lowered in seen)
    note = "as above, or lower citation accuracy or less evidence in the prompt"
    yield Finding("faults_seen_by_metrics", float(by_any), weights_matter=True, note=note)
    guarded = sum(planted.text.guard is not None for planted, _ in seen)
    yield Finding("faults_with_a_guard", float(guarded), note="a check without labels sees them")


def _findings_of(compared: Compared, planted: Planted) -> Iterator[Finding]:
    if planted.run is None:
        return
    for measure in MEASURES:
        found = change(planted.run, compared.sound, measure, seed=compared.seed)
        low, high, n = (found.low, found.high, found.n) if found else (None, None, 0)
        yield Finding(
            f"faulty_{_key(measure)}", planted.run.mean(measure), n=n, weights_matter=True, note="with the fault"
        )
        note = "with the fault − without, paired by question, 95 % bootstrap interval"
        yield Finding(
            f"{measure}_change", found.mean if found else None, None, low, high, n, weights_matter=True, note=note
        )


def _key(measure: Measure) -> str:
    if measure == "citation_accuracy":
        return measure
    return f"{measure}_share" if measure in SHARES else f"{measure}_at_k"


def _inputs(options: FaultOptions, bench: Bench, pair: TracePair | None) -> dict[str, object]:
    shown: dict[str, object] = {
        "corpus": bench.corpus.source,
        "documents": len(bench.corpus.documents),
        "embedder": bench.need_embedder().name,
        "fault": options.fault,
        "retriever": "hybrid",
        "chunker": options.chunker,
        "chunk_tokens": options.chunk_tokens,
        "overlap_tokens": options.overlap_tokens,
        "k": options.k,
        "budget_tokens": options.budget_tokens,
        "split": options.split,
    }
    if options.fault:
        shown["text"] = fault_text(options.fault).model_dump(mode="json")
    if pair:
        shown["trace"] = {"sound": trace_json(pair.sound), "faulty": trace_json(pair.faulty)}
    return shown


def _notes(compared: Compared) -> Iterator[str]:
    missing = [one.text.id for one in compared.planted if one.run is None]
    if missing:
        yield f"this corpus or design has nothing to plant {', '.join(missing)} in"
    if any(one.text.layer == "reasoning" for one in compared.planted):
        yield "faults of reasoning leave the pipeline as it is: no model runs here, a person wrote their answers"
    yield "recall, nDCG and MRR are at each pipeline's own k; evidence is found by document and offsets, as labelled"
    yield "citation accuracy: of labelled passages in the prompt, those that the link of their number leads to"
    yield "evidence in the prompt: questions of which every passage that answers stands there, at least half of each"
