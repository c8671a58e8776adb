"""Load a labelled corpus: Markdown documents by family, and questions whose evidence is quoted from them.

``<root>/corpus/<family>/<document>.md`` and ``<root>/questions/<family>.yaml``; or one file of questions about the
documents of another source, which may be labelled by whole documents.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from pydantic import Field, model_validator

from llmdrill.content import load_yaml, validate
from llmdrill.errors import ContentError, Mistake
from llmdrill.fields import FileModel, Identifier, Prose
from llmdrill.located import Located
from llmdrill.retrieval.corpora import Document, Judgement, LabelledCorpus, Question, QuestionKind, Split, shortened
from llmdrill.retrieval.evidence import Evidence

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

DEV_TENTHS: Final = 3  # of ten buckets that families are hashed into, those used for tuning
MAX_DOCUMENT_BYTES: Final = 1_000_000


class EvidenceEntry(FileModel):
    """A quoted passage; grade 2 answers the question, 1 is a part of the answer or needed background."""

    document: str
    quote: str = Field(min_length=1)
    grade: Literal[1, 2]


class QuestionEntry(FileModel):
    """A question as its file states it, labelled by quotes (``evidence``) or by whole documents (``relevant``)."""

    id: Identifier
    kind: QuestionKind = "unspecified"
    text: Prose
    evidence: tuple[EvidenceEntry, ...] = ()
    relevant: tuple[str, ...] = ()
    note: str = ""

    @model_validator(mode="after")
    def _labels_suit_kind(self) -> QuestionEntry:
        documents = {entry.document for entry in self.evidence} | set(self.relevant)
        if self.evidence and self.relevant:
            raise ValueError("label it by evidence or by relevant documents, not by both")
        if len(set(self.relevant)) < len(self.relevant):
            raise ValueError("the same document stands twice in relevant")
        if self.kind == "unanswerable" and documents:
            raise ValueError("an unanswerable question has no evidence: remove it or change the kind")
        if self.kind != "unanswerable" and not documents:
            raise ValueError(
                "evidence is missing: quote what answers it, name documents in relevant, or call it unanswerable"
            )
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
    reader = _QuestionReader(documents, mistakes)
    files = sorted((root / "questions").glob("*.yaml"))
    if not files:
        mistakes.append(_of_file(root / "questions", "holds no file of questions <family>.yaml"))
    for path in files:
        reader.read(path, family=path.stem)
    return reader.corpus(str(root), split_families=True)


def with_questions(
    corpus: LabelledCorpus, path: Path, *, allow_missing: bool = False, split_families: bool = False
) -> LabelledCorpus:
    """Return the corpus with the questions of one file; a question belongs to the family of what answers it.

    Args:
        corpus: Its own questions are replaced.
        path: A list of questions, as in a labelled corpus; ``kind`` may be left out.
        allow_missing: Leave out labels on documents that do not exist, and questions that no label is left for.
        split_families: Keep some families for tuning, instead of testing on all questions.

    Raises:
        ContentError: With every mistake of the file.
    """
    documents = {document.id: document for document in corpus.documents}
    reader = _QuestionReader(documents, [], allow_missing=allow_missing)
    reader.read(path)
    labelled = reader.corpus(corpus.source, split_families=split_families)
    return replace(labelled, skipped=corpus.skipped, notes=(*corpus.notes, *labelled.notes))


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
    """A question with its labels resolved, before families are split."""

    entry: QuestionEntry
    family: str
    evidence: tuple[Evidence, ...]
    relevant: tuple[Judgement, ...]

    def question(self, split: Split) -> Question:
        entry = self.entry
        return Question(entry.id, entry.kind, entry.text, self.family, self.evidence, split, self.relevant)

    @property
    def documents(self) -> tuple[str, ...]:
        return (*(span.document for span in self.evidence), *(judged.document for judged in self.relevant))


@dataclass
class _QuestionReader:
    """Questions and mistakes of several files, with what has been seen so far."""

    documents: Mapping[str, Document]
    mistakes: list[Mistake]
    allow_missing: bool = False
    found: list[_Found] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unanswered: int = 0
    _first_file: dict[str, str] = field(default_factory=dict)

    def corpus(self, source: str, *, split_families: bool) -> LabelledCorpus:
        if any(each.evidence for each in self.found) and any(each.relevant for each in self.found):
            self.mistakes.append(_of_file(Path(source), "labels some questions by evidence and some by relevant"))
        if self.mistakes:
            raise ContentError(self.mistakes)
        splits = _splits(self.found, self.documents) if split_families else {}
        questions = [found.question(splits.get(found.family, "test")) for found in self.found]
        return LabelledCorpus(
            tuple(self.documents[name] for name in sorted(self.documents)),
            tuple(sorted(questions, key=lambda question: question.id)),
            "documents" if any(found.relevant for found in self.found) else "spans",
            source,
            notes=self._notes(),
        )

    def _notes(self) -> tuple[str, ...]:
        if not self.missing:
            return ()
        names = shortened(sorted(set(self.missing)))
        note = f"labels on documents that do not exist, left out: {len(self.missing)} ({names})"
        return (note, f"questions that no label was left for, left out: {self.unanswered}")

    def read(self, path: Path, *, family: str = "") -> None:
        try:
            located = _under_key(load_yaml(path))
            entries = validate(located, QuestionFile).questions
        except ContentError as error:
            self.mistakes.extend(error.mistakes)
            return
        for number, entry in enumerate(entries):
            place = ("questions", number)
            if entry.id in self._first_file:
                what = f"'{entry.id}' stands in {self._first_file[entry.id]} too"
                self.mistakes.append(located.mistake((*place, "id"), what))
            self._first_file.setdefault(entry.id, path.name)
            self._keep(located, place, entry, family)

    def _keep(self, located: Located, place: tuple[str | int, ...], entry: QuestionEntry, family: str) -> None:
        spans: list[Evidence] = []
        for number, evidence in enumerate(entry.evidence):
            where = (*place, "evidence", number)
            document = self._document(located, (*where, "document"), evidence.document)
            span = _resolve(located, where, evidence, document, self.mistakes) if document else None
            if span in spans:
                self.mistakes.append(located.mistake((*where, "quote"), "the same passage is quoted twice"))
            if span:
                spans.append(span)
        known = [
            name
            for number, name in enumerate(entry.relevant)
            if self._document(located, (*place, "relevant", number), name)
        ]
        found = _Found(entry, family, tuple(spans), tuple(Judgement(name, 1) for name in known))
        if entry.kind != "unanswerable" and not found.documents:
            self.unanswered += 1
            return
        own = self.documents[found.documents[0]].family if found.documents else located.file
        self.found.append(found if family else replace(found, family=own))

    def _document(self, located: Located, place: tuple[str | int, ...], name: str) -> Document | None:
        document = self.documents.get(name)
        if document is None and self.allow_missing:
            self.missing.append(name)
        elif document is None:
            self.mistakes.append(located.mistake(place, f"there is no document '{name}'"))
        return document


def question_entries(path: Path) -> tuple[QuestionEntry, ...]:
    """Return what a file of questions states, whether its labels exist or not.

    Raises:
        ContentError: With every mistake of the file's form.
    """
    return validate(_under_key(load_yaml(path)), QuestionFile).questions


def _under_key(located: Located) -> Located:
    """Put a file's list under the key ``questions``, where its model expects it."""
    places = {("questions", *path): place for path, place in located.places.items()}
    return Located(located.file, {"questions": located.data}, places, located.sha256)


def _resolve(
    located: Located,
    where: tuple[str | int, ...],
    evidence: EvidenceEntry,
    document: Document,
    mistakes: list[Mistake],
) -> Evidence | None:
    """Turn a quote into its span; it must occur exactly once."""
    start = document.text.find(evidence.quote)
    if start >= 0 and document.text.find(evidence.quote, start + 1) < 0:
        return Evidence(document.id, start, start + len(evidence.quote), evidence.grade)
    times = "does not occur" if start < 0 else "occurs more than once"
    what = f"the quote {times} in '{document.id}': {evidence.quote[:60]!r}"
    mistakes.append(located.mistake((*where, "quote"), what))
    return None


def _splits(questions: Sequence[_Found], documents: Mapping[str, Document]) -> dict[str, Split]:
    """Return each family's split: families that a question joins go together, so that no evidence leaks into tuning.

    A group is ``dev`` when the first 8 hex digits of the sha256 of its smallest family name, modulo 10, are below
    ``DEV_TENTHS``: about 30 % of the groups, and the same ones whatever else the corpus holds.
    """
    families = {document.family for document in documents.values()} | {question.family for question in questions}
    group = {family: family for family in families}
    for question in questions:
        _join(group, {question.family, *(documents[name].family for name in question.documents)})
    return {family: _split(name) for family, name in group.items()}


def _join(group: dict[str, str], families: Iterable[str]) -> None:
    joined = {group[family] for family in families}
    smallest = min(joined)
    group.update({family: smallest for family, name in group.items() if name in joined})


def _split(group: str) -> Split:
    bucket = int(hashlib.sha256(group.encode()).hexdigest()[:8], 16) % 10
    return "dev" if bucket < DEV_TENTHS else "test"
