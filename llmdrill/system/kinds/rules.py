"""Hand-written rules: lists, patterns, limits."""

from __future__ import annotations

from typing import ClassVar, Final, Literal

from llmdrill.fields import Share  # noqa: TC001 - pydantic reads the annotations
from llmdrill.system.kinds.base import Exit, Latency, Situation, StageBase, passing, spread

P50_S: Final = 0.001
P95_S: Final = 0.003
WHY: Final = "rules are assumed to take 1 ms (p95 3 ms): a few patterns over a short text in the same process"


class Rules(StageBase):
    """Settings of rules."""

    sentence: ClassVar[str] = "Patterns and lists decide at once; only the share `passes` goes on to what is behind."
    kind: Literal["rules"]
    passes: Share = 1.0
    normalise: bool = False

    def latency(self, at: Situation) -> Latency:  # noqa: ARG002 - the same everywhere
        """Return the assumed time of a few patterns."""
        return spread(p50_s=P50_S, p95_s=P95_S, basis="assumed", why=WHY)

    def exits(self) -> tuple[Exit, ...]:
        """Return: on, or answered here."""
        return passing(self.passes)
