"""Cut a text into chunks of at most so many tokens.

Every chunker is the same packing over other places to cut: a level is a list of token positions where a cut is welcome,
levels go from coarse to fine, and the finest is every token. What is too large for the budget is cut at the next level.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Final, Protocol

import numpy as np

from llmdrill.errors import UsageError
from llmdrill.retrieval.markdown import block_starts

TokenSpans = Callable[[str], np.ndarray]  # text -> character spans (T, 2)
Bounds = Sequence[int]  # ascending token positions

WORD_OR_MARK: Final = re.compile(r"\w+|[^\w\s]")
PARAGRAPH: Final = re.compile(r"\n[ \t]*\n\s*")
LINE: Final = re.compile(r"\n")
SENTENCE: Final = re.compile(r"[.!?][\"'”’)\]*_]*\s+(?![a-zß-ÿ])|\n")
WORD: Final = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a document: ``text[start:end]``, ``tokens`` tokens long."""

    document: str
    start: int
    end: int
    tokens: int


class Chunker(Protocol):
    """Cut ``text`` into chunks of at most ``size_tokens``, of which ``overlap_tokens`` may repeat the chunk before."""

    def __call__(
        self, text: str, *, document: str, spans: np.ndarray, size_tokens: int, overlap_tokens: int
    ) -> tuple[Chunk, ...]: ...


def word_spans(text: str) -> np.ndarray:
    """Return the character spans (T, 2) of words and punctuation marks: the fallback when no tokenizer is installed.

    >>> word_spans("No, E-4021.").tolist()
    [[0, 2], [2, 3], [4, 5], [5, 6], [6, 10], [10, 11]]
    """
    return np.array([match.span() for match in WORD_OR_MARK.finditer(text)], dtype=np.int64).reshape(-1, 2)


def fixed_chunks(
    text: str, *, document: str, spans: np.ndarray, size_tokens: int, overlap_tokens: int
) -> tuple[Chunk, ...]:
    """Cut every ``size_tokens - overlap_tokens`` tokens, whatever stands there."""
    return _cut(text, document, spans, (), size=size_tokens, overlap=overlap_tokens)


def recursive_chunks(
    text: str, *, document: str, spans: np.ndarray, size_tokens: int, overlap_tokens: int
) -> tuple[Chunk, ...]:
    """Cut at paragraphs; what is too large at lines, then sentences, words and tokens."""
    levels = [_cuts(pattern, text) for pattern in (PARAGRAPH, LINE, SENTENCE, WORD)]
    return _cut(text, document, spans, levels, size=size_tokens, overlap=overlap_tokens)


def sentence_chunks(
    text: str, *, document: str, spans: np.ndarray, size_tokens: int, overlap_tokens: int
) -> tuple[Chunk, ...]:
    """Cut between sentences (a line's end ends one); a sentence above the budget at words, then tokens."""
    levels = [_cuts(SENTENCE, text), _cuts(WORD, text)]
    return _cut(text, document, spans, levels, size=size_tokens, overlap=overlap_tokens)


def structural_chunks(
    text: str, *, document: str, spans: np.ndarray, size_tokens: int, overlap_tokens: int
) -> tuple[Chunk, ...]:
    """Cut Markdown at sections, then at blocks: tables, code fences, lists and paragraphs stay whole where they fit.

    A heading stays with the block below it, and sections share a chunk, where both fit the budget.
    """
    blocks = block_starts(text)
    levels = [
        [block.start for block in blocks if 0 < block.heading <= 2],
        [block.start for block in blocks if block.heading],
        [block.start for block in blocks],
        *(_cuts(pattern, text) for pattern in (LINE, SENTENCE, WORD)),
    ]
    return _cut(text, document, spans, levels, size=size_tokens, overlap=overlap_tokens)


CHUNKERS: Final[Mapping[str, Chunker]] = MappingProxyType(
    {
        "fixed": fixed_chunks,
        "recursive": recursive_chunks,
        "sentence": sentence_chunks,
        "structural": structural_chunks,
    }
)


def _cuts(pattern: re.Pattern[str], text: str) -> list[int]:
    return [match.end() for match in pattern.finditer(text)]


def _cut(
    text: str, document: str, spans: np.ndarray, levels: Sequence[Sequence[int]], *, size: int, overlap: int
) -> tuple[Chunk, ...]:
    if not 0 <= overlap < size:
        raise UsageError(f"chunks of {size} tokens cannot overlap by {overlap}: give an overlap from 0 to {size - 1}")
    starts = spans[:, 0]
    in_tokens = [np.unique(np.searchsorted(starts, level)).tolist() for level in levels]
    # Characters that no token covers belong to the token before them, so that no text is lost.
    edges = [0, *starts[1:].tolist(), len(text)]
    last = len(edges) - 1
    chunks = []
    for group in _groups(in_tokens, 0, last, size):
        for first, end in _pack(group, size, overlap):
            chunk = _trimmed(text, document, edges[first], edges[end], end - first if len(starts) else 0)
            if chunk.end > chunk.start:
                chunks.append(chunk)
    return tuple(chunks)


def _groups(levels: Sequence[Bounds], first: int, last: int, size: int) -> Iterator[Bounds]:
    """Yield runs of neighbouring pieces that each fit the budget, cutting what does not at the next finer level."""
    cuts = levels[0] if levels else range(first, last)
    inner = cuts[bisect_right(cuts, first) : bisect_left(cuts, last)]
    group = [first]
    for start, end in pairwise([first, *inner, last]):
        if end - start <= size:
            group.append(end)
            continue
        if len(group) > 1:
            yield group
        yield from _groups(levels[1:], start, end, size)
        group = [end]
    if len(group) > 1:
        yield group


def _pack(bounds: Bounds, size: int, overlap: int) -> Iterator[tuple[int, int]]:
    """Fill each chunk with the pieces that fit; start the next as far back as the overlap and its first piece allow."""
    first = 0
    while True:
        last = bisect_right(bounds, bounds[first] + size) - 1
        yield bounds[first], bounds[last]
        if last == len(bounds) - 1:
            return
        first = bisect_left(bounds, max(bounds[last] - overlap, bounds[last + 1] - size), first + 1)


def _trimmed(text: str, document: str, start: int, end: int, tokens: int) -> Chunk:
    piece = text[start:end]
    start += len(piece) - len(piece.lstrip())
    return Chunk(document, start, start + len(piece.strip()), tokens)
