"""Chunk a corpus, index it, and search it: by keywords, by vectors, or by both."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from llmdrill.errors import UnknownNameError, UsageError
from llmdrill.retrieval.chunk import CHUNKERS, Chunk, word_spans
from llmdrill.retrieval.dense import TopK, dense_top_k, top_k
from llmdrill.retrieval.embed import Embedded, Embedder, EmbeddingCache, embed_texts
from llmdrill.retrieval.fuse import DEFAULT_RRF_K, reciprocal_rank_fusion
from llmdrill.retrieval.sparse import Bm25Index, build_bm25

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdrill.retrieval.corpora import LabelledCorpus

Retriever = Literal["dense", "keyword", "hybrid"]
RETRIEVERS: Final = ("dense", "keyword", "hybrid")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalConfig:
    """What a design decides about retrieval.

    Attributes:
        retriever: ``dense`` by cosine, ``keyword`` by BM25, ``hybrid`` by reciprocal rank fusion of the two.
        chunker: A name of ``CHUNKERS``.
        chunk_tokens: Budget of a chunk, in tokens of the embedder (words and marks without one).
        overlap_tokens: Of them, those a chunk may repeat from the one before.
        k: Chunks returned.
        candidates: Chunks that each retriever puts into the fusion.
        rrf_k: The constant of reciprocal rank fusion.
        stem: Reduce words to stems for BM25.
        codes: Keep codes such as E-4021 whole for BM25.
        truncate: Embed only what the embedder sees at once, instead of all of a chunk in windows.
    """

    retriever: Retriever
    chunker: str
    chunk_tokens: int
    overlap_tokens: int
    k: int
    candidates: int = 50
    rrf_k: int = DEFAULT_RRF_K
    stem: bool = False
    codes: bool = False
    truncate: bool = False

    def __post_init__(self) -> None:
        if self.retriever not in RETRIEVERS:
            raise UnknownNameError("retriever", self.retriever, RETRIEVERS)
        if self.chunker not in CHUNKERS:
            raise UnknownNameError("chunker", self.chunker, CHUNKERS)
        if self.k < 1 or self.candidates < 1:
            raise UsageError(f"k is {self.k} and candidates {self.candidates}: both must be at least 1")


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that was found, and its score: cosine, BM25 or fused rank."""

    chunk: Chunk
    score: float


@dataclass(frozen=True, slots=True)
class Ranked:
    """The hits of one query, best first.

    Attributes:
        top_score: How good the best chunk is on a scale that queries share: its cosine, or BM25 for keyword search;
            None if nothing was found.
    """

    hits: tuple[Hit, ...]
    top_score: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """A chunked and indexed corpus.

    Attributes:
        vectors: Of the chunks, (N, D) float32; None for keyword search.
        bm25: None for dense search.
        unseen_share: Share of the corpus's characters (white space aside) that lie in no text the embedder saw; None
            without one.
    """

    config: RetrievalConfig
    chunks: tuple[Chunk, ...]
    bm25: Bm25Index | None = field(repr=False)
    vectors: np.ndarray | None = field(repr=False)
    unseen_share: float | None
    embedder: Embedder | None = field(repr=False)
    cache: EmbeddingCache | None = field(repr=False)

    @property
    def nbytes(self) -> int:
        """Bytes of vectors and postings, the chunks' texts not counted."""
        return (0 if self.vectors is None else self.vectors.nbytes) + (0 if self.bm25 is None else self.bm25.nbytes)


def build_index(
    corpus: LabelledCorpus,
    config: RetrievalConfig,
    embedder: Embedder | None = None,
    *,
    cache: EmbeddingCache | None = None,
) -> Index:
    """Chunk and index the corpus.

    Raises:
        UsageError: If the retriever needs an embedder and there is none, or the overlap does not fit the chunk.
    """
    token_spans = embedder.token_spans if embedder else word_spans
    chunks: list[Chunk] = []
    for document in corpus.documents:
        chunks += CHUNKERS[config.chunker](
            document.text,
            document=document.id,
            spans=token_spans(document.text),
            size_tokens=config.chunk_tokens,
            overlap_tokens=config.overlap_tokens,
        )
    text_of = {document.id: document.text for document in corpus.documents}
    texts = [text_of[chunk.document][chunk.start : chunk.end] for chunk in chunks]
    bm25 = None if config.retriever == "dense" else build_bm25(texts, stem=config.stem, codes=config.codes)
    embedded = None
    if config.retriever != "keyword":
        if embedder is None:
            raise UsageError(f"the retriever '{config.retriever}' needs an embedder: give one, or use 'keyword'")
        embedded = embed_texts(texts, embedder, truncate=config.truncate, cache=cache)
    return Index(
        config,
        tuple(chunks),
        bm25,
        embedded.vectors if embedded else None,
        _unseen_share(corpus, chunks, embedded) if embedded else None,
        embedder,
        cache,
    )


def search(index: Index, query: str) -> tuple[Hit, ...]:
    """Return at most k chunks for the query, best first."""
    return search_all(index, [query])[0].hits


def search_all(index: Index, queries: Sequence[str]) -> tuple[Ranked, ...]:
    """Search for many queries; their vectors are computed in one go."""
    if index.vectors is None or index.embedder is None:
        return tuple(_ranked(index, _keyword(index, query, k=index.config.k)) for query in queries)
    vectors = embed_texts(queries, index.embedder, truncate=index.config.truncate, cache=index.cache).vectors
    return tuple(
        _search_vectors(index, index.vectors, query, vector) for query, vector in zip(queries, vectors, strict=True)
    )


def _search_vectors(index: Index, vectors: np.ndarray, query: str, vector: np.ndarray) -> Ranked:
    config = index.config
    if config.retriever == "dense":
        return _ranked(index, dense_top_k(vectors, vector, k=config.k))
    dense = dense_top_k(vectors, vector, k=config.candidates)
    sparse = _keyword(index, query, k=config.candidates)
    fused = reciprocal_rank_fusion([dense.indices.tolist(), sparse.indices.tolist()], rrf_k=config.rrf_k)
    best = sorted(fused, key=lambda chunk: (-fused[chunk], chunk))[: config.k]
    hits = tuple(Hit(index.chunks[chunk], fused[chunk]) for chunk in best)
    return Ranked(hits, float(dense.scores[0]) if len(dense.scores) else None)


def _keyword(index: Index, query: str, *, k: int) -> TopK:
    """Return the best chunks that hold a term of the query."""
    if index.bm25 is None:
        raise UsageError("this index has no postings: build it for 'keyword' or 'hybrid'")
    best = top_k(index.bm25.scores(query), k=k)
    held = best.scores > 0
    return TopK(best.indices[held], best.scores[held])


def _ranked(index: Index, best: TopK) -> Ranked:
    pairs = zip(best.indices.tolist(), best.scores.tolist(), strict=True)
    hits = tuple(Hit(index.chunks[chunk], score) for chunk, score in pairs)
    return Ranked(hits, hits[0].score if hits else None)


def _unseen_share(corpus: LabelledCorpus, chunks: Sequence[Chunk], embedded: Embedded) -> float:
    marks = {document.id: np.zeros(len(document.text), dtype=bool) for document in corpus.documents}
    for chunk, windows in zip(chunks, embedded.seen, strict=True):
        for window in windows:
            marks[chunk.document][chunk.start + window.start : chunk.start + window.end] = True
    unseen = total = 0
    for document in corpus.documents:
        solid = np.array([not character.isspace() for character in document.text], dtype=bool)
        unseen += int((solid & ~marks[document.id]).sum())
        total += int(solid.sum())
    return unseen / total if total else 0.0
