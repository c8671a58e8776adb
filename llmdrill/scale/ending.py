"""The end: coverage with self-assessment, the reference beside the person's design, and the curveballs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from llmdrill.scale.prompts import Choice, Prompt, Show

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmdrill.scale.prompts import Answers, Item
    from llmdrill.system.scenario import Scenario

MOST_CURVEBALLS: Final = 3
SELF_CHOICES: Final = (Choice("yes", "yes"), Choice("partly", "partly"), Choice("no", "no"))


def items(scenario: Scenario, answers: Answers) -> Iterator[Item]:
    """Yield curveballs, then the reference, then the rubric for the person to judge themselves."""
    del answers
    for curveball in scenario.curveballs[:MOST_CURVEBALLS]:
        yield Prompt(f"curveball.{curveball.id}", "end", "prose", curveball.prompt, about=curveball.id)
        yield Show(f"show.curveball.{curveball.id}", "end", "curveball", curveball.id)
    yield Show("show.reference", "end", "reference")
    yield Show("show.missed", "end", "missed")
    yield Show("show.coverage", "end", "coverage")
    for point in scenario.rubric:
        yield Prompt(
            id=f"self.{point.id}",
            step="end",
            kind="self",
            text=f"[{point.step}] {point.text} Did you say it?",
            default="",
            choices=SELF_CHOICES,
            about=point.id,
        )
    yield Show("show.summary", "end", "summary")
