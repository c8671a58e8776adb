from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.retrieval.chunk import Chunk
from llmdrill.retrieval.evidence import (
    Evidence,
    chunk_gains,
    covers,
    document_recall_at_k,
    evidence_mrr_at_k,
    evidence_ndcg_at_k,
    evidence_recall_at_k,
)


def chunk(start: int, end: int, document: str = "a") -> Chunk:
    return Chunk(document, start, end, end - start)


SPAN = Evidence("a", 10, 20, 2)
EXTENT = st.tuples(st.integers(0, 30), st.integers(1, 20))
CHUNKS = st.lists(st.builds(lambda d, e: chunk(e[0], e[0] + e[1], d), st.sampled_from("ab"), EXTENT), max_size=8)
SPANS = st.lists(
    st.builds(lambda d, e, g: Evidence(d, e[0], e[0] + e[1], g), st.sampled_from("ab"), EXTENT, st.integers(1, 2)),
    max_size=5,
)


@pytest.mark.parametrize(
    ("piece", "found"),
    [
        (chunk(0, 15), True),
        (chunk(0, 14), False),
        (chunk(15, 99), True),
        (chunk(16, 99), False),
        (chunk(12, 17), True),
        (chunk(0, 99, "b"), False),
        (chunk(20, 30), False),
    ],
)
def test_a_span_is_found_by_a_chunk_of_its_document_that_covers_at_least_half_of_it(piece: Chunk, found: bool) -> None:
    assert covers(piece, SPAN) is found


def test_two_chunks_that_cover_a_quarter_each_do_not_find_it() -> None:
    wide = Evidence("a", 0, 20, 2)
    assert evidence_recall_at_k([chunk(0, 5), chunk(5, 10)], [wide], k=2) == 0.0


def test_recall_looks_at_the_first_k_chunks_and_counts_every_span() -> None:
    ranked, spans = [chunk(50, 60), chunk(0, 30)], [SPAN, Evidence("a", 25, 30, 1), Evidence("b", 0, 9, 2)]
    assert [evidence_recall_at_k(ranked, spans, k=k) for k in (0, 1, 2, 9)] == pytest.approx([0, 0, 2 / 3, 2 / 3])


def test_a_chunk_gains_the_highest_grade_of_the_spans_it_is_first_to_find() -> None:
    spans = [SPAN, Evidence("a", 25, 30, 1), Evidence("a", 40, 50, 1)]
    assert chunk_gains([chunk(0, 30), chunk(5, 25), chunk(20, 50)], spans) == (2, 0, 1)


def test_mrr_and_ndcg_by_hand() -> None:
    ranked = [chunk(60, 70), chunk(10, 20), chunk(11, 19)]
    spans = [SPAN, Evidence("b", 0, 5, 1)]
    assert evidence_mrr_at_k(ranked, spans, k=3) == 0.5
    assert evidence_mrr_at_k(ranked, spans, k=1) == 0.0
    assert evidence_ndcg_at_k(ranked, spans, k=3) == pytest.approx(2 * 0.6309297536 / (2 + 0.6309297536))


def test_document_recall_counts_each_document_once() -> None:
    spans = [SPAN, Evidence("a", 0, 5, 1), Evidence("b", 0, 5, 1)]
    ranked = [chunk(90, 99), chunk(80, 89), chunk(0, 5, "c"), chunk(90, 99, "b")]
    assert [document_recall_at_k(ranked, spans, k=k) for k in (0, 1, 3, 4)] == [0, 0.5, 0.5, 1]


@given(ranked=CHUNKS, spans=SPANS, k=st.integers(-1, 9))
def test_every_metric_lies_between_zero_and_one(ranked: list[Chunk], spans: list[Evidence], k: int) -> None:
    metrics = (evidence_recall_at_k, document_recall_at_k, evidence_mrr_at_k, evidence_ndcg_at_k)
    assert all(0 <= metric(ranked, spans, k=k) <= 1 + 1e-12 for metric in metrics)


@given(ranked=CHUNKS, spans=SPANS)
def test_found_evidence_means_a_found_document(ranked: list[Chunk], spans: list[Evidence]) -> None:
    if evidence_recall_at_k(ranked, spans, k=8) == 1:
        assert document_recall_at_k(ranked, spans, k=8) == 1


@given(ranked=CHUNKS, spans=SPANS)
def test_repeating_a_chunk_gains_nothing(ranked: list[Chunk], spans: list[Evidence]) -> None:
    assert sum(chunk_gains([*ranked, *ranked], spans)) == sum(chunk_gains(ranked, spans))
