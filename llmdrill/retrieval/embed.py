"""Turn texts into unit vectors through an embedder that sees only so many tokens, and a cache."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from llmdrill.retrieval.chunk import sentence_chunks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Embedder(Protocol):
    """What turns text into vectors; the lab has the real one.

    Attributes:
        max_tokens: Tokens of a text that it sees, special tokens not counted.
        sha256: Of its weights.
    """

    @property
    def name(self) -> str: ...
    @property
    def sha256(self) -> str: ...
    @property
    def max_tokens(self) -> int: ...
    @property
    def dimensions(self) -> int: ...
    def token_spans(self, text: str) -> np.ndarray:
        """Return the character spans of the text's tokens, (T, 2)."""
        ...

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Return a unit vector for each text, (N, D) float32."""
        ...


class EmbeddingCache(Protocol):
    """Vectors by key; what it has lost is embedded anew."""

    def get_many(self, keys: Sequence[str]) -> Mapping[str, np.ndarray]:
        """Return the vectors of those keys it holds."""
        ...

    def put_many(self, vectors: Mapping[str, np.ndarray]) -> None:
        """Keep vectors (D,)."""
        ...


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a text that the embedder sees at once: characters ``start`` to ``end``, ``tokens`` tokens."""

    start: int
    end: int
    tokens: int


def windows(text: str, embedder: Embedder, *, truncate: bool) -> tuple[Window, ...]:
    """Return what the embedder sees of a text: all of it in windows cut between sentences, or its beginning only."""
    spans = embedder.token_spans(text)
    if len(spans) <= embedder.max_tokens:
        return (Window(0, len(text), len(spans)),)
    if truncate:
        return (Window(0, int(spans[embedder.max_tokens - 1, 1]), embedder.max_tokens),)
    pieces = sentence_chunks(text, document="", spans=spans, size_tokens=embedder.max_tokens, overlap_tokens=0)
    return tuple(Window(piece.start, piece.end, piece.tokens) for piece in pieces)


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """Unit vectors (N, D) float32 of N texts, and the windows of each that the embedder saw."""

    vectors: np.ndarray
    seen: tuple[tuple[Window, ...], ...]


def embed_texts(
    texts: Sequence[str], embedder: Embedder, *, truncate: bool = False, cache: EmbeddingCache | None = None
) -> Embedded:
    """Embed texts of any length.

    A text of more than ``max_tokens`` is the mean of its windows' vectors, weighted by their tokens and brought back to
    unit length; with ``truncate`` it is the vector of its first ``max_tokens`` tokens.
    """
    seen = tuple(windows(text, embedder, truncate=truncate) for text in texts)
    pieces = [text[window.start : window.end] for text, parts in zip(texts, seen, strict=True) for window in parts]
    if not pieces:
        return Embedded(np.zeros((0, embedder.dimensions), dtype=np.float32), seen)
    vectors = _embed_pieces(pieces, embedder, cache)  # (windows, D)
    weights = np.array([max(window.tokens, 1) for parts in seen for window in parts], dtype=np.float32)
    first = np.cumsum([0, *(len(parts) for parts in seen[:-1])])
    pooled = np.add.reduceat(vectors * weights[:, None], first, axis=0)  # (N, D)
    return Embedded(pooled / np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), 1e-12), seen)


def _embed_pieces(pieces: Sequence[str], embedder: Embedder, cache: EmbeddingCache | None) -> np.ndarray:
    """Embed each distinct piece once, asking the cache first."""
    keys = [_key(piece, embedder) for piece in pieces]
    known = dict(cache.get_many(keys)) if cache else {}
    missing = {key: piece for key, piece in zip(keys, pieces, strict=True) if key not in known}
    if missing:
        fresh = dict(zip(missing, embedder.embed(list(missing.values())), strict=True))
        if cache:
            cache.put_many(fresh)
        known |= fresh
    return np.stack([known[key] for key in keys])


def _key(piece: str, embedder: Embedder) -> str:
    # An embedder may run its weights in several precisions, whose vectors differ a little: they must not mix.
    model = f"{embedder.sha256}/{getattr(embedder, 'precision', '')}"
    return f"{model}/{hashlib.sha256(piece.encode()).hexdigest()}"
