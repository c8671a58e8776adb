"""Measure a design's retrieval on its scenario's labelled corpus."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Final

from llmdrill.experiments.parameters import MINILM_SHA256, retrieval_plan
from llmdrill.measurement import Figure, Measurement, measurement_key
from llmdrill.table import Table

if TYPE_CHECKING:
    from pathlib import Path

    from llmdrill.experiments.parameters import RetrievalPlan
    from llmdrill.measurement import Machine
    from llmdrill.retrieval.corpora import LabelledCorpus
    from llmdrill.retrieval.embed import Embedder, EmbeddingCache
    from llmdrill.retrieval.pipeline import Metric, RetrievalResult
    from llmdrill.system.design import Design

SPLIT: Final = "test"
_LATER: Final = (("fusion", "rrf"), ("dense_weight", 0.5), ("match", "chunk"), ("rerank", 0))
_NAMES: Final[dict[str, Metric]] = {
    "recall_at_k": "evidence_recall",
    "document_recall_at_k": "document_recall",
    "mrr_at_k": "mrr",
    "ndcg_at_k": "ndcg",
}


def retrieval_key(folder: Path, design: Design, *, seed: int) -> str:
    """Return the key of the measurement of this design on this corpus: corpus, labels, model, parameters, seed."""
    return _key(retrieval_plan(design), _corpus(folder).content_sha256, seed)


@functools.lru_cache(maxsize=2)
def _corpus(folder: Path) -> LabelledCorpus:
    from llmdrill.retrieval.labelled import load_labelled_corpus

    return load_labelled_corpus(folder)


def _key(plan: RetrievalPlan, corpus_sha256: str, seed: int) -> str:
    from dataclasses import asdict

    # Settings that came later are left out where they are as before: measurements from then still hold.
    config = {name: value for name, value in asdict(plan.config).items() if (name, value) not in _LATER}
    model = MINILM_SHA256 if plan.config.retriever != "keyword" else None
    parts = {"kind": "retrieval", "corpus": corpus_sha256, "model": model, "stand_in": plan.stand_in, "split": SPLIT}
    return measurement_key({**parts, "config": config, "seed": seed})


def measure_retrieval(
    folder: Path,
    design: Design,
    *,
    embedder: Embedder | None,
    machine: Machine,
    seed: int,
    cache: EmbeddingCache | None = None,
) -> Measurement:
    """Chunk, index and search the corpus as the design says, and score the test questions."""
    from llmdrill.retrieval.pipeline import evaluate_retrieval

    began = time.perf_counter()
    plan = retrieval_plan(design)
    corpus = _corpus(folder)
    result = evaluate_retrieval(corpus, plan.config, embedder, split=SPLIT, seed=seed, cache=cache)
    return Measurement(
        kind="retrieval",
        key=_key(plan, corpus.content_sha256, seed),
        figures=tuple(_figures(result, plan)),
        tables=(_by_kind(result), _index_table(result)),
        machine=machine,
        seed=seed,
        repeats=1,
        seconds=time.perf_counter() - began,
        notes=(*_notes(plan, result), *plan.notes),
    )


def _figures(result: RetrievalResult, plan: RetrievalPlan) -> list[Figure]:
    unknown = f"needs {plan.stand_in}, which cannot run here" if plan.stand_in else ""
    figures = []
    for name, metric in _NAMES.items():
        interval = result.mean(metric)
        if interval is not None:
            figures.append(
                Figure(name, interval.mean, interval.low, interval.high, result.n, "95 % bootstrap interval")
            )
    figures += [
        Figure("false_answer_rate", result.false_answer_rate, n=result.n_unanswerable, note="threshold set on dev"),
        Figure("unseen_text_share", result.unseen_share),
        Figure("chunks", float(result.chunks)),
        Figure("sent_tokens", result.sent_tokens, n=result.n + result.n_unanswerable, note="mean per question"),
        Figure("index_bytes", float(result.index_bytes)),
    ]
    if not unknown:
        return figures
    return [Figure(f.name, None, n=f.n, note=f"{unknown}; all-MiniLM-L6-v2 in its place: {f.value}") for f in figures]


def _notes(plan: RetrievalPlan, result: RetrievalResult) -> tuple[str, ...]:
    config = plan.config
    by = f" by {result.embedder}" if result.embedder else ""
    text = (
        f"{config.retriever} retrieval{by}, {config.chunker} chunks of {config.chunk_tokens} tokens, overlap "
        f"{config.overlap_tokens}, k = {config.k}; {result.n} answerable and {result.n_unanswerable} unanswerable test "
        "questions; recall counts a span found when one chunk covers at least half of it"
    )
    return (text,)


def _by_kind(result: RetrievalResult) -> Table:
    columns = (
        "kind of question",
        "n",
        "recall_at_k",
        "document_recall_at_k",
        "mrr_at_k",
        "ndcg_at_k",
        "false_answer_rate",
    )
    rows = tuple(
        (row.kind, row.n, row.evidence_recall, row.document_recall, row.mrr, row.ndcg, row.false_answer_rate)
        for row in result.by_kind
    )
    return Table("Retrieval by kind of question", columns, rows)


def _index_table(result: RetrievalResult) -> Table:
    rows: tuple[tuple[str, float | int | None], ...] = (
        ("chunks", result.chunks),
        ("tokens stored", result.stored_tokens),
        ("tokens sent to the model per question", result.sent_tokens),
        ("bytes of vectors and postings", result.index_bytes),
        ("share of text the embedder never saw", result.unseen_share),
        ("score threshold (keeps 95 % of answerable dev questions)", result.threshold),
    )
    return Table("What the index holds", ("what", "value"), rows)
