"""A design with all that is known of it: what a check judges, and one half of a difference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmdrill.measurement import Measurement
    from llmdrill.system.band import EstimateBand
    from llmdrill.system.design import DesignFile
    from llmdrill.system.estimate import Estimate
    from llmdrill.system.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Side:
    """A design, its scenario, its estimate and what was measured of it.

    ``measured_note`` says why there is no measurement, or none that counts; ``band`` is that of the estimate, if it was
    asked for and rests on predicted serving times.
    """

    file: DesignFile
    scenario: Scenario
    estimate: Estimate
    measurement: Measurement | None = None
    measured_note: str = ""
    band: EstimateBand | None = None
