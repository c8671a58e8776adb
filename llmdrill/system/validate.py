"""Everything about a scenario that its model alone cannot see, all mistakes at once."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, cast

from pydantic import ValidationError

from llmdrill.errors import ContentError, LlmdrillError, did_you_mean, nearest_names
from llmdrill.system.check import check_design
from llmdrill.system.design import load_design, shipped_design
from llmdrill.system.estimate import estimate_design
from llmdrill.system.graph import GIVE_UP
from llmdrill.system.kinds import KINDS
from llmdrill.system.numbers import OF_DESIGN, compute_number
from llmdrill.system.scenario import STEPS
from llmdrill.units import parse_quantity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from llmdrill.errors import Mistake
    from llmdrill.system.check import Verdict
    from llmdrill.system.estimate import Estimate
    from llmdrill.system.scenario import NumberQuestion, Option, Role, Scenario, ScenarioFile, Step

EXPECT_RATIO: Final = 1.01  # a worked answer may be rounded by 1 %


def validate_scenario(file: ScenarioFile) -> tuple[Mistake, ...]:
    """Return every mistake of a scenario and of its shipped designs, in the order of the files; none if it is sound."""
    reference, designs = _designs(file)
    found = [
        *_repeated_ids(file),
        *_options(file),
        *_flow(file),
        *_topics(file),
        *_numbers(file, reference),
        *_evaluation(file),
        *_steps(file),
        *designs,
    ]
    return tuple(
        sorted(set(found), key=lambda one: (one.file != str(file.path), one.file, one.line, one.column, one.what))
    )


def _repeated_ids(file: ScenarioFile) -> Iterator[Mistake]:
    scenario = file.scenario
    for key in ("topics", "requirements", "roles", "numbers", "rubric", "curveballs"):
        yield from _repeated(file, (key,), (part.id for part in getattr(scenario, key)))
    for index, role in enumerate(scenario.roles):
        yield from _repeated(file, ("roles", index, "options"), (option.id for option in role.options))


def _repeated(file: ScenarioFile, path: tuple[str | int, ...], ids: Iterable[str]) -> Iterator[Mistake]:
    seen: set[str] = set()
    for index, name in enumerate(ids):
        if name in seen:
            yield file.located.mistake((*path, index, "id"), f"the id '{name}' stands twice")
        seen.add(name)


def _options(file: ScenarioFile) -> Iterator[Mistake]:
    roles = [role.id for role in file.scenario.roles]
    for index, role in enumerate(file.scenario.roles):
        for number, option in enumerate(role.options):
            yield from _settings(file, ("roles", index, "options", number), role, option, roles)


def _settings(
    file: ScenarioFile, path: tuple[str | int, ...], role: Role, option: Option, roles: list[str]
) -> Iterator[Mistake]:
    kind = KINDS.get(option.kind)
    if kind is None:
        what = f"unknown stage kind '{option.kind}'{did_you_mean(nearest_names(option.kind, KINDS))}"
        yield file.located.mistake((*path, "kind"), what)
        return
    try:
        stage = kind.model_validate({"kind": option.kind, "offline": role.offline, **option.settings})
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            what = str(detail["msg"]).removeprefix("Value error, ")
            if detail["type"] == "extra_forbidden":
                name = str(detail["loc"][0])
                what = f"a stage of kind '{option.kind}' has no setting '{name}'"
                what += did_you_mean(nearest_names(name, kind.model_fields))
            if detail["type"] == "missing":
                what = f"a stage of kind '{option.kind}' needs the setting '{detail['loc'][0]}'"
            yield file.located.mistake((*path, "settings", *detail["loc"]), what[0].lower() + what[1:])
        return
    if stage.fallback is not None and stage.fallback not in {*roles, *GIVE_UP}:
        what = f"falls back on '{stage.fallback}', which is no role{did_you_mean(nearest_names(stage.fallback, roles))}"
        yield file.located.mistake((*path, "settings", "fallback"), what)


def _flow(file: ScenarioFile) -> Iterator[Mistake]:
    roles = [role.id for role in file.scenario.roles]
    for index, rule in enumerate(file.scenario.flow.rules):
        for key in ("stage", "then"):
            name = getattr(rule, key)
            if name is not None and name not in roles:
                what = f"there is no role '{name}'{did_you_mean(nearest_names(name, roles))}"
                yield file.located.mistake(("flow", "rules", index, key), what)


def _topics(file: ScenarioFile) -> Iterator[Mistake]:
    scenario = file.scenario
    known = [requirement.id for requirement in scenario.requirements]
    revealed: set[str] = set()
    for index, topic in enumerate(scenario.topics):
        for number, name in enumerate(topic.reveals):
            revealed.add(name)
            if name not in known:
                what = f"there is no requirement '{name}'{did_you_mean(nearest_names(name, known))}"
                yield file.located.mistake(("topics", index, "reveals", number), what)
    for index, name in enumerate(known):
        if name not in revealed:
            what = f"no topic reveals '{name}': nobody could learn of it by asking"
            yield file.located.mistake(("requirements", index, "id"), what)


def _numbers(file: ScenarioFile, reference: Estimate | None) -> Iterator[Mistake]:
    for index, question in enumerate(file.scenario.numbers):
        path = ("numbers", index)
        try:
            computed = compute_number(question, file.scenario, reference)
        except LlmdrillError as error:
            yield file.located.mistake((*path, "computed"), str(error))
            continue
        if question.computed.by not in OF_DESIGN and computed.explained is not None:
            unit = computed.explained.unit
            if unit != question.dimension:
                what = f"asks for {question.dimension}, but '{question.computed.by}' gives {unit}"
                yield file.located.mistake((*path, "dimension"), what)
        if question.expect is not None and computed.value is not None and not _as_expected(question, computed.value):
            shown = computed.value if isinstance(computed.value, str) else f"{computed.value:.6g}"
            what = f"expects {question.expect}, but '{question.computed.by}' gives {shown}"
            yield file.located.mistake((*path, "expect"), what)


def _as_expected(question: NumberQuestion, value: float | str) -> bool:
    expect = question.expect
    if isinstance(value, str) or question.dimension == "stage":
        return value == expect
    wanted = parse_quantity(expect, question.dimension) if isinstance(expect, str) else float(expect or 0.0)
    return math.isclose(wanted, value, rel_tol=EXPECT_RATIO - 1.0)


def _evaluation(file: ScenarioFile) -> Iterator[Mistake]:
    evaluation = file.scenario.evaluation
    named = evaluation.folder
    folder = file.folder if named in {None, "."} else file.path.parent / str(named)
    if (named is not None or evaluation.kind != "decoding") and not folder.is_dir():
        yield file.located.mistake(("evaluation", "folder"), f"there is no folder {folder} with what the run needs")


def _steps(file: ScenarioFile) -> Iterator[Mistake]:
    scenario = file.scenario
    for step in cast("tuple[Step, ...]", STEPS):
        if not scenario.hints.get(step):
            yield file.located.mistake(("hints",), f"step {step} has no hint")
        if step not in scenario.reference.words:
            yield file.located.mistake(("reference", "words"), f"the reference says nothing at step {step}")
        if not any(point.step == step for point in scenario.rubric):
            yield file.located.mistake(("rubric",), f"no point of the rubric belongs to step {step}")


# --- the shipped designs ------------------------------------------------------------------------------------------


def _designs(file: ScenarioFile) -> tuple[Estimate | None, list[Mistake]]:
    """Return the estimate of the reference design, and what is wrong with the shipped designs."""
    scenario, mistakes = file.scenario, []
    path: tuple[str | int, ...] = ("reference", "design")
    reference, verdicts, found = _judge(file, scenario.reference.design, path)
    mistakes += found
    for verdict in verdicts:
        if verdict.result != "pass":
            what = f"the reference design does not pass '{verdict.requirement}': {verdict.why}"
            mistakes.append(file.located.mistake(path, what))
    for index, worse in enumerate(scenario.worse):
        path = ("worse", index, "design")
        _, verdicts, found = _judge(file, worse.design, path)
        mistakes += [*found, *_unknown_fails(file, index)]
        passed = [verdict for verdict in verdicts if verdict.requirement in worse.fails and verdict.result != "fail"]
        for verdict in passed:
            what = f"'{worse.design}' is said to fail '{verdict.requirement}', but: {verdict.why}"
            mistakes.append(file.located.mistake(("worse", index, "fails"), what))
    return reference, mistakes


def _unknown_fails(file: ScenarioFile, index: int) -> Iterator[Mistake]:
    known = [requirement.id for requirement in file.scenario.requirements]
    for number, name in enumerate(file.scenario.worse[index].fails):
        if name not in known:
            what = f"there is no requirement '{name}'{did_you_mean(nearest_names(name, known))}"
            yield file.located.mistake(("worse", index, "fails", number), what)


def _judge(
    file: ScenarioFile, name: str, path: tuple[str | int, ...]
) -> tuple[Estimate | None, tuple[Verdict, ...], list[Mistake]]:
    """Return estimate and estimated verdicts of a shipped design, or what keeps them from being known."""
    scenario: Scenario = file.scenario
    try:
        design = load_design(shipped_design(file.folder, name))
        estimate = estimate_design(design.design, scenario)
        verdicts = check_design(design, scenario, estimate, None, expected_key=None, estimated_only=True)
    except ContentError as error:
        return None, (), list(error.mistakes)
    except LlmdrillError as error:
        return None, (), [file.located.mistake(path, f"'{name}' cannot be estimated: {error}")]
    return estimate, verdicts, []
