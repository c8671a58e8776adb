"""Load a labelled corpus: Markdown documents by family, and questions whose evidence is quoted from them.

``<root>/corpus/<family>/<document>.md`` and ``<root>/questions/<family>.yaml``.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal

from pydantic import Field, model_validator

from llmdrill.content import load_yaml, validate
from llmdrill.errors import ContentError, Mistake
from llmdrill.fields import FileModel, Identifier, Prose
from llmdrill.located import Located
from llmdrill.retrieval.evidence import Evidence

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

QuestionKind = Literal["paraphrase", "exact_code", "multi_document", "negated", "misspelled", "unanswerable"]
Split = Literal["dev", "test"]
DEV_TENTHS: Final = 3  # of ten buckets that families are hashed into, those used for tuning
MAX_DOCUMENT_BYTES: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Document:
    """A text of the corpus; offsets count its characters, line ends being single newlines."""

    id: str
    family: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Question:
    """A question and the spans that answer it: none if it is unanswerable."""

    id: str
    kind: QuestionKind
    text: str
    family: str
    evidence: tuple[Evidence, ...]
    split: Split


@dataclass(frozen=True)
class LabelledCorpus:
    """Documents and questions, in order of their ids."""

    documents: tuple[Document, ...]
    questions: tuple[Question, ...]

    @cached_property
    def content_sha256(self) -> str:
        """The sha256 of ids, texts and labels: a measurement on another content is another measurement."""
        parts = [
            [[document.id, document.text] for document in self.documents],
            [
                [
                    question.id,
                    question.kind,
                    question.text,
                    question.split,
                    [[span.document, span.start, span.end, span.grade] for span in question.evidence],
                ]
                for question in self.questions
            ],
        ]
        return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()


class EvidenceEntry(FileModel):
    """A quoted passage; grade 2 answers the question, 1 is a part of the answer or needed background."""

    document: str
    quote: str = Field(min_length=1)
    grade: Literal[1, 2]


class QuestionEntry(FileModel):
    """A question as its file states it."""

    id: Identifier
    kind: QuestionKind
    text: Prose
    evidence: tuple[EvidenceEntry, ...] = ()
    note: str = ""

    @model_validator(mode="after")
    def _evidence_suits_kind(self) -> QuestionEntry:
        documents = {entry.document for entry in self.evidence}
        if self.kind == "unanswerable" and documents:
            raise ValueError("an unanswerable question has no evidence: remove it or change the kind")
        if self.kind != "unanswerable" and not documents:
            raise ValueError("evidence is missing: quote what answers it, or call it unanswerable")
        if self.kind == "multi_document" and len(documents) < 2:
            raise ValueError("a multi_document question needs evidence in at least two documents")
        return self


class QuestionFile(FileModel):
    """What a file of questions holds."""

    questions: tuple[QuestionEntry, ...]


def load_labelled_corpus(root: Path) -> LabelledCorpus:
    """Return the documents and questions under ``root``.

    Raises:
        ContentError: With every mistake of all files: a document or question without its form, a document that does not
            exist, a quote that does not occur exactly once, an id that comes twice.
    """
    mistakes: list[Mistake] = []
    documents = _load_documents(root / "corpus", mistakes)
    questions = _load_questions(root / "questions", documents, mistakes)
    if mistakes:
        raise ContentError(mistakes)
    splits = _splits(questions, documents)
    return LabelledCorpus(
        tuple(documents[name] for name in sorted(documents)),
        tuple(sorted((found.question(splits[found.family]) for found in questions), key=lambda question: question.id)),
    )


def _of_file(path: Path, what: str) -> Mistake:
    return Mistake(str(path), 1, 1, "", what)


def _load_documents(folder: Path, mistakes: list[Mistake]) -> dict[str, Document]:
    documents: dict[str, Document] = {}
    files = sorted(folder.glob("*/*.md"))
    if not files:
        mistakes.append(_of_file(folder, "holds no document <family>/<document>.md"))
    for path in files:
        text = _read_document(path, mistakes)
        if text is None:
            continue
        title = text.partition("\n")[0].removeprefix("# ").strip()
        if not text.startswith("# ") or not title:
            mistakes.append(_of_file(path, "the first line must be a title: '# Title'"))
        if path.stem in documents:
            other = documents[path.stem].family
            mistakes.append(_of_file(path, f"family '{other}' has a document '{path.stem}' too: rename one"))
        documents[path.stem] = Document(path.stem, path.parent.name, title, text)
    return documents


def _read_document(path: Path, mistakes: list[Mistake]) -> str | None:
    try:
        if path.stat().st_size > MAX_DOCUMENT_BYTES:
            mistakes.append(_of_file(path, f"is larger than {MAX_DOCUMENT_BYTES // 1_000_000} MB: split it"))
            return None
        return path.read_text(encoding="utf-8-sig")  # every kind of line end becomes one newline
    except UnicodeDecodeError:
        mistakes.append(_of_file(path, "is not UTF-8; save it as UTF-8"))
    except OSError as error:
        mistakes.append(_of_file(path, f"cannot be read: {error.strerror}"))
    return None


@dataclass(frozen=True, slots=True)
class _Found:
    """A question with its evidence resolved, before families are split."""

    entry: QuestionEntry
    family: str
    evidence: tuple[Evidence, ...]

    def question(self, split: Split) -> Question:
        return Question(self.entry.id, self.entry.kind, self.entry.text, self.family, self.evidence, split)


def _load_questions(folder: Path, documents: Mapping[str, Document], mistakes: list[Mistake]) -> list[_Found]:
    found: list[_Found] = []
    first_file: dict[str, str] = {}
    files = sorted(folder.glob("*.yaml"))
    if not files:
        mistakes.append(_of_file(folder, "holds no file of questions <family>.yaml"))
    for path in files:
        try:
            located = _under_key(load_yaml(path))
            entries = validate(located, QuestionFile).questions
        except ContentError as error:
            mistakes.extend(error.mistakes)
            continue
        for number, entry in enumerate(entries):
            place = ("questions", number)
            if entry.id in first_file:
                mistakes.append(located.mistake((*place, "id"), f"'{entry.id}' stands in {first_file[entry.id]} too"))
            first_file.setdefault(entry.id, path.name)
            evidence = _resolve(located, place, entry, documents, mistakes)
            found.append(_Found(entry, path.stem, evidence))
    return found


def _under_key(located: Located) -> Located:
    """Put a file's list under the key ``questions``, where its model expects it."""
    places = {("questions", *path): place for path, place in located.places.items()}
    return Located(located.file, {"questions": located.data}, places, located.sha256)


def _resolve(
    located: Located,
    place: tuple[str | int, ...],
    entry: QuestionEntry,
    documents: Mapping[str, Document],
    mistakes: list[Mistake],
) -> tuple[Evidence, ...]:
    """Turn quotes into spans; a quote must occur exactly once."""
    spans = []
    for number, evidence in enumerate(entry.evidence):
        where = (*place, "evidence", number)
        document = documents.get(evidence.document)
        if document is None:
            mistakes.append(located.mistake((*where, "document"), f"there is no document '{evidence.document}'"))
            continue
        start = document.text.find(evidence.quote)
        if start < 0 or document.text.find(evidence.quote, start + 1) >= 0:
            times = "does not occur" if start < 0 else "occurs more than once"
            what = f"the quote {times} in '{document.id}': {evidence.quote[:60]!r}"
            mistakes.append(located.mistake((*where, "quote"), what))
            continue
        span = Evidence(document.id, start, start + len(evidence.quote), evidence.grade)
        if span in spans:
            mistakes.append(located.mistake((*where, "quote"), "the same passage is quoted twice"))
        spans.append(span)
    return tuple(spans)


def _splits(questions: Sequence[_Found], documents: Mapping[str, Document]) -> dict[str, Split]:
    """Return each family's split: families that a question joins go together, so that no evidence leaks into tuning.

    A group is ``dev`` when the first 8 hex digits of the sha256 of its smallest family name, modulo 10, are below
    ``DEV_TENTHS``: about 30 % of the groups, and the same ones whatever else the corpus holds.
    """
    families = {document.family for document in documents.values()} | {question.family for question in questions}
    group = {family: family for family in families}
    for question in questions:
        _join(group, {question.family, *(documents[span.document].family for span in question.evidence)})
    return {family: _split(name) for family, name in group.items()}


def _join(group: dict[str, str], families: Iterable[str]) -> None:
    joined = {group[family] for family in families}
    smallest = min(joined)
    group.update({family: smallest for family, name in group.items() if name in joined})


def _split(group: str) -> Split:
    bucket = int(hashlib.sha256(group.encode()).hexdigest()[:8], 16) % 10
    return "dev" if bucket < DEV_TENTHS else "test"
