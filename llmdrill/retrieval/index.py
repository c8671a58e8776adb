"""Chunk a corpus, index it, and search it: by keywords, by vectors, or by both."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Literal, get_args, overload

import numpy as np

from llmdrill.errors import UnknownNameError, UsageError
from llmdrill.retrieval.chunk import require_overlap_fits
from llmdrill.retrieval.dense import TopK, top_k
from llmdrill.retrieval.embed import Embedded, Embedder, EmbeddingCache, EmbeddingWork, embed_texts
from llmdrill.retrieval.fuse import DEFAULT_RRF_K, min_max_scaled, reciprocal_rank_fusion
from llmdrill.retrieval.progress import Progress
from llmdrill.retrieval.sparse import Bm25Index, build_bm25
from llmdrill.retrieval.split import CHUNKER_NAMES, MATCHES, Match, split_documents

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmdrill.retrieval.chunk import Chunk
    from llmdrill.retrieval.corpora import LabelledCorpus
    from llmdrill.retrieval.rerank import Reranker

Retriever = Literal["dense", "keyword", "hybrid"]
RETRIEVERS: Final[tuple[Retriever, ...]] = get_args(Retriever)
Fusion = Literal["rrf", "linear"]
FUSIONS: Final[tuple[Fusion, ...]] = get_args(Fusion)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalConfig:
    """What a design decides about retrieval.

    Attributes:
        retriever: ``dense`` by cosine, ``keyword`` by BM25, ``hybrid`` by a fusion of the two.
        chunker: A name of ``CHUNKER_NAMES``.
        chunk_tokens: Budget of a chunk, in tokens of the embedder (words and marks without one).
        overlap_tokens: Of them, those a chunk may repeat from the one before.
        k: Chunks returned; documents where labels are of documents.
        candidates: Chunks that each retriever puts into the fusion; as many as are asked for where that is more.
        rrf_k: The constant of reciprocal rank fusion.
        stem: Reduce words to stems for BM25.
        codes: Keep codes such as E-4021 whole for BM25.
        truncate: Embed only what the embedder sees at once, instead of all of a chunk in windows.
        fusion: ``rrf`` by reciprocal ranks, or ``linear`` by scores that are brought to one scale.
        dense_weight: Of the vectors' side in linear fusion; the keywords have the rest.
        match: What is compared with the query: the chunk, or each of its sentences (small-to-big).
        rerank: How many of the best a reranker orders anew; 0 for none.
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
    fusion: Fusion = "rrf"
    dense_weight: float = 0.5
    match: Match = "chunk"
    rerank: int = 0

    def __post_init__(self) -> None:
        for kind, name, known in (
            ("retriever", self.retriever, RETRIEVERS),
            ("chunker", self.chunker, CHUNKER_NAMES),
            ("fusion", self.fusion, FUSIONS),
            ("match", self.match, MATCHES),
        ):
            if name not in known:
                raise UnknownNameError(kind, name, known)
        if self.k < 1 or self.candidates < 1:
            raise UsageError(f"k is {self.k} and candidates {self.candidates}: both must be at least 1")
        require_overlap_fits(size_tokens=self.chunk_tokens, overlap_tokens=self.overlap_tokens)
        if not 0 <= self.dense_weight <= 1:
            raise UsageError(f"dense_weight is {self.dense_weight:g}: it must lie between 0 and 1")
        if self.rerank and self.rerank < self.k:
            raise UsageError(f"{self.rerank} candidates to rerank are fewer than k = {self.k}: give at least as many")


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that was found, and its score: cosine, BM25, fused, or the reranker's."""

    chunk: Chunk
    score: float


@dataclass(frozen=True, slots=True)
class Ranked:
    """The hits of one query, best first.

    Attributes:
        top_score: How good the first stage's best chunk is on a scale that queries share: its cosine, or BM25 for
            keyword search; None if nothing was found.
        seconds: The search took, its query's embedding not counted.
    """

    hits: tuple[Hit, ...]
    top_score: float | None
    seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """A chunked and indexed corpus.

    Attributes:
        chunks: What a search returns.
        units: What is matched with the query: the chunks, or their sentences.
        vectors: Of the units, (N, D) float32; None for keyword search.
        bm25: Over the units; None for dense search.
        unseen_share: Share of the corpus's characters (white space aside) that lie in no text the embedder saw; None
            without one.
        first_unit: Of each chunk; None where units are the chunks.
        first_chunk: Of each document, where documents are ranked, each by its best chunk; None where chunks are.
        document_tokens: Of each document, (documents,).
        work: What there was to embed.
    """

    config: RetrievalConfig
    chunks: tuple[Chunk, ...]
    units: tuple[Chunk, ...] = field(repr=False)
    bm25: Bm25Index | None = field(repr=False)
    vectors: np.ndarray | None = field(repr=False)
    unseen_share: float | None
    first_unit: np.ndarray | None = field(repr=False)
    first_chunk: np.ndarray | None = field(repr=False)
    document_tokens: np.ndarray = field(repr=False)
    work: EmbeddingWork
    embedder: Embedder | None = field(repr=False)
    cache: EmbeddingCache | None = field(repr=False)
    reranker: Reranker | None = field(repr=False)
    texts: Mapping[str, str] = field(repr=False)

    @property
    def vector_bytes(self) -> int:
        """Bytes of the vectors."""
        return 0 if self.vectors is None else self.vectors.nbytes

    @property
    def posting_bytes(self) -> int:
        """Bytes of BM25's terms and postings."""
        return 0 if self.bm25 is None else self.bm25.nbytes

    @property
    def nbytes(self) -> int:
        """Bytes of vectors and postings, the chunks' texts not counted."""
        return self.vector_bytes + self.posting_bytes

    def text(self, chunk: Chunk) -> str:
        """Return a chunk's text."""
        return self.texts[chunk.document][chunk.start : chunk.end]


class ChunkTexts(Sequence[str]):
    """The texts of chunks, cut out when they are asked for: a corpus is not held twice."""

    def __init__(self, chunks: Sequence[Chunk], texts: Mapping[str, str]) -> None:
        self._chunks, self._texts = chunks, texts

    def __len__(self) -> int:
        return len(self._chunks)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> ChunkTexts: ...
    def __getitem__(self, at: int | slice) -> str | ChunkTexts:
        if isinstance(at, slice):
            return ChunkTexts(self._chunks[at], self._texts)
        chunk = self._chunks[at]
        return self._texts[chunk.document][chunk.start : chunk.end]


def build_index(
    corpus: LabelledCorpus,
    config: RetrievalConfig,
    embedder: Embedder | None = None,
    *,
    cache: EmbeddingCache | None = None,
    reranker: Reranker | None = None,
    progress: Progress | None = None,
) -> Index:
    """Chunk and index the corpus.

    Raises:
        UsageError: If the retriever needs an embedder or the design a reranker and there is none, the overlap does not
            fit the chunk, or the corpus holds no text.
    """
    _require_parts(config, embedder, reranker)
    shown = progress or Progress()
    shown.say(f"cutting {len(corpus.documents):,} documents into chunks")
    split = split_documents(corpus.documents, config, embedder, cache=cache)
    if not split.chunks:
        raise UsageError(f"the corpus '{corpus.source}' holds no text: there is nothing to search")
    texts = {document.id: document.text for document in corpus.documents}
    unit_texts = ChunkTexts(split.units, texts)
    bm25 = embedded = None
    if config.retriever != "dense":
        shown.say(f"indexing the words of {len(split.units):,} chunks")
        bm25 = build_bm25(unit_texts, stem=config.stem, codes=config.codes)
    if config.retriever != "keyword" and embedder is not None:
        tokens = [unit.tokens for unit in split.units]
        embedded = embed_texts(
            unit_texts, embedder, truncate=config.truncate, tokens=tokens, cache=cache, progress=progress
        )
    return Index(
        config=config,
        chunks=split.chunks,
        units=split.units,
        bm25=bm25,
        vectors=embedded.vectors if embedded else None,
        unseen_share=_unseen_share(texts, split.units, embedded) if embedded else None,
        first_unit=split.first_unit,
        first_chunk=_first_of_each_document(split.chunks) if corpus.labels == "documents" else None,
        document_tokens=split.document_tokens,
        work=embedded.work if embedded else EmbeddingWork(0, 0),
        embedder=embedder,
        cache=cache,
        reranker=reranker,
        texts=texts,
    )


def _require_parts(config: RetrievalConfig, embedder: Embedder | None, reranker: Reranker | None) -> None:
    if config.retriever != "keyword" and embedder is None:
        raise UsageError(f"the retriever '{config.retriever}' needs an embedder: give one, or use 'keyword'")
    if config.rerank and reranker is None:
        raise UsageError(f"the design reranks {config.rerank} candidates: give a reranker, or set rerank to 0")


def search(index: Index, query: str) -> tuple[Hit, ...]:
    """Return at most k chunks for the query, best first."""
    return search_all(index, [query])[0].hits


def search_all(
    index: Index, queries: Sequence[str], *, now: Callable[[], float] = time.perf_counter
) -> tuple[Ranked, ...]:
    """Search for many queries; their vectors are computed in one go."""
    vectors: Sequence[np.ndarray | None] = [None] * len(queries)
    if index.vectors is not None and index.embedder is not None:
        embedded = embed_texts(queries, index.embedder, truncate=index.config.truncate, cache=index.cache)
        vectors = list(embedded.vectors)
    return tuple(search_one(index, query, vector, now=now) for query, vector in zip(queries, vectors, strict=True))


def search_one(
    index: Index, query: str, vector: np.ndarray | None, *, now: Callable[[], float] = time.perf_counter
) -> Ranked:
    """Search for a query whose vector (D,) is known; keyword search needs none."""
    began, config = now(), index.config
    kept = max(config.k, config.rerank)
    dense = None if vector is None or index.vectors is None else _scores(index, index.vectors @ vector)
    sparse = None if index.bm25 is None else _scores(index, index.bm25.scores(query))
    first = dense or sparse
    if first is None:
        raise UsageError("this index has no postings, and there is no vector: build it for 'keyword' or 'hybrid'")
    if dense and sparse:
        best = _fused(dense, sparse, config, k=kept)
    else:
        best = top_k(dense.items, k=kept) if dense else _with_a_term(first, k=kept)
    pairs = zip(best.indices.tolist(), best.scores.tolist(), strict=True)
    hits = [Hit(index.chunks[first.chunk_of(item)], score) for item, score in pairs]
    top_score = float(first.items.max()) if hits else None
    if index.reranker is not None and config.rerank:
        hits = _reranked(index, index.reranker, query, hits)
    return Ranked(tuple(hits[: config.k]), top_score, now() - began)


@dataclass(frozen=True, slots=True, eq=False)
class _Scores:
    """How well everything fits a query: each chunk (C,), and each item (M,), which is a chunk or a document."""

    chunks: np.ndarray
    items: np.ndarray
    first_chunk: np.ndarray | None

    def chunk_of(self, item: int) -> int:
        """Return the chunk that stands for an item: a document's best one."""
        if self.first_chunk is None:
            return item
        start, *following = self.first_chunk[item : item + 2].tolist()
        return int(start + self.chunks[start : following[0] if following else None].argmax())


def _scores(index: Index, units: np.ndarray) -> _Scores:
    """Return the scores of chunks and items, each being that of its best part."""
    chunks = units if index.first_unit is None else np.maximum.reduceat(units, index.first_unit)
    items = chunks if index.first_chunk is None else np.maximum.reduceat(chunks, index.first_chunk)
    return _Scores(chunks, items, index.first_chunk)


def _with_a_term(sparse: _Scores, *, k: int) -> TopK:
    """Return the best items that hold a term of the query."""
    best = top_k(sparse.items, k=k)
    held = best.scores > 0
    return TopK(best.indices[held], best.scores[held])


def _fused(dense: _Scores, sparse: _Scores, config: RetrievalConfig, *, k: int) -> TopK:
    """Return the best items by both: of those that either side puts forward.

    Linear fusion takes the real scores of all of them from both sides: to be none of a side's best is no reason to
    count as its worst.
    """
    pool = max(config.candidates, k)
    sides = (top_k(dense.items, k=pool), _with_a_term(sparse, k=pool))
    if config.fusion == "rrf":
        fused = reciprocal_rank_fusion([side.indices.tolist() for side in sides], rrf_k=config.rrf_k)
        items, scores = np.array(sorted(fused), dtype=np.intp), np.array([fused[item] for item in sorted(fused)])
    else:
        items = np.union1d(sides[0].indices, sides[1].indices)
        weight = config.dense_weight
        scores = weight * min_max_scaled(dense.items[items]) + (1 - weight) * min_max_scaled(sparse.items[items])
    best = top_k(scores, k=k)
    return TopK(items[best.indices], best.scores)


def _reranked(index: Index, reranker: Reranker, query: str, hits: Sequence[Hit]) -> list[Hit]:
    texts = [index.text(hit.chunk) for hit in hits]
    scores = reranker.scores(query, texts)
    return [Hit(hits[place].chunk, float(scores[place])) for place in top_k(scores, k=len(hits)).indices.tolist()]


def _first_of_each_document(chunks: Sequence[Chunk]) -> np.ndarray:
    changes = (at for at, (one, after) in enumerate(pairwise(chunks), start=1) if one.document != after.document)
    return np.array([0, *changes], dtype=np.int32)


def _unseen_share(texts: Mapping[str, str], units: Sequence[Chunk], embedded: Embedded) -> float:
    """Return the share of all characters but white space that lie in no window."""
    seen_of: dict[str, list[tuple[int, int]]] = {document: [] for document in texts}
    for unit, windows in zip(units, embedded.seen, strict=True):
        seen_of[unit.document] += [(unit.start + window.start, unit.start + window.end) for window in windows]
    solid = sum(map(_solid, texts.values()))
    unseen = 0
    for document, seen in seen_of.items():
        reached, text = 0, texts[document]
        for start, end in [*sorted(seen), (len(text), len(text))]:
            unseen += _solid(text[reached:start])
            reached = max(reached, end)
    return unseen / solid if solid else 0.0


def _solid(text: str) -> int:
    """Count the characters that are no white space."""
    return sum(map(len, text.split()))
