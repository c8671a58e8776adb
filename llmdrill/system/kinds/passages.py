"""How much text retrieval hands to a language model, and how many chunks there are to search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from llmdrill.catalog.load import find_model
from llmdrill.errors import UnknownNameError
from llmdrill.system.kinds.base import of_kind

if TYPE_CHECKING:
    from llmdrill.system.kinds.base import Situation

CHUNK_TOKENS: Final = 200.0
NO_CHUNKING: Final = "no chunking stage: a passage is assumed to hold 200 tokens"


def passage_tokens(at: Situation) -> float:
    """Return the tokens of one passage: the size of the design's chunks."""
    chunking = of_kind(at.stages, "chunking")
    return float(chunking.size_tokens) if chunking else CHUNK_TOKENS


def passages_before(at: Situation) -> int:
    """Return how many passages reach this stage: the nearest stage on each way back that hands some on."""
    found: dict[str, int] = {}
    waiting = list(at.after.get(at.name, ()))
    seen: set[str] = set()
    while waiting:
        name = waiting.pop(0)
        if name in seen:
            continue
        seen.add(name)
        k = at.stages[name].passages()
        if k is None:
            waiting.extend(at.after.get(name, ()))
        else:
            found[name] = k
    return sum(found.values())


def chunk_count(at: Situation) -> float | None:
    """Return how many chunks the index holds: as given, or corpus tokens over the step between two chunks."""
    if at.corpus.chunks is not None:
        return at.corpus.chunks
    chunking = of_kind(at.stages, "chunking")
    if at.corpus.tokens is None or chunking is None:
        return None
    return chunks_expected(
        corpus_tokens=at.corpus.tokens,
        size_tokens=chunking.size_tokens,
        overlap_tokens=chunking.overlap_tokens,
        documents=at.corpus.documents or 0.0,
    )


def chunks_expected(
    *, corpus_tokens: float, size_tokens: float, overlap_tokens: float = 0.0, documents: float = 0.0
) -> float:
    """Return the expected number of chunks of a corpus.

    Formula:
        (corpus_tokens - documents * overlap_tokens) / (size_tokens - overlap_tokens) + documents / 2
        (each chunk advances by size - overlap; on average the last chunk of a document is half full).

    Args:
        corpus_tokens: All tokens there are.
        size_tokens: Of a chunk.
        overlap_tokens: Shared by two neighbouring chunks.
        documents: How many documents, 0 if that is not known: then the corpus counts as one long text.

    Raises:
        ValueError: If the overlap is not smaller than the size.

    Error:
        Structural and sentence chunking end chunks early: a tenth to a half more chunks.

    Source:
        Counting.

    >>> chunks_expected(corpus_tokens=1000, size_tokens=200)
    5.0
    """
    if overlap_tokens >= size_tokens:
        raise ValueError(f"an overlap of {overlap_tokens:g} tokens leaves no step in chunks of {size_tokens:g}")
    tokens = max(0.0, corpus_tokens - documents * overlap_tokens)
    return tokens / (size_tokens - overlap_tokens) + documents / 2


def vector_dimensions(at: Situation) -> int | None:
    """Return the width of the vectors: as the embedding stage says, or its model's; None if neither does."""
    embedding = of_kind({name: at.stages[name] for name in at.before}, "embedding") or of_kind(at.stages, "embedding")
    if embedding is None:
        return None
    if embedding.dimensions is not None:
        return int(embedding.dimensions)
    try:
        return find_model(embedding.model).hidden
    except UnknownNameError:
        return None
