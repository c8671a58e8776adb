"""Blocks on a terminal: rich where a person looks, plain words where a pipe, a log or a screen reader does."""

from __future__ import annotations

import os
import re
import shutil
import textwrap
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO

from llmdrill.report.blocks import Bullets, Chart, Drawing, Grid, Heading, Text
from llmdrill.report.chart import chart
from llmdrill.report.columns import fitted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from llmdrill.report.blocks import Block, Tone

STYLES: Final[Mapping[Tone, str]] = {"plain": "", "good": "green", "bad": "red", "warn": "yellow", "dim": "dim"}
CODES: Final[Mapping[str, str]] = {"title": "1;36", "good": "32", "bad": "31", "warn": "33", "dim": "2"}  # SGR
NARROWEST: Final = 40
WIDEST: Final = 110
GAP: Final = 2  # columns between two of a table's


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
            if isinstance(block, Grid) and not self.plain and self._rich_grid(block):
                continue
            shown = _plain_block(block, self.width) if self.plain else _styled_block(block, self.width)
            self.stream.write((printable(shown) if self.plain else shown) + "\n\n")
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

    def _rich_grid(self, whole: Grid) -> bool:
        """Draw a table if it fits the window; tell whether it did."""
        from rich import box
        from rich.table import Table

        grid = fitted(whole, width=self.width, gap=GAP, break_words=True)
        if grid is None:
            return False
        table = Table(
            box=box.SIMPLE_HEAD,
            title=printable(grid.title) or None,
            title_justify="left",
            title_style="bold",
            pad_edge=False,
            show_edge=False,
            collapse_padding=True,
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
        console.print()
        return True


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
            title = block.text.upper() if block.level == 1 else block.text
            return "\n".join(styled(line, "title") for line in textwrap.wrap(title, width))
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
            mark = "==" if block.level == 1 else "--"
            return textwrap.fill(f"{mark} {block.text}", width, subsequent_indent="   ")
        case Text():
            return "\n".join(textwrap.fill(part, width) for part in paragraphs(block.text))
        case Bullets():
            return "\n".join(
                textwrap.fill(item, width, initial_indent="- ", subsequent_indent="  ") for item in block.items
            )
        case Grid():
            return _plain_grid(block, width)
        case Drawing():
            return "\n".join(_kept(line, width) for line in block.text.split("\n"))
        case Chart():
            return chart(block.picture, width=width)


def _kept(line: str, width: int) -> str:
    """Return a line of a drawing as it is, or broken where the window would break it, but between words."""
    indent = " " * min(len(line) - len(line.lstrip(" ")) + 2, width // 2)
    return line if len(line) <= width else textwrap.fill(line, width, subsequent_indent=indent, expand_tabs=False)


def _plain_grid(grid: Grid, width: int) -> str:
    title = [textwrap.fill(grid.title, width)] if grid.title else []
    note = [textwrap.fill(grid.note, width)] if grid.note else []
    table = fitted(grid, width=width, gap=GAP, break_words=False)
    return "\n".join([*title, *(_records(grid, width) if table is None else _aligned(table)), *note])


def _aligned(grid: Grid) -> list[str]:
    """Return a line for each line of a row's highest cell; short headers stand at the bottom."""
    height = max(name.count("\n") for name in grid.columns)
    names = tuple("\n" * (height - name.count("\n")) + name.removeprefix(">") for name in grid.columns)
    rows = [names, *grid.rows]
    widths = [max(len(line) for cell in column for line in cell.split("\n")) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        for cells in zip_longest(*(cell.split("\n") for cell in row), fillvalue=""):
            placed = (
                cell.rjust(size) if name.startswith(">") else cell.ljust(size)
                for cell, size, name in zip(cells, widths, grid.columns, strict=True)
            )
            lines.append((" " * GAP).join(placed).rstrip())
    return lines


def _records(grid: Grid, width: int) -> list[str]:
    """Return rows too wide for the window: a line a cell, numbers side by side."""
    lines = []
    for row in grid.rows:
        filled = [(name, cell) for name, cell in zip(grid.columns, row, strict=True) if cell]
        lines += [_wrapped(": ".join(first).removeprefix(">"), width, "") for first in filled[:1]]
        numbers = [f"{name[1:]}: {cell}" for name, cell in filled[1:] if name.startswith(">")]
        lines += [_wrapped(f"{name}: {cell}", width, "  ") for name, cell in filled[1:] if not name.startswith(">")]
        lines += _side_by_side(numbers, width)
    return lines


def _side_by_side(parts: Sequence[str], width: int) -> list[str]:
    """Return parts with blanks between, as many on a line as there is room for.

    >>> _side_by_side(["predicted: 8 ms", "measured: 10 ms", "n: 5"], 36)
    ['  predicted: 8 ms  measured: 10 ms', '  n: 5']
    """
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + 2 + len(part) <= width:
            lines[-1] += f"  {part}"
        else:
            lines.append(_wrapped(part, width, "  "))
    return lines


def _wrapped(text: str, width: int, indent: str) -> str:
    return textwrap.fill(text, width, initial_indent=indent, subsequent_indent=f"{indent}  ")
