"""YAML into frozen dataclasses, strictly and without pydantic: `calc` must start fast.

Every mistake is a ContentError at its line; an unknown key, a missing one and a wrong type are all refused.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import types
import typing
from typing import TYPE_CHECKING, Any, TypeVar

from llmdrill.errors import ContentError, did_you_mean, nearest_names

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from llmdrill.located import Located, Path_

_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True, slots=True)
class _Place:
    """A spot in a file, so that a reader can say where it stands; None: an index, which nobody writes by hand."""

    located: Located | None
    path: Path_ = ()

    def step(self, part: str | int) -> _Place:
        return _Place(self.located, (*self.path, part)) if self.located else self

    def refuse(self, what: str) -> Exception:
        return ContentError([self.located.mistake(self.path, what)]) if self.located else ValueError(what)


def plain_record(kind: type[_T], data: Mapping[str, Any]) -> _T:
    """Return the record that plain data describes: dates as text, nested records as mappings, tuples as lists.

    Raises:
        ValueError: If it does not fit.
    """
    return _record(kind, data, _Place(None), {})


def read_records(path: Path, kind: type[_T]) -> tuple[_T, ...]:
    """Read a file of ``records``; its keys ``source`` and ``date`` hold for each record without its own.

    Raises:
        ContentError: At the first mistake, with its place.
    """
    from llmdrill.content import load_yaml  # and with it yaml, which a fresh index does without

    located = load_yaml(path)
    top = _Place(located, ())
    if not isinstance(located.data, dict) or "records" not in located.data:
        raise top.refuse("a catalogue file needs the key 'records'")
    shared = {key: value for key, value in located.data.items() if key in {"source", "date"}}
    place = top.step("records")
    records = located.data["records"]
    if not isinstance(records, tuple):
        raise place.refuse("must be a list")
    return tuple(_record(kind, record, place.step(index), shared) for index, record in enumerate(records))


def _record(kind: type[_T], data: Any, place: _Place, shared: Mapping[str, Any]) -> _T:  # noqa: ANN401 - plain YAML
    if not isinstance(data, dict):
        raise place.refuse("must be a mapping")
    hints = _hints(typing.cast("Any", kind))
    fields = dataclasses.fields(typing.cast("Any", kind))
    for key in data:
        if key not in hints:
            raise place.step(key).refuse(f"unknown key '{key}'{did_you_mean(nearest_names(key, hints))}")
    filled = {**{key: value for key, value in shared.items() if key in hints}, **data}
    for field in fields:
        if field.name not in filled and field.default is dataclasses.MISSING:
            raise place.refuse(f"the key '{field.name}' is missing")
    values = {key: _value(hints[key], value, place.step(key)) for key, value in filled.items()}
    try:
        return kind(**values)
    except ValueError as error:
        raise place.refuse(str(error)) from error


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _value(hint: Any, value: Any, place: _Place) -> Any:  # noqa: ANN401 - one line per kind of type
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:
        if value is None and type(None) in inner:
            return None
        return _value(next(part for part in inner if part is not type(None)), value, place)
    if origin is typing.Literal:
        return _expect(value in inner, value, place, f"one of {', '.join(inner)}")
    if origin is tuple:
        _expect(isinstance(value, tuple | list), value, place, "a list")
        return tuple(_value(inner[0], item, place.step(index)) for index, item in enumerate(value))
    if dataclasses.is_dataclass(hint):
        return _record(typing.cast("type[Any]", hint), value, place, {})
    if hint is dt.date:
        return _date(value, place)
    if hint is float:
        return float(_expect(isinstance(value, int | float) and not isinstance(value, bool), value, place, "a number"))
    exact = type(value) is hint  # a bool is no int here
    return _expect(exact, value, place, {"int": "a whole number", "str": "text"}.get(hint.__name__, hint.__name__))


def _date(value: Any, place: _Place) -> dt.date:  # noqa: ANN401 - plain YAML
    try:
        return dt.date.fromisoformat(value)
    except (TypeError, ValueError):
        raise place.refuse(f"must be a date like 2026-11-10, got {value!r}") from None


def _expect(holds: bool, value: _T, place: _Place, what: str) -> _T:
    if not holds:
        raise place.refuse(f"must be {what}, got {value!r}")
    return value
