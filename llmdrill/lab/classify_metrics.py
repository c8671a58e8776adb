"""Figures of a filter with their intervals: groups are resampled whole, since messages of a group are near copies."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from llmdrill.measurement import Figure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Bools = NDArray[np.bool_]
    Floats = NDArray[np.float64]

RESAMPLES: Final = 2000
Z_95: Final = 1.959963984540054  # of the normal distribution, for 95 % between -z and z


@dataclass(frozen=True, slots=True)
class Wilson:
    """The Wilson interval of a share."""

    low: float
    high: float


def wilson_interval(*, successes: float, n: float) -> Wilson:
    """Return the 95 % interval of a share, right also near 0 and 1 and for few cases.

    Formula:
        (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n)
    Source:
        Wilson 1927, Journal of the American Statistical Association 22:209-212.

    >>> interval = wilson_interval(successes=0, n=10)
    >>> interval.low, round(interval.high, 4)
    (0.0, 0.2775)
    """
    p, z2n = successes / n, Z_95**2 / n
    middle = p + z2n / 2
    spread = Z_95 * math.sqrt(p * (1 - p) / n + z2n / (4 * n))
    low, high = (middle - spread) / (1 + z2n), (middle + spread) / (1 + z2n)
    return Wilson(max(0.0, low) if successes else 0.0, min(1.0, high) if successes < n else 1.0)  # not 3e-17


class GroupBootstrap:
    """Weights of messages in many resamples of their groups, drawn once and used for every figure."""

    def __init__(self, groups: Sequence[str], *, seed: int, resamples: int = RESAMPLES) -> None:
        _, self._group_of = np.unique(np.array(groups), return_inverse=True)
        self.n_groups = int(self._group_of.max()) + 1
        rng = np.random.default_rng(seed)
        even = np.full(self.n_groups, 1 / self.n_groups)
        self._weights = rng.multinomial(self.n_groups, even, size=resamples)[:, self._group_of]  # (R, N)

    def share(self, name: str, part: Bools, whole: Bools, *, note: str = "") -> Figure:
        """Return the share of ``whole`` that is also in ``part``; its interval is the wider of two.

        The bootstrap knows that a group's messages are alike but calls a share of 0 or 1 certain; Wilson the reverse.
        """
        n, hits = int(whole.sum()), int((part & whole).sum())
        if n == 0:
            return Figure(name, None, n=0, note=_joined(note, "nothing to count"))
        drawn = self.quantiles(lambda w: _ratio(w @ (part & whole), w @ whole))
        wilson = wilson_interval(successes=hits, n=n)
        if drawn is None:
            return Figure(name, hits / n, wilson.low, wilson.high, n, _joined(note, "95 %, Wilson"))
        low, high = min(drawn.low, wilson.low), max(drawn.high, wilson.high)
        return Figure(name, hits / n, low, high, n, _joined(note, "95 %, the wider of Wilson and bootstrap by group"))

    def statistic(self, name: str, compute: Callable[[Floats], Floats], *, n: int, note: str = "") -> Figure:
        """Return a figure that ``compute`` makes of message weights (R, N), with its bootstrap interval."""
        value = float(compute(np.ones((1, self._weights.shape[1])))[0])
        drawn = self.quantiles(compute)
        if math.isnan(value) or drawn is None:
            return Figure(name, None, n=0, note=_joined(note, "nothing to count"))
        return Figure(name, value, drawn.low, drawn.high, n, _joined(note, "95 %, bootstrap by group"))

    def quantiles(self, compute: Callable[[Floats], Floats]) -> Wilson | None:
        """Return the interval over the resamples in which there was something to count; None if there were none."""
        drawn = compute(self._weights.astype(np.float64))
        drawn = drawn[~np.isnan(drawn)]
        if len(drawn) == 0:
            return None
        low, high = np.quantile(drawn, (0.025, 0.975))
        return Wilson(float(low), float(high))


def f1(flagged: Bools, truth: Bools) -> Callable[[Floats], Floats]:
    """Return the harmonic mean of precision and recall as a function of message weights."""
    return lambda w: _ratio(2 * (w @ (flagged & truth)), w @ flagged + w @ truth)


def average_precision(scores: Floats, truth: Bools) -> Callable[[Floats], Floats]:
    """Return the area under the precision-recall curve by steps, as a function of message weights.

    Formula:
        sum over thresholds of (recall - recall before) * precision; messages of equal score come in together.
    """
    order = np.argsort(-scores, kind="stable")
    ranked, right = scores[order], truth[order]
    last = np.append(ranked[1:] != ranked[:-1], True)  # the last message of each run of equal scores

    def compute(w: Floats) -> Floats:
        w = w[:, order]
        found, flagged = np.cumsum(w * right, axis=1)[:, last], np.cumsum(w, axis=1)[:, last]
        gained = np.diff(found, prepend=0.0, axis=1)
        return _ratio((gained * _ratio(found, flagged, empty=0.0)).sum(axis=1), found[:, -1])

    return compute


def mean_of(parts: Sequence[Callable[[Floats], Floats]]) -> Callable[[Floats], Floats]:
    """Return the plain mean over categories (macro); one that cannot be computed in a resample is left out of it."""

    def compute(w: Floats) -> Floats:
        values = np.stack([part(w) for part in parts])
        known = ~np.isnan(values)
        return _ratio(np.where(known, values, 0.0).sum(axis=0), known.sum(axis=0).astype(float))

    return compute


def share_of(part: Bools, whole: Bools) -> Callable[[Floats], Floats]:
    """Return the share of ``whole`` that is in ``part`` as a function of message weights."""
    return lambda w: _ratio(w @ (part & whole), w @ whole)


def scaled(compute: Callable[[Floats], Floats], factor: float) -> Callable[[Floats], Floats]:
    """Return a figure times a constant, such as a share of mistakes times their price."""
    return lambda w: compute(w) * factor


def at_production_mix(part: Bools, violates: Bools, *, violation_share: float) -> Callable[[Floats], Floats]:
    """Return the share of production's messages that ``part`` would hold, from the shares of either kind here.

    Formula:
        violation_share * P(part | violates) + (1 - violation_share) * P(part | benign)
    """
    of_violating, of_benign = share_of(part, violates), share_of(part, ~violates)
    return lambda w: violation_share * of_violating(w) + (1 - violation_share) * of_benign(w)


def choose_threshold(
    scores: Floats,
    truth: Bools,
    weights: Floats,
    *,
    target: Literal["precision", "recall", "price"],
    at_least: float,
    usd_per_false_positive: float,
    usd_per_false_negative: float,
) -> float:
    """Return the threshold (a message is flagged from it upwards) that meets the target on labelled scores (N,).

    Formula:
        precision: the lowest threshold whose precision is at least ``at_least``, so that recall is highest; if none is,
        the most precise one. recall: the highest threshold whose recall is at least ``at_least``. price: the threshold
        of the least weighted cost of false positives and false negatives, at production's mix through ``weights`` (N,).
        Candidates lie half way between neighbouring scores, and at 1, which flags (next to) nothing.
    """
    distinct = np.unique(scores)
    candidates = np.concatenate([distinct[:1], (distinct[1:] + distinct[:-1]) / 2, [1.0]])
    flagged = scores >= candidates[:, None]  # (candidates, N)
    if target == "price":
        cost = usd_per_false_positive * ((flagged & ~truth) @ weights) + usd_per_false_negative * (
            (~flagged & truth) @ weights
        )
        return float(candidates[int(np.argmin(cost))])
    if target == "recall":
        recall = _ratio((flagged & truth).sum(axis=1).astype(float), np.full(len(candidates), float(truth.sum())))
        return float(candidates[recall >= at_least].max(initial=candidates[0]))
    precision = _ratio((flagged & truth).sum(axis=1).astype(float), flagged.sum(axis=1).astype(float), empty=0.0)
    reached = candidates[precision >= at_least]
    return float(reached.min()) if len(reached) else float(candidates[int(np.argmax(precision))])


def _ratio(part: Floats, whole: Floats, *, empty: float = math.nan) -> Floats:
    ratio: Floats = np.full(np.shape(part), empty)
    return np.divide(part, whole, out=ratio, where=np.asarray(whole) > 0)


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)
