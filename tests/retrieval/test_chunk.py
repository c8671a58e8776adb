from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from chunk_cases import TEXTS
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.errors import UsageError
from llmdrill.retrieval.chunk import CHUNKERS, Chunk, counted_spans, fixed_chunks, word_spans
from llmdrill.retrieval.markdown import block_starts

NAMES = st.sampled_from(sorted(CHUNKERS))
SIZES = st.integers(1, 40)


def chunks_of(name: str, text: str, size: int, overlap: int = 0) -> tuple[Chunk, ...]:
    spans = word_spans(text)
    return CHUNKERS[name](text, document="d", spans=spans, size_tokens=size, overlap_tokens=overlap)


def texts_of(name: str, text: str, size: int, overlap: int = 0) -> list[str]:
    return [text[chunk.start : chunk.end] for chunk in chunks_of(name, text, size, overlap)]


@given(name=NAMES, text=TEXTS, size=SIZES, data=st.data())
def test_every_character_but_white_space_is_in_a_chunk(name: str, text: str, size: int, data: st.DataObject) -> None:
    covered = np.zeros(len(text), dtype=bool)
    for chunk in chunks_of(name, text, size, data.draw(st.integers(0, size - 1))):
        covered[chunk.start : chunk.end] = True
    assert all(covered[i] or character.isspace() for i, character in enumerate(text))


@given(name=NAMES, text=TEXTS, size=SIZES, data=st.data())
def test_no_chunk_is_above_the_budget_and_its_token_count_is_right(
    name: str, text: str, size: int, data: st.DataObject
) -> None:
    starts = counted_spans(word_spans(text))[:, 0]
    for chunk in chunks_of(name, text, size, data.draw(st.integers(0, size - 1))):
        assert chunk.tokens == int(((starts >= chunk.start) & (starts < chunk.end)).sum()) <= size


@given(name=NAMES, text=TEXTS, size=SIZES, data=st.data())
def test_every_chunk_holds_tokens_that_no_chunk_before_it_holds(
    name: str, text: str, size: int, data: st.DataObject
) -> None:
    chunks = chunks_of(name, text, size, data.draw(st.integers(0, size - 1)))
    assert all(a.end < b.end and a.start < b.start for a, b in pairwise(chunks))


@given(name=NAMES, text=TEXTS, size=SIZES, data=st.data())
def test_neighbours_share_at_most_the_overlap(name: str, text: str, size: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, size - 1))
    starts = counted_spans(word_spans(text))[:, 0]
    for a, b in pairwise(chunks_of(name, text, size, overlap)):
        assert ((starts >= b.start) & (starts < a.end)).sum() <= overlap


@given(text=TEXTS, size=SIZES, data=st.data())
def test_fixed_chunks_step_by_size_minus_overlap(text: str, size: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, size - 1))
    tokens = len(counted_spans(word_spans(text)))
    expected, first = [], 0
    while tokens:
        expected.append(min(size, tokens - first))
        if first + size >= tokens:
            break
        first += size - overlap
    found = fixed_chunks(text, document="d", spans=word_spans(text), size_tokens=size, overlap_tokens=overlap)
    assert [chunk.tokens for chunk in found if chunk.tokens] == expected


@pytest.mark.parametrize("name", sorted(CHUNKERS))
def test_a_text_that_fits_is_one_chunk(name: str) -> None:
    assert texts_of(name, "  # A\n\nOne. Two.\n", 50) == ["# A\n\nOne. Two."]


@pytest.mark.parametrize("name", sorted(CHUNKERS))
@pytest.mark.parametrize("text", ["", " ", "\n\n", "\r\n \t\r\n", "\u2028\u3000"])
def test_a_text_of_nothing_or_of_white_space_has_no_chunk(name: str, text: str) -> None:
    assert texts_of(name, text, 5) == []


@given(name=NAMES, text=TEXTS, size=SIZES, data=st.data())
def test_no_chunk_begins_or_ends_with_white_space_or_lies_inside_another(
    name: str, text: str, size: int, data: st.DataObject
) -> None:
    chunks = chunks_of(name, text, size, data.draw(st.integers(0, size - 1)))
    assert all(text[chunk.start : chunk.end].strip() == text[chunk.start : chunk.end] != "" for chunk in chunks)
    inside = [(a, b) for a in chunks for b in chunks if a is not b and a.start <= b.start and b.end <= a.end]
    assert not inside


@given(name=NAMES, piece=st.sampled_from(["It is so. ", "a b\n", "日本。", "| a | b |\n"]), size=st.integers(2, 30))
def test_repeated_text_is_cut_at_offsets_that_grow(name: str, piece: str, size: int) -> None:
    text = piece * 40
    chunks = chunks_of(name, text, size, size // 2)
    assert chunks[-1].end == len(text.rstrip())
    assert [chunk.start for chunk in chunks] == sorted({chunk.start for chunk in chunks})
    # Every chunk is the place it says, not the first place with its text.
    assert max(chunk.start for chunk in chunks) > len(text) / 3


@pytest.mark.parametrize("name", sorted(CHUNKERS))
@pytest.mark.parametrize("piece", ["x", "wörds. ", "漢"])
def test_one_line_of_a_megabyte_is_cut_into_chunks_within_the_budget(name: str, piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    chunks = chunks_of(name, text, 512, 64)
    assert chunks[0].start == 0
    assert chunks[-1].end == len(text.rstrip())
    assert max(chunk.tokens for chunk in chunks) <= 512
    assert max(chunk.end - chunk.start for chunk in chunks) <= 512 * 4
    assert all(a.end >= b.start - 1 for a, b in pairwise(chunks))


def test_recursive_chunks_prefer_paragraphs_to_lines_and_lines_to_sentences() -> None:
    text = "a b c\n\nd e\nf g h. I j\n\nk"
    assert texts_of("recursive", text, 4) == ["a b c", "d e", "f g h.", "I j", "k"]


def test_recursive_chunks_do_not_fill_up_with_the_first_line_of_a_paragraph_that_fits_by_itself() -> None:
    assert texts_of("recursive", "a b\n\nc d\ne f", 4) == ["a b", "c d\ne f"]


def test_sentence_chunks_overlap_by_whole_sentences() -> None:
    assert texts_of("sentence", "A b. C d. E f. G h.", 6, 3) == ["A b. C d.", "C d. E f.", "E f. G h."]


def test_structural_chunks_keep_tables_lists_and_code_whole_and_headings_with_what_follows() -> None:
    table, code, items = "| a | b |\n|---|---|\n| 1 | 2 |", "```\nx = 1\n\n# no heading\n```", "- one\n\n- two\n  more"
    text = f"# T\n\nSome words here to fill.\n\n{table}\n\n## S\n\n{code}\n\n{items}\n"
    pieces = texts_of("structural", text, 26)
    assert [sum(part in piece for piece in pieces) for part in (table, f"## S\n\n{code}", items)] == [1, 1, 1]


def test_a_table_that_fits_stays_whole_even_where_its_heading_does_not_fit_with_it() -> None:
    table = "| a | b |\n| c | d |"
    assert texts_of("structural", f"## H\n\n{table}", 11) == ["## H", table]


def test_text_that_no_token_covers_belongs_to_its_neighbour() -> None:
    text, spans = "\u200bab\u200b cd\u200b", np.array([[1, 3], [5, 7]])
    chunks = fixed_chunks(text, document="d", spans=spans, size_tokens=1, overlap_tokens=0)
    assert [text[chunk.start : chunk.end] for chunk in chunks] == ["\u200bab\u200b", "cd\u200b"]


def test_a_table_above_the_budget_is_cut_between_its_rows() -> None:
    rows = [f"| row{i} | x |" for i in range(6)]
    assert texts_of("structural", "\n".join(rows), 10) == ["\n".join(rows[i : i + 2]) for i in (0, 2, 4)]


def test_a_token_of_several_pieces_with_the_same_span_loses_no_text() -> None:
    text, spans = "a😀b", np.array([[0, 1], [1, 2], [1, 2], [1, 2], [2, 3]])
    chunks = fixed_chunks(text, document="d", spans=spans, size_tokens=1, overlap_tokens=0)
    assert "".join(text[chunk.start : chunk.end] for chunk in chunks) == text


@pytest.mark.parametrize(("size", "overlap"), [(4, 4), (4, 5), (0, 0), (4, -1)])
@pytest.mark.parametrize("name", sorted(CHUNKERS))
def test_an_overlap_that_does_not_fit_the_chunk_is_refused(name: str, size: int, overlap: int) -> None:
    with pytest.raises(UsageError, match=r"cannot overlap|hold nothing"):
        chunks_of(name, "a b c", size, overlap)


def test_a_fence_ends_only_at_as_many_marks_of_its_own_kind() -> None:
    text = "````\n```\n# no\n````\n# yes\n~~~\n```\n"
    found = [(text[block.start :][:4], block.kind, block.heading) for block in block_starts(text)]
    assert found == [("````", "fence", 0), ("# ye", "heading", 1), ("~~~\n", "fence", 0)]


def test_a_list_goes_on_over_blank_lines_and_ends_at_plain_text() -> None:
    kinds = [block.kind for block in block_starts("- a\n\n  still a\n\n- b\nlazy\n\nText\n1. c\n")]
    assert kinds == ["list", "paragraph", "list"]


def test_a_heading_goes_with_the_beginning_of_a_block_that_must_be_cut() -> None:
    text = "# Top\n\n## Fees\n\n" + "One two three four. " * 6
    assert texts_of("structural", text, 14)[0] == "# Top\n\n## Fees\n\nOne two three four."


@given(text=TEXTS, size=st.integers(8, 40))
def test_no_structural_chunk_ends_in_a_heading_that_fits_with_the_block_below(text: str, size: int) -> None:
    blocks = block_starts(text)
    starts = counted_spans(word_spans(text))[:, 0]
    ends = [*(block.start for block in blocks[1:]), len(text)]
    chunks = chunks_of("structural", text, size)
    for block, below, end in zip(blocks, blocks[1:], ends[1:], strict=False):
        if block.heading and not below.heading and ((starts >= block.start) & (starts < end)).sum() <= size:
            assert not any(block.start < chunk.end <= below.start for chunk in chunks)


def test_two_code_marks_in_one_line_open_no_fence() -> None:
    assert [block.kind for block in block_starts("```one``` line\n\n# Head\n")] == ["paragraph", "heading"]


def test_a_sentence_does_not_end_at_an_abbreviation_before_two_spaces() -> None:
    assert texts_of("sentence", "Go on. Use it, e.g.  here now.", 10) == ["Go on.", "Use it, e.g.  here now."]


def test_sentences_without_spaces_are_cut_at_their_own_marks() -> None:
    assert texts_of("sentence", "日本語。長い文。終わり！", 8) == ["日本語。長い文。", "終わり！"]


def test_a_run_that_the_tokenizer_takes_for_one_token_is_still_cut() -> None:
    run = "QmFzZTY0" * 400
    spans = np.array([[0, len(run)]])
    chunks = fixed_chunks(run, document="d", spans=spans, size_tokens=100, overlap_tokens=0)
    assert [chunk.tokens for chunk in chunks] == [100] * 8
    assert "".join(run[chunk.start : chunk.end] for chunk in chunks) == run
