"""Work of a vector index: distances to build it, distances of a query, and the seconds of building."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llmdrill.estimate.checks import NumberError, require_positive
from llmdrill.estimate.explain import Explained, figure

if TYPE_CHECKING:
    from llmdrill.estimate.index_memory import IndexDesign

_BUILD: Final = 1.4  # distances of an insertion, over ef^0.7 × M^0.5 × ln n
_QUERY: Final = 1.5
_EF_POWER: Final = 0.7
_LISTS_ROUNDS: Final = 10  # of k-means, Faiss's default for inverted lists
_LISTS_SAMPLE: Final = 256  # vectors per centroid that k-means looks at
_CODES_ROUNDS: Final = 25
_CALL_S: Final = 50e-9  # of one distance in a graph, whatever its length: a jump through memory
_VALUE_S: Final = 0.3e-9  # of each value of it
_CORE_FLOPS: Final = 20e9  # of k-means and assignment on one core
_GRAPH_BAND: Final = (0.45, 2.0)
_LISTS_BAND: Final = (0.5, 2.0)
_MEASURED: Final = "measured on hnswlib 0.8.0 and Faiss 1.15.1, see hnsw_build_distances and build_seconds"


@dataclass(frozen=True, slots=True)
class BuildTime:
    """Seconds to build an index, and between which the measured builds lie."""

    value_s: float
    low_s: float
    high_s: float


def hnsw_build_distances(*, vectors: int, links: int = 32, ef_construction: int = 40) -> float:
    """Return how many distances building an HNSW graph computes.

    Formula:
        vectors * min(vectors, 1.4 * ef_construction^0.7 * M^0.5 * ln(vectors))

    Args:
        vectors: In the index.
        links: M.
        ef_construction: Candidates kept while a place is sought; 40 by default in Faiss, 200 in hnswlib.

    Returns:
        Distances.

    Raises:
        NumberError: If a number is not positive.

    Error:
        Counted in 126 builds of hnswlib 0.8.0 (3,000 to 300,000 vectors of 64 to 768 dimensions, M 8 to 32,
        ef_construction 40 to 400): 0.45 to 1.6 times the formula on vectors of 8 to 32 intrinsic dimensions, as
        embeddings have; up to 5 times on vectors without structure.
    Source:
        Malkov and Yashunin 2016, arXiv:1603.09320, introduction: logarithmic scaling; the powers and the constant are
        fitted to the counts.

    >>> round(hnsw_build_distances(vectors=100_000, links=16, ef_construction=100) / 100_000)  # counted: 2,013
    1619
    """
    require_positive(vectors=vectors, links=links, ef_construction=ef_construction)
    each: float = _BUILD * ef_construction**_EF_POWER * math.sqrt(links) * math.log(max(vectors, 2))
    return vectors * min(float(vectors), each)


def kmeans_distances(*, vectors: int, centroids: int, rounds: int = _LISTS_ROUNDS) -> float:
    """Return how many distances k-means computes to find centroids.

    Formula:
        rounds * min(vectors, 256 * centroids) * centroids

    Args:
        vectors: At hand; at most 256 per centroid are looked at.
        centroids: Sought.
        rounds: 10 for inverted lists, 25 for codebooks, Faiss's defaults.

    Returns:
        Distances.

    Raises:
        NumberError: If a number is not positive.

    Error:
        Exact for Faiss's defaults; other libraries take other samples and rounds.
    Source:
        Faiss 1.15.1: IndexIVF.cp.niter 10, ProductQuantizer.cp.niter 25, max_points_per_centroid 256.

    >>> kmeans_distances(vectors=1_000_000, centroids=1024)
    2684354560
    """
    require_positive(vectors=vectors, centroids=centroids, rounds=rounds)
    return rounds * min(vectors, _LISTS_SAMPLE * centroids) * centroids


def build_distances(design: IndexDesign, *, ef_construction: int = 40) -> float:
    """Return how many full-length distances building an index computes.

    Formula:
        flat 0; hnsw as hnsw_build_distances; inverted lists: k-means for the lists and one distance to each list per
        vector; ivf-pq also k-means for the codebooks and one distance to each of their 2^bits words per vector.

    Args:
        design: What the index is made of.
        ef_construction: Of HNSW.

    Returns:
        Distances between vectors of all dimensions.

    Raises:
        NumberError: If a number is not positive.

    Error:
        Exact for inverted lists with Faiss's defaults; a graph as hnsw_build_distances.
    Source:
        Faiss 1.15.1 and hnsw_build_distances.

    >>> from llmdrill.estimate.index_memory import IndexDesign
    >>> build_distances(IndexDesign("ivf-flat", vectors=1_000_000, dimensions=384, lists=1024)) / 1e9
    3.70835456
    """
    n = design.vectors
    if design.kind == "flat":
        return 0.0
    if design.kind == "hnsw":
        return hnsw_build_distances(vectors=n, links=design.links, ef_construction=ef_construction)
    lists = kmeans_distances(vectors=n, centroids=design.lists) + n * design.lists
    if design.kind == "ivf-flat":
        return lists
    words = 1 << design.code_bits
    return lists + kmeans_distances(vectors=n, centroids=words, rounds=_CODES_ROUNDS) + n * words


def query_distances(design: IndexDesign, *, ef_search: int = 16, probes: int = 1) -> float:
    """Return how many vectors or codes one query is compared with.

    Formula:
        flat: vectors; hnsw: min(vectors, 1.5 * ef_search^0.7 * M^0.5 * ln(vectors)); inverted lists:
        lists + probes * vectors / lists.

    Args:
        design: What the index is made of.
        ef_search: Candidates kept during a search; 16 by default in Faiss, 10 in hnswlib.
        probes: Inverted lists that are read.

    Returns:
        Comparisons; in ivf-pq those with codes are additions of looked-up values.

    Raises:
        NumberError: If a number is not positive or there are fewer lists than probes.

    Error:
        hnsw: 0.35 to 1.4 times the formula in 126 counted searches of hnswlib 0.8.0 on vectors of 8 to 32 intrinsic
        dimensions, 0.9 to 1.3 in 5 of Faiss 1.15.1; up to 2.3 times without structure. Inverted lists: lists of uneven
        length are read more often than the mean.
    Source:
        Malkov and Yashunin 2016, arXiv:1603.09320, introduction: logarithmic scaling; the rest is arithmetic.

    >>> from llmdrill.estimate.index_memory import IndexDesign
    >>> query_distances(IndexDesign("ivf-flat", vectors=1_000_000, dimensions=384, lists=1000), probes=8)
    9000.0
    """
    require_positive(ef_search=ef_search, probes=probes)
    if design.kind == "flat":
        return float(design.vectors)
    if design.kind == "hnsw":
        each: float = _QUERY * ef_search**_EF_POWER * math.sqrt(design.links) * math.log(max(design.vectors, 2))
        return min(float(design.vectors), each)
    if probes > design.lists:
        raise NumberError(f"probes ({probes}) must not exceed the lists ({design.lists})")
    return design.lists + probes * design.vectors / design.lists


def build_seconds(design: IndexDesign, *, ef_construction: int = 40, cores: float = 1) -> BuildTime | None:
    """Return how long building a graph or inverted lists takes on some cores of an x86 server.

    Formula:
        hnsw: distances * (50 ns + 0.3 ns * dimensions) / cores; inverted lists: distances * 2 * dimensions /
        (20 GFLOP/s * cores)

    Args:
        design: What the index is made of.
        ef_construction: Of HNSW.
        cores: That work at once, taken to scale perfectly.

    Returns:
        Seconds, and the band of the measured builds; None for a flat index, which is only copied.

    Raises:
        NumberError: If a number is not positive.

    Error:
        Measured in processor time on one core of a shared Intel Xeon, fp32: the formula gave 0.88 to 1.22 times the
        time of five Faiss HNSW builds of 10,000 to 40,000 vectors of 128 to 1,536 dimensions, and 0.7 times that of one
        without structure; four IVF builds ran at 10 to 33 GFLOP/s. The band is 0.45 to 2 (HNSW), 0.5 to 2 (lists).
        Other machines differ by their memory; more cores share one memory, so cores is the optimist's divisor.
    Source:
        Measured for this project; the counts are those of build_distances.

    >>> from llmdrill.estimate.index_memory import IndexDesign
    >>> design = IndexDesign("hnsw", vectors=20_000, dimensions=384, links=16)
    >>> time = build_seconds(design)
    >>> round(time.value_s, 1)  # measured: 2.0 s
    2.4
    """
    require_positive(cores=cores)
    if design.kind == "flat":
        return None
    distances = build_distances(design, ef_construction=ef_construction)
    if design.kind == "hnsw":
        value, (low, high) = distances * (_CALL_S + _VALUE_S * design.dimensions) / cores, _GRAPH_BAND
    else:
        value, (low, high) = distances * 2 * design.dimensions / (_CORE_FLOPS * cores), _LISTS_BAND
    return BuildTime(value, value * low, value * high)


def explain_work(
    design: IndexDesign, *, ef_construction: int = 40, ef_search: int = 16, probes: int = 1, cores: float = 1
) -> tuple[Explained, ...]:
    """Return distances of building and of a query, and the seconds of building, each with the numbers put in."""
    built = build_distances(design, ef_construction=ef_construction)
    asked = query_distances(design, ef_search=ef_search, probes=probes)
    time = build_seconds(design, ef_construction=ef_construction, cores=cores)
    build = _build_derivation(design, ef_construction)
    query = _query_derivation(design, ef_search, probes)
    return (
        Explained("build_distances", built, "count", build[0], f"{build[1]} = {figure(built)}", _MEASURED),
        Explained("query_distances", asked, "count", query[0], f"{query[1]} = {figure(asked)}", _MEASURED),
        *(_explain_seconds(design, built, time, cores) if time else ()),
    )


def _build_derivation(design: IndexDesign, ef: int) -> tuple[str, str]:
    """Return the formula of build_distances and the same with the numbers put in."""
    n, m, lists = figure(design.vectors), design.links, figure(design.lists)
    if design.kind == "flat":
        return "0: vectors are only copied", "0"
    if design.kind == "hnsw":
        return (
            "vectors × min(vectors, 1.4 × ef_construction^0.7 × M^0.5 × ln(vectors))",
            f"{n} × min({n}, 1.4 × {ef}^0.7 × {m}^0.5 × ln({figure(max(design.vectors, 2))}))",
        )
    formula = f"{_LISTS_ROUNDS} × min(vectors, {_LISTS_SAMPLE} × lists) × lists + vectors × lists"
    filled = f"{_LISTS_ROUNDS} × min({n}, {_LISTS_SAMPLE} × {lists}) × {lists} + {n} × {lists}"
    if design.kind == "ivf-flat":
        return formula, filled
    words = 1 << design.code_bits
    return (
        f"{formula} + {_CODES_ROUNDS} × min(vectors, {_LISTS_SAMPLE} × 2^bits) × 2^bits + vectors × 2^bits",
        f"{filled} + {_CODES_ROUNDS} × min({n}, {_LISTS_SAMPLE} × {words}) × {words} + {n} × {words}",
    )


def _query_derivation(design: IndexDesign, ef: int, probes: int) -> tuple[str, str]:
    n, m, lists = figure(design.vectors), design.links, figure(design.lists)
    if design.kind == "flat":
        return "every vector", n
    if design.kind == "hnsw":
        return (
            "min(vectors, 1.5 × ef_search^0.7 × M^0.5 × ln(vectors))",
            f"min({n}, 1.5 × {ef}^0.7 × {m}^0.5 × ln({figure(max(design.vectors, 2))}))",
        )
    return "lists + probes × vectors / lists", f"{lists} + {probes} × {n} / {lists}"


def _explain_seconds(design: IndexDesign, distances: float, time: BuildTime, cores: float) -> tuple[Explained, ...]:
    graph = design.kind == "hnsw"
    each = "(50 ns + 0.3 ns × dimensions)" if graph else "2 × dimensions / 20 GFLOP/s"
    filled = f"{figure(distances)} × {each.replace('dimensions', str(design.dimensions))} / {cores:g}"
    low, high = _GRAPH_BAND if graph else _LISTS_BAND
    return tuple(
        Explained(name, value, "seconds", formula, shown, _MEASURED)
        for name, value, formula, shown in (
            ("build_s", time.value_s, f"build_distances × {each} / cores", f"{filled} = {figure(time.value_s)} s"),
            (
                "build_low_s",
                time.low_s,
                f"build_s × {low}, the fastest measured",
                f"{figure(time.value_s)} × {low} = {figure(time.low_s)} s",
            ),
            (
                "build_high_s",
                time.high_s,
                f"build_s × {high}, the slowest measured",
                f"{figure(time.value_s)} × {high} = {figure(time.high_s)} s",
            ),
        )
    )
