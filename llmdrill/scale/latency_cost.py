"""L: the person's own numbers first; then the tool's estimate of their design, side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdrill.scale.prompts import Prompt, Show

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmdrill.scale.prompts import Answers, Item
    from llmdrill.system.scenario import NumberQuestion, Scenario


def items(scenario: Scenario, answers: Answers) -> Iterator[Item]:
    """Yield the number questions, then the comparison, the estimate and the confrontation with a real run."""
    del answers
    for question in scenario.numbers:
        yield _number(question)
    yield Show("show.estimate", "L", "estimate")
    yield Show("show.numbers", "L", "numbers")
    yield Show("show.confront", "L", "confront")
    yield Prompt(
        "latency.why", "L", "prose", "Where does the time go, where does the money go, and what would you cut first?"
    )


def _number(question: NumberQuestion) -> Prompt:
    stage = question.dimension == "stage"
    return Prompt(
        id=f"number.{question.id}",
        step="L",
        kind="number",
        text=question.prompt,
        detail="The name of a stage." if stage else "Your estimate, with its unit. Enter skips it.",
        about=question.id,
    )
