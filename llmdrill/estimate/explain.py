"""How a figure shows itself: the formula, the formula with the numbers put in, and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmdrill.units import Dimension


@dataclass(frozen=True, slots=True)
class Explained:
    """One figure with its derivation.

    Attributes:
        name: The figure's identifier with its unit, such as ``kv_cache_bytes``.
        value: The figure, in SI.
        unit: Its dimension, as ``llmdrill.units`` names it.
        formula: In words and names.
        filled: The same with the numbers put in, and the result.
        source: Paper, page or file; a price names its date.
    """

    name: str
    value: float
    unit: Dimension
    formula: str
    filled: str
    source: str


def figure(value: float) -> str:
    """Return a number as a formula shows it: whole numbers with thin groups, others to six digits.

    >>> figure(80), figure(327680.0), figure(0.15), figure(40_000_000_000)
    ('80', '327,680', '0.15', '40,000,000,000')
    """
    return f"{value:,.0f}" if value == int(value) else f"{value:,.6g}"
