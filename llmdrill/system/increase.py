"""How much a design's figures rise above those of a baseline: one verdict per figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from llmdrill.errors import ContentError
from llmdrill.system.check import Verdict
from llmdrill.system.figures import TIMES, heaviest_stage, keeps, texts_apart, total_figure
from llmdrill.system.metrics import METRICS

if TYPE_CHECKING:
    from llmdrill.system.check import Result
    from llmdrill.system.design import DesignFile
    from llmdrill.system.estimate import Estimate
    from llmdrill.system.metrics import Metric

COMPARED: Final = ("usd_per_request", "usd_per_month", "ttft_p95_s", "total_p95_s", "memory_bytes")


def increase_share(base: float | None, head: float | None) -> float | None:
    """Return by what share a figure rose; None if either is unknown or it rose from nothing.

    Formula:
        (head − base) / base; 0 if both are 0

    >>> increase_share(2.0, 2.5), increase_share(0.0, 0.0), increase_share(0.0, 1.0)
    (0.25, 0.0, None)
    """
    if base is None or head is None:
        return None
    if base == 0:
        return 0.0 if head == 0 else None
    return (head - base) / base


def increase_verdicts(
    file: DesignFile, found: Estimate, baseline: DesignFile, base: Estimate, *, max_increase_share: float
) -> tuple[Verdict, ...]:
    """Return a verdict on each figure that either design has: cost, slow requests, memory.

    Raises:
        ContentError: If the two answer different scenarios.
    """
    asked, other = file.design.scenario.id, baseline.design.scenario.id
    if asked != other:
        what = f"the design answers '{asked}', the baseline {baseline.path} '{other}': there is nothing to compare"
        raise ContentError([file.located.mistake(("scenario", "id"), what)])
    rows = []
    for name in COMPARED:
        before, after = total_figure(name, base), total_figure(name, found)
        if before != 0 or after != 0:
            rows.append(_verdict(file, METRICS[name], found, before, after, max_increase_share))
    return tuple(rows)


def _verdict(  # noqa: PLR0917 - a figure before and after
    file: DesignFile, metric: Metric, found: Estimate, before: float | None, after: float | None, limit: float
) -> Verdict:
    share = increase_share(before, after)
    result, why = _judged(metric, found, before, after, share, limit)
    stage = heaviest_stage(metric.name, found)
    place = file.located.mistake(("stages", stage) if stage else ("stages",), "")
    return Verdict(
        file=str(file.path),
        requirement=f"{metric.name}_increase_share",
        limit=limit,
        estimated=share,
        measured=None,
        result=result,
        why=why,
        metric=metric.name,
        dimension="share",
        better="lower",
        line=place.line,
        column=place.column,
    )


def _judged(  # noqa: PLR0917 - as above
    metric: Metric, found: Estimate, before: float | None, after: float | None, share: float | None, limit: float
) -> tuple[Result, str]:
    over = found.total.over_capacity
    if after is None and over is not None and metric.name in TIMES:
        return "fail", f"over capacity: {over}"
    if before is None or after is None:
        return "unknown", f"the estimate of {'the baseline' if before is None else 'the design'} has no such figure"
    was, now = texts_apart(metric.dimension, before, after)
    if share is None:
        return "fail", f"{now} against nothing in the baseline"
    by, _ = texts_apart("share", abs(share), limit)
    told = "stays" if share == 0 else f"{'rises' if share > 0 else 'falls'} by {by}"
    kept = keeps(share, limit, better="lower")
    return ("pass" if kept else "fail"), f"{told}: {was} in the baseline, {now} now"
