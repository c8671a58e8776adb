"""A measurement as blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from llmdrill.report.blocks import Bullets, Grid, Text
from llmdrill.system.metrics import METRICS
from llmdrill.units import format_bytes, format_count, format_seconds, format_share, format_usd

if TYPE_CHECKING:
    from llmdrill.measurement import Figure, Machine, Measurement
    from llmdrill.report.blocks import Block, Blocks
    from llmdrill.table import Table

_SUFFIXES: Final = (
    ("_s", format_seconds),
    ("_bytes", format_bytes),
    ("_usd", format_usd),
    ("_share", format_share),
    ("_rate", format_share),
)
SHORT_TABLE: Final = 12
_SHARES: Final = ("recall", "precision", "mrr", "ndcg", "f1", "average_precision")


def figure_text(name: str, value: float | None) -> str:
    """Return a figure as its name says it is to be read: seconds, bytes, dollars, a share or a count.

    >>> figure_text("ttft_p50_s", 0.25), figure_text("recall_at_k", 0.8512), figure_text("chunks", 715.0)
    ('250 ms', '0.851', '715')
    >>> figure_text("bandwidth_bytes_per_s", 2.01e10)
    '20.1 GB/s'
    >>> figure_text("tpot_p50_ms", 12.5), figure_text("speed_up_ratio", 1.3456), figure_text("loss_nats", 0.01234)
    ('12.5 ms', '1.35x', '0.01234')
    """
    if value is None:
        return "unknown"
    if name.endswith("_ms"):
        return format_seconds(value / 1000)
    if name.endswith("_bytes_per_s"):
        return f"{format_bytes(value).partition(' (')[0]}/s"
    if name.endswith("_ratio"):
        return f"{value:.3g}x"
    for suffix, shown in _SUFFIXES:
        if name.endswith(suffix) and not name.endswith("per_s"):
            return shown(value)
    if "usd" in name:
        return format_usd(value)
    if any(part in name for part in _SHARES):
        return f"{value:.3f}"
    return f"{value:.4g}" if abs(value) < 1 else format_count(value)


def measurement_view(measurement: Measurement, *, brief: bool = False) -> Blocks:
    """Show the figures with their intervals, the tables, the notes, and where it was measured.

    Args:
        measurement: Of a run on this machine.
        brief: For a terminal: only the figures that requirements may name, and short tables.
    """
    figures = [one for one in measurement.figures if not brief or one.name in METRICS]
    rows = tuple(_figure_row(figure) for figure in figures)
    blocks: list[Block] = [Grid(("figure", ">value", ">low", ">high", ">n", "note"), rows, "Measured on this machine")]
    blocks += [table_view(table) for table in measurement.tables if not brief or len(table.rows) <= SHORT_TABLE]
    blocks.append(
        Bullets((*measurement.notes, machine_text(measurement.machine, measurement.seed, measurement.repeats)), "dim")
    )
    return tuple(blocks)


def _figure_row(figure: Figure) -> tuple[str, ...]:
    low, high = (figure_text(figure.name, end) if end is not None else "" for end in (figure.low, figure.high))
    return (figure.name, figure_text(figure.name, figure.value), low, high, str(figure.n or ""), figure.note)


def table_view(table: Table) -> Grid:
    """Show one table of a measurement; a column is flush right if all its cells are numbers."""
    numeric = [
        all(isinstance(row[index], int | float | None) for row in table.rows) for index in range(len(table.columns))
    ]
    columns = tuple(f">{name}" if flush else name for name, flush in zip(table.columns, numeric, strict=True))
    rows = tuple(tuple(_cell(cell) for cell in row) for row in table.rows)
    return Grid(columns, rows, table.title, table.note)


def _cell(value: str | float | None) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def machine_text(machine: Machine, seed: int, repeats: int) -> str:
    """Return where and how a measurement was taken, in a sentence."""
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions)
    return f"{machine_name(machine)}, {machine.threads} threads; {versions}; seed {seed}, {repeats} repeats"


def machine_name(machine: Machine) -> str:
    """Return what a machine is: processor, cores, memory."""
    return f"{machine.cpu}, {machine.cores} cores, {format_bytes(machine.memory_bytes)}"


def no_measurement_view(reason: str) -> Blocks:
    """Say that nothing was measured, and what would change that."""
    return (Text(f"Not measured: {reason}", "warn"),)
