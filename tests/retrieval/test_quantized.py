"""Vectors in a byte or a bit a dimension: what they stand for, what they take, and what rescoring gives back."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from llmdrill.errors import UsageError
from llmdrill.estimate.index_memory import IndexDesign, VectorType, index_parts
from llmdrill.retrieval.dense import dense_top_k
from llmdrill.retrieval.quantized import (
    STORES,
    FullVectors,
    quantize_binary,
    quantize_int8,
    search_rescored,
    search_vectors,
)

if TYPE_CHECKING:
    from types import ModuleType

MATRICES = hnp.arrays(np.float32, st.tuples(st.integers(1, 9), st.just(8)), elements=st.floats(-1, 1, width=32))


def unit(rows: int, dimensions: int = 64, *, seed: int = 0) -> np.ndarray:
    """Return unit vectors around a few centres, as texts about a few things are."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((10, dimensions))[rng.integers(10, size=rows)] + rng.standard_normal(
        (rows, dimensions)
    )
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def faiss_or_skip() -> ModuleType:
    if sys.platform == "darwin":
        pytest.skip("on macOS Faiss and torch, which other tests load, cannot be in one process")
    module: ModuleType = pytest.importorskip("faiss")
    return module


@pytest.mark.parametrize("kind", ["fp32", "int8", "binary"])
@pytest.mark.parametrize(("rows", "dimensions"), [(1, 8), (1025, 384), (300, 24)])
def test_bytes_are_those_of_the_estimate(kind: VectorType, rows: int, dimensions: int) -> None:
    parts = index_parts(IndexDesign("flat", vectors=rows, dimensions=dimensions, dtype=kind))
    assert STORES[kind](unit(rows, dimensions)).nbytes == sum(part.size_bytes for part in parts)  # type: ignore[index]


@given(vectors=MATRICES)
def test_a_code_stands_for_what_is_at_most_half_a_step_away(vectors: np.ndarray) -> None:
    stored = quantize_int8(vectors)
    assert (np.abs(stored.decoded() - vectors) <= 0.501 * stored.step + 1e-6).all()
    assert np.allclose(stored.decoded()[vectors.argmin(axis=0), range(8)], vectors.min(axis=0), atol=1e-6)


@pytest.mark.parametrize("kind", ["fp32", "int8", "binary"])
def test_scores_are_the_same_alone_by_rows_and_in_a_batch(kind: VectorType) -> None:
    stored, queries = STORES[kind](unit(2500)), unit(3, seed=1)  # type: ignore[index]
    together, rows = stored.batch_scores(queries), np.array([2400, 7, 1023])
    for query, scores in zip(queries, together, strict=True):
        assert stored.scores(query) == pytest.approx(scores, abs=1e-6)
        assert stored.scores(query, rows) == pytest.approx(scores[rows], abs=1e-6)


def test_int8_scores_are_products_with_what_the_codes_stand_for() -> None:
    vectors, query = unit(1500), unit(1, seed=1)[0]
    stored = quantize_int8(vectors)
    assert stored.scores(query) == pytest.approx(stored.decoded() @ query, abs=1e-6)
    assert np.abs(stored.scores(query) - vectors @ query).max() < 0.01


@pytest.mark.parametrize("dimensions", [8, 64, 384, 72])
def test_binary_scores_are_cosines_of_signs(dimensions: int) -> None:
    vectors, query = unit(50, dimensions), unit(1, dimensions, seed=1)[0]
    signs, asked = np.where(vectors > 0, 1.0, -1.0), np.where(query > 0, 1.0, -1.0)
    assert quantize_binary(vectors).scores(query) == pytest.approx(signs @ asked / dimensions, abs=1e-6)


@given(candidates=st.integers(0, 400), k=st.integers(1, 12), seed=st.integers(0, 5))
def test_rescoring_keeps_the_best_of_the_candidates_and_with_all_of_them_is_exact(
    candidates: int, k: int, seed: int
) -> None:
    vectors, query = unit(200, seed=seed), unit(1, seed=seed + 100)[0]
    full, coarse = FullVectors(vectors), quantize_binary(vectors)
    found = search_rescored(coarse, full, query, k=k, candidates=candidates)
    pool = search_vectors(coarse, query, k=max(k, candidates)).indices
    exact = dense_top_k(vectors, query, k=200)
    assert found.indices.tolist() == [row for row in exact.indices.tolist() if row in pool][:k]
    assert found.scores == pytest.approx(vectors[found.indices] @ query, abs=1e-6)


def test_a_constant_dimension_costs_nothing() -> None:
    vectors = np.array([[0.5, 0.1], [0.5, -0.1]], dtype=np.float32)
    assert quantize_int8(vectors).decoded() == pytest.approx(vectors, abs=1e-6)


def test_int8_agrees_with_faiss() -> None:
    faiss = faiss_or_skip()
    vectors, queries = unit(2000), unit(20, seed=1)
    index = faiss.IndexScalarQuantizer(64, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    stored = quantize_int8(vectors)
    assert 0 <= faiss.serialize_index(index).nbytes - stored.nbytes < 200
    scores, _ = index.search(queries, 10)
    assert np.sort(stored.batch_scores(queries), axis=1)[:, :-11:-1] == pytest.approx(scores, abs=0.01)


def test_binary_agrees_with_faiss() -> None:
    faiss = faiss_or_skip()
    stored, queries = quantize_binary(unit(2000)), unit(20, seed=1)
    index = faiss.IndexBinaryFlat(64)
    index.add(stored.bits)
    differing, _ = index.search(quantize_binary(queries).bits, 5)
    assert np.sort(stored.batch_scores(queries), axis=1)[:, :-6:-1] == pytest.approx(1 - differing / 32, abs=1e-6)


def test_what_cannot_be_quantized_is_refused() -> None:
    with pytest.raises(UsageError, match="no vectors"):
        quantize_int8(np.zeros((0, 8), dtype=np.float32))
    with pytest.raises(UsageError, match="that 8 divides, and these have 12"):
        quantize_binary(np.zeros((1, 12), dtype=np.float32))
