"""What pydantic complains of, in the words and at the places of the file."""

from __future__ import annotations

from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Final, Union, cast, get_args, get_origin

from llmdrill.errors import did_you_mean, nearest_names
from llmdrill.fields import IDENTIFIER

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pydantic import BaseModel, ValidationError

    from llmdrill.errors import Mistake
    from llmdrill.located import Located, Path_

MAX_SHOWN: Final = 60
_TYPES: Final[Mapping[str, str]] = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "none_required": "nothing",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
}


def complaints(located: Located, model: type[BaseModel], error: ValidationError) -> list[Mistake]:
    """Return every mistake pydantic found, each once, in the order of the file."""
    details = [cast("dict[str, Any]", detail) for detail in error.errors(include_url=False)]
    # The members of a union each complain of the same value: one mistake that names every type which would do.
    wanted: dict[Path_, dict[str, None]] = {}
    for detail in details:
        if detail["type"] in _TYPES:
            wanted.setdefault(_in_file(located.data, detail["loc"]), {})[_TYPES[detail["type"]]] = None
    found = {_one(located, model, detail, wanted) for detail in details}
    return sorted(found, key=lambda mistake: (mistake.line, mistake.column, mistake.what))


def _one(
    located: Located, model: type[BaseModel], detail: dict[str, Any], wanted: Mapping[Path_, Iterable[str]]
) -> Mistake:
    loc, kind, value = detail["loc"], str(detail["type"]), detail.get("input")
    path = _in_file(located.data, loc)
    if kind == "missing":
        return located.mistake(path, f"the key '{loc[-1]}' is missing")
    if kind == "extra_forbidden":
        known = _fields_at(model, loc[:-1])
        hint = did_you_mean(nearest_names(str(loc[-1]), known)) or (f" (known: {', '.join(known)})" if known else "")
        return located.mistake(path, f"unknown key '{loc[-1]}'{hint}")
    if kind in _TYPES:
        return located.mistake(path, _wrong_type(list(wanted[path]), value))
    if kind == "string_pattern_mismatch" and detail["ctx"]["pattern"] == IDENTIFIER:
        what = "a name is small letters, digits, '_', '.' and '-', beginning with a letter"
        return located.mistake(path, f"{what}, got {_shown(value)}")
    message = str(detail["msg"]).removeprefix("Value error, ")
    message = message[:1].lower() + message[1:] if message[1:2].islower() else message
    told = isinstance(value, str | int | float) and str(value) not in message
    return located.mistake(path, f"{message}, got {_shown(value)}" if told else message)


def _wrong_type(wanted: list[str], value: Any) -> str:  # noqa: ANN401 - plain YAML data
    names = [name for name in wanted if not (name == "a whole number" and "a number" in wanted)]
    remedy = "; put it in quotes" if names == ["text"] and isinstance(value, int | float) else ""
    return f"must be {' or '.join(names)}, got {_shown(value)}{remedy}"


def _shown(value: Any) -> str:  # noqa: ANN401 - plain YAML data
    if value is None:
        return "nothing"
    if isinstance(value, dict | tuple):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def _in_file(data: Any, loc: Sequence[str | int]) -> Path_:  # noqa: ANN401 - plain YAML data
    """Return the parts of pydantic's path that lead through the file (tags of unions and names of types do not)."""
    path: Path_ = ()
    for part in loc:
        if (part in data) if isinstance(data, dict) else isinstance(data, tuple) and isinstance(part, int):
            data, path = data[part], (*path, part)
    return path


def _fields_at(model: type[BaseModel], loc: Sequence[str | int]) -> list[str]:
    """Return the keys that the model standing at ``loc`` knows, as far as annotations tell."""
    here: list[Any] = [model]
    for part in loc:
        here = [inner for annotation in here for inner in _inside(annotation, part)] or here
    fields = {}
    for annotation in here:
        fields.update(_fields(annotation))
    return list(fields)


def _fields(annotation: Any) -> dict[str, Any]:  # noqa: ANN401 - any annotation
    """Return key → annotation of a model, or of every model in a union."""
    if get_origin(annotation) in {Annotated, Union, UnionType}:
        members = get_args(annotation)[:1] if get_origin(annotation) is Annotated else get_args(annotation)
        return {key: inner for member in members for key, inner in _fields(member).items()}
    return {field.alias or name: field.annotation for name, field in getattr(annotation, "model_fields", {}).items()}


def _inside(annotation: Any, part: str | int) -> list[Any]:  # noqa: ANN401 - any annotation
    """Return the annotations one step down: a key's, an item's, or the one of many that a tag names."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        chosen = [mark.member(part) for mark in inner[1:] if hasattr(mark, "member")]
        return chosen or _inside(inner[0], part)
    if origin in {Union, UnionType}:
        tagged = [
            member for member in inner if any(getattr(mark, "tag", None) == part for mark in get_args(member)[1:])
        ]
        return tagged or [deeper for member in inner for deeper in _inside(member, part)]
    if origin in {dict, tuple}:
        return [inner[-1] if origin is dict else inner[0]]
    fields = _fields(annotation)
    return [fields[part]] if part in fields else []
