from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from llmdrill.errors import ContentError, UnknownNameError, UsageError
from llmdrill.folders import shipped_folder
from llmdrill.retrieval.corpora import LabelledCorpus
from llmdrill.retrieval.sources import load_source, source_names

if TYPE_CHECKING:
    from pathlib import Path


def test_a_shipped_name_goes_before_a_folder_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (shipped_folder("scenarios") / "rag/questions").is_dir():
        pytest.skip("the corpus of the rag scenario is not here")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rag").mkdir()
    (tmp_path / "rag/a.txt").write_text("one document", encoding="utf-8")
    assert {"rag", "pydoc"} <= set(source_names())
    shipped, own = load_source("rag"), load_source("./rag")
    assert (shipped.source, shipped.labels, len(shipped.documents) > 100) == ("rag", "spans", True)
    assert (own.source, len(own.documents), own.questions) == ("./rag", 1, ())


def test_a_folder_is_known_by_what_lies_in_it(corpus_root: Path, tmp_path: Path) -> None:
    assert len(load_source(str(corpus_root)).questions) == 4
    beir = tmp_path / "beir"
    (beir / "qrels").mkdir(parents=True)
    (beir / "corpus.jsonl").write_text('{"_id": "a", "text": "x"}\n', encoding="utf-8")
    (beir / "queries.jsonl").write_text('{"_id": "q", "text": "x"}\n', encoding="utf-8")
    (beir / "qrels/dev.tsv").write_text("q\ta\t1\n", encoding="utf-8")
    assert load_source(str(beir), qrels="dev").labels == "documents"
    assert load_source(str(beir / "corpus.jsonl")).documents[0].text == '{"_id": "a", "text": "x"}\n'


def test_what_is_neither_a_name_nor_a_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean pydoc"):
        load_source("pydocs")
    for path in ("./gone", "gone.md", "x" * 5000 + "/y"):
        with pytest.raises(ContentError, match="there is no such file or folder"):
            load_source(path)
    with pytest.raises(UsageError, match="no qrels to choose from"):
        load_source(str(tmp_path), qrels="test")


OWN_QUESTIONS = """
- {id: one, text: "How do I swap the battery?", relevant: [power/power-h4.md]}
- {id: two, kind: unanswerable, text: "Who founded the company?"}
"""


def questions(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "own.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_questions_of_ones_own_about_a_folder_are_all_for_testing(corpus_root: Path, tmp_path: Path) -> None:
    corpus = load_source(str(corpus_root / "corpus"), questions=questions(tmp_path, OWN_QUESTIONS))
    found = [(each.id, each.kind, each.split, each.family, each.grades) for each in corpus.questions]
    assert found[0] == ("one", "unspecified", "test", "power", {"power/power-h4.md": 1})
    assert found[1][:3] == ("two", "unanswerable", "test")
    assert (corpus.labels, [each.answerable for each in corpus.questions]) == ("documents", [True, False])


def test_own_questions_may_quote_their_evidence(corpus_root: Path, tmp_path: Path) -> None:
    text = '- {id: a, text: x, evidence: [{document: power/power-h4.md, quote: "Swap it", grade: 2}]}'
    corpus = load_source(str(corpus_root / "corpus"), questions=questions(tmp_path, text))
    (span,) = corpus.questions[0].evidence
    text_of = {document.id: document.text for document in corpus.documents}
    assert (corpus.labels, text_of[span.document][span.start : span.end]) == ("spans", "Swap it")


MISSING = """
- {id: a, text: x, relevant: [gone.md, power/power-h4.md]}
- {id: b, text: y, relevant: [lost.md]}
"""


def test_labels_on_missing_documents_are_refused_or_left_out_and_counted(corpus_root: Path, tmp_path: Path) -> None:
    folder, path = str(corpus_root / "corpus"), questions(tmp_path, MISSING)
    with pytest.raises(ContentError) as caught:
        load_source(folder, questions=path)
    assert [(each.line, each.what) for each in caught.value.mistakes] == [
        (2, "there is no document 'gone.md'"),
        (3, "there is no document 'lost.md'"),
    ]
    corpus = load_source(folder, questions=path, allow_missing=True)
    assert [(each.id, each.grades) for each in corpus.questions] == [("a", {"power/power-h4.md": 1})]
    assert corpus.notes == (
        "labels on documents that do not exist, left out: 2 (gone.md, lost.md)",
        "questions that no label was left for, left out: 1",
    )


MIXED = """
- {id: a, text: x, relevant: [power/power-h4.md]}
- {id: b, text: x, evidence: [{document: power/power-h4.md, quote: "Swap", grade: 1}]}
"""


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('- {id: a, text: x, relevant: [m], evidence: [{document: m, quote: "x", grade: 1}]}', "not by both"),
        ("- {id: a, text: x, relevant: [m, m]}", "stands twice"),
        ("- {id: a, text: x, kind: unanswerable, relevant: [m]}", "has no evidence"),
        ("- {id: a, text: x, kind: multi_document, relevant: [m]}", "at least two documents"),
        ("- {id: a, text: x}", "name documents in relevant"),
        (MIXED, "labels some questions by evidence and some by relevant"),
    ],
)
def test_labels_that_contradict_themselves_are_refused(corpus_root: Path, tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(ContentError, match=what):
        load_source(str(corpus_root / "corpus"), questions=questions(tmp_path, text))


def all_at_once(corpus: LabelledCorpus) -> str:
    """Hash as it was first written: measurements are kept under it."""
    parts: list[Any] = [[[each.id, each.text] for each in corpus.documents], []]
    for question in corpus.questions:
        spans = [[span.document, span.start, span.end, span.grade] for span in question.evidence]
        parts[1].append([question.id, question.kind, question.text, question.split, spans])
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()


def test_the_content_hash_is_the_one_that_measurements_are_kept_under(corpus_root: Path) -> None:
    corpus = load_source(str(corpus_root))
    documents = corpus.documents
    for part in (corpus, LabelledCorpus(documents, ()), LabelledCorpus((), corpus.questions), LabelledCorpus((), ())):
        assert part.content_sha256 == all_at_once(part)
