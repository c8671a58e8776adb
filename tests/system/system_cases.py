"""A small scenario and designs around it, for the tests of this folder."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from llmdrill.content import parse_yaml, validate
from llmdrill.system.design import Design, DesignFile
from llmdrill.system.estimate import Estimate, StageEstimate, estimate_design
from llmdrill.system.graph import graph_mistakes
from llmdrill.system.scenario import Scenario, ScenarioFile

DRAWS = 4_000
SCENARIO: dict[str, Any] = {
    "schema": "llmdrill/scenario@1",
    "id": "case",
    "title": "A case",
    "minutes": 10,
    "brief": "Answer.",
    "topics": (
        {"id": "speed", "question": "How fast?", "answer": "Fast.", "reveals": ("total_p95", "recall")},
        {"id": "money", "question": "How much?", "answer": "Little.", "reveals": ("money", "faithful")},
    ),
    "workload": {
        "requests_per_month": "1M",
        "peak_factor": 4,
        "input_tokens": {"p50": 500, "p95": 500},
        "output_tokens": {"p50": 200, "p95": 200},
    },
    "requirements": (
        {"id": "total_p95", "metric": "total_p95_s", "at_most": "4s", "why": "People leave."},
        {"id": "money", "metric": "usd_per_month", "at_most": "$4k", "why": "Finance."},
        {"id": "recall", "metric": "recall_at_k", "at_least": "85%", "why": "Answers rest on it."},
        {"id": "faithful", "metric": "faithfulness", "at_least": "90%", "why": "No inventions."},
    ),
    "roles": (
        {
            "id": "llm",
            "question": "Which model?",
            "none": "No answer.",
            "options": (
                {
                    "id": "small",
                    "label": "Small",
                    "kind": "llm",
                    "settings": {"model": "gpt-4o-mini"},
                    "trade_off": "x",
                },
                {"id": "large", "label": "Large", "kind": "llm", "settings": {"model": "gpt-4o"}, "trade_off": "x"},
                {"id": "rules", "label": "Rules", "kind": "rules", "settings": {}, "trade_off": "x"},
            ),
        },
    ),
    "flow": {
        "rules": ({"rule": "needs", "stage": "llm", "why": "It answers."},),
        "example": "request -> llm -> respond",
    },
    "numbers": (
        {
            "id": "peak",
            "prompt": "Requests per second at the peak?",
            "dimension": "per_second",
            "computed": {"by": "peak_requests_per_s"},
            "expect": 1.522,
            "hint": "Divide.",
        },
    ),
    "evaluation": {"kind": "decoding", "must_cover": (), "metrics": ("faithfulness", "recall_at_k", "mrr_at_k")},
    "rubric": tuple(
        {"id": f"point-{step.lower()}", "step": step, "weight": 1, "text": "x", "accept": ("a", "b"), "reject": ("c",)}
        for step in "SCALE"
    ),
    "curveballs": (),
    "hints": dict.fromkeys("SCALE", ("Think.",)),
    "reference": {"design": "reference.design.yaml", "words": dict.fromkeys("SCALE", "Words.")},
}


def scenario_data(**changes: Any) -> dict[str, Any]:
    """Return the plain data of the case, some of its top keys changed."""
    return {**copy.deepcopy(SCENARIO), **changes}


def scenario(**changes: Any) -> Scenario:
    """Return the case as a scenario."""
    return Scenario.model_validate(scenario_data(**changes))


def workload(**changes: Any) -> dict[str, Any]:
    """Return the case's workload, some of it changed."""
    return {**copy.deepcopy(SCENARIO["workload"]), **changes}


def design(stages: dict[str, dict[str, Any]], **changes: Any) -> Design:
    """Return a design of these stages; a list of names becomes a tuple, as out of a file."""
    plain = {
        name: {key: tuple(v) if isinstance(v, list) else v for key, v in one.items()} for name, one in stages.items()
    }
    data = {"schema": "llmdrill/design@1", "title": "A design", "scenario": {"id": "case", "sha256": scenario().sha256}}
    return Design.model_validate({**data, "stages": plain, **changes})


def estimated(stages: dict[str, dict[str, Any]], *, of: Scenario | None = None, **options: Any) -> Estimate:
    """Return the estimate of these stages."""
    return estimate_design(design(stages), of or scenario(), **{"draws": DRAWS, **options})


def design_file(text: str, path: str = "my.design.yaml") -> DesignFile:
    """Return the design of a text, sound or not."""
    located = parse_yaml(text, file=path)
    return DesignFile(validate(located, Design), Path(path), located)


def mistakes_of(text: str) -> list[str]:
    """Return what is wrong with the graph of a design text."""
    file = design_file(text)
    return [str(mistake) for mistake in graph_mistakes(file.design.stages, file.located)]


def scenario_file(folder: Path, text: str) -> ScenarioFile:
    """Write a scenario file and return it as loaded, whatever else is wrong with it."""
    path = folder / "case.yaml"
    path.write_text(text, encoding="utf-8")
    located = parse_yaml(text, file=str(path))
    return ScenarioFile(validate(located, Scenario), path, located)


def api(**changes: Any) -> dict[str, Any]:
    """Return an API model with stated latency: TTFT 0.4 s (p95 0.8 s), TPOT 10 ms (p95 20 ms)."""
    timing = {"ttft_p50": 0.4, "ttft_p95": 0.8, "tpot_p50": 0.01, "tpot_p95": 0.02}
    return {"kind": "llm", "model": "gpt-4o", "served": "api", "prompt_tokens": 0, **timing, **changes}


def fixed(seconds: float, **changes: Any) -> dict[str, Any]:
    """Return a tool that takes exactly so long."""
    return {"kind": "tool", "latency_p50": seconds, "latency_p95": seconds, **changes}


def known(value: float | None) -> float:
    """Return a figure that must be there."""
    assert value is not None
    return value


def stage_of(found: Estimate, name: str) -> StageEstimate:
    """Return a stage that must be there."""
    stage = found.stage(name)
    assert stage is not None
    return stage
