"""Prompt lookup: its index against a plain search of the text, and what it refuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.errors import UsageError
from llmdrill.lab.ngram_lookup import NgramLookup

TEXTS = st.lists(st.integers(0, 3), max_size=30)


def searched(text: list[int], *, longest: int, shortest: int) -> int | None:
    """Return what followed the latest earlier occurrence of the longest n-gram at the end of the text."""
    for size in range(longest, shortest - 1, -1):
        for start in range(len(text) - size - 1, -1, -1):
            if text[start : start + size] == text[len(text) - size :]:
                return text[start + size]
    return None


@given(TEXTS, st.integers(1, 4), st.integers(0, 3))
def test_the_index_finds_what_a_search_of_the_whole_text_finds(text: list[int], shortest: int, more: int) -> None:
    lookup = NgramLookup(longest=shortest + more, shortest=shortest)
    lookup.extend(text)
    found = searched(text, longest=shortest + more, shortest=shortest)
    assert lookup.following(1) == ([] if found is None else [found])


@given(TEXTS, st.integers(0, 30))
def test_a_text_may_come_in_pieces(text: list[int], cut: int) -> None:
    whole, pieces = NgramLookup(), NgramLookup()
    whole.extend(text)
    pieces.extend(text[:cut])
    pieces.extend(text[cut:])
    assert pieces.following(5) == whole.following(5)


def test_a_loop_is_drafted_as_a_loop() -> None:
    lookup = NgramLookup()
    lookup.extend([9, 1, 2, 1, 2, 1, 2])
    assert lookup.following(5) == [1, 2, 1, 2, 1]


@pytest.mark.parametrize(("shortest", "longest"), [(0, 3), (4, 3)])
def test_ngrams_that_cannot_be_are_refused(shortest: int, longest: int) -> None:
    with pytest.raises(UsageError, match="n-grams"):
        NgramLookup(longest=longest, shortest=shortest)
