"""Cut a text into chunks of at most so many tokens.

Every chunker is the same packing over other places to cut: a level says where in a stretch of text a cut is welcome,
levels go from coarse to fine, and the finest is every token. What is too large for the budget is cut at the next level,
which is asked about that stretch alone.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Final, Protocol

import numpy as np

from llmdrill.errors import UsageError
from llmdrill.retrieval.markdown import Block, block_starts

TokenSpans = Callable[[str], np.ndarray]  # text -> character spans (T, 2)
Level = Callable[[int, int], Iterable[int]]  # characters from and to -> ascending places between them
Bounds = Sequence[int]  # ascending token positions

UNSPACED: Final = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
WORD_OR_MARK: Final = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+|[^\w\s]")
PARAGRAPH: Final = re.compile(r"\n[ \t]*\n\s*")
LINE: Final = re.compile(r"\n")
_CLOSING: Final = r"[\"'”’)\]」』*_]*+"
SENTENCE: Final = re.compile(rf"[.!?]{_CLOSING}\s++(?![a-zß-ÿ])|[。！？｡]{_CLOSING}|\n")
WORD: Final = re.compile(r"\s+")
WIDEST_TOKEN: Final = 32  # characters; MiniLM's longest piece of a word has 18
RUN_CHARACTERS_PER_TOKEN: Final = 4


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

    Where words are not set apart by spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese) each character is one.

    >>> word_spans("No, E-4021.").tolist()
    [[0, 2], [2, 3], [4, 5], [5, 6], [6, 10], [10, 11]]
    >>> len(word_spans("日本 is Japan"))
    4
    """
    return np.fromiter((match.span() for match in WORD_OR_MARK.finditer(text)), dtype=(np.int64, 2))


def require_overlap_fits(*, size_tokens: int, overlap_tokens: int) -> None:
    """Refuse chunks of no token, and an overlap that would leave no room for anything new.

    Raises:
        UsageError: If the overlap is not from 0 to one below the size.
    """
    if size_tokens < 1:
        raise UsageError(f"chunks of {size_tokens} tokens hold nothing: give at least 1")
    if not 0 <= overlap_tokens < size_tokens:
        most = f"give an overlap from 0 to {size_tokens - 1}"
        raise UsageError(f"chunks of {size_tokens} tokens cannot overlap by {overlap_tokens}: {most}")


def counted_spans(spans: np.ndarray) -> np.ndarray:
    """Return the spans (T, 2) that a budget counts: a run too long for a word counts a token for every 4 characters.

    A tokenizer takes a run that it does not know (base64, a script outside its vocabulary) for ONE unknown token, and a
    chunk of a few such tokens would be megabytes long; the model that reads the chunk counts otherwise.

    >>> counted_spans(np.array([[0, 5], [6, 46]])).tolist()[:3], len(counted_spans(np.array([[0, 5], [6, 46]])))
    ([[0, 5], [6, 10], [10, 14]], 11)
    """
    widths = spans[:, 1] - spans[:, 0]
    if not len(spans) or widths.max() <= WIDEST_TOKEN:
        return spans
    parts = np.where(widths > WIDEST_TOKEN, -(-widths // RUN_CHARACTERS_PER_TOKEN), 1)
    number = np.arange(parts.sum()) - np.repeat(np.cumsum(parts) - parts, parts)  # of the part within its run
    starts = np.repeat(spans[:, 0], parts) + number * RUN_CHARACTERS_PER_TOKEN
    last = number == np.repeat(parts, parts) - 1
    return np.stack([starts, np.where(last, np.repeat(spans[:, 1], parts), starts + RUN_CHARACTERS_PER_TOKEN)], axis=1)


def fixed_chunks(
    text: str, *, document: str, spans: np.ndarray, size_tokens: int, overlap_tokens: int
) -> tuple[Chunk, ...]:
    """Cut every ``size_tokens - overlap_tokens`` tokens, whatever stands there."""
    return cut(text, (), document=document, spans=spans, size_tokens=size_tokens, overlap_tokens=overlap_tokens)


def recursive_chunks(
    text: str, *, document: str, spans: np.ndarray, size_tokens: int, overlap_tokens: int
) -> tuple[Chunk, ...]:
    """Cut at paragraphs; what is too large at lines, then sentences, words and tokens."""
    levels = [ends_of(pattern, text) for pattern in (PARAGRAPH, LINE, SENTENCE, WORD)]
    return cut(text, levels, document=document, spans=spans, size_tokens=size_tokens, overlap_tokens=overlap_tokens)


def sentence_chunks(
    text: str, *, document: str, spans: np.ndarray, size_tokens: int, overlap_tokens: int
) -> tuple[Chunk, ...]:
    """Cut between sentences (a line's end ends one); a sentence above the budget at words, then tokens."""
    levels = [ends_of(SENTENCE, text), ends_of(WORD, text)]
    return cut(text, levels, document=document, spans=spans, size_tokens=size_tokens, overlap_tokens=overlap_tokens)


def structural_chunks(
    text: str, *, document: str, spans: np.ndarray, size_tokens: int, overlap_tokens: int
) -> tuple[Chunk, ...]:
    """Cut Markdown at sections, then at blocks: tables, code fences, lists and paragraphs stay whole where they fit.

    Sections share a chunk where they fit the budget together. A heading stays with the block below it: with all of it
    where both fit, with its beginning where it must be cut anyway; only from a block that fits alone is it set apart.
    """
    blocks = block_starts(text)
    starts = [block.start for block in blocks]
    tokens = np.diff(np.searchsorted(counted_spans(spans)[:, 0], [*starts, len(text)])).tolist()

    def line_ends(start: int, end: int) -> Iterator[int]:
        ends = ends_of(LINE, text)(start, end)
        return (place for place in ends if not blocks or not blocks[bisect_left(starts, place) - 1].heading)

    levels = [*_block_levels(blocks, tokens, size_tokens), line_ends, ends_of(SENTENCE, text), ends_of(WORD, text)]
    return cut(text, levels, document=document, spans=spans, size_tokens=size_tokens, overlap_tokens=overlap_tokens)


def _block_levels(blocks: Sequence[Block], tokens: Sequence[int], size: int) -> Iterator[Level]:
    """Yield sections, subsections, blocks, then headings above other headings, then blocks that fit without theirs."""
    held = [False, *(block.heading > 0 for block in blocks[:-1])]  # stands directly under a heading
    through = list(tokens)  # from a block's start to the end of what its heading is for
    for at in range(len(blocks) - 2, -1, -1):
        through[at] += through[at + 1] if blocks[at].heading else 0
    kinds = list(zip(blocks, held, strict=False))
    yield among([block.start for block, under in kinds if not under and 0 < block.heading <= 2])
    yield among([block.start for block, under in kinds if not under and block.heading])
    yield among([block.start for block, under in kinds if not under])
    fitting = [(*kind, total <= size) for kind, total in zip(kinds, through, strict=True)]
    yield among([block.start for block, under, fits in fitting if not under or (fits and block.heading)])
    yield among([block.start for block, under, fits in fitting if not under or fits])


CHUNKERS: Final[Mapping[str, Chunker]] = MappingProxyType(
    {
        "fixed": fixed_chunks,
        "recursive": recursive_chunks,
        "sentence": sentence_chunks,
        "structural": structural_chunks,
    }
)


def ends_of(pattern: re.Pattern[str], text: str) -> Level:
    """Return the level that welcomes a cut behind every match."""
    return lambda start, end: (match.end() for match in pattern.finditer(text, start, end))


def among(cuts: Sequence[int]) -> Level:
    """Return the level of these places (characters, ascending)."""
    return lambda start, end: cuts[bisect_right(cuts, start) : bisect_left(cuts, end)]


def cut(
    text: str, levels: Sequence[Level], *, document: str, spans: np.ndarray, size_tokens: int, overlap_tokens: int
) -> tuple[Chunk, ...]:
    """Pack the pieces between the coarsest cuts that make them fit.

    Args:
        text: Of the document.
        levels: Where a cut is welcome, coarse to fine.
        document: Its id.
        spans: Of the text's tokens, (T, 2) characters, ascending.
        size_tokens: Most tokens of a chunk, the overlap among them.
        overlap_tokens: Most of them that the chunk before may hold too.

    Returns:
        Chunks in order, without white space at their ends. Each begins and ends later than the one before; together
        they hold every character but white space.

    Raises:
        UsageError: If the overlap is not from 0 to one below the size.
    """
    require_overlap_fits(size_tokens=size_tokens, overlap_tokens=overlap_tokens)
    starts = counted_spans(spans)[:, 0]
    # Characters that no token covers belong to the token before them, so that no text is lost.
    edges = np.concatenate([[0], starts[1:], [len(text)]])
    chunks = []
    for group in _groups(levels, edges, 0, len(edges) - 1, size_tokens):
        for first, end in _pack(group, size_tokens, overlap_tokens):
            chunk = trimmed(text, document, int(edges[first]), int(edges[end]), end - first if len(starts) else 0)
            if chunk.end > chunk.start:
                chunks.append(chunk)
    return tuple(chunks)


def _groups(levels: Sequence[Level], edges: np.ndarray, first: int, last: int, size: int) -> Iterator[Bounds]:
    """Yield runs of neighbouring pieces that each fit the budget, cutting what does not at the next finer level."""
    if not levels:
        yield range(first, last + 1)
        return
    group = [first]
    for start, end in pairwise([first, *_inner(levels[0], edges, first, last), last]):
        if end - start <= size:
            group.append(end)
            continue
        if len(group) > 1:
            yield group
        yield from _groups(levels[1:], edges, start, end, size)
        group = [end]
    if len(group) > 1:
        yield group


def _inner(level: Level, edges: np.ndarray, first: int, last: int) -> list[int]:
    """Return the level's cuts between two token positions, as token positions; within a token, the next one's."""
    characters = np.fromiter(level(int(edges[first]), int(edges[last])), dtype=np.int64)
    inside: list[int] = np.unique(np.searchsorted(edges[first:last], characters) + first).tolist()
    return inside[bisect_right(inside, first) : bisect_left(inside, last)]


def _pack(bounds: Bounds, size: int, overlap: int) -> Iterator[tuple[int, int]]:
    """Fill each chunk with the pieces that fit; start the next as far back as the overlap and its first piece allow."""
    first = 0
    while True:
        last = bisect_right(bounds, bounds[first] + size) - 1
        yield bounds[first], bounds[last]
        if last == len(bounds) - 1:
            return
        first = bisect_left(bounds, max(bounds[last] - overlap, bounds[last + 1] - size), first + 1)


def trimmed(text: str, document: str, start: int, end: int, tokens: int) -> Chunk:
    """Return the piece without the white space at its ends."""
    piece = text[start:end]
    start += len(piece) - len(piece.lstrip())
    return Chunk(document, start, start + len(piece.strip()), tokens)
