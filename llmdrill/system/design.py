"""The design file: what one person decided, read strictly and written so that it loads back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import Field, StringConstraints, field_validator

from llmdrill.catalog.load import find_accelerator, find_model
from llmdrill.content import load_yaml, parse_yaml, validate
from llmdrill.errors import ContentError, UnknownNameError, did_you_mean, nearest_names
from llmdrill.fields import FileModel, Identifier, Prose
from llmdrill.system.graph import graph_mistakes
from llmdrill.system.kinds import Stage  # noqa: TC001 - pydantic reads the annotations
from llmdrill.system.kinds.model_call import ModelCall
from llmdrill.system.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from llmdrill.errors import Mistake
    from llmdrill.located import Located

SCHEMA: Final = "llmdrill/design@1"
MOST_STAGES: Final = 200  # a stage takes a megabyte while 20,000 requests are drawn; people draw a dozen
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
    stages: Annotated[dict[Identifier, Stage], Field(min_length=1, max_length=MOST_STAGES)]
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
    from llmdrill.system.design_text import design_text

    return design_text(data)
