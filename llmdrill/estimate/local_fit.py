"""Solve the constants of a machine from timed passes, and say how far they are off on probes left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from llmdrill.catalog.local import EngineCosts
from llmdrill.catalog.serving_constants import Band
from llmdrill.errors import UsageError
from llmdrill.estimate.local_serving import LocalPass, pass_terms

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from llmdrill.catalog.architecture import ModelRecord
    from llmdrill.catalog.local import MachineProfile

TOLERANCE: Final = 1e-10
BAND_SHARE: Final = 0.8


@dataclass(frozen=True, slots=True)
class TimedPass:
    """A pass of a model on an engine and its median seconds; ``probe`` names the model for leaving it out."""

    probe: str
    model: ModelRecord
    one: LocalPass
    engine: str
    precision: str
    seconds: float


def fit_costs(timed: Sequence[TimedPass], profile: MachineProfile) -> EngineCosts:
    """Return the constants that explain timed passes of one engine best.

    Formula:
        Non-negative least squares over relative errors: minimise the sum of (terms · constants / seconds - 1)^2.

    Args:
        timed: All of one engine in one precision.
        profile: Only its bandwidths count.

    Returns:
        A constant a term that occurs, none negative.

    Raises:
        UsageError: If nothing was timed, or as pass_terms says.

    Error:
        A term that never varies apart from another shares its constant in no particular way.
    Source:
        Lawson and Hanson 1974, Solving Least Squares Problems, chapter 23.

    >>> from llmdrill.catalog.local import MachineProfile, Tier
    >>> from llmdrill.catalog.load import find_model
    >>> from llmdrill.measurement import Machine
    >>> flat = MachineProfile("", Machine("", 1, 1, 1, "", ()), (Tier(1.0, 1e10, 1e10),), 1e11, 1e11, (), (), 1)
    >>> one = TimedPass("a", find_model("smollm2-135m"), LocalPass("decode", 0), "native", "int8", 0.02)
    >>> costs = fit_costs([one], flat)
    >>> from llmdrill.estimate.local_serving import pass_s
    >>> round(pass_s(one.model, one.one, costs=costs, profile=flat).value, 4)
    0.02
    """
    if not timed:
        raise UsageError("nothing was timed, so there is nothing to solve")
    rows = [_terms(one, profile) for one in timed]
    names = tuple(dict.fromkeys(name for row in rows for name in row))
    weighted = zip(rows, timed, strict=True)
    matrix = np.array([[row.get(name, 0.0) / one.seconds for name in names] for row, one in weighted])
    scale = np.linalg.norm(matrix, axis=0)
    scale[scale == 0] = 1.0
    solved = _non_negative(matrix / scale, np.ones(len(timed))) / scale
    return EngineCosts(timed[0].engine, timed[0].precision, names, tuple(map(float, solved)), len(timed))


def predicted_s(one: TimedPass, costs: EngineCosts, profile: MachineProfile) -> float:
    """Return the time that constants give a pass."""
    solved = dict(zip(costs.terms, costs.constants, strict=True))
    return sum(solved.get(name, 0.0) * quantity for name, quantity in _terms(one, profile).items())


def left_out_ratios(timed: Sequence[TimedPass], profile: MachineProfile) -> tuple[tuple[LocalPass, float], ...]:
    """Return measured / predicted of every pass, predicted by constants that never saw its probe."""
    found: list[tuple[LocalPass, float]] = []
    for probe in dict.fromkeys(one.probe for one in timed):
        costs = fit_costs([one for one in timed if one.probe != probe], profile)
        left_out = [one for one in timed if one.probe == probe]
        found += [(one.one, one.seconds / predicted_s(one, costs, profile)) for one in left_out]
    return tuple(found)


def band_of(metric: Literal["tpot", "ttft"], ratios: Sequence[float]) -> Band:
    """Return the band that holds 80 % of the ratios of measured to predicted, as wide above as below.

    Formula:
        exp(±q), q: the 80 % quantile of |ln ratio|, of n + 1 values as split conformal prediction takes it.
    Source:
        Split conformal prediction: Angelopoulos and Bates 2021, arXiv:2107.07511; conformalprediction.net, demo 1.

    >>> band = band_of("tpot", [0.9, 1.0, 1.1, 1.2, 0.8])
    >>> round(band.low, 2), round(band.high, 2), band.rows
    (0.8, 1.25, 5)
    """
    off = np.sort(np.abs(np.log(ratios)))
    place = min(int(np.ceil(BAND_SHARE * (len(off) + 1))), len(off))
    reach = float(np.exp(off[place - 1]))
    median = float(np.median(np.abs(1.0 / np.array(ratios) - 1.0)))
    return Band(metric, "dense", 1.0 / reach, reach, median, len(off))


def _terms(one: TimedPass, profile: MachineProfile) -> dict[str, float]:
    return pass_terms(one.model, one.one, engine=one.engine, precision=one.precision, profile=profile)


def _non_negative(matrix: npt.NDArray[np.float64], target: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the x >= 0 of the least |matrix x - target|, by Lawson and Hanson's active set."""
    count = matrix.shape[1]
    x, free = np.zeros(count), np.zeros(count, dtype=bool)
    for _ in range(3 * count):
        gradient = matrix.T @ (target - matrix @ x)
        gradient[free] = -np.inf
        if free.all() or gradient.max() <= TOLERANCE:
            break
        free[int(gradient.argmax())] = True
        while True:
            tried = np.zeros(count)
            tried[free] = np.linalg.lstsq(matrix[:, free], target, rcond=None)[0]
            below = free & (tried <= 0)
            if not below.any():
                break
            step = float((x[below] / np.maximum(x[below] - tried[below], TOLERANCE)).min())
            x = x + step * (tried - x)
            free &= x > TOLERANCE
        x = tried
    return x
