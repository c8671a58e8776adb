"""Run a sound pipeline and faulty ones on the same questions, with the metrics and the guards of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from llmdrill.retrieval.answering import leads_to, prepare_all, shown_by
from llmdrill.retrieval.compare import difference_interval
from llmdrill.retrieval.fault_guards import GUARDS, Seen
from llmdrill.retrieval.index import Ranked
from llmdrill.retrieval.pipeline import score_question

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmdrill.retrieval.answering import Pipeline, Prepared
    from llmdrill.retrieval.compare import Interval
    from llmdrill.retrieval.corpora import Question
    from llmdrill.retrieval.embed import Embedder

FULL_GRADE: Final = 2  # the passages that answer; 1 is background
Measure = Literal["recall", "ndcg", "mrr", "citation_accuracy", "evidence_in_prompt"]
MEASURES: Final[tuple[Measure, ...]] = ("recall", "ndcg", "mrr", "citation_accuracy", "evidence_in_prompt")
RANKING: Final[tuple[Measure, ...]] = MEASURES[:3]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a question fared; the first three at the pipeline's own k.

    Attributes:
        citation_accuracy: Of its labelled passages in the prompt, those that the link of their number leads to; None
            if none is in the prompt.
        evidence_in_prompt: 1 if all passages that answer it are in the prompt, else 0.
    """

    recall: float
    ndcg: float
    mrr: float
    citation_accuracy: float | None
    evidence_in_prompt: float


@dataclass(frozen=True, slots=True)
class PipelineRun:
    """A pipeline's outcomes, question by question, and its guards' shares."""

    outcomes: tuple[Outcome, ...]
    guards: Mapping[str, float]

    def values(self, measure: Measure) -> list[float | None]:
        """Return a measure of every question."""
        return [getattr(one, measure) for one in self.outcomes]

    def mean(self, measure: Measure) -> float | None:
        """Return a measure's mean over the questions that have one."""
        known = [value for value in self.values(measure) if value is not None]
        return float(np.mean(known)) if known else None


def run_pipeline(pipeline: Pipeline, questions: Sequence[Question]) -> PipelineRun:
    """Prepare the prompt of every question; those without an answer count for the guards alone."""
    prepared = prepare_all(pipeline, [question.text for question in questions])
    seen = Seen(pipeline, prepared)
    return PipelineRun(
        tuple(
            _outcome(pipeline, question, one)
            for question, one in zip(questions, prepared, strict=True)
            if question.answerable
        ),
        {name: guard.share(seen) for name, guard in GUARDS.items()},
    )


def _outcome(pipeline: Pipeline, question: Question, prepared: Prepared) -> Outcome:
    score = score_question(question, Ranked(prepared.hits, None), k=pipeline.k)
    grades = [span.grade for span in question.evidence]
    passages = [pipeline.store[span.document].text[span.start : span.end] for span in question.evidence]
    over = [shown_by(prepared.links, passage) for passage in passages]
    right = [any(leads_to(link, passage) for link in links) for passage, links in zip(passages, over, strict=True)]
    shown = sum(map(bool, over))
    answering = [bool(links) for grade, links in zip(grades, over, strict=True) if grade >= FULL_GRADE]
    return Outcome(
        score.evidence_recall or 0.0,
        score.ndcg or 0.0,
        score.mrr or 0.0,
        sum(right) / shown if shown else None,
        float(bool(answering) and all(answering)),
    )


def change(faulty: PipelineRun, sound: PipelineRun, measure: Measure, *, seed: int) -> Interval | None:
    """Return what a fault changes, paired over the questions that have the measure in both; None if none has."""
    pairs = [
        (after, before)
        for after, before in zip(faulty.values(measure), sound.values(measure), strict=True)
        if after is not None and before is not None
    ]
    if not pairs:
        return None
    return difference_interval(*zip(*pairs, strict=True), rng=np.random.default_rng(seed))


@dataclass(frozen=True, slots=True)
class ClsPooled:
    """An embedder's weights with the vector of [CLS] in place of the mean: as large, and not comparable."""

    embedder: Embedder = field(repr=False)
    pooling: str = "cls"

    @property
    def name(self) -> str:
        return f"{self.embedder.name} with [CLS]"

    @property
    def sha256(self) -> str:
        return self.embedder.sha256

    @property
    def precision(self) -> str:
        return str(getattr(self.embedder, "precision", ""))

    @property
    def max_tokens(self) -> int:
        return self.embedder.max_tokens

    @property
    def dimensions(self) -> int:
        return self.embedder.dimensions

    def token_spans(self, text: str) -> np.ndarray:
        """Return the embedder's."""
        return self.embedder.token_spans(text)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Return unit vectors (N, D)."""
        from dataclasses import replace

        from llmdrill.lab.embed import MiniLm

        real = getattr(self.embedder, "loaded", self.embedder)
        if isinstance(real, MiniLm):
            real = replace(real, pooling="mean" if real.pooling == "cls" else "cls")
        vectors: np.ndarray = real.embed(texts)
        return vectors
