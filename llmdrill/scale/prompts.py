"""What the walk can put before a person: a prompt that wants an answer, or a show that only wants to be seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["ask", "yes_no", "choice", "settings", "line", "prose", "limit", "number", "flow", "plan", "self"]
Step = Literal["S", "C", "A", "L", "E", "end"]

STEPS: Final[tuple[Step, ...]] = ("S", "C", "A", "L", "E", "end")
STEP_NAMES: Final[dict[Step, str]] = {
    "S": "Scenario",
    "C": "Components",
    "A": "Architecture",
    "L": "Latency & cost",
    "E": "Evaluation",
    "end": "Review",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """One line of a numbered list; ``id`` is what an answers file says."""

    id: str
    label: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question to the person.

    Attributes:
        id: Stable name: the key in an answers file.
        step: Letter of the step.
        kind: How the answer is read.
        text: The question.
        default: What Enter takes; shown when not empty.
        choices: A numbered list to pick from.
        detail: A line or two of help under the question.
        about: What the answer is checked against: a role, requirement or number question.
    """

    id: str
    step: Step
    kind: Kind
    text: str
    default: str = ""
    choices: tuple[Choice, ...] = ()
    detail: str = ""
    about: str = ""


@dataclass(frozen=True, slots=True)
class Show:
    """Something to put before the person that asks nothing: facts, the estimate, the evaluation.

    Attributes:
        id: Stable name, recorded once it was seen.
        step: Letter of the step.
        what: Which view; ``about`` names its subject (a topic, a role, a curveball).
        about: See ``what``.
    """

    id: str
    step: Step
    what: Literal[
        "brief", "fact", "no_match", "missed", "callout", "flow", "numbers", "estimate", "confront",
        "plan_gaps", "evaluation", "coverage", "reference", "curveball", "summary",
    ]  # fmt: skip
    about: str = ""


Item = Prompt | Show
Answers = dict[str, str]
