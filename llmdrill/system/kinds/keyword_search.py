"""Find the chunks that share the rare words."""

from __future__ import annotations

from typing import ClassVar, Final, Literal

from llmdrill.fields import Positive, Usd  # noqa: TC001 - pydantic reads the annotations
from llmdrill.system.kinds.base import Cost, Latency, Memory, Situation, StageBase, explain, spread

P50_S: Final = 0.005
P95_S: Final = 0.020
WHY: Final = "a keyword search is assumed to take 5 ms (p95 20 ms): an inverted index in memory"
POSTING_BYTES: Final = 8.0
POSTING_WHY: Final = "a keyword index is assumed to hold 8 bytes a token: a chunk number and a count"


class KeywordSearch(StageBase):
    """Settings of a keyword search."""

    sentence: ClassVar[str] = "BM25: the k chunks that share the question's rare words; exact codes are its strength."
    kind: Literal["keyword_search"]
    k: Positive
    stem: bool = False
    codes: bool = False
    usd_per_month: Usd = 0.0

    def passages(self) -> int:
        """Return k."""
        return self.k

    def latency(self, at: Situation) -> Latency:  # noqa: ARG002 - the same everywhere
        """Return the assumed time of a look-up in an inverted index."""
        return spread(p50_s=P50_S, p95_s=P95_S, basis="assumed", why=WHY)

    def cost(self, at: Situation) -> Cost:  # noqa: ARG002 - a price a month
        """Return the price a month."""
        return Cost(0.0, self.usd_per_month)

    def memory(self, at: Situation) -> Memory:
        """Return the assumed size of the postings."""
        if at.corpus.tokens is None:
            return Memory(None, notes=("the keyword index's memory is unknown: nobody said how large the corpus is",))
        size = POSTING_BYTES * at.corpus.tokens
        filled = f"8 × {at.corpus.tokens:.6g}"
        return Memory(
            size, (explain("index_bytes", size, "bytes", "8 × corpus tokens", filled, "assumed"),), (POSTING_WHY,)
        )
