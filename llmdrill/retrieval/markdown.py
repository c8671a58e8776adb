"""Find the blocks of a Markdown text: headings, tables, code fences, lists and paragraphs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

BlockKind = Literal["heading", "table", "fence", "list", "paragraph"]
BLANK: Final = "blank"
HEADING: Final = re.compile(r"(#{1,6})\s")
FENCE: Final = re.compile(r" {0,3}(`{3,}(?!.*`)|~{3,})")
LIST_ITEM: Final = re.compile(r" {0,3}(?:[-*+]|\d{1,9}[.)])\s")
INDENTED: Final = re.compile(r" {2,}|\t")


@dataclass(frozen=True, slots=True)
class Block:
    """A block: where it starts, what it is, and a heading's level (0 for what is no heading)."""

    start: int
    kind: BlockKind
    heading: int = 0


def block_starts(text: str) -> tuple[Block, ...]:
    r"""Return the blocks of ``text`` in order; a block ends where the next begins.

    >>> [(block.start, block.kind) for block in block_starts("# A\ntext\nmore\n| a |\n| b |\n")]
    [(0, 'heading'), (4, 'paragraph'), (14, 'table')]
    """
    blocks: list[Block] = []
    fence = ""  # the marks that close the fence we are in
    before: str = BLANK
    offset = 0
    for line in text.splitlines(keepends=True):
        kind = "fence" if fence else _kind(line)
        if kind == "fence":
            if not fence:
                blocks.append(Block(offset, "fence"))
            fence = _fence_after(line, fence)
        elif kind != BLANK and not _continues(line, kind, before, blocks):
            heading = HEADING.match(line)
            blocks.append(Block(offset, kind, len(heading[1]) if heading else 0))
        before = kind
        offset += len(line)
    return tuple(blocks)


def _kind(line: str) -> Literal[BlockKind, "blank"]:
    if not line.strip():
        return "blank"
    if FENCE.match(line):
        return "fence"
    if HEADING.match(line):
        return "heading"
    if line.lstrip().startswith("|"):
        return "table"
    return "list" if LIST_ITEM.match(line) else "paragraph"


def _fence_after(line: str, fence: str) -> str:
    """Return the marks that close the fence after this line; nothing if the line closed it."""
    marks = FENCE.match(line)
    if not fence:
        return marks[1] if marks else ""
    closes = marks is not None and marks[1].startswith(fence) and not line.strip().strip(fence[0])
    return "" if closes else fence


def _continues(line: str, kind: str, before: str, blocks: list[Block]) -> bool:
    """Say whether the line belongs to the block before it."""
    if not blocks or kind == "heading":
        return False
    block = blocks[-1].kind
    if block == "list" and (kind == "list" or INDENTED.match(line)):
        return True  # items of a loose list are set apart by blank lines
    if before == BLANK:
        return False
    return block == kind or (block == "list" and kind == "paragraph")
