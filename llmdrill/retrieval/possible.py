"""The highest recall that any ranking could reach: with more to find than k places, less than 1."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from llmdrill.retrieval.evidence import covers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmdrill.retrieval.chunk import Chunk
    from llmdrill.retrieval.evidence import Evidence


def possible_document_recall(grades: Mapping[str, float], *, k: int) -> float:
    """Return the recall of the best ranking of documents, cut at k; 0.0 where nothing is relevant.

    >>> possible_document_recall({"a": 1, "b": 2, "c": 1, "d": 0}, k=2) == 2 / 3
    True
    """
    relevant = sum(grade > 0 for grade in grades.values())
    return min(max(k, 0), relevant) / relevant if relevant else 0.0


def possible_evidence_recall(
    chunks_of: Mapping[str, Sequence[Chunk]], evidence: Sequence[Evidence], *, k: int
) -> float:
    """Return the recall of the best k chunks; below 1 too where chunks cut spans so that none covers half of one.

    Args:
        chunks_of: Document to its chunks.
        evidence: The spans to find.
        k: Chunks that may be taken.
    """
    found_by = {
        frozenset(at for at, span in enumerate(evidence) if covers(chunk, span))
        for document in {span.document for span in evidence}
        for chunk in chunks_of.get(document, ())
    } - {frozenset()}
    useful = [spans for spans in found_by if not any(spans < other for other in found_by)]
    most = min(max(k, 0), len(useful))
    best = max((len(frozenset().union(*taken)) for taken in combinations(useful, most)), default=0)
    return best / len(evidence) if evidence else 0.0
