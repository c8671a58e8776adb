"""A scenario as blocks: everything, for those who write or review it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdrill.report.blocks import Bullets, Grid, Heading, Text
from llmdrill.units import format_count, format_quantity

if TYPE_CHECKING:
    from llmdrill.report.blocks import Block, Blocks
    from llmdrill.system.scenario import Requirement, Scenario


def scenario_view(scenario: Scenario) -> Blocks:
    """Show brief, workload, requirements, topics, roles, numbers and rubric."""
    load = scenario.workload
    tokens = f"{load.input_tokens.p50:g} input tokens at p50 ({load.input_tokens.p95:g} at p95)"
    out = f"{load.output_tokens.p50:g} output tokens ({load.output_tokens.p95:g})"
    blocks: list[Block] = [
        Heading(scenario.title, 1),
        Text(scenario.brief),
        Text(f"{format_count(load.requests_per_month)} requests a month, peak {load.peak_factor:g}x; {tokens}, {out}."),
        Grid(("requirement", "metric", ">limit", "why"), tuple(_requirement(one) for one in scenario.requirements)),
        Heading("Clarifying questions"),
        Bullets(
            tuple(
                f"{topic.id}{' (important)' if topic.important else ''}: {topic.question}" for topic in scenario.topics
            )
        ),
        Heading("Roles"),
    ]
    for role in scenario.roles:
        rows = tuple((option.id, option.label, option.trade_off) for option in role.options)
        blocks.append(
            Grid(("option", "what", "trade-off"), (*rows, ("none", "", role.none)), f"{role.id}: {role.question}")
        )
    blocks += [Heading("Numbers asked"), Bullets(tuple(question.prompt for question in scenario.numbers))]
    rubric = tuple((point.step, str(point.weight), point.text) for point in scenario.rubric)
    return (*blocks, Heading("Rubric"), Grid(("step", ">weight", "point"), rubric))


def _requirement(one: Requirement) -> tuple[str, ...]:
    sign = "<=" if one.definition.better == "lower" else ">="
    return (one.id, one.metric, f"{sign} {format_quantity(one.limit, one.definition.dimension)}", one.why)
