"""A call of something outside: a database, a search, an action."""

from __future__ import annotations

from typing import ClassVar, Final, Literal

from llmdrill.fields import Positive, Usd  # noqa: TC001 - pydantic reads the annotations
from llmdrill.system.kinds.base import Cost, Latency, Situation, StageBase, explain, spread

P50_S: Final = 0.200
P95_S: Final = 0.800
WHY: Final = "a tool call is assumed to take 200 ms (p95 800 ms): one request to a service that does some work"


class Tool(StageBase):
    """Settings of a tool."""

    sentence: ClassVar[str] = "`calls` calls one after the other, each at its own price."
    kind: Literal["tool"]
    calls: Positive = 1
    usd_per_call: Usd = 0.0

    def latency(self, at: Situation) -> Latency:  # noqa: ARG002 - the same everywhere
        """Return the assumed time of the calls in a row."""
        return spread(p50_s=P50_S, p95_s=P95_S, basis="assumed", times=self.calls, why=WHY)

    def cost(self, at: Situation) -> Cost:  # noqa: ARG002 - a price per call
        """Return calls times price."""
        usd = self.calls * self.usd_per_call
        filled = f"{self.calls} × {self.usd_per_call:g}"
        return Cost(usd, shown=(explain("usd_per_run", usd, "usd", "calls × usd_per_call", filled, "your figure"),))
