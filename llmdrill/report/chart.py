"""Pictures as characters: bars with their values, and lines on a grid with a letter for each series."""

from __future__ import annotations

import itertools
import math
import textwrap
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmdrill.picture import Picture

WIDTH: Final = 78
PLOT_COLUMNS: Final = 56
PLOT_ROWS: Final = 12
BAR_COLUMNS: Final = 34
LEAST_BAR: Final = 12  # columns below which a bar gets a line of its own
MARKS: Final = "abcdefghijklmnopqrstuvwxyz"
SHARED: Final = "*"  # where points of several series fall on one place
JOIN: Final = "."  # between two points of a series that has few
FEW_POINTS: Final = 16  # of a series: so few need joining to be seen as one line
FEW_SERIES: Final = 3  # more of them joined would be a thicket


def chart(picture: Picture, *, width: int = WIDTH) -> str:
    """Return a picture as lines of text that stay within ``width`` columns, of which there are 40 or more."""
    axis = picture.y_label + (" (logarithmic)" if picture.log_y else "")
    drawn = _bars(picture, width) if picture.kind == "bars" else _lines(picture, width)
    return "\n".join([*textwrap.wrap(picture.title, width), *textwrap.wrap(axis, width), *drawn])


def _bars(picture: Picture, width: int) -> list[str]:
    """Return a line a bar; the bars of several series stand under the label that they share."""
    values = [value for one in picture.series for value in one.y]
    several = len(picture.series) > 1
    names = [one.name for one in picture.series] if several else list(picture.labels)
    indent = "  " if several else ""
    name_columns = max(map(len, names), default=0)
    room = width - len(indent) - 3 - max((len(short(value)) for value in values), default=0)
    own_line = room - name_columns < LEAST_BAR
    most = min(BAR_COLUMNS, room if own_line else room - name_columns)
    lines = []
    for at, label in enumerate(picture.labels):
        lines += textwrap.wrap(label, width) if several else []
        for one in picture.series:
            value = dict(zip(one.x, one.y, strict=True)).get(float(at))
            name = one.name if several else label
            if value is not None:
                bar = f"{_bar(value, values, most, log=picture.log_y)} {short(value)}"
                lines += _named(name, bar, width, indent) if own_line else [f"{indent}{name:<{name_columns}}  {bar}"]
    return lines


def _named(name: str, bar: str, width: int, indent: str) -> list[str]:
    return [*textwrap.wrap(name, width, initial_indent=indent, subsequent_indent=indent), f"{indent}  {bar}"]


def _bar(value: float, among: Sequence[float], most: int, *, log: bool) -> str:
    """Return a bar as long as the value's share of the greatest one; on a logarithmic axis the least has one mark."""
    top = max(map(abs, among))
    if log:
        least = math.log10(min(among))
        span = math.log10(max(among)) - least or 1.0
        filled = 1 + round((most - 1) * (math.log10(value) - least) / span)
    else:
        filled = round(most * abs(value) / top) if top else 0
    return ("-" if value < 0 else "#") * filled


def _lines(picture: Picture, width: int) -> list[str]:
    xs, ys = ([one for series in picture.series for one in getattr(series, axis)] for axis in "xy")
    if not xs:
        return ["(nothing to draw)"]
    ends = (short(max(ys)), short(min(ys)))
    margin = max(map(len, ends))
    columns = min(PLOT_COLUMNS, width - margin - 2)
    cells = _cells(picture, xs, ys, columns)
    left = [ends[0], *[""] * (PLOT_ROWS - 2), ends[1]]
    first, last = short(min(xs)), short(max(xs))
    gap = columns - len(first) - len(last)
    indent = " " * (margin + 2)
    axis = picture.x_label + (" (logarithmic)" if picture.log_x else "")
    legend = [f"{mark} {one.name}" for mark, one in zip(MARKS, picture.series, strict=False)]
    shared = [f"{SHARED} several of them"] if any(SHARED in row for row in cells) else []
    return [
        *(f"{at:>{margin}} |{''.join(row).rstrip()}" for at, row in zip(left, cells, strict=True)),
        f"{'':>{margin}} +{'-' * columns}",
        f"{indent}{first}{'':>{gap}}{last}",
        *textwrap.wrap(axis, width, initial_indent=indent, subsequent_indent=indent),
        *(line for name in (*legend, *shared) for line in textwrap.wrap(name, width, subsequent_indent="  ")),
    ]


def _cells(picture: Picture, xs: Sequence[float], ys: Sequence[float], columns: int) -> list[list[str]]:
    """Return the grid: points over joins, and ``SHARED`` over points of several series."""
    cells = [[" "] * columns for _ in range(PLOT_ROWS)]
    placed = [
        (mark, [_cell(picture, at, xs, ys, columns) for at in zip(one.x, one.y, strict=True)])
        for mark, one in zip(MARKS, picture.series, strict=False)
    ]
    for _, points in placed if len(placed) <= FEW_SERIES else ():
        for row, column in _joins(points) if len(points) <= FEW_POINTS else ():
            cells[row][column] = JOIN
    for mark, points in placed:
        for row, column in points:
            cells[row][column] = mark if cells[row][column] in {" ", JOIN, mark} else SHARED
    return cells


def _cell(
    picture: Picture, point: tuple[float, float], xs: Sequence[float], ys: Sequence[float], columns: int
) -> tuple[int, int]:
    """Return the row and the column of a point."""
    row = PLOT_ROWS - 1 - _place(point[1], ys, PLOT_ROWS, log=picture.log_y)
    return row, _place(point[0], xs, columns, log=picture.log_x)


def _joins(points: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield the cells between each point and the next.

    >>> list(_joins([(0, 0), (2, 4)]))
    [(0, 1), (1, 2), (2, 3)]
    """
    for (row, column), (next_row, next_column) in itertools.pairwise(points):
        steps = max(abs(next_row - row), abs(next_column - column))
        for step in range(1, steps):
            share = step / steps
            yield round(row + share * (next_row - row)), round(column + share * (next_column - column))


def _place(value: float, among: Sequence[float], places: int, *, log: bool) -> int:
    """Return which of so many places a value takes between the least and the greatest.

    >>> [_place(value, (1, 10, 100), 3, log=True) for value in (1, 10, 100)]
    [0, 1, 2]
    """
    least, most, value = (math.log10(one) if log else one for one in (min(among), max(among), value))
    return round((value - least) / (most - least) * (places - 1)) if most > least else 0


def short(value: float) -> str:
    """Return a number in few characters.

    >>> short(0), short(1234567), short(0.0123), short(128), short(2.5e-7), short(-3.25)
    ('0', '1.23M', '0.0123', '128', '2.5e-07', '-3.25')
    """
    for factor, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= factor:
            return f"{value / (1e3 if letter == 'k' else factor):.3g}{letter}"
    return f"{value:.4g}" if abs(value) >= 1000 else f"{value:.3g}"
