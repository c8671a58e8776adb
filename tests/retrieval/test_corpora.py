from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from llmdrill.errors import ContentError
from llmdrill.folders import shipped_folder
from llmdrill.retrieval import labelled
from llmdrill.retrieval.corpora import QuestionKind
from llmdrill.retrieval.labelled import DEV_TENTHS, load_labelled_corpus

Edited = Callable[..., Path]
QUESTION = """
- id: power-01
  kind: {kind}
  text: What?
  evidence:
    - {{document: {document}, quote: "{quote}", grade: {grade}}}
"""
GOOD = {"kind": "paraphrase", "document": "power-h4", "quote": "Swap it while it is on.", "grade": "2"}


def mistakes_of(root: Path) -> list[tuple[str, int, str]]:
    with pytest.raises(ContentError) as caught:
        load_labelled_corpus(root)
    return [(Path(found.file).name, found.line, found.what) for found in caught.value.mistakes]


def test_a_quote_becomes_the_span_it_stands_at(corpus_root: Path) -> None:
    corpus = load_labelled_corpus(corpus_root)
    text_of = {document.id: document.text for document in corpus.documents}
    question = next(question for question in corpus.questions if question.id == "returns-02")
    assert [text_of[span.document][span.start : span.end] for span in question.evidence] == [
        "The fee is 9 EUR.",
        "A label is printed in Dockside.",
    ]
    assert [span.grade for span in question.evidence] == [2, 1]
    assert [document.title for document in corpus.documents] == ["H4 battery", "Returns questions", "Returns policy"]


def test_windows_line_ends_do_not_move_a_span(corpus_root: Path) -> None:
    before = load_labelled_corpus(corpus_root)
    for path in corpus_root.rglob("*.md"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert load_labelled_corpus(corpus_root) == before


def test_the_shipped_support_desk_corpus_loads_with_every_kind_of_question_in_both_splits() -> None:
    root = shipped_folder("scenarios") / "rag"
    if not (root / "questions").is_dir():
        pytest.skip("the corpus of the rag scenario is not here")
    corpus = load_labelled_corpus(root)
    kinds = {split: {q.kind for q in corpus.questions if q.split == split} for split in ("dev", "test")}
    assert kinds["dev"] == kinds["test"] == set(get_args(QuestionKind)) - {"unspecified"}


def family_splits(root: Path, names: list[str]) -> dict[str, str]:
    return {q.family: q.split for q in load_labelled_corpus(root).questions if q.family in names}


def test_a_family_is_dev_if_its_hash_says_so_and_families_that_questions_join_fall_into_one_split(
    edited_corpus: Edited,
) -> None:
    names = [f"f{i}" for i in range(40)]
    files = {f"corpus__{name}__{name}.md": f"# T\n\nFact of {name}.\n" for name in names}
    entry = '- {{id: {0}-1, kind: paraphrase, text: x, evidence: [{{document: {1}, quote: "Fact of", grade: 2}}]}}\n'
    alone = {f"questions__{name}.yaml": entry.format(name, name) for name in names}
    chained = {f"questions__{a}.yaml": entry.format(a, b) for a, b in zip(names, [*names[1:], names[0]], strict=True)}
    buckets = {name: int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % 10 for name in names}
    assert DEV_TENTHS in buckets.values()  # the border is among them
    expected = {name: "dev" if bucket < DEV_TENTHS else "test" for name, bucket in buckets.items()}
    assert family_splits(edited_corpus(**files, **alone), names) == expected
    assert family_splits(edited_corpus(**files, **chained), names) == dict.fromkeys(names, expected["f0"])


@pytest.mark.parametrize("edit", ["corpus__power__power-h4.md", "questions__power.yaml"])
def test_the_content_hash_changes_with_texts_and_labels_and_stays_otherwise(edited_corpus: Edited, edit: str) -> None:
    before = load_labelled_corpus(edited_corpus())
    assert load_labelled_corpus(edited_corpus()).content_sha256 == before.content_sha256
    path = edited_corpus() / edit.replace("__", "/")
    changed = path.read_text(encoding="utf-8").replace("grade: 2", "grade: 1").replace("Swap", "Change")
    assert load_labelled_corpus(edited_corpus(**{edit: changed})).content_sha256 != before.content_sha256


@pytest.mark.parametrize("change", [{"kind": "negated"}, {"id": "other"}, {"text": "Other?"}, {"evidence": ()}])
def test_the_content_hash_knows_every_part_of_a_question(corpus_root: Path, change: dict[str, Any]) -> None:
    corpus = load_labelled_corpus(corpus_root)
    changed = replace(corpus, questions=(replace(corpus.questions[0], **change), *corpus.questions[1:]))
    assert changed.content_sha256 != corpus.content_sha256


@pytest.mark.parametrize(
    ("change", "line", "what"),
    [
        ({"document": "nowhere"}, 6, "there is no document 'nowhere'"),
        ({"quote": "swap it"}, 6, "the quote does not occur in 'power-h4': 'swap it'"),
        ({"quote": "it is"}, 6, "the quote occurs more than once in 'power-h4': 'it is'"),
        ({"kind": "trick"}, 3, "'paraphrase', 'exact_code'"),
        ({"kind": "unanswerable"}, 2, "an unanswerable question has no evidence"),
        ({"kind": "multi_document"}, 2, "at least two documents"),
        ({"grade": "3"}, 6, "1 or 2"),
        ({"grade": "2, rank: 1"}, 6, "unknown key 'rank'"),
    ],
)
def test_a_mistake_in_a_question_is_told_with_its_line(
    edited_corpus: Edited, change: dict[str, str], line: int, what: str
) -> None:
    ((file, at, told),) = mistakes_of(edited_corpus(**{"questions__power.yaml": QUESTION.format(**GOOD | change)}))
    assert (file, at) == ("power.yaml", line)
    assert what in told


def test_a_question_without_evidence_must_be_called_unanswerable(corpus_root: Path) -> None:
    (corpus_root / "questions/power.yaml").write_text("- {id: p-1, kind: negated, text: x}\n", encoding="utf-8")
    assert "evidence is missing" in mistakes_of(corpus_root)[0][2]


def test_the_same_passage_quoted_twice_is_refused(corpus_root: Path) -> None:
    entry = QUESTION.format(**GOOD)
    (corpus_root / "questions/power.yaml").write_text(entry + entry.splitlines()[-1] + "\n", encoding="utf-8")
    assert mistakes_of(corpus_root) == [("power.yaml", 7, "the same passage is quoted twice")]


def test_ids_that_come_twice_are_refused(edited_corpus: Edited) -> None:
    root = edited_corpus(
        **{
            "corpus__power__returns-faq.md": "# Again\n",
            "questions__twice.yaml": QUESTION.format(**GOOD),
        }
    )
    found = mistakes_of(root)
    assert ("returns-faq.md", 1, "family 'power' has a document 'returns-faq' too: rename one") in found
    assert ("twice.yaml", 2, "'power-01' stands in power.yaml too") in found


def test_all_mistakes_of_all_files_are_told_at_once(corpus_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labelled, "MAX_DOCUMENT_BYTES", 90)
    (corpus_root / "corpus/power/power-h4.md").write_bytes(b"# T\xff")
    (corpus_root / "corpus/returns/returns-faq.md").write_text("No title\n", encoding="utf-8")
    (corpus_root / "corpus/returns/returns-long.md").write_text("# T\n" + "x" * 100, encoding="utf-8")
    (corpus_root / "questions/power.yaml").write_text("- [unclosed\n", encoding="utf-8")
    (corpus_root / "questions/returns.yaml").write_bytes(b"- \xff")
    files = {"power-h4.md", "returns-faq.md", "returns-long.md", "power.yaml", "returns.yaml"}
    assert {file for file, _, _ in mistakes_of(corpus_root)} == files


def test_a_folder_that_is_no_corpus_is_refused(tmp_path: Path) -> None:
    assert [what for _, _, what in mistakes_of(tmp_path)] == [
        "holds no document <family>/<document>.md",
        "holds no file of questions <family>.yaml",
    ]
