"""Which blocks belong to which show of the walk."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from llmdrill.errors import ContentError, UsageError
from llmdrill.report import walk_views
from llmdrill.report.blocks import Text
from llmdrill.scale.architecture import architecture
from llmdrill.scale.components import NONE, callout
from llmdrill.scale.evaluation import plan_gaps
from llmdrill.scale.flow import FlowError
from llmdrill.scale.scenario import ALREADY_ASKED, missed_topics, topic_by_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from llmdrill.grading.coverage import PointCoverage
    from llmdrill.report.blocks import Blocks, Tone
    from llmdrill.report.terminal import Terminal
    from llmdrill.scale.prompts import Prompt, Show
    from llmdrill.scale.result import WalkResult
    from llmdrill.scale.walk import Walk
    from llmdrill.scale.workbench import Workbench
    from llmdrill.system.scenario import Scenario


class Shows:
    """Turns shows and prompts into blocks and lines; everything heavy waits for the first show that needs it."""

    def __init__(self, scenario: Scenario, *, terminal: Terminal, bench: Callable[[], Workbench]) -> None:
        self.scenario, self.terminal = scenario, terminal
        self._bench = bench

    # --- shows ----------------------------------------------------------------------------------------------------

    def blocks(self, show: Show, walk: Walk) -> Blocks:
        """Return what a show puts on the screen; a design that does not hold together is said, not raised."""
        try:
            return self._blocks(show, walk)
        except ContentError as error:
            return (Text(f"This design cannot be computed: {error}. `:back` returns to it.", "bad"),)

    def _blocks(self, show: Show, walk: Walk) -> Blocks:
        scenario, answers = self.scenario, walk.answers
        match show.what:
            case "brief":
                return walk_views.brief_view(scenario)
            case "fact":
                topic = topic_by_id(scenario, show.about)
                return walk_views.fact_view(topic) if topic else ()
            case "no_match":
                return walk_views.no_match_view()
            case "callout":
                role = scenario.role(show.about)
                what = callout(role, role.option(answers.get(f"role.{role.id}", NONE))) if role else None
                return walk_views.callout_view(role, what) if role and what else ()
            case "flow":
                found = architecture(scenario, answers)
                width, plain = self.terminal.width, self.terminal.plain
                return walk_views.flow_view(found, width=width, plain=plain) if found else ()
            case "plan_gaps":
                return walk_views.plan_gaps_view(plan_gaps(scenario, answers))
            case "missed":
                return walk_views.missed_view(missed_topics(scenario, answers))
            case "curveball":
                ball = next(ball for ball in scenario.curveballs if ball.id == show.about)
                return walk_views.curveball_view(ball)
            case _:
                return self._computed(show, walk)

    def _computed(self, show: Show, walk: Walk) -> Blocks:
        from llmdrill.report import confront_views, estimate_views, measurement_views, walk_report

        bench, answers = self._bench(), walk.answers
        match show.what:
            case "estimate":
                return estimate_views.estimate_view(
                    bench.estimate(bench.design(answers).design), width=self.terminal.width
                )
            case "numbers":
                return estimate_views.numbers_view(self.scenario, bench.numbers(answers))
            case "confront":
                file = bench.design(answers)
                rows = bench.confrontations(file)
                reason = bench.run(file.design).reason
                return confront_views.confront_view(rows) if rows else measurement_views.no_measurement_view(reason)
            case "evaluation":
                judged = bench.judge(bench.design(answers))
                bench.begin_reference()
                run = judged.run
                seen = (
                    measurement_views.measurement_view(run.measurement, brief=True)
                    if run.measurement
                    else measurement_views.no_measurement_view(run.reason)
                )
                verdicts = estimate_views.verdict_view(judged.verdicts)
                planned = bench.planned(answers, judged)
                own = estimate_views.verdict_view(planned, title="Your own thresholds") if planned else ()
                return (*seen, *verdicts, *own)
            case "coverage":
                return walk_views.coverage_view(bench.coverage(answers))
            case "reference":
                return walk_report.reference_view(self.result(walk))
            case _:
                return walk_report.summary_view(self.result(walk))

    def result(self, walk: Walk) -> WalkResult:
        """Return the result of the walk as it stands."""
        from llmdrill.scale.result import walk_result

        return walk_result(self._bench(), walk)

    def formulas(self, walk: Walk, stage: str | None) -> Blocks:
        """Return the formulas of the person's estimate, once there is a design."""
        from llmdrill.report.estimate_views import formulas_view

        if architecture(self.scenario, walk.answers) is None:
            return (Text("There is no design to compute yet: formulas come with step L.", "dim"),)
        bench = self._bench()
        return formulas_view(bench.estimate(bench.design(walk.answers).design), stage)

    # --- prompts --------------------------------------------------------------------------------------------------

    def prompt_lines(self, prompt: Prompt, walk: Walk) -> Iterator[tuple[str, Tone]]:
        """Yield the lines above the cursor: question, numbered choices, help, evidence."""
        width = self.terminal.width
        if prompt.step == "L" and prompt.kind == "number":
            self._begin_run(walk)
        for line in textwrap.wrap(prompt.text, width):
            yield line, "plain"
        if prompt.kind == "ask":
            left = [f"{n} {c.label}" for n, c in enumerate(prompt.choices, start=1) if c.detail != ALREADY_ASKED]
            for line in _columns(left, width):
                yield line, "plain"
        elif prompt.kind == "choice":
            for number, choice in enumerate(prompt.choices, start=1):
                label = f"{number} {choice.id}: {choice.label}" if choice.id != NONE else f"{number} none"
                yield textwrap.fill(label, width, initial_indent="  ", subsequent_indent="    "), "plain"
                yield textwrap.fill(choice.detail, width, initial_indent="      ", subsequent_indent="      "), "dim"
        elif prompt.kind == "self":
            evidence = walk_views.evidence_text(self._evidence(prompt, walk))
            for line in evidence.splitlines():
                yield textwrap.fill(line, width, subsequent_indent="  "), "dim"
        if prompt.detail:
            yield textwrap.fill(prompt.detail, width), "dim"

    def _begin_run(self, walk: Walk) -> None:
        """Start the real run while the person still does sums."""
        try:
            bench = self._bench()
            bench.begin_run(bench.design(walk.answers).design)
        except (ContentError, UsageError):
            return  # the show of the estimate says what is wrong with the design

    def _evidence(self, prompt: Prompt, walk: Walk) -> PointCoverage | None:
        return next((row for row in self._bench().coverage(walk.answers) if row.point == prompt.about), None)

    def refused(self, prompt: Prompt, error: UsageError, terminal: Terminal) -> None:
        """Say why an answer was refused, with a caret under the place in a flow."""
        if isinstance(error, FlowError) and prompt.kind == "flow":
            terminal.line("  " + error.text.replace("\n", " "))
            terminal.line("  " + " " * error.position + "^", "warn")
        terminal.line(str(error), "warn")


def _columns(cells: list[str], width: int) -> Iterator[str]:
    """Yield short cells in as many columns as fit."""
    if not cells:
        return
    cell = max(map(len, cells)) + 3
    count = max(1, (width - 2) // cell)
    for start in range(0, len(cells), count):
        yield "  " + "".join(text.ljust(cell) for text in cells[start : start + count]).rstrip()
