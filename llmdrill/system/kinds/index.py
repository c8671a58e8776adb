"""Build and refresh the index. Offline: no request waits for it."""

from __future__ import annotations

from typing import ClassVar, Literal

from llmdrill.fields import Positive, Seconds  # noqa: TC001 - pydantic reads the annotations
from llmdrill.system.kinds.base import Latency, Situation, StageBase, spread


class Index(StageBase):
    """Settings of an index build."""

    sentence: ClassVar[str] = "What changed is embedded and stored again every `refresh`; until then answers are stale."
    kind: Literal["index"]
    offline: bool = True
    refresh: Seconds = 86_400.0
    documents: Positive | None = None

    def latency(self, at: Situation) -> Latency:  # noqa: ARG002 - no request waits
        """Return no time: it happened before the request."""
        return spread(p50_s=0.0, p95_s=0.0, basis="formula")
