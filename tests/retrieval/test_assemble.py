from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.errors import UsageError
from llmdrill.retrieval.assemble import Context, TokenizedTexts, assemble
from llmdrill.retrieval.chunk import Chunk, word_spans
from llmdrill.retrieval.reorder import edges_first

TEXTS = {
    "rules": "Open boxes come back in 30 days. The fee is 9 EUR.\n\nFaulty devices are free. Labels are printed.",
    "codes": "E-4021 means too cold.\tE-4012 means too warm; \r\n wait. 日本語のテキスト。 👩‍👧 fin",
}
TOKENIZED = TokenizedTexts(TEXTS, word_spans)


def chunk(document: str, first: int, last: int) -> Chunk:
    """Return the chunk of these tokens."""
    spans = word_spans(TEXTS[document])
    first, last = sorted((first % len(spans), last % len(spans)))
    return Chunk(document, int(spans[first, 0]), int(spans[last, 1]), last - first + 1)


CHUNKS = st.lists(st.builds(chunk, st.sampled_from(sorted(TEXTS)), st.integers(0, 99), st.integers(0, 99)), max_size=8)
BUDGETS = st.integers(1, 90)
ORDERS = st.sampled_from([tuple, edges_first, reversed])


@given(chunks=CHUNKS, budget=BUDGETS, order=ORDERS)
def test_the_characters_of_every_citation_are_the_quoted_text(chunks: list[Chunk], budget: int, order: type) -> None:
    context = assemble(chunks, TOKENIZED, budget_tokens=budget, order=lambda found: tuple(order(found)))
    for citation in context.citations:
        quoted = context.text[citation.context_start : citation.context_end]
        assert quoted == TEXTS[citation.document][citation.start : citation.end]
        above = context.text[: citation.context_start]
        assert above.endswith(f"[{citation.number}] {citation.document}\n")
    assert [citation.number for citation in context.citations] == list(range(1, len(context.citations) + 1))
    starts = [citation.context_start for citation in context.citations]
    assert starts == sorted(starts)


@given(chunks=CHUNKS, budget=BUDGETS)
def test_the_context_stays_within_its_budget_and_tells_its_tokens(chunks: list[Chunk], budget: int) -> None:
    context = assemble(chunks, TOKENIZED, budget_tokens=budget)
    assert context.tokens == len(word_spans(context.text)) <= budget


@given(chunks=CHUNKS, budget=BUDGETS)
def test_no_text_stands_in_a_context_twice_and_touching_chunks_are_one_passage(
    chunks: list[Chunk], budget: int
) -> None:
    context = assemble(chunks, TOKENIZED, budget_tokens=budget)
    for a, b in combinations(sorted(context.citations, key=lambda one: (one.document, one.start)), 2):
        if a.document == b.document:
            assert TEXTS[a.document][a.end : b.start].strip()


@given(chunks=CHUNKS, budget=BUDGETS)
def test_every_chunk_is_kept_in_one_passage_or_was_dropped_for_the_budget(chunks: list[Chunk], budget: int) -> None:
    context = assemble(chunks, TOKENIZED, budget_tokens=budget)
    assert sorted(map(repr, (*context.kept, *context.dropped))) == sorted(map(repr, chunks))
    for one in context.kept:
        assert sum(one.document == c.document and c.start <= one.start and one.end <= c.end for c in context.citations)
    for place, one in enumerate(chunks):
        before = assemble(chunks[:place], TOKENIZED, budget_tokens=budget).kept
        with_it = assemble([*before, one], TOKENIZED, budget_tokens=10_000)
        assert (one in context.kept) == (with_it.tokens <= budget) or chunks.count(one) > 1


@given(chunks=CHUNKS)
def test_with_room_for_all_the_ranking_changes_the_order_alone(chunks: list[Chunk]) -> None:
    def places(context: Context) -> set[tuple[str, int, int]]:
        return {(one.document, one.start, one.end) for one in context.citations}

    first, second = (assemble(found, TOKENIZED, budget_tokens=10_000) for found in (chunks, chunks[::-1]))
    assert not first.dropped
    assert places(first) == places(second)
    assert first.tokens == second.tokens


def test_a_merged_passage_stands_where_its_best_chunk_does() -> None:
    ranked = [chunk("rules", 0, 3), chunk("codes", 0, 2), chunk("rules", 4, 7)]
    context = assemble(ranked, TOKENIZED, budget_tokens=100)
    assert context.text == "[1] rules\nOpen boxes come back in 30 days.\n\n[2] codes\nE-4021"


def test_a_chunk_that_does_not_fit_makes_room_for_a_smaller_one() -> None:
    big, small = chunk("rules", 0, 19), chunk("codes", 0, 2)
    context = assemble([big, small], TOKENIZED, budget_tokens=10)
    assert (context.kept, context.dropped) == ((small,), (big,))


def test_nothing_found_is_an_empty_context() -> None:
    assert assemble([], TOKENIZED, budget_tokens=1) == Context("", (), 0, (), ())


def test_a_heading_is_the_callers() -> None:
    context = assemble([chunk("codes", 0, 2)], TOKENIZED, budget_tokens=50, heading=lambda n, name: f"<{name} {n}>")
    assert context.text == "<codes 1>\nE-4021"
    assert TEXTS["codes"][:6] == context.text[context.citations[0].context_start :]


def test_a_budget_below_one_token_is_refused() -> None:
    with pytest.raises(UsageError, match="holds nothing"):
        assemble([], TOKENIZED, budget_tokens=0)


@given(items=st.lists(st.integers(), max_size=12))
def test_reordering_keeps_the_best_first_the_second_last_and_every_item(items: list[int]) -> None:
    ordered = edges_first(items)
    assert sorted(ordered) == sorted(items)
    assert [*ordered[:1], *ordered[1:][-1:]] == items[:2]


@given(n=st.integers(1, 30))
def test_the_worst_stands_in_the_middle_and_no_rank_is_nearer_an_edge_than_a_better_one(n: int) -> None:
    ordered = edges_first(range(n))
    to_edge = {rank: min(place, n - 1 - place) for place, rank in enumerate(ordered)}
    assert [to_edge[rank] for rank in range(n)] == sorted(to_edge.values())
