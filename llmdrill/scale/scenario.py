"""S: the person asks clarifying questions, learns facts, and states the requirements they promise."""

from __future__ import annotations

import functools
import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llmdrill.scale.prompts import Choice, Prompt, Show
from llmdrill.system.scenario import parse_limit
from llmdrill.units import format_quantity, parse_quantity

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmdrill.scale.prompts import Answers, Item
    from llmdrill.system.scenario import Requirement, Scenario, Topic

MOST_QUESTIONS: Final = 40
MATCH_FLOOR: Final = 0.25
ALREADY_ASKED: Final = "asked"
_STOP: Final = frozenset(
    re.findall(
        r"\w+",
        "a an and any are as at be by can do does for from have how i if in is it its may me much many must of on or "
        "our should so than that the their there they this to us was we what when where which who why will with would "
        "you your",
    )
)


@dataclass(frozen=True, slots=True)
class Asked:
    """One clarifying question: what was typed, the topic it was taken for, and whether that was accepted."""

    typed: str
    topic: str | None


def items(scenario: Scenario, answers: Answers) -> Iterator[Item]:
    """Yield the step's items in order; what follows a question depends on its answer."""
    known = frozenset(asked.topic for asked in asked_questions(scenario, answers))
    told = {name for topic in scenario.topics if topic.id in known for name in topic.reveals}
    yield Show("show.brief", "S", "brief")
    for number in range(1, MOST_QUESTIONS + 1):
        prompt = _ask(scenario, known, number)
        yield prompt
        typed = answers.get(prompt.id, "")
        if not typed:
            break
        yield from _answer_items(scenario, answers, number, typed)
    for requirement in scenario.requirements:
        yield _promise(requirement, told=requirement.id in told)


def _ask(scenario: Scenario, known: frozenset[str | None], number: int) -> Prompt:
    return Prompt(
        id=f"ask.{number}",
        step="S",
        kind="ask",
        text="What do you ask the interviewer?" if number == 1 else "What else? (Enter when you know enough)",
        # All topics, always: a topic keeps its number after others were asked.
        choices=tuple(
            Choice(topic.id, topic.id.replace("-", " "), ALREADY_ASKED if topic.id in known else "")
            for topic in scenario.topics
        ),
        detail="A number from the list, or a question in your own words." if number == 1 else "",
    )


def _answer_items(scenario: Scenario, answers: Answers, number: int, typed: str) -> Iterator[Item]:
    direct = topic_by_id(scenario, typed)
    if direct:
        yield Show(f"show.fact.{number}", "S", "fact", direct.id)
        return
    match = match_topic(scenario, typed)
    if match is None:
        yield Show(f"show.no_match.{number}", "S", "no_match", typed)
        return
    yield Prompt(
        f"ask.{number}.match", "S", "yes_no", f"I take that as: {match.question} Is that what you mean?", default="yes"
    )
    if answers.get(f"ask.{number}.match") == "yes":
        yield Show(f"show.fact.{number}", "S", "fact", match.id)


def _promise(requirement: Requirement, *, told: bool) -> Prompt:
    metric = requirement.definition
    word = "at most" if metric.better == "lower" else "at least"
    return Prompt(
        id=f"promise.{requirement.id}",
        step="S",
        kind="limit",
        text=f"You promise {metric.name} {word}",
        default=format_limit(requirement) if told else "",
        detail=f"{metric.sentence}." + ("" if told else " Enter leaves it out, and a requirement left out fails."),
        about=requirement.id,
    )


def format_limit(requirement: Requirement) -> str:
    """Return a requirement's limit as a person would type it."""
    written = requirement.at_most if requirement.at_most is not None else requirement.at_least
    return written if isinstance(written, str) else format_quantity(requirement.limit, requirement.definition.dimension)


def read_limit(scenario: Scenario, requirement_id: str, text: str) -> str:
    """Return the promise as typed, checked: a quantity of the metric's dimension, or nothing.

    Raises:
        UsageError: If it is no such quantity.
    """
    requirement = scenario.requirement(requirement_id)
    typed = re.sub(r"^(<=|>=|<|>|at most|at least|=)\s*", "", text.strip())
    if typed and requirement is not None:
        parse_limit(requirement.definition, typed)
    return typed


def topic_by_id(scenario: Scenario, name: str) -> Topic | None:
    """Return the topic of that id, or None."""
    return next((topic for topic in scenario.topics if topic.id == name), None)


def asked_questions(scenario: Scenario, answers: Answers) -> tuple[Asked, ...]:
    """Return the questions put so far; a refused match counts as no topic."""
    asked = []
    for number in range(1, MOST_QUESTIONS + 1):
        typed = answers.get(f"ask.{number}", "")
        if not typed:
            break
        direct = topic_by_id(scenario, typed)
        match = direct or (match_topic(scenario, typed) if answers.get(f"ask.{number}.match") == "yes" else None)
        asked.append(Asked(typed, match.id if match else None))
    return tuple(asked)


def missed_topics(scenario: Scenario, answers: Answers) -> tuple[Topic, ...]:
    """Return the important topics never asked for."""
    known = {asked.topic for asked in asked_questions(scenario, answers)}
    return tuple(topic for topic in scenario.topics if topic.important and topic.id not in known)


def match_topic(scenario: Scenario, words: str) -> Topic | None:
    """Return the topic that a question in own words most likely means, or None.

    Formula:
        share of the question's word weight found in a topic's wording; a word weighs ln(1 + topics / topics that have
        it), words no topic has weigh as much as the rarest. None under ``MATCH_FLOOR``.

    Error:
        Words only: a question that shares no word with the bank is not matched. The person sees the match and can
        refuse it.
    """
    banks = [(topic, _words(" ".join((topic.id, topic.question, *topic.also)))) for topic in scenario.topics]
    typed = _words(words)
    frequency = Counter(word for _, bank in banks for word in bank)
    rarest = math.log(1 + len(banks))
    weight = {word: math.log(1 + len(banks) / frequency[word]) if frequency[word] else rarest for word in typed}
    total = sum(weight.values())
    if not total:
        return None
    scored = [(sum(weight[word] for word in typed & bank) / total, topic) for topic, bank in banks]
    best = max(score for score, _ in scored)
    return next(topic for score, topic in scored if score == best) if best >= MATCH_FLOOR else None


@functools.lru_cache(maxsize=512)  # the walk matches the same questions again at every prompt
def _words(text: str) -> frozenset[str]:
    """Return the words that carry meaning, their commonest English endings cut."""
    found = re.findall(r"[a-z0-9]+", text.lower())
    return frozenset(
        re.sub(r"(ies|es|s|ing|ed|ly)$", "", word) if len(word) > 4 else word for word in found if word not in _STOP
    )


def promises(scenario: Scenario, answers: Answers) -> dict[str, str]:
    """Return requirement id → limit as typed, for those the person promised."""
    typed = {requirement.id: answers.get(f"promise.{requirement.id}", "") for requirement in scenario.requirements}
    return {name: text for name, text in typed.items() if text}


def check_number(text: str, dimension: str, bare_unit: str | None) -> str:
    """Return a stated number as typed, if it can be read.

    Raises:
        UsageError: If not.
    """
    typed = text.strip().lstrip("~≈").strip()
    if typed and dimension != "stage":
        parse_quantity(typed, dimension, bare_unit=bare_unit)  # type: ignore[arg-type] # a Dimension, by the model
    return typed
