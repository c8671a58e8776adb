"""The tree of commands."""

from __future__ import annotations

from typing import Annotated

import typer

from llmdrill import __version__
from llmdrill.cli import calc, check, design, doctor, scenario, schema

app = typer.Typer(
    name="llmdrill",
    help="LLM system-design drills: every number computed in the open, and confronted with a real run on your machine.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"llmdrill {__version__}")
        raise typer.Exit


@app.callback()
def llmdrill(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Register the options every command shares."""


app.command()(design.design)
app.command()(design.resume)
app.command()(check.estimate)
app.command()(check.measure)
app.command()(check.check)
app.add_typer(calc.app, name="calc")
app.add_typer(scenario.app, name="scenario")
app.command()(schema.schema)
app.command()(doctor.doctor)
