"""The highest recall that k places allow."""

from __future__ import annotations

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from llmdrill.retrieval.chunk import Chunk
from llmdrill.retrieval.evidence import Evidence, evidence_recall_at_k
from llmdrill.retrieval.possible import possible_document_recall, possible_evidence_recall

spans = st.tuples(st.integers(0, 60), st.integers(1, 30)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@given(
    chunks=st.lists(spans, max_size=6),
    evidence=st.lists(spans, min_size=1, max_size=4, unique=True),
    k=st.integers(-1, 4),
)
def test_no_choice_of_k_chunks_recalls_more_and_one_recalls_as_much(
    chunks: list[tuple[int, int]], evidence: list[tuple[int, int]], k: int
) -> None:
    held = [Chunk("d", start, end, 1) for start, end in chunks]
    wanted = [Evidence("d", start, end, 1) for start, end in evidence]
    size = min(max(k, 0), len(held))
    best = max(evidence_recall_at_k(taken, wanted, k=size) for taken in combinations(held, size))
    assert possible_evidence_recall({"d": held}, wanted, k=k) == best


def test_with_more_documents_to_find_than_places_less_than_all_can_be_found() -> None:
    grades = {"a": 1, "b": 1, "c": 3, "d": 0, "e": -1}
    assert [possible_document_recall(grades, k=k) for k in (-1, 0, 1, 3, 9)] == [0, 0, 1 / 3, 1, 1]
    assert possible_document_recall({"d": 0}, k=5) == 0
