"""Break the cells of a table so that it fits a window: headers first, then its widest column of words."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from llmdrill.report.blocks import Grid

LEAST_TEXT: Final = 24  # columns that a broken column of words needs to be readable
MOST_LINES: Final = 4  # of a header


def fitted(grid: Grid, *, width: int, gap: int, break_words: bool) -> Grid | None:
    """Return the table with as few line breaks as it needs to fit; None where breaks alone do not help.

    Args:
        grid: Any table.
        width: Columns of the window.
        gap: Columns between two of the table's.
        break_words: Whether cells may be broken too; else a row stays a line, as grep and screen readers like it.
    """
    room = width - gap * (len(grid.columns) - 1)
    if sum(map(_wide, _columns(grid))) <= room:
        return grid
    for lines in range(2, MOST_LINES + 1):
        stacked = replace(grid, columns=tuple(_stacked(name, lines) for name in grid.columns))
        if sum(map(_wide, _columns(stacked))) <= room:
            return stacked
    return _with_words_broken(stacked, room) if break_words else None


def _with_words_broken(grid: Grid, room: int) -> Grid | None:
    """Break the cells of one column of words: the widest, or the next where that is a column of single words."""
    columns = _columns(grid)
    widths = [_wide(column) for column in columns]
    words = [at for at, name in enumerate(grid.columns) if not name.startswith(">")]
    for at in sorted(words, key=lambda at: -widths[at]):
        left = room - (sum(widths) - widths[at])
        if left >= (LEAST_TEXT if widths[at] > LEAST_TEXT else _longest_piece(columns[at])):
            rows = tuple((*row[:at], broken(row[at], left), *row[at + 1 :]) for row in grid.rows)
            names = (*grid.columns[:at], broken(grid.columns[at], left), *grid.columns[at + 1 :])
            return replace(grid, columns=names, rows=rows)
    return None


def _longest_piece(column: list[str]) -> int:
    return max(len(piece.rstrip()) for cell in column for line in cell.split("\n") for piece in _pieces(line))


def _pieces(line: str) -> list[str]:
    """Return the parts that a line may be broken into: after blanks and underscores."""
    return re.split(r"(?<=[ _])", line)


def _columns(grid: Grid) -> list[list[str]]:
    return [[name.removeprefix(">"), *(row[at] for row in grid.rows)] for at, name in enumerate(grid.columns)]


def _wide(column: list[str]) -> int:
    return max(len(line) for cell in column for line in cell.split("\n"))


def _stacked(name: str, lines: int) -> str:
    r"""Return a header on at most so many lines, as narrow as that allows; a piece of a name is never broken.

    >>> _stacked(">predicted_tokens_per_s", 2), _stacked("draft tokens", 3)
    ('>predicted_\ntokens_per_s', 'draft\ntokens')
    """
    flush, text = (">", name[1:]) if name.startswith(">") else ("", name)
    least = max(1, *map(len, _pieces(text)))
    return flush + next(
        made for width in range(least, len(text) + 2) if (made := broken(text, width)).count("\n") < lines
    )


def broken(text: str, width: int) -> str:
    r"""Return text with line breaks after blanks and underscores, inside a word only where one is too long.

    >>> broken("continue_draft_model_speedup_ratio", 24)
    'continue_draft_model_\nspeedup_ratio'
    >>> broken("a b", 80), broken("abcdef", 4)
    ('a b', 'abcd\nef')
    """
    return "\n".join(_broken_line(line, width) for line in text.split("\n"))


def _broken_line(text: str, width: int) -> str:
    lines = [""]
    for piece in _pieces(text):
        if lines[-1] and len((lines[-1] + piece).rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    chunks = [line[at : at + width] for line in map(str.rstrip, lines) for at in range(0, max(1, len(line)), width)]
    return "\n".join(chunks)
