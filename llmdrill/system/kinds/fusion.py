"""Merge several rankings into one."""

from __future__ import annotations

from typing import ClassVar, Final, Literal

from llmdrill.fields import Positive  # noqa: TC001 - pydantic reads the annotations
from llmdrill.system.kinds.base import Latency, Situation, StageBase, spread

P50_S: Final = 0.0005
P95_S: Final = 0.001
WHY: Final = "a fusion is assumed to take 0.5 ms (p95 1 ms): a few hundred additions and a sort"


class Fusion(StageBase):
    """Settings of a fusion."""

    sentence: ClassVar[str] = "Reciprocal rank fusion adds 1 / (rrf_k + rank) over the rankings; linear adds scores."
    kind: Literal["fusion"]
    method: Literal["rrf", "linear"] = "rrf"
    k: Positive | None = None
    rrf_k: Positive = 60

    def passages(self) -> int | None:
        """Return k; None hands on what came in."""
        return self.k

    def latency(self, at: Situation) -> Latency:  # noqa: ARG002 - the same everywhere
        """Return the assumed time of a merge."""
        return spread(p50_s=P50_S, p95_s=P95_S, basis="assumed", why=WHY)
