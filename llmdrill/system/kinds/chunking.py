"""Cut documents into passages. Offline: no request waits for it."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from llmdrill.fields import Positive, Whole  # noqa: TC001 - pydantic reads the annotations
from llmdrill.system.kinds.base import Latency, Situation, StageBase, spread


class Chunking(StageBase):
    """Settings of chunking."""

    sentence: ClassVar[str] = (
        "Documents are cut once; size and overlap set how many vectors there are and what k costs."
    )
    kind: Literal["chunking"]
    offline: bool = True
    method: Literal["fixed", "recursive", "sentence", "structural"]
    size_tokens: Positive
    overlap_tokens: Whole = 0
    truncate: bool = False

    @model_validator(mode="after")
    def _steps(self) -> Self:
        if self.overlap_tokens >= self.size_tokens:
            raise ValueError(f"overlap_tokens ({self.overlap_tokens}) must be below size_tokens ({self.size_tokens})")
        return self

    def latency(self, at: Situation) -> Latency:  # noqa: ARG002 - no request waits
        """Return no time: it happened before the request."""
        return spread(p50_s=0.0, p95_s=0.0, basis="formula")
