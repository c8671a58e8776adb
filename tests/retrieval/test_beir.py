from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest

from llmdrill.errors import ContentError, UnknownNameError
from llmdrill.retrieval.beir import MOST_MISTAKES, load_beir
from llmdrill.retrieval.corpora import Judgement

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CORPUS: list[Any] = [
    {"_id": "d2", "title": "", "text": "Second text. ", "metadata": {}},
    {"_id": "d1", "title": "First", "text": "One text."},
    {"_id": 3, "text": ""},
]
QUERIES: list[Any] = [{"_id": "q1", "text": "one?"}, {"_id": "q2", "text": "two?"}, {"_id": "q3", "text": "none?"}]
HEADER = "query-id\tcorpus-id\tscore\n"
QRELS = {"test": HEADER + "q2\td2\t1\nq1\td2\t0\nq1\td1\t2\n"}


def write(folder: Path, *, corpus: Any = CORPUS, queries: Any = QUERIES, qrels: Mapping[str, str] = QRELS) -> Path:
    (folder / "qrels").mkdir(exist_ok=True)
    for name, lines in (("corpus", corpus), ("queries", queries)):
        rows = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        (folder / f"{name}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    for name, text in qrels.items():
        (folder / "qrels" / f"{name}.tsv").write_text(text, encoding="utf-8")
    return folder


def refusals(folder: Path, **options: Any) -> list[tuple[int, str]]:
    with pytest.raises(ContentError) as caught:
        load_beir(folder, **options)
    return [(mistake.line, mistake.what) for mistake in caught.value.mistakes]


def test_a_set_becomes_documents_with_their_title_before_the_text_and_questions_with_graded_documents(
    tmp_path: Path,
) -> None:
    corpus = load_beir(write(tmp_path))
    assert [(each.id, each.title, each.text) for each in corpus.documents] == [
        ("3", "3", ""),
        ("d1", "First", "First\n\nOne text."),
        ("d2", "d2", "Second text."),
    ]
    assert [(each.id, each.text, each.split, each.grades) for each in corpus.questions] == [
        ("q1", "one?", "test", {"d1": 2, "d2": 0}),
        ("q2", "two?", "test", {"d2": 1}),
    ]
    assert corpus.questions[0].relevant == (Judgement("d1", 2), Judgement("d2", 0))
    assert (corpus.labels, corpus.notes) == ("documents", ("judgements: qrels/test.tsv",))


def test_compressed_files_and_a_missing_header_make_no_difference(tmp_path: Path) -> None:
    before = load_beir(write(tmp_path))
    for name in ("corpus", "queries"):
        path = tmp_path / f"{name}.jsonl"
        with gzip.open(tmp_path / f"{name}.jsonl.gz", "wb") as file:
            file.write(path.read_bytes())
        path.unlink()
    write_qrels = tmp_path / "qrels/test.tsv"
    write_qrels.write_text(QRELS["test"].removeprefix(HEADER), encoding="utf-8")
    assert load_beir(tmp_path) == before


def test_judgements_are_chosen_by_name_and_test_goes_before_dev_before_train(tmp_path: Path) -> None:
    write(tmp_path, qrels={name: f"q1\t{document}\t1\n" for name, document in (("train", "d1"), ("dev", "d2"))})
    assert load_beir(tmp_path).questions[0].grades == {"d2": 1}
    assert load_beir(tmp_path, qrels="train").questions[0].grades == {"d1": 1}
    with pytest.raises(UnknownNameError, match="unknown qrels 'tests'"):
        load_beir(tmp_path, qrels="tests")


def test_a_question_whose_documents_are_all_judged_worthless_stays_and_has_no_answer(tmp_path: Path) -> None:
    corpus = load_beir(write(tmp_path, qrels={"test": "q1\td1\t0\n"}))
    assert [(each.id, each.answerable, each.kind) for each in corpus.questions] == [("q1", False, "unspecified")]


def test_judgements_of_what_does_not_exist_are_counted_listed_and_refused_unless_allowed(tmp_path: Path) -> None:
    absent = [f"x{number:02}" for number in range(12)]
    write(tmp_path, qrels={"test": "".join(f"q1\t{name}\t1\n" for name in ["d1", *absent]) + "q9\td1\t1\n"})
    told = refusals(tmp_path)
    listed = f"12 ({', '.join(absent[:10])} and 2 more)"
    assert [what for _, what in told] == [
        f"documents judged but not in the corpus: {listed}; with --allow-missing they count as never found",
        "queries judged but not in the file of queries: 1 (q9); with --allow-missing they are left out",
    ]
    corpus = load_beir(tmp_path, allow_missing=True)
    assert [(each.id, len(each.relevant)) for each in corpus.questions] == [("q1", 13)]
    assert [note.split(" ")[0] for note in corpus.notes] == ["judgements:", "documents", "queries"]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[1]", "is not a JSON object"),
        ('{"text": "x"}', 'has no "_id"'),
        ('{"_id": "", "text": "x"}', '"_id" is empty'),
        ('{"_id": true, "text": "x"}', '"_id" must be text, not true'),
        ('{"_id": "a"}', 'has no "text"'),
        ('{"_id": "a", "text": NaN}', '"text" must be text, not NaN'),
        ('{"_id": "a", "text": "x", "title": ["t"]}', '"title" must be text, not ["t"]'),
        ('{"_id": "a", "text": "\\ud800"}', '"text" holds half of a character'),
        ('{"_id": "d1", "text": "again"}', "the id 'd1' stands in line 2 too"),
    ],
)
def test_a_line_that_is_no_document_is_told_with_its_number(tmp_path: Path, line: str, what: str) -> None:
    ((number, told),) = refusals(write(tmp_path, corpus=[*CORPUS, line]))
    assert number == 4
    assert told.startswith(what)


def test_a_query_that_comes_twice_is_refused(tmp_path: Path) -> None:
    assert refusals(write(tmp_path, queries=[*QUERIES, QUERIES[0]])) == [(4, "the id 'q1' stands in line 1 too")]


def test_a_file_of_another_form_is_not_complained_about_line_by_line_for_ever(tmp_path: Path) -> None:
    assert len(refusals(write(tmp_path, corpus=["id,text"] * 500))) == MOST_MISTAKES


@pytest.mark.parametrize("grade", ["NaN", "inf", "1.5", "one"])
def test_a_grade_that_is_no_whole_number_is_refused(tmp_path: Path, grade: str) -> None:
    told = refusals(write(tmp_path, qrels={"test": f"{HEADER}q1\td1\t{grade}\n"}))
    assert [line for line, _ in told] == [2]


def test_a_document_judged_twice_for_a_query_is_refused(tmp_path: Path) -> None:
    assert [line for line, _ in refusals(write(tmp_path, qrels={"test": HEADER + "q1\td1\t1\nq1\td1\t1\n"}))] == [3]


def test_an_empty_corpus_is_refused(tmp_path: Path) -> None:
    assert refusals(write(tmp_path, corpus=[])) == [(1, "holds no document: the corpus is empty")]


def test_missing_parts_and_truncated_archives_are_named(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "queries.jsonl").unlink()
    assert refusals(tmp_path) == [(1, "holds no queries.jsonl or queries.jsonl.gz")]
    whole = gzip.compress(b"".join(b'{"_id": "q%d", "text": "x"}\n' % number for number in range(100)))
    (tmp_path / "queries.jsonl.gz").write_bytes(whole[:-20])
    assert refusals(tmp_path)[0][1].startswith("cannot be read: ")
    (tmp_path / "queries.jsonl.gz").write_bytes(b"no archive")
    assert refusals(tmp_path)[0][1].startswith("cannot be read: ")
    write(tmp_path)
    (tmp_path / "qrels/test.tsv").unlink()
    assert refusals(tmp_path)[0][1].startswith("holds no judgements")
