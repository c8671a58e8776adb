"""`llmdrill lab rerank`: what ordering n candidates anew gains and costs, by first stage and reranker."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Final, Literal

from llmdrill.errors import UsageError
from llmdrill.experiments.rerank_run import (
    HYBRID,
    KEYWORD,
    NONE,
    SMALL_TO_BIG,
    Arm,
    FirstStage,
    Price,
    candidate_recall,
    find_candidates,
    gain,
    rerank_all,
    time_rerankers,
)
from llmdrill.experiments.rerank_shown import by_kind_table, meaning, picture, price_table, quality_table
from llmdrill.experiments.rerankers import BI_ENCODER, CROSS_ENCODER, MAXSIM, make_reranker, token_encoder
from llmdrill.experiments.result import Experiment, Finding, Protocol
from llmdrill.retrieval.index import RetrievalConfig
from llmdrill.retrieval.rerank import BiEncoderReranker, Kept, MaxSimReranker, text_vectors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from llmdrill.experiments.retrieval_bench import Bench
    from llmdrill.retrieval.compare import Interval
    from llmdrill.retrieval.corpora import Labels, Question
    from llmdrill.retrieval.embed import Embedder
    from llmdrill.retrieval.pipeline import Metric
    from llmdrill.retrieval.rerank import Reranker

NS: Final = (10, 20, 50, 100)
USUAL_N: Final = 50
MOST_STORED_BYTES: Final = 2 * 2**30
KEPT_BYTES: Final = 4  # of a component of a token vector
METRICS: Final[dict[str, Metric]] = {"recall": "evidence_recall", "ndcg": "ndcg", "mrr": "mrr"}


@dataclass(frozen=True, slots=True)
class RerankOptions:
    """What to run.

    Attributes:
        ns: Candidates to order anew, ascending.
        split: Questions that are scored; nothing is tuned here, so all of them may be.
        cross_encoder: Folder or hub id of a cross-encoder to run beside the others.
        repeats: Readings of each timed figure whose arrays are stored.
        fresh_repeats: Likewise where texts are encoded while the question waits.
    """

    chunker: str = "structural"
    chunk_tokens: int = 256
    overlap_tokens: int = 32
    k: int = 5
    ns: tuple[int, ...] = NS
    split: Literal["dev", "test", "all"] = "all"
    stem: bool = False
    cross_encoder: str | None = None
    repeats: int = 5
    fresh_repeats: int = 1

    def __post_init__(self) -> None:
        if not self.ns or min(self.ns) < self.k:
            raise UsageError(f"--n: give numbers of candidates from k = {self.k} on, such as --n 10 --n 50")

    @property
    def main_n(self) -> int:
        """Return the number of candidates that the findings tell."""
        return min(self.ns, key=lambda n: abs(n - USUAL_N))


@dataclass(frozen=True, slots=True)
class StoredArrays:
    """What was computed ahead for every chunk that was a candidate: a vector, and one for each of its tokens."""

    vectors: Kept
    tokens: Kept


@dataclass(frozen=True, slots=True)
class Measured:
    """All that was seen; ``chunks`` is how many the index has."""

    options: RerankOptions
    questions: tuple[Question, ...]
    stages: tuple[FirstStage, ...]
    arms: tuple[Arm, ...]
    prices: tuple[Price, ...]
    kept: StoredArrays
    chunks: int
    labels: Labels
    seed: int

    def arm(self, first: str, reranker: str = NONE, n: int | None = None) -> Arm:
        """Return an arm; a reranked one at the main n if not said otherwise."""
        at = self.options.k if reranker == NONE else n or self.options.main_n
        return next(one for one in self.arms if (one.first, one.reranker, one.n) == (first, reranker, at))

    def gain(
        self, first: str, reranker: str, metric: Metric, *, n: int | None = None, kind: str | None = None
    ) -> Interval:
        """Return what a reranker adds to a first stage, paired."""
        return gain(self.arm(first, reranker, n), self.arm(first), metric, seed=self.seed, kind=kind)

    def ms(self, reranker: str, *, stored: bool, n: int) -> tuple[float, ...] | None:
        """Return the readings of a price; None where it was not taken."""
        found = (one.ms for one in self.prices if (one.reranker, one.stored, one.n) == (reranker, stored, n))
        return next(found, None)

    @property
    def rerankers(self) -> tuple[str, ...]:
        """Return the names of those that ran."""
        return tuple(dict.fromkeys(arm.reranker for arm in self.arms if arm.reranker != NONE))


def measure_rerank(
    bench: Bench,
    options: RerankOptions,
    *,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
    now: Callable[[], float] = time.perf_counter,
) -> Experiment:
    """Order the candidates of BM25, dense, hybrid and small-to-big search anew, by every reranker that is there.

    Raises:
        MissingExtraError, ModelFileError: If the embedder or the cross-encoder cannot be loaded.
        UsageError: If the corpus has no labelled question, or its token vectors would not fit the memory.

    Source:
        Late interaction: Khattab and Zaharia 2020, arXiv:2004.12832. Cross-encoder: Nogueira and Cho 2019,
        arXiv:1901.04085.
    """
    started = now()
    bench.need_questions()
    questions = _questions(bench, options)
    seen = _measured(bench, options, questions, seed=seed, say=say, now=now)
    machine = bench.machine
    return Experiment(
        name="rerank",
        title="Reranking: what ordering n candidates anew gains and costs",
        inputs=_inputs(options, bench, seen.chunks),
        findings=(*_findings(seen), *_sizes(seen.kept, bench.need_embedder().dimensions)),
        tables=(quality_table(seen), by_kind_table(seen), price_table(seen)),
        pictures=(picture(seen),),
        meaning=meaning(seen),
        machine=machine,
        protocol=Protocol(seed, 1, options.repeats, machine.threads, now() - started),
        notes=tuple(_notes(seen)),
    )


def _measured(
    bench: Bench,
    options: RerankOptions,
    questions: tuple[Question, ...],
    *,
    seed: int,
    say: Callable[[str], None],
    now: Callable[[], float],
) -> Measured:
    embedder, labels = bench.need_embedder(), bench.corpus.labels
    judges: list[Reranker] = []
    if options.cross_encoder is not None:  # refused before the work, not after
        judges = [make_reranker(CROSS_ENCODER, embedder, cross_encoder=options.cross_encoder)]
    stages, index = find_candidates(bench, _config(options), questions, say=say)
    hits = (hit for stage in stages for ranked in stage.ranked for hit in ranked.hits)
    chunks = list(dict.fromkeys(hit.chunk for hit in hits))
    _need_room(sum(chunk.tokens for chunk in chunks) * embedder.dimensions * KEPT_BYTES)
    kept = StoredArrays(Kept(text_vectors(embedder, bench.cache)), Kept(token_encoder(embedder)))
    say(f"token vectors of {len(chunks):,} chunks")
    for one in (kept.vectors, kept.tokens):
        one.keep([index.text(chunk) for chunk in chunks])
    stored: list[Reranker] = [BiEncoderReranker(kept.vectors), MaxSimReranker(kept.tokens), *judges]
    arms = rerank_all(stages, stored, questions, ns=options.ns, k=options.k, labels=labels, say=say)
    say("timing")
    hybrid = next(stage for stage in stages if stage.name == HYBRID)
    prices = _prices(options, hybrid, questions, kept=kept, embedder=embedder, judges=judges, now=now)
    return Measured(options, questions, stages, arms, prices, kept, len(index.chunks), labels, seed)


def _prices(
    options: RerankOptions,
    stage: FirstStage,
    questions: tuple[Question, ...],
    *,
    kept: StoredArrays,
    embedder: Embedder,
    judges: list[Reranker],
    now: Callable[[], float],
) -> tuple[Price, ...]:
    # A query that the cache on disk knows would cost nothing.
    vectors = Kept(text_vectors(embedder), kept.vectors.arrays)
    stored: list[Reranker] = [BiEncoderReranker(vectors), MaxSimReranker(kept.tokens)]
    fresh = [*(make_reranker(name, embedder) for name in (BI_ENCODER, MAXSIM)), *judges]
    few = sorted({options.ns[0], options.main_n})
    return (
        *time_rerankers(
            stored, stage, questions, stored=True, ns=options.ns, warm_up=1, repeats=options.repeats, now=now
        ),
        *time_rerankers(
            fresh, stage, questions, stored=False, ns=few, warm_up=0, repeats=options.fresh_repeats, now=now
        ),
    )


def _config(options: RerankOptions) -> RetrievalConfig:
    most = max(options.ns)
    return RetrievalConfig(
        retriever="hybrid",
        chunker=options.chunker,
        chunk_tokens=options.chunk_tokens,
        overlap_tokens=options.overlap_tokens,
        k=most,
        candidates=most,
        stem=options.stem,
    )


def _questions(bench: Bench, options: RerankOptions) -> tuple[Question, ...]:
    found = tuple(
        question
        for question in bench.corpus.questions
        if question.answerable and options.split in ("all", question.split)
    )
    if not found:
        raise UsageError(f"the split '{options.split}' has no question that the corpus answers: take --split all")
    return found


def _need_room(stored_bytes: int) -> None:
    if stored_bytes > MOST_STORED_BYTES:
        raise UsageError(
            f"the token vectors of this corpus would take {stored_bytes / 2**30:.1f} GiB, and the experiment keeps at"
            f" most {MOST_STORED_BYTES // 2**30} in memory: take a smaller corpus"
        )


def _findings(seen: Measured) -> Iterator[Finding]:
    first = seen.arm(HYBRID)
    n, k = seen.options.main_n, seen.options.k
    for name, metric in METRICS.items():
        note = f"hybrid search as it is, k = {k}"
        yield Finding(f"{name}_at_k", first.mean(metric), n=len(first.values(metric)), weights_matter=True, note=note)
    stage = next(one for one in seen.stages if one.name == HYBRID)
    yield Finding(
        "candidate_recall",
        candidate_recall(stage, seen.questions, n=n, labels=seen.labels),
        n=len(seen.questions),
        weights_matter=True,
        note=f"of all {n} candidates of hybrid search: no order of them can have more",
    )
    for reranker in seen.rerankers:
        for name, metric in METRICS.items():
            yield _gain(f"{_key(reranker)}_{name}_gain", seen.gain(HYBRID, reranker, metric), f"{n} of hybrid search")
    yield _gain("bi_encoder_bm25_recall_gain", seen.gain(KEYWORD, BI_ENCODER, "evidence_recall"), f"{n} of BM25")
    most = max(seen.options.ns)
    yield _gain(
        "bi_encoder_dense_recall_gain",
        seen.gain("dense", BI_ENCODER, "evidence_recall", n=most),
        f"{most} of dense search by the same vectors",
        predicted=0.0,
    )
    small = gain(seen.arm(SMALL_TO_BIG), first, "evidence_recall", seed=seen.seed)
    yield _gain("small_to_big_recall_gain", small, "sentences matched instead of chunks, against hybrid search")
    for reranker in seen.rerankers:
        for stored in (True, False):
            ms = seen.ms(reranker, stored=stored, n=n)
            if ms is not None:
                how = "arrays stored beside the index" if stored else "texts encoded while the question waits"
                key = f"{_key(reranker)}_{'stored' if stored else 'fresh'}_ms"
                note = f"to order {n} candidates, the query's encoding included; {how}; low and high: the readings"
                yield Finding(key, median(ms), low=min(ms), high=max(ms), n=len(ms), note=note)


def _gain(name: str, interval: Interval, what: str, *, predicted: float | None = None) -> Finding:
    return Finding(
        name,
        interval.mean,
        predicted,
        interval.low,
        interval.high,
        interval.n,
        "the same cosines give the same order" if predicted is not None else "",
        weights_matter=True,
        note=f"{what}; paired by question, 95 % bootstrap interval",
    )


def _sizes(kept: StoredArrays, dimensions: int) -> Iterator[Finding]:
    tokens = sum(len(array) for array in kept.tokens.arrays.values())
    predicted = tokens * dimensions * KEPT_BYTES
    formula = f"tokens × dimensions × {KEPT_BYTES} = {tokens:,} × {dimensions} × {KEPT_BYTES} = {predicted:,} bytes"
    note = "a vector for each token of every chunk that was a candidate, as 32-bit floats"
    yield Finding("token_vector_bytes", float(kept.tokens.nbytes), float(predicted), formula=formula, note=note)
    yield Finding("vector_bytes", float(kept.vectors.nbytes), note="one vector for each of those chunks, likewise")


def _key(reranker: str) -> str:
    return reranker.replace("-", "_")


def _inputs(options: RerankOptions, bench: Bench, chunks: int) -> dict[str, object]:
    embedder = bench.need_embedder()
    return {
        "corpus": bench.corpus.source,
        "documents": len(bench.corpus.documents),
        "chunks": chunks,
        "embedder": embedder.name,
        "chunker": options.chunker,
        "chunk_tokens": options.chunk_tokens,
        "overlap_tokens": options.overlap_tokens,
        "k": options.k,
        "candidates": list(options.ns),
        "main_candidates": options.main_n,
        "split": options.split,
        "cross_encoder": options.cross_encoder,
    }


def _notes(seen: Measured) -> Iterator[str]:
    most = max(seen.options.ns)
    share = min(most / seen.chunks, 1.0)
    yield (
        f"{most} candidates are {share:.0%} of all {seen.chunks:,} chunks: in a larger corpus as many are a smaller"
        " share, and hold less of what is wanted"
    )
    yield "the intervals are of one comparison each, not of all in the tables together"
    if CROSS_ENCODER not in seen.rerankers:
        yield "no cross-encoder ran: none is shipped; --cross-encoder FOLDER_OR_ID takes one from disk or the hub cache"
    yield (
        "maxsim here compares token vectors of a sentence embedder, which was not trained for it as ColBERT is; hence"
        f" {MAXSIM} says nothing about ColBERT's quality"
    )
