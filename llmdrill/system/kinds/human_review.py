"""A person looks at it."""

from __future__ import annotations

from typing import ClassVar, Final, Literal

from llmdrill.fields import Seconds, Usd  # noqa: TC001 - pydantic reads the annotations
from llmdrill.system.kinds.base import Cost, Latency, Situation, StageBase, explain, spread

P95_OVER_P50: Final = 4.0
WHY: Final = "the 95th percentile of the wait for a person is assumed to be 4 times the median"


class HumanReview(StageBase):
    """Settings of a review by people."""

    sentence: ClassVar[str] = "A person spends seconds_per_item; the request does not wait unless you say so."
    person: ClassVar[bool] = True
    kind: Literal["human_review"]
    asynchronous: bool = True
    seconds_per_item: Seconds
    usd_per_hour: Usd | None = None
    wait_p50: Seconds = 600.0

    def latency(self, at: Situation) -> Latency:  # noqa: ARG002 - the same everywhere
        """Return the wait for a person and their time."""
        p50_s = self.wait_p50 + self.seconds_per_item
        return spread(p50_s=p50_s, p95_s=P95_OVER_P50 * p50_s, basis="assumed", why=WHY)

    def cost(self, at: Situation) -> Cost:  # noqa: ARG002 - a wage, whoever asks
        """Return the wage of the time spent."""
        if self.usd_per_hour is None:
            return Cost(None, notes=("the cost of a review is unknown: give usd_per_hour",))
        usd = self.seconds_per_item * self.usd_per_hour / 3600
        filled = f"{self.seconds_per_item:g} × {self.usd_per_hour:g} / 3600"
        shown = explain("usd_per_run", usd, "usd", "seconds_per_item × usd_per_hour / 3600", filled, "your figures")
        return Cost(usd, shown=(shown,))
