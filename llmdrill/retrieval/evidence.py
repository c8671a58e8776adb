"""Score ranked chunks against labelled evidence spans.

A span is *found* when ONE retrieved chunk of its document covers at least half of its characters; two chunks that cover
a quarter each do not find it. Chunk sizes then compare fairly: a label does not depend on where a chunker cuts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmdrill.retrieval.metrics import ndcg

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdrill.retrieval.chunk import Chunk


@dataclass(frozen=True, slots=True)
class Evidence:
    """A passage that answers a question: characters ``start`` to ``end`` of a document; a higher grade answers more."""

    document: str
    start: int
    end: int
    grade: int


def covers(chunk: Chunk, evidence: Evidence) -> bool:
    """Say whether the chunk holds at least half of the span's characters.

    >>> from llmdrill.retrieval.chunk import Chunk
    >>> covers(Chunk("a", 0, 10, 3), Evidence("a", 5, 15, 2)), covers(Chunk("a", 0, 10, 3), Evidence("a", 6, 15, 2))
    (True, False)
    """
    shared = min(chunk.end, evidence.end) - max(chunk.start, evidence.start)
    return chunk.document == evidence.document and shared > 0 and 2 * shared >= evidence.end - evidence.start


def evidence_recall_at_k(ranked_chunks: Sequence[Chunk], evidence: Sequence[Evidence], *, k: int) -> float:
    """Return the share of the spans that are found by one of the first k chunks; 0.0 without spans or with k <= 0."""
    first = ranked_chunks[: max(k, 0)]
    return sum(any(covers(chunk, span) for chunk in first) for span in evidence) / len(evidence) if evidence else 0.0


def document_recall_at_k(ranked_chunks: Sequence[Chunk], evidence: Sequence[Evidence], *, k: int) -> float:
    """Return the share of the documents with evidence that the first k chunks come from, each counted once."""
    wanted = {span.document for span in evidence}
    found = wanted & {chunk.document for chunk in ranked_chunks[: max(k, 0)]}
    return len(found) / len(wanted) if wanted else 0.0


def chunk_gains(ranked_chunks: Sequence[Chunk], evidence: Sequence[Evidence]) -> tuple[int, ...]:
    """Return each chunk's gain: the highest grade among the spans it finds that no chunk before it has found.

    All spans the chunk finds are then spent, so a repeated or overlapping chunk gains nothing for them again.
    """
    gains = []
    left = list(evidence)
    for chunk in ranked_chunks:
        gains.append(max((span.grade for span in left if covers(chunk, span)), default=0))
        left = [span for span in left if not covers(chunk, span)]
    return tuple(gains)


def evidence_mrr_at_k(ranked_chunks: Sequence[Chunk], evidence: Sequence[Evidence], *, k: int) -> float:
    """Return 1 / rank of the first of k chunks that finds a span, else 0.0."""
    gains = chunk_gains(ranked_chunks[: max(k, 0)], evidence)
    return next((1 / rank for rank, gain in enumerate(gains, start=1) if gain > 0), 0.0)


def evidence_ndcg_at_k(ranked_chunks: Sequence[Chunk], evidence: Sequence[Evidence], *, k: int) -> float:
    """Return nDCG@k over the chunks' gains; the ideal is the spans' grades, highest first, cut at k.

    Error:
        Below 1 at best where one chunk holds several spans: it gains the highest grade only. Compare evidence recall
        across chunk sizes, and nDCG within one.
    """
    ideal = sorted((span.grade for span in evidence), reverse=True)[: max(k, 0)]
    gains = chunk_gains(ranked_chunks[: max(k, 0)], evidence)
    return ndcg(range(1, len(gains) + 1), gains, ideal=ideal)
