"""Put what was found into a prompt: under a token budget, merged where it touches, cited down to the character."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Final

import numpy as np

from llmdrill.errors import UsageError
from llmdrill.retrieval.chunk import counted_spans
from llmdrill.retrieval.split import spans_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from llmdrill.retrieval.chunk import Chunk, TokenSpans

    Heading = Callable[[int, str], str]  # number, document -> the line above a passage

GAP: Final = "\n\n"


@dataclass(frozen=True, slots=True)
class Passage:
    """Characters ``start`` to ``end`` of a document, ``tokens`` tokens long: one chunk or several that touch."""

    document: str
    start: int
    end: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Citation:
    """Where a numbered passage comes from, and where it stands in the context.

    ``context.text[context_start:context_end] == document[start:end]``
    """

    number: int
    document: str
    start: int
    end: int
    context_start: int
    context_end: int


@dataclass(frozen=True, slots=True)
class Context:
    """What a prompt quotes.

    Attributes:
        text: Passages under their headings.
        citations: One for each passage, numbered from 1 in order of appearance.
        tokens: Of passages and headings.
        kept: Chunks that went in, as they were ranked.
        dropped: Chunks that no longer fitted the budget, as they were ranked.
    """

    text: str
    citations: tuple[Citation, ...]
    tokens: int
    kept: tuple[Chunk, ...]
    dropped: tuple[Chunk, ...]


@dataclass(frozen=True, slots=True, eq=False)
class TokenizedTexts:
    """Documents' texts by id, each tokenised once, when it is first asked for."""

    texts: Mapping[str, str]
    token_spans: TokenSpans
    _starts: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    _counts: dict[str, int] = field(default_factory=dict, repr=False)

    def passage(self, document: str, start: int, end: int) -> Passage:
        """Return these characters as a passage, with the tokens that begin in it."""
        if document not in self._starts:
            self._starts[document] = counted_spans(spans_of(self.texts[document], self.token_spans))[:, 0]
        first, last = np.searchsorted(self._starts[document], [start, end]).tolist()
        return Passage(document, start, end, last - first)

    def tokens(self, heading: str) -> int:
        """Return the tokens of a heading, counted once."""
        if heading not in self._counts:
            self._counts[heading] = len(counted_spans(self.token_spans(heading)))
        return self._counts[heading]


def numbered(number: int, document: str) -> str:
    """Return the heading of a passage.

    >>> numbered(1, "returns-policy")
    '[1] returns-policy'
    """
    return f"[{number}] {document}"


def assemble(
    ranked: Sequence[Chunk],
    texts: TokenizedTexts,
    *,
    budget_tokens: int,
    heading: Heading = numbered,
    order: Callable[[Sequence[Passage]], Sequence[Passage]] = tuple,
) -> Context:
    """Put the best chunks that fit the budget into a context.

    A chunk that does not fit is left out and the next one tried. Chunks of a document that overlap, or have nothing but
    white space between them, become one passage, so no text is paid for twice; it ranks where its best chunk does.

    Args:
        ranked: Best first.
        texts: Of their documents.
        budget_tokens: Most tokens of the context, headings among them.
        heading: The line above a passage.
        order: Of the passages in the prompt, from best first: ``edges_first``, say. It changes no passage.

    Raises:
        UsageError: If the budget is below one token.

    Error:
        Tokens are counted in documents and headings; a tokenizer that joins characters over their seams may count a
        token less or more for each passage.
    """
    if budget_tokens < 1:
        raise UsageError(f"a budget of {budget_tokens} tokens holds nothing: give at least 1")
    passages: tuple[Passage, ...] = ()
    kept: list[Chunk] = []
    dropped: list[Chunk] = []
    for chunk in ranked:
        more = _with(passages, chunk, texts)
        fits = _total(more, texts, heading) <= budget_tokens
        passages = more if fits else passages
        (kept if fits else dropped).append(chunk)
    return _written(order(passages), texts, heading, tuple(kept), tuple(dropped))


def _with(passages: tuple[Passage, ...], chunk: Chunk, texts: TokenizedTexts) -> tuple[Passage, ...]:
    """Return the passages with a chunk added: merged into the best of those it touches, else as the last."""
    text = texts.texts[chunk.document]
    near = [one for one in passages if one.document == chunk.document and _touch(text, one, chunk)]
    start, end = min([chunk.start, *(one.start for one in near)]), max([chunk.end, *(one.end for one in near)])
    merged = texts.passage(chunk.document, start, end)
    if not near:
        return (*passages, merged)
    return tuple(merged if one is near[0] else one for one in passages if one is near[0] or one not in near)


def _touch(text: str, one: Passage, other: Chunk) -> bool:
    return not text[min(one.end, other.end) : max(one.start, other.start)].strip()


def _total(passages: Sequence[Passage], texts: TokenizedTexts, heading: Heading) -> int:
    headings = (heading(number, one.document) for number, one in enumerate(passages, start=1))
    return sum(one.tokens for one in passages) + sum(map(texts.tokens, headings))


def _written(
    passages: Sequence[Passage],
    texts: TokenizedTexts,
    heading: Heading,
    kept: tuple[Chunk, ...],
    dropped: tuple[Chunk, ...],
) -> Context:
    heads = [f"{heading(number, one.document)}\n" for number, one in enumerate(passages, start=1)]
    quotes = [texts.texts[one.document][one.start : one.end] for one in passages]
    blocks = [f"{head}{quote}{GAP}" for head, quote in zip(heads, quotes, strict=True)]
    places = [0, *accumulate(map(len, blocks))]
    citations = tuple(
        Citation(number, one.document, one.start, one.end, at + len(head), at + len(head) + len(quote))
        for number, (one, at, head, quote) in enumerate(zip(passages, places, heads, quotes, strict=False), start=1)
    )
    tokens = _total(passages, texts, heading)
    return Context("".join(blocks).removesuffix(GAP), citations, tokens, kept, dropped)
