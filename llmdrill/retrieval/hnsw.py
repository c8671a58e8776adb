"""Approximate search in a graph of vectors (HNSW), by Faiss.

Faiss brings an OpenMP runtime of its own, and so does torch. On Linux both run in one process, with the same answers
but more threads than cores; on macOS the second one ends it, so there Faiss is refused once torch is loaded.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from llmdrill.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from types import ModuleType

    from numpy.typing import NDArray

LINKS: Final = 32  # Faiss's defaults
EF_CONSTRUCTION: Final = 40
EF_SEARCH: Final = 16


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """The best k of Q queries: row numbers (Q, k), -1 where fewer were found, and their cosines (Q, k), best first."""

    indices: NDArray[np.int64]
    scores: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class HnswIndex:
    """A graph of unit vectors.

    Attributes:
        links: M: links of a vector on each upper level; the lowest has twice as many.
        ef_construction: Candidates kept while a vector's place is sought.
    """

    links: int
    ef_construction: int
    _index: Any = field(repr=False)

    @property
    def nbytes(self) -> int:
        """Return the bytes of the index as it is written: vectors, links, levels."""
        return int(load_faiss().serialize_index(self._index).nbytes)

    def search(self, queries: NDArray[np.float32], *, k: int, ef_search: int = EF_SEARCH) -> Neighbours:
        """Return the nearest k that a walk with ``ef_search`` candidates finds for queries (Q, D).

        Raises:
            UsageError: If k or ef_search is below 1, or the queries have other dimensions than the index.
        """
        if k < 1 or ef_search < 1:
            raise UsageError(f"k is {k} and ef_search {ef_search}: both must be at least 1")
        if queries.ndim != 2 or queries.shape[1] != self._index.d:
            raise UsageError(f"queries of shape {queries.shape}: this index takes (queries, {self._index.d})")
        self._index.hnsw.efSearch = ef_search
        scores, indices = self._index.search(np.ascontiguousarray(queries, dtype=np.float32), k)
        return Neighbours(indices, scores)


def build_hnsw(
    vectors: NDArray[np.float32], *, links: int = LINKS, ef_construction: int = EF_CONSTRUCTION
) -> HnswIndex:
    """Return a graph of unit vectors (N, D), built with all threads that Faiss may use (``OMP_NUM_THREADS``).

    Raises:
        MissingExtraError: If faiss-cpu is not installed.
        UsageError: If there are no vectors, fewer than 2 links or no candidates.

    Source:
        Malkov and Yashunin 2016, arXiv:1603.09320; Faiss 1.15.1, IndexHNSWFlat.
    """
    if not vectors.size or links < 2 or ef_construction < 1:
        raise UsageError(f"{len(vectors)} vectors, {links} links, {ef_construction} candidates: at least 1, 2 and 1")
    faiss = load_faiss()
    index = faiss.IndexHNSWFlat(vectors.shape[1], links, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = ef_construction
    index.add(np.ascontiguousarray(vectors, dtype=np.float32))
    return HnswIndex(links, ef_construction, index)


def load_faiss() -> ModuleType:
    """Return Faiss.

    Raises:
        MissingExtraError: If it is not installed.
        UsageError: On macOS, if torch is loaded: two OpenMP runtimes in one process end it.

    Source:
        faiss-wheels/faiss-wheels issue 73, "Segfault in macOS in the presence of other OpenMP dependent packages".
    """
    if sys.platform == "darwin" and "torch" in sys.modules and "faiss" not in sys.modules:
        raise UsageError("torch is loaded, and on macOS Faiss cannot run beside it: search in a process of its own")
    try:
        import faiss
    except ImportError as error:
        raise MissingExtraError("approximate search (HNSW)", "ann") from error
    return faiss
