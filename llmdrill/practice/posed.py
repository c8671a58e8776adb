"""A drill as it is put before a person once: numbers drawn, options shuffled, all from one seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from llmdrill.practice.calculate import call_value
from llmdrill.practice.drawn import draw_values
from llmdrill.practice.drill import (
    ChoiceDrill,
    CodeDrill,
    DebugDrill,
    Drawn,
    ExplainDrill,
    OrderDrill,
    StoryDrill,
    reachable_order,
)
from llmdrill.practice.filled import fill

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmdrill.practice.drawn import Value
    from llmdrill.practice.drill import Drill

LAYERS: Final = ("retrieval", "context", "reasoning")
ANSWER: Final = "answer"
LETTERS: Final = "abcdefghijklmnop"


@dataclass(frozen=True, slots=True)
class Ask:
    """One thing a drill asks.

    Attributes:
        id: Stable: what an answer is stored and scripted under.
        kind: ``number``, ``pick``, ``picks``, ``order``, ``prose``, ``code``, or ``self`` (yes, partly, no).
        text: The question; empty where the drill's prompt is all of it.
        choices: To pick from or to order, as they are lettered: a, b, c …
    """

    id: str
    kind: Literal["number", "pick", "picks", "order", "prose", "code", "self"]
    text: str = ""
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Posed:
    """One draw of a drill.

    Attributes:
        seed: The same seed poses the same again.
        values: Every parameter, step and, under ``answer``, the right number.
        prompt: With its numbers put in.
        hints: Likewise.
        worked: Likewise.
        shown: Of options, fixes or steps: which of the file's stands at each letter.
        asks: What is asked, in turn; self-assessment comes after ``worked`` was shown.
    """

    drill: Drill
    seed: int
    values: Mapping[str, Value]
    prompt: str
    hints: tuple[str, ...]
    worked: str
    shown: tuple[int, ...]
    asks: tuple[Ask, ...]


def pose(drill: Drill, *, seed: int) -> Posed:
    """Return one draw of a drill.

    Raises:
        UsageError: If a calculator cannot be called as the drill says, or a text names what is not there.
    """
    rng = random.Random(seed)  # noqa: S311 - the same seed poses the same again
    values = solved(drill, draw_values(drill.cases, drill.parameters, rng=rng)) if isinstance(drill, Drawn) else {}
    return posed_with(drill, values, seed=seed, shown=_shuffled(drill, rng))


def posed_with(drill: Drill, values: Mapping[str, Value], *, seed: int = 0, shown: tuple[int, ...] = ()) -> Posed:
    """Return a drill with these values, solved, and its items in this order."""
    known = {name: value for name, value in values.items() if name != ANSWER}
    filled = isinstance(drill, Drawn)
    return Posed(
        drill,
        seed,
        values,
        fill(drill.prompt, known) if filled else drill.prompt,
        tuple(fill(hint, known) if filled else hint for hint in drill.hints),
        fill(drill.worked, values) if filled else drill.worked,
        shown,
        _asks(drill, shown),
    )


def solved(drill: Drawn, drawn: Mapping[str, Value]) -> dict[str, Value]:
    """Return drawn values with every step and the answer computed from them."""
    values = dict(drawn)
    for name, step in drill.steps.items():
        values[name] = call_value(step, values)
    return values | {ANSWER: call_value(drill.answer, values)}


def _shuffled(drill: Drill, rng: random.Random) -> tuple[int, ...]:
    items = _items(drill)
    order = tuple(rng.sample(range(len(items)), len(items)))
    if isinstance(drill, OrderDrill) and keeps_order(drill, order):
        return order[::-1]  # a list that needs no sorting is no drill; of one that may stand so, its reverse may not
    return order


def keeps_order(drill: OrderDrill, order: Sequence[int]) -> bool:
    """Tell whether the steps, in this order, all come after what they wait for, and none is missing."""
    place = {drill.steps[index].id: at for at, index in enumerate(order)}
    return len(place) == len(drill.steps) and all(
        place[before] < place[step.id] for step in drill.steps for before in step.after
    )


def _items(drill: Drill) -> tuple[str, ...]:
    if isinstance(drill, ChoiceDrill):
        return tuple(option.text for option in drill.options)
    if isinstance(drill, DebugDrill):
        return tuple(fix.text for fix in drill.fixes)
    return tuple(step.text for step in drill.steps) if isinstance(drill, OrderDrill) else ()


def _asks(drill: Drill, shown: tuple[int, ...]) -> tuple[Ask, ...]:
    items = _items(drill)
    choices = tuple(items[index] for index in shown)
    if isinstance(drill, ChoiceDrill):
        return (Ask("pick", "pick" if drill.pick == "one" else "picks", choices=choices),)
    if isinstance(drill, OrderDrill):
        return (Ask("order", "order", choices=choices),)
    if isinstance(drill, DebugDrill):
        layer = Ask("layer", "pick", "Which layer failed?", LAYERS)
        fix = Ask("fix", "pick", "Which is the smallest fix?", choices)
        return layer, fix, Ask("why", "prose", "Why? One or two sentences."), _self("why", "your reason")
    if isinstance(drill, ExplainDrill):
        return Ask("text", "prose"), *(_self(point.id, point.text) for point in drill.points)
    if isinstance(drill, StoryDrill):
        asked = (_self(one.id, f"{one.title}: {one.looks_for}") for one in drill.sections)
        return Ask("text", "prose"), *asked
    return (Ask("code", "code"),) if isinstance(drill, CodeDrill) else (Ask("number", "number"),)


def _self(name: str, text: str) -> Ask:
    return Ask(f"self.{name}", "self", text)


def letters(shown: Sequence[int], wanted: Sequence[int]) -> str:
    """Return the letters at which the file's items stand, in the order wanted.

    >>> letters((2, 0, 1), (0, 2))
    'b a'
    """
    place = {index: LETTERS[at] for at, index in enumerate(shown)}
    return " ".join(place[index] for index in wanted)


def reference_answers(posed: Posed) -> dict[str, str]:
    """Return the answers that get full marks: what the validator holds the grader against."""
    drill, shown = posed.drill, posed.shown
    if isinstance(drill, Drawn):
        return {"number": repr(float(posed.values[ANSWER]))}
    if isinstance(drill, ChoiceDrill):
        return {"pick": letters(shown, [at for at, option in enumerate(drill.options) if option.right])}
    if isinstance(drill, OrderDrill):
        place = {step.id: index for index, step in enumerate(drill.steps)}
        return {"order": letters(shown, [place[name] for name in reachable_order(drill.steps)])}
    if isinstance(drill, DebugDrill):
        fix = letters(shown, [at for at, fix in enumerate(drill.fixes) if fix.right])
        return {"layer": LETTERS[LAYERS.index(drill.layer)], "fix": fix, "why": posed.worked, "self.why": "yes"}
    if isinstance(drill, CodeDrill):
        return {"code": "solution"}
    return {ask.id: posed.worked if ask.kind == "prose" else "yes" for ask in posed.asks}
