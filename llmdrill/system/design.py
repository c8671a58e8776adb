"""The design file: what one person decided, read strictly and written so that it loads back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import yaml
from pydantic import Field, StringConstraints, field_validator

from llmdrill.catalog.load import find_accelerator, find_model
from llmdrill.content import load_yaml, parse_yaml, plain_scalar, validate
from llmdrill.errors import ContentError, UnknownNameError, did_you_mean, nearest_names
from llmdrill.fields import FileModel, Identifier, Prose
from llmdrill.system.graph import graph_mistakes
from llmdrill.system.kinds import Stage  # noqa: TC001 - pydantic reads the annotations
from llmdrill.system.kinds.model_call import ModelCall
from llmdrill.system.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from llmdrill.content import Located
    from llmdrill.errors import Mistake

SCHEMA: Final = "llmdrill/design@1"
KEYS: Final = ("schema", "$schema", "title", "scenario", "requirements", "stages", "evaluation", "words")
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class ScenarioReference(FileModel):
    """The scenario a design answers, and the hash of what it was held to."""

    id: Identifier
    sha256: Sha256


class EvaluationPlan(FileModel):
    """How the person would know that the design works, in their words."""

    metrics: dict[Identifier, str | float | int] = Field(default_factory=dict)
    judge: Prose | None = None
    sample: Prose | None = None
    agreement: Prose | None = None
    gate: Prose | None = None
    on_failure: Prose | None = None

    @field_validator("metrics")
    @classmethod
    def _known(cls, metrics: dict[str, str | float | int]) -> dict[str, str | float | int]:
        for name in metrics:
            if name not in METRICS:
                raise ValueError(f"unknown metric '{name}'{did_you_mean(nearest_names(name, METRICS))}")
        return metrics


class Design(FileModel):
    """A whole design file."""

    schema_: Annotated[Literal["llmdrill/design@1"], Field(alias="schema")]
    editor_schema: Annotated[str | None, Field(alias="$schema")] = None
    title: Prose
    scenario: ScenarioReference
    requirements: dict[Identifier, str | float | int] = Field(default_factory=dict)
    stages: Annotated[dict[Identifier, Stage], Field(min_length=1)]
    evaluation: EvaluationPlan | None = None
    words: dict[str, Prose] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DesignFile:
    """A design, the file it came from, and where its parts stand in that file."""

    design: Design
    path: Path
    located: Located


def load_design(path: Path) -> DesignFile:
    """Return the design of a file.

    Raises:
        ContentError: If the file is malformed or its stages do not form a graph, with every mistake at once.
    """
    return _design_of(load_yaml(path), path)


def read_design(text: str, path: Path) -> DesignFile:
    """Return the design of a text that is not in a file yet; ``path`` is the name that messages show.

    Raises:
        ContentError: As ``load_design``.
    """
    return _design_of(parse_yaml(text, file=str(path)), path)


def _design_of(located: Located, path: Path) -> DesignFile:
    design = validate(located, Design)
    mistakes = [*graph_mistakes(design.stages, located), *_unknown_hardware(design, located)]
    if mistakes:
        raise ContentError(mistakes)
    return DesignFile(design, path, located)


def shipped_design(folder: Path, name: str) -> Path:
    """Return where a scenario's own design lies: in ``designs`` of the folder beside the scenario file."""
    return folder / "designs" / name


def _unknown_hardware(design: Design, located: Located) -> Iterator[Mistake]:
    """Yield self-hosted models and accelerators that the catalogue does not know: nothing could be computed."""
    for name, stage in design.stages.items():
        if not isinstance(stage, ModelCall) or stage.served != "self":
            continue
        for key, find in (("model", find_model), ("on", find_accelerator)):
            try:
                find(str(getattr(stage, key)))
            except UnknownNameError as error:
                yield located.mistake(("stages", name, key), str(error))


def write_design(data: Mapping[str, Any]) -> str:
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
