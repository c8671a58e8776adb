"""What a finished walk amounts to: three scores, never blended, beside the verdict and the files written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from llmdrill.estimate.agreement import cohens_kappa
from llmdrill.scale.architecture import architecture
from llmdrill.scale.components import NONE, callout
from llmdrill.scale.evaluation import plan_gaps
from llmdrill.scale.scenario import missed_topics
from llmdrill.system.check import verdict_json
from llmdrill.units import six_digits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdrill.experiments.confront import Confrontation
    from llmdrill.grading.coverage import PointCoverage
    from llmdrill.grading.numbers import NumberGrade
    from llmdrill.scale.architecture import Architecture
    from llmdrill.scale.walk import Walk
    from llmdrill.scale.workbench import Judged, Workbench
    from llmdrill.system.check import Verdict
    from llmdrill.system.scenario import RubricPoint, Scenario, Topic

SCHEMA: Final = "llmdrill/walk-result@1"
SELF_CREDIT: Final = {"yes": 1.0, "partly": 0.5, "no": 0.0}


@dataclass(frozen=True, slots=True)
class Marked:
    """A rubric point with the tool's evidence and the person's own mark (None: left open)."""

    point: RubricPoint
    coverage: PointCoverage
    self_mark: str | None


@dataclass(frozen=True, slots=True)
class Scores:
    """The three scores; None where there was nothing to score.

    Attributes:
        numbers_within: Numbers within tolerance, of ``numbers_stated``.
        numbers_stated: Numbers that were stated and could be computed.
        points_to_check: Rubric points with evidence, of ``points``; no credit, only where to look.
        points: Rubric points.
        self_share: Weighted share of the rubric the person gave themselves, over the points they marked.
        agreement_kappa: Cohen's kappa of "evidence found" with "the person says yes or partly".
    """

    numbers_within: int
    numbers_stated: int
    points_to_check: int
    points: int
    self_share: float | None
    agreement_kappa: float | None


@dataclass(frozen=True, slots=True)
class WalkResult:
    """Everything a report of a finished walk says."""

    scenario: Scenario
    walk: Walk
    mine: Judged
    reference: Judged | None
    reference_missing: str
    architecture: Architecture
    numbers: tuple[NumberGrade, ...]
    confrontations: tuple[Confrontation, ...]
    marked: tuple[Marked, ...]
    missed: tuple[Topic, ...]
    plan_gaps: tuple[str, ...]
    planned: tuple[Verdict, ...]
    callouts: tuple[tuple[str, str], ...]
    scores: Scores

    @property
    def minutes(self) -> float:
        """Minutes the person took over the answers that stand."""
        return self.walk.seconds / 60

    @property
    def to_review(self) -> tuple[str, ...]:
        """What to look at again, a line each: failed requirements, numbers off, points not said, facts missed."""
        failed = [f"requirement {v.requirement}: {v.why}" for v in self.mine.verdicts if v.result == "fail"]
        off = [f"number {grade.id}: you were at {grade.ratio:.3g}x" for grade in self.numbers if _is_off(grade)]
        unsaid = [f"[{m.point.step}] {m.point.text}" for m in self.marked if m.self_mark in {"no", "partly"}]
        return (*failed, *off, *unsaid, *(f"ask: {topic.question}" for topic in self.missed))


def _is_off(grade: NumberGrade) -> bool:
    return grade.within is False and grade.ratio is not None


def walk_result(bench: Workbench, walk: Walk) -> WalkResult:
    """Return the result of a walk that has come to its end.

    Raises:
        ContentError: If the answers make no design.
    """
    from llmdrill.errors import ContentError

    scenario, answers = bench.scenario, walk.answers
    mine = bench.judge(bench.design(answers))
    missing = ""
    try:
        reference = bench.reference()
    except ContentError as error:
        reference, missing = None, str(error).splitlines()[0]
    numbers = bench.numbers(answers)
    marked = tuple(
        Marked(point, row, answers.get(f"self.{point.id}") or None)
        for point, row in zip(scenario.rubric, bench.coverage(answers), strict=True)
    )
    found = architecture(scenario, answers)
    if found is None:
        raise ContentError([mine.file.located.mistake((), "the walk has no data flow")])
    return WalkResult(
        scenario=scenario,
        walk=walk,
        mine=mine,
        reference=reference,
        reference_missing=missing,
        architecture=found,
        numbers=numbers,
        confrontations=bench.confrontations(mine.file),
        marked=marked,
        missed=missed_topics(scenario, answers),
        plan_gaps=plan_gaps(scenario, answers),
        planned=bench.planned(answers, mine),
        callouts=_callouts(scenario, answers),
        scores=score(numbers, marked),
    )


def _callouts(scenario: Scenario, answers: dict[str, str]) -> tuple[tuple[str, str], ...]:
    said = ((role.id, callout(role, role.option(answers.get(f"role.{role.id}", NONE)))) for role in scenario.roles)
    return tuple((name, what) for name, what in said if what)


def score(numbers: Sequence[NumberGrade], marked: Sequence[Marked]) -> Scores:
    """Return the three scores.

    Formula:
        self_share = sum(weight * credit) / sum(weight) over the points marked; yes 1, partly 0.5, no 0.
    """
    graded = [grade for grade in numbers if grade.within is not None]
    own = [one for one in marked if one.self_mark in SELF_CREDIT]
    weight = sum(one.point.weight for one in own)
    credit = sum(one.point.weight * SELF_CREDIT[one.self_mark or "no"] for one in own)
    both = [one for one in own if one.coverage.suggested != "unknown"]
    tool = [one.coverage.suggested == "check" for one in both]
    person = [one.self_mark in {"yes", "partly"} for one in both]
    return Scores(
        numbers_within=sum(bool(grade.within) for grade in graded),
        numbers_stated=len(graded),
        points_to_check=sum(one.coverage.suggested == "check" for one in marked),
        points=len(marked),
        self_share=credit / weight if weight else None,
        agreement_kappa=cohens_kappa(tool, person) if both else None,
    )


def result_json(result: WalkResult, *, design_file: str, report_file: str) -> dict[str, Any]:
    """Return the one object that ``design --json`` prints."""
    scores = result.scores
    return {
        "schema": SCHEMA,
        "scenario": result.scenario.id,
        "design_file": design_file,
        "report_file": report_file,
        "numbers": [_number_json(grade) for grade in result.numbers],
        "coverage": [_coverage_json(one) for one in result.marked],
        "verdicts": [verdict_json(verdict) for verdict in result.mine.verdicts],
        "measured": result.mine.run.measurement is not None,
        "not_measured_because": result.mine.run.reason,
        "scores": {
            "numbers_within": scores.numbers_within,
            "numbers_stated": scores.numbers_stated,
            "points_to_check": scores.points_to_check,
            "points": scores.points,
            "self_share": _digits(scores.self_share),
            "agreement_kappa": _digits(scores.agreement_kappa),
        },
        "missed": [topic.id for topic in result.missed],
        "plan_gaps": list(result.plan_gaps),
        "flow_problems": [problem.what for problem in result.architecture.problems],
        "minutes": _digits(result.minutes),
    }


def _number_json(grade: NumberGrade) -> dict[str, Any]:
    return {
        "id": grade.id,
        "stated": _digits(grade.stated),
        "computed": _digits(grade.computed),
        "ratio": _digits(grade.ratio),
        "tolerance_ratio": grade.tolerance_ratio,
        "within": grade.within,
    }


def _coverage_json(one: Marked) -> dict[str, Any]:
    return {
        "point": one.point.id,
        "step": one.point.step,
        "weight": one.point.weight,
        "evidence": list(one.coverage.evidence),
        "suggested": one.coverage.suggested,
        "warnings": list(one.coverage.warnings),
        "self": one.self_mark,
    }


def _digits(value: float | str | None) -> float | str | None:
    return six_digits(value) if isinstance(value, float | int) and not isinstance(value, bool) else value
