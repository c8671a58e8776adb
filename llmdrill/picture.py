"""A picture of numbers, drawn as characters in a terminal and as SVG in a file. What it shows, not how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Series:
    """One line of points, or the bars of one colour.

    Attributes:
        name: In the legend.
        x: Positions; for bars 0, 1, 2 …, as many as the picture has labels.
        y: Heights, as many as ``x``.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise ValueError(f"series '{self.name}' has {len(self.x)} positions and {len(self.y)} heights")


@dataclass(frozen=True, slots=True)
class Picture:
    """Lines or bars over one pair of axes.

    Attributes:
        title: What is seen.
        x_label: Of the horizontal axis, with its unit.
        y_label: Of the vertical axis, with its unit.
        series: What is drawn, in the order of the legend.
        kind: ``line`` joins points; ``bars`` puts the series' bars side by side over each label.
        labels: Under the bars; empty for lines.
        log_x: Whether the horizontal axis is logarithmic; then every position is above zero.
        log_y: Likewise the vertical one.
    """

    title: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    kind: Literal["line", "bars"] = "line"
    labels: tuple[str, ...] = ()
    log_x: bool = False
    log_y: bool = False

    def __post_init__(self) -> None:
        if self.kind == "bars" and any(len(one.x) > len(self.labels) for one in self.series):
            raise ValueError(f"picture '{self.title}' has more bars than labels")
        for one in self.series:
            if (self.log_x and min(one.x, default=1) <= 0) or (self.log_y and min(one.y, default=1) <= 0):
                raise ValueError(f"series '{one.name}' has a point that a logarithmic axis cannot show")
