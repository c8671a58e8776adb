"""A: the data flow as text, parsed, checked against the scenario's rules, mended or kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llmdrill.errors import UsageError
from llmdrill.scale.components import chosen_options
from llmdrill.scale.flow import (
    DOCUMENTS,
    REQUEST,
    RESPOND,
    FlowGraph,
    FlowProblem,
    check_rules,
    check_shape,
    parse_flow,
)
from llmdrill.scale.prompts import Prompt, Show

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmdrill.scale.prompts import Answers, Item
    from llmdrill.system.scenario import Scenario

MOST_MENDS: Final = 5


@dataclass(frozen=True, slots=True)
class Architecture:
    """The flow a person settled on, its offline line, and what is wrong with them."""

    online: FlowGraph
    offline: FlowGraph | None
    problems: tuple[FlowProblem, ...]


def items(scenario: Scenario, answers: Answers) -> Iterator[Item]:
    """Yield the offline line if the scenario has one, the flow, and a chance to mend as long as problems stand."""
    if offline_roles(scenario, answers):
        yield _offline_prompt(scenario, answers)
    yield _flow_prompt(scenario, answers, "flow", default_flow(scenario, answers))
    for number in range(2, MOST_MENDS + 2):
        yield Show(f"show.flow.{number - 1}", "A", "flow")
        found = architecture(scenario, answers)
        if found is None or not found.problems or answers.get(f"flow.{number}") == "":
            break
        yield _flow_prompt(scenario, answers, f"flow.{number}", "")
        if answers.get(f"flow.{number}", "") == "":
            break
    yield Prompt(
        "architecture.why", "A", "prose", "What would you say about this architecture: its order, its failure modes?"
    )


def _flow_prompt(scenario: Scenario, answers: Answers, prompt_id: str, default: str) -> Prompt:
    parts = ", ".join(online_names(scenario, answers))
    mend = prompt_id != "flow"
    return Prompt(
        id=prompt_id,
        step="A",
        kind="flow",
        text="Mend the flow (Enter keeps it as it is)" if mend else "Draw the request's path",
        default=default,
        detail=f"Your parts: {parts}. Join with ->, branch with [a -> b, c].",
        about="online",
    )


def _offline_prompt(scenario: Scenario, answers: Answers) -> Prompt:
    names = offline_roles(scenario, answers)
    return Prompt(
        id="offline",
        step="A",
        kind="flow",
        text="Draw the documents' path (offline)",
        default=" -> ".join((DOCUMENTS, *names)),
        detail=f"Your parts: {', '.join(offline_names(scenario, answers))}.",
        about="offline",
    )


def offline_roles(scenario: Scenario, answers: Answers) -> tuple[str, ...]:
    """Return the filled roles that work on documents, not on requests."""
    filled = chosen_options(scenario, answers)
    return tuple(role.id for role in scenario.roles if role.offline and role.id in filled)


def online_roles(scenario: Scenario, answers: Answers) -> tuple[str, ...]:
    """Return the filled roles on the request's path."""
    filled = chosen_options(scenario, answers)
    return tuple(role.id for role in scenario.roles if not role.offline and role.id in filled)


def online_names(scenario: Scenario, answers: Answers) -> tuple[str, ...]:
    """Return the names the flow may use."""
    return (REQUEST, *online_roles(scenario, answers), RESPOND)


def offline_names(scenario: Scenario, answers: Answers) -> tuple[str, ...]:
    """Return the names the offline line may use: an embedder serves both paths."""
    return (DOCUMENTS, *offline_roles(scenario, answers), *online_roles(scenario, answers))


def default_flow(scenario: Scenario, answers: Answers) -> str:
    """Return the plainest flow: one straight chain."""
    return " -> ".join(online_names(scenario, answers))


def read_flow(scenario: Scenario, answers: Answers, about: str, text: str) -> str:
    """Return the flow as typed, if it parses and has no cycle.

    Raises:
        UsageError: With the position and what was expected, or the stage that waits for itself.
    """
    if not text.strip():
        return ""
    online = about == "online"
    graph = parse_flow(text, online_names(scenario, answers) if online else offline_names(scenario, answers))
    shape = check_shape(graph, expected=(), source=REQUEST if online else DOCUMENTS, sink=None)
    for problem in shape:
        if problem.kind == "cycle" or (problem.kind == "unreachable" and problem.stage in {REQUEST, DOCUMENTS}):
            raise UsageError(problem.what)
    if graph.after(RESPOND):
        raise UsageError(f"'{RESPOND}' is the end: nothing comes after it")
    if online and not set(online_roles(scenario, answers)).intersection(graph.names):
        raise UsageError("no part of yours is in this flow: nothing would answer a request; `:back` fills a role")
    return " ".join(text.split())


def architecture(scenario: Scenario, answers: Answers) -> Architecture | None:
    """Return the flow settled on so far with its problems, or None before there is one."""
    texts = [answers.get(f"flow.{number}", "") for number in range(MOST_MENDS + 1, 1, -1)]
    text = next((typed for typed in (*texts, answers.get("flow", "")) if typed), "")
    if not text:
        return None
    online = parse_flow(text, online_names(scenario, answers))
    line = answers.get("offline", "")
    offline = parse_flow(line, offline_names(scenario, answers)) if line else None
    problems = check_shape(online, expected=online_roles(scenario, answers), source=REQUEST, sink=RESPOND)
    if offline is not None:
        expected = offline_roles(scenario, answers)
        problems += check_shape(offline, expected=expected, source=DOCUMENTS, sink=None)
    chosen = {name: option.id for name, option in chosen_options(scenario, answers).items()}
    problems += check_rules(online, offline, scenario.flow.rules, chosen=chosen)
    return Architecture(online, offline, tuple(dict.fromkeys(problems)))
