"""The walk as a state machine without I/O: events in, the next item out. Replaying the events restores any moment."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from llmdrill.errors import UsageError, did_you_mean, nearest_names
from llmdrill.scale import architecture, components, ending, evaluation, latency_cost
from llmdrill.scale import scenario as scenario_step
from llmdrill.scale.prompts import Item, Prompt, Show

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from llmdrill.scale.prompts import Answers
    from llmdrill.system.scenario import Scenario

EventKind = Literal["answer", "seen", "back", "hint", "reveal", "note"]
MAX_ANSWER: Final = 20_000
_LONGEST_SHOWN: Final = 60
_NUMERAL: Final = re.compile(r"[0-9]+")  # not isdigit(): "²" is a digit and no number
_YES: Final = {"y": "yes", "yes": "yes", "n": "no", "no": "no"}
_SELF: Final = {"y": "yes", "yes": "yes", "p": "partly", "partly": "partly", "n": "no", "no": "no"}
_MODULES: Final = (scenario_step, components, architecture, latency_cost, evaluation, ending)


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened: what is saved, and all that is saved.

    Attributes:
        kind: ``answer`` and ``seen`` carry an item's id; ``hint`` and ``reveal`` a step; ``note`` only text.
        id: See ``kind``.
        text: The answer as it was read, or the note.
        seconds: Time the person took, for an answer.
    """

    kind: EventKind
    id: str = ""
    text: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Walk:
    """Where a walk stands: everything answered and seen, in order.

    Attributes:
        entries: Answers and shows that stand, in order.
        draft: The last answer taken back: the default when its prompt comes again.
        hints: Steps for which a hint was taken, one entry a hint.
        revealed: Steps whose reference words were read before the end.
        notes: What the person noted on the way.
        seconds: Time spent on answers, those taken back included: a clock does not run backwards.
    """

    entries: tuple[Event, ...] = ()
    draft: Event | None = None
    hints: tuple[str, ...] = ()
    revealed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def answers(self) -> Answers:
        """Prompt id → answer, and show id → empty text."""
        return {entry.id: entry.text for entry in self.entries}


def apply(walk: Walk, event: Event) -> Walk:
    """Return the walk after an event; every event is possible at every moment."""
    match event.kind:
        case "answer" | "seen":
            if any(entry.id == event.id for entry in walk.entries):
                return walk
            return replace(walk, entries=(*walk.entries, event), draft=None, seconds=walk.seconds + event.seconds)
        case "back":
            return _back(walk)
        case "hint":
            return replace(walk, hints=(*walk.hints, event.id))
        case "reveal":
            return replace(walk, revealed=tuple(dict.fromkeys((*walk.revealed, event.id))))
        case "note":
            return replace(walk, notes=(*walk.notes, event.text))


def _back(walk: Walk) -> Walk:
    """Take the last answer back, and whatever was shown after it."""
    last = max((index for index, entry in enumerate(walk.entries) if entry.kind == "answer"), default=None)
    if last is None:
        return walk
    return replace(walk, entries=walk.entries[:last], draft=walk.entries[last])


def replay(events: Iterable[Event]) -> Walk:
    """Return the walk that these events lead to."""
    walk = Walk()
    for event in events:
        walk = apply(walk, event)
    return walk


def refit(scenario: Scenario, events: Iterable[Event]) -> Walk:
    """Return the walk that these events lead to if the scenario has changed since: what does not fit is left out."""
    walk = Walk()
    for event in events:
        if event.kind not in {"answer", "seen"} or _fits(scenario, walk, event):
            walk = apply(walk, event)
    return walk


def _fits(scenario: Scenario, walk: Walk, event: Event) -> bool:
    item = next((item for item in all_items(scenario, walk.answers) if item.id == event.id), None)
    if not isinstance(item, Prompt) or event.kind == "seen":
        return isinstance(item, Show) and event.kind == "seen"
    try:
        return answer(scenario, walk, replace(item, default=""), event.text).text == event.text
    except UsageError:
        return not event.text  # a skipped answer fits


def all_items(scenario: Scenario, answers: Answers) -> Iterator[Item]:
    """Yield every item in order, as far as the answers decide which come next."""
    return itertools.chain.from_iterable(module.items(scenario, answers) for module in _MODULES)


def next_item(scenario: Scenario, walk: Walk) -> Item | None:
    """Return what comes next, or None at the end."""
    answers = walk.answers
    for item in all_items(scenario, answers):
        if item.id not in answers:
            return _with_draft(item, walk.draft)
    return None


def _with_draft(item: Item, draft: Event | None) -> Item:
    if draft is not None and isinstance(item, Prompt) and draft.id == item.id and draft.text:
        return replace(item, default=draft.text)
    return item


def answer(scenario: Scenario, walk: Walk, prompt: Prompt, text: str, *, seconds: float = 0.0) -> Event:
    """Return the event that answers ``prompt``: the text read, checked, and put into its canonical form.

    Raises:
        UsageError: If the text is no answer to this prompt; nothing has changed then.
    """
    if len(text) > MAX_ANSWER:
        raise UsageError(f"that is longer than {MAX_ANSWER:,} characters")
    typed = _clean(text) or prompt.default
    return Event("answer", prompt.id, _READERS[prompt.kind](scenario, walk.answers, prompt, typed), seconds)


def seen(show: Show) -> Event:
    """Return the event that records a show as seen."""
    return Event("seen", show.id)


def note(text: str) -> Event:
    """Return the event that keeps a note."""
    return Event("note", text=_clean(text))


def _clean(text: str) -> str:
    """Drop control characters (a terminal's stray escape codes) but keep line breaks; half characters become ``?``."""
    whole = text.encode("utf-8", "replace").decode("utf-8")
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f-\x9f]", "", whole).strip()


# --- one reader a kind: (scenario, answers, prompt, typed) -> canonical text -------------------------------------


def _read_ask(scenario: Scenario, answers: Answers, prompt: Prompt, typed: str) -> str:
    del scenario, answers
    return _pick(prompt, typed) if _NUMERAL.fullmatch(typed) else typed


def _read_choice(scenario: Scenario, answers: Answers, prompt: Prompt, typed: str) -> str:
    del scenario, answers
    return _pick(prompt, typed)


def _pick(prompt: Prompt, typed: str) -> str:
    ids = [choice.id for choice in prompt.choices]
    if _NUMERAL.fullmatch(typed):
        number = int(typed[:_LONGEST_SHOWN])  # so many digits are out of range as well
        if not 1 <= number <= len(ids):
            raise UsageError(f"there is no {_short(typed)}: choose 1 to {len(ids)}")
        return ids[number - 1]
    if typed.lower() in ids:
        return typed.lower()
    starts = [name for name in ids if typed and name.startswith(typed.lower())]
    if len(starts) == 1:
        return starts[0]
    raise UsageError(f"'{_short(typed)}' is none of them{did_you_mean(nearest_names(typed, ids))}; a number or a name")


def _short(typed: str) -> str:
    """Return what was typed as one short line for a message."""
    line = " ".join(typed.split())
    return line if len(line) <= _LONGEST_SHOWN else f"{line[:_LONGEST_SHOWN]}…"


def _read_yes_no(scenario: Scenario, answers: Answers, prompt: Prompt, typed: str) -> str:
    del scenario, answers, prompt
    if typed.lower() not in _YES:
        raise UsageError(f"'{_short(typed)}': yes or no?")
    return _YES[typed.lower()]


def _read_self(scenario: Scenario, answers: Answers, prompt: Prompt, typed: str) -> str:
    del scenario, answers
    if not typed:
        return ""
    if _NUMERAL.fullmatch(typed):
        return _pick(prompt, typed)
    if typed.lower() not in _SELF:
        raise UsageError(f"'{_short(typed)}': yes, partly or no? (Enter leaves it open)")
    return _SELF[typed.lower()]


def _read_settings(scenario: Scenario, answers: Answers, prompt: Prompt, typed: str) -> str:
    option = components.chosen_options(scenario, answers)[prompt.about]
    return components.read_settings(option, typed)


def _read_limit(scenario: Scenario, answers: Answers, prompt: Prompt, typed: str) -> str:
    del answers
    return scenario_step.read_limit(scenario, prompt.about, typed)


def _read_number(scenario: Scenario, answers: Answers, prompt: Prompt, typed: str) -> str:
    question = next(question for question in scenario.numbers if question.id == prompt.about)
    if question.dimension == "stage" and typed:
        known = architecture.online_roles(scenario, answers)
        if typed.lower() not in known:
            raise UsageError(f"'{_short(typed)}' is none of your stages: {', '.join(known)}")
        return typed.lower()
    return scenario_step.check_number(typed, question.dimension, question.bare_unit)


def _read_flow(scenario: Scenario, answers: Answers, prompt: Prompt, typed: str) -> str:
    return architecture.read_flow(scenario, answers, prompt.about, typed)


def _read_plan(scenario: Scenario, answers: Answers, prompt: Prompt, typed: str) -> str:
    del scenario, answers, prompt
    return evaluation.read_plan(typed)


def _read_words(scenario: Scenario, answers: Answers, prompt: Prompt, typed: str) -> str:
    del scenario, answers, prompt
    return typed


_READERS: Final[dict[str, Callable[[Scenario, Answers, Prompt, str], str]]] = {
    "ask": _read_ask,
    "yes_no": _read_yes_no,
    "choice": _read_choice,
    "settings": _read_settings,
    "line": _read_words,
    "prose": _read_words,
    "limit": _read_limit,
    "number": _read_number,
    "flow": _read_flow,
    "plan": _read_plan,
    "self": _read_self,
}
