"""What every calculator returns, and how it is shown: text, JSON, Markdown, with the derivation on request."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from llmdrill.cli.show import (
    emit_json,
    emit_text,
    explained_json,
    explained_lines,
    failing_assertions,
    leave_if_any,
)
from llmdrill.units import format_quantity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmdrill.estimate.explain import Explained
    from llmdrill.table import Table

Shown = Literal["text", "json", "markdown"]
_MILLI: Final = 1000.0
_DIGITS: Final = 4  # of a number in a table that is not whole
_WHOLE_FROM: Final = 10**_DIGITS - 0.5
_TINY: Final = 1e-6  # below, an exponent is easier to read than zeros


@dataclass(frozen=True, slots=True)
class Span:
    """What surrounds a predicted figure, in SI: its 80 % band and the least that physics allows."""

    low: float
    high: float
    floor: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a calculator found.

    Attributes:
        calculator: Its command, such as ``kv``.
        lines: What a person reads first.
        figures: Every figure with its derivation. Values are SI; the names are the JSON's keys and what ``--assert``
            takes. A name that ends in ``_ms`` is written in milliseconds there.
        inputs: What it was computed for, under unit-bearing keys that are not names of figures.
        notes: Caveats, each a sentence.
        spans: Band and floor of predicted figures, by name: such a figure is a JSON object with ``value``, ``low``,
            ``high`` and, in its own unit, ``floor_…``.
        unknown: Names of figures that the inputs do not determine: null in JSON.
        tables: For people and, under their titles with ``_`` for spaces, as lists of objects in JSON.
    """

    calculator: str
    lines: tuple[str, ...]
    figures: tuple[Explained, ...]
    inputs: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    spans: Mapping[str, Span] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()


def show_answer(answer: Answer, *, shown: Shown, explain: bool, assertions: Sequence[str]) -> None:
    """Hold the answer against the assertions, write it to stdout, then tell those that fail.

    Raises:
        UsageError: If an assertion cannot be read or names no figure of this calculator.
        typer.Exit: With status 1 if one does not hold.
    """
    # Before anything is written: an assertion that cannot be read leaves stdout empty.
    figures = {one.name: (one.value, one.unit) for one in answer.figures}
    failing = failing_assertions(assertions, figures, unknown=answer.unknown)
    if shown == "json":
        emit_json(answer_json(answer, explain=explain))
    elif shown == "markdown":
        emit_text(_markdown(answer, explain=explain))
    else:
        emit_text(_text(answer, explain=explain))
    leave_if_any(failing)


def answer_json(answer: Answer, *, explain: bool = False) -> dict[str, Any]:
    """Return the answer as one object: schema, figures, inputs, tables, notes."""
    tables = {
        table.title.replace(" ", "_"): [dict(zip(table.columns, row, strict=True)) for row in table.rows]
        for table in answer.tables
    }
    derivations = {one.name: explained_json(one) for one in answer.figures}
    return {
        "schema": f"llmdrill/calc-{answer.calculator}@1",
        **{one.name: _figure_json(one, answer.spans.get(one.name)) for one in answer.figures},
        **dict.fromkeys(answer.unknown),
        **answer.inputs,
        **tables,
        "notes": answer.notes,
        **({"explained": derivations} if explain else {}),
    }


def _figure_json(one: Explained, span: Span | None) -> Any:  # noqa: ANN401 - a number or an object
    scale = _scale(one.name)
    if span is None:
        return one.value * scale
    floor = {} if span.floor is None else {f"floor_{one.name.rpartition('_')[2]}": span.floor * scale}
    return {"value": one.value * scale, "low": span.low * scale, "high": span.high * scale, **floor}


def _scale(name: str) -> float:
    return _MILLI if name.endswith("_ms") else 1.0


def _text(answer: Answer, *, explain: bool) -> list[str]:
    lines = [*answer.lines]
    for table in answer.tables:
        lines += ["", table.title, *_columns(table)]
    lines += [*([""] if answer.tables and answer.notes else []), *answer.notes]
    for one in answer.figures if explain else ():
        lines += ["", *explained_lines(one)]
    return lines


def _columns(table: Table) -> list[str]:
    cells = [table.columns, *(tuple(map(_cell, row)) for row in table.rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(table.columns))]
    words = [all(isinstance(row[at], str | None) for row in table.rows) for at in range(len(table.columns))]
    return [
        "  ".join(
            cell.ljust(width) if word else cell.rjust(width)
            for cell, width, word in zip(row, widths, words, strict=True)
        ).rstrip()
        for row in cells
    ]


def _cell(value: str | float | None) -> str:
    """Return a cell as people read it: whole numbers in full, others to four digits.

    >>> _cell(33_439_999_744), _cell(3.072e9), _cell(0.0121653), _cell(12345.678), _cell(0.00001), _cell(8.4e-13)
    ('33,439,999,744', '3,072,000,000', '0.01217', '12,346', '0.00001', '8.4e-13')
    """
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if value == round(value) or abs(value) >= _WHOLE_FROM:
        return f"{value:,.0f}"
    text = f"{value:.{_DIGITS}g}"
    if "e" not in text or abs(value) < _TINY:
        return text
    return f"{value:.{_DIGITS + 3}f}".rstrip("0")  # 0.00001234: an exponent is avoided


def _markdown(answer: Answer, *, explain: bool) -> list[str]:
    lines = [f"**llmdrill calc {answer.calculator}**", "", *(f"{line}  " for line in answer.lines), ""]
    rows = [("figure", "value"), *((f"`{one.name}`", format_quantity(one.value, one.unit)) for one in answer.figures)]
    lines += _markdown_table(rows)
    for table in answer.tables:
        lines += [
            "",
            f"**{table.title}**",
            "",
            *_markdown_table([table.columns, *(tuple(map(_cell, row)) for row in table.rows)]),
        ]
    lines += ["", *(f"- {note}" for note in answer.notes)] if answer.notes else []
    for one in answer.figures if explain else ():
        formula, filled, source = explained_lines(one)
        lines += ["", "```text", formula, filled, "```", source]
    return lines


def _markdown_table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    head, *body = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return [head, f"|{'---|' * len(rows[0])}", *body]
