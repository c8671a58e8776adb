"""The index: fusions, documents ranked by their best chunk, sentences that stand for chunks, and reranking."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.errors import UnknownNameError, UsageError
from llmdrill.retrieval.corpora import Document, Judgement, LabelledCorpus, Question
from llmdrill.retrieval.index import ChunkTexts, Index, RetrievalConfig, build_index, search, search_all
from llmdrill.retrieval.metrics import mrr_at_k, ndcg_at_k, recall_at_k
from llmdrill.retrieval.pipeline import evaluate_retrieval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from conftest import WordEmbedder

DOCUMENTS = {
    "boxes": "Opened boxes come back within thirty days. The fee is nine euros. Labels are printed at the dock.",
    "cold": "It is too cold to charge. Swap the battery while it is on. The fee does not apply.",
    "dock": "The dock prints labels. The dock opens at nine. The dock is closed in winter.",
    "empty": "",
}
QUERIES = ["what is the fee for opened boxes", "labels printed at the dock", "cold battery"]


def config(**changes: Any) -> RetrievalConfig:
    base = RetrievalConfig(retriever="hybrid", chunker="sentence", chunk_tokens=11, overlap_tokens=0, k=3)
    return replace(base, **changes)


def corpus(labels: Any = "spans") -> LabelledCorpus:
    documents = tuple(Document(name, ".", name, text) for name, text in DOCUMENTS.items())
    relevant = ({"boxes": 2, "cold": 1}, {"dock": 1, "boxes": 1}, {"cold": 1, "dock": 0})
    questions = tuple(
        Question(f"q{at}", "unspecified", query, ".", (), "test", tuple(Judgement(*pair) for pair in grades.items()))
        for at, (query, grades) in enumerate(zip(QUERIES, relevant, strict=True))
    )
    return LabelledCorpus(documents, questions if labels == "documents" else (), labels, "small")


def unit_scores(index: Index, query: str) -> tuple[np.ndarray, np.ndarray]:
    """The cosines and BM25 scores of all units, computed beside the search."""
    assert index.vectors is not None
    assert index.bm25 is not None
    assert index.embedder is not None
    return index.vectors @ index.embedder.embed([query])[0], index.bm25.scores(query)


def scaled(scores: np.ndarray) -> np.ndarray:
    return (scores - scores.min()) / (scores.max() - scores.min())


@pytest.mark.parametrize("fusion", ["rrf", "linear"])
def test_a_hybrid_returns_all_k_chunks_even_where_fewer_are_put_forward(embedder: WordEmbedder, fusion: str) -> None:
    index = build_index(corpus(), config(fusion=fusion, candidates=1, k=50), embedder)
    assert len(search(index, QUERIES[0])) == len(index.chunks) > 2


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.5, 1.0])
def test_linear_fusion_scales_the_real_scores_of_all_candidates(embedder: WordEmbedder, weight: float) -> None:
    index = build_index(corpus(), config(fusion="linear", dense_weight=weight, candidates=2, k=2), embedder)
    for query in QUERIES:
        dense, sparse = unit_scores(index, query)
        matching = np.flatnonzero(sparse)
        union = sorted(
            {*np.argsort(-dense, kind="stable")[:2], *matching[np.argsort(-sparse[matching], kind="stable")][:2]}
        )
        expected = weight * scaled(dense[union]) + (1 - weight) * scaled(sparse[union])
        of_chunk = dict(zip(union, expected.tolist(), strict=True))
        hits = search(index, query)
        assert [hit.score for hit in hits] == pytest.approx(sorted(of_chunk.values(), reverse=True)[:2], abs=1e-6)
        for hit in hits:
            assert hit.score == pytest.approx(of_chunk[index.chunks.index(hit.chunk)], abs=1e-6)


def test_all_weight_on_one_side_orders_as_that_side_does(embedder: WordEmbedder) -> None:
    for weight, retriever in ((1.0, "dense"), (0.0, "keyword")):
        linear = build_index(corpus(), config(fusion="linear", dense_weight=weight), embedder)
        alone = build_index(corpus(), config(retriever=retriever), embedder)
        for query in QUERIES:
            assert [hit.chunk for hit in search(linear, query)][:1] == [hit.chunk for hit in search(alone, query)][:1]


@pytest.mark.parametrize("retriever", ["dense", "keyword", "hybrid"])
def test_documents_are_ranked_by_their_best_chunk_and_come_once(embedder: WordEmbedder, retriever: str) -> None:
    index = build_index(corpus("documents"), config(retriever=retriever, k=10), embedder)
    assert len(index.chunks) > 3
    for query in QUERIES:
        hits = search(index, query)
        documents = [hit.chunk.document for hit in hits]
        assert len(documents) == len(set(documents))
        dense = None if index.vectors is None else index.vectors @ embedder.embed([query])[0]
        scores = index.bm25.scores(query) if dense is None and index.bm25 else dense
        assert scores is not None
        for hit in hits:
            own = [
                score for chunk, score in zip(index.chunks, scores, strict=True) if chunk.document == hit.chunk.document
            ]
            assert scores[index.chunks.index(hit.chunk)] == max(own)
            if retriever != "hybrid":
                assert hit.score == pytest.approx(max(own))


def test_document_labels_are_scored_by_the_ranking_metrics(embedder: WordEmbedder) -> None:
    for k in (1, 2, 3):
        result = evaluate_retrieval(corpus("documents"), config(k=k), embedder, split="all", seed=0)
        assert result.n == 3
        for score, question in zip(result.questions, corpus("documents").questions, strict=True):
            ranked, grades = [hit.chunk.document for hit in score.hits], question.grades
            assert score.evidence_recall == score.document_recall == recall_at_k(ranked, grades, k=k)
            assert (score.mrr, score.ndcg) == (mrr_at_k(ranked, grades, k=k), ndcg_at_k(ranked, grades, k=k))
            assert score.possible_recall == min(k, 1 + (question.id != "q2")) / (1 + (question.id != "q2"))


def test_a_chunk_is_as_good_as_its_best_sentence_where_sentences_are_matched(embedder: WordEmbedder) -> None:
    index = build_index(corpus(), config(retriever="dense", match="sentence", chunk_tokens=40, k=10), embedder)
    assert len(index.units) > len(index.chunks) == 3
    assert index.vectors is not None
    for query in QUERIES:
        scores = index.vectors @ embedder.embed([query])[0]
        for hit in search(index, query):
            inside = [
                score
                for unit, score in zip(index.units, scores, strict=True)
                if unit.document == hit.chunk.document and hit.chunk.start <= unit.start < hit.chunk.end
            ]
            assert hit.score == pytest.approx(max(inside))


class ShortestFirst:
    """A reranker that really reorders: shorter texts are better."""

    name = "shortest"

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def scores(self, _query: str, texts: Sequence[str]) -> np.ndarray:
        self.asked.append(list(texts))
        return -np.array([len(text) for text in texts], dtype=np.float64)


def test_a_reranker_orders_the_first_candidates_and_k_are_returned(embedder: WordEmbedder) -> None:
    reranker = ShortestFirst()
    plain = build_index(corpus(), config(retriever="dense", k=4), embedder)
    index = build_index(corpus(), config(retriever="dense", k=2, rerank=4), embedder, reranker=reranker)
    for query, ranked in zip(QUERIES, search_all(index, QUERIES), strict=True):
        first = search_all(plain, [query])[0]
        candidates = [plain.text(hit.chunk) for hit in first.hits]
        assert [index.text(hit.chunk) for hit in ranked.hits] == sorted(candidates, key=len)[:2]
        assert [hit.score for hit in ranked.hits] == [-len(text) for text in sorted(candidates, key=len)[:2]]
        assert ranked.top_score == first.top_score
    assert [len(texts) for texts in reranker.asked] == [4, 4, 4]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"fusion": "rff"}, UnknownNameError, "did you mean rrf"),
        ({"match": "sentances"}, UnknownNameError, "did you mean sentence"),
        ({"dense_weight": 1.5}, UsageError, "between 0 and 1"),
        ({"rerank": 2}, UsageError, "2 candidates to rerank are fewer than k = 3"),
    ],
)
def test_a_setting_out_of_range_is_refused(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        config(**changes)


def test_an_index_over_nothing_and_reranking_without_a_reranker_are_refused(embedder: WordEmbedder) -> None:
    nothing = LabelledCorpus((Document("empty", ".", "empty", " \n"),), (), "spans", "nothing")
    with pytest.raises(UsageError, match="'nothing' holds no text"):
        build_index(nothing, config(), embedder)
    with pytest.raises(UsageError, match="give a reranker"):
        build_index(corpus(), config(rerank=5), embedder)


def test_a_query_without_words_and_more_places_than_chunks_are_no_trouble(embedder: WordEmbedder) -> None:
    index = build_index(corpus(), config(k=500), embedder)
    assert len(search(index, "…?!")) == len(index.chunks)  # the vectors' side answers anything
    keyword = build_index(corpus(), config(retriever="keyword", k=500))
    assert search(keyword, "…?!") == ()
    assert search_all(keyword, [""])[0].top_score is None


@given(at=st.integers(-3, 2), start=st.integers(-4, 4), stop=st.integers(-4, 4))
def test_the_texts_of_chunks_are_a_sequence_as_a_list_of_them_is(at: int, start: int, stop: int) -> None:
    index = build_index(corpus(), config(retriever="keyword", chunk_tokens=40))
    lazy, plain = ChunkTexts(index.chunks, index.texts), [index.text(chunk) for chunk in index.chunks]
    assert list(lazy) == plain
    assert lazy[at] == plain[at]
    assert list(lazy[start:stop]) == plain[start:stop]
