"""Grade the answers to one drill: numbers and picks exactly, prose by the person; the tool never credits prose."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llmdrill.errors import UsageError
from llmdrill.grading.numbers import grade_number
from llmdrill.practice.calculate import Call, call_value
from llmdrill.practice.drill import (
    ChoiceDrill,
    CodeDrill,
    DebugDrill,
    Drawn,
    EstimateDrill,
    ExplainDrill,
    NumericDrill,
    OrderDrill,
    Quotient,
)
from llmdrill.practice.posed import ANSWER, LAYERS, LETTERS, keeps_order
from llmdrill.units import format_quantity, parse_quantity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmdrill.practice.drill import NumberMistake, Option
    from llmdrill.practice.posed import Posed

SELF_CREDIT: Final = {"yes": 1.0, "partly": 0.5, "no": 0.0}
EXACT_LOG10: Final = 0.1  # an order-of-magnitude guess this near gets all of it
LOST_LOG10: Final = 1.0  # and one that is off by a factor of ten nothing
_SELF_WORDS: Final = {"y": "yes", "p": "partly", "n": "no", "": "no"}


@dataclass(frozen=True, slots=True)
class Grade:
    """What an answer is worth, and why.

    Attributes:
        score: 0 to 1 by the tool; None where only the person can say (explanations and stories).
        self_score: 0 to 1 as the person marks it; None where there is nothing to mark.
        lines: What to tell the person, shortest first.
        mistake: Name of the mistake that was recognised.
        ratio: stated / right, of a number.
        log10_error: |log10 ratio|, of a number.
    """

    score: float | None
    self_score: float | None = None
    lines: tuple[str, ...] = ()
    mistake: str | None = None
    ratio: float | None = None
    log10_error: float | None = None

    @property
    def correct(self) -> bool | None:
        """Whether the tool's score is full; None where it gives none."""
        return None if self.score is None else self.score >= 1.0


def grade(posed: Posed, answers: Mapping[str, str], *, checked: Grade | None = None) -> Grade:
    """Return the grade of a drill's answers; an absent or empty one is worth nothing.

    Args:
        posed: The draw that was put.
        answers: What was typed, by ``Ask.id``.
        checked: Of a code drill: what its checks said (they run in another process; ``practice.code`` starts it).

    Raises:
        UsageError: If an answer cannot be read: a number without sense, a letter that is not there.
    """
    drill = posed.drill
    if isinstance(drill, Drawn):
        return _grade_number(posed, drill, answers.get("number", ""))
    if isinstance(drill, ChoiceDrill):
        return _grade_picks(posed, drill.options, answers.get("pick", ""), several=drill.pick == "several")
    if isinstance(drill, OrderDrill):
        return _grade_order(posed, drill, answers.get("order", ""))
    if isinstance(drill, DebugDrill):
        return _grade_debug(posed, drill, answers)
    if isinstance(drill, CodeDrill):
        return checked or Grade(0.0, lines=("nothing was checked",))
    return Grade(None, self_score(posed, answers))


def check_answer(posed: Posed, ask_id: str, text: str) -> None:
    """Refuse an answer that cannot be read, as soon as it is typed.

    Raises:
        UsageError: With what is wrong and what would do.
    """
    ask = next(ask for ask in posed.asks if ask.id == ask_id)
    if not text.strip():
        return
    if ask.kind == "number" and isinstance(posed.drill, Drawn):
        parse_quantity(text, posed.drill.answer.dimension)
    elif ask.kind in {"pick", "picks", "order"}:
        picked = read_letters(text, ask.choices)
        if ask.kind == "pick" and len(picked) != 1:
            raise UsageError(f"pick one letter, a to {LETTERS[len(ask.choices) - 1]}")
        if ask.kind == "order" and len(picked) != len(ask.choices):
            raise UsageError(f"give all {len(ask.choices)} letters, each once, such as {' '.join(LETTERS[:3])} …")
    elif ask.kind == "self":
        read_self(text)


def read_letters(text: str, choices: Sequence[str]) -> tuple[int, ...]:
    """Return the places of the letters typed: ``b``, ``a, c``, ``cab`` or a choice's own words.

    Raises:
        UsageError: If a letter is not there or comes twice.

    >>> read_letters("C, a", ["x", "y", "z"])
    (2, 0)
    """
    words = text.strip().lower()
    whole = [at for at, choice in enumerate(choices) if len(words) > 1 and choice.lower() == words]
    if whole:
        return (whole[0],)
    typed = [letter for letter in words if letter not in " ,;>-"]
    places = tuple(LETTERS.find(letter) for letter in typed)
    if not places or any(not 0 <= place < len(choices) for place in places):
        raise UsageError(f"'{text.strip()[:40]}' is no choice: type letters from a to {LETTERS[len(choices) - 1]}")
    if len(set(places)) < len(places):
        raise UsageError("a letter comes twice")
    return places


def read_self(text: str) -> str:
    """Return ``yes``, ``partly`` or ``no`` of what was typed.

    Raises:
        UsageError: If it is none of them.
    """
    word = text.strip().lower()
    word = _SELF_WORDS.get(word, word)
    if word not in SELF_CREDIT:
        raise UsageError("type yes, partly or no (y, p, n)")
    return word


def self_score(posed: Posed, answers: Mapping[str, str]) -> float | None:
    """Return the person's own marks as a weighted share; None where nothing is to be marked."""
    points = {one.id: one.weight for one in posed.drill.points} if isinstance(posed.drill, ExplainDrill) else {}
    marked = [ask for ask in posed.asks if ask.kind == "self"]
    if not marked:
        return None
    weights = [points.get(ask.id.removeprefix("self."), 1) for ask in marked]
    marks = [SELF_CREDIT[read_self(answers.get(ask.id, ""))] for ask in marked]
    return sum(weight * mark for weight, mark in zip(weights, marks, strict=True)) / sum(weights)


def _grade_number(posed: Posed, drill: Drawn, text: str) -> Grade:
    if not text.strip():
        return Grade(0.0)
    dimension, right = drill.answer.dimension, float(posed.values[ANSWER])
    stated = parse_quantity(text, dimension)
    tolerance = drill.answer.tolerance_share
    graded = grade_number(drill.id, stated=stated, computed=right, tolerance_ratio=1.0 + tolerance)
    ratio = graded.ratio
    error = abs(math.log10(ratio)) if ratio is not None and ratio > 0 else None
    told = f"you said {format_quantity(stated, dimension)}, right is {format_quantity(right, dimension)}"
    lines: tuple[str, ...] = (told if ratio is None else f"{told}: {ratio:.3g} times", posed.worked)
    if isinstance(drill, EstimateDrill):
        return Grade(_estimate_score(error), lines=lines, ratio=ratio, log10_error=error)
    if graded.within:
        return Grade(1.0, lines=lines, ratio=ratio, log10_error=error)
    mistake = recognised(posed, stated) if isinstance(drill, NumericDrill) else None
    if mistake is not None:
        lines = (f"{mistake.name}: {mistake.why}", *lines)
    return Grade(0.0, lines=lines, mistake=mistake.name if mistake else None, ratio=ratio, log10_error=error)


def _estimate_score(error: float | None) -> float:
    if error is None:
        return 0.0
    return min(1.0, max(0.0, (LOST_LOG10 - error) / (LOST_LOG10 - EXACT_LOG10)))


def recognised(posed: Posed, stated: float) -> NumberMistake | None:
    """Return the first named mistake that the stated number is."""
    drill = posed.drill
    if not isinstance(drill, NumericDrill):
        return None
    tolerance = 1.0 + drill.answer.tolerance_share
    for mistake in drill.mistakes:
        wrong = mistaken_value(posed, mistake)
        if wrong and stated / wrong > 0 and abs(math.log(stated / wrong)) <= math.log(tolerance):
            return mistake
    return None


def mistaken_value(posed: Posed, mistake: NumberMistake) -> float:
    """Return the number that somebody gets who makes this mistake.

    Raises:
        UsageError: If the mistake names what is not there.
    """
    drill, values = posed.drill, posed.values
    if not isinstance(drill, NumericDrill):
        raise UsageError("only a numeric drill has named mistakes")
    if isinstance(mistake.ratio, Quotient):
        above, below = (call_value(_same(name), values) for name in mistake.ratio.quotient)
        return float(values[ANSWER]) * above / below
    if mistake.ratio is not None:
        return float(values[ANSWER]) * mistake.ratio
    calculator = mistake.calculator or drill.answer.calculator
    kept = {} if mistake.calculator else drill.answer.arguments
    field = "" if mistake.calculator else drill.answer.field
    return call_value(Call(calculator=calculator, arguments={**kept, **(mistake.arguments or {})}, field=field), values)


def _same(name: str) -> Call:
    return Call(calculator="arithmetic.sum", arguments={"values": (name,)})


def _grade_picks(posed: Posed, options: Sequence[Option], text: str, *, several: bool) -> Grade:
    if not text.strip():
        return Grade(0.0, lines=(posed.worked,))
    picked = {posed.shown[place] for place in read_letters(text, [options[at].text for at in posed.shown])}
    rights = {at for at, option in enumerate(options) if option.right}
    told = [f"no: {options[at].text}: {options[at].why}" for at in sorted(picked - rights)]
    if several:
        told += [f"missed: {options[at].text} {options[at].why}".rstrip() for at in sorted(rights - picked)]
    return Grade(float(picked == rights), lines=(*told, posed.worked))


def _grade_order(posed: Posed, drill: OrderDrill, text: str) -> Grade:
    if not text.strip():
        return Grade(0.0, lines=(posed.worked,))
    places = read_letters(text, [drill.steps[at].text for at in posed.shown])
    order = [posed.shown[place] for place in places]
    if keeps_order(drill, order):
        return Grade(1.0, lines=(posed.worked,))
    at = {drill.steps[index].id: place for place, index in enumerate(order)}
    text_of = {step.id: step.text for step in drill.steps}
    early = [
        f"'{step.text}' needs '{text_of[before]}' first"
        for step in drill.steps
        for before in step.after
        if at.get(before, len(order)) > at.get(step.id, -1)
    ]
    return Grade(0.0, lines=(*early[:1], posed.worked))


def _grade_debug(posed: Posed, drill: DebugDrill, answers: Mapping[str, str]) -> Grade:
    """Give half for the layer, half for the smallest fix; the reason is the person's to judge."""
    layer_text = answers.get("layer", "")
    layer = LAYERS[read_letters(layer_text, LAYERS)[0]] if layer_text.strip() else ""
    fix = _grade_picks(posed, drill.fixes, answers.get("fix", ""), several=False)
    right_layer = layer == drill.layer
    told = () if right_layer else (f"the layer is {drill.layer}" + (f", not {layer}" if layer else ""),)
    score = (float(right_layer) + float(fix.score or 0.0)) / 2
    return Grade(score, self_score(posed, answers), (*told, *fix.lines))
