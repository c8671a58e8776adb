"""`llmdrill diff`: what changed between two designs."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmdrill.cli import gate, options
from llmdrill.cli.show import emit_json
from llmdrill.errors import EXIT_NO

if TYPE_CHECKING:
    from llmdrill.measurement import Measurement
    from llmdrill.system.diff import Diff
    from llmdrill.system.scenario import ScenarioFile
    from llmdrill.system.side import Side

Base = Annotated[Path, typer.Argument(metavar="BASE", help="The design as it was.")]
Head = Annotated[Path, typer.Argument(metavar="HEAD", help="The design as it is.")]


def diff(
    base: Base,
    head: Head,
    measured_base: Annotated[
        list[Path] | None, typer.Option("--measured-base", help="Measurement file of the base; repeatable.")
    ] = None,
    measured_head: Annotated[
        list[Path] | None, typer.Option("--measured-head", help="Measurement file of the head; repeatable.")
    ] = None,
    scenario: gate.ScenarioOption = None,
    seed: options.Seed = 0,
    draws: options.Draws = 20_000,
    date: gate.Date = None,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit 1 if anything differs, as git does.")] = False,
    json_: options.Json = False,
    format_: gate.Format = "text",
    plain: options.Plain = False,
) -> None:
    """Show what changed between two designs of one scenario: cost, latency, memory, quality, stage by stage."""
    from llmdrill.system.check import require_sound
    from llmdrill.system.diff import diff_designs

    wanted = gate.format_of(format_, json_=json_)
    known = [gate.measurements_of(paths) for paths in (measured_base, measured_head)]
    sides = []
    for path, other, found in ((base, head, known[0]), (head, None, known[1])):
        side, about = gate.load_side(path, scenario, seed=seed, draws=draws, date=date, or_beside=other)
        require_sound(side.file, about.scenario)
        sides.append(_with_measurement(side, about, found, seed=seed))
    compared = diff_designs(*sides)
    _show(compared, wanted, plain=plain)
    if exit_code and compared.different:
        raise typer.Exit(EXIT_NO)


def _with_measurement(side: Side, about: ScenarioFile, known: dict[str, Measurement], *, seed: int) -> Side:
    """Return the side with the measurement that is of this very design; without, if there is none."""
    if not known:
        return side
    found = known.get(gate.key_of(side, about, seed=seed) or "")
    stale = "" if found else "the measurement is stale: corpus, labels, model or settings differ; measure again"
    return replace(side, measurement=found, measured_note=stale)


def _show(compared: Diff, format_: gate.FormatName, *, plain: bool) -> None:
    match format_:
        case "json":
            from llmdrill.system.diff_json import diff_json

            emit_json(diff_json(compared))
        case "text":
            from llmdrill.report.diff_views import diff_view

            gate.print_blocks(diff_view(compared), plain=plain)
        case "markdown":
            from llmdrill.report.diff_views import diff_markdown

            sys.stdout.write(diff_markdown(compared))
        case "junit":
            from llmdrill.report.junit import diff_suite, junit_xml

            sys.stdout.write(junit_xml("llmdrill diff", [diff_suite(compared)]))
        case "github":
            from llmdrill.report.github_annotations import commands, diff_annotations

            sys.stdout.write(commands(diff_annotations(compared)))
