"""Lines to complete: cut points in real source, and how near a completion comes to what was written there."""

from __future__ import annotations

import ast
import warnings
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from llmdrill.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np

LEAST_LEFT: Final = 3  # characters: a suggestion that saves fewer keys is not worth showing
LEAST_BEFORE: Final = 200  # characters of a file before the first cut: nobody can guess its first line


@dataclass(frozen=True, slots=True)
class SourceText:
    """One file of source and where it comes from."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Case:
    """One line of a file, cut where somebody might pause.

    Attributes:
        path: Of the file.
        line: Its number, from 1.
        before: Everything before the cut.
        rest: What the author wrote from there to the end of the line, without blanks at its end.
    """

    path: str
    line: int
    before: str
    rest: str


def draw_cases(texts: Sequence[SourceText], *, cases: int, rng: np.random.Generator) -> tuple[Case, ...]:
    """Return cut points in distinct lines: a line is drawn from all lines of code, then a place behind its indentation.

    Lines that are blank, comments or part of a string over several lines are left out, and so is the head of a file.

    Raises:
        UsageError: If there are fewer such lines than cases.
    """
    lines = [(source, line) for source in texts for line in lines_of_code(source.text)]
    found: list[Case] = []
    for one in rng.permutation(len(lines)).tolist() if 1 <= cases <= len(lines) else ():
        source, number = lines[one]
        if number not in _lines_in_strings(source.text):
            found.append(_cut(source, number, rng))
        if len(found) == cases:
            return tuple(found)
    raise UsageError(f"{cases} completions: these files have 1 to {len(found) or len(lines)} lines to complete")


def lines_of_code(text: str) -> Iterator[int]:
    """Yield the numbers, from 0, of the lines behind the head of a file that can be cut: no blanks, no comments.

    Lines within a string of several lines are still among them.
    """
    seen = 0
    for number, line in enumerate(text.split("\n")):
        code = line.strip()
        if seen >= LEAST_BEFORE and len(code) > LEAST_LEFT and not code.startswith("#"):
            yield number
        seen += len(line) + 1


@cache
def _lines_in_strings(text: str) -> frozenset[int]:
    """Return the lines, from 0, of strings that span several; none where the file is of another Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return frozenset()
    strings = (node for node in ast.walk(tree) if isinstance(node, ast.Constant | ast.JoinedStr))
    spans = ((node.lineno, node.end_lineno or node.lineno) for node in strings)
    return frozenset(line - 1 for first, last in spans if last > first for line in range(first, last + 1))


def _cut(source: SourceText, number: int, rng: np.random.Generator) -> Case:
    lines = source.text.split("\n")
    line = lines[number].rstrip()
    indentation = len(line) - len(line.lstrip())
    at = int(rng.integers(indentation, len(line) - LEAST_LEFT + 1))
    before = "".join(f"{one}\n" for one in lines[:number]) + line[:at]
    return Case(source.path, number + 1, before, line[at:])


def is_exact(completion: str, written: str) -> bool:
    """Tell whether a completion is what was written, blanks aside.

    Source:
        microsoft/CodeXGLUE, Code-Code/CodeCompletion-line/evaluator/evaluator.py: ``pred.split() == gt.split()``.

    >>> is_exact("x,  y)", "x, y)"), is_exact("x)", "x, y)")
    (True, False)
    """
    return completion.split() == written.split()


def edit_similarity(completion: str, written: str) -> float:
    """Return one minus the edit distance as a share of the longer text; 1 for two empty ones.

    Formula:
        1 - levenshtein(completion, written) / max(len(completion), len(written)), after blanks at both ends are cut.
        CodeXGLUE's script prints fuzzywuzzy's ratio, which relates twice the matches to the sum of both lengths
        instead: by Levenshtein's matches never the lower of the two.
    Source:
        Levenshtein 1966, "Binary codes capable of correcting deletions, insertions and reversals"; Ding et al. 2023,
        CrossCodeEval, arXiv:2310.11248, for edit similarity beside exact match.

    >>> edit_similarity("kitten", "sitting")  # distance 3 of 7
    0.5714285714285714
    """
    a, b = completion.strip(), written.strip()
    longer = max(len(a), len(b))
    return 1.0 - edit_distance(a, b) / longer if longer else 1.0


def edit_distance(a: str, b: str) -> int:
    """Return the fewest characters to insert, delete or replace to turn one text into the other.

    >>> edit_distance("kitten", "sitting")
    3
    """
    row = list(range(len(b) + 1))  # distances of the part of a read so far to every beginning of b
    for i, letter in enumerate(a, start=1):
        corner, row[0] = row[0], i
        for j, other in enumerate(b, start=1):
            corner, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, corner + (letter != other))
    return row[-1]
