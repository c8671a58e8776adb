"""Read log-probabilities as they come: a number a line, a JSON array, or an OpenAI-style response."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from llmdrill.cli.calc.files import json_value
from llmdrill.errors import ContentError, Mistake

NOT_LISTED: Final = -9999.0  # what OpenAI's interface gives a token outside its list of likely ones
_SHAPES: Final = "a JSON array of numbers, or a response with choices[0].logprobs"


@dataclass(frozen=True, slots=True)
class Logprobs:
    """Log-probabilities in the base they were written in.

    Attributes:
        values: One for each scored token; minus infinity where the interface lists none.
        text_bytes: UTF-8 length of these tokens, where the response says it.
        notes: What was left out or looks odd.
    """

    values: tuple[float, ...]
    text_bytes: int | None = None
    notes: tuple[str, ...] = ()


def read_logprobs(text: str, name: str) -> Logprobs:
    """Return the log-probabilities that a text holds.

    Raises:
        ContentError: With the line of what is no log-probability.
    """
    if not text.lstrip().startswith(("[", "{")):
        return _lines(text, name)
    value = json_value(text, name)
    if isinstance(value, list):
        return Logprobs(tuple(_number(one, name, 1, f"[{at}]") for at, one in enumerate(value)) or _none(name))
    return _response(value, name)


def _lines(text: str, name: str) -> Logprobs:
    rows = [(line, raw.strip()) for line, raw in enumerate(text.splitlines(), start=1) if raw.strip()]
    values = [_number(_parsed(raw), name, line, "", shown=raw) for line, raw in rows]
    return Logprobs(tuple(values) or _none(name))


def _parsed(raw: str) -> float | None:
    try:
        return float(raw)
    except ValueError:
        return None


def _response(value: Any, name: str) -> Logprobs:  # noqa: ANN401 - any JSON value
    """Return what the first choice of a response says: chat completions (content) or completions (token_logprobs)."""
    choices = value.get("choices") if isinstance(value, dict) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    found = first.get("logprobs") if isinstance(first, dict) else None
    if not isinstance(choices, list) or not isinstance(found, dict):
        _refuse(name, f"holds neither {_SHAPES} (ask the interface for logprobs)")
    more = (f"the response has {len(choices)} choices; the first is taken",) if len(choices) > 1 else ()
    if isinstance(found.get("content"), list):
        return _chat(found["content"], name, more)
    if not isinstance(found.get("token_logprobs"), list):
        _refuse(name, "choices[0].logprobs has neither content nor token_logprobs")
    return _completion(found["token_logprobs"], name, more)


def _chat(content: list[Any], name: str, notes: tuple[str, ...]) -> Logprobs:
    where = "choices[0].logprobs.content"
    tokens = [one if isinstance(one, dict) else {} for one in content]
    values = tuple(_number(one.get("logprob"), name, 1, f"{where}[{at}].logprob") for at, one in enumerate(tokens))
    sizes = [len(one["bytes"]) if isinstance(one.get("bytes"), list) else None for one in tokens]
    known = sum(size for size in sizes if size is not None) if None not in sizes else None
    return Logprobs(values or _none(name), known or None, notes)


def _completion(listed: list[Any], name: str, notes: tuple[str, ...]) -> Logprobs:
    where = "choices[0].logprobs.token_logprobs"
    if listed and listed[0] is None:  # an echoed prompt's first token has nothing before it
        notes += ("the first token has no log-probability and is not counted",)
    values = tuple(
        _number(one, name, 1, f"{where}[{at}]") for at, one in enumerate(listed) if at or listed[0] is not None
    )
    return Logprobs(values or _none(name), None, notes)


def _number(value: Any, name: str, line: int, where: str, *, shown: str = "") -> float:  # noqa: ANN401 - any JSON value
    said = (shown or repr(value))[:40]
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # noqa: PLR0124 - NaN
        raise ContentError([Mistake(name, line, 1, where, f"a log-probability must be a number, got {said}")])
    if value > 0:
        what = f"a log-probability must be at most 0, got {said}: is it a probability, or a negative log-probability?"
        raise ContentError([Mistake(name, line, 1, where, what)])
    return -math.inf if value <= NOT_LISTED else float(value)


def _none(name: str) -> NoReturn:
    _refuse(name, "holds no log-probability")


def _refuse(name: str, what: str) -> NoReturn:
    raise ContentError([Mistake(name, 1, 1, "", what)])
