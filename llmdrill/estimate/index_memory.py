"""Memory of a vector index, part by part, from the layouts of Faiss and hnswlib."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from llmdrill.estimate.checks import NumberError, require_positive
from llmdrill.estimate.explain import Explained, figure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

IndexKind = Literal["flat", "hnsw", "ivf-flat", "ivf-pq"]
VectorType = Literal["fp32", "fp16", "int8", "binary"]
Library = Literal["faiss", "hnswlib"]
BITS: Final[Mapping[VectorType, int]] = {"fp32": 32, "fp16": 16, "int8": 8, "binary": 1}
ID_BYTES: Final = 8
_LINK_BYTES: Final = 4
_FLOAT_BYTES: Final = 4
_FAISS_NODE_BYTES: Final = 12  # its level (4) and where its links begin (8)
# hnswlib 0.8.0 on Linux: pointer 8, level 4, mutex 40, visited mark 2, entry of the label map about 40
_HNSWLIB_NODE_BYTES: Final = 94
_HNSWLIB_FIXED_BYTES: Final = 65_536 * 40  # one mutex per slot of the label locks
_TABLE_LIMIT_BYTES: Final = 2 << 30  # Faiss builds no search table above it
SOURCE: Final = "Faiss 1.15.1 and hnswlib 0.8.0, layouts checked against serialised indexes"


@dataclass(frozen=True, slots=True)
class IndexPart:
    """Whole bytes of one part of an index, the product they are, and the same with the numbers put in."""

    name: str
    size_bytes: int
    formula: str
    filled: str


@dataclass(frozen=True, slots=True)
class IndexDesign:
    """What an index is made of.

    Attributes:
        kind: Flat scan, HNSW graph, inverted lists of vectors, inverted lists of product-quantised codes.
        vectors: How many.
        dimensions: Of one vector.
        dtype: How its values are kept (ivf-pq keeps codes instead).
        links: M of HNSW: links of a vector on each upper level; the lowest has twice as many.
        lists: Inverted lists.
        subquantizers: Codes of one vector in ivf-pq; they divide the dimensions.
        code_bits: Bits of one code.
        library: Whose layout, for HNSW.
        ids: Whether flat and HNSW keep 8-byte ids of one's own (inverted lists and hnswlib always do).
        originals: Whether fp32 vectors are kept beside, to score the best again.
    """

    kind: IndexKind
    vectors: int
    dimensions: int
    dtype: VectorType = "fp32"
    links: int = 32
    lists: int = 1024
    subquantizers: int = 8
    code_bits: int = 8
    library: Library = "faiss"
    ids: bool = False
    originals: bool = False


def vector_bytes(*, dimensions: int, dtype: VectorType = "fp32") -> int:
    """Return the bytes of one vector.

    Formula:
        ceil(dimensions * bits / 8), bits 32, 16, 8 or 1

    Args:
        dimensions: Of the vector.
        dtype: fp32, fp16, int8 or binary.

    Returns:
        Bytes.

    Raises:
        NumberError: If dimensions is not positive.

    Error:
        Exact.
    Source:
        Arithmetic; Faiss refuses binary vectors whose dimensions are no multiple of 8.

    >>> vector_bytes(dimensions=768), vector_bytes(dimensions=768, dtype="binary")
    (3072, 96)
    """
    require_positive(dimensions=dimensions)
    return math.ceil(dimensions * BITS[dtype] / 8)


def hnsw_graph_bytes(*, vectors: int, links: int = 32, library: Library = "faiss") -> float:
    """Return the memory of an HNSW graph without its vectors.

    Formula:
        vectors * (4 * (2 M + M / (M - 1)) + 12) in Faiss: 2 M links on the lowest level, M on each further one (a
        vector has 1 / (M - 1) of them in the mean), its level and its offset;
        vectors * (4 * (2 M + 1) + 8 + 4 * (M + 1) / (M - 1) + 94) + 65,536 * 40 in hnswlib: a count before the links,
        an 8-byte label, and bookkeeping.

    Args:
        vectors: In the index.
        links: M.
        library: Whose layout.

    Returns:
        Bytes.

    Raises:
        NumberError: If a number is not positive, or links is below 2.

    Error:
        Against serialised Faiss 1.15.1 indexes of 2,000 to 20,000 vectors, M 8 to 32: within 0.1 % of the index (levels
        are drawn at random). In memory Faiss takes 4 to 6 % more than serialised at 100,000 vectors of 64 dimensions
        (arrays that grew); hnswlib 0.8.0: 1 % less than measured there. The rule of Faiss's wiki, (d * 4 + M * 2 * 4)
        bytes, is 1 to 5 % low.
    Source:
        Faiss 01a9f4a, faiss/impl/HNSW.cpp, set_default_probas and prepare_level_tab; hnswlib 0.8.0, hnswlib/hnswalg.h.

    >>> round(hnsw_graph_bytes(vectors=1_000_000, links=32) / 1e6)
    272
    """
    require_positive(vectors=vectors)
    if links < 2:
        raise NumberError(f"links (M) must be at least 2, got {links}")
    upper = 1 / (links - 1)
    if library == "faiss":
        return vectors * (_LINK_BYTES * links * (2 + upper) + _FAISS_NODE_BYTES)
    record = _LINK_BYTES * (2 * links + 1) + ID_BYTES + _LINK_BYTES * (links + 1) * upper
    return vectors * (record + _HNSWLIB_NODE_BYTES) + _HNSWLIB_FIXED_BYTES


def code_bytes(*, subquantizers: int, code_bits: int = 8) -> int:
    """Return the bytes of one product-quantised vector.

    Formula:
        ceil(subquantizers * code_bits / 8)

    Args:
        subquantizers: Codes of one vector, m.
        code_bits: Bits of a code.

    Returns:
        Bytes.

    Raises:
        NumberError: If a number is out of range.

    Error:
        Exact.
    Source:
        Faiss 1.15.1: the bytes of serialised IndexPQ and IndexIVFPQ.

    >>> code_bytes(subquantizers=64), code_bytes(subquantizers=48, code_bits=4)
    (64, 24)
    """
    require_positive(subquantizers=subquantizers)
    if not 1 <= code_bits <= 16:
        raise NumberError(f"code_bits must be from 1 to 16, got {code_bits}")
    return math.ceil(subquantizers * code_bits / 8)


def index_parts(design: IndexDesign) -> tuple[IndexPart, ...]:
    """Return the memory of an index, part by part.

    Formula:
        vectors or codes + links + ids + centroids, codebooks and tables + originals

    Args:
        design: What the index is made of.

    Returns:
        Parts; their bytes add up to the index.

    Raises:
        NumberError: If the design contradicts itself.

    Error:
        Against serialised Faiss 1.15.1 indexes: flat, fp16, int8, binary, IVF and PQ to under 1 kB; HNSW within 0.2 %.
        In memory, arrays that grew by adding bit by bit take up to twice their bytes.
    Source:
        The layouts of Faiss 1.15.1 and hnswlib 0.8.0.

    >>> sum(part.size_bytes for part in index_parts(IndexDesign("flat", vectors=1_000_000, dimensions=384)))
    1536000000
    """
    _check(design)
    n, d = design.vectors, design.dimensions
    parts = [_codes(design) if design.kind == "ivf-pq" else _vectors("vectors", "vectors", n, d, design.dtype)]
    if design.kind == "hnsw":
        parts.append(_links(design))
    if design.kind.startswith("ivf"):
        # Faiss keeps the centroids of binary vectors as such vectors (IndexBinaryIVF), all others as fp32.
        kept: VectorType = "binary" if design.dtype == "binary" else "fp32"
        parts.append(_vectors("centroids", "lists", design.lists, d, kept))
    if design.kind.startswith("ivf") or (design.ids and design.library == "faiss"):
        parts.append(IndexPart("ids", n * ID_BYTES, "vectors × 8", f"{figure(n)} × 8"))
    if design.kind == "ivf-pq":
        parts += _tables(design)
    elif design.dtype == "int8":  # the least and the step of each dimension
        parts.append(IndexPart("ranges", 2 * d * _FLOAT_BYTES, "2 × dimensions × 4", f"2 × {figure(d)} × 4"))
    if design.originals:
        parts.append(_vectors("originals", "vectors", n, d, "fp32"))
    return tuple(parts)


def _vectors(name: str, counted: str, count: int, dimensions: int, dtype: VectorType) -> IndexPart:
    size, bits = count * vector_bytes(dimensions=dimensions, dtype=dtype), BITS[dtype]
    each = "/ 8" if bits == 1 else f"× {bits // 8}"
    return IndexPart(name, size, f"{counted} × dimensions {each}", f"{figure(count)} × {figure(dimensions)} {each}")


def _codes(design: IndexDesign) -> IndexPart:
    n, m, bits = design.vectors, design.subquantizers, design.code_bits
    size = n * code_bytes(subquantizers=m, code_bits=bits)
    return IndexPart("codes", size, "vectors × ceil(subquantizers × bits / 8)", f"{figure(n)} × ceil({m} × {bits} / 8)")


def _links(design: IndexDesign) -> IndexPart:
    size = hnsw_graph_bytes(vectors=design.vectors, links=design.links, library=design.library)
    m, n = design.links, figure(design.vectors)
    if design.library == "faiss":
        formula = "vectors × (4 × (2 × M + M / (M − 1)) + 12)"
        filled = f"{n} × (4 × (2 × {m} + {m} / {m - 1}) + 12)"
    else:
        formula = "vectors × (4 × (2 × M + 1) + 8 + 4 × (M + 1) / (M − 1) + 94) + 65,536 × 40"
        filled = f"{n} × (4 × (2 × {m} + 1) + 8 + 4 × {m + 1} / {m - 1} + 94) + 65,536 × 40"
    return IndexPart("links", round(size), formula, filled)


def _tables(design: IndexDesign) -> list[IndexPart]:
    lists, m, d, words = design.lists, design.subquantizers, design.dimensions, 1 << design.code_bits
    books = words * d * _FLOAT_BYTES  # a word of each codebook spans dimensions / subquantizers
    found = [IndexPart("codebooks", books, "2^bits × dimensions × 4", f"{words} × {figure(d)} × 4")]
    table = lists * m * words * _FLOAT_BYTES
    if table <= _TABLE_LIMIT_BYTES:  # in memory only, for Euclidean distances
        filled = f"{figure(lists)} × {m} × {words} × 4"
        found.append(IndexPart("search tables", table, "lists × subquantizers × 2^bits × 4", filled))
    return found


def _check(design: IndexDesign) -> None:
    require_positive(vectors=design.vectors, dimensions=design.dimensions, lists=design.lists)
    if design.library == "hnswlib" and (design.kind != "hnsw" or design.dtype != "fp32"):
        raise NumberError("hnswlib keeps an HNSW graph of fp32 vectors only")
    if design.kind.startswith("ivf") and design.lists > design.vectors:
        raise NumberError(f"{design.lists:,} lists need as many vectors to train on, got {design.vectors:,}")
    if design.dtype == "binary" and design.dimensions % 8:
        raise NumberError(f"binary vectors need dimensions that 8 divides, got {design.dimensions}")
    if design.kind != "ivf-pq":
        return
    if design.dtype != "fp32":
        raise NumberError("ivf-pq keeps codes of fp32 vectors; leave the vectors' type out")
    if design.dimensions % design.subquantizers:
        raise NumberError(f"{design.subquantizers} subquantizers do not divide {design.dimensions} dimensions")
    code_bytes(subquantizers=design.subquantizers, code_bits=design.code_bits)  # refuses what is out of range
    if design.vectors < 2**design.code_bits:
        raise NumberError(f"{design.code_bits}-bit codes need {2**design.code_bits:,} vectors to train on")


def explain_index_memory(parts: Sequence[IndexPart]) -> Explained:
    """Return the memory of an index: the sum of its parts, each with the numbers put in."""
    total = sum(part.size_bytes for part in parts)
    named = len(parts) > 1
    return Explained(
        name="index_bytes",
        value=float(total),
        unit="bytes",
        formula=" + ".join(f"{part.formula}{f' ({part.name})' if named else ''}" for part in parts),
        filled=f"{' + '.join(part.filled for part in parts)} = {figure(total)} B",
        source=SOURCE,
    )
