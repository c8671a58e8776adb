"""Wait until typing pauses before asking."""

from __future__ import annotations

from typing import ClassVar, Literal

from llmdrill.fields import Seconds, Share  # noqa: TC001 - pydantic reads the annotations
from llmdrill.system.kinds.base import Exit, Latency, Situation, StageBase, passing, spread


class Debounce(StageBase):
    """Settings of a debounce."""

    sentence: ClassVar[str] = (
        "Each trigger waits; a newer one cancels it. Only the share `passes` of the triggers becomes a request; "
        "the others are no requests: they count neither in latency nor in success."
    )
    kind: Literal["debounce"]
    wait: Seconds
    cancel: bool = True
    passes: Share = 1.0

    def latency(self, at: Situation) -> Latency:  # noqa: ARG002 - the same everywhere
        """Return the wait itself."""
        return spread(p50_s=self.wait, p95_s=self.wait, basis="yours")

    def exits(self) -> tuple[Exit, ...]:
        """Return: on, or dropped because a newer trigger came."""
        return passing(self.passes, "dropped")
