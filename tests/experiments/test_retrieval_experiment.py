"""`lab retrieval` as a function: its figures against the pipeline's own, its sentences, designs as they are typed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from llmdrill.catalog.load import find_price
from llmdrill.errors import MissingExtraError, UnknownNameError, UsageError
from llmdrill.experiments import retrieval_bench
from llmdrill.experiments.result import experiment_json
from llmdrill.experiments.retrieval import Design, measure_retrieval_designs, parse_design
from llmdrill.experiments.retrieval_bench import Bench, load_bench
from llmdrill.retrieval.index import RetrievalConfig
from llmdrill.retrieval.pipeline import compare_retrieval, evaluate_retrieval

if TYPE_CHECKING:
    from pathlib import Path

    from llmdrill.experiments.result import Experiment

BASE = RetrievalConfig(retriever="keyword", chunker="structural", chunk_tokens=128, overlap_tokens=16, k=5)


@pytest.fixture(scope="module")
def bench() -> Bench:
    """The shipped corpus; keyword search without an embedder takes a moment, and every figure is real."""
    return replace(load_bench("rag", use_cache=False), embedder=None)


@pytest.fixture(scope="module")
def found(bench: Bench) -> Experiment:
    designs = [Design("the first", BASE), parse_design("k=1", BASE), parse_design("stem=yes", BASE)]
    return measure_retrieval_designs(bench, designs, seed=3)


def value(experiment: Experiment, name: str) -> float:
    finding = experiment.finding(name)
    assert finding is not None, name
    assert finding.measured is not None, name
    return finding.measured


def test_quality_is_the_pipelines_with_its_interval(bench: Bench, found: Experiment) -> None:
    result = evaluate_retrieval(bench.corpus, BASE, None, split="test", seed=3)
    names = {"recall_at_k": "evidence_recall", "mrr_at_k": "mrr", "ndcg_at_k": "ndcg"}
    for name, metric in names.items():
        finding, mean = found.finding(name), result.mean(metric)  # type: ignore[arg-type]
        assert finding is not None
        assert mean is not None
        assert (finding.measured, finding.low, finding.high) == (mean.mean, mean.low, mean.high)
    assert value(found, "n_queries") == result.n > 50
    assert value(found, "possible_recall_at_k") == 1
    assert value(found, "index_bytes") == value(found, "posting_bytes") == result.index_bytes
    assert value(found, "chunks") == result.chunks


def test_costs_are_the_sent_tokens_at_the_catalogues_price(found: Experiment) -> None:
    price = find_price("gpt-4o-mini").input_usd_per_mtok
    assert value(found, "usd_per_1000_questions") == pytest.approx(1000 * value(found, "sent_tokens") * price / 1e6)
    sent = found.finding("sent_tokens")
    assert sent is not None
    assert sent.predicted == 5 * 128
    assert value(found, "sent_tokens") <= 5 * 128


def test_further_designs_are_compared_question_by_question(bench: Bench, found: Experiment) -> None:
    rows = next(table for table in found.tables if table.title == "against the first").rows
    first, one, stem = (
        evaluate_retrieval(bench.corpus, config, None, split="test", seed=3)
        for config in (BASE, replace(BASE, k=1), replace(BASE, stem=True))
    )
    assert [row[0] for row in rows] == ["k=1"] * 4 + ["stem=True"] * 4
    for result, name in ((one, "k=1"), (stem, "stem=True")):
        paired = compare_retrieval(result, first, seed=3)
        row = next(row for row in rows if row[:2] == (name, "recall_at_k"))
        difference = paired.difference
        assert row[2:5] == tuple(round(part, 4) for part in (difference.mean, difference.low, difference.high))
        assert row[5:] == (round(paired.p_value, 4), paired.wins, paired.losses)
    assert "'k=1' finds" in found.meaning[1]
    assert "less (p = " in found.meaning[1]


def test_what_is_said_is_two_sentences_and_the_json_is_whole(found: Experiment) -> None:
    assert len(found.meaning) == 2
    assert f"{value(found, 'recall_at_k'):.0%} of the evidence is among the first 5 chunks" in found.meaning[0]
    document = json.loads(json.dumps(experiment_json(found)))
    assert document["schema"] == "llmdrill/lab-retrieval@1"
    assert {"recall_at_k", "mrr_at_k", "ndcg_at_k"} <= document["spread"].keys()
    assert {"query_p50_ms", "query_p95_ms", "search_p50_ms", "n_queries", "index_s"} <= document.keys()
    assert (document["corpus"], document["k"], document["embedder"]) == ("rag", 5, None)
    assert [row["design"] for row in document["designs"]] == ["the first", "k=1", "stem=True"]


def test_the_picture_of_several_designs_names_them(found: Experiment) -> None:
    assert found.pictures[0].labels == ("the first", "k=1", "stem=True")


def test_more_places_than_chunks_are_said_to_return_what_they_do(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("The pump starts at nine.", encoding="utf-8")
    plain = replace(load_bench(str(tmp_path), use_cache=False), embedder=None)
    alone = measure_retrieval_designs(plain, [Design("the first", BASE)])
    assert "k = 5 is more than the 1 chunks: all that hold a word of the question are returned" in alone.notes


def test_a_single_design_is_shown_by_kind_of_question(bench: Bench) -> None:
    alone = measure_retrieval_designs(bench, [Design("the first", BASE)], split="dev")
    assert [table.title for table in alone.tables] == ["by kind of question"]
    assert "fares worst" in alone.meaning[1]
    assert alone.pictures[0].labels[0] == "paraphrase"


def test_documents_without_questions_are_timed_and_not_scored(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("The pump starts at nine. " * 200, encoding="utf-8")
    (tmp_path / "b.md").write_text("# Valves\n\nEvery valve has a number.\n", encoding="utf-8")
    plain = replace(load_bench(str(tmp_path), use_cache=False), embedder=None)
    with pytest.raises(UsageError, match="no labelled question"):
        plain.need_questions()
    found = measure_retrieval_designs(plain, [Design("the first", BASE)])
    recall = found.finding("recall_at_k")
    assert recall is not None
    assert recall.measured is None
    assert value(found, "n_queries") == 0
    assert value(found, "query_p95_ms") >= value(found, "query_p50_ms") > 0
    assert "how good they are no label tells" in found.meaning[0]
    assert found.finding("usd_per_1000_questions") is None


def test_a_predicted_number_of_chunks_is_exact_for_fixed_windows(bench: Bench) -> None:
    fixed = replace(BASE, chunker="fixed", chunk_tokens=100, overlap_tokens=20)
    chunks = measure_retrieval_designs(bench, [Design("the first", fixed)]).finding("chunks")
    assert chunks is not None
    assert chunks.error_share == 0
    assert chunks.measured is not None
    assert chunks.measured > 500


def test_vectors_without_an_embedder_name_the_extra(bench: Bench) -> None:
    with pytest.raises(MissingExtraError, match="extra 'lab'"):
        measure_retrieval_designs(bench, [Design("the first", replace(BASE, retriever="dense"))])


class Counting:
    """An embedder that notes what it was asked, one call at a time."""

    name, sha256, precision, pooling, max_tokens, dimensions = "counting", "c" * 64, "fp32", "mean", 50, 8

    def __init__(self) -> None:
        self.calls: list[int] = []

    def token_spans(self, text: str) -> np.ndarray:
        from llmdrill.retrieval.chunk import word_spans

        return word_spans(text)

    def embed(self, texts: Any) -> np.ndarray:
        self.calls.append(len(texts))
        values = np.array([[1 + len(text) % (7 + at) for at in range(8)] for text in texts], dtype=np.float32)
        return values / np.linalg.norm(values, axis=1, keepdims=True)


def test_a_second_run_takes_vectors_and_times_of_queries_from_the_cache(tmp_path: Path) -> None:
    from llmdrill.retrieval.embedding_cache import DiskEmbeddingCache

    embedder = Counting()
    corpus = load_bench("rag", use_cache=False).corpus
    bench = Bench(corpus, embedder, DiskEmbeddingCache(tmp_path))
    dense = Design("the first", replace(BASE, retriever="dense"))
    first = measure_retrieval_designs(bench, [dense])
    timed = first.finding("query_embedding_p50_ms")
    assert timed is not None
    assert embedder.calls.count(1) >= timed.n > 0  # each query alone, as a person asks
    embedder.calls.clear()
    again = measure_retrieval_designs(bench, [dense])
    assert embedder.calls == []
    assert value(again, "fresh_texts") == 0 < value(first, "fresh_texts")
    for name in ("query_embedding_p50_ms", "recall_at_k", "vector_bytes"):
        assert value(again, name) == value(first, name)


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("retriever=dense,chunk_tokens=64", {"retriever": "dense", "chunk_tokens": 64}),
        (" overlap = 0 , codes=yes ", {"overlap_tokens": 0, "codes": True}),
        (
            "dense-weight=0.25,fusion=linear,retriever=hybrid",
            {"dense_weight": 0.25, "fusion": "linear", "retriever": "hybrid"},
        ),
        ("stem=no", {"stem": False}),
    ],
)
def test_a_design_is_typed_as_what_it_changes(text: str, changes: dict[str, Any]) -> None:
    assert parse_design(text, BASE).config == replace(BASE, **changes)


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("", UsageError, "changes nothing"),
        ("dense", UsageError, "name=value"),
        ("chunk_tokens=", UsageError, "name=value"),
        ("chunk_tokens=many", UsageError, "is a number, not 'many'"),
        ("stem=perhaps", UsageError, "yes or no"),
        ("chunck_tokens=5", UnknownNameError, "did you mean chunk_tokens"),
        ("rerank=50", UnknownNameError, "unknown setting 'rerank'"),
        ("retriever=dens", UnknownNameError, "did you mean dense"),
        ("k=3,k=4", UsageError, "sets k twice"),
        ("dense_weight=0.9,retriever=hybrid", UsageError, "weighs linear fusion"),
        ("fusion=linear,retriever=dense", UsageError, "joins two searches"),
        ("chunk_tokens=0", UsageError, "chunks of 0 tokens hold nothing"),
        ("overlap=128", UsageError, "cannot overlap by 128"),
    ],
)
def test_a_design_that_cannot_be_read_is_refused(text: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        parse_design(text, BASE)


def test_without_the_extra_the_bench_has_no_embedder(monkeypatch: pytest.MonkeyPatch) -> None:
    from llmdrill.lab import embed

    monkeypatch.setattr(embed, "find_minilm", lambda: None)
    bench = retrieval_bench.load_bench("rag")
    assert bench.embedder is None
    with pytest.raises(MissingExtraError):
        bench.need_embedder()
