"""What `llmdrill lab retrieval` shows of what it measured: findings, tables, pictures and two sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from llmdrill.estimate.cost import explain_api_cost
from llmdrill.estimate.explain import figure
from llmdrill.estimate.index_memory import IndexDesign, explain_index_memory, index_parts
from llmdrill.experiments.result import Finding
from llmdrill.picture import Picture, Series
from llmdrill.table import Table
from llmdrill.units import MS_PER_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmdrill.catalog.price import Price
    from llmdrill.experiments.retrieval import Tried
    from llmdrill.experiments.retrieval_bench import Bench
    from llmdrill.retrieval.compare import Interval
    from llmdrill.retrieval.pipeline import Metric, RetrievalComparison

QUESTIONS: Final = 1000  # that a cost is told for
ALPHA: Final = 0.05
NAMES: Final[dict[str, Metric]] = {"recall_at_k": "evidence_recall", "mrr_at_k": "mrr", "ndcg_at_k": "ndcg"}
DOCUMENT_RECALL: Final = "document_recall_at_k"
BOOTSTRAP: Final = "95 % bootstrap interval over the questions"


def metric_names(bench: Bench) -> dict[str, Metric]:
    """Return the metrics that say something here; where documents are labelled, both recalls are one."""
    return NAMES if bench.corpus.labels == "documents" else {**NAMES, DOCUMENT_RECALL: "document_recall"}


def inputs_of(bench: Bench, first: Tried, *, split: str, price: Price) -> dict[str, Any]:
    """Return what was run, under keys that are no finding's name."""
    config, corpus = first.design.config, bench.corpus
    fusion: dict[str, Any] = {}
    if config.retriever == "hybrid":
        weight = {"dense_weight": config.dense_weight} if config.fusion == "linear" else {}
        fusion = {"fusion": config.fusion, "candidates": config.candidates, **weight}
    return {
        "corpus": corpus.source,
        "corpus_sha256": corpus.content_sha256,
        "documents": len(corpus.documents),
        "labels": corpus.labels,
        "split": split,
        "retriever": config.retriever,
        "chunker": config.chunker,
        "match": config.match,
        "chunk_tokens": config.chunk_tokens,
        "overlap_tokens": config.overlap_tokens,
        "k": config.k,
        **fusion,
        "embedder": first.result.embedder,
        "llm": price.name,
    }


def findings_of(bench: Bench, tried: Tried, price: Price) -> Iterator[Finding]:
    """Yield every quantity of one design."""
    yield from _quality(bench, tried)
    yield from _latency(tried)
    yield from _memory(tried)
    yield from _cost(tried, price)


def _quality(bench: Bench, tried: Tried) -> Iterator[Finding]:
    result = tried.result
    dense = result.embedder is not None
    what = "evidence spans" if bench.corpus.labels == "spans" else "relevant documents"
    for name, metric in metric_names(bench).items():
        mean = result.mean(metric)
        low, high = (mean.low, mean.high) if mean else (None, None)
        note = BOOTSTRAP if mean else "no labelled question"
        yield Finding(name, mean.mean if mean else None, None, low, high, result.n, weights_matter=dense, note=note)
    yield Finding(
        "possible_recall_at_k", result.possible_recall, n=result.n, note=f"the highest that k places allow, of {what}"
    )
    yield Finding("n_queries", float(result.n), note="questions that count in recall, MRR and nDCG")
    if result.n_unanswerable:
        yield Finding(
            "false_answer_rate",
            result.false_answer_rate,
            n=result.n_unanswerable,
            weights_matter=dense,
            note="share of unanswerable questions above the score that keeps 95 % of the answerable dev questions",
        )


def _latency(tried: Tried) -> Iterator[Finding]:
    embedded = " and its embedding" if tried.embed_s else ""
    for name, values, note in (
        ("query", tried.query_s, f"one question at a time: the search{embedded}"),
        ("query_embedding", tried.embed_s, "of a question alone; read when it was first embedded on this machine"),
        ("search", tried.search_s, "of all vectors and postings in memory, its embedding not counted"),
    ):
        for percent in (50, 95):
            if values:
                value = float(np.percentile(values, percent)) * MS_PER_S
                yield Finding(f"{name}_p{percent}_ms", value, n=len(values), note=note)


def _memory(tried: Tried) -> Iterator[Finding]:
    result, config = tried.result, tried.design.config
    size, overlap = config.chunk_tokens, config.overlap_tokens
    yield Finding(
        "chunks",
        float(result.chunks),
        float(tried.predicted_chunks),
        formula=f"sum over documents of ceil((tokens − {overlap}) / ({size} − {overlap})), a sliding window",
    )
    yield Finding("stored_tokens", float(result.stored_tokens), note="overlaps counted as often as they are stored")
    if tried.dimensions:
        parts = index_parts(IndexDesign("flat", vectors=max(1, tried.predicted_chunks), dimensions=tried.dimensions))
        explained = explain_index_memory(parts)
        formula = explained.filled if config.match == "chunk" else ""
        yield Finding("vector_bytes", float(result.vector_bytes), explained.value if formula else None, formula=formula)
    if result.posting_bytes:
        yield Finding("posting_bytes", float(result.posting_bytes), note="BM25's terms and postings")
    yield Finding("index_bytes", float(result.index_bytes), note="vectors and postings, texts not counted")
    yield Finding("index_s", result.index_s, note="cutting, embedding what no cache held, and indexing")
    work = result.work
    if work.texts:
        yield Finding("fresh_texts", float(work.fresh), note=f"embedded now, of {work.texts:,}; the rest was kept")
    if work.expected_s is not None:
        yield Finding(
            "embedding_s",
            work.seconds,
            work.expected_s,
            formula="seconds of a sample × characters of all / of the sample",
        )
    if result.unseen_share is not None:
        yield Finding("unseen_text_share", result.unseen_share, note="of the corpus, never seen by the embedder")


def _cost(tried: Tried, price: Price) -> Iterator[Finding]:
    sent, config = tried.result.sent_tokens, tried.design.config
    if sent is None:
        return
    stored = tried.result.stored_tokens
    budget = float(min(config.k * config.chunk_tokens, stored))
    counted = "the embedder counts them" if tried.result.embedder else "words and marks are counted"
    yield Finding(
        "sent_tokens",
        sent,
        budget,
        n=len(tried.result.questions),
        formula=f"k × chunk budget, at most all: min({config.k} × {config.chunk_tokens}, {figure(stored)})"
        f" = {figure(budget)}",
        note=f"mean per question of the chunks returned, as {counted}",
    )
    spent, planned = (explain_api_cost(price, requests=QUESTIONS, input_tokens=each) for each in (sent, budget))
    yield Finding(
        "usd_per_1000_questions",
        spent.value,
        planned.value,
        formula=planned.filled,
        note=f"sent tokens at {price.name}'s input price; instructions and answers come on top; {planned.source}",
    )


def table_of(tried: Sequence[Tried], price: Price) -> Table | None:
    """Return the designs beside each other; None for a single one."""
    if len(tried) == 1:
        return None
    columns = (
        "design",
        *NAMES,
        "query_p50_ms",
        "query_p95_ms",
        "chunks",
        "index_bytes",
        "sent_tokens",
        "usd_per_1000_questions",
    )
    rows = []
    for one in tried:
        result = one.result
        spent = (
            None
            if result.sent_tokens is None
            else explain_api_cost(price, requests=QUESTIONS, input_tokens=result.sent_tokens)
        )
        rows.append(
            (
                one.design.name,
                *(_three(result.mean(metric)) for metric in NAMES.values()),
                *(round(float(np.percentile(one.query_s, percent)) * MS_PER_S, 3) for percent in (50, 95)),
                result.chunks,
                result.index_bytes,
                None if result.sent_tokens is None else round(result.sent_tokens, 1),
                round(spent.value, 4) if spent else None,
            )
        )
    return Table("designs", columns, tuple(rows))


def _three(interval: Interval | None) -> float | None:
    return round(interval.mean, 4) if interval else None


def differences_table(compared: Sequence[tuple[Tried, RetrievalComparison]]) -> Table | None:
    """Return how each further design differs from the first; None where there is none."""
    if not compared:
        return None
    names = {metric: name for name, metric in (*NAMES.items(), (DOCUMENT_RECALL, "document_recall"))}
    rows = tuple(
        (
            one.design.name,
            names[found.metric],
            round(found.difference.mean, 4),
            round(found.difference.low, 4),
            round(found.difference.high, 4),
            round(found.p_value, 4),
            found.wins,
            found.losses,
        )
        for one, found in compared
    )
    columns = ("design", "metric", "difference", "low", "high", "p_value", "wins", "losses")
    return Table(
        "against the first", columns, rows, "paired by question: 95 % bootstrap interval, p by random sign flips"
    )


def kinds_table(bench: Bench, tried: Tried) -> Table | None:
    """Return the first design's figures by kind of question; None where all are of one kind."""
    result = tried.result
    if len(result.by_kind) < 2:
        return None
    names = metric_names(bench)
    rows = tuple(
        (
            row.kind.replace("_", " "),
            row.n,
            *(None if (value := getattr(row, metric)) is None else round(value, 4) for metric in names.values()),
            None if row.false_answer_rate is None else round(row.false_answer_rate, 4),
        )
        for row in result.by_kind
    )
    return Table("by kind of question", ("kind", "n", *names, "false_answer_rate"), rows)


def pictures_of(tried: Sequence[Tried]) -> Iterator[Picture]:
    """Yield quality by design or, for a single one, by kind of question."""
    result = tried[0].result
    if not result.n:
        return
    if len(tried) > 1:
        labels = tuple(one.design.name for one in tried)
        series = tuple(
            Series(name, tuple(map(float, range(len(tried)))), tuple(_mean(one, metric) for one in tried))
            for name, metric in NAMES.items()
        )
        yield Picture("Quality by design", "design", "share", series, "bars", labels)
        return
    kinds = [row for row in result.by_kind if row.evidence_recall is not None]
    if len(kinds) < 2:
        return
    at = tuple(map(float, range(len(kinds))))
    series = tuple(
        Series(name, at, tuple(getattr(row, metric) or 0.0 for row in kinds)) for name, metric in NAMES.items()
    )
    yield Picture(
        "Quality by kind of question",
        "kind",
        "share",
        series,
        "bars",
        tuple(row.kind.replace("_", " ") for row in kinds),
    )


def _mean(tried: Tried, metric: Metric) -> float:
    found = tried.result.mean(metric)
    return found.mean if found else 0.0
