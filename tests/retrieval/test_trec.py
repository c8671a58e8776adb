from __future__ import annotations

import json
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
        (2, "query 'q' has the document 'd1' twice"),
        (3, "2 columns"),
        (4, "'high' is no number"),
        (5, "the score is NaN"),
    ]
    assert f"{path}:3:1: expected 'query Q0 document rank score name'" in str(caught.value)


@pytest.mark.parametrize("header", ["", "query-id\tcorpus-id\tscore\n", "\nQuery-ID\tcorpus-id\tscore\n\n"])
def test_beirs_columns_are_read_with_and_without_their_header(tmp_path: Path, header: str) -> None:
    path = tmp_path / "test.tsv"
    path.write_text(f"{header}q 1\ta document\t1\nq 1\td2\t0\n2\td2\t2.0\n", encoding="utf-8")
    assert read_qrels(path) == {"q 1": {"a document": 1, "d2": 0}, "2": {"d2": 2}}
    assert read_run(path) == read_qrels(path)


def test_a_json_object_is_a_run_and_says_where_it_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    rows = {'q"1': {"d:1": 0.5, "d\u00e92": 3}, "q2": {}}
    path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    assert read_run(path) == rows
    lines = ["{", '"q": {"a": 1,', '"b": NaN, "c": "x: \\"y\\":", ', '"a": 2, "d": true}, ', '"q": {}', "}"]
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(ContentError) as caught:
        read_run(path)
    assert [(mistake.line, mistake.what.rsplit("'", maxsplit=1)[-1]) for mistake in caught.value.mistakes] == [
        (3, ": the score is NaN"),
        (3, " is no number"),
        (4, " twice"),
        (4, " is no number"),
        (5, " stands here twice"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1:1: is empty: expected 'query Q0 document rank score name'"),
        ("\n \n", "1:1: is empty"),
        ("{}", "1:1: is empty"),
        ('{"q": 1}', "1:1: query 'q' holds no object"),
        ('{"q": {"d": {"x": 1}}}', "1:1: query 'q', document 'd': "),
        ('{"q":\n {"d": }}', "2:8: is not JSON"),
        ('{"q":' * 100_000, "1:1: is not JSON"),
        ('{"q": {"d": 1' + "0" * 5000 + "}}", "1:1: is not JSON"),
        ("query 0 document 1\n", "1:1: expected 'query Q0 document rank score name': 4 columns"),
        ("q Q0 d 1 2 n\x1cq\n" * 2, "2:1: query 'q' has the document 'd' twice"),
    ],
)
def test_a_run_of_another_form_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "run"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ContentError) as caught:
        read_run(path)
    assert str(caught.value.mistakes[0]).startswith(f"{path}:{message}")


def test_a_run_is_no_qrels(tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.write_text("q Q0 d1 1 2.5 n\n" * 50, encoding="utf-8")
    with pytest.raises(ContentError, match="expected 'query 0 document grade': 6 columns") as caught:
        read_qrels(path)
    assert len(caught.value.mistakes) == 20


def test_a_grade_that_is_no_whole_number_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "qrels"
    path.write_text("301 0 d1 1.5\n", encoding="utf-8")
    with pytest.raises(ContentError, match=r"qrels:1:1: query '301', document 'd1': the grade 1.5 is no whole number"):
        read_qrels(path)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_an_unreadable_file_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "run"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ContentError, match=r"cannot be read|is not UTF-8"):
        read_run(path)
