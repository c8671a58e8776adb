"""Tables of a model's keys: types and defaults from the code, meanings from meanings.yaml."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pages.markdown import code, table
from pydantic_core import PydanticUndefined

from llmdrill import fields
from llmdrill.content import load_yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

QUANTITIES = (
    (fields.Count, "count: `500`, `128k`, `1M`"),
    (fields.Seconds, "time: `250ms`, `2s`, `1.5min`"),
    (fields.Bytes, "size: `80GB`, `30.5GiB`"),
    (fields.Usd, "money: `$0.002`, `0.2c`, `$1.5k`"),
    (fields.Share, "share: `0.85` or `85%`"),
    (fields.Whole, "whole number"),
)
PLAIN = {str: "text", int: "whole number", float: "number", bool: "`true` or `false`"}


@cache
def meanings() -> dict[str, Any]:
    """Return what meanings.yaml says."""
    return dict(load_yaml(Path(__file__).parent.parent / "meanings.yaml").data)


def keys_table(model: type[BaseModel], *, without: type[BaseModel] | None = None, name: str = "") -> str:
    """Return the table of a model's keys, without those of a base."""
    said = dict(meanings()[name or model.__name__])
    rows = []
    for field_name, field in model.model_fields.items():
        key = field.alias or field_name
        if (without is not None and field_name in without.model_fields) or (key == "kind" and key not in said):
            continue
        if key not in said:
            raise SystemExit(f"docs/meanings.yaml says nothing about {name or model.__name__}.{key}")
        rows.append((code(key), written_as(field), default_of(field), str(said.pop(key))))
    if said:
        raise SystemExit(f"docs/meanings.yaml: {name or model.__name__} has no key {', '.join(said)}")
    return table(("key", "written as", "default", "meaning"), rows) if rows else ""


def default_of(field: FieldInfo) -> str:
    """Return the default as people write it."""
    if field.is_required():
        return "needed"
    value = field.default if field.default is not PydanticUndefined else None
    if value is None or value == ():
        return "–"
    if isinstance(value, bool):
        return code(str(value).lower())
    text = code(f"{value:g}" if isinstance(value, float) else value)
    return f"{text} s" if "time:" in written_as(field) and value else text


def written_as(field: FieldInfo) -> str:
    """Return how people write a value of this field."""
    annotation = Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
    return ", or ".join(dict.fromkeys(_written(annotation)))


def _written(annotation: Any) -> Iterator[str]:  # noqa: ANN401 - any annotation
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _quantity(inner[1:]) or _written(inner[0])
    elif origin is Literal:
        yield " ".join(code(value) for value in inner)
    elif origin is tuple:
        yield f"list: {next(_written(inner[0]))}"
    elif origin is dict:
        yield f"{next(_written(inner[0]))} → {' or '.join(dict.fromkeys(_written(inner[1])))}"
    elif origin in {Union, UnionType}:
        members = [member for member in inner if member is not type(None)]
        if {str, float, int} <= set(members):  # a limit, a setting, an answer: its own kind says how it is written
            yield "value"
        else:
            for member in members:
                yield from _written(member)
    else:
        yield PLAIN.get(annotation, "mapping")


def _quantity(marks: tuple[Any, ...]) -> list[str]:
    """Return how a quantity is written, if the marks of a type make it one."""
    if any(getattr(mark, "pattern", None) == fields.IDENTIFIER for mark in marks):
        return ["name"]
    found = [text for quantity, text in QUANTITIES if quantity.__metadata__[0] in marks]
    if fields.Whole.__metadata__[0] in marks:  # those above zero differ only in their bound
        return [f"{found[0]} above 0" if "gt=0" in str(marks) else found[0]]
    return found
