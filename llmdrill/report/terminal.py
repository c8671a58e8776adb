"""Blocks on a terminal: rich where a person looks, plain words where a pipe, a log or a screen reader does."""

from __future__ import annotations

import os
import re
import shutil
import textwrap
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO

from llmdrill.report.blocks import Bullets, Drawing, Grid, Heading, Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from llmdrill.report.blocks import Block, Tone

STYLES: Final[Mapping[Tone, str]] = {"plain": "", "good": "green", "bad": "red", "warn": "yellow", "dim": "dim"}
CODES: Final[Mapping[str, str]] = {"title": "1;36", "good": "32", "bad": "31", "warn": "33", "dim": "2"}  # SGR
NARROWEST: Final = 40
LEAST_TEXT: Final = 28  # columns that a wrapped column of a table needs to be readable
WIDEST: Final = 110


_CONTROLS: Final = dict.fromkeys([*range(9), *range(11, 32), *range(127, 160)])  # all but tab and line break


def printable(text: str) -> str:
    """Return text that cannot command the terminal: files and answers may hold escape codes."""
    return text.translate(_CONTROLS)


def wants_plain(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Tell whether this stream should get plain words: no terminal, a dumb one, or CI."""
    return not stream.isatty() or environ.get("TERM", "") in {"dumb", ""} or bool(environ.get("CI"))


class Terminal:
    """Writes blocks to one stream.

    Attributes:
        plain: No colour, boxes, cursor movement or spinners; words, not glyphs.
        width: Columns to stay within.
    """

    def __init__(self, stream: TextIO, *, plain: bool | None = None, width: int | None = None) -> None:
        self.stream = stream
        self.plain = wants_plain(stream, os.environ) if plain is None else plain
        columns = width or shutil.get_terminal_size((100, 24)).columns
        self.width = max(NARROWEST, min(columns, WIDEST))
        self._console: Any = None

    def write(self, blocks: Iterable[Block]) -> None:
        """Write blocks, an empty line after each."""
        for block in blocks:
            if isinstance(block, Grid) and not self.plain and _fits(block, self.width):
                self._rich_grid(block)
            else:
                shown = _plain_block(block, self.width) if self.plain else _styled_block(block, self.width)
                self.stream.write(printable(shown) if self.plain else shown)
            self.stream.write("\n\n")
        self.stream.flush()

    def line(self, text: str, tone: Tone = "plain") -> None:
        """Write one line as it is."""
        self.stream.write((printable(text) if self.plain else styled(text, tone)) + "\n")
        self.stream.flush()

    def _get_console(self) -> Any:  # noqa: ANN401 - rich is imported late: the first prompt needs no table
        if self._console is None:
            from rich.console import Console

            self._console = Console(file=self.stream, width=self.width, highlight=False, markup=False, emoji=False)
        return self._console

    def _rich_grid(self, grid: Grid) -> None:
        from rich import box
        from rich.table import Table

        table = Table(
            box=box.SIMPLE_HEAD,
            title=printable(grid.title) or None,
            title_justify="left",
            title_style="bold",
            pad_edge=False,
        )
        for column in grid.columns:
            table.add_column(
                column.removeprefix(">"), justify="right" if column.startswith(">") else "left", overflow="fold"
            )
        for index, row in enumerate(grid.rows):
            table.add_row(*map(printable, row), style=STYLES[grid.tones[index]] if grid.tones else "")
        console = self._get_console()
        console.print(table)
        if grid.note:
            console.print(printable(grid.note), style="dim")


def _fits(grid: Grid, width: int) -> bool:
    """Tell whether a table can be drawn without breaking a number or a name: only its longest column may wrap."""
    cells = [
        [column.removeprefix(">"), *(row[index] for row in grid.rows)] for index, column in enumerate(grid.columns)
    ]
    widths = sorted(max(map(len, column)) for column in cells)
    return sum(widths[:-1]) + min(widths[-1], LEAST_TEXT) + 3 * len(widths) <= width


def paragraphs(text: str) -> list[str]:
    r"""Return the lines to wrap one by one: a line break inside a paragraph is a space, one before a list item stays.

    >>> paragraphs("one\ntwo\n- three\n\nfour")
    ['one two', '- three', '', 'four']
    """
    lines: list[str] = []
    for line in text.strip().split("\n"):
        starts_anew = not line.strip() or not lines or not lines[-1] or re.match(r"\s*([-*•]|\d+[.)])\s", line)
        if starts_anew:
            lines.append(line.strip())
        else:
            lines[-1] += " " + line.strip()
    return lines


def styled(text: str, tone: Tone | Literal["title"]) -> str:
    """Return text in a tone's colour."""
    code = CODES.get(tone, "")
    shown = printable(text)
    return f"\x1b[{code}m{shown}\x1b[0m" if code and shown else shown


def _styled_block(block: Block, width: int) -> str:
    match block:
        case Heading():
            return styled(block.text.upper() if block.level == 1 else block.text, "title")
        case Text():
            return "\n".join(styled(textwrap.fill(part, width), block.tone) for part in paragraphs(block.text))
        case Bullets():
            items = (textwrap.fill(item, width, initial_indent="• ", subsequent_indent="  ") for item in block.items)
            return "\n".join(styled(item, block.tone) for item in items)
        case _:
            return printable(_plain_block(block, width))


def _plain_block(block: Block, width: int) -> str:
    match block:
        case Heading():
            return f"{'=' if block.level == 1 else '-'}{'=' if block.level == 1 else '-'} {block.text}"
        case Text():
            return "\n".join(textwrap.fill(part, width) for part in paragraphs(block.text))
        case Bullets():
            return "\n".join(
                textwrap.fill(item, width, initial_indent="- ", subsequent_indent="  ") for item in block.items
            )
        case Grid():
            return _plain_grid(block, width)
        case Drawing():
            return block.text


def _plain_grid(grid: Grid, width: int) -> str:
    names = tuple(column.removeprefix(">") for column in grid.columns)
    right = [column.startswith(">") for column in grid.columns]
    widths = [max(len(row[index]) for row in (names, *grid.rows)) for index in range(len(names))]
    lines = [grid.title] if grid.title else []
    if sum(widths) + 2 * len(widths) > width:
        lines += [_record(names, row, width) for row in grid.rows]
    else:
        lines += [_aligned(row, widths, right) for row in (names, *grid.rows)]
    return "\n".join([*lines, *([textwrap.fill(grid.note, width)] if grid.note else [])])


def _aligned(row: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    cells = [
        cell.rjust(size) if flush else cell.ljust(size) for cell, size, flush in zip(row, widths, right, strict=True)
    ]
    return "  ".join(cells).rstrip()


def _record(names: Sequence[str], row: Sequence[str], width: int) -> str:
    """Return a row that is too wide for the window as one line a cell."""
    first, *rest = (f"{name}: {cell}" for name, cell in zip(names, row, strict=True) if cell)
    return "\n".join([_wrapped(first, width, ""), *(_wrapped(line, width, "  ") for line in rest)])


def _wrapped(text: str, width: int, indent: str) -> str:
    return textwrap.fill(text, width, initial_indent=indent, subsequent_indent=f"{indent}  ")
