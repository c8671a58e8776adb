"""Chunks of a corpus, and the memory of an index over their vectors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from llmdrill.estimate.checks import NumberError, require_not_negative, require_positive
from llmdrill.estimate.explain import Explained, figure

if TYPE_CHECKING:
    from collections.abc import Iterable

LINK_BYTES: Final = 4  # a neighbour's number
_FAISS: Final = "Faiss wiki, Guidelines to choose an index: (d × 4 + M × 2 × 4) bytes per vector"


def chunk_count(documents_tokens: Iterable[float], *, size_tokens: float, overlap_tokens: float = 0) -> int:
    """Return how many chunks a sliding window cuts from documents of these lengths.

    Formula:
        sum over documents of max(1, ceil((tokens - overlap_tokens) / (size_tokens - overlap_tokens)));
        an empty document gives none.

    Args:
        documents_tokens: Length of each document.
        size_tokens: Tokens of a chunk.
        overlap_tokens: Tokens that neighbouring chunks share.

    Returns:
        Chunks.

    Raises:
        NumberError: If the overlap is not below the size, or a number is negative.

    Error:
        Exact for fixed windows; cutting at headings or sentences gives more, shorter chunks.
    Source:
        Arithmetic: each chunk after the first brings size - overlap new tokens.

    >>> chunk_count([1000, 100, 0], size_tokens=256, overlap_tokens=32)
    6
    """
    require_positive(size_tokens=size_tokens)
    require_not_negative(overlap_tokens=overlap_tokens)
    if overlap_tokens >= size_tokens:
        raise NumberError(f"overlap_tokens ({overlap_tokens:g}) must be below size_tokens ({size_tokens:g})")
    lengths = list(documents_tokens)
    require_not_negative(**{"documents_tokens": min(lengths, default=0)})  # noqa: PIE804 - the plural is the list's
    step = size_tokens - overlap_tokens
    return sum(max(1, math.ceil((tokens - overlap_tokens) / step)) for tokens in lengths if tokens)


def flat_index_bytes(*, vectors: float, dimensions: float, bytes_per_value: float = 4.0) -> float:
    """Return the memory of an exact index: the vectors themselves.

    Formula:
        vectors * dimensions * bytes_per_value
    Args:
        vectors: Chunks (or windows) embedded.
        dimensions: Of one vector.
        bytes_per_value: 4 for fp32, 1 for int8.

    Returns:
        Bytes.

    Raises:
        NumberError: If a number is negative.

    Error:
        Exact for the vectors; texts, identifiers and metadata are not counted and are often larger.
    Source:
        Faiss wiki, Guidelines to choose an index: a flat index adds no overhead to the vectors.

    >>> flat_index_bytes(vectors=1_000_000, dimensions=384)
    1536000000.0
    """
    require_not_negative(vectors=vectors, dimensions=dimensions, bytes_per_value=bytes_per_value)
    return float(vectors * dimensions * bytes_per_value)


def hnsw_index_bytes(*, vectors: float, dimensions: float, links: float = 32, bytes_per_value: float = 4.0) -> float:
    """Return the memory of an HNSW graph index: vectors and their links.

    Formula:
        vectors * (dimensions * bytes_per_value + links * 2 * 4)

    Args:
        vectors: Chunks (or windows) embedded.
        dimensions: Of one vector.
        links: M: neighbours of a vector on the upper levels; the lowest has 2 * M of 4 bytes.
        bytes_per_value: 4 for fp32.

    Returns:
        Bytes.

    Raises:
        NumberError: If a number is negative.

    Error:
        The upper levels and 12 bytes per vector of bookkeeping are left out: 1 to 5 % below serialised Faiss 1.15.1
        indexes of 64 to 384 dimensions, M 8 to 32; index_memory.hnsw_graph_bytes counts them.
    Source:
        Faiss wiki, Guidelines to choose an index: (d * 4 + M * 2 * 4) bytes per vector.

    >>> hnsw_index_bytes(vectors=1, dimensions=128, links=32)
    768.0
    """
    require_not_negative(links=links)
    flat = flat_index_bytes(vectors=vectors, dimensions=dimensions, bytes_per_value=bytes_per_value)
    return flat + float(vectors * links * 2 * LINK_BYTES)


def explain_hnsw_index(
    *, vectors: float, dimensions: float, links: float = 32, bytes_per_value: float = 4.0
) -> Explained:
    """Return hnsw_index_bytes with its formula and the numbers put in; ``links=0`` is a flat index."""
    value = hnsw_index_bytes(vectors=vectors, dimensions=dimensions, links=links, bytes_per_value=bytes_per_value)
    return Explained(
        name="index_bytes",
        value=value,
        unit="bytes",
        formula="vectors × (dimensions × bytes_per_value + links × 2 × 4)",
        filled=f"{figure(vectors)} × ({figure(dimensions)} × {bytes_per_value:g} + {figure(links)} × 2 × 4)"
        f" = {figure(value)} B",
        source=_FAISS,
    )
