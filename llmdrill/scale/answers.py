"""The answers file: a walk replayed without a terminal, keyed by step and prompt id, never by order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import Field

from llmdrill.content import load_yaml, validate
from llmdrill.errors import ContentError, Mistake, did_you_mean, nearest_names
from llmdrill.fields import FileModel, Identifier
from llmdrill.scale import ending, evaluation, latency_cost
from llmdrill.scale.prompts import Prompt

if TYPE_CHECKING:
    from pathlib import Path

    from llmdrill.located import Located
    from llmdrill.system.scenario import Scenario

SCHEMA: Final = "llmdrill/answers@1"
Scalar = str | int | float | bool | None
StepKey = Literal["S", "C", "A", "L", "E", "end"]


class AnswersModel(FileModel):
    """An answers file: step letter → prompt id → what is typed. ``ask`` in S is a list, in the order asked."""

    schema_: Annotated[Literal["llmdrill/answers@1"], Field(alias="schema")]
    editor_schema: Annotated[str | None, Field(alias="$schema")] = None
    scenario: Identifier
    steps: dict[StepKey, dict[str, Scalar | tuple[Scalar, ...]]]


@dataclass(frozen=True, slots=True)
class AnswersFile:
    """What an answers file says, flattened: prompt id → text."""

    scenario: str
    texts: dict[str, str]

    def text(self, prompt: Prompt) -> str:
        """Return what the file says to a prompt; nothing (which takes the default, or skips) if it says nothing."""
        return self.texts.get(prompt.id, "")


def load_answers(path: Path, scenario: Scenario) -> AnswersFile:
    """Read an answers file written for ``scenario``.

    Raises:
        ContentError: For a malformed file, another scenario's answers, or keys that no prompt of this walk has.
    """
    located = load_yaml(path)
    model = validate(located, AnswersModel)
    if model.scenario != scenario.id:
        what = f"these answers are for the scenario '{model.scenario}', not '{scenario.id}'"
        raise ContentError([located.mistake(("scenario",), what)])
    mistakes = _unknown_keys(located, model, scenario)
    if mistakes:
        raise ContentError(mistakes)
    return AnswersFile(model.scenario, _flatten(model))


def _flatten(model: AnswersModel) -> dict[str, str]:
    texts: dict[str, str] = {}
    for step in model.steps.values():
        for name, value in step.items():
            if name == "ask":
                value = value if isinstance(value, tuple) else (value,)  # noqa: PLW2901 - one question is a list of one
                texts.update({f"{name}.{number}": as_typed(item) for number, item in enumerate(value, start=1)})
            else:
                texts[name] = as_typed(value)
    return texts


def as_typed(value: Scalar | tuple[Scalar, ...]) -> str:
    """Return a YAML scalar as a person would type it: ``true`` is yes, 1000000.0 is 1000000."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.12g}"
    return str(value)


def _unknown_keys(located: Located, model: AnswersModel, scenario: Scenario) -> list[Mistake]:
    mistakes = []
    known = known_keys(scenario)
    for step, keys in model.steps.items():
        for name, value in keys.items():
            if name not in known[step]:
                elsewhere = [letter for letter, names in known.items() if name in names]
                hint = (
                    f" (it belongs to step {elsewhere[0]})"
                    if elsewhere
                    else did_you_mean(nearest_names(name, known[step]))
                )
                mistakes.append(located.mistake(("steps", step, name), f"no prompt of this walk has this id{hint}"))
            elif isinstance(value, tuple) and name != "ask":
                mistakes.append(located.mistake(("steps", step, name), "one answer, not a list"))
    return mistakes


def known_keys(scenario: Scenario) -> dict[StepKey, frozenset[str]]:
    """Return the prompt ids that an answers file for this scenario may use, by step."""
    asked = [f"ask.{number}.match" for number in range(1, 41)]
    roles = [f"role.{role.id}{suffix}" for role in scenario.roles for suffix in ("", ".settings", ".why")]
    prompts = {
        "L": [item.id for item in latency_cost.items(scenario, {}) if isinstance(item, Prompt)],
        "E": [item.id for item in evaluation.items(scenario, {}) if isinstance(item, Prompt)],
        "end": [item.id for item in ending.items(scenario, {}) if isinstance(item, Prompt)],
    }
    return {
        "S": frozenset(["ask", *asked, *(f"promise.{requirement.id}" for requirement in scenario.requirements)]),
        "C": frozenset(roles),
        "A": frozenset(["offline", "flow", *(f"flow.{number}" for number in range(2, 7)), "architecture.why"]),
        "L": frozenset(prompts["L"]),
        "E": frozenset(prompts["E"]),
        "end": frozenset(prompts["end"]),
    }
