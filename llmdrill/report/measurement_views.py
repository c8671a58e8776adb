"""A measurement as blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from llmdrill.report.blocks import Bullets, Grid, Text
from llmdrill.system.metrics import METRICS
from llmdrill.units import format_bytes, format_count, format_quantity, format_seconds, format_share, format_usd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdrill.measurement import Figure, Machine, Measurement
    from llmdrill.report.blocks import Block, Blocks
    from llmdrill.table import Table
    from llmdrill.units import Dimension

_SUFFIXES: Final = (
    ("_s", format_seconds),
    ("_bytes", format_bytes),
    ("_usd", format_usd),
    ("_share", format_share),
    ("_rate", format_share),
    ("mape", format_share),
    ("_ape", format_share),
)
_RATES: Final[tuple[tuple[str, Dimension], ...]] = (("_bytes_per_s", "bytes_per_second"), ("_flops_per_s", "flops"))
_NO_MULTIPLES: Final = ("exponent", "difference")
LEAST_MULTIPLE: Final = 0.01
LEAST_DECIMAL: Final = 1e-6  # smaller numbers of a table have an exponent
MOST_DIGITS: Final = 6  # of a column whose numbers share their decimals
SHORT_TABLE: Final = 12
_SHARES: Final = ("recall", "precision", "mrr", "ndcg", "f1", "average_precision")


def figure_text(name: str, value: float | None) -> str:
    """Return a figure as its name says it is to be read: seconds, bytes, dollars, a share or a count.

    >>> figure_text("ttft_p50_s", 0.25), figure_text("recall_at_k", 0.8512), figure_text("chunks", 715.0)
    ('250 ms', '0.851', '715')
    >>> figure_text("bandwidth_bytes_per_s", 2.01e10), figure_text("peak_flops_per_s", 1.29e10)
    ('20.1 GB/s', '12.9 GFLOP/s')
    >>> figure_text("mape", 0.0712), figure_text("median_ape", 0.05)
    ('7.12%', '5%')
    >>> figure_text("tpot_p50_ms", 12.5), figure_text("ttft_p50_ms", 1761.3), figure_text("loss_nats", 0.01234)
    ('12.5 ms', '1,760 ms', '0.01234')
    """
    if value is None:
        return "unknown"
    if name.endswith("_ms"):
        return f"{float(f'{value:.3g}'):,.10g} ms"
    for suffix, dimension in _RATES:
        if name.endswith(suffix):
            return format_quantity(value, dimension)
    if name.endswith("_ratio"):
        return _ratio_text(name, value)
    for suffix, shown in _SUFFIXES:
        if name.endswith(suffix) and not name.endswith("per_s"):
            return shown(value)
    if "usd" in name:
        return format_usd(value)
    if any(part in name for part in _SHARES):
        return f"{value:.3f}"
    return f"{value:.4g}" if abs(value) < 1 else format_count(value)


def _ratio_text(name: str, value: float) -> str:
    """Return a multiple with an x; an exponent and a difference are none, nor is what is next to nothing.

    >>> _ratio_text("speed_up_ratio", 1.3456), _ratio_text("growth_exponent_ratio", 1.98)
    ('1.35x', '1.98')
    >>> _ratio_text("tiled_difference_ratio", 6.51e-07), _ratio_text("state_ratio", 0.0021)
    ('6.51e-07', '0.0021')
    """
    multiple = not any(part in name for part in _NO_MULTIPLES) and (value == 0 or abs(value) >= LEAST_MULTIPLE)
    return f"{value:.3g}{'x' if multiple else ''}"


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
    columns, cells = [], []
    for name, column in zip(
        table.columns, list(zip(*table.rows, strict=True)) or [()] * len(table.columns), strict=True
    ):
        numbers = [cell for cell in column if not isinstance(cell, str)]
        columns.append(f">{name}" if len(numbers) == len(column) else name)
        cells.append(_number_cells(numbers) if len(numbers) == len(column) else [_cell(cell) for cell in column])
    return Grid(tuple(columns), tuple(zip(*cells, strict=True)), table.title, table.note)


def _number_cells(column: Sequence[float | None]) -> list[str]:
    """Return a column of numbers with as many decimals each, where that takes no more digits than they are worth.

    >>> _number_cells((31.53, 37.2, None)), _number_cells((0.39251, 253.87)), _number_cells((4096, 8))
    (['31.53', '37.20', ''], ['0.3925', '253.9'], ['4,096', '8'])
    >>> _number_cells((6.6e-07, 0.5))
    ['6.6e-07', '0.5']
    """
    shown = [_cell(one) for one in column]
    decimals = max((len(text.partition(".")[2]) for text in shown), default=0)
    whole = max((len(text.partition(".")[0].lstrip("-0")) for text in shown), default=0)
    if any("e" in text for text in shown) or not 0 < decimals <= MOST_DIGITS - whole:
        return shown
    return [text and f"{one:,.{decimals}f}" for one, text in zip(column, shown, strict=True)]


def _cell(value: str | float | None) -> str:
    """Return a cell of four digits.

    >>> _cell(None), _cell(0.00004312), _cell(3.4e-17), _cell(1234567.0)
    ('', '0.00004312', '3.4e-17', '1,234,567')
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if LEAST_DECIMAL <= abs(value) < 1e-4:
        return f"{value:.8f}".rstrip("0")
    return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


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
