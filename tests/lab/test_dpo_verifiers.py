"""The verifiers: what passes, what does not, and that nothing a model writes is ever run."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.errors import UsageError
from llmdrill.lab.completion_cases import SourceText
from llmdrill.lab.dpo_lines import Task, draw_sums, draw_tasks, is_right, parse_line, trained_on, whole_number

if TYPE_CHECKING:
    from pathlib import Path

    from llmdrill.lab.dpo_lines import Verifier


def task(typed: str, *names: str) -> Task:
    return Task((1,), typed, "", frozenset(names))


@pytest.mark.parametrize("line", ["x = 1", "return total", "if x:", "elif y:", "else:", "except OSError:", "finally:"])
def test_statements_and_their_heads_parse(line: str) -> None:
    assert parse_line(line) is not None


@pytest.mark.parametrize("line", ["return foo(", "x = = 1", "if x", "x = '\x00'", "(" * 300, "import os; x = 1"])
def test_what_is_not_one_statement_does_not(line: str) -> None:
    assert parse_line(line) is None


@pytest.mark.parametrize(
    ("verifier", "typed", "completion", "right"),
    [
        ("parses", "return wid", "th * height", True),
        ("parses", "return wid", "th * (", False),
        ("names", "return wid", "th", True),
        ("names", "return wid", "th * heigth", False),
        ("names", "return ", "len(width)", True),
        ("names", "total = ", "[each for each in width]", True),
        ("names", "f = ", "lambda a: a + 1", True),
        ("names", "width.", "anything(sep=1)", True),
        ("sums", "assert 3 + 4 ==", " 7", True),
        ("sums", "assert 3 + 4 ==", " 8", False),
        ("sums", "assert 3 + 4 ==", " 2 * 3 + 1", True),
        ("sums", "assert 3 + 4 ==", " seven", False),
        ("sums", "assert 3 + 4 ==", " 7 or True", False),
        ("sums", "assert 3 + 4 ==", " 7 == 7", False),
    ],
)
def test_a_verifier_says_right_or_wrong(verifier: Verifier, typed: str, completion: str, right: bool) -> None:
    assert is_right(verifier, task(typed, "width"), completion) is right


def test_no_completion_is_run(tmp_path: Path) -> None:
    trap = tmp_path / "written"
    completion = f"__import__('pathlib').Path({str(trap)!r}).touch()"
    assert is_right("parses", task("x = "), completion)
    assert not is_right("sums", task("assert 1 + 1 =="), " " + completion)
    assert not is_right("sums", task("assert 1 + 1 =="), " 9 ** 9 ** 9 ** 9")
    assert not trap.exists()


numbers = st.integers(-(10**9), 10**9)


@given(numbers, numbers, st.sampled_from("+-*"), numbers)
def test_arithmetic_is_pythons(a: int, b: int, sign: str, c: int) -> None:
    text = f"({a}) {sign} ({b}) - ({c})"
    expected = {"+": a + b, "-": a - b, "*": a * b}[sign] - c
    assert whole_number(ast.parse(text, mode="eval").body) == expected


@pytest.mark.parametrize("text", ["1.5", "True", "'a'", "7 / 2", "2 ** 3", "1 << 4", "f(1)", "a.b", str(10**10)])
def test_other_values_have_none(text: str) -> None:
    assert whole_number(ast.parse(text, mode="eval").body) is None


class Words:
    """A tokenizer of single characters."""

    vocabulary, end_of_text_id = 0x110000, None

    def encode(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]

    def decode(self, ids: list[int]) -> str:
        return "".join(map(chr, ids))

    def token_bytes(self, token: int) -> bytes | None:
        return chr(token).encode()


SOURCE = SourceText(
    "area.py", "import os\n" * 25 + "def area(width, height):\n    total = width * height\n    return total\n"
)


def test_a_prompt_ends_in_its_line_and_the_written_rest_is_right() -> None:
    tasks = draw_tasks("names", [SOURCE], Words(), tasks=8, context_tokens=30, rng=np.random.default_rng(0))
    lines = {line.strip() for line in SOURCE.text.split("\n")}
    for one in tasks:
        assert one.typed + one.written in lines
        assert Words().decode(list(one.ids)).endswith(one.typed)
        assert len(one.ids) <= 30
        assert is_right("names", one, one.written)


def test_sums_stand_behind_examples_that_hold_and_do_not_tell_the_answer() -> None:
    for one in draw_sums(Words(), tasks=5, held_out_tasks=5, rng=np.random.default_rng(0))[0]:
        *shown, last = Words().decode(list(one.ids)).split("\n")
        assert len(shown) == 3
        assert all(is_right("sums", task(""), line) for line in (*shown, last + one.written))
        assert last + one.written not in shown


def test_no_sum_of_training_is_asked_for_in_judging() -> None:
    seen, unseen = draw_sums(Words(), tasks=400, held_out_tasks=200, rng=np.random.default_rng(0))
    asked = [{one.typed for one in part} for part in (seen, unseen)]
    assert (len(seen), len(unseen)) == (400, 200)
    assert len(asked[0]) > 50 > len(asked[1]) > 15
    assert not asked[0] & asked[1]


def test_a_verifier_can_be_had_cheaply_as_its_note_says() -> None:
    assert is_right("names", task("return"), "")
    assert is_right("names", task("return width", "width"), "  # whatever heigth")
    assert is_right("names", task("return width", "width"), ".nonsense")
    assert is_right("sums", task("assert 3 + 4 =="), " 3 + 4")


def test_too_few_lines_are_refused() -> None:
    with pytest.raises(UsageError, match="99 prompts: these files have"):
        draw_tasks("names", [SOURCE], Words(), tasks=99, context_tokens=30, rng=np.random.default_rng(0))


def test_training_prompts_come_from_no_held_out_file() -> None:
    held_out = frozenset({"ast.py", "json/decoder.py"})
    texts = trained_on(held_out, files=10_000, rng=np.random.default_rng(0))
    paths = {one.path for one in texts}
    assert len(paths) == len(texts) > 50
    assert not paths & held_out
    assert not [path for path in paths if path.startswith(("test/", "site-packages"))]
