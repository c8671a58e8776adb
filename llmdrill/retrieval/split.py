"""Split documents into what is returned (chunks) and what is matched: the chunks themselves, or their sentences."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Literal, get_args

import numpy as np

from llmdrill.errors import UsageError
from llmdrill.retrieval.chunk import CHUNKERS, SENTENCE, Chunk, counted_spans, ends_of, trimmed, word_spans
from llmdrill.retrieval.semantic import semantic_chunks, sentence_drops

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmdrill.retrieval.chunk import TokenSpans
    from llmdrill.retrieval.corpora import Document
    from llmdrill.retrieval.embed import Embedder, EmbeddingCache
    from llmdrill.retrieval.index import RetrievalConfig

Match = Literal["chunk", "sentence"]
MATCHES: Final[tuple[Match, ...]] = get_args(Match)
SEMANTIC: Final = "semantic"
CHUNKER_NAMES: Final = (*CHUNKERS, SEMANTIC)
CHARACTERS_AT_ONCE: Final = 1_000_000  # that a tokenizer is given, and of documents whose sentences are embedded
LETTER_OR_DIGIT: Final = re.compile(r"\w")
SPACE: Final = re.compile(r"\s")


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Chunks, and the units that are embedded and indexed for them.

    Attributes:
        chunks: What a search returns.
        units: What it matches: the chunks, or every chunk's sentences in order.
        first_unit: Of each chunk, (chunks,) int32; None where units are the chunks.
        document_tokens: Of each document, (documents,) int64.
    """

    chunks: tuple[Chunk, ...]
    units: tuple[Chunk, ...]
    first_unit: np.ndarray | None = field(repr=False, default=None)
    document_tokens: np.ndarray = field(repr=False, default_factory=lambda: np.zeros(0, dtype=np.int64))


def split_documents(
    documents: Sequence[Document],
    config: RetrievalConfig,
    embedder: Embedder | None = None,
    *,
    cache: EmbeddingCache | None = None,
) -> Split:
    """Cut documents into chunks as the design says; with ``config.match`` "sentence", into their sentences too.

    Sizes are in tokens of the embedder, of words and marks without one.

    Raises:
        UsageError: If the overlap does not fit the size, or the chunker "semantic" has no embedder.

    Source:
        Small-to-big: LangChain's ParentDocumentRetriever, which indexes small pieces and returns the larger ones that
        hold them. Here the small piece is a sentence, and a chunk's score is that of its best sentence.
    """
    if config.chunker == SEMANTIC and embedder is None:
        raise UsageError("the chunker 'semantic' needs an embedder: give one, or use 'sentence' or 'recursive'")
    token_spans = embedder.token_spans if embedder else word_spans
    chunks: list[Chunk] = []
    units: list[Chunk] = []
    first_unit: list[int] = []
    document_tokens: list[int] = []
    for document, drops in _with_drops(documents, embedder if config.chunker == SEMANTIC else None, cache):
        spans = counted_spans(spans_of(document.text, token_spans))
        document_tokens.append(len(spans))
        found = _chunks_of(document, config, spans, drops)
        chunks += found
        for chunk in found if config.match == "sentence" else ():
            first_unit.append(len(units))
            units += sentences_of(document.text, chunk, spans[:, 0])
    held, lengths = tuple(chunks), np.array(document_tokens, dtype=np.int64)
    if config.match == "chunk":
        return Split(held, held, None, lengths)
    return Split(held, tuple(units), np.array(first_unit, dtype=np.int32), lengths)


def spans_of(text: str, token_spans: TokenSpans) -> np.ndarray:
    """Return the spans (T, 2) of a text's tokens, asked for in pieces so that memory stays bounded.

    Error:
        Exact for tokenizers that never look past white space, as BERT's and byte-level BPE do not.
    """
    places = [0]
    while len(text) - places[-1] > CHARACTERS_AT_ONCE:
        gap = SPACE.search(text, places[-1] + CHARACTERS_AT_ONCE)
        if gap is None:
            break
        places.append(gap.start())
    parts = [token_spans(text[start:end]) + start for start, end in pairwise([*places, len(text)])]
    return np.concatenate(parts)


def sentences_of(text: str, chunk: Chunk, starts: np.ndarray) -> list[Chunk]:
    """Return a chunk's sentences, at least one; what holds no letter or digit (a table's rule) joins the one before.

    Args:
        text: Of the document.
        chunk: Of that document.
        starts: Where its tokens start, (T,) characters.
    """
    pieces: list[tuple[int, int]] = []
    for start, end in pairwise([chunk.start, *ends_of(SENTENCE, text)(chunk.start, chunk.end), chunk.end]):
        if pieces and not LETTER_OR_DIGIT.search(text, start, end):
            start = pieces.pop()[0]  # noqa: PLW2901 - the piece grows backwards
        pieces.append((start, end))
    tokens = np.diff(np.searchsorted(starts, [chunk.start, *(end for _, end in pieces)])).tolist()
    return [
        trimmed(text, chunk.document, start, end, count) for (start, end), count in zip(pieces, tokens, strict=True)
    ]


def _chunks_of(
    document: Document, config: RetrievalConfig, spans: np.ndarray, drops: np.ndarray | None
) -> tuple[Chunk, ...]:
    size, overlap = config.chunk_tokens, config.overlap_tokens
    if drops is None:
        chunker = CHUNKERS[config.chunker]
        return chunker(document.text, document=document.id, spans=spans, size_tokens=size, overlap_tokens=overlap)
    return semantic_chunks(
        document.text, drops, document=document.id, spans=spans, size_tokens=size, overlap_tokens=overlap
    )


def _with_drops(
    documents: Sequence[Document], embedder: Embedder | None, cache: EmbeddingCache | None
) -> Iterator[tuple[Document, np.ndarray | None]]:
    """Yield each document with the drops between its sentences, None without an embedder."""
    if embedder is None:
        yield from ((document, None) for document in documents)
        return
    some: list[Document] = []
    characters = 0
    for document in documents:
        some.append(document)
        characters += len(document.text)
        if characters > CHARACTERS_AT_ONCE:
            yield from zip(some, sentence_drops([one.text for one in some], embedder, cache=cache), strict=True)
            some, characters = [], 0
    yield from zip(some, sentence_drops([one.text for one in some], embedder, cache=cache), strict=True)
