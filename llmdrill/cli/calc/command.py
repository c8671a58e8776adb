"""Turn a function from options to an Answer into a command: the options that every calculator takes are added here."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Annotated, Any, Final, get_type_hints

import typer

from llmdrill.cli.calc.answer import Answer, Shown, show_answer
from llmdrill.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

_SHARED: Final = {
    "format_": (Annotated[Shown, typer.Option("--format", help="How to print the result.")], "text"),
    "json": (Annotated[bool, typer.Option("--json", help="Print one JSON object; the same as --format json.")], False),
    "explain": (
        Annotated[bool, typer.Option("--explain", help="Show the formula, the numbers put in, and the source.")],
        False,
    ),
    "assertions": (
        Annotated[
            list[str] | None,
            typer.Option("--assert", metavar="'NAME <= LIMIT'", help="Exit 1 unless it holds; may be repeated."),
        ],
        None,
    ),
}


def as_command(calculate: Callable[..., Answer]) -> Callable[..., None]:
    """Return the command of a calculator: its own options and the shared ones in, the answer shown."""

    @functools.wraps(calculate)
    def command(**options: Any) -> None:  # noqa: ANN401 - whatever the calculator takes
        shared = {name: options.pop(name) for name in _SHARED}
        shown = _shown(shared["format_"], json=shared["json"])
        answer = calculate(**options)
        show_answer(answer, shown=shown, explain=shared["explain"], assertions=shared["assertions"] or ())

    hints = get_type_hints(calculate, include_extras=True)
    own = [one.replace(annotation=hints[one.name]) for one in inspect.signature(calculate).parameters.values()]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in _SHARED.items()
    ]
    command.__signature__ = inspect.Signature([*own, *added], return_annotation=None)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in (*own, *added)}
    del command.__wrapped__  # or typer would look at the inner function's hints
    return command


def _shown(shown: Shown, *, json: bool) -> Shown:
    if json and shown == "markdown":
        raise UsageError("--json and --format markdown contradict each other")
    return "json" if json else shown
