"""A process of its own that searches vectors in every way and times it: run as ``python -m``, asked by ann_run.

Of its own because numpy's threads can only be set before it loads, and because on macOS Faiss cannot live beside torch.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from llmdrill.errors import MissingExtraError
from llmdrill.lab.clock import timed_alternately
from llmdrill.retrieval.dense import top_k
from llmdrill.retrieval.hnsw import build_hnsw
from llmdrill.retrieval.quantized import (
    FullVectors,
    Vectors,
    quantize_binary,
    quantize_int8,
    search_rescored,
    search_vectors,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from llmdrill.retrieval.hnsw import HnswIndex

VECTORS_FILE: Final = "vectors.npy"
QUERIES_FILE: Final = "queries.npy"
QUESTIONS_FILE: Final = "questions.npy"
BATCH_QUERIES: Final = 64  # scored against all vectors at once: their scores are 26 MB for 100,000
TIE: Final = 1e-6  # of a cosine: nearer than fp32 tells apart
NEIGHBOURS: Final = 10  # that locality is judged by, whatever k is

Rows = Any  # NDArray[np.intp]; of one query (k,), of a batch (Q, k)


@dataclass(frozen=True, slots=True)
class AnnPlan:
    """What to do with vectors that lie in files.

    Attributes:
        folder: Of ``vectors.npy`` (N, D), ``queries.npy`` (Q, D) and ``questions.npy``, which may have no row; all of
            unit length.
        k: Neighbours asked for.
        links: M of the graph.
        ef_construction: Candidates kept while a vector's place in the graph is sought.
        ef_search: Candidates kept during a search, each value in turn.
        candidates: Rescored behind binary vectors, each value in turn.
        timed_queries: Asked one by one in each round, and in a batch.
        repeats: Rounds.
    """

    folder: str
    k: int
    links: int
    ef_construction: int
    ef_search: tuple[int, ...]
    candidates: tuple[int, ...]
    timed_queries: int
    repeats: int


@dataclass(frozen=True, slots=True)
class BuiltIndex:
    """One way to keep the vectors: ``fp32``, ``int8``, ``binary`` or ``hnsw``."""

    name: str
    nbytes: int
    build_s: float


@dataclass(frozen=True, slots=True)
class Searched:
    """One way to search.

    Attributes:
        way: ``exact``, ``int8``, ``int8, rescored``, ``binary``, ``binary, rescored``, ``hnsw``.
        setting: Its candidates, or ef_search; None where it has none.
        found: Of the true first k, the share that each query got.
        found_by_questions: The same for each question.
        alone_s: Of a query asked alone, each round.
        batch_s: Of a query asked together with the others, each round.
    """

    way: str
    setting: int | None
    found: tuple[float, ...]
    found_by_questions: tuple[float, ...]
    alone_s: tuple[float, ...]
    batch_s: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Locality:
    """What neighbourhoods are like, as medians over queries.

    Attributes:
        nearest: Cosine of the nearest vector.
        kth: Of the k-th nearest.
        typical: Of any vector.
        intrinsic_dimension: In how many directions neighbours spread.
    """

    nearest: float
    kth: float
    typical: float
    intrinsic_dimension: float


@dataclass(frozen=True, slots=True)
class AnnRun:
    """What was seen of one set of vectors; ``why_no_graph`` is empty where Faiss is there."""

    indexes: tuple[BuiltIndex, ...]
    searches: tuple[Searched, ...]
    locality: Locality
    why_no_graph: str


@dataclass(frozen=True, slots=True)
class _Way:
    way: str
    setting: int | None
    alone: Callable[[Any], Rows]
    batch: Callable[[Any], Rows]


@dataclass(frozen=True, slots=True)
class _Built:
    """All indexes over the same vectors."""

    full: FullVectors
    int8: Vectors
    binary: Vectors
    graph: HnswIndex | None
    sizes: tuple[BuiltIndex, ...]
    why_no_graph: str


def measure(plan: AnnPlan) -> AnnRun:
    """Build every index, search with each in every way, and time them in turn."""
    vectors = np.load(Path(plan.folder) / VECTORS_FILE)
    queries, questions = (np.load(Path(plan.folder) / name) for name in (QUERIES_FILE, QUESTIONS_FILE))
    built = _build(vectors, plan)
    ways = list(_ways(built, plan))
    found, by_questions = (_found_shares(built.full, asked, ways, k=plan.k) for asked in (queries, questions))
    some = queries[: plan.timed_queries]
    alone = {f"alone {number}": partial(_one_by_one, way, some) for number, way in enumerate(ways)}
    batch = {f"batch {number}": partial(way.batch, some) for number, way in enumerate(ways)}
    timings = timed_alternately({**alone, **batch}, repeats=plan.repeats, warm_up=0)  # all were asked above
    searches = (
        Searched(
            way.way,
            way.setting,
            found[number],
            by_questions[number],
            timings[f"alone {number}"].per(len(some)).seconds,
            timings[f"batch {number}"].per(len(some)).seconds,
        )
        for number, way in enumerate(ways)
    )
    nearest = _batch(built.full, queries, k=NEIGHBOURS)
    return AnnRun(built.sizes, tuple(searches), locality(vectors, queries, nearest), built.why_no_graph)


def locality(vectors: NDArray[np.float32], queries: NDArray[np.float32], nearest: NDArray[np.intp]) -> Locality:
    """Return what the neighbourhoods of queries (Q, D) are like, from their true nearest (Q, k), k at least 2.

    Formula:
        intrinsic dimension = 1 / mean over queries of mean over j < k of ln(T_k / T_j), T_j the distance to the j-th

    Error:
        The estimate grows with noise at short distances and falls, for dimensions above about 20, with few vectors:
        10,000 Gaussian ones of 384 dimensions give about 117. It compares sets of equal size.
    Source:
        Levina and Bickel 2004, "Maximum Likelihood Estimation of Intrinsic Dimension", averaged over its inverse as
        MacKay and Ghahramani 2005 (inference.org.uk/mackay/dimension) correct it.
    """
    cosines = np.einsum("qkd,qd->qk", vectors[nearest], queries)  # (Q, k), falling
    distances = np.sqrt(np.maximum(2 - 2 * cosines, 1e-12))
    spread = float(np.log(distances[:, -1:] / distances[:, :-1]).mean())
    typical = np.median(vectors[:: max(1, len(vectors) // 1000)] @ queries.T)
    nearest_of_each, kth_of_each = cosines[:, 0], cosines[:, -1]
    return Locality(
        float(np.median(nearest_of_each)), float(np.median(kth_of_each)), float(typical), 1 / spread if spread else 0.0
    )


def _one_by_one(way: _Way, queries: NDArray[np.float32]) -> None:
    for query in queries:
        way.alone(query)


def _build(vectors: NDArray[np.float32], plan: AnnPlan) -> _Built:
    full = FullVectors(vectors)
    int8, int8_s = _timed(lambda: quantize_int8(vectors))
    binary, binary_s = _timed(lambda: quantize_binary(vectors))
    graph, graph_s, why = None, 0.0, ""
    try:
        build_hnsw(vectors[:1])  # Faiss loads
        graph, graph_s = _timed(lambda: build_hnsw(vectors, links=plan.links, ef_construction=plan.ef_construction))
    except MissingExtraError as error:
        why = str(error)
    sizes = [
        BuiltIndex("fp32", full.nbytes, 0.0),
        BuiltIndex("int8", int8.nbytes, int8_s),
        BuiltIndex("binary", binary.nbytes, binary_s),
        *([BuiltIndex("hnsw", graph.nbytes, graph_s)] if graph else []),
    ]
    return _Built(full, int8, binary, graph, tuple(sizes), why)


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    done = work()
    return done, time.perf_counter() - began


def _ways(built: _Built, plan: AnnPlan) -> Iterator[_Way]:
    k, least = plan.k, min(plan.candidates)
    yield _scan("exact", built.full, k=k)
    yield _scan("int8", built.int8, k=k)
    yield _rescored("int8, rescored", built.int8, built.full, k=k, candidates=least)
    yield _scan("binary", built.binary, k=k)
    for candidates in plan.candidates:
        yield _rescored("binary, rescored", built.binary, built.full, k=k, candidates=candidates)
    for candidates in plan.candidates:
        yield _rescored("binary, rescored by int8", built.binary, built.int8, k=k, candidates=candidates)
    for ef in plan.ef_search if built.graph else ():
        yield _walk(built.graph, k=k, ef=ef)


def _scan(way: str, stored: Vectors, *, k: int) -> _Way:
    def alone(query: NDArray[np.float32]) -> Rows:
        return search_vectors(stored, query, k=k).indices

    return _Way(way, None, alone, lambda queries: _batch(stored, queries, k=k))


def _rescored(way: str, coarse: Vectors, fine: Vectors, *, k: int, candidates: int) -> _Way:
    def alone(query: NDArray[np.float32]) -> Rows:
        return search_rescored(coarse, fine, query, k=k, candidates=candidates).indices

    return _Way(way, candidates, alone, lambda queries: np.stack([alone(query) for query in queries]))


def _walk(graph: HnswIndex | None, *, k: int, ef: int) -> _Way:
    def batch(queries: NDArray[np.float32]) -> Rows:
        return graph.search(queries, k=k, ef_search=ef).indices if graph else None

    return _Way("hnsw", ef, lambda query: batch(query[None])[0], batch)


def _batch(stored: Vectors, queries: NDArray[np.float32], *, k: int) -> NDArray[np.intp]:
    """Return the best k (Q, k) of all vectors, many queries in one matrix product."""
    rows = [
        top_k(scores, k=k).indices
        for first in range(0, len(queries), BATCH_QUERIES)
        for scores in stored.batch_scores(queries[first : first + BATCH_QUERIES])
    ]
    return np.stack(rows)


def _found_shares(
    full: FullVectors, queries: NDArray[np.float32], ways: Sequence[_Way], *, k: int
) -> list[tuple[float, ...]]:
    """Return for each way and query the share of k places that hold a vector at least as near as the true k-th.

    Source:
        Aumüller, Bernhardsson and Faithfull 2018, "ANN-Benchmarks", arXiv:1807.05614: recall by distance, not by id.
    """
    if not len(queries):
        return [() for _ in ways]
    kth = _batch(full, queries, k=k)[:, -1]
    least = np.sum(full.vectors[kth] * queries, axis=1) - TIE  # (Q,)
    shares = []
    for way in ways:
        rows = way.batch(queries)
        right = (np.einsum("qkd,qd->qk", full.vectors[rows], queries) >= least[:, None]) & (rows >= 0)
        shares.append(tuple(right.mean(axis=1).tolist()))
    return shares


def _plan_of(asked: dict[str, Any]) -> AnnPlan:
    fields: dict[str, Any] = {name: tuple(one) if isinstance(one, list) else one for name, one in asked.items()}
    return AnnPlan(**fields)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(measure(_plan_of(json.loads(sys.argv[1]))))))
