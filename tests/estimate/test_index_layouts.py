"""Vector indexes: bytes of real ones, counted work, laws, refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.errors import UsageError
from llmdrill.estimate.index_memory import (
    IndexDesign,
    IndexKind,
    VectorType,
    code_bytes,
    hnsw_graph_bytes,
    index_parts,
    vector_bytes,
)
from llmdrill.estimate.index_work import (
    build_distances,
    build_seconds,
    explain_work,
    hnsw_build_distances,
    query_distances,
)

# Bytes of faiss.serialize_index, Faiss 1.15.1: headers of under 1 kB, graphs whose levels are drawn at random.
SERIALISED: list[tuple[IndexDesign, int]] = [
    (IndexDesign("flat", vectors=2000, dimensions=64), 512_045),
    (IndexDesign("flat", vectors=2000, dimensions=64, dtype="fp16"), 256_081),
    (IndexDesign("flat", vectors=20_000, dimensions=384, dtype="int8"), 7_683_153),
    (IndexDesign("flat", vectors=20_000, dimensions=384, dtype="binary"), 960_033),
    (IndexDesign("hnsw", vectors=2000, dimensions=64, links=8), 673_554),
    (IndexDesign("hnsw", vectors=5000, dimensions=128, links=32), 3_917_250),
    (IndexDesign("hnsw", vectors=20_000, dimensions=384, links=16), 33_603_834),
    (IndexDesign("hnsw", vectors=20_000, dimensions=384, links=32), 36_162_530),
    (IndexDesign("hnsw", vectors=20_000, dimensions=384, links=16, dtype="int8"), 10_566_942),
    (IndexDesign("hnsw", vectors=20_000, dimensions=384, links=16, dtype="binary"), 3_843_810),
    (IndexDesign("ivf-flat", vectors=20_000, dimensions=384, lists=64), 30_978_955),
    (IndexDesign("ivf-flat", vectors=20_000, dimensions=64, lists=64, dtype="binary"), 321_139),
    (IndexDesign("ivf-flat", vectors=20_000, dimensions=64, lists=64, dtype="int8"), 1_457_592),
    (IndexDesign("ivf-pq", vectors=20_000, dimensions=384, lists=64, subquantizers=16), 972_212),
    (IndexDesign("ivf-pq", vectors=20_000, dimensions=384, lists=64, subquantizers=16, originals=True), 31_692_298),
]
DESIGNS = st.builds(
    IndexDesign,
    kind=st.sampled_from(["flat", "hnsw", "ivf-flat", "ivf-pq"]),
    vectors=st.integers(1000, 10**9),
    dimensions=st.sampled_from([8, 64, 384, 768]),
    links=st.integers(2, 64),
    lists=st.integers(1, 1000),
    subquantizers=st.sampled_from([1, 4, 8]),
    code_bits=st.integers(1, 8),
    originals=st.booleans(),
    ids=st.booleans(),
)


def total(design: IndexDesign, *, serialised: bool = False) -> float:
    return sum(part.size_bytes for part in index_parts(design) if not (serialised and part.name == "search tables"))


@pytest.mark.parametrize(("design", "real_bytes"), SERIALISED)
def test_an_index_takes_the_bytes_of_a_serialised_one(design: IndexDesign, real_bytes: int) -> None:
    ours = total(design, serialised=True)
    if design.kind == "hnsw":
        assert ours == pytest.approx(real_bytes, rel=0.0015)
    else:
        assert 0 <= real_bytes - ours < 1000


@pytest.mark.parametrize(("dimensions", "links"), [(64, 8), (96, 16), (48, 32)])
def test_a_real_faiss_graph_takes_the_bytes_of_the_formula(dimensions: int, links: int) -> None:
    faiss = pytest.importorskip("faiss")
    vectors = np.random.default_rng(1).standard_normal((4000, dimensions), dtype=np.float32)
    graph = faiss.IndexHNSWFlat(dimensions, links)
    graph.hnsw.efConstruction = 16
    graph.add(vectors)
    real = faiss.serialize_index(graph).nbytes
    assert total(IndexDesign("hnsw", vectors=4000, dimensions=dimensions, links=links)) == pytest.approx(
        real, rel=0.003
    )
    wiki = 4000 * (dimensions * 4 + links * 2 * 4)
    assert -0.06 < wiki / real - 1 < 0  # the rule of thumb is low


def test_real_faiss_lists_take_the_bytes_of_the_formula() -> None:
    faiss = pytest.importorskip("faiss")
    vectors = np.random.default_rng(1).standard_normal((4000, 32), dtype=np.float32)
    plain = faiss.IndexIVFFlat(faiss.IndexFlatL2(32), 32, 16)
    coded = faiss.IndexIVFPQ(faiss.IndexFlatL2(32), 32, 16, 8, 6)
    for index, design in (
        (plain, IndexDesign("ivf-flat", vectors=4000, dimensions=32, lists=16)),
        (coded, IndexDesign("ivf-pq", vectors=4000, dimensions=32, lists=16, subquantizers=8, code_bits=6)),
    ):
        index.train(vectors)
        index.add(vectors)
        assert 0 <= faiss.serialize_index(index).nbytes - total(design, serialised=True) < 1000
    tables = next(part for part in index_parts(design) if part.name == "search tables")
    assert tables.size_bytes == coded.precomputed_table.size() * 4
    assert (plain.cp.niter, coded.pq.cp.niter, plain.cp.max_points_per_centroid) == (10, 25, 256)


def test_hnswlib_takes_a_little_more_than_its_file() -> None:
    """Measured on hnswlib 0.8.0, 100,000 × 64, M 16: 40,444,136 B in a file, 52,699,136 B in memory."""
    ours = total(IndexDesign("hnsw", vectors=100_000, dimensions=64, links=16, library="hnswlib"))
    assert 40_444_136 < ours == pytest.approx(52_699_136, rel=0.02)


@given(design=DESIGNS)
def test_parts_add_up_and_grow_with_the_vectors(design: IndexDesign) -> None:
    parts = index_parts(design)
    assert all(part.size_bytes > 0 for part in parts)
    assert len({part.name for part in parts}) == len(parts)
    more = total(replace(design, vectors=2 * design.vectors))
    assert total(design) < more <= 2 * total(design) + 1  # whole bytes of a graph, whose mean is none
    bare, beside = (total(replace(design, originals=kept)) for kept in (False, True))
    assert beside - bare == pytest.approx(4 * design.vectors * design.dimensions, rel=1e-9)


@given(vectors=st.integers(1, 10**9), dimensions=st.sampled_from([8, 384, 1024]))
def test_a_type_of_fewer_bits_takes_fewer_bytes(vectors: int, dimensions: int) -> None:
    types: tuple[VectorType, ...] = ("fp32", "fp16", "int8", "binary")
    each = [vector_bytes(dimensions=dimensions, dtype=dtype) for dtype in types]
    assert each == [4 * dimensions, 2 * dimensions, dimensions, dimensions // 8]
    flat = total(IndexDesign("flat", vectors=vectors, dimensions=dimensions))
    assert flat == np.empty((1, dimensions), dtype=np.float32).nbytes * vectors


@given(vectors=st.integers(100, 10**8), links=st.integers(2, 64), ef=st.integers(1, 500))
def test_a_graph_never_needs_more_than_all_pairs_and_more_effort_needs_more(vectors: int, links: int, ef: int) -> None:
    built = hnsw_build_distances(vectors=vectors, links=links, ef_construction=ef)
    assert built <= vectors**2
    assert built <= hnsw_build_distances(vectors=vectors, links=links, ef_construction=ef + 50)
    design = IndexDesign("hnsw", vectors=vectors, dimensions=64, links=links)
    assert query_distances(design, ef_search=ef) <= vectors
    assert hnsw_graph_bytes(vectors=vectors, links=links) < hnsw_graph_bytes(vectors=vectors, links=links + 1)


@pytest.mark.parametrize(
    ("vectors", "links", "ef", "counted"),
    [(10_000, 16, 100, 1447), (100_000, 16, 100, 2013), (300_000, 16, 40, 1189), (30_000, 32, 200, 4025)],
)
def test_distances_of_building_are_near_the_counted_ones(vectors: int, links: int, ef: int, counted: int) -> None:
    """Counted in hnswlib 0.8.0 on vectors of 16 intrinsic dimensions."""
    ours = hnsw_build_distances(vectors=vectors, links=links, ef_construction=ef) / vectors
    assert 0.6 < ours / counted < 1.45


def test_seconds_of_building_are_near_the_measured_ones() -> None:
    for design, ef, measured_s in (
        (IndexDesign("hnsw", vectors=20_000, dimensions=384, links=16), 40, 1.99),
        (IndexDesign("hnsw", vectors=40_000, dimensions=768, links=32), 40, 14.08),
        (IndexDesign("hnsw", vectors=10_000, dimensions=1536, links=16), 100, 7.35),
    ):
        time = build_seconds(design, ef_construction=ef)
        assert time is not None
        assert time.value_s == pytest.approx(measured_s, rel=0.25)
        assert time.low_s < measured_s < time.high_s
    assert build_seconds(IndexDesign("flat", vectors=1, dimensions=1)) is None


@given(design=DESIGNS, cores=st.integers(1, 64))
def test_seconds_fall_with_cores_and_the_band_holds_the_value(design: IndexDesign, cores: int) -> None:
    one, many = build_seconds(design), build_seconds(design, cores=cores)
    if one is None or many is None:
        assert build_distances(design) == 0
        return
    assert many.value_s == pytest.approx(one.value_s / cores)
    assert one.low_s < one.value_s < one.high_s
    assert {each.name for each in explain_work(design)} >= {"build_distances", "query_distances", "build_s"}


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"links": 1, "kind": "hnsw"}, "at least 2"),
        ({"vectors": 0}, "vectors"),
        ({"dimensions": 10, "dtype": "binary"}, "8 divides"),
        ({"kind": "ivf-pq", "subquantizers": 7}, "do not divide"),
        ({"kind": "ivf-pq", "code_bits": 17}, "code_bits"),
        ({"kind": "ivf-pq", "vectors": 100, "lists": 10}, "to train on"),
        ({"kind": "ivf-flat", "lists": 6000}, "to train on"),
        ({"kind": "ivf-pq", "dtype": "int8"}, "codes of fp32"),
        ({"library": "hnswlib"}, "HNSW graph of fp32"),
    ],
)
def test_designs_that_cannot_be_are_refused(change: dict[str, object], word: str) -> None:
    kind: IndexKind = "flat"
    design = replace(IndexDesign(kind, vectors=5000, dimensions=64), **change)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=word):
        index_parts(design)


def test_more_probes_than_lists_are_refused() -> None:
    with pytest.raises(UsageError, match="must not exceed"):
        query_distances(IndexDesign("ivf-flat", vectors=100, dimensions=8, lists=4), probes=5)
    with pytest.raises(UsageError, match="subquantizers"):
        code_bytes(subquantizers=0)
