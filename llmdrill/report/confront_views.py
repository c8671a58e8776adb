"""Predictions beside measurements as blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdrill.report.blocks import Bullets, Grid
from llmdrill.units import format_quantity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdrill.experiments.confront import Confrontation
    from llmdrill.report.blocks import Blocks


def confront_view(rows: Sequence[Confrontation]) -> Blocks:
    """Show predicted, measured and error, then the formula and what the error teaches."""
    cells = tuple(
        (
            row.what,
            format_quantity(row.predicted, row.dimension),
            format_quantity(row.measured, row.dimension),
            "" if row.error_share is None else f"{100 * row.error_share:+.3g}%",
        )
        for row in rows
    )
    grid = Grid(("quantity", ">predicted", ">measured here", ">error"), cells, "The estimate against a real run")
    return (grid, Bullets(tuple(f"{row.what}: {row.formula}. {row.meaning}" for row in rows), "dim"))
