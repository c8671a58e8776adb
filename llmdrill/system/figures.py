"""Figures of an estimate by the name of their metric, and the stage that weighs most in one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Literal

from llmdrill.units import format_quantity, six_digits

if TYPE_CHECKING:
    from llmdrill.system.estimate import Estimate, StageEstimate
    from llmdrill.system.metrics import Metric
    from llmdrill.units import Dimension

TIMES: Final = frozenset({"ttft_p50_s", "ttft_p95_s", "total_p50_s", "total_p95_s", "total_p99_s"})


def keeps(value: float, limit: float, *, better: Literal["lower", "higher"], per: float = 1.0) -> bool:
    """Tell whether a figure keeps a limit; one equal to it as JSON prints it does, so that a copied figure is kept.

    Args:
        value: In SI.
        limit: Likewise.
        better: Whether the limit is a ceiling (lower) or a floor (higher).
        per: What one unit of the printed figure is in SI.

    >>> keeps(645.3600001, 645.36, better="lower"), keeps(645.361, 645.36, better="lower")
    (True, False)
    >>> keeps(0.9999999, 1.0, better="higher")  # short of all
    False
    """
    if value <= limit if better == "lower" else value >= limit:
        return True
    printed = six_digits(value / per) * per
    short_of_all = better == "higher" and limit == 1
    return math.isclose(printed, limit, rel_tol=1e-9) and not short_of_all


def texts_apart(dimension: Dimension, *values: float | None) -> tuple[str, ...]:
    """Return figures as people read them, empty where there is none; with six digits if two would read the same.

    >>> texts_apart("seconds", 5.5295, 5), texts_apart("seconds", 5.5295, 5.53)
    (('5.53 s', '5 s'), ('5529.5 ms', '5530 ms'))
    """
    known = {value for value in values if value is not None}
    texts = {value: format_quantity(value, dimension) for value in known}
    if len(set(texts.values())) < len(set(map(six_digits, known))):
        texts = {value: _long(value, dimension) for value in known}
    return tuple("" if value is None else texts[value] for value in values)


def _long(value: float, dimension: Dimension) -> str:
    before, factor, after = {
        "seconds": ("", 1000.0, " ms"),
        "share": ("", 100.0, "%"),
        "usd": ("$", 1.0, ""),
        "bytes": ("", 1.0, " B"),
    }.get(dimension, ("", 1.0, ""))
    return f"{before}{six_digits(factor * value):.12f}".rstrip("0").rstrip(".") + after


def total_figure(name: str, estimate: Estimate) -> float | None:
    """Return the estimate's figure of a metric of the whole design; None if it is unknown."""
    total = estimate.total
    known = {
        "ttft_p50_s": total.ttft_p50_s,
        "ttft_p95_s": total.ttft_p95_s,
        "total_p50_s": total.p50_s,
        "total_p95_s": total.p95_s,
        "total_p99_s": total.p99_s,
        "usd_per_request": total.usd_per_request,
        "usd_per_month": total.usd_per_month,
        "memory_bytes": total.memory_bytes,
        "success_share": total.success_share,
        "human_share": total.human_share,
    }
    return known[name]


def stage_figure(metric: Metric, stage: StageEstimate) -> float | None:
    """Return a stage's figure of a metric; None if it is unknown."""
    value: float | None = getattr(stage, metric.name)
    return value


def heaviest_stage(metric: str, estimate: Estimate) -> str | None:
    """Return the stage that weighs most in a figure of the whole: the bottleneck, the dearest, the largest."""
    if metric in TIMES:
        return estimate.bottleneck
    if not metric.startswith(("usd", "memory")):
        return None
    of_money = metric.startswith("usd")
    sizes = {one.name: one.usd_per_request if of_money else one.memory_bytes for one in estimate.stages}
    unknown = [name for name, size in sizes.items() if size is None]
    return unknown[0] if unknown else max(sizes, key=lambda name: sizes[name] or 0.0)
