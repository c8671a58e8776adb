"""Cut points and how near a completion comes: published definitions, laws, and what is left out."""

from __future__ import annotations

import ast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.errors import UsageError
from llmdrill.lab.completion_cases import SourceText, draw_cases, edit_distance, edit_similarity, is_exact

FILE = '"""Head."""\n' + "import os  # a line that fills the head of the file\n" * 6
FILE += '\n\ndef area(width, height):\n    """Multiply.\n\n    Both are lengths of sides.\n    """\n'
FILE += "    # multiplies both sides\n    total = width * height\n    return total\n"
words = st.text("ab ", max_size=12)


def test_an_exact_match_ignores_blanks_as_codexglue_does() -> None:
    assert is_exact(" x  + y ", "x + y")
    assert not is_exact("x+y", "x + y")


def test_one_letter_of_seven_replaced_twice_and_one_added_is_four_sevenths_alike() -> None:
    assert edit_distance("kitten", "sitting") == 3
    assert edit_similarity("kitten", "sitting") == pytest.approx(1 - 3 / 7)
    assert edit_similarity("", "") == 1.0
    assert edit_similarity("", "abc") == 0.0


@given(words, words, words)
def test_the_edit_distance_is_a_metric(a: str, b: str, c: str) -> None:
    assert edit_distance(a, b) == edit_distance(b, a)
    assert (edit_distance(a, b) == 0) == (a == b)
    assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)
    assert abs(len(a) - len(b)) <= edit_distance(a, b) <= max(len(a), len(b))


def test_a_cut_lies_behind_the_indentation_and_the_rest_completes_the_line() -> None:
    for seed in range(20):
        for case in draw_cases([SourceText("area.py", FILE)], cases=4, rng=np.random.default_rng(seed)):
            line = FILE.split("\n")[case.line - 1]
            typed = case.before.rpartition("\n")[2]
            assert typed + case.rest == line
            assert len(typed) >= len(line) - len(line.lstrip())
            assert len(case.rest) >= 3
            assert FILE.startswith(case.before)


def test_comments_strings_blank_lines_and_the_head_of_a_file_are_not_cut() -> None:
    cases = draw_cases([SourceText("area.py", FILE)], cases=5, rng=np.random.default_rng(0))
    cut = {FILE.split("\n")[case.line - 1].strip() for case in cases}
    imports = {"import os  # a line that fills the head of the file"}
    assert cut <= imports | {"def area(width, height):", "total = width * height", "return total"}
    assert min(case.line for case in cases) > 3
    with pytest.raises(UsageError, match="1 to 5 lines to complete"):
        draw_cases([SourceText("area.py", FILE)], cases=6, rng=np.random.default_rng(0))


def test_no_case_comes_twice_and_a_seed_draws_the_same() -> None:
    draw = [draw_cases([SourceText("area.py", FILE)], cases=5, rng=np.random.default_rng(7)) for _ in range(2)]
    assert draw[0] == draw[1]
    assert len({case.line for case in draw[0]}) == 5


def test_a_file_of_another_python_is_still_cut() -> None:
    text = FILE + "print 'an old statement'\n"
    with pytest.raises(SyntaxError):
        ast.parse(text)
    assert draw_cases([SourceText("old.py", text)], cases=1, rng=np.random.default_rng(0))
