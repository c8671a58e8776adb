"""Pictures as one SVG file, drawn by matplotlib: the same bytes for the same numbers."""

from __future__ import annotations

import itertools
import textwrap
from typing import TYPE_CHECKING, Any, Final

from llmdrill.errors import UsageError
from llmdrill.report.chart import short

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from llmdrill.picture import Picture

INCHES: Final = (8.0, 4.4)  # of one picture
PAD_INCHES: Final = 0.15  # above and below it
TITLE_COLUMNS: Final = 80
BARS_SHARE: Final = 0.8  # of the room of a label that its bars fill
SLANTED_FROM: Final = 70  # letters of all labels, which would run into each other
MOST_TICKS: Final = 10  # that a logarithmic axis has room for: where points are not nearer, they get the ticks
MARKERS: Final = "os^Dv"
DASHES: Final = ("-", "--", "-.", ":")  # lines that lie on one another, or have no colour, can be told apart


def write_svg(pictures: Sequence[Picture], file: Path) -> None:
    """Draw the pictures one below another.

    Raises:
        UsageError: If there is nothing to draw, or the file cannot be written.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    if not pictures:
        raise UsageError("--svg: this run has no picture")
    with mpl.rc_context({"svg.hashsalt": "llmdrill", "svg.fonttype": "none", "font.size": 10}):
        layout = ConstrainedLayoutEngine(h_pad=PAD_INCHES)
        figure = Figure(figsize=(INCHES[0], INCHES[1] * len(pictures)), layout=layout)
        for axes, picture in zip(figure.subplots(len(pictures), squeeze=False)[:, 0], pictures, strict=True):
            _draw(axes, picture)
        try:
            figure.savefig(file, format="svg", metadata={"Date": None})
        except OSError as error:
            raise UsageError(f"--svg {file}: cannot be written ({error.strerror})") from error


def _draw(axes: Any, picture: Picture) -> None:  # noqa: ANN401 - matplotlib is imported late
    for at, one in enumerate(picture.series):
        if picture.kind == "bars":
            width = BARS_SHARE / len(picture.series)
            left = [x + width * (at - (len(picture.series) - 1) / 2) for x in one.x]
            axes.bar(left, one.y, width=width, label=one.name)
        else:
            looks = {"marker": MARKERS[at % len(MARKERS)], "linestyle": DASHES[at % len(DASHES)]}
            axes.plot(one.x, one.y, markersize=4, label=one.name, **looks)
    _scale(axes.yaxis, [y for one in picture.series for y in one.y], log=picture.log_y)
    if picture.kind == "bars":
        slanted = {"rotation": 30, "ha": "right"} if sum(map(len, picture.labels)) > SLANTED_FROM else {}
        axes.set_xticks(range(len(picture.labels)), picture.labels, **slanted)
    else:
        axes.grid(visible=True, alpha=0.3)
        _scale(axes.xaxis, [x for one in picture.series for x in one.x], log=picture.log_x, at_points=True)
    axes.set(title=textwrap.fill(picture.title, TITLE_COLUMNS), xlabel=picture.x_label, ylabel=picture.y_label)
    if len(picture.series) > 1:
        axes.legend()


def _scale(axis: Any, values: Sequence[float], *, log: bool, at_points: bool = False) -> None:  # noqa: ANN401 - likewise
    """Put numbers that people read at an axis: whole ones stay whole, and none is a power of ten."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    points = sorted(set(values))
    if not log:
        whole = all(float(one).is_integer() for one in points)
        axis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=whole))
        return
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    apart = min((after / before for before, after in itertools.pairwise(points)), default=1.0)
    few = at_points and points and apart ** (MOST_TICKS + 1) >= points[-1] / points[0]
    steps = (1, 2, 5) if points and points[-1] < 100 * points[0] else (1,)
    axis.set_major_locator(FixedLocator(points) if few else LogLocator(subs=steps))
    axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axis.set_minor_formatter(NullFormatter())
