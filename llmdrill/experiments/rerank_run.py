"""Order the candidates of several first stages by several rerankers, and time them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from llmdrill.retrieval.compare import Interval, difference_interval
from llmdrill.retrieval.index import Hit, Index, Ranked, RetrievalConfig, build_index, search_all
from llmdrill.retrieval.pipeline import QuestionScore, score_question
from llmdrill.retrieval.rerank import best_first

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmdrill.experiments.retrieval_bench import Bench
    from llmdrill.retrieval.corpora import Labels, Question
    from llmdrill.retrieval.pipeline import Metric
    from llmdrill.retrieval.rerank import Reranker

KEYWORD: Final = "keyword"
HYBRID: Final = "hybrid"
SMALL_TO_BIG: Final = "small-to-big"
NONE: Final = "none"


@dataclass(frozen=True, slots=True)
class FirstStage:
    """What a first stage found: for each question its candidates, best first, and their texts."""

    name: str
    ranked: tuple[Ranked, ...]
    texts: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Arm:
    """A first stage whose best n were ordered by a reranker, and how each question fared at k."""

    first: str
    reranker: str
    n: int
    scores: tuple[QuestionScore, ...]

    def values(self, metric: Metric, *, kind: str | None = None) -> list[float]:
        """Return a metric of every answerable question, of one kind if asked."""
        of_kind = [score for score in self.scores if kind is None or score.kind == kind]
        return [value for score in of_kind if (value := score.value(metric)) is not None]

    def mean(self, metric: Metric, *, kind: str | None = None) -> float:
        """Return the mean of a metric."""
        return float(np.mean(self.values(metric, kind=kind)))


@dataclass(frozen=True, slots=True)
class Price:
    """Milliseconds that a reranker took for n candidates of one question, by reading."""

    reranker: str
    n: int
    stored: bool
    ms: tuple[float, ...]


def find_candidates(
    bench: Bench, config: RetrievalConfig, questions: Sequence[Question], *, say: Callable[[str], None]
) -> tuple[tuple[FirstStage, ...], Index]:
    """Return what each first stage finds, ``config.k`` candidates a question, and the index of whole chunks."""
    queries = [question.text for question in questions]
    say("embedding the chunks")
    index = build_index(bench.corpus, config, bench.embedder, cache=bench.cache)
    say("embedding their sentences")
    small = build_index(bench.corpus, replace(config, match="sentence"), bench.embedder, cache=bench.cache)
    ways = {
        KEYWORD: replace(index, config=replace(config, retriever="keyword"), vectors=None),
        "dense": replace(index, config=replace(config, retriever="dense"), bm25=None),
        HYBRID: index,
        SMALL_TO_BIG: small,
    }
    return tuple(_first_stage(name, way, queries) for name, way in ways.items()), index


def _first_stage(name: str, index: Index, queries: Sequence[str]) -> FirstStage:
    ranked = search_all(index, queries)
    return FirstStage(name, ranked, tuple(tuple(index.text(hit.chunk) for hit in one.hits) for one in ranked))


def rerank_all(
    stages: Sequence[FirstStage],
    rerankers: Sequence[Reranker],
    questions: Sequence[Question],
    *,
    ns: Sequence[int],
    k: int,
    labels: Labels,
    say: Callable[[str], None],
) -> tuple[Arm, ...]:
    """Return every first stage as it is (n = k), and reordered by every reranker for every n.

    A reranker judges each pair of question and text alone, so one score serves every stage and every n.
    """
    found = {(stage.name, NONE, k): stage.ranked for stage in stages}
    for reranker in rerankers:
        say(f"{reranker.name} judges the candidates")
        marks = [
            _judged(reranker, question.text, [stage.texts[at] for stage in stages])
            for at, question in enumerate(questions)
        ]
        for stage in stages:
            scores = [
                np.array([of_text[text] for text in texts]) for of_text, texts in zip(marks, stage.texts, strict=True)
            ]
            for n in ns:
                pairs = zip(stage.ranked, scores, strict=True)
                found[stage.name, reranker.name, n] = tuple(reordered(ranked, one, n=n) for ranked, one in pairs)
    return tuple(Arm(*names, _scored(questions, ranked, k, labels)) for names, ranked in found.items())


def _judged(reranker: Reranker, query: str, texts: Sequence[Sequence[str]]) -> dict[str, float]:
    """Return the score of every text of several lists."""
    distinct = list(dict.fromkeys(text for some in texts for text in some))
    return dict(zip(distinct, reranker.scores(query, distinct).tolist(), strict=True)) if distinct else {}


def reordered(ranked: Ranked, scores: np.ndarray, *, n: int) -> Ranked:
    """Return the first n hits by ``scores`` (at least n, or as many as there are hits); the others stay behind them."""
    best = [Hit(ranked.hits[place].chunk, float(scores[place])) for place in best_first(scores[:n])]
    return Ranked((*best, *ranked.hits[len(best) :]), ranked.top_score)


def _scored(
    questions: Sequence[Question], ranked: Sequence[Ranked], k: int, labels: Labels
) -> tuple[QuestionScore, ...]:
    pairs = zip(questions, ranked, strict=True)
    return tuple(score_question(question, one, k=k, labels=labels) for question, one in pairs)


def candidate_recall(stage: FirstStage, questions: Sequence[Question], *, n: int, labels: Labels) -> float:
    """Return the recall of all n candidates: what no order of them can exceed."""
    return Arm(stage.name, NONE, n, _scored(questions, stage.ranked, n, labels)).mean("evidence_recall")


def gain(after: Arm, before: Arm, metric: Metric, *, seed: int, kind: str | None = None) -> Interval:
    """Return the paired difference of two arms and its 95 % bootstrap interval."""
    first, second = after.values(metric, kind=kind), before.values(metric, kind=kind)
    return difference_interval(first, second, rng=np.random.default_rng(seed))


def time_rerankers(
    rerankers: Sequence[Reranker],
    stage: FirstStage,
    questions: Sequence[Question],
    *,
    stored: bool,
    ns: Sequence[int],
    warm_up: int,
    repeats: int,
    now: Callable[[], float],
) -> tuple[Price, ...]:
    """Time every reranker for every n, in turn; every round takes another question.

    Args:
        rerankers: What is timed.
        stage: Whose candidates they get.
        questions: Of the stage; one a round.
        stored: Whether the texts' arrays are.
        ns: Candidates.
        warm_up: Rounds that do not count.
        repeats: Rounds that do.
        now: The clock, in seconds.
    """
    full = [at for at, texts in enumerate(stage.texts) if len(texts) >= max(ns)] or [0]
    read: dict[tuple[str, int], list[float]] = {}
    for round_ in range(warm_up + repeats):
        at = full[round_ % len(full)]
        for reranker in rerankers:
            for n in ns:
                began = now()
                reranker.scores(questions[at].text, stage.texts[at][:n])
                ms = (now() - began) * 1000
                if round_ >= warm_up:
                    read.setdefault((reranker.name, n), []).append(ms)
    return tuple(Price(name, n, stored, tuple(ms)) for (name, n), ms in read.items())
