"""Search the same index by vectors, by keywords and by fusions of both, and score every question."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np

from llmdrill.retrieval.compare import Interval, Paired, compare_pairs, mean_interval
from llmdrill.retrieval.embed import embed_texts
from llmdrill.retrieval.fuse import DEFAULT_RRF_K
from llmdrill.retrieval.index import RetrievalConfig, build_index, search_one
from llmdrill.retrieval.pipeline import Metric, score_question
from llmdrill.retrieval.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from llmdrill.experiments.retrieval_bench import Bench
    from llmdrill.retrieval.corpora import Question
    from llmdrill.retrieval.index import Index
    from llmdrill.retrieval.pipeline import QuestionScore

Setting = TypeVar("Setting", int, float)
NAMES: Final[dict[str, Metric]] = {"recall_at_k": "evidence_recall", "mrr_at_k": "mrr", "ndcg_at_k": "ndcg"}
EVEN_WEIGHT: Final = 0.5
WEIGHTS: Final = tuple(step / 10 for step in range(11))
RRF_KS: Final = (1, 5, 10, 20, DEFAULT_RRF_K, 100, 200)
QUICK_WEIGHTS: Final = (0.0, 0.25, EVEN_WEIGHT, 0.75, 1.0)
QUICK_RRF_KS: Final = (10, DEFAULT_RRF_K)


@dataclass(frozen=True, slots=True)
class HybridOptions:
    """What to run.

    Attributes:
        k: Chunks returned.
        candidates: That each side puts into a fusion.
        codes: Keep codes such as E-4021 whole for BM25.
        weights: Of vectors in linear fusion, ascending; ``EVEN_WEIGHT`` is one of them.
        rrf_ks: Constants of reciprocal rank fusion, ascending; ``DEFAULT_RRF_K`` is one of them.
    """

    chunker: str = "structural"
    chunk_tokens: int = 256
    overlap_tokens: int = 32
    k: int = 5
    candidates: int = 50
    stem: bool = False
    codes: bool = False
    weights: tuple[float, ...] = WEIGHTS
    rrf_ks: tuple[int, ...] = RRF_KS


@dataclass(frozen=True, slots=True)
class Way:
    """How the questions fared by one way of searching; ``questions`` and ``scores`` go together."""

    name: str
    questions: tuple[Question, ...]
    scores: tuple[QuestionScore, ...]

    def of(self, questions: Sequence[Question]) -> Way:
        """Return how some of the questions fared."""
        wanted = {question.id for question in questions}
        pairs = [pair for pair in zip(self.questions, self.scores, strict=True) if pair[0].id in wanted]
        return Way(self.name, tuple(question for question, _ in pairs), tuple(score for _, score in pairs))

    def values(self, metric: Metric, *, kind: str | None = None) -> list[float]:
        """Return a metric of every question, or of those of one kind."""
        return [
            value
            for question, score in zip(self.questions, self.scores, strict=True)
            if kind in {None, question.kind} and (value := score.value(metric)) is not None
        ]

    def mean(self, metric: Metric, *, kind: str | None = None) -> float:
        """Return a metric's mean."""
        return float(np.mean(self.values(metric, kind=kind)))

    def interval(self, metric: Metric, *, seed: int) -> Interval:
        """Return a metric's mean and 95 % bootstrap interval."""
        return mean_interval(self.values(metric), rng=np.random.default_rng(seed))

    def against(self, other: Way, metric: Metric, *, seed: int, kind: str | None = None) -> Paired:
        """Return how this way differs from another, question by question."""
        return compare_pairs(self.values(metric, kind=kind), other.values(metric, kind=kind), seed=seed)


@dataclass(frozen=True, slots=True)
class Swept:
    """Every way that was tried, on all questions that have an answer.

    Attributes:
        linear: By weight of the vectors.
        rrf: By the constant.
        k: Chunks that count.
        without_words: Questions that hold no search term: keywords find nothing for them.
    """

    dense: Way
    sparse: Way
    linear: dict[float, Way]
    rrf: dict[int, Way]
    k: int
    chunks: int
    without_words: int


def sweep(bench: Bench, options: HybridOptions, *, say: Callable[[str], None]) -> Swept:
    """Index the corpus once and search it by every way.

    Raises:
        MissingExtraError: If the embedder cannot be loaded.
        UsageError: If the overlap does not fit the chunk.
    """
    embedder = bench.need_embedder()
    config = RetrievalConfig(
        retriever="hybrid",
        chunker=options.chunker,
        chunk_tokens=options.chunk_tokens,
        overlap_tokens=options.overlap_tokens,
        k=options.k,
        candidates=options.candidates,
        stem=options.stem,
        codes=options.codes,
    )
    index = build_index(bench.corpus, config, embedder, cache=bench.cache, progress=Progress(say=say))
    questions = tuple(question for question in bench.corpus.questions if question.kind != "unanswerable")
    vectors = embed_texts([question.text for question in questions], embedder, cache=bench.cache).vectors

    def tried(name: str, way: Index) -> Way:
        say(f"searching: {name}")
        found = (search_one(way, question.text, vector) for question, vector in zip(questions, vectors, strict=True))
        labels = bench.corpus.labels
        scores = (score_question(*pair, k=options.k, labels=labels) for pair in zip(questions, found, strict=True))
        return Way(name, questions, tuple(scores))

    def fused(name: str, **changes: object) -> Way:
        return tried(name, replace(index, config=replace(config, **changes)))  # type: ignore[arg-type]

    return Swept(
        dense=tried("dense", replace(index, bm25=None)),
        sparse=tried("sparse", replace(index, vectors=None)),
        linear={weight: fused("linear", fusion="linear", dense_weight=weight) for weight in options.weights},
        rrf={rrf_k: fused("rrf", rrf_k=rrf_k) for rrf_k in options.rrf_ks},
        k=options.k,
        chunks=len(index.chunks),
        without_words=sum(index.bm25 is not None and not index.bm25.tokenize(one.text) for one in questions),
    )


@dataclass(frozen=True, slots=True)
class Judged:
    """What was chosen on the dev questions, and how each way fared on the others.

    Attributes:
        dev: Empty where nothing was tuned.
        test: Questions that the ways are judged by.
        rrf: With the usual constant.
        linear: With the weight that was chosen.
        single: Vectors or keywords alone, whichever was better on dev.
        weight: The weight of vectors that was best on dev.
        rrf_k: Likewise the constant.
    """

    swept: Swept
    dev: tuple[Question, ...]
    test: tuple[Question, ...]
    dense: Way
    sparse: Way
    rrf: Way
    linear: Way
    single: Way
    weight: float
    rrf_k: int
    seed: int


def judge(swept: Swept, *, seed: int) -> Judged:
    """Choose on the dev questions by nDCG, and look at the others; where one of the two is missing nothing is tuned."""
    questions = swept.dense.questions
    dev = tuple(question for question in questions if question.split == "dev")
    test = tuple(question for question in questions if question.split != "dev")
    if not dev or not test:
        dev, test = (), questions
    weight, rrf_k, single = EVEN_WEIGHT, DEFAULT_RRF_K, swept.dense
    if dev:
        weight = _best({value: way.of(dev) for value, way in swept.linear.items()}, usual=weight)
        rrf_k = _best({value: way.of(dev) for value, way in swept.rrf.items()}, usual=rrf_k)
        single = max((swept.dense, swept.sparse), key=lambda way: way.of(dev).mean("ndcg"))
    return Judged(
        swept,
        dev,
        test,
        dense=swept.dense.of(test),
        sparse=swept.sparse.of(test),
        rrf=swept.rrf[DEFAULT_RRF_K].of(test),
        linear=swept.linear[weight].of(test),
        single=single.of(test),
        weight=weight,
        rrf_k=rrf_k,
        seed=seed,
    )


def _best(ways: Mapping[Setting, Way], *, usual: Setting) -> Setting:
    """Return the setting of the highest nDCG; of several the one nearest to the usual one."""
    return max(ways, key=lambda value: (round(ways[value].mean("ndcg"), 9), -abs(value - usual)))
