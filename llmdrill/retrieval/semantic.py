"""Cut where the meaning drops between neighbouring sentences."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from llmdrill.retrieval.chunk import SENTENCE, WORD, Chunk, among, cut, ends_of
from llmdrill.retrieval.embed import embed_texts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmdrill.retrieval.chunk import Level
    from llmdrill.retrieval.embed import Embedder, EmbeddingCache

DROP_PERCENTILES: Final = (95, 80, 50)
SENTENCES_AT_ONCE: Final = 4096  # embedded; 6 MB of vectors


def semantic_chunks(
    text: str, drops: np.ndarray, *, document: str, spans: np.ndarray, size_tokens: int, overlap_tokens: int
) -> tuple[Chunk, ...]:
    """Cut at the largest drops in meaning between sentences; pieces that fit the budget together share a chunk.

    Args:
        text: Of the document.
        drops: One for each end of a sentence but the last (S - 1,), as ``sentence_drops`` gives them.
        document: Its id.
        spans: Of its tokens, (T, 2).
        size_tokens: As in ``cut``.
        overlap_tokens: As in ``cut``.

    Formula:
        a cut is welcome where 1 - cosine(sentence, next) is above the 95th percentile of the document's; what is still
        too large is cut above the 80th, then the 50th, then at any sentence, word and token
    Error:
        Each decision sees two sentences: short ones (headings, rows of a table) are noisy.
    Source:
        Qu, Tu and Bao 2024, arXiv:2410.13070, section 2, the breakpoint-based chunker (which found no gain over fixed
        sizes that holds on ordinary documents: table 1); the 95th percentile is the default of LangChain's
        SemanticChunker, which bounds no chunk's size. The lower percentiles and the packing are ours.
    """
    ends = np.array(_ends(text)[:-1], dtype=np.int64)
    levels: list[Level] = [among(ends[drops > _threshold(drops, share)].tolist()) for share in DROP_PERCENTILES]
    levels += [ends_of(SENTENCE, text), ends_of(WORD, text)]
    return cut(text, levels, document=document, spans=spans, size_tokens=size_tokens, overlap_tokens=overlap_tokens)


def sentence_drops(
    texts: Sequence[str], embedder: Embedder, *, cache: EmbeddingCache | None = None
) -> tuple[np.ndarray, ...]:
    """Return for each text 1 - cosine between every sentence and the next, (S - 1,) each.

    The sentences of all texts are embedded together, some thousands at a time: batches are full, memory is bounded.
    """
    ends = [_ends(text) for text in texts]
    sentences = [text[a:b].strip() for text, stops in zip(texts, ends, strict=True) for a, b in pairwise([0, *stops])]
    drops = np.concatenate([*_drops(sentences, embedder, cache), np.zeros(0)])
    first = np.cumsum([0, *map(len, ends)])
    return tuple(drops[a : max(a, b - 1)] for a, b in pairwise(first.tolist()))


def _drops(sentences: Sequence[str], embedder: Embedder, cache: EmbeddingCache | None) -> Iterator[np.ndarray]:
    for start in range(0, len(sentences), SENTENCES_AT_ONCE):
        vectors = embed_texts(sentences[start : start + SENTENCES_AT_ONCE + 1], embedder, cache=cache).vectors  # (n, D)
        yield 1.0 - np.einsum("nd,nd->n", vectors[:-1], vectors[1:])


def _ends(text: str) -> list[int]:
    """Return where sentences end; a line of white space is none."""
    cuts = [end for end in ends_of(SENTENCE, text)(0, len(text)) if end < len(text)]
    ends = [b for a, b in pairwise([0, *cuts, len(text)]) if text[a:b].strip()]
    return [*ends[:-1], len(text)] if ends else []


def _threshold(drops: np.ndarray, percentile: float) -> float:
    return float(np.percentile(drops, percentile)) if len(drops) else 0.0
