"""Figures of an estimate by the name of their metric, and the stage that weighs most in one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from llmdrill.system.estimate import Estimate, StageEstimate
    from llmdrill.system.metrics import Metric

TIMES: Final = frozenset({"ttft_p50_s", "ttft_p95_s", "total_p50_s", "total_p95_s", "total_p99_s"})


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
