"""Prompt lookup: draft the tokens that followed the same few tokens the last time they stood in the text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from llmdrill.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

LONGEST_NGRAM: Final = 3  # as in the source
SHORTEST_NGRAM: Final = 2  # the source goes down to 1: mostly wrong, and on a processor verifying is not free


class NgramLookup:
    """The text so far, with the place after the latest occurrence of each of its n-grams.

    The source searches the whole text at every step and takes the first match; an index costs a few dictionary
    entries a token and nothing to look up, and the latest match is the likelier one in code. A match near the end of
    the text goes on into the draft itself, so that a loop is drafted as a loop.

    Source:
        apoorvumang/prompt-lookup-decoding@09ae5ddf, README.md, find_candidate_pred_tokens: n-grams of 3 tokens, then
        of 2, then of 1, over prompt and output.

    >>> text = NgramLookup(longest=2)
    >>> text.extend([5, 6, 7, 8, 5, 6])
    >>> text.following(3)
    [7, 8, 5]
    """

    def __init__(self, *, longest: int = LONGEST_NGRAM, shortest: int = SHORTEST_NGRAM) -> None:
        if not 1 <= shortest <= longest:
            raise UsageError(
                f"n-grams of {shortest} to {longest} tokens: the shortest is at least 1, the longest no less"
            )
        self._sizes = range(longest, shortest - 1, -1)
        self._text: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}  # n-gram → position of the token that followed it last

    def extend(self, tokens: Iterable[int]) -> None:
        """Go on with the text; the n-grams that it ended with now have a token behind them."""
        text, after = self._text, self._after
        for token in tokens:
            end = len(text)
            for size in self._sizes:
                if size <= end:
                    after[tuple(text[end - size :])] = end
            text.append(token)

    def following(self, count: int) -> list[int]:
        """Return ``count`` tokens: what followed the longest n-gram at the end of the text; none if it is new."""
        text = self._text
        for size in self._sizes:
            start = self._after.get(tuple(text[-size:])) if size <= len(text) else None
            if start is not None:
                seen = text[start : start + count]
                return [seen[at % len(seen)] for at in range(count)]
        return []
