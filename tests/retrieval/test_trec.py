from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from llmdrill.errors import ContentError
from llmdrill.retrieval.trec import read_qrels, read_run

if TYPE_CHECKING:
    from pathlib import Path


def test_a_run_may_use_tabs_and_carry_words_after_its_name(tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.write_text("q1\tQ0\td1\t9\t 2.5\tname and more\n\nq2 Q0 d1 1 -1e-3 name\n", encoding="utf-8")
    assert read_run(path) == {"q1": {"d1": 2.5}, "q2": {"d1": -0.001}}


def test_qrels_hold_grades(tmp_path: Path) -> None:
    path = tmp_path / "qrels"
    path.write_text("301 0 d1 2\n301 0 d2 -1\n", encoding="utf-8")
    assert read_qrels(path) == {"301": {"d1": 2, "d2": -1}}


def test_all_mistakes_are_told_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.write_text("q Q0 d1 1 2 n\nq Q0 d1 2 1 n\nq Q0\nq Q0 d2 3 high n\nq Q0 d3 3 nan n\n", encoding="utf-8")
    with pytest.raises(ContentError) as caught:
        read_run(path)
    assert [(mistake.line, mistake.what.rsplit(":", maxsplit=1)[-1].strip()) for mistake in caught.value.mistakes] == [
        (2, "document 'd1' stands here twice"),
        (3, "2 columns"),
        (4, "'high'"),
        (5, "the score is NaN"),
    ]
    assert f"{path}:3:1: expected 'query Q0 document rank score name'" in str(caught.value)


def test_a_grade_that_is_no_whole_number_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "qrels"
    path.write_text("301 0 d1 1.5\n", encoding="utf-8")
    with pytest.raises(ContentError, match=r"qrels:1:1: expected 'query 0 document grade'"):
        read_qrels(path)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_an_unreadable_file_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "run"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ContentError, match="cannot be read"):
        read_run(path)
