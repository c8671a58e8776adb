"""The regions of the marked pages."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pages.keys import keys_table, meanings
from pages.markdown import code, fence, table

from llmdrill.grading.coverage import COVERAGE_FLOOR, NEAREST_POINTS
from llmdrill.scale.answers import AnswersModel, known_keys
from llmdrill.scale.template import TEMPLATE_ID, scenario_template
from llmdrill.system import design, scenario
from llmdrill.system.estimate import StageEstimate, estimate_design
from llmdrill.system.kinds import KINDS
from llmdrill.system.kinds.base import StageBase
from llmdrill.system.kinds.model_call import ModelCall
from llmdrill.system.metrics import METRICS
from llmdrill.system.numbers import COMPUTATIONS, OF_DESIGN, compute_number

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

KNOWN_BY = {
    "estimate": "`estimate`",
    "measurement": "a run here",
    "outside": "nobody here",
}


def regions() -> dict[str, Callable[[], str]]:
    """Return name → what writes the region."""
    of_scenario = ("Scenario", "Topic", "Workload", "TokenCount", "Requirement", "Role", "Option", "Flow", "FlowRule")
    of_scenario += ("NumberQuestion", "Computation", "Evaluation", "RubricPoint", "Curveball", "Reference")
    tables = {name: partial(keys_table, getattr(scenario, name)) for name in (*of_scenario, "WorseDesign")}
    tables |= {name: partial(keys_table, getattr(design, name)) for name in ("Design", "ScenarioReference")}
    tables |= {"EvaluationPlan": partial(keys_table, design.EvaluationPlan)}
    tables |= {"AnswersModel": partial(keys_table, AnswersModel)}
    examples = {
        "example-scenario": f"{TEMPLATE_ID}.yaml",
        "example-design": f"{TEMPLATE_ID}/designs/reference.design.yaml",
        "example-answers": f"{TEMPLATE_ID}/answers/demo.answers.yaml",
        "example-questions": f"{TEMPLATE_ID}/questions/repairs.yaml",
    }
    return {
        **{f"keys.{name}": write for name, write in tables.items()},
        **{name: partial(_example, path) for name, path in examples.items()},
        "example-document": partial(_example, f"{TEMPLATE_ID}/corpus/repairs/repair-guarantee.md", "markdown"),
        "files": lambda: fence("\n".join(sorted(scenario_template(TEMPLATE_ID))), "text"),
        "common-settings": partial(keys_table, StageBase),
        "call-settings": partial(keys_table, ModelCall, without=StageBase),
        "kinds": _kinds,
        "metrics": _metrics,
        "numbers": _numbers,
        "prompt-ids": _prompt_ids,
        "floor": _floor,
        "check": partial(_said, "check", "faq-bot/designs/reference.design.yaml", "--estimated-only", "--plain"),
        "check-all": partial(_said, "check", "faq-bot/designs/reference.design.yaml", "--plain"),
    }


def _example(path: str, language: str = "yaml") -> str:
    return fence(scenario_template(TEMPLATE_ID)[path], language)


# --- the kinds ----------------------------------------------------------------------------------------------------


def _kinds() -> str:
    return "\n\n".join(_kind(name, kind) for name, kind in KINDS.items())


def _kind(name: str, kind: type[StageBase]) -> str:
    call = issubclass(kind, ModelCall)
    example = dict(meanings()["examples"][name])
    own = keys_table(kind, without=ModelCall if call else StageBase, name=name)
    also = ["All settings of a call of a language model (above)."] if call else []
    also += [
        f"`{key}` is `true` unless you say otherwise." for key in ("offline", "asynchronous") if _is_set(kind, key)
    ]
    parts = [f"### `{name}`", kind.sentence, fence(f"name: {_flow_style(example)}", "yaml"), " ".join(also), own]
    notes = [f"- {note[0].upper()}{note[1:]}." for note in _estimated(name, example).notes]
    if notes:
        parts += ["Said by the estimate of this example:", "\n".join(notes)]
    return "\n\n".join(part for part in parts if part)


def _is_set(kind: type[StageBase], key: str) -> bool:
    return bool(kind.model_fields[key].default) and not StageBase.model_fields[key].default


def _flow_style(stage: Mapping[str, Any]) -> str:
    text = design.write_design({"stages": {"name": dict(stage)}})
    return text.split("name: ", 1)[1].strip()


def _estimated(name: str, stage: Mapping[str, Any]) -> StageEstimate:
    """Return the estimate of one stage at the example scenario's load."""
    body = {
        "schema": design.SCHEMA,
        "title": name,
        "scenario": {"id": TEMPLATE_ID, "sha256": "0" * 64},
        "stages": {"it": dict(stage), "online": {"kind": "rules"}},
    }
    estimate = estimate_design(design.Design.model_validate(body), _scenario(), draws=100)
    found = estimate.stage("it")
    if found is None:
        raise SystemExit(f"no estimate of the kind {name}")
    return found


@cache
def _scenario() -> scenario.Scenario:
    with _written() as folder:
        return scenario.load_scenario(str(folder / f"{TEMPLATE_ID}.yaml")).scenario


@contextlib.contextmanager
def _written() -> Any:  # noqa: ANN401 - a context manager
    """Write the example scenario to a folder for a while."""
    with TemporaryDirectory() as name:
        for relative, text in scenario_template(TEMPLATE_ID).items():
            path = Path(name, relative)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        yield Path(name)


# --- metrics, numbers, prompts ------------------------------------------------------------------------------------


def _metrics() -> str:
    words = {"lower": "`at_most`", "higher": "`at_least`"}
    rows = [
        (code(one.name), one.dimension, words[one.better], KNOWN_BY[one.source], one.covers, one.sentence)
        for one in METRICS.values()
    ]
    return table(("metric", "written as", "limit", "known by", "judges", "what it is"), rows)


def _numbers() -> str:
    rows = [_computed(name) for name in COMPUTATIONS]
    units = dict(meanings()["of_design"])
    if set(units) != set(OF_DESIGN):
        raise SystemExit(f"docs/meanings.yaml: of_design differs in {set(units) ^ set(OF_DESIGN)}")
    rows += [(code(name), "–", units[name], "from the estimate of the person's own design") for name in OF_DESIGN]
    return table(("by", "arguments (optional ones in brackets)", "gives", "formula"), rows)


def _computed(name: str) -> tuple[str, str, str, str]:
    known, values = COMPUTATIONS[name], dict(meanings()["arguments"])
    given = {argument: values[argument] for argument in known.required}
    if name == "api_usd_per_month":
        given["model"] = values["priced_model"]
    question = {
        "id": "x",
        "prompt": "x",
        "dimension": "count",
        "hint": "x",
        "computed": {"by": name, "arguments": given},
    }
    explained = compute_number(scenario.NumberQuestion.model_validate(question), _scenario(), None).explained
    arguments = [code(argument) for argument in known.required] + [f"[`{argument}`]" for argument in known.optional]
    unit, formula = (explained.unit, explained.formula) if explained else ("", "")
    return code(name), " ".join(arguments) or "–", str(unit), formula


def _prompt_ids() -> str:
    rows = []
    for step, names in known_keys(_scenario()).items():
        shown = [name for name in names if not name.startswith("ask.")]
        rows.append((code(step), " ".join(code(name) for name in sorted(shown))))
    return table(("step", "prompt ids of the example"), rows)


def _floor() -> str:
    rows = [("points a sentence may count for", str(NEAREST_POINTS)), ("least cosine", f"{COVERAGE_FLOOR:g}")]
    return table(("", "used"), rows)


# --- what a command says --------------------------------------------------------------------------------------------


def _said(*arguments: str) -> str:
    """Return a command on the example files, and what it prints."""
    command = [sys.executable, "-m", "llmdrill", *arguments]
    with _written() as folder:
        surroundings = os.environ | {"COLUMNS": "100", "LLMDRILL_HOME": str(folder / "home")}
        ran = subprocess.run(command, cwd=folder, env=surroundings, capture_output=True, text=True, check=False)  # noqa: S603
    shown = " ".join(argument for argument in arguments if argument != "--plain")
    status = f"(exit status {ran.returncode})"
    return fence(f"$ llmdrill {shown}\n{ran.stdout.rstrip()}\n{ran.stderr}{status}", "text")
