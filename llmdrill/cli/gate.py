"""What `estimate`, `check` and `diff` share: options, the scenario of a design, a design judged, output."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from llmdrill.errors import ContentError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from llmdrill.measurement import Measurement
    from llmdrill.report.blocks import Blocks
    from llmdrill.system.design import DesignFile
    from llmdrill.system.scenario import ScenarioFile
    from llmdrill.system.side import Side

FormatName = Literal["text", "json", "markdown", "junit", "github"]
Format = Annotated[
    FormatName,
    typer.Option("--format", help="text; json; markdown for a pull-request comment; junit (XML); github annotations."),
]
Design = Annotated[Path, typer.Argument(metavar="DESIGN", help="A design file.")]
ScenarioOption = Annotated[
    str | None, typer.Option("--scenario", help="File of the scenario, if it is neither shipped nor beside the design.")
]
Date = Annotated[
    dt.datetime | None,
    typer.Option("--date", formats=["%Y-%m-%d"], help="Prices of that day; default the catalogue's newest."),
]
Measured = Annotated[list[Path] | None, typer.Option("--measured", help="Measurement file; repeatable.")]


def format_of(format_: FormatName, *, json_: bool) -> FormatName:
    """Return the format that was asked for.

    Raises:
        UsageError: If two were.
    """
    if json_ and format_ not in {"text", "json"}:
        raise UsageError(f"--json and --format {format_} contradict each other: give one of them")
    return "json" if json_ else format_


def scenario_of(file: DesignFile, named: str | None, *, or_beside: Path | None = None) -> ScenarioFile:
    """Return the scenario a design answers: the one named, one beside the design, or the one of that id.

    ``or_beside`` is another design that the scenario may lie beside: a base was perhaps copied away from it.
    """
    from llmdrill.system.scenario import load_scenario

    if named is not None:
        return load_scenario(named)
    scenario_id = file.design.scenario.id
    for path in filter(None, (file.path, or_beside)):
        for folder in list(path.resolve().parents)[:3]:
            beside = folder / f"{scenario_id}.yaml"
            if beside.is_file():
                return load_scenario(str(beside))
    try:
        return load_scenario(scenario_id)
    except UnknownNameError as error:
        what = f"{error}; give its file with --scenario FILE"
        raise ContentError([file.located.mistake(("scenario", "id"), what)]) from error


def load_side(
    path: Path,
    scenario: str | None,
    *,
    seed: int,
    draws: int,
    date: dt.datetime | None,
    or_beside: Path | None = None,
    banded: bool = False,
) -> tuple[Side, ScenarioFile]:
    """Return a design with its scenario, its estimate and, if wanted, the band of that.

    Raises:
        LlmdrillError: If design or scenario cannot be read, do not fit each other, or cannot be estimated.
    """
    from llmdrill.system.band import band_of
    from llmdrill.system.check import require_same_scenario
    from llmdrill.system.design import load_design
    from llmdrill.system.estimate import estimate_design
    from llmdrill.system.side import Side

    file = load_design(path)
    about = scenario_of(file, scenario, or_beside=or_beside)
    require_same_scenario(file, about.scenario)
    day = date.date() if date else None
    found = estimate_design(file.design, about.scenario, seed=seed, draws=draws, date=day)
    band = band_of(file.design, about.scenario, seed=seed, draws=draws, date=day) if banded else None
    return Side(file, about.scenario, found, band=band), about


def measurements_of(paths: list[Path] | None) -> dict[str, Measurement]:
    """Return key → measurement of every file.

    Raises:
        ContentError: If one is no measurement file.
    """
    if not paths:
        return {}
    from llmdrill.measurement import read_measurements

    return {one.key: one for path in paths for one in read_measurements(path)}


def key_of(side: Side, about: ScenarioFile, *, seed: int) -> str | None:
    """Return the key that a measurement of this design must carry; None if it has nothing to measure."""
    from llmdrill.experiments.evaluate import evaluation_key

    return evaluation_key(about, side.file.design, seed=seed)


def print_blocks(blocks: Blocks, *, plain: bool) -> None:
    """Write blocks to the terminal, or plain to whatever stands in its place."""
    from llmdrill.report.terminal import Terminal

    Terminal(sys.stdout, plain=True if plain else None).write(blocks)
