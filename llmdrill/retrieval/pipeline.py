"""Measure a retrieval design on a labelled corpus, and compare two."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal, get_args

import numpy as np

from llmdrill.errors import UsageError
from llmdrill.retrieval.compare import Interval, compare_pairs, mean_interval
from llmdrill.retrieval.corpora import Question, QuestionKind
from llmdrill.retrieval.embed import EmbeddingWork
from llmdrill.retrieval.evidence import (
    document_recall_at_k,
    evidence_mrr_at_k,
    evidence_ndcg_at_k,
    evidence_recall_at_k,
)
from llmdrill.retrieval.index import Hit, Index, Ranked, RetrievalConfig, build_index, search_all
from llmdrill.retrieval.metrics import mrr_at_k, ndcg_at_k, recall_at_k
from llmdrill.retrieval.possible import possible_document_recall, possible_evidence_recall
from llmdrill.retrieval.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdrill.retrieval.chunk import Chunk
    from llmdrill.retrieval.corpora import LabelledCorpus, Labels
    from llmdrill.retrieval.embed import Embedder, EmbeddingCache
    from llmdrill.retrieval.rerank import Reranker

Metric = Literal["evidence_recall", "document_recall", "mrr", "ndcg"]
METRICS: Final[tuple[Metric, ...]] = get_args(Metric)
KEPT_SHARE: Final = 0.95  # of the answerable dev questions stay above the threshold


@dataclass(frozen=True, slots=True)
class QuestionScore:
    """How one question fared at k; the metrics are None for an unanswerable one.

    Where documents are labelled, not spans, the metrics are those of ``retrieval.metrics`` on the ranked documents.

    Attributes:
        evidence_recall: Share of its evidence spans found (see ``retrieval.evidence``), or of its documents.
        document_recall: Share of its evidence's documents among the chunks.
        mrr: 1 / rank of the first chunk that finds a span.
        ndcg: nDCG over the chunks' gains.
        top_score: Cosine (BM25 for keyword search) of the best chunk; None if nothing was found.
        sent_tokens: Of all chunks returned.
        possible_recall: The highest recall that k places allow; None where it was not asked for.
        search_s: The search took, its query's embedding not counted.
    """

    id: str
    kind: QuestionKind
    family: str
    evidence_recall: float | None
    document_recall: float | None
    mrr: float | None
    ndcg: float | None
    top_score: float | None
    sent_tokens: int
    hits: tuple[Hit, ...]
    possible_recall: float | None = None
    search_s: float = field(default=0.0, compare=False)

    def value(self, metric: Metric) -> float | None:
        """Return a metric by name."""
        value: float | None = getattr(self, metric)
        return value


@dataclass(frozen=True, slots=True)
class MetricMean:
    """A metric's mean over the answerable questions, with its bootstrap interval."""

    metric: Metric
    interval: Interval


@dataclass(frozen=True, slots=True)
class KindRow:
    """Means over the questions of one kind; None where the kind has no such figure."""

    kind: QuestionKind
    n: int
    evidence_recall: float | None
    document_recall: float | None
    mrr: float | None
    ndcg: float | None
    false_answer_rate: float | None


@dataclass(frozen=True, slots=True)
class RetrievalResult:
    """What a retrieval design achieved.

    Attributes:
        embedder: The embedder's name; None for keyword search.
        embedder_sha256: Of its weights.
        corpus_sha256: Of documents and labels.
        n: Answerable questions scored.
        n_unanswerable: Unanswerable ones.
        means: Of every metric; empty without an answerable question.
        by_kind: One row for each kind that occurs.
        threshold: The ``top_score`` that keeps 95 % of the answerable dev questions; None without any.
        kept_share: Share of the answerable questions at or above it.
        false_answer_rate: Share of the unanswerable ones at or above it: they would be answered.
        chunks: Stored.
        stored_tokens: Of all chunks, overlaps counted as often as they are stored.
        sent_tokens: Mean over the questions of the tokens of the chunks returned.
        unseen_share: See ``Index``.
        index_bytes: See ``Index.nbytes``.
        vector_bytes: Of them, vectors.
        posting_bytes: Of them, BM25's terms and postings.
        possible_recall: Mean over the answerable questions of the highest recall that k places allow.
        work: What there was to embed for the index.
        index_s: Cutting, embedding and indexing took.
    """

    config: RetrievalConfig
    split: Literal["dev", "test", "all"]
    seed: int
    embedder: str | None
    embedder_sha256: str | None
    corpus_sha256: str
    n: int
    n_unanswerable: int
    means: tuple[MetricMean, ...]
    by_kind: tuple[KindRow, ...]
    questions: tuple[QuestionScore, ...]
    threshold: float | None
    kept_share: float | None
    false_answer_rate: float | None
    chunks: int
    stored_tokens: int
    sent_tokens: float | None
    unseen_share: float | None
    index_bytes: int
    vector_bytes: int = 0
    posting_bytes: int = 0
    possible_recall: float | None = None
    work: EmbeddingWork = field(default=EmbeddingWork(0, 0), compare=False)
    index_s: float = field(default=0.0, compare=False)

    def mean(self, metric: Metric) -> Interval | None:
        """Return a metric's mean and interval; None without an answerable question."""
        return next((mean.interval for mean in self.means if mean.metric == metric), None)


def evaluate_retrieval(
    corpus: LabelledCorpus,
    config: RetrievalConfig,
    embedder: Embedder | None,
    *,
    split: Literal["dev", "test", "all"],
    seed: int,
    cache: EmbeddingCache | None = None,
    reranker: Reranker | None = None,
    progress: Progress | None = None,
) -> RetrievalResult:
    """Index the corpus and score the questions of ``split`` at ``config.k``.

    The score threshold is always set on dev: on split ``dev`` or ``all`` the false-answer rate is therefore measured
    partly on the questions it was tuned beside.
    """
    shown = progress or Progress()
    began = shown.now()
    index = build_index(corpus, config, embedder, cache=cache, reranker=reranker, progress=progress)
    index_s = shown.now() - began
    shown.say(f"searching for {len(corpus.questions):,} questions")
    ranked = search_all(index, [question.text for question in corpus.questions], now=shown.now)
    result = evaluate_ranked(corpus, index, ranked, split=split, seed=seed)
    return replace(result, index_s=index_s)


def evaluate_ranked(
    corpus: LabelledCorpus,
    index: Index,
    ranked: Sequence[Ranked],
    *,
    split: Literal["dev", "test", "all"],
    seed: int,
) -> RetrievalResult:
    """Score what a search returned for all of the corpus's questions, in their order."""
    config = index.config
    everything = _scores(corpus, index, ranked)
    in_dev = {question.id for question in corpus.questions if question.split == "dev"}
    dev = [score for score in everything if score.id in in_dev]
    scores = {"all": everything, "dev": dev, "test": [score for score in everything if score.id not in in_dev]}[split]
    threshold = _threshold(dev)
    answerable, unanswerable = _answerable(scores), _unanswerable(scores)
    used = index.embedder if config.retriever != "keyword" else None
    return RetrievalResult(
        config=config,
        split=split,
        seed=seed,
        embedder=used.name if used else None,
        embedder_sha256=used.sha256 if used else None,
        corpus_sha256=corpus.content_sha256,
        n=len(answerable),
        n_unanswerable=len(unanswerable),
        means=_means(answerable, seed),
        by_kind=tuple(
            _kind_row(kind, of_kind, threshold)
            for kind in get_args(QuestionKind)
            if (of_kind := [score for score in scores if score.kind == kind])
        ),
        questions=tuple(scores),
        threshold=threshold,
        kept_share=_share_answered(answerable, threshold),
        false_answer_rate=_share_answered(unanswerable, threshold),
        chunks=len(index.chunks),
        stored_tokens=sum(chunk.tokens for chunk in index.chunks),
        sent_tokens=_mean([score.sent_tokens for score in scores]),
        unseen_share=index.unseen_share,
        index_bytes=index.nbytes,
        vector_bytes=index.vector_bytes,
        posting_bytes=index.posting_bytes,
        possible_recall=_mean([score.possible_recall for score in answerable if score.possible_recall is not None]),
        work=index.work,
    )


@dataclass(frozen=True, slots=True)
class RetrievalComparison:
    """The paired difference of two designs on the same questions, first minus second.

    Attributes:
        p_value: Two-sided, by a permutation test.
        wins: Questions on which the first is better.
        losses: Questions on which it is worse.
    """

    metric: Metric
    difference: Interval
    p_value: float
    wins: int
    losses: int


def _scores(corpus: LabelledCorpus, index: Index, ranked: Sequence[Ranked]) -> list[QuestionScore]:
    k, labels, possible = index.config.k, corpus.labels, _possible_recall(corpus, index)
    return [
        replace(score_question(question, found, k=k, labels=labels), possible_recall=possible.get(question.id))
        for question, found in zip(corpus.questions, ranked, strict=True)
    ]


def compare_retrieval(
    first: RetrievalResult, second: RetrievalResult, *, seed: int, metric: Metric = "evidence_recall"
) -> RetrievalComparison:
    """Compare two designs question by question.

    Raises:
        UsageError: If they were not measured on the same questions and labels, or on none that can be answered.
    """
    if first.corpus_sha256 != second.corpus_sha256 or first.split != second.split:
        raise UsageError("the two results are of different questions: measure both on the same corpus and split")
    a, b = _values(first.questions, metric), _values(second.questions, metric)
    if not a:
        raise UsageError(f"the split '{first.split}' has no answerable question to compare on")
    paired = compare_pairs(a, b, seed=seed)
    return RetrievalComparison(metric, paired.difference, paired.p_value, wins=paired.wins, losses=paired.losses)


def score_question(question: Question, ranked: Ranked, *, k: int, labels: Labels = "spans") -> QuestionScore:
    """Return how a question fared with these hits.

    Args:
        question: With its labels.
        ranked: What was found for it.
        k: Hits that count.
        labels: ``spans``: chunks are scored against evidence. ``documents``: the chunks' documents against grades.
    """
    chunks = [hit.chunk for hit in ranked.hits]
    metrics: dict[str, float | None] = dict.fromkeys(METRICS)
    if question.kind != "unanswerable":
        metrics |= _span_metrics(question, chunks, k) if labels == "spans" else _document_metrics(question, chunks, k)
    return QuestionScore(
        question.id,
        question.kind,
        question.family,
        **metrics,
        top_score=ranked.top_score,
        sent_tokens=sum(chunk.tokens for chunk in chunks),
        hits=ranked.hits,
        search_s=ranked.seconds,
    )


def _span_metrics(question: Question, chunks: Sequence[Chunk], k: int) -> dict[str, float | None]:
    spans = question.evidence
    return {
        "evidence_recall": evidence_recall_at_k(chunks, spans, k=k),
        "document_recall": document_recall_at_k(chunks, spans, k=k),
        "mrr": evidence_mrr_at_k(chunks, spans, k=k),
        "ndcg": evidence_ndcg_at_k(chunks, spans, k=k),
    }


def _document_metrics(question: Question, chunks: Sequence[Chunk], k: int) -> dict[str, float | None]:
    documents, grades = [chunk.document for chunk in chunks], question.grades
    recall = recall_at_k(documents, grades, k=k)
    return {
        "evidence_recall": recall,
        "document_recall": recall,
        "mrr": mrr_at_k(documents, grades, k=k),
        "ndcg": ndcg_at_k(documents, grades, k=k),
    }


def _possible_recall(corpus: LabelledCorpus, index: Index) -> dict[str, float]:
    """Return the highest recall that k places allow, by question; unanswerable ones have none."""
    k = index.config.k
    asked = [question for question in corpus.questions if question.kind != "unanswerable"]
    if corpus.labels == "documents":
        return {question.id: possible_document_recall(question.grades, k=k) for question in asked}
    wanted = {span.document for question in asked for span in question.evidence}
    chunks_of: defaultdict[str, list[Chunk]] = defaultdict(list)
    for chunk in index.chunks:
        if chunk.document in wanted:
            chunks_of[chunk.document].append(chunk)
    return {question.id: possible_evidence_recall(chunks_of, question.evidence, k=k) for question in asked}


def _answerable(scores: Sequence[QuestionScore]) -> list[QuestionScore]:
    return [score for score in scores if score.kind != "unanswerable"]


def _unanswerable(scores: Sequence[QuestionScore]) -> list[QuestionScore]:
    return [score for score in scores if score.kind == "unanswerable"]


def _threshold(dev: Sequence[QuestionScore]) -> float | None:
    """Return the highest score that at least ``KEPT_SHARE`` of the answerable questions reach; nothing found is 0."""
    scores = [score.top_score or 0.0 for score in _answerable(dev)]
    return float(np.quantile(scores, 1 - KEPT_SHARE, method="lower")) if scores else None


def _share_answered(scores: Sequence[QuestionScore], threshold: float | None) -> float | None:
    if threshold is None:
        return None
    return _mean([float(score.top_score is not None and score.top_score >= threshold) for score in scores])


def _means(answerable: Sequence[QuestionScore], seed: int) -> tuple[MetricMean, ...]:
    if not answerable:
        return ()
    # The same seed for each metric: the same questions are drawn, so the intervals go together.
    return tuple(
        MetricMean(metric, mean_interval(_values(answerable, metric), rng=np.random.default_rng(seed)))
        for metric in METRICS
    )


def _kind_row(kind: QuestionKind, scores: Sequence[QuestionScore], threshold: float | None) -> KindRow:
    return KindRow(
        kind,
        len(scores),
        evidence_recall=_mean(_values(scores, "evidence_recall")),
        document_recall=_mean(_values(scores, "document_recall")),
        mrr=_mean(_values(scores, "mrr")),
        ndcg=_mean(_values(scores, "ndcg")),
        false_answer_rate=_share_answered(scores, threshold) if kind == "unanswerable" else None,
    )


def _values(scores: Sequence[QuestionScore], metric: Metric) -> list[float]:
    return [value for score in scores if (value := score.value(metric)) is not None]


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
