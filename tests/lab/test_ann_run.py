"""Every way to search, in a process of its own, and what neighbourhoods are like."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from llmdrill.errors import UsageError
from llmdrill.lab.ann_child import AnnPlan, locality
from llmdrill.lab.ann_run import VectorSet, random_vectors, search_in_every_way

if TYPE_CHECKING:
    from pathlib import Path

PLAN = AnnPlan(
    folder="", k=5, links=8, ef_construction=20, ef_search=(5, 200), candidates=(10, 300), timed_queries=3, repeats=2
)


def on_a_plane(rows: int, *, across: int, dimensions: int = 64, seed: int = 0) -> np.ndarray:
    """Return unit vectors that spread in ``across`` directions only."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(np.random.default_rng(7).standard_normal((dimensions, across + 1)))[0]
    vectors = rng.standard_normal((rows, across + 1)) @ axes.T
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize(("across", "tolerance"), [(2, 0.1), (5, 0.15), (10, 0.3)])
def test_intrinsic_dimension_is_that_of_the_surface_the_vectors_lie_on(across: int, tolerance: float) -> None:
    vectors, queries = on_a_plane(3000, across=across), on_a_plane(300, across=across, seed=1)
    nearest = np.argsort(-(queries @ vectors.T), axis=1)[:, :10]
    assert locality(vectors, queries, nearest).intrinsic_dimension == pytest.approx(across, rel=tolerance)


def test_every_way_is_searched_and_timed_and_what_is_exact_finds_all() -> None:
    vectors, queries = on_a_plane(400, across=6), on_a_plane(30, across=6, seed=1)
    run = search_in_every_way(VectorSet(vectors, queries, queries[:4]), PLAN)
    shares = {(one.way, one.setting): np.mean(one.found) for one in run.searches}
    assert shares["exact", None] == shares["binary, rescored", 300] == 1  # as good as all, and rescored
    assert shares["binary", None] < shares["binary, rescored", 10] <= 1
    assert shares["int8", None] > 0.9
    for one in run.searches:
        assert (len(one.found), len(one.found_by_questions), len(one.alone_s), len(one.batch_s)) == (30, 4, 2, 2)
        assert min(*one.alone_s, *one.batch_s) > 0
        assert one.found[:4] == one.found_by_questions
    sizes = {one.name: one.nbytes for one in run.indexes}
    assert (sizes["fp32"], sizes["binary"]) == (400 * 64 * 4, 400 * 64 // 8)
    if run.why_no_graph:
        assert "llmdrill[ann]" in run.why_no_graph
    else:
        assert shares["hnsw", 200] > 0.95
        assert sizes["hnsw"] > sizes["fp32"]


def test_without_faiss_only_the_graph_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "faiss.py").write_text("raise ImportError('no')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    drawn = random_vectors(vectors=300, queries=20, dimensions=16, seed=0)
    run = search_in_every_way(drawn, PLAN)
    assert "needs the extra 'ann'" in run.why_no_graph
    assert {one.way for one in run.searches} >= {"exact", "int8", "binary, rescored"}
    assert "hnsw" not in {one.way for one in run.searches} | {one.name for one in run.indexes}


def test_equal_vectors_are_no_misses() -> None:
    vectors = np.repeat(on_a_plane(40, across=4), 10, axis=0)
    run = search_in_every_way(VectorSet(vectors, vectors[::20], vectors[:0]), PLAN)
    assert {np.mean(one.found) for one in run.searches if one.way in {"exact", "binary, rescored"}} == {1.0}
    assert all(one.found_by_questions == () for one in run.searches)


def test_a_process_that_fails_is_one_line() -> None:
    broken = VectorSet(np.zeros((3, 12), np.float32), np.zeros((1, 12), np.float32), np.zeros((0, 12), np.float32))
    with pytest.raises(UsageError, match=r"the process that searches 3 vectors failed: .*8 divides"):
        search_in_every_way(broken, PLAN)
