"""The graph of vectors: near the truth, of the bytes that the estimate says, and refused where it cannot run."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from llmdrill.errors import MissingExtraError, UsageError
from llmdrill.estimate.index_memory import IndexDesign, index_parts
from llmdrill.retrieval import hnsw
from llmdrill.retrieval.hnsw import build_hnsw, load_faiss


def clustered(rows: int, *, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((40, 32))
    vectors = centres[rng.integers(40, size=rows)] + 0.5 * rng.standard_normal((rows, 32))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    if sys.platform == "darwin":
        pytest.skip("on macOS Faiss and torch, which other tests load, cannot be in one process")
    pytest.importorskip("faiss")
    return clustered(2000)


def test_a_wide_walk_finds_nearly_all_and_its_scores_are_cosines(vectors: np.ndarray) -> None:
    queries = clustered(50, seed=1)
    index = build_hnsw(vectors)
    found = index.search(queries, k=10, ef_search=400)
    exact = np.argsort(-(queries @ vectors.T), axis=1)[:, :10]
    shares = [len(set(one) & set(other)) / 10 for one, other in zip(found.indices, exact, strict=True)]
    assert np.mean(shares) > 0.95
    for query, rows, scores in zip(queries, found.indices, found.scores, strict=True):
        assert vectors[rows] @ query == pytest.approx(scores, abs=1e-5)
        assert (np.diff(scores) <= 1e-6).all()


def test_a_wider_walk_finds_no_less(vectors: np.ndarray) -> None:
    queries, index = clustered(50, seed=1), build_hnsw(vectors, links=4, ef_construction=10)
    sums = [float(index.search(queries, k=10, ef_search=ef).scores.sum()) for ef in (10, 40, 400)]
    assert sums[0] < sums[2]
    assert sums == pytest.approx(sorted(sums), rel=1e-3)


@pytest.mark.parametrize("links", [8, 32])
def test_its_bytes_are_those_of_the_estimate(vectors: np.ndarray, links: int) -> None:
    parts = index_parts(IndexDesign("hnsw", vectors=2000, dimensions=32, links=links))
    assert build_hnsw(vectors, links=links).nbytes == pytest.approx(sum(part.size_bytes for part in parts), rel=0.01)


def test_fewer_vectors_than_asked_for_are_marked(vectors: np.ndarray) -> None:
    assert build_hnsw(vectors[:3]).search(vectors[:1], k=5).indices[0].tolist()[3:] == [-1, -1]


def test_what_cannot_be_is_refused(vectors: np.ndarray) -> None:
    index = build_hnsw(vectors[:10])
    with pytest.raises(UsageError, match="ef_search 0"):
        index.search(vectors, k=1, ef_search=0)
    with pytest.raises(UsageError, match=r"takes \(queries, 32\)"):
        index.search(vectors[:, :8], k=1)
    with pytest.raises(UsageError, match="0 vectors, 32 links"):
        build_hnsw(vectors[:0])


def test_without_faiss_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtraError, match=r"needs the extra 'ann'.*llmdrill\[ann\]"):
        load_faiss()


def test_on_macos_faiss_is_refused_beside_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hnsw.sys, "platform", "darwin")
    monkeypatch.setitem(sys.modules, "torch", sys)
    monkeypatch.delitem(sys.modules, "faiss", raising=False)
    with pytest.raises(UsageError, match="a process of its own"):
        load_faiss()
