"""Hold a design to its scenario: one verdict per requirement, and per promise beyond them. Unknown is not pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from llmdrill.errors import ContentError, Mistake, UsageError, did_you_mean, nearest_names
from llmdrill.system.metrics import METRICS
from llmdrill.system.scenario import parse_limit
from llmdrill.units import format_quantity

if TYPE_CHECKING:
    from llmdrill.measurement import Figure, Measurement
    from llmdrill.system.design import DesignFile
    from llmdrill.system.estimate import Estimate, StageEstimate
    from llmdrill.system.metrics import Metric
    from llmdrill.system.scenario import Requirement, Scenario
    from llmdrill.units import Dimension

Result = Literal["pass", "fail", "unknown"]
TIMES: Final = frozenset({"ttft_p50_s", "ttft_p95_s", "total_p50_s", "total_p95_s", "total_p99_s"})
_MEASURED: Final = "measured_"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One row.

    Attributes:
        file: The design's file.
        requirement: Id of the scenario's requirement, or the metric of a promise beyond them.
        limit: The stricter of what the scenario asks and the design promises, in SI.
        estimated: In SI; None if this metric has no estimate or the estimate has no figure.
        measured: In SI; None if nothing valid was measured.
        why: One or more sentences.
        metric: Name of the metric.
        dimension: How to write limit, estimated and measured.
        better: Whether the limit is a ceiling (lower) or a floor (higher).
    """

    file: str
    requirement: str
    limit: float
    estimated: float | None
    measured: float | None
    result: Result
    why: str
    metric: str
    dimension: Dimension
    better: Literal["lower", "higher"]


@dataclass(frozen=True, slots=True)
class _Row:
    """One thing to be held to, before it is judged: the limits, and what is wrong with the promise."""

    name: str
    metric: Metric
    limit: float
    shortfall: str


def check_design(
    file: DesignFile,
    scenario: Scenario,
    estimate: Estimate,
    measurement: Measurement | None,
    *,
    expected_key: str | None,
    estimated_only: bool = False,
) -> tuple[Verdict, ...]:
    """Return the verdicts on a design, those of the scenario's requirements first.

    Args:
        file: The design.
        scenario: What it answers.
        estimate: Of this design at this scenario's load.
        measurement: Of a run, or None.
        expected_key: The key a run of this design would have now; None if it cannot be told.
        estimated_only: Leave out what only a run or production can tell (``left_out`` names it); a promise that falls
            short of the scenario is still told.

    Raises:
        ContentError: If the design answers another scenario, or another version of it, or promises what is unknown.
    """
    require_same_scenario(file, scenario)
    rows = _rows(file, scenario)
    if estimated_only:
        rows = [row for row in rows if row.metric.source == "estimate" or row.shortfall]
    return tuple(_verdict(str(file.path), row, estimate, measurement, expected_key) for row in rows)


def left_out(file: DesignFile, scenario: Scenario) -> tuple[str, ...]:
    """Return the names of what ``estimated_only`` does not judge."""
    return tuple(row.name for row in _rows(file, scenario) if row.metric.source != "estimate" and not row.shortfall)


def require_same_scenario(file: DesignFile, scenario: Scenario) -> None:
    """Refuse a design for another scenario, or for another version of this one.

    Raises:
        ContentError: At the id or the hash in the design, with the remedy.
    """
    reference = file.design.scenario
    if reference.id != scenario.id:
        what = f"the design answers '{reference.id}', not '{scenario.id}'"
        raise ContentError([file.located.mistake(("scenario", "id"), what)])
    if reference.sha256 != scenario.sha256:
        what = (
            f"scenario '{scenario.id}' has changed since this design was written; review what changed in its workload, "
            f"requirements and evaluation, then put the new hash here: {scenario.sha256}"
        )
        raise ContentError([file.located.mistake(("scenario", "sha256"), what)])


def _rows(file: DesignFile, scenario: Scenario) -> list[_Row]:
    promised: dict[str, tuple[str, float]] = {}  # requirement id or metric → key in the file, limit
    mistakes: list[Mistake] = []
    by_metric = {requirement.metric: requirement.id for requirement in scenario.requirements}
    for key, written in file.design.requirements.items():
        requirement = scenario.requirement(key)
        metric = requirement.definition if requirement else METRICS.get(key)
        if metric is None:
            known = [*(one.id for one in scenario.requirements), *METRICS]
            what = (
                f"'{key}' is no requirement of '{scenario.id}' and no metric{did_you_mean(nearest_names(key, known))}"
            )
            mistakes.append(file.located.mistake(("requirements", key), what))
            continue
        try:
            limit = parse_limit(metric, written)
        except UsageError as error:
            mistakes.append(file.located.mistake(("requirements", key), str(error)))
            continue
        promised.setdefault(key if requirement else by_metric.get(key, key), (key, limit))
    if mistakes:
        raise ContentError(mistakes)
    rows = [_asked(requirement, promised) for requirement in scenario.requirements]
    asked = {requirement.id for requirement in scenario.requirements}
    rows += [_Row(key, METRICS[name], limit, "") for name, (key, limit) in promised.items() if name not in asked]
    return rows


def _asked(requirement: Requirement, promised: dict[str, tuple[str, float]]) -> _Row:
    """Return the row of a requirement: a promise may be stricter; if it is laxer or absent, that is a failure."""
    metric, limit = requirement.definition, requirement.limit
    if requirement.id not in promised:
        missing = f"the design promises nothing; the scenario asks {_shown(metric, limit)}"
        return _Row(requirement.id, metric, limit, missing)
    promise = promised[requirement.id][1]
    if promise != limit and not _holds(metric, promise, limit):
        laxer = f"the design promises {_shown(metric, promise)}; the scenario asks {_shown(metric, limit)}"
        return _Row(requirement.id, metric, limit, laxer)
    return _Row(requirement.id, metric, promise, "")


def _holds(metric: Metric, value: float, limit: float) -> bool:
    return value <= limit if metric.better == "lower" else value >= limit


def _shown(metric: Metric, limit: float) -> str:
    return f"{'at most' if metric.better == 'lower' else 'at least'} {format_quantity(limit, metric.dimension)}"


def _verdict(
    file: str, row: _Row, estimate: Estimate, measurement: Measurement | None, expected_key: str | None
) -> Verdict:
    metric = row.metric
    estimated = _estimated(metric.name, estimate) if metric.source == "estimate" else None
    measured = None
    if metric.source == "estimate":
        result, why = _judge_estimate(row, estimated, estimate)
    elif metric.source == "measurement":
        measured, result, why = _judge_measurement(row, measurement, expected_key)
    else:
        result, why = "unknown", "needs people, a judge model or production traffic: nothing here can tell"
    if row.shortfall:
        result, why = "fail", f"{row.shortfall}. {_sentence(why)}".rstrip(". ")
    return Verdict(
        file, row.name, row.limit, estimated, measured, result, why, metric.name, metric.dimension, metric.better
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _estimated(name: str, estimate: Estimate) -> float | None:
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


def _judge_estimate(row: _Row, value: float | None, estimate: Estimate) -> tuple[Result, str]:
    name = row.metric.name
    over = estimate.total.over_capacity
    if name in TIMES and over is not None:
        return "fail", f"over capacity: {over}"
    if value is None:
        reasons = [note for note in estimate.notes if "unknown" in note or "is known" in note]
        return "unknown", "; ".join(reasons) or "the estimate has no figure"
    reasons = [_compared(row, value, "estimated")]
    if name in TIMES:
        assumed = [one.name for one in estimate.stages if _assumed(one)]
        reasons += [f"rests on the assumed latency of {', '.join(assumed)}"] if assumed else []
        reasons += _near(row, value, estimate)
    if name == "success_share" and over is not None:
        return "fail", f"over capacity: {over}"
    return ("pass" if _holds(row.metric, value, row.limit) else "fail"), "; ".join(reasons)


def _assumed(stage: StageEstimate) -> bool:
    return stage.basis == "assumed" and stage.on_request_path and stage.share_of_requests > 0


def _compared(row: _Row, value: float, how: str) -> str:
    value_text = format_quantity(value, row.metric.dimension)
    verb = "keeps" if _holds(row.metric, value, row.limit) else "breaks"
    return f"{how} {value_text} {verb} {_shown(row.metric, row.limit)}"


def _near(row: _Row, value: float, estimate: Estimate) -> list[str]:
    total = estimate.total
    errors = {
        "ttft_p95_s": total.ttft_p95_error_s,
        "total_p50_s": total.p50_error_s,
        "total_p95_s": total.p95_error_s,
        "total_p99_s": total.p99_error_s,
    }
    error = errors.get(row.metric.name)
    if error is None or abs(value - row.limit) > error:
        return []
    return [f"within the sampling error of ±{format_quantity(error, row.metric.dimension)}: draw more"]


def _judge_measurement(
    row: _Row, measurement: Measurement | None, expected_key: str | None
) -> tuple[float | None, Result, str]:
    if measurement is None:
        return None, "unknown", "not measured: run llmdrill measure on this design and give its file"
    if expected_key is None:
        return None, "unknown", "what a run of this design would measure cannot be told: it has nothing of that kind"
    if measurement.key != expected_key:
        return None, "unknown", "the measurement is stale: corpus, labels, model or settings differ; measure again"
    figure = _figure(row.metric.name, measurement)
    if figure is None:
        return None, "unknown", "this run did not measure it"
    if figure.value is None:
        return None, "unknown", figure.note or "this run could not measure it"
    result: Result = "pass" if _holds(row.metric, figure.value, row.limit) else "fail"
    return figure.value, result, "; ".join((_compared(row, figure.value, "measured"), *_interval(row, figure)))


def _figure(name: str, measurement: Measurement) -> Figure | None:
    """Return the figure of a metric: by its name, or in milliseconds without the word ``measured``."""
    from dataclasses import replace

    exact = measurement.figure(name)
    if exact is not None or not name.endswith("_s"):
        return exact
    in_ms = measurement.figure(name.removeprefix(_MEASURED).removesuffix("_s") + "_ms")
    if in_ms is None:
        return None
    value, low, high = (None if part is None else part / 1000.0 for part in (in_ms.value, in_ms.low, in_ms.high))
    return replace(in_ms, name=name, value=value, low=low, high=high)


def _interval(row: _Row, figure: Figure) -> list[str]:
    if figure.low is None or figure.high is None or not figure.low <= row.limit <= figure.high:
        return []
    low, high = (format_quantity(part, row.metric.dimension) for part in (figure.low, figure.high))
    return [f"the limit lies within the interval {low} to {high}: more cases would tell"]
