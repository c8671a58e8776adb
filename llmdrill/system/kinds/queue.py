"""A queue in front of something slow."""

from __future__ import annotations

from typing import ClassVar, Final, Literal, Self

from pydantic import model_validator

from llmdrill.fields import Seconds  # noqa: TC001 - pydantic reads the annotations
from llmdrill.system.kinds.base import Latency, Situation, StageBase, ordered, spread

P50_S: Final = 0.050
P95_S: Final = 0.500
WHY: Final = "a queue is assumed to hold a request for 50 ms (p95 500 ms): nobody stated its wait"


class Queue(StageBase):
    """Settings of a queue."""

    sentence: ClassVar[str] = "The request waits its turn: a lognormal by your wait_p50 and wait_p95."
    kind: Literal["queue"]
    wait_p50: Seconds | None = None
    wait_p95: Seconds | None = None

    @model_validator(mode="after")
    def _waits(self) -> Self:
        if (self.wait_p50 is None) != (self.wait_p95 is None):
            raise ValueError("wait_p50 and wait_p95 go together: give both or neither")
        ordered("wait", self.wait_p50, self.wait_p95)
        return self

    def latency(self, at: Situation) -> Latency:  # noqa: ARG002 - the same everywhere
        """Return the stated wait, or the assumed one."""
        if self.wait_p50 is None or self.wait_p95 is None:
            return spread(p50_s=P50_S, p95_s=P95_S, basis="assumed", why=WHY)
        return spread(p50_s=self.wait_p50, p95_s=self.wait_p95, basis="yours")
