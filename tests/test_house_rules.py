"""The rules of docs/style.md that a formatter or a linter does not know."""

from __future__ import annotations

import ast
import re
import statistics
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "llmdrill").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))
MOST_LINES_OF_A_FILE = 400
MOST_LINES_OF_A_FUNCTION = 50

Function = ast.FunctionDef | ast.AsyncFunctionDef


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(path: Path) -> list[Function]:
    return [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, Function)]


def lines_of_body(function: Function) -> int:
    first = function.body[0]
    documented = ast.get_docstring(function) is not None
    explained = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
    return (function.end_lineno or 0) - function.lineno + 1 - explained


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_a_file_is_short_and_so_are_its_functions(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES_OF_A_FILE
    long = {one.name: lines_of_body(one) for one in functions(path) if lines_of_body(one) > MOST_LINES_OF_A_FUNCTION}
    assert not long


def test_most_functions_are_very_short() -> None:
    lengths = [lines_of_body(function) for path in SOURCES for function in functions(path)]
    assert statistics.median(lengths) <= 10


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_nothing_is_left_unfinished_in_the_package(path: Path) -> None:
    assert not re.findall(r"\b(?:TODO|FIXME|XXX)\b", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", TESTS, ids=named)
def test_no_test_is_hidden_by_another_of_the_same_name(path: Path) -> None:
    names = sorted(node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, Function))
    assert [one for one, other in pairwise(names) if one == other] == []


def test_no_two_test_files_share_a_name() -> None:
    names = sorted(path.name for path in TESTS)
    assert [one for one, other in pairwise(names) if one == other] == []
