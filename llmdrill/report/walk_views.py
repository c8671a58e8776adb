"""What the walk shows between its prompts: scenario facts, choices, the flow, plan, rubric, reference words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from llmdrill.report.blocks import Bullets, Drawing, Grid, Heading, Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdrill.grading.coverage import PointCoverage
    from llmdrill.report.blocks import Blocks
    from llmdrill.scale.architecture import Architecture
    from llmdrill.scale.flow import FlowGraph
    from llmdrill.system.scenario import Curveball, Role, Scenario, Topic

STEP_TITLES: Final = {
    "S": "S · Scenario: ask, then promise",
    "C": "C · Components: choose, set, say why",
    "A": "A · Architecture: draw the flow",
    "L": "L · Latency & cost: your numbers first",
    "E": "E · Evaluation: plan it, then run it",
    "end": "Review",
}


def brief_view(scenario: Scenario) -> Blocks:
    """Show what the interviewer says first."""
    return (Heading(scenario.title, 1), Text(scenario.brief))


def fact_view(topic: Topic) -> Blocks:
    """Show an answer to a clarifying question."""
    return (Text(f"Interviewer: {topic.answer}"),)


def no_match_view() -> Blocks:
    """Say that the bank has no answer."""
    return (Text("Interviewer: I have nothing on that. Make an assumption, say it aloud, and go on.", "dim"),)


def callout_view(role: Role, what: str) -> Blocks:
    """Call out more than is needed, or a needed part left out."""
    return (Text(f"Note on {role.id}: {what}", "warn"),)


def flow_view(found: Architecture, *, width: int, plain: bool) -> Blocks:
    """Show the flow as boxes (words in plain mode), the offline line, and what is wrong."""
    from llmdrill.report.boxes import draw_words

    blocks = [Drawing(flow_drawing(found.online, width=width, plain=plain))]
    if found.offline is not None:
        blocks.append(Drawing("offline: " + draw_words(found.offline.names, found.offline.edges).replace("\n", "; ")))
    if not found.problems:
        return (*blocks, Text("The flow keeps every rule of this scenario.", "good"))
    return (*blocks, Bullets(tuple(f"{problem.kind}: {problem.what}" for problem in found.problems), "warn"))


def flow_drawing(graph: FlowGraph, *, width: int, plain: bool) -> str:
    """Return the drawing of one flow."""
    from llmdrill.report.boxes import draw_boxes, draw_words

    return draw_words(graph.names, graph.edges) if plain else draw_boxes(graph.names, graph.edges, width=width)


def plan_gaps_view(gaps: Sequence[str]) -> Blocks:
    """Call out what an evaluation plan leaves out."""
    if not gaps:
        return (Text("The plan covers retrieval or safety, generation, sample, agreement, gate and failure.", "good"),)
    return (Text("Missing from the plan:", "warn"), Bullets(tuple(gaps), "warn"))


def missed_view(topics: Sequence[Topic]) -> Blocks:
    """List the important facts never asked for."""
    if not topics:
        return (Text("You asked for every important fact.", "good"),)
    rows = tuple((topic.question, topic.answer) for topic in topics)
    return (Grid(("You never asked", "The answer would have been"), rows, "Important facts you did not ask for"),)


def curveball_view(curveball: Curveball) -> Blocks:
    """Show how a strong answer deals with a curveball."""
    return (Text(f"A strong answer: {curveball.reference}", "dim"),)


def hint_view(hints: Sequence[str], taken: int) -> Blocks:
    """Show the next hint of a step."""
    if not hints:
        return (Text("There is no hint for this step.", "dim"),)
    shown = hints[min(taken, len(hints) - 1)]
    last = " (the last one)" if taken >= len(hints) - 1 else ""
    return (Text(f"Hint{last}: {shown}"),)


def words_view(scenario: Scenario, step: str) -> Blocks:
    """Show what the reference's author would say at a step."""
    words = {str(letter): said for letter, said in scenario.reference.words.items()}.get(step)
    return (Text(str(words)) if words else Text("The reference has no words for this step.", "dim"),)


def coverage_view(coverage: Sequence[PointCoverage]) -> Blocks:
    """Show the evidence found for each rubric point, before the person judges."""
    if coverage and all(row.suggested == "unknown" for row in coverage):
        why = "No embedding model here, so no evidence was looked for: judge from memory."
        return (Text(f"{why} `llmdrill doctor` says how to get it.", "warn"),)
    found = sum(row.suggested == "check" for row in coverage)
    text = (
        f"Sentences near {found} of {len(coverage)} rubric points were found. Similarity is no credit: it cannot tell"
        " a right sentence from its opposite. You judge each point: yes, partly or no."
    )
    return (Heading("Rubric"), Text(text))


def evidence_text(row: PointCoverage | None) -> str:
    """Return the evidence of one point as lines to stand above its question."""
    if row is None or row.suggested == "unknown":
        return ""
    if row.suggested == "not found":
        return "  nothing you wrote in this step is near it (not found)"
    said = "asked" if row.step == "S" else "wrote"
    lines = [f"  you {said}: “{sentence}”" for sentence in row.evidence]
    return "\n".join([*lines, *(f"  careful: {warning}" for warning in row.warnings)])
