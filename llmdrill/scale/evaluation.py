"""E: the evaluation plan in the person's words, what it leaves out, and then the real run."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llmdrill.errors import UsageError, did_you_mean, nearest_names
from llmdrill.scale.prompts import Prompt, Show
from llmdrill.system.metrics import METRICS
from llmdrill.system.scenario import parse_limit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmdrill.scale.prompts import Answers, Item
    from llmdrill.system.scenario import Scenario

PLAN_PROMPTS: Final = {
    "judge": "Who or what judges the answers: a judge model with its calibration, or people with a rubric?",
    "sample": "How many cases, drawn how?",
    "agreement": "Which agreement do you ask for between judges (statistic and target)?",
    "gate": "Which regression gate stops a release?",
    "on_failure": "What happens when the gate fails, or quality drops in production?",
}
FEW_CASES: Final = 100
Z_95: Final = 1.96  # 97.5th percentile of the standard normal distribution
_AGAINST: Final = {"<=": {">", ">=", "≥"}, ">=": {"<", "<=", "≤"}}
_METRIC = re.compile(r"^(?P<name>[a-zA-Z][\w@]*)(?=[\s<>=≥≤]|$)\s*(?P<sign><=|>=|<|>|=|≥|≤)?\s*(?P<limit>.+)?$")
_BETWEEN = re.compile(r"[;\n]|,(?![0-9]{3}(?![0-9]))")  # a comma between metrics, not the one in $1,000,000


@dataclass(frozen=True, slots=True)
class PlannedMetric:
    """A metric of the plan and the threshold promised for it, if any."""

    name: str
    threshold: str


def items(scenario: Scenario, answers: Answers) -> Iterator[Item]:
    """Yield the plan's prompts, what is missing from it, and the run."""
    del answers
    bank = ", ".join(scenario.evaluation.metrics)
    yield Prompt(
        "metrics",
        "E",
        "plan",
        "Which metrics, with which thresholds?",
        detail=f"As in: recall_at_k >= 0.85, faithfulness >= 0.9. Known here: {bank}.",
    )
    for name, text in PLAN_PROMPTS.items():
        yield Prompt(name, "E", "prose", text)
    yield Show("show.plan_gaps", "E", "plan_gaps")
    yield Show("show.evaluation", "E", "evaluation")


def read_plan(text: str) -> str:
    """Return the metrics as typed, each known and with a readable threshold.

    Raises:
        UsageError: For an unknown metric (with the nearest names) or an unreadable threshold.
    """
    return ", ".join(f"{metric.name} {metric.threshold}".strip() for metric in parse_plan(text))


def parse_plan(text: str) -> tuple[PlannedMetric, ...]:
    """Return the planned metrics of ``recall_at_k >= 0.85, faithfulness >= 0.9``."""
    planned = [_planned(part) for part in _BETWEEN.split(text) if part.strip()]
    return tuple({metric.name: metric for metric in planned}.values())


def _planned(part: str) -> PlannedMetric:
    match = _METRIC.match(part.strip())
    if match is None:
        raise UsageError(f"'{part.strip()[:60]}' is not a metric with a threshold; write it like recall_at_k >= 0.85")
    name = re.sub(r"@\w+$", "_at_k", match["name"].lower())
    if name not in METRICS:
        raise UsageError(f"unknown metric '{match['name'][:60]}'{did_you_mean(nearest_names(name, METRICS))}")
    if match["limit"] is None:
        return PlannedMetric(name, "")
    parse_limit(METRICS[name], match["limit"].strip())
    sign = "<=" if METRICS[name].better == "lower" else ">="
    if match["sign"] in _AGAINST[sign]:
        raise UsageError(f"{name} is better {METRICS[name].better}: write {name} {sign} {match['limit'].strip()}")
    return PlannedMetric(name, f"{sign} {match['limit'].strip()}")


def plan_gaps(scenario: Scenario, answers: Answers) -> tuple[str, ...]:
    """Return what the plan leaves out, a sentence each."""
    planned = parse_plan(answers.get("metrics", ""))
    covered = {METRICS[metric.name].covers for metric in planned}
    gaps = [
        f"nothing in the plan judges {part}: {_suggest(scenario, part)}"
        for part in scenario.evaluation.must_cover
        if part not in covered
    ]
    gaps += [
        f"{metric.name} has no threshold: what value stops a release?" for metric in planned if not metric.threshold
    ]
    if "generation" in scenario.evaluation.must_cover or answers.get("judge"):
        gaps += _judging_gaps(answers)
    gaps += [
        f"nothing said about '{name.replace('_', ' ')}': {PLAN_PROMPTS[name]}"
        for name in ("gate", "on_failure")
        if _says_nothing(answers.get(name, ""))
    ]
    return tuple(gaps)


def _says_nothing(text: str) -> bool:
    return not re.sub(r"\b(no|none|nothing|nope|idea|not sure|don't know|n/?a|tbd)\b|\W", "", text.lower())


def _suggest(scenario: Scenario, part: str) -> str:
    return "consider " + ", ".join(name for name in scenario.evaluation.metrics if METRICS[name].covers == part)


def _judging_gaps(answers: Answers) -> list[str]:
    judge = answers.get("judge", "").lower()
    gaps = []
    if _says_nothing(judge):
        gaps.append("no one judges the generated answers: a judge model or people with a written rubric")
    elif re.search(r"\bjudge|llm\b", judge) and not re.search(r"calibrat|kappa|agree|human|people|labell?ed", judge):
        gaps.append("a judge model without calibration: against how many human labels, and which agreement?")
    sizes = [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", answers.get("sample", ""))]
    if sizes and max(sizes) < FEW_CASES:
        margin = 100 * Z_95 * math.sqrt(0.25 / max(sizes))
        gaps.append(f"{max(sizes)} cases leave an interval of up to ±{margin:.0f} points: too few to see a change")
    if not re.search(r"\d", answers.get("sample", "")):
        gaps.append("no sample size: how many cases make the interval narrow enough to act on?")
    if not re.search(r"\d", answers.get("agreement", "")):
        gaps.append("no agreement target: two raters who disagree measure nothing")
    return gaps
