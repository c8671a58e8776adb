"""The report of a finished walk: verdict first, then the person's design, numbers, words and what to review."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdrill.report.blocks import Bullets, Drawing, Grid, Heading, Text
from llmdrill.report.confront_views import confront_view
from llmdrill.report.estimate_views import estimate_view, formulas_view, numbers_view, side_by_side_view, verdict_view
from llmdrill.report.measurement_views import measurement_view, no_measurement_view
from llmdrill.report.mermaid import mermaid
from llmdrill.report.walk_views import missed_view
from llmdrill.scale.evaluation import PLAN_PROMPTS
from llmdrill.units import format_share

if TYPE_CHECKING:
    from llmdrill.report.blocks import Block, Blocks
    from llmdrill.scale.result import Marked, Scores, WalkResult
    from llmdrill.system.kinds.base import StageBase


def summary_view(result: WalkResult) -> Blocks:
    """Show verdict and scores: what the terminal ends with."""
    return (
        *verdict_view(result.mine.verdicts, title="Verdict"),
        *scores_view(result.scores),
        *review_view(result),
    )


def scores_view(scores: Scores) -> Blocks:
    """Show the three scores side by side, never blended."""
    own = "not marked" if scores.self_share is None else f"{format_share(scores.self_share)} of the weight you marked"
    kappa = (
        ""
        if scores.agreement_kappa is None
        else f" (agreement with the evidence found: kappa {scores.agreement_kappa:.2f})"
    )
    rows = (
        ("Numbers", f"{scores.numbers_within} of {scores.numbers_stated} within tolerance", "exact and automatic"),
        (
            "Coverage",
            f"{scores.points_to_check} of {scores.points} points have a sentence near",
            "where to look; no credit",
        ),
        ("Self-assessment", own + kappa, "yours"),
    )
    return (Grid(("score", "result", "what it is"), rows, "Three scores, never blended"),)


def review_view(result: WalkResult) -> Blocks:
    """Show what to look at again."""
    if not result.to_review:
        return ()
    return (Heading("What to review", 2), Bullets(result.to_review))


def reference_view(result: WalkResult) -> Blocks:
    """Show the reference design beside the person's."""
    if result.reference is None:
        return (Heading("Reference"), Text(f"The reference design cannot be shown: {result.reference_missing}", "warn"))
    blocks: list[Block] = [Heading("Reference"), *side_by_side_view(result.mine.estimate, result.reference.estimate)]
    blocks += verdict_view(result.reference.verdicts, title="The reference, requirement by requirement")
    blocks += [_components_side_by_side(result)]
    blocks += [Text(f"{step}: {words}") for step, words in result.scenario.reference.words.items()]
    return tuple(blocks)


def _components_side_by_side(result: WalkResult) -> Grid:
    mine = result.mine.file.design.stages
    theirs = result.reference.file.design.stages if result.reference else {}
    names = list(dict.fromkeys([*mine, *theirs]))
    rows = tuple((name, stage_text(mine.get(name)), stage_text(theirs.get(name))) for name in names)
    return Grid(("stage", "yours", "reference"), rows, "Components")


def stage_text(stage: StageBase | None) -> str:
    """Return a stage's kind and the settings that differ from their defaults."""
    if stage is None:
        return "–"
    settings = stage.model_dump(exclude_defaults=True, exclude={"kind", "after", "offline", "why"})
    return ", ".join([stage.kind, *(f"{name} {_setting(value)}" for name, value in settings.items())])


def _setting(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def walk_report(result: WalkResult) -> Blocks:
    """Return the whole report."""
    blocks: list[Block] = [
        Heading(f"{result.scenario.title}: a design and its numbers", 1),
        Text(result.scenario.brief),
        Text(_how_it_went(result)),
        Heading("Verdict"),
        *verdict_view(result.mine.verdicts, title=""),
        *scores_view(result.scores),
        Heading("Architecture"),
        Drawing(_diagram(result), "mermaid"),
    ]
    if result.architecture.offline is not None:
        offline = result.architecture.offline
        blocks.append(Drawing(mermaid(offline.names, offline.edges), "mermaid"))
    if result.architecture.problems:
        blocks.append(Bullets(tuple(problem.what for problem in result.architecture.problems), "warn"))
    blocks += _words(result)
    blocks += [
        Heading("Latency and cost"),
        *numbers_view(result.scenario, result.numbers),
        *estimate_view(result.mine.estimate),
    ]
    if result.confrontations:
        blocks += confront_view(result.confrontations)
    blocks += _evaluation(result)
    blocks += [*missed_view(result.missed), *_curveballs(result), *_rubric(result), *reference_view(result)]
    if result.walk.notes:
        blocks += [Heading("Your notes"), Bullets(result.walk.notes)]
    blocks += [*review_view(result), Heading("Formulas"), *formulas_view(result.mine.estimate)]
    return tuple(blocks)


def _how_it_went(result: WalkResult) -> str:
    walk = result.walk
    taken = f"{len(walk.hints)} hints, {len(walk.revealed)} steps revealed"
    return f"{result.minutes:.1f} minutes; {taken}; seed {result.mine.estimate.seed}."


def _diagram(result: WalkResult) -> str:
    graph, stages = result.architecture.online, result.mine.file.design.stages
    labels = {name: f"{name}: {stages[name].kind}" for name in graph.names if name in stages}
    return mermaid(graph.names, graph.edges, labels=labels)


def _words(result: WalkResult) -> list[Block]:
    design = result.mine.file.design
    rows = tuple((name, stage_text(stage), design.words.get(name, "")) for name, stage in design.stages.items())
    left_out = [role.id for role in result.scenario.roles if role.id not in design.stages]
    rows += tuple((name, "none", design.words[name]) for name in left_out if name in design.words)
    blocks: list[Block] = [Grid(("stage", "what", "why, in your words"), rows, "Components")]
    blocks += [Text(f"{name}: {what}", "warn") for name, what in result.callouts]
    spoken = (("architecture", "On the architecture"), ("latency", "On latency and cost"))
    blocks += [Text(f"{title}: {design.words[name]}") for name, title in spoken if name in design.words]
    return blocks


def _evaluation(result: WalkResult) -> list[Block]:
    answers = result.walk.answers
    said = [("metrics", answers.get("metrics", "")), *((name, answers.get(name, "")) for name in PLAN_PROMPTS)]
    rows = tuple((name.replace("_", " "), text or "–") for name, text in said)
    blocks: list[Block] = [Heading("Evaluation"), Grid(("plan", "your words"), rows)]
    if result.plan_gaps:
        blocks.append(Bullets(result.plan_gaps, "warn"))
    if result.planned:
        blocks += verdict_view(result.planned, title="Your own thresholds")
    run = result.mine.run
    blocks += measurement_view(run.measurement) if run.measurement else no_measurement_view(run.reason)
    return blocks


def _curveballs(result: WalkResult) -> list[Block]:
    answers = result.walk.answers
    asked = [ball for ball in result.scenario.curveballs if f"curveball.{ball.id}" in answers]
    if not asked:
        return []
    rows = tuple((ball.prompt, answers[f"curveball.{ball.id}"] or "–", ball.reference) for ball in asked)
    return [Heading("Curveballs"), Grid(("what happened", "you said", "a strong answer"), rows)]


def _rubric(result: WalkResult) -> list[Block]:
    rows = tuple(_rubric_row(one) for one in result.marked)
    columns = ("step", ">weight", "point", "evidence in your words", "found", "you say")
    return [Heading("Rubric"), Grid(columns, rows, "", "Found says where to look; only your own mark is a score.")]


def _rubric_row(one: Marked) -> tuple[str, ...]:
    evidence = " … ".join(one.coverage.evidence)
    careful = f" ({'; '.join(one.coverage.warnings)})" if one.coverage.warnings else ""
    return (
        one.point.step,
        str(one.point.weight),
        one.point.text,
        evidence,
        one.coverage.suggested + careful,
        one.self_mark or "–",
    )
