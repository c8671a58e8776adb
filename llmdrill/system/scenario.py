"""The scenario file: what a person is given, what is asked of them, and what a design is held to."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from llmdrill.content import load_yaml, validate
from llmdrill.errors import UsageError, did_you_mean, nearest_names
from llmdrill.fields import Count, FileModel, Identifier, Positive, Prose, Share
from llmdrill.folders import find_content
from llmdrill.system.metrics import METRICS, Metric
from llmdrill.units import parse_quantity

if TYPE_CHECKING:
    from pathlib import Path

    from llmdrill.located import Located

SCHEMA: Final = "llmdrill/scenario@1"
HOURS_PER_MONTH: Final = 730.0  # 365 days of 24 hours over 12 months
STEPS: Final = ("S", "C", "A", "L", "E")
Step = Literal["S", "C", "A", "L", "E"]
# Keys of `evaluation.settings`, by kind of run; "all": the corpus in production, for the estimate of its index.
EVALUATION_SETTINGS: Final = {
    "all": ("corpus_tokens", "documents", "chunks"),
    "retrieval": (),
    "decoding": (
        "shape",
        "model",
        "repeats",
        "lines",
        "keystrokes",
        "interval_p50_ms",
        "interval_sigma",
        "service_ttft_ms",
        "service_total_ms",
    ),
    "classification": ("usd_per_false_positive", "usd_per_false_negative"),
}
Value = str | int | float | bool


class TokenCount(FileModel):
    """A lognormal distribution of token counts by its median and 95th percentile."""

    p50: Count
    p95: Count

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.p95 < self.p50:
            raise ValueError(f"p95 ({self.p95:g}) is below p50 ({self.p50:g})")
        return self


class Workload(FileModel):
    """How much arrives, and how long it is."""

    requests_per_month: Count
    peak_factor: Annotated[float, Field(ge=1)]
    input_tokens: TokenCount
    output_tokens: TokenCount
    violation_share: Share | None = None

    @property
    def mean_requests_per_s(self) -> float:
        """Average arrival rate over a month of 730 hours."""
        return self.requests_per_month / (HOURS_PER_MONTH * 3600)

    @property
    def peak_requests_per_s(self) -> float:
        """Arrival rate in the busy hour."""
        return self.mean_requests_per_s * self.peak_factor


class Topic(FileModel):
    """A clarifying question the person may ask, and what the interviewer then reveals."""

    id: Identifier
    question: Prose
    also: tuple[Prose, ...] = ()
    answer: Prose
    important: bool = False
    reveals: tuple[Identifier, ...] = ()  # ids of requirements that this answer states


class Requirement(FileModel):
    """A limit on one metric; exactly one of ``at_most`` and ``at_least``."""

    id: Identifier
    metric: str
    at_most: str | float | int | None = None
    at_least: str | float | int | None = None
    why: Prose

    @model_validator(mode="after")
    def _sound(self) -> Self:
        known = METRICS.get(self.metric)
        if known is None:
            raise ValueError(f"unknown metric '{self.metric}'{did_you_mean(nearest_names(self.metric, METRICS))}")
        wanted = "at_most" if known.better == "lower" else "at_least"
        if (self.at_most is None) == (self.at_least is None) or getattr(self, wanted) is None:
            raise ValueError(f"'{self.metric}' needs exactly the key {wanted}")
        try:
            parse_limit(known, getattr(self, wanted))
        except UsageError as error:
            raise ValueError(f"{wanted}: {error}") from error
        return self

    @property
    def definition(self) -> Metric:
        """The metric's meaning, unit and source."""
        return METRICS[self.metric]

    @property
    def limit(self) -> float:
        """The limit in SI units."""
        return parse_limit(self.definition, self.at_most if self.at_most is not None else self.at_least)


def parse_limit(metric: Metric, written: str | float | None) -> float:
    """Return a limit in SI units from what a person wrote.

    Raises:
        UsageError: If it is no quantity of the metric's dimension, negative, or a share above one.
    """
    value = float(written) if isinstance(written, int | float) else parse_quantity(str(written), metric.dimension)
    if value < 0:
        raise UsageError(f"'{written}' is negative; a limit is zero or more")
    if metric.dimension == "share" and value > 1:
        raise UsageError(f"'{written}' is no share; write it like 0.85 or 85%")
    return value


class Option(FileModel):
    """One way to fill a role: a stage of a kind with its parameters, and what it costs you."""

    id: Identifier
    label: Prose
    kind: Identifier
    settings: dict[str, Value] = Field(default_factory=dict)
    ask: tuple[str, ...] = ()  # settings the person is asked for; the others stay as they are
    trade_off: Prose
    more_than_needed: Prose | None = None  # said when chosen: why this is more than the scenario needs

    @model_validator(mode="after")
    def _asks_what_it_has(self) -> Self:
        unknown = [name for name in self.ask if name not in self.settings]
        if unknown:
            raise ValueError(f"asks for '{unknown[0]}', which is not among its settings")
        return self


class Role(FileModel):
    """A part the design may have; its id is the name of the stage in the flow."""

    id: Identifier
    question: Prose
    offline: bool = False
    options: Annotated[tuple[Option, ...], Field(min_length=3)]
    none: Prose  # what leaving the role out means
    needed: bool = False  # choosing none is called out

    def option(self, name: str) -> Option | None:
        """Return the option of that id, or None."""
        return next((option for option in self.options if option.id == name), None)


class FlowRule(FileModel):
    """A rule on the data flow.

    ``needs``: ``stage`` must be in the flow. ``before``: on every path that has both, ``stage`` comes before ``then``.
    ``apart``: neither of ``stage`` and ``then`` may wait for the other. ``offline``: it is on the offline line.
    """

    rule: Literal["needs", "before", "apart", "offline"]
    stage: Identifier
    then: Identifier | None = None
    why: Prose

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.then is None) == (self.rule in {"before", "apart"}):
            raise ValueError(f"a rule '{self.rule}' {'needs' if self.then is None else 'takes no'} key 'then'")
        return self


class Flow(FileModel):
    """The data flow's rules and an example to show."""

    rules: tuple[FlowRule, ...]
    example: Prose
    offline_example: Prose | None = None


class Computation(FileModel):
    """Which calculator answers a number question: one of ``system.numbers``, with fixed arguments."""

    by: Identifier
    arguments: dict[str, Value] = Field(default_factory=dict)


class NumberQuestion(FileModel):
    """A number the person states before the tool computes it."""

    id: Identifier
    prompt: Prose
    dimension: Literal["count", "bytes", "seconds", "usd", "share", "per_second", "stage"]
    bare_unit: str | None = None
    computed: Computation
    expect: str | float | int | None = None  # the worked answer; the validator recomputes it
    tolerance_ratio: Annotated[float, Field(gt=1, le=100)] = 1.5
    hint: Prose

    @model_validator(mode="after")
    def _expectable(self) -> Self:
        if isinstance(self.expect, str) and self.dimension != "stage":
            try:
                parse_quantity(self.expect, self.dimension)
            except UsageError as error:
                raise ValueError(f"expect: {error}") from error
        return self


class Evaluation(FileModel):
    """The run that measures a design, and what an evaluation plan must cover."""

    kind: Literal["retrieval", "decoding", "classification"]
    folder: str | None = None  # beside the scenario file: corpus and questions, or messages
    settings: dict[str, Value] = Field(default_factory=dict)
    must_cover: tuple[Literal["retrieval", "generation", "safety", "operations"], ...]
    metrics: Annotated[tuple[str, ...], Field(min_length=3)]
    plan_points: tuple[Prose, ...] = ()

    @model_validator(mode="after")
    def _known(self) -> Self:
        for name in self.metrics:
            if name not in METRICS:
                raise ValueError(f"unknown metric '{name}'{did_you_mean(nearest_names(name, METRICS))}")
        known = (*EVALUATION_SETTINGS["all"], *EVALUATION_SETTINGS[self.kind])
        for name in self.settings:
            if name not in known:
                hint = did_you_mean(nearest_names(name, known)) or f" (known: {', '.join(known)})"
                raise ValueError(f"settings: unknown key '{name}'{hint}")
        return self


class RubricPoint(FileModel):
    """One thing a good answer says, with exemplars that say it and one that only seems to."""

    id: Identifier
    step: Step
    weight: Annotated[int, Field(ge=1, le=5)]
    text: Prose
    accept: Annotated[tuple[Prose, ...], Field(min_length=2)]
    reject: Annotated[tuple[Prose, ...], Field(min_length=1)]


class Curveball(FileModel):
    """A change thrown in at the end, and how a strong answer deals with it."""

    id: Identifier
    prompt: Prose
    reference: Prose


class WorseDesign(FileModel):
    """A shipped design that fails, the requirements it fails, and why."""

    design: str
    fails: Annotated[tuple[Identifier, ...], Field(min_length=1)]
    why: Prose


class Reference(FileModel):
    """The reference design and what its author would say at each step."""

    design: str
    words: dict[Step, Prose]


class Scenario(FileModel):
    """A whole scenario file."""

    schema_: Annotated[Literal["llmdrill/scenario@1"], Field(alias="schema")]
    editor_schema: Annotated[str | None, Field(alias="$schema")] = None
    id: Identifier
    title: Prose
    minutes: Positive
    tags: tuple[Identifier, ...] = ()
    brief: Prose
    topics: Annotated[tuple[Topic, ...], Field(min_length=1)]
    workload: Workload
    requirements: Annotated[tuple[Requirement, ...], Field(min_length=1)]
    roles: Annotated[tuple[Role, ...], Field(min_length=1)]
    flow: Flow
    numbers: tuple[NumberQuestion, ...]
    evaluation: Evaluation
    rubric: tuple[RubricPoint, ...]
    curveballs: tuple[Curveball, ...]
    hints: dict[Step, tuple[Prose, ...]]
    reference: Reference
    worse: tuple[WorseDesign, ...] = ()

    @property
    def sha256(self) -> str:
        """Hash of what a verdict rests on: workload, requirements, evaluation. Prose may be edited freely."""
        parts = [part.model_dump(mode="json") for part in (self.workload, *self.requirements, self.evaluation)]
        for part in parts:
            part.pop("why", None)
            part.pop("plan_points", None)
        return hashlib.sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def requirement(self, name: str) -> Requirement | None:
        """Return the requirement of that id, or None."""
        return next((requirement for requirement in self.requirements if requirement.id == name), None)

    def role(self, name: str) -> Role | None:
        """Return the role of that id, or None."""
        return next((role for role in self.roles if role.id == name), None)


@dataclass(frozen=True, slots=True)
class ScenarioFile:
    """A scenario, the file it came from, and where its parts stand in that file."""

    scenario: Scenario
    path: Path
    located: Located

    @property
    def folder(self) -> Path:
        """The folder of what lies beside the scenario: corpus, designs, answers."""
        return self.path.parent / self.scenario.id


def load_scenario(name: str) -> ScenarioFile:
    """Return the scenario of that id, or of that file.

    Raises:
        UnknownNameError: If no scenario has this id.
        ContentError: If the file is malformed, with every mistake at once.
    """
    path = find_content("scenarios", name)
    located = load_yaml(path)
    return ScenarioFile(validate(located, Scenario), path, located)
