"""What every report is made of: a few kinds of block that terminal and Markdown both know how to write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from llmdrill.picture import Picture

Tone = Literal["plain", "good", "bad", "warn", "dim"]


@dataclass(frozen=True, slots=True)
class Heading:
    """A title; level 1 is the report's own."""

    text: str
    level: int = 2


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph."""

    text: str
    tone: Tone = "plain"


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list."""

    items: tuple[str, ...]
    tone: Tone = "plain"


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of ready-made cells.

    Attributes:
        columns: Headers; a header that starts with ``>`` is a column of numbers, set flush right.
        rows: Cells as text.
        title: Above the table; empty if none.
        note: Below it.
        tones: One a row, or empty.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""
    note: str = ""
    tones: tuple[Tone, ...] = ()


@dataclass(frozen=True, slots=True)
class Drawing:
    """Text to be kept as it is: boxes, bars, formulas. ``language`` is for Markdown's fence (mermaid, yaml)."""

    text: str
    language: str = ""


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture of numbers, drawn in characters as wide as there is room."""

    picture: Picture


Block = Heading | Text | Bullets | Grid | Drawing | Chart
Blocks = tuple[Block, ...]
