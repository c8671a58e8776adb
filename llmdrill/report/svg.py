"""Pictures as one SVG file, drawn by matplotlib: the same bytes for the same numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from llmdrill.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from llmdrill.picture import Picture

INCHES: Final = (8.0, 4.2)  # of one picture
BARS_SHARE: Final = 0.8  # of the room of a label that its bars fill


def write_svg(pictures: Sequence[Picture], file: Path) -> None:
    """Draw the pictures one below another.

    Raises:
        UsageError: If there is nothing to draw, or the file cannot be written.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    if not pictures:
        raise UsageError("--svg: this run has no picture")
    with mpl.rc_context({"svg.hashsalt": "llmdrill", "svg.fonttype": "none", "font.size": 10}):
        figure = Figure(figsize=(INCHES[0], INCHES[1] * len(pictures)), layout="constrained")
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
            axes.plot(one.x, one.y, marker="o", markersize=3, label=one.name)
    if picture.kind == "bars":
        slanted = {"rotation": 30, "ha": "right"} if sum(map(len, picture.labels)) > 70 else {}
        axes.set_xticks(range(len(picture.labels)), picture.labels, **slanted)
    else:
        axes.grid(visible=True, alpha=0.3)
        axes.set_xscale("log" if picture.log_x else "linear")
    axes.set_yscale("log" if picture.log_y else "linear")
    axes.set(title=picture.title, xlabel=picture.x_label, ylabel=picture.y_label)
    if len(picture.series) > 1:
        axes.legend()
