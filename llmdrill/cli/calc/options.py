"""Read what calculators' options hold: quantities with their units, and models by name or by file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from llmdrill.errors import UsageError
from llmdrill.units import parse_quantity

if TYPE_CHECKING:
    from llmdrill.catalog.architecture import ModelRecord
    from llmdrill.units import Dimension

MOST: Final = 1e15  # above every count that a person means; products of a few stay finite

Model = Annotated[str | None, typer.Option(help="An open model of the catalogue, or the path of a config.json.")]
Config = Annotated[Path | None, typer.Option(help="A Hugging Face config.json, or the folder that holds one.")]
On = Annotated[str | None, typer.Option("--on", help="An accelerator of the catalogue, such as h100.")]


def quantity(name: str, text: str, dimension: Dimension, *, zero: bool = False, bare_unit: str | None = None) -> float:
    """Return the quantity that the option ``--name`` holds: ``80GB``, ``25ms``, ``$2.5``, ``3.35TB/s``.

    Raises:
        UsageError: If it cannot be read, is negative, zero where zero means nothing, or too large to be meant.
    """
    try:
        value = parse_quantity(text, dimension, bare_unit=bare_unit)
    except UsageError as error:
        raise UsageError(f"--{name}: {error}") from None
    if value < 0 or (value == 0 and not zero):
        raise UsageError(f"--{name} must be {'zero or more' if zero else 'above zero'}, got {text}")
    if value > MOST * (1e3 if dimension in {"bytes", "bytes_per_second", "flops"} else 1):
        raise UsageError(f"--{name} {text} is too large to be meant")
    return value


def share(name: str, text: str, *, zero: bool = True) -> float:
    """Return a share of one: ``0.85`` or ``85%``.

    Raises:
        UsageError: If it is none.
    """
    value = quantity(name, text, "share", zero=zero)
    if value > 1:
        raise UsageError(f"--{name} is a share, at most 1 (100%), got {text}")
    return value


def whole(name: str, text: str, *, zero: bool = False) -> int:
    """Return a whole count: ``16``, ``128k``.

    Raises:
        UsageError: If it is none.
    """
    value = quantity(name, text, "count", zero=zero)
    if not value.is_integer():
        raise UsageError(f"--{name} must be a whole number, got {text}")
    return int(value)


def model_record(model: str | None, config: Path | None) -> ModelRecord | None:
    """Return the architecture that ``--model`` or ``--config`` names; None if neither is given.

    Raises:
        UsageError: If both are.
        UnknownNameError: If the catalogue has no such model.
        ContentError: If the file is no readable config.json.
    """
    if model is not None and config is not None:
        raise UsageError("give --model or --config, not both")
    if config is None and model is not None and _is_path(model):
        config = Path(model)
    if config is not None:
        from llmdrill.catalog.load import read_config

        return read_config(config / "config.json" if _is_folder(config) else config)
    if model is None:
        return None
    from llmdrill.catalog.load import find_model

    return find_model(model)


def required_model(model: str | None, config: Path | None) -> ModelRecord:
    """Return as ``model_record``, but refuse to go without.

    Raises:
        UsageError: If neither option is given.
    """
    record = model_record(model, config)
    if record is None:
        raise UsageError("which model? give --model NAME (see `llmdrill catalog models`) or --config PATH")
    return record


def _is_path(name: str) -> bool:
    return name.endswith(".json") or name.startswith((".", "/", "~")) or _is_folder(Path(name))


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 - Path.is_dir raises for a name too long
