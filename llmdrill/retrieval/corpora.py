"""What a corpus is: documents, questions, and what answers them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdrill.retrieval.evidence import Evidence

QuestionKind = Literal[
    "paraphrase", "exact_code", "multi_document", "negated", "misspelled", "unanswerable", "unspecified"
]
Labels = Literal["spans", "documents"]
Split = Literal["dev", "test"]
MOST_NAMED: Final = 10  # of the names that a message lists


@dataclass(frozen=True, slots=True)
class Document:
    """A text of the corpus; offsets count its characters, line ends being single newlines.

    Attributes:
        family: What it belongs to: the folder it lies in, the module it documents.
    """

    id: str
    family: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """A judged document of a question: a higher grade answers more, 0 or below does not answer."""

    document: str
    grade: int


@dataclass(frozen=True, slots=True)
class Question:
    """A question and what answers it: spans or whole documents, as its corpus is labelled; none if nothing does."""

    id: str
    kind: QuestionKind
    text: str
    family: str
    evidence: tuple[Evidence, ...]
    split: Split
    relevant: tuple[Judgement, ...] = ()

    @property
    def grades(self) -> dict[str, int]:
        """Document -> grade, the highest of its spans where spans are labelled."""
        found: dict[str, int] = {}
        labels = [(span.document, span.grade) for span in self.evidence]
        for document, grade in (*labels, *((judged.document, judged.grade) for judged in self.relevant)):
            found[document] = max(found.get(document, grade), grade)
        return found

    @property
    def answerable(self) -> bool:
        """Whether anything answers it."""
        return any(grade > 0 for grade in self.grades.values())


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file of a folder that is no document of the corpus, and why."""

    name: str
    why: str


@dataclass(frozen=True)
class LabelledCorpus:
    """Documents and questions, in order of their ids.

    Attributes:
        labels: Whether questions are labelled with ``spans`` (``Question.evidence``) or ``documents``
            (``Question.relevant``). Without questions nothing is known about quality.
        source: What it was loaded from, as a person names it.
        skipped: Files that were left out.
        notes: What a person should know about the loading, a line each: what was skipped, which labels are missing.
    """

    documents: tuple[Document, ...]
    questions: tuple[Question, ...]
    labels: Labels = "spans"
    source: str = ""
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()

    @cached_property
    def content_sha256(self) -> str:
        """The sha256 of ids, texts and labels: a measurement on another content is another measurement."""
        digest = hashlib.sha256(b"[")
        for list_ends, rows in (
            (b"], ", ([document.id, document.text] for document in self.documents)),
            (b"]]", (_hashed(question) for question in self.questions)),
        ):
            # One row at a time: the texts of a large corpus are never held twice.
            before = b"["
            for row in rows:
                digest.update(before + json.dumps(row, ensure_ascii=False).encode())
                before = b", "
            digest.update(list_ends if before == b", " else b"[" + list_ends)
        return digest.hexdigest()


def _hashed(question: Question) -> list[object]:
    spans = [[span.document, span.start, span.end, span.grade] for span in question.evidence]
    judged = [[judgement.document, judgement.grade] for judgement in question.relevant]
    return [question.id, question.kind, question.text, question.split, [*spans, *judged]]


def shortened(names: Sequence[str]) -> str:
    """Return the first names of a list, and how many more there are.

    >>> shortened([f"d{i}" for i in range(12)])
    'd0, d1, d2, d3, d4, d5, d6, d7, d8, d9 and 2 more'
    """
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more
