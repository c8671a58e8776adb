"""Prove drills as a compiler would: what each promises is tried out, and whatever does not hold has its place."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from llmdrill.content import load_yaml, validate
from llmdrill.errors import ContentError, LlmdrillError, Mistake
from llmdrill.practice.code import code_mistakes
from llmdrill.practice.drawn import corner_values
from llmdrill.practice.drill import BaseDrill, ChoiceDrill, CodeDrill, DebugDrill, Drawn, DrillFile, NumericDrill
from llmdrill.practice.filled import fill, placeholders, plain
from llmdrill.practice.grade import grade, mistaken_value
from llmdrill.practice.library import ids_in
from llmdrill.practice.posed import ANSWER, pose, posed_with, reference_answers, solved
from llmdrill.practice.topics import TOPICS
from llmdrill.practice.traces import trace_mistakes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from llmdrill.practice.drawn import Value
    from llmdrill.practice.drill import Drill
    from llmdrill.practice.posed import Posed

SEEDS: Final = range(5)
_NUMBER: Final = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?:e-?\d+)?")
# Numbers that a worked answer may type: those everybody knows; all others are put in from the draw.
_COMMON: Final = frozenset(
    {float(number) for number in range(13)} | {16.0, 24.0, 30.0, 32.0, 60.0, 64.0, 1024.0, 3600.0}
)


def validate_drills(
    files: Sequence[Path], *, beside: Sequence[Path] = (), run_code: bool = True
) -> tuple[Mistake, ...]:
    """Return every mistake of these files, in their order; none means that the content is proven.

    Args:
        files: Drill files.
        beside: Further ones, whose ids are taken; they are not looked at otherwise.
        run_code: Whether starters and solutions of code drills are run; without, only their files are looked at.
    """
    mistakes: list[Mistake] = []
    first = {drill_id: file.name for drill_id, file in ids_in(beside).items()}
    for path in files:
        try:
            located = load_yaml(path)
            file = validate(located, DrillFile)
        except ContentError as error:
            mistakes += error.mistakes
            continue
        if file.topic != path.stem:
            mistakes.append(located.mistake(("topic",), f"the file is called '{path.stem}'"))
        for number, drill in enumerate(file.drills):
            place = ("drills", number)
            if drill.id in first:
                mistakes.append(located.mistake((*place, "id"), f"'{drill.id}' stands in {first[drill.id]} too"))
            first.setdefault(drill.id, path.name)
            mistakes += [
                located.mistake((*place, *where), what)
                for where, what in _drill_mistakes(drill, path.parent, run_code=run_code)
            ]
    return tuple(mistakes)


_Found = tuple[tuple[str | int, ...], str]


def _drill_mistakes(drill: Drill, folder: Path, *, run_code: bool) -> Iterator[_Found]:
    yield from ((("tags", at), f"unknown topic '{tag}'") for at, tag in enumerate(drill.tags) if tag not in TOPICS)
    try:
        for seed in SEEDS:
            yield from _grading_mistakes(pose(drill, seed=seed))
        if isinstance(drill, Drawn):
            yield from _drawn_mistakes(drill)
        else:
            yield from _hint_mistakes(drill, {})
    except LlmdrillError as error:
        yield (), str(error)
        return
    if isinstance(drill, DebugDrill):
        yield from trace_mistakes(drill)
    if isinstance(drill, CodeDrill):
        yield from code_mistakes(drill, folder / "code" / drill.id, run=run_code)


def _grading_mistakes(posed: Posed) -> Iterator[_Found]:
    """Hold the grader to the reference answer, and to none."""
    if isinstance(posed.drill, CodeDrill):
        return
    full, empty = grade(posed, reference_answers(posed)), grade(posed, {})
    if full.score not in {None, 1.0} or full.self_score not in {None, 1.0}:
        yield (), f"the reference answer gets {full.score}, not full marks"
    if empty.score not in {None, 0.0} or empty.self_score not in {None, 0.0}:
        yield (), f"an empty answer gets {empty.score}, not nothing"


def _drawn_mistakes(drill: Drawn) -> Iterator[_Found]:
    """Try the whole range: a finite answer everywhere, texts that can be filled, mistakes that are recognised."""
    yield from _typed_numbers(drill)
    told = frozenset(_told_by(drill, drill.prompt))
    for name in drill.parameters:
        if name not in told:
            yield ("parameters", name), "is drawn, and the prompt does not tell it"
    seen: set[tuple[str | int, ...]] = set()  # one draw is enough to show a mistake
    for values in corner_values(drill.cases, drill.parameters):
        found = tuple(_draw_mistakes(drill, solved(drill, values)))
        yield from (one for one in found if one[0] not in seen)
        seen.update(place for place, _ in found)


def _told_by(drill: Drawn, text: str) -> Iterator[str]:
    """Yield the names that a text tells, by themselves or in a step that is made of them."""
    for name in placeholders(text):
        yield name
        if name in drill.steps:
            yield from _told_by(drill, " ".join(f"{{{one}}}" for one in _references(drill.steps[name].arguments)))


def _references(data: object) -> Iterator[str]:
    if isinstance(data, str) and data.startswith("$"):
        yield data[1:]
    elif isinstance(data, dict | list | tuple):
        for inner in data.values() if isinstance(data, dict) else data:
            yield from _references(inner)


def _draw_mistakes(drill: Drawn, values: Mapping[str, Value]) -> Iterator[_Found]:
    right = float(values[ANSWER])
    if right <= 0:
        yield ("answer",), f"is {right:g} at {_told(values)}: only positive numbers can be stated and compared"
        return
    fill(drill.worked, values)
    yield from _hint_mistakes(drill, values)
    if not isinstance(drill, NumericDrill):
        return
    posed = posed_with(drill, values)
    for at, mistake in enumerate(drill.mistakes):
        wrong = mistaken_value(posed, mistake)
        found = grade(posed, {"number": repr(wrong)})
        if found.mistake != mistake.name:
            said = "is right" if found.correct else f"is taken for '{found.mistake}'" if found.mistake else "is unknown"
            yield ("mistakes", at), f"{said} at {_told(values)}: change the mistake, the tolerance or the range"


def _told(values: Mapping[str, Value]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items() if name != ANSWER)


def _hint_mistakes(drill: BaseDrill, values: Mapping[str, Value]) -> Iterator[_Found]:
    for at, hint in enumerate(drill.hints):
        text = fill(hint, {name: value for name, value in values.items() if name != ANSWER}) if values else hint
        if any(given in text.lower() for given in _giveaways(drill, values)):
            yield ("hints", at), "gives the answer away"


def _giveaways(drill: BaseDrill, values: Mapping[str, Value]) -> tuple[str, ...]:
    if isinstance(drill, Drawn):
        told = plain(float(values[ANSWER]))
        return (told,) if len(told) > 2 and told not in drill.prompt else ()
    if isinstance(drill, ChoiceDrill):
        return tuple(option.text.lower() for option in drill.options if option.right and len(option.text) > 12)
    if isinstance(drill, DebugDrill):
        return tuple(fix.text.lower() for fix in drill.fixes if fix.right)
    return ()


def _typed_numbers(drill: Drawn) -> Iterator[_Found]:
    """Refuse numbers that are typed into the worked answer: they would not follow the draw."""
    given = {*_COMMON, *_literals(drill.model_dump(include={"answer", "steps", "prompt"}))}
    bare = re.sub(r"\{[^{}]*\}", " ", drill.worked)
    for typed in _NUMBER.findall(bare):
        number = float(typed.replace(",", ""))
        if number not in given and not _power_of_ten(number):
            yield ("worked",), f"the number {typed} is typed: compute it in a step and put it in as {{name}}"


def _literals(data: object) -> Iterator[float]:
    if isinstance(data, bool) or data is None:
        return
    if isinstance(data, (int, float)):
        yield float(data)
    elif isinstance(data, str):
        yield from (float(typed.replace(",", "")) for typed in _NUMBER.findall(re.sub(r"\{[^{}]*\}", " ", data)))
    elif isinstance(data, dict):
        for inner in data.values():
            yield from _literals(inner)
    elif isinstance(data, (list, tuple)):
        for inner in data:
            yield from _literals(inner)


def _power_of_ten(number: float) -> bool:
    return number > 0 and float(f"{number:.0e}") == number and f"{number:.0e}".startswith("1e")
