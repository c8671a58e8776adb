"""What thin commands share: JSON on stdout, a formula with its numbers, and `--assert`."""

from __future__ import annotations

import json
import math
import operator
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import typer

from llmdrill.errors import EXIT_NO, UsageError, did_you_mean, nearest_names
from llmdrill.units import format_quantity, parse_quantity, six_digits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from llmdrill.errors import Mistake
    from llmdrill.estimate.explain import Explained
    from llmdrill.units import Dimension

_COMPARE: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}
_ASSERTION: Final = re.compile(r"\s*(?P<name>[a-z][a-z0-9_]*)\s*(?P<sign><=|>=|==|!=|<|>)\s*(?P<limit>\S.*?)\s*")


def emit_json(result: Mapping[str, Any]) -> None:
    """Write one JSON object to stdout: keys in their order, whole numbers exact, others to six significant digits."""
    sys.stdout.write(json.dumps(_rounded(result), ensure_ascii=False, allow_nan=False) + "\n")


def show_mistakes(mistakes: Sequence[Mistake], paths: Sequence[Path], *, what: str, json: bool) -> None:
    """Print what a validation found, and how many files and mistakes there were; leave with 1 if there is a mistake."""
    if json:
        rows = [
            {"file": m.file, "line": m.line, "column": m.column, "where": m.where, "what": m.what} for m in mistakes
        ]
        emit_json({"schema": "llmdrill/validation@1", "files": [str(path) for path in paths], "mistakes": rows})
    else:
        for mistake in mistakes:
            typer.echo(str(mistake))
        counts = ((len(paths), what), (len(mistakes), "mistake"))
        said = ", ".join(f"{count} {word}{'' if count == 1 else 's'}" for count, word in counts)
        typer.echo(said, err=bool(mistakes))
    if mistakes:
        raise typer.Exit(EXIT_NO)


def _rounded(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, float):
        if not math.isfinite(value):
            return None  # a training that diverged: JSON has no other word for it
        return int(value) if value.is_integer() and abs(value) < 2**53 else six_digits(value)
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return [_rounded(inner) for inner in value] if isinstance(value, list | tuple) else value


def emit_text(lines: Iterable[str]) -> None:
    """Write lines to stdout."""
    sys.stdout.write("\n".join(lines) + "\n")


def explained_lines(explained: Explained) -> tuple[str, ...]:
    """Return the figure's formula, the formula with numbers put in, and its source."""
    return (
        f"{explained.name} = {explained.formula}",
        f"{' ' * len(explained.name)} = {explained.filled}",
        f"source: {explained.source}",
    )


def explained_json(explained: Explained) -> dict[str, str]:
    """Return the same as an object."""
    return {"formula": explained.formula, "filled": explained.filled, "source": explained.source}


@dataclass(frozen=True, slots=True)
class Assertion:
    """``--assert "name <= limit"``, its figure not known yet."""

    text: str
    name: str
    sign: str
    limit: str

    def limit_in(self, dimension: Dimension) -> float:
        """Return the limit in SI; a bare one has the unit that the name ends in.

        Raises:
            UsageError: If it is no quantity of that dimension.
        """
        return parse_quantity(self.limit, dimension, bare_unit="ms" if self.name.endswith("_ms") else None)


def read_assertion(text: str, *, example: str = "tpot_ms") -> Assertion:
    """Return an assertion as typed; ``example`` is a figure that it could be about.

    Raises:
        UsageError: If it cannot be read.
    """
    match = _ASSERTION.fullmatch(text)
    if not match:
        raise UsageError(f"cannot read --assert '{text}'; write it like '{example} <= 40' (<=, <, >=, >, ==, !=)")
    return Assertion(text.strip(), match["name"], match["sign"], match["limit"])


def failing_assertions(
    assertions: Iterable[str], figures: Mapping[str, tuple[float, Dimension]], *, unknown: Iterable[str] = ()
) -> list[str]:
    """Compare figures with ``--assert "name <= limit"``; return a line for each that does not hold.

    Args:
        assertions: As typed. A bare limit takes the unit that the figure's name ends in.
        figures: Value and dimension by name, in SI.
        unknown: Names of figures that have no value here: every assertion about one fails.

    Raises:
        UsageError: If an assertion cannot be read or names no figure of this command.
    """
    known: dict[str, tuple[float | None, Dimension]] = {**figures, **dict.fromkeys(unknown, (None, "count"))}
    return [line for assertion in assertions if (line := _failing_line(assertion, known))]


def leave_if_any(failing: Sequence[str]) -> None:
    """Write failing assertions to stderr.

    Raises:
        typer.Exit: With status 1 if there is one.
    """
    if failing:
        typer.echo("\n".join(failing), err=True)
        raise typer.Exit(EXIT_NO)


def _failing_line(assertion: str, figures: Mapping[str, tuple[float | None, Dimension]]) -> str | None:
    one = read_assertion(assertion, example=next(iter(figures), "tpot_ms"))
    if one.name not in figures:
        hint = did_you_mean(nearest_names(one.name, figures)) or f"; one of {', '.join(figures)}"
        raise UsageError(f"--assert: this command gives no '{one.name}'{hint}")
    value, dimension = figures[one.name]
    if value is None:
        return f"assertion failed: {one.text} (it is unknown here)"
    if _COMPARE[one.sign](value, one.limit_in(dimension)):
        return None
    return f"assertion failed: {one.text} (it is {format_quantity(value, dimension)})"
