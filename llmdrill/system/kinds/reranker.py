"""Read question and candidate together and sort anew."""

from __future__ import annotations

from typing import ClassVar, Final, Literal, Self

from pydantic import model_validator

from llmdrill.fields import Positive, Seconds, Usd  # noqa: TC001 - pydantic reads the annotations
from llmdrill.system.kinds.base import (
    SOURCES,
    Basis,
    Cost,
    Latency,
    Situation,
    StageBase,
    Timing,
    draw_lognormal,
    explain,
)
from llmdrill.system.kinds.classifier import per_thousand
from llmdrill.system.kinds.passages import passages_before

SECONDS_PER_CANDIDATE: Final = 0.004
P95_OVER_P50: Final = 2.0
CANDIDATES: Final = 20
WHY: Final = "a reranker is assumed to take 4 ms a candidate: a small cross-encoder on a shared accelerator"
SPREAD_WHY: Final = "the 95th percentile of reranking is assumed to be twice the median"


class Reranker(StageBase):
    """Settings of a reranker."""

    sentence: ClassVar[str] = "A cross-encoder scores each of the candidates with the question; the best k go on."
    kind: Literal["reranker"]
    model: str | None = None
    candidates: Positive | None = None
    k: Positive | None = None
    seconds_per_candidate: Seconds | None = None
    usd_per_thousand: Usd = 0.0

    @model_validator(mode="after")
    def _fewer(self) -> Self:
        if self.k is not None and self.candidates is not None and self.k > self.candidates:
            raise ValueError(f"k ({self.k}) is more than the candidates ({self.candidates})")
        return self

    def passages(self) -> int | None:
        """Return k; all candidates if k is not given."""
        return self.k or self.candidates

    def latency(self, at: Situation) -> Latency:
        """Return candidates times seconds each."""
        each_s = SECONDS_PER_CANDIDATE if self.seconds_per_candidate is None else self.seconds_per_candidate
        basis: Basis = "assumed" if self.seconds_per_candidate is None else "yours"
        candidates = self.candidates or passages_before(at) or CANDIDATES
        p50_s = candidates * each_s
        filled = f"{candidates} × {each_s:g} s"
        shown = explain("latency_p50_s", p50_s, "seconds", "candidates × seconds_per_candidate", filled, SOURCES[basis])
        return Latency(
            lambda rng, n: Timing(draw_lognormal(rng, n, p50=p50_s, p95=P95_OVER_P50 * p50_s)),
            basis,
            (shown,),
            notes=(WHY, SPREAD_WHY) if basis == "assumed" else (SPREAD_WHY,),
        )

    def cost(self, at: Situation) -> Cost:  # noqa: ARG002 - a price per call
        """Return the price per thousand, of one."""
        return per_thousand(self.usd_per_thousand)
