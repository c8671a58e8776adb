"""Blocks as Markdown that GitHub renders."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from llmdrill.report.blocks import Bullets, Chart, Drawing, Grid, Heading, Text
from llmdrill.report.chart import chart

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmdrill.report.blocks import Block


def to_markdown(blocks: Iterable[Block]) -> str:
    """Return a Markdown document."""
    return "\n\n".join(filter(None, (_block(block) for block in blocks))) + "\n"


def details(summary: str, body: str) -> str:
    """Return Markdown folded under a line; the empty lines let GitHub read it as Markdown."""
    import html

    return f"<details>\n<summary>{html.escape(_line(summary), quote=False)}</summary>\n\n{body.strip()}\n\n</details>\n"


def _line(text: str) -> str:
    return " ".join(text.split())


def _block(block: Block) -> str:
    match block:
        case Heading():
            return f"{'#' * block.level} {_inline(block.text)}"
        case Text():
            return _prose(block.text)
        case Bullets():
            return "\n".join("- " + _prose(item).replace("\n", "\n  ") for item in block.items)
        case Grid():
            return _grid(block)
        case Drawing():
            fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", block.text)), default=0))
            return f"{fence}{block.language}\n{block.text}\n{fence}"
        case Chart():
            return _block(Drawing(chart(block.picture)))


def _grid(grid: Grid) -> str:
    names = [column.removeprefix(">") for column in grid.columns]
    rule = ["---:" if column.startswith(">") else "---" for column in grid.columns]
    lines = [f"**{_inline(grid.title)}**\n"] if grid.title else []
    lines += [_row(names), _row(rule, escape=False), *(_row(row) for row in grid.rows)]
    if grid.note:
        lines.append(f"\n{_prose(grid.note)}")
    return "\n".join(lines)


def _row(cells: Iterable[str], *, escape: bool = True) -> str:
    return "| " + " | ".join(_inline(cell) if escape else cell for cell in cells) + " |"


def _inline(text: str) -> str:
    """Return text safe in a heading or a table cell."""
    return _prose(" ".join(text.split()))


def _prose(text: str) -> str:
    """Return a person's words so that they cannot become markup of the report."""
    lines = (line.strip() for line in text.splitlines())  # four leading spaces are code, two trailing ones a break
    escaped = "\n".join(re.sub(r"([\\`*_<>\[\]|~&])", r"\\\1", line) for line in lines)
    return re.sub(r"^(?:(\d+)(?=[.)](?:\s|$))|(?=[#+=-]))", r"\1\\", escaped, flags=re.MULTILINE)
