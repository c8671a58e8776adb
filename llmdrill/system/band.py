"""How far an estimate that rests on predicted serving times may be off: the design at both ends of the 80 % band."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmdrill.system.estimate import estimate_design
from llmdrill.system.kinds.serving_band import is_predicted

if TYPE_CHECKING:
    import datetime as dt

    from llmdrill.system.design import Design
    from llmdrill.system.estimate import Estimate
    from llmdrill.system.scenario import Scenario


@dataclass(frozen=True, slots=True)
class EstimateBand:
    """One design's estimates with every self-hosted model at the same end of its 80 % band.

    Attributes:
        stages: Those models' stages.
        low: All of them as fast as a tenth of the measured runs were.
        high: As slow as a tenth were.
    """

    stages: tuple[str, ...]
    low: Estimate
    high: Estimate


def band_of(
    design: Design, scenario: Scenario, *, seed: int, draws: int, date: dt.date | None = None
) -> EstimateBand | None:
    """Return a design's band; None if no stage's times are predicted by the serving model."""
    stages = tuple(name for name, stage in design.stages.items() if is_predicted(stage))
    if not stages:
        return None
    told: dict[str, Any] = {"seed": seed, "draws": draws, "date": date}
    low, high = (estimate_design(design, scenario, **told, band_end=end) for end in ("low", "high"))
    return EstimateBand(stages, low, high)
