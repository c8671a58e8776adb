"""A small classifier: embeddings and a head, or a fine-tuned encoder."""

from __future__ import annotations

from typing import ClassVar, Final, Literal, Self

from pydantic import model_validator

from llmdrill.fields import Share, Usd  # noqa: TC001 - pydantic reads the annotations
from llmdrill.system.kinds.base import Cost, Exit, Latency, Situation, StageBase, explain, passing, spread

P50_S: Final = 0.020
P95_S: Final = 0.060
WHY: Final = "a classifier is assumed to take 20 ms (p95 60 ms): one pass of a small encoder on a shared processor"


class Classifier(StageBase):
    """Settings of a classifier."""

    sentence: ClassVar[str] = "A small model scores each request; only the share `passes` goes on to what is behind."
    kind: Literal["classifier"]
    model: str | None = None
    passes: Share = 1.0
    target_precision: Share | None = None
    lower_threshold: Share | None = None
    upper_threshold: Share | None = None
    usd_per_thousand: Usd = 0.0

    @model_validator(mode="after")
    def _band(self) -> Self:
        low, high = self.lower_threshold, self.upper_threshold
        if low is not None and high is not None and low > high:
            raise ValueError(f"lower_threshold ({low:g}) is above upper_threshold ({high:g})")
        return self

    def latency(self, at: Situation) -> Latency:  # noqa: ARG002 - the same everywhere
        """Return the assumed time of one small encoder pass."""
        return spread(p50_s=P50_S, p95_s=P95_S, basis="assumed", why=WHY)

    def cost(self, at: Situation) -> Cost:  # noqa: ARG002 - a price per call
        """Return the price per thousand, of one."""
        return per_thousand(self.usd_per_thousand)

    def exits(self) -> tuple[Exit, ...]:
        """Return: on, or decided here."""
        return passing(self.passes)


def per_thousand(usd: float) -> Cost:
    """Return the cost of one run at a price per thousand."""
    shown = explain("usd_per_run", usd / 1000, "usd", "usd_per_thousand / 1000", f"{usd:g} / 1000", "your figure")
    return Cost(usd / 1000, shown=(shown,)) if usd else Cost()
