"""`llmdrill calc`: the closed forms as commands, one file each. Only the called one's file is imported."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

import typer

from llmdrill.cli.calc.command import as_command

if TYPE_CHECKING:
    from collections.abc import Sequence

# In the order that help shows; each is the function of that name in the file of that name.
CALCULATORS: Final = (
    "kv",
    "cost",
    "tokens",
)


def build_group(arguments: Sequence[str]) -> typer.Typer:
    """Return the group that can run ``arguments``: the calculator they name, or every calculator."""
    group = typer.Typer(
        help="Calculators: each shows its formula with --explain and can gate a script with --assert.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.callback()(_calculators)  # a group of one command is still a group
    called = next((argument for argument in arguments if not argument.startswith("-")), "")
    for name in [called] if called in CALCULATORS else CALCULATORS:
        module = import_module(f"llmdrill.cli.calc.{name}")
        group.command(name)(as_command(getattr(module, name)))
    return group


def _calculators() -> None:
    """Take no options: each calculator has its own."""
