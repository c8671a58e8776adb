"""Turn a function from options to an Answer into a command: the options that every calculator takes are added here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from llmdrill.cli.calc.answer import Answer, Shown, show_answer
from llmdrill.cli.shared_options import with_options
from llmdrill.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

Assertions = Annotated[
    list[str] | None,
    typer.Option("--assert", metavar="'NAME <= LIMIT'", help="Exit 1 unless it holds; may be repeated."),
]
SHOWN_OPTIONS: Final = {
    "format_": (Annotated[Shown, typer.Option("--format", help="How to print the result.")], "text"),
    "json": (Annotated[bool, typer.Option("--json", help="Print one JSON object; the same as --format json.")], False),
}
_SHARED: Final = {
    **SHOWN_OPTIONS,
    "explain": (
        Annotated[bool, typer.Option("--explain", help="Show the formula, the numbers put in, and the source.")],
        False,
    ),
    "assertions": (Assertions, None),
}


def as_command(calculate: Callable[..., Answer]) -> Callable[..., None]:
    """Return the command of a calculator: its own options and the shared ones in, the answer shown."""

    def run(own: dict[str, Any], shared: dict[str, Any]) -> None:
        shown = shown_as(shared["format_"], json=shared["json"])
        answer = calculate(**own)
        show_answer(answer, shown=shown, explain=shared["explain"], assertions=shared["assertions"] or ())

    return with_options(calculate, _SHARED, run)


def shown_as(shown: Shown, *, json: bool) -> Shown:
    """Return the format that ``--format`` and ``--json`` ask for together.

    Raises:
        UsageError: If they contradict each other.
    """
    if json and shown == "markdown":
        raise UsageError("--json and --format markdown contradict each other")
    return "json" if json else shown
