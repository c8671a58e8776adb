"""The JSON Schema of a catalogue file, from the record that reads it: editors check and complete the YAML by it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import inspect
import json
import re
import types
import typing
from pathlib import Path
from typing import Any, Final

KINDS: Final = ("models", "accelerators", "prices", "api_latency", "serving")
FOLDER: Final = Path(__file__).parent / "schemas"
_SHARED: Final = {"source", "date"}  # given once for the file, or in a record


def catalogue_schema(kind: str) -> dict[str, Any]:
    """Return the JSON Schema of ``llmdrill/catalog/<kind>.yaml``."""
    record = _record_of(kind)
    each = _object(record)
    each["required"] = [name for name in each["required"] if name not in _SHARED]
    shared = {name: each["properties"][name] for name in sorted(_SHARED)}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"llmdrill/catalog/{kind}.yaml",
        "type": "object",
        "additionalProperties": False,
        "required": ["records"],
        "properties": {**shared, "records": {"type": "array", "items": each}},
    }


def schema_text(kind: str) -> str:
    """Return the schema as its file holds it."""
    return json.dumps(catalogue_schema(kind), indent=2, ensure_ascii=False) + "\n"


def fresh_schemas() -> dict[Path, str]:
    """Return file → text of every schema as it should be."""
    return {FOLDER / f"{kind}.json": schema_text(kind) for kind in KINDS}


def _record_of(kind: str) -> type:
    from llmdrill.catalog import architecture, prices, records

    found: dict[str, type] = {
        "models": architecture.ModelRecord,
        "accelerators": records.Accelerator,
        "prices": prices.ModelPrices,
        "api_latency": records.ApiLatency,
        "serving": records.ServingConstants,
    }
    return found[kind]


def _object(record: type) -> dict[str, Any]:
    hints, said = typing.get_type_hints(record), _attributes(record)
    fields = dataclasses.fields(record)
    return {
        "type": "object",
        "description": (inspect.getdoc(record) or "").split("\n")[0],
        "additionalProperties": False,
        "required": [field.name for field in fields if field.default is dataclasses.MISSING],
        "properties": {
            field.name: _type(hints[field.name]) | ({"description": said[field.name]} if field.name in said else {})
            for field in fields
        },
    }


def _type(hint: Any) -> dict[str, Any]:  # noqa: ANN401 - one line per kind of type
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:
        return {"anyOf": [_type(part) for part in inner]}
    if origin is typing.Literal:
        return {"enum": list(inner)}
    if origin is tuple:
        return {"type": "array", "items": _type(inner[0])}
    if dataclasses.is_dataclass(hint):
        return _object(typing.cast("type", hint))
    if hint is dt.date:
        return {"type": "string", "format": "date"}
    names = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}
    return {"type": names[hint]}


def _attributes(record: type) -> dict[str, str]:
    """Return what the docstring's ``Attributes`` section says of each field."""
    section = (inspect.getdoc(record) or "").partition("Attributes:\n")[2]
    said = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", section, flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in said}
