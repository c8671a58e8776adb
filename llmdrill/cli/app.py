"""The tree of commands. Only the module of the command that was called is imported; help imports all."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Final

import typer

from llmdrill import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

# Command → module of llmdrill.cli and the function or group in it, in the order that help shows.
COMMANDS: Final = {
    "design": ("design", "design"),
    "resume": ("design", "resume"),
    "estimate": ("check", "estimate"),
    "measure": ("check", "measure"),
    "check": ("check", "check"),
    "calc": ("calc", "build_group"),
    "scenario": ("scenario", "app"),
    "schema": ("schema", "schema"),
    "doctor": ("doctor", "doctor"),
}


def build_app(arguments: Sequence[str]) -> typer.Typer:
    """Return the app that can run ``arguments``: the command they name, or every command."""
    app = typer.Typer(
        name="llmdrill",
        help="LLM system-design drills: every number computed in the open, confronted with a real run on your machine.",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    app.callback()(_shared)
    words = [argument for argument in arguments if not argument.startswith("-")]
    for name in words[:1] if words and words[0] in COMMANDS else COMMANDS:
        module, attribute = COMMANDS[name]
        found = getattr(import_module(f"llmdrill.cli.{module}"), attribute)
        if attribute == "build_group":
            found = found(words[1:])
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name)
        else:
            app.command(name)(found)
    return app


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"llmdrill {__version__}")
        raise typer.Exit


def _shared(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take the options every command shares."""
