"""Write a design so that it loads back. A module of its own, because reading a design needs no writer of YAML."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import yaml

from llmdrill.scalar import plain_scalar

if TYPE_CHECKING:
    from collections.abc import Mapping

KEYS: Final = ("schema", "$schema", "title", "scenario", "requirements", "stages", "evaluation", "words")


def design_text(data: Mapping[str, Any]) -> str:
    """Return the text of a design file: known keys in their order, one line a stage, equal data equal text."""
    known = [key for key in KEYS if key in data]
    rest = [key for key in data if key not in KEYS]
    ordered = {key: _plain(data[key]) for key in (*known, *rest)}
    for key in ("scenario", *rest):
        if isinstance(ordered.get(key), dict):
            ordered[key] = _OneLine(ordered[key])
    stages = ordered.get("stages")
    if isinstance(stages, dict):
        ordered["stages"] = {name: _OneLine(stage) for name, stage in stages.items()}
    return str(yaml.dump(ordered, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100_000))


def _plain(value: Any) -> Any:  # noqa: ANN401 - plain YAML data
    """Return dicts, lists and scalars: what the dumper can write."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, tuple | list) else value


class _OneLine(dict[str, Any]):
    """A mapping to be written on one line."""


class _Dumper(yaml.SafeDumper):
    """Write YAML that means the same under YAML 1.2, which ``content`` reads, as under 1.1."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ANN401, ARG002 - the base class's signature
        return True


def _one_line(dumper: yaml.SafeDumper, data: _OneLine) -> yaml.Node:
    return dumper.represent_mapping("tag:yaml.org,2002:map", data, flow_style=True)


def _several_lines(dumper: yaml.SafeDumper, data: dict[str, Any]) -> yaml.Node:
    return dumper.represent_mapping("tag:yaml.org,2002:map", data, flow_style=False)


def _list(dumper: yaml.SafeDumper, data: list[Any]) -> yaml.Node:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True)


def _text(dumper: yaml.SafeDumper, data: str) -> yaml.Node:
    try:
        means_itself = plain_scalar(data) == data
    except ValueError:
        means_itself = False
    plain = means_itself and not any(mark in data for mark in "\n\t\r")
    return dumper.represent_scalar("tag:yaml.org,2002:str", data, style=None if plain else '"')


_Dumper.add_representer(_OneLine, _one_line)
_Dumper.add_representer(dict, _several_lines)
_Dumper.add_representer(list, _list)
_Dumper.add_representer(str, _text)
