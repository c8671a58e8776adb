"""Pictures as characters: bars with their values, and lines on a grid with a letter for each series."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdrill.picture import Picture

PLOT_COLUMNS: Final = 56
PLOT_ROWS: Final = 12
BAR_COLUMNS: Final = 34
MARKS: Final = "abcdefghijklmnopqrstuvwxyz"
SHARED: Final = "*"  # where points of several series fall on one place


def chart(picture: Picture) -> str:
    """Return a picture as lines of text, at most 78 columns wide for labels of usual length."""
    return "\n".join([picture.title, *(_bars(picture) if picture.kind == "bars" else _lines(picture))])


def _bars(picture: Picture) -> list[str]:
    heights = [value for one in picture.series for value in one.y]
    top = max((abs(value) for value in heights), default=0.0)
    several = len(picture.series) > 1
    names = [f"{label} {one.name}" if several else label for label in picture.labels for one in picture.series]
    width = max(map(len, names), default=0)
    lines = []
    for at, label in enumerate(picture.labels):
        for one in picture.series:
            value = dict(zip(one.x, one.y, strict=True)).get(float(at))
            name = f"{label} {one.name}" if several else label
            if value is not None:
                lines.append(f"{name:<{width}}  {_bar(value, heights, top, log=picture.log_y)} {short(value)}")
    return [*lines, f"{'':<{width}}  {picture.y_label}{' (logarithmic)' if picture.log_y else ''}"]


def _bar(value: float, heights: Sequence[float], top: float, *, log: bool) -> str:
    """Return a bar as long as the value's share of the greatest one; on a logarithmic axis the least has one mark."""
    if log:
        least = math.log10(min(heights))
        span = math.log10(max(heights)) - least or 1.0
        filled = 1 + round((BAR_COLUMNS - 1) * (math.log10(value) - least) / span)
    else:
        filled = round(BAR_COLUMNS * abs(value) / top) if top else 0
    return ("-" if value < 0 else "#") * filled


def _lines(picture: Picture) -> list[str]:
    points = [(x, y, mark) for mark, one in zip(MARKS, picture.series, strict=False) for x, y in zip(one.x, one.y)]  # noqa: B905 - Series refuses unequal lengths
    if not points:
        return ["(nothing to draw)"]
    xs, ys = [point[0] for point in points], [point[1] for point in points]
    cells = [[" "] * PLOT_COLUMNS for _ in range(PLOT_ROWS)]
    for x, y, mark in points:
        column = _place(x, xs, PLOT_COLUMNS, log=picture.log_x)
        row = PLOT_ROWS - 1 - _place(y, ys, PLOT_ROWS, log=picture.log_y)
        cells[row][column] = mark if cells[row][column] in {" ", mark} else SHARED
    ends = (short(max(ys)), short(min(ys)))
    width = max(map(len, ends))
    left = [ends[0], *[""] * (PLOT_ROWS - 2), ends[1]]
    grid = [f"{at:>{width}} |{''.join(row).rstrip()}" for at, row in zip(left, cells, strict=True)]
    first, last = short(min(xs)), short(max(xs))
    gap = PLOT_COLUMNS - len(first) - len(last)
    return [
        f"{picture.y_label}{' (logarithmic)' if picture.log_y else ''}",
        *grid,
        f"{'':>{width}} +{'-' * PLOT_COLUMNS}",
        f"{'':>{width}}  {first}{'':>{gap}}{last}",
        f"{'':>{width}}  {picture.x_label}{' (logarithmic)' if picture.log_x else ''}",
        *([f"{mark} {one.name}" for mark, one in zip(MARKS, picture.series, strict=False)]),
    ]


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
