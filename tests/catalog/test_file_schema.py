"""The JSON Schemas of the catalogue's files: fresh, named by the files, and saying what the reader says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from llmdrill.catalog import load
from llmdrill.catalog.file_schema import KINDS, catalogue_schema, fresh_schemas

NUMBER = re.compile(r"[\d.]+e-?\d+")
CATALOGUE = Path(load.__file__).parent


@pytest.mark.parametrize("kind", KINDS)
def test_the_shipped_schema_is_fresh_and_its_file_names_it(kind: str) -> None:
    file = CATALOGUE / "schemas" / f"{kind}.json"
    assert file.read_text() == fresh_schemas()[file], "run docs/generate.py"
    with (CATALOGUE / f"{kind}.yaml").open() as yaml_file:
        assert yaml_file.readline() == f"# yaml-language-server: $schema=schemas/{kind}.json\n"


@pytest.mark.parametrize("kind", KINDS)
def test_the_shipped_file_obeys_its_schema(kind: str) -> None:
    data = json.loads(json.dumps(yaml.safe_load((CATALOGUE / f"{kind}.yaml").read_text()), default=str))
    assert not list(_mistakes(data, catalogue_schema(kind), "$"))


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("accelerators", {"tdp_w": "hot"}),
        ("accelerators", {"colour": "red"}),
        ("prices", {"entries": [{"output": 1}]}),
        ("prices", {"provider": None}),
    ],
)
def test_a_mistake_breaks_the_schema(kind: str, change: dict[str, object]) -> None:
    data = json.loads(json.dumps(yaml.safe_load((CATALOGUE / f"{kind}.yaml").read_text()), default=str))
    data["records"][0].update(change)
    assert list(_mistakes(data, catalogue_schema(kind), "$"))


def _mistakes(value: object, schema: dict[str, object], place: str) -> list[str]:
    """Check the few keywords that these schemas use."""
    if "anyOf" in schema:
        parts: list[dict[str, object]] = schema["anyOf"]  # type: ignore[assignment]
        return [] if any(not _mistakes(value, part, place) for part in parts) else [f"{place}: fits nothing"]
    if "enum" in schema:
        return [] if value in schema["enum"] else [f"{place}: {value!r}"]  # type: ignore[operator]
    kinds = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "null": type(None)}
    kinds |= {"object": dict, "array": list}
    if schema["type"] == "number" and isinstance(value, str):
        value = float(value) if NUMBER.fullmatch(value) else value  # 80e9 is a string to YAML 1.1
    if not isinstance(value, kinds[schema["type"]]):  # type: ignore[arg-type, index]
        return [f"{place}: {value!r} is no {schema['type']}"]
    if isinstance(value, list):
        each: dict[str, object] = schema["items"]  # type: ignore[assignment]
        return [found for index, item in enumerate(value) for found in _mistakes(item, each, f"{place}[{index}]")]
    if isinstance(value, dict):
        fields: dict[str, dict[str, object]] = schema["properties"]  # type: ignore[assignment]
        required: list[str] = schema["required"]  # type: ignore[assignment]
        wrong = [f"{place}: no {name}" for name in required if name not in value]
        wrong += [f"{place}: unknown {name}" for name in value if name not in fields]
        known = [name for name in value if name in fields]
        return wrong + [found for name in known for found in _mistakes(value[name], fields[name], f"{place}.{name}")]
    return []
