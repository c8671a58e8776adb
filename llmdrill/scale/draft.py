"""From the answers of a walk to a design: the file that `estimate` and `check` read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmdrill.scale.architecture import architecture
from llmdrill.scale.components import settings_of
from llmdrill.scale.evaluation import PLAN_PROMPTS, parse_plan
from llmdrill.scale.flow import DOCUMENTS, REQUEST, RESPOND
from llmdrill.scale.scenario import promises

if TYPE_CHECKING:
    from llmdrill.scale.flow import FlowGraph
    from llmdrill.scale.prompts import Answers
    from llmdrill.system.scenario import Scenario

_ENDS = frozenset({REQUEST, RESPOND, DOCUMENTS})


def draft_design(scenario: Scenario, answers: Answers, *, title: str) -> dict[str, Any]:
    """Return the design that the answers so far describe, as plain data ready to be written.

    Stages that were chosen but never drawn into the flow are left out: a part nothing calls does nothing.
    """
    found = architecture(scenario, answers)
    stages: dict[str, dict[str, Any]] = {}
    if found and found.offline:
        stages |= _stages(scenario, answers, found.offline, offline=True)
    if found:
        stages |= _stages(scenario, answers, found.online, offline=False)
    return {
        "schema": "llmdrill/design@1",
        "title": title,
        "scenario": {"id": scenario.id, "sha256": scenario.sha256},
        "requirements": promises(scenario, answers),
        "stages": stages,
        "evaluation": _plan(answers),
        "words": _words(scenario, answers),
    }


def _stages(scenario: Scenario, answers: Answers, graph: FlowGraph, *, offline: bool) -> dict[str, dict[str, Any]]:
    own = [name for name in graph.names if name not in _ENDS and _is_offline(scenario, name) == offline]
    stages = {}
    for name in own:
        option = scenario.role(name).option(answers[f"role.{name}"])  # type: ignore[union-attr] # names come from roles
        after = _nearest_own(graph, name, own)
        placed: dict[str, Any] = {"kind": option.kind}  # type: ignore[union-attr] # the flow knows filled roles only
        if offline:
            placed["offline"] = True
        if after:
            placed["after"] = after
        stages[name] = placed | settings_of(scenario, answers, name)
    return stages


def _nearest_own(graph: FlowGraph, name: str, own: list[str]) -> list[str]:
    """Return what a stage waits for: through names that stand elsewhere (an embedder on the documents' path)."""
    found: dict[str, None] = {}
    waiting, seen = list(graph.before(name)), set()
    while waiting:
        source = waiting.pop(0)
        if source in seen:
            continue
        seen.add(source)
        if source in own:
            found[source] = None
        else:
            waiting += graph.before(source)
    return list(found)


def _is_offline(scenario: Scenario, name: str) -> bool:
    role = scenario.role(name)
    return role is not None and role.offline


def _plan(answers: Answers) -> dict[str, Any]:
    metrics = {metric.name: metric.threshold for metric in parse_plan(answers.get("metrics", ""))}
    words = {name: answers[name] for name in PLAN_PROMPTS if answers.get(name)}
    return ({"metrics": metrics} if metrics else {}) | words


def _words(scenario: Scenario, answers: Answers) -> dict[str, str]:
    by_role = {role.id: answers.get(f"role.{role.id}.why", "") for role in scenario.roles}
    others = {name: answers.get(f"{name}.why", "") for name in ("architecture", "latency")}
    return {name: text for name, text in (by_role | others).items() if text}
