"""`llmdrill estimate`: what a design does at its scenario's load."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from llmdrill.cli import gate, options
from llmdrill.cli.show import emit_json

if TYPE_CHECKING:
    from llmdrill.system.side import Side


def estimate(
    design: gate.Design,
    scenario: gate.ScenarioOption = None,
    seed: options.Seed = 0,
    draws: options.Draws = 20_000,
    date: gate.Date = None,
    formulas: Annotated[bool, typer.Option("--explain", help="Show every formula with the numbers put in.")] = False,
    json_: options.Json = False,
    format_: gate.Format = "text",
    plain: options.Plain = False,
) -> None:
    """Estimate a design: latency per stage, cost, memory, critical path, bottleneck."""
    wanted = gate.format_of(format_, json_=json_)
    side, _ = gate.load_side(design, scenario, seed=seed, draws=draws, date=date, banded=True)
    match wanted:
        case "json":
            from llmdrill.system.estimate_json import estimate_json

            emit_json(estimate_json(side.estimate, side.band))
        case "text":
            from llmdrill.report.estimate_views import estimate_view, formulas_view

            formula_blocks = formulas_view(side.estimate) if formulas else ()
            gate.print_blocks((*estimate_view(side.estimate, band=side.band), *formula_blocks), plain=plain)
        case "markdown":
            from llmdrill.report.estimate_views import estimate_markdown

            sys.stdout.write(estimate_markdown(str(design), side.estimate, formulas=formulas, band=side.band))
        case "junit":
            from llmdrill.report.junit import estimate_suite, junit_xml

            suite = estimate_suite(side.file, side.estimate, notes=_notes(side))
            sys.stdout.write(junit_xml("llmdrill estimate", [suite]))
        case "github":
            from llmdrill.report.github_annotations import commands, estimate_annotations

            sys.stdout.write(commands(estimate_annotations(side.file, side.estimate, notes=_notes(side))))


def _notes(side: Side) -> tuple[str, ...]:
    """Return what formats without a place for the notes of stages have to say of the whole."""
    from llmdrill.system.local_stages import local_note

    note = local_note(side.file.design)
    return () if note is None else (note,)
