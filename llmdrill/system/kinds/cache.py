"""A cache of answers (exact, semantic), or of a prompt's prefix."""

from __future__ import annotations

from typing import ClassVar, Final, Literal

from llmdrill.fields import Seconds, Share  # noqa: TC001 - pydantic reads the annotations
from llmdrill.system.kinds.base import Basis, Exit, Latency, Situation, StageBase, passing, spread

Kind = Literal["exact", "semantic", "prefix"]
LOOKUP_S: Final[dict[Kind, tuple[float, float]]] = {
    "exact": (0.001, 0.004),
    "semantic": (0.012, 0.040),
    "prefix": (0.0, 0.0),
}
WHY: Final[dict[Kind, str]] = {
    "exact": "an exact cache is assumed to answer in 1 ms (p95 4 ms): one key-value look-up nearby",
    "semantic": "a semantic cache is assumed to take 12 ms (p95 40 ms): embed the question, search the stored ones",
    "prefix": "a prefix cache is looked up inside the prefill: no time of its own",
}


class Cache(StageBase):
    """Settings of a cache."""

    sentence: ClassVar[str] = (
        "A hit skips everything behind it; a prefix cache only spares the language model behind it input tokens."
    )
    kind: Literal["cache"]
    type: Kind = "exact"
    hit_rate: Share
    threshold: Share | None = None
    ttl: Seconds | None = None
    wrong_hit_share: Share = 0.0

    def latency(self, at: Situation) -> Latency:  # noqa: ARG002 - the same everywhere
        """Return the assumed time of a look-up."""
        p50_s, p95_s = LOOKUP_S[self.type]
        basis: Basis = "formula" if self.type == "prefix" else "assumed"
        return spread(p50_s=p50_s, p95_s=p95_s, basis=basis, why=WHY[self.type])

    def exits(self) -> tuple[Exit, ...]:
        """Return: a hit is answered here, a miss goes on."""
        return (Exit(1.0),) if self.type == "prefix" else passing(1.0 - self.hit_rate)
