"""The tree of commands. Only the module of the command that was called is imported; help imports none."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import typer

from llmdrill import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence


class Command(NamedTuple):
    """Where a command is, and what the first help says of it."""

    module: str  # of llmdrill.cli
    attribute: str  # a function, a typer app, or `build_group`, which makes one
    summary: str  # the first sentence of its help: a second copy, so that help imports no command


# In the order that help shows.
COMMANDS: Final = {
    "design": Command(
        "design",
        "design",
        "Walk through a scenario: Scenario, Components, Architecture, Latency & cost, Evaluation.",
    ),
    "resume": Command("design", "resume", "Go on with a walk that was left or interrupted."),
    "estimate": Command(
        "estimate", "estimate", "Estimate a design: latency per stage, cost, memory, critical path, bottleneck."
    ),
    "measure": Command(
        "measure",
        "measure",
        "Run the scenario's evaluation on a design, on this machine, and write the measurement file for `check`.",
    ),
    "check": Command("check", "check", "Hold designs to their scenario's requirements."),
    "diff": Command(
        "diff",
        "diff",
        "Show what changed between two designs of one scenario: cost, latency, memory, quality, stage by stage.",
    ),
    "calc": Command(
        "calc",
        "build_group",
        "Calculators: each shows its formula with --explain and can gate a script with --assert.",
    ),
    "catalog": Command(
        "catalog",
        "app",
        "The facts behind the estimates: models, accelerators and prices, each with source and date.",
    ),
    "metrics": Command(
        "metrics",
        "metrics",
        "Score a run against judgements: recall, precision, hit, MRR, nDCG, MAP, R-precision, as trec_eval does.",
    ),
    "lab": Command(
        "lab", "build_group", "Experiments on a real small model on this machine: predicted beside measured."
    ),
    "drill": Command("drill", "app", "The drills: list them, read one, check them, write your own."),
    "code": Command("code", "app", "Code drills: start one, write it in your editor, check it."),
    "scenario": Command("scenario", "app", "The scenarios: list them, read one, check one, start your own."),
    "schema": Command(
        "schema",
        "schema",
        "Print the JSON Schema of a file, for editors: `# yaml-language-server: $schema=…`.",
    ),
    "cache": Command("cache", "app", "Show the embeddings that are kept on disk: where, how many, of which models."),
    "doctor": Command(
        "doctor",
        "doctor",
        "Show what works on this machine: extras, models and their hashes, tokenizers, store, terminal.",
    ),
}

# They multiply no matrices, and a thread per core takes numpy's linear algebra longer to start than all the rest of it.
_ONE_THREAD: Final = frozenset({"estimate", "check", "diff"})


def build_app(arguments: Sequence[str] | None) -> typer.Typer:
    """Return the app that can run ``arguments``: the command they name, or help alone; None: every command."""
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
    words = [argument for argument in arguments or () if not argument.startswith("-")]
    for name in words[:1] if words and words[0] in COMMANDS else COMMANDS:
        if arguments is None or name in words[:1]:
            _add(app, name, None if arguments is None else words[1:])
        else:
            app.command(name, help=COMMANDS[name].summary, short_help=COMMANDS[name].summary)(_nothing)
    return app


def _add(app: typer.Typer, name: str, words: Sequence[str] | None) -> None:
    command = COMMANDS[name]
    if name in _ONE_THREAD and words is not None:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    found = getattr(import_module(f"llmdrill.cli.{command.module}"), command.attribute)
    if command.attribute == "build_group":
        found = found(words)
    if isinstance(found, typer.Typer):
        app.add_typer(found, name=name)
    else:
        app.command(name)(found)


def _nothing() -> None:
    """Stand in help for a command that was not called."""


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
