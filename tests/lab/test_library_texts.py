"""Real texts of the standard library: what is taken for a sentence, and that the same ones come again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from llmdrill.errors import UsageError
from llmdrill.lab.library_texts import library_texts, sentences, stretches_of_code

if TYPE_CHECKING:
    from pathlib import Path

MODULE = '''# Written by nobody in particular,
# for a test of this.

"""Say what the module does. It is not much.

A second paragraph, one sentence
over two lines of it.
"""


def one():
    """Return the first of all numbers that there are."""
    x = """not a docstring but a text of some length"""
    return x  # one
'''


def test_sentences_come_from_docstrings_and_comments_and_from_no_other_string() -> None:
    assert list(sentences(MODULE)) == [
        "Say what the module does.",
        "It is not much.",
        "A second paragraph, one sentence over two lines of it.",
        "Return the first of all numbers that there are.",
        "Written by nobody in particular, for a test of this.",
    ]


def test_stretches_of_code_are_whole_lines_in_order() -> None:
    source = "".join(f"value_{number} = {number}\n" for number in range(100))
    found = list(stretches_of_code(source))
    assert all(len(one) >= 120 for one in found)
    assert " ".join(found).split() == source.split()[: len(" ".join(found).split())]


def folder_of(tmp_path: Path) -> Path:
    for number in range(6):
        code = "".join(f"some_value_{number}_{line} = another_value + {line}\n" for line in range(20))
        (tmp_path / f"module_{number}.py").write_text(MODULE.replace("first", f"number {number}") + code)
    (tmp_path / "other.py").write_bytes(b"# coding: latin-1\n# \xe9t\xe9 some more words here\n")
    return tmp_path


def test_prose_comes_before_code_and_fewer_texts_are_the_beginning_of_more(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    few, many = (library_texts(count, seed=3, standard_library=folder) for count in (5, 15))
    assert few.texts == many.texts[:5]
    assert (few.code, many.code) == (0, 15 - 10)  # four sentences are alike in all six modules, one differs
    assert len({text.casefold() for text in many.texts}) == 15


def test_more_than_there_is_is_refused_with_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"10,000 texts: the standard library in .* has \d+; ask for fewer"):
        library_texts(10_000, seed=0, standard_library=folder_of(tmp_path))


def test_this_python_has_thousands_of_sentences() -> None:
    found = library_texts(3000, seed=0)
    assert (len(found.texts), found.code) == (3000, 0)
