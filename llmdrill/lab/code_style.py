"""Rewrite Python source in another style, mechanically: what a model that knows one style can be tuned to.

Two spaces for four, camelCase for snake_case, double quotes for single ones. The program stays the same but for its
names; text within strings, comments and names of other shapes are left alone.
"""

from __future__ import annotations

import io
import keyword
import re
import tokenize
from collections import defaultdict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SNAKE: Final = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)+")
_SINGLE: Final = re.compile(r"(?s)'[^'\"\\]*'")
_SPACES: Final = re.compile(" *")
_LAYOUT: Final = frozenset({tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER})
_FSTRING_MIDDLE: Final = getattr(tokenize, "FSTRING_MIDDLE", -1)  # from Python 3.12 on


def restyle(source: str) -> str | None:
    r"""Return the same program in the other style; None where it cannot be read or is indented with tabs.

    >>> print(restyle("def read_all(path):\n    return open(path, 'rb').read()\n"), end="")
    def readAll(path):
      return open(path, "rb").read()
    """
    if "\t" in source or "\f" in source:
        return None
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    except (tokenize.TokenError, SyntaxError):
        return None
    lines = source.splitlines(keepends=True)
    for row, edits in _edits(tokens).items():
        for begin, end, text in sorted(edits, reverse=True):  # from the right, so that places on the left stay
            lines[row] = lines[row][:begin] + text + lines[row][end:]
    for row, removed in _indentation(tokens, lines):
        lines[row] = lines[row][removed:]
    return "".join(lines)


def camel_case(name: str) -> str:
    """Return a snake_case name in camelCase; names of any other shape stay.

    >>> camel_case("read_all_2"), camel_case("_read_all"), camel_case("READ_ALL"), camel_case("__init__")
    ('readAll2', '_read_all', 'READ_ALL', '__init__')
    """
    if not _SNAKE.fullmatch(name):
        return name
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _edits(tokens: Iterable[tokenize.TokenInfo]) -> dict[int, list[tuple[int, int, str]]]:
    """Return what to replace in each line: where from, where to, by what."""
    found = defaultdict(list)
    for token in tokens:
        text = token.string
        if token.type == tokenize.NAME and not keyword.iskeyword(text):
            text = camel_case(text)
        elif token.type == tokenize.STRING and _SINGLE.fullmatch(text):
            text = f'"{text[1:-1]}"'
        if text != token.string:
            found[token.start[0] - 1].append((token.start[1], token.end[1], text))
    return found


def _indentation(tokens: Iterable[tokenize.TokenInfo], lines: list[str]) -> Iterator[tuple[int, int]]:
    """Return how many leading spaces each line loses: half, and of a statement's further lines as many as its first."""
    inside_text: set[int] = set()
    starts: dict[int, int] = {}  # line of a statement or comment → its indentation
    fresh = True
    for token in tokens:
        if token.type in {tokenize.STRING, _FSTRING_MIDDLE}:
            inside_text.update(range(token.start[0], token.end[0]))  # its first line is indented like any other
        if fresh and token.type not in _LAYOUT:
            starts[token.start[0] - 1] = token.start[1]
        if token.type not in {tokenize.INDENT, tokenize.DEDENT}:
            fresh = token.type == tokenize.NEWLINE or (fresh and token.type in {tokenize.NL, tokenize.COMMENT})
    lost = 0
    for row, line in enumerate(lines):
        lost = starts[row] // 2 if row in starts else lost
        spaces = _SPACES.match(line)
        if row not in inside_text and spaces is not None:
            yield row, min(lost, spaces.end())
