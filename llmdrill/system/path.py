"""Where the time goes: the longest path of median requests, and the stage that takes most of it near the tail."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from llmdrill.system.draw import Drawing
    from llmdrill.system.kinds.base import Array

MEDIAN_BAND: Final = (0.45, 0.55)
TAIL_BAND: Final = (0.925, 0.975)


@dataclass(frozen=True, slots=True)
class PathStep:
    """One stage of the longest path, in seconds since the request arrived."""

    name: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class _Paths:
    """The longest paths of m requests: S stages on the request's path, all arrays (S, m)."""

    names: tuple[str, ...]
    on: npt.NDArray[np.bool_]
    start_s: Array
    end_s: Array


def critical_path(drawing: Drawing, answered: npt.NDArray[np.bool_]) -> tuple[PathStep, ...]:
    """Return the commonest longest path of the requests around the median, with their mean times."""
    paths = _paths(drawing, answered, MEDIAN_BAND)
    each = [column.tobytes() for column in paths.on.T]
    commonest = Counter(each).most_common(1)[0][0]
    mine = np.array([one == commonest for one in each])
    steps = [
        PathStep(name, float(paths.start_s[row, mine].mean()), float(paths.end_s[row, mine].mean()))
        for row, name in enumerate(paths.names)
        if paths.on[row, mine].all()
    ]
    return tuple(sorted(steps, key=lambda step: (step.start_s, step.end_s)))


def bottleneck_of(drawing: Drawing, answered: npt.NDArray[np.bool_]) -> tuple[str | None, float | None]:
    """Return the stage with the largest share of the time on the longest path near the 95th percentile."""
    paths = _paths(drawing, answered, TAIL_BAND)
    taken = np.where(paths.on, paths.end_s - paths.start_s, 0.0).sum(axis=1)
    whole = float(taken.sum())
    if whole == 0.0:
        return None, None
    most = int(taken.argmax())
    return paths.names[most], float(taken[most]) / whole


def _paths(drawing: Drawing, answered: npt.NDArray[np.bool_], band: tuple[float, float]) -> _Paths:
    """Go back from the stage that ends last to the one it waited for longest, for the requests of a band of totals."""
    names = tuple(name for name in drawing.plan.online if name not in drawing.plan.detached)
    ends = np.stack([drawing.online[name].end_s for name in names])
    chosen = _band(ends.max(axis=0), answered, band)
    ends = ends[:, chosen]
    starts = np.stack([drawing.online[name].start_s for name in names])[:, chosen]
    reached = np.stack([drawing.online[name].visit.reached for name in names])[:, chosen]
    ran = np.stack([drawing.online[name].visit.ran for name in names])[:, chosen]
    on = np.zeros_like(ran)
    # Of several that end together the last in order waited for the others.
    last = len(names) - 1 - np.where(ran, ends, -1.0)[::-1].argmax(axis=0)
    on[last, np.arange(len(chosen))] = True
    for row in reversed(range(len(names))):
        before = [names.index(other) for other in drawing.plan.after[names[row]]]
        if not before:
            continue
        waited = np.where(reached[before], ends[before], -1.0)
        longest = waited.argmax(axis=0)
        for index, other in enumerate(before):
            on[other] |= on[row] & (longest == index) & (waited[index] >= 0.0)
    return _Paths(names, on & ran, starts, ends)


def _band(done: Array, answered: npt.NDArray[np.bool_], band: tuple[float, float]) -> npt.NDArray[np.intp]:
    """Return the answered requests whose totals lie between two quantiles; at least one."""
    ordered = np.sort(done[answered])
    low, high = (ordered[min(int(len(ordered) * edge), len(ordered) - 1)] for edge in band)
    return np.flatnonzero(answered & (done >= low) & (done <= high))
