"""The drill file: what a drill of each kind holds."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import Field, StringConstraints, model_validator

from llmdrill.fields import Bytes, FileModel, Identifier, Positive, Prose
from llmdrill.practice.calculate import Call
from llmdrill.practice.drawn import Case, Parameter  # noqa: TC001 - pydantic reads the annotations
from llmdrill.units import Dimension  # noqa: TC001

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = Literal["numeric", "estimate", "choice", "order", "debug", "explain", "story", "code"]
Role = Literal["ai-lab", "product", "startup"]
Layer = Literal["retrieval", "context", "reasoning"]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=40)]
DrillId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]*$", max_length=60)]
Url = Annotated[str, StringConstraints(pattern=r"^https?://\S+$", max_length=400)]
MOST_HINTS: Final = 3


class Source(FileModel):
    """Where an answer can be checked."""

    title: Prose
    url: Url


class BaseDrill(FileModel):
    """What every drill holds.

    Attributes:
        tier: 1 foundations, 2 working knowledge, 3 depth.
        difficulty: 1 to 5.
        minutes: A person's time for it.
        hints: From vague to near.
        worked: The full answer.
    """

    id: DrillId
    title: Prose
    tags: tuple[DrillId, ...] = Field(min_length=1)
    tier: Literal[1, 2, 3]
    roles: tuple[Role, ...] = Field(min_length=1)
    difficulty: int = Field(ge=1, le=5)
    minutes: float = Field(gt=0, le=60)
    prompt: Prose
    hints: tuple[Prose, ...] = Field(default=(), max_length=MOST_HINTS)
    worked: Prose
    sources: tuple[Source, ...] = Field(min_length=1)


class RightAnswer(Call):
    """The call that gives the right number, and how near a stated one has to be."""

    dimension: Dimension
    tolerance_share: float = Field(default=0.02, gt=0, lt=1)


class Quotient(FileModel):
    """A ratio of two values of the draw."""

    quotient: tuple[str, str]


class NumberMistake(FileModel):
    """A wrong number that is recognised: a ratio to the right one, or what other arguments give."""

    name: Prose
    why: Prose
    ratio: float | Quotient | None = None
    calculator: str | None = None
    arguments: dict[str, object] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> NumberMistake:
        if (self.ratio is None) == (self.arguments is None):
            raise ValueError("a mistake needs exactly one of ratio and arguments")
        return self


class Drawn(BaseDrill):
    """A drill whose numbers are drawn afresh each time."""

    cases: tuple[Case, ...] = ()
    parameters: dict[Name, Parameter] = Field(default_factory=dict)
    steps: dict[Name, Call] = Field(default_factory=dict)
    answer: RightAnswer

    @model_validator(mode="after")
    def _varies(self) -> Drawn:
        if not self.parameters and len(self.cases) < 2:
            raise ValueError("nothing is drawn: give parameters, or at least two cases")
        if any(set(case) != set(self.cases[0]) for case in self.cases):
            raise ValueError("every case needs the same keys")
        names = [*self.parameters, *(self.cases[0] if self.cases else ()), *self.steps, "answer"]
        twice = sorted(name for name in set(names) if names.count(name) > 1)
        if twice:
            raise ValueError(f"two values are called '{twice[0]}'")
        return self


class NumericDrill(Drawn):
    """Compute a number."""

    kind: Literal["numeric"]
    mistakes: tuple[NumberMistake, ...] = ()


class EstimateDrill(Drawn):
    """State the order of magnitude, before calculating."""

    kind: Literal["estimate"]


class Option(FileModel):
    """One of several; a wrong one says why it is wrong."""

    text: Prose
    right: bool = False
    why: str = ""

    @model_validator(mode="after")
    def _explained(self) -> Option:
        if not self.right and not self.why.strip():
            raise ValueError("a wrong option needs 'why'")
        return self


def _check_options(options: tuple[Option, ...], *, one: bool) -> None:
    rights = sum(option.right for option in options)
    if one and rights != 1:
        raise ValueError(f"{rights} options are right: exactly one must be, or say pick: several")
    if not rights or rights == len(options):
        raise ValueError("some options must be right and some wrong")
    if len({option.text for option in options}) < len(options):
        raise ValueError("two options have the same text")


class ChoiceDrill(BaseDrill):
    """Pick one or several; options are shuffled."""

    kind: Literal["choice"]
    pick: Literal["one", "several"] = "one"
    options: tuple[Option, ...] = Field(min_length=3, max_length=8)

    @model_validator(mode="after")
    def _answerable(self) -> ChoiceDrill:
        _check_options(self.options, one=self.pick == "one")
        return self


class OrderStep(FileModel):
    """A step, and those that must come before it."""

    id: Identifier
    text: Prose
    after: tuple[Identifier, ...] = ()


class OrderDrill(BaseDrill):
    """Put steps in order; every order that keeps ``after`` is right."""

    kind: Literal["order"]
    steps: tuple[OrderStep, ...] = Field(min_length=3, max_length=12)

    @model_validator(mode="after")
    def _orderable(self) -> OrderDrill:
        ids = [step.id for step in self.steps]
        if len(set(ids)) < len(ids):
            raise ValueError("two steps have the same id")
        for step in self.steps:
            unknown = set(step.after) - set(ids)
            if unknown:
                raise ValueError(f"step '{step.id}' comes after '{min(unknown)}', which is no step")
        if not reachable_order(self.steps):
            raise ValueError("the steps wait for each other in a circle")
        return self


def reachable_order(steps: tuple[OrderStep, ...]) -> tuple[str, ...]:
    """Return one order that keeps ``after``, steps as they stand where they may; empty if there is none."""
    done: list[str] = []
    while len(done) < len(steps):
        ready = [step.id for step in steps if step.id not in done and set(step.after) <= set(done)]
        if not ready:
            return ()
        done.append(ready[0])
    return tuple(done)


class Trace(FileModel):
    """What went wrong, to be read: a fault planted in a real pipeline, or a text that somebody wrote."""

    fault: Identifier | None = None
    question: str | None = None
    authored: Prose | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Trace:
        if (self.fault is None) == (self.authored is None):
            raise ValueError("a trace needs exactly one of fault and authored")
        if (self.fault is None) != (self.question is None):
            raise ValueError("a planted fault needs the id of a question, and an authored trace has none")
        return self


class DebugDrill(BaseDrill):
    """Name the layer of a fault, then the smallest fix."""

    kind: Literal["debug"]
    trace: Trace
    model_answer: Prose | None = None
    layer: Layer
    fixes: tuple[Option, ...] = Field(min_length=3, max_length=6)

    @model_validator(mode="after")
    def _answerable(self) -> DebugDrill:
        _check_options(self.fixes, one=True)
        return self


class Point(FileModel):
    """A claim that a good explanation makes; ``accept`` says it otherwise, ``reject`` is what it is confused with."""

    id: Identifier
    text: Prose
    weight: int = Field(ge=1, le=5)
    accept: tuple[Prose, ...] = ()
    reject: tuple[Prose, ...] = ()


class ExplainDrill(BaseDrill):
    """Explain aloud or in text, against a clock."""

    kind: Literal["explain"]
    seconds: int = Field(ge=15, le=1800)
    points: tuple[Point, ...] = Field(min_length=2, max_length=8)


class Section(FileModel):
    """A part that the answer must have."""

    id: Identifier
    title: Prose
    looks_for: Prose


class StoryDrill(BaseDrill):
    """Write a postmortem, a trade-off decision, or an explanation for somebody outside the field."""

    kind: Literal["story"]
    form: Literal["postmortem", "decision", "stakeholder"]
    sections: tuple[Section, ...] = Field(min_length=3, max_length=8)


class CodeDrill(BaseDrill):
    """Implement a function; the files stand in ``code/<id>/`` beside the drill's file."""

    kind: Literal["code"]
    function: Name
    seconds: Positive = 10
    memory: Bytes = 1e9


Drill = Annotated[
    NumericDrill | EstimateDrill | ChoiceDrill | OrderDrill | DebugDrill | ExplainDrill | StoryDrill | CodeDrill,
    Field(discriminator="kind"),
]


DRILLS: Final[Mapping[str, type[BaseDrill]]] = MappingProxyType(
    {
        "numeric": NumericDrill,
        "estimate": EstimateDrill,
        "choice": ChoiceDrill,
        "order": OrderDrill,
        "debug": DebugDrill,
        "explain": ExplainDrill,
        "story": StoryDrill,
        "code": CodeDrill,
    }
)


class DrillFile(FileModel):
    """A file of drills on one topic."""

    topic: DrillId
    title: Prose
    drills: tuple[Drill, ...]

    @model_validator(mode="after")
    def _not_empty(self) -> DrillFile:
        if not self.drills:
            raise ValueError("there is no drill in it")
        return self
