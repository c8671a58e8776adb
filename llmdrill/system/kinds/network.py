"""The way between the person and the system, or between two regions."""

from __future__ import annotations

from typing import ClassVar, Final, Literal

from llmdrill.system.kinds.base import Latency, Situation, StageBase, spread

P50_S: Final = 0.040
P95_S: Final = 0.120
WHY: Final = "a network leg is assumed to take 40 ms (p95 120 ms): a round trip within a continent"


class Network(StageBase):
    """Settings of a network leg: only the common ones."""

    sentence: ClassVar[str] = "A round trip; give latency_p50 and latency_p95 where you measured yours."
    kind: Literal["network"]

    def latency(self, at: Situation) -> Latency:  # noqa: ARG002 - the same everywhere
        """Return the assumed time of a round trip."""
        return spread(p50_s=P50_S, p95_s=P95_S, basis="assumed", why=WHY)
