"""Hold a design to its scenario: one verdict per requirement, and per promise beyond them. Unknown is not pass."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from llmdrill.errors import ContentError, Mistake, UsageError, did_you_mean, nearest_names
from llmdrill.system.figures import TIMES, heaviest_stage, keeps, stage_figure, texts_apart, total_figure
from llmdrill.system.limits import require_stage
from llmdrill.system.metrics import METRICS
from llmdrill.system.scenario import parse_limit
from llmdrill.units import format_quantity, six_digits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdrill.measurement import Figure, Measurement
    from llmdrill.system.band import EstimateBand
    from llmdrill.system.design import DesignFile
    from llmdrill.system.estimate import Estimate, StageEstimate
    from llmdrill.system.limits import Limit
    from llmdrill.system.metrics import Metric
    from llmdrill.system.scenario import Requirement, Scenario
    from llmdrill.units import Dimension

Result = Literal["pass", "fail", "unknown"]
_MEASURED: Final = "measured_"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One row.

    Attributes:
        file: The design's file.
        requirement: Id of the scenario's requirement, the metric of a promise beyond them, or the name of a limit from
            the command line.
        limit: The stricter of what the scenario asks and the design promises, in SI.
        estimated: In SI; None if this metric has no estimate or the estimate has no figure.
        measured: In SI; None if nothing valid was measured.
        why: One or more sentences.
        metric: Name of the metric.
        dimension: How to write limit, estimated and measured.
        better: Whether the limit is a ceiling (lower) or a floor (higher).
        line: Where in the file it stands, or the stage that decides it, from 1.
        column: Likewise.
        per: What one unit of the requirement's name is in SI: 0.001 for a name that ends in ``_ms``.
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
    line: int = 1
    column: int = 1
    per: float = 1.0


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict row; its keys are the same wherever it appears, its figures in the unit of its name."""
    figures = {"limit": verdict.limit, "estimated": verdict.estimated, "measured": verdict.measured}
    digits = {key: None if value is None else six_digits(value / verdict.per) for key, value in figures.items()}
    return {
        "file": verdict.file,
        "requirement": verdict.requirement,
        **digits,
        "result": verdict.result,
        "why": verdict.why,
    }


@dataclass(frozen=True, slots=True)
class _Row:
    """One thing to be held to, before it is judged: the limits, and what is wrong with the promise.

    ``key`` is the promise's key in the file; ``stage`` is set where one stage is held to it and not the whole.
    """

    name: str
    metric: Metric
    limit: float
    shortfall: str
    key: str | None = None
    stage: str | None = None
    per: float = 1.0
    note: str = ""


def check_design(
    file: DesignFile,
    scenario: Scenario,
    estimate: Estimate,
    measurement: Measurement | None,
    *,
    expected_key: str | None,
    estimated_only: bool = False,
    limits: Sequence[Limit] = (),
    band: EstimateBand | None = None,
) -> tuple[Verdict, ...]:
    """Return the verdicts on a design, those of the scenario's requirements first, those of ``limits`` last.

    Args:
        file: The design.
        scenario: What it answers.
        estimate: Of this design at this scenario's load.
        measurement: Of a run, or None.
        expected_key: The key a run of this design would have now; None if it cannot be told.
        estimated_only: Leave out what only a run or production can tell (``left_out`` names it); a promise that falls
            short of the scenario is still told.
        limits: From the command line.
        band: Of the estimate: where a verdict would be another within it, the verdict says so.

    Raises:
        ContentError: If the design answers another scenario, or another version of it, or promises what is unknown, or
            has not the stage that a limit names.
    """
    require_same_scenario(file, scenario)
    for limit in limits:
        require_stage(limit, file)
    rows = _limited(_rows(file, scenario), limits)
    if estimated_only:
        rows = [row for row in rows if row.metric.source == "estimate" or row.shortfall]
    verdicts = (_verdict(file, row, estimate, measurement, expected_key) for row in rows)
    return tuple(_with_band(*one, band) for one in zip(rows, verdicts, strict=True)) if band else tuple(verdicts)


def left_out(file: DesignFile, scenario: Scenario) -> tuple[str, ...]:
    """Return the names of what ``estimated_only`` does not judge."""
    return tuple(row.name for row in _rows(file, scenario) if row.metric.source != "estimate" and not row.shortfall)


def require_sound(file: DesignFile, scenario: Scenario) -> None:
    """Refuse a design for another scenario, or one that promises what is unknown.

    Raises:
        ContentError: As ``check_design``.
    """
    require_same_scenario(file, scenario)
    _rows(file, scenario)


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
    rows += [_Row(key, METRICS[name], limit, "", key) for name, (key, limit) in promised.items() if name not in asked]
    return rows


def _limited(rows: list[_Row], limits: Sequence[Limit]) -> list[_Row]:
    """Add a row for each limit of the command line; one of a row's own name and metric makes that row stricter."""
    for one in limits:
        same = next((row for row in rows if row.name == one.name), None)
        if same is None or same.metric != one.metric:
            name = one.name if same is None else f"slo.{one.name}"
            rows = [*rows, _Row(name, one.metric, one.limit, "", stage=one.stage, per=one.per)]
        elif same.limit != one.limit and _holds(one.metric, one.limit, same.limit):
            stricter = replace(same, limit=one.limit, per=one.per, note="the limit is the command line's")
            rows = [stricter if row is same else row for row in rows]
    return rows


def _asked(requirement: Requirement, promised: dict[str, tuple[str, float]]) -> _Row:
    """Return the row of a requirement: a promise may be stricter; if it is laxer or absent, that is a failure."""
    metric, limit = requirement.definition, requirement.limit
    if requirement.id not in promised:
        missing = f"the design promises nothing; the scenario asks {_shown(metric, limit)}"
        return _Row(requirement.id, metric, limit, missing)
    key, promise = promised[requirement.id]
    if promise != limit and not _holds(metric, promise, limit):
        laxer = f"the design promises {_shown(metric, promise)}; the scenario asks {_shown(metric, limit)}"
        return _Row(requirement.id, metric, limit, laxer, key)
    return _Row(requirement.id, metric, promise, "", key)


def _holds(metric: Metric, value: float, limit: float, *, per: float = 1.0) -> bool:
    return keeps(value, limit, better=metric.better, per=per)


def _least_or_most(metric: Metric) -> str:
    return "at most" if metric.better == "lower" else "at least"


def _shown(metric: Metric, limit: float) -> str:
    return f"{_least_or_most(metric)} {format_quantity(limit, metric.dimension)}"


def _verdict(
    file: DesignFile, row: _Row, estimate: Estimate, measurement: Measurement | None, expected_key: str | None
) -> Verdict:
    metric = row.metric
    estimated = _estimated(row, estimate) if metric.source == "estimate" else None
    measured = None
    if row.stage is not None:
        result, why = _judge_stage(row, estimated, estimate)
    elif metric.source == "estimate":
        result, why = _judge_estimate(row, estimated, estimate)
    elif metric.source == "measurement":
        measured, result, why = _judge_measurement(row, measurement, expected_key)
    else:
        result, why = "unknown", "needs people, a judge model or production traffic: nothing here can tell"
    if row.shortfall:
        result, why = "fail", f"{row.shortfall}. {_sentence(why)}".rstrip(". ")
    place = file.located.mistake(_place(row, estimate), "")
    return Verdict(
        file=str(file.path),
        requirement=row.name,
        limit=row.limit,
        estimated=estimated,
        measured=measured,
        result=result,
        why="; ".join(filter(None, (why, row.note))),
        metric=metric.name,
        dimension=metric.dimension,
        better=metric.better,
        line=place.line,
        column=place.column,
        per=row.per,
    )


def _place(row: _Row, estimate: Estimate) -> tuple[str, ...]:
    """Return where in the design a row is decided: the promise, or the stage that weighs most in the figure."""
    if row.key is not None:
        return ("requirements", row.key)
    if row.shortfall:
        return ("requirements",)
    stage = row.stage or heaviest_stage(row.metric.name, estimate)
    return ("stages", stage) if stage else ("stages",)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _estimated(row: _Row, estimate: Estimate) -> float | None:
    if row.stage is None:
        return total_figure(row.metric.name, estimate)
    stage = estimate.stage(row.stage)
    return stage_figure(row.metric, stage) if stage else None


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
    return ("pass" if _holds(row.metric, value, row.limit, per=row.per) else "fail"), "; ".join(reasons)


def _judge_stage(row: _Row, value: float | None, estimate: Estimate) -> tuple[Result, str]:
    stage = estimate.stage(row.stage or "")
    if stage is None or (value is None and not stage.over_capacity):
        reasons = [note for note in (stage.notes if stage else ()) if "unknown" in note or "is known" in note]
        return "unknown", "; ".join(reasons) or "the estimate has no such figure of this stage"
    if value is None:
        return "fail", f"over capacity: {stage.over_capacity}"
    told = [_compared(row, value, "estimated")]
    if row.metric.dimension == "seconds" and stage.basis == "assumed":
        told.append("rests on an assumed latency")
    return ("pass" if _holds(row.metric, value, row.limit, per=row.per) else "fail"), "; ".join(told)


def _assumed(stage: StageEstimate) -> bool:
    return stage.basis == "assumed" and stage.on_request_path and stage.share_of_requests > 0


def _compared(row: _Row, value: float, how: str) -> str:
    told, limit = texts_apart(row.metric.dimension, value, row.limit)
    verb = "keeps" if _holds(row.metric, value, row.limit, per=row.per) else "breaks"
    return f"{how} {told} {verb} {_least_or_most(row.metric)} {limit}"


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
    figure = measured_figure(row.metric.name, measurement)
    if figure is None:
        return None, "unknown", "this run did not measure it"
    if figure.value is None:
        return None, "unknown", figure.note or "this run could not measure it"
    result: Result = "pass" if _holds(row.metric, figure.value, row.limit, per=row.per) else "fail"
    return figure.value, result, "; ".join((_compared(row, figure.value, "measured"), *_interval(row, figure)))


def measured_figure(name: str, measurement: Measurement) -> Figure | None:
    """Return the figure of a metric: by its name, or in milliseconds without the word ``measured``."""
    exact = measurement.figure(name)
    if exact is not None or not name.endswith("_s"):
        return exact
    in_ms = measurement.figure(name.removeprefix(_MEASURED).removesuffix("_s") + "_ms")
    if in_ms is None:
        return None
    value, low, high = (None if part is None else part / 1000.0 for part in (in_ms.value, in_ms.low, in_ms.high))
    return replace(in_ms, name=name, value=value, low=low, high=high)


def _with_band(row: _Row, verdict: Verdict, band: EstimateBand) -> Verdict:
    """Say in a verdict on an estimate that it would be another at the far end of the band."""
    if verdict.estimated is None or row.shortfall:
        return verdict
    passes = verdict.result == "pass"
    worse_is_high = row.metric.better == "lower"
    names = ", ".join(band.stages)
    far = _estimated(row, band.high if passes else band.low)
    if far is None or _holds(row.metric, far, row.limit, per=row.per) == passes:
        return verdict
    told, _ = texts_apart(row.metric.dimension, far, row.limit)
    verb = "reaches" if passes == worse_is_high else "goes down to"
    note = f"the 80 % band of {names} {verb} {told}, which {'breaks' if passes else 'keeps'} it"
    return replace(verdict, why=f"{verdict.why}; {note}")


def _interval(row: _Row, figure: Figure) -> list[str]:
    if figure.low is None or figure.high is None or not figure.low <= row.limit <= figure.high:
        return []
    low, high = (format_quantity(part, row.metric.dimension) for part in (figure.low, figure.high))
    return [f"the limit lies within the interval {low} to {high}: more cases would tell"]
