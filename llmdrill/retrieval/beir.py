"""Load a set in BEIR layout: ``corpus.jsonl``, ``queries.jsonl`` (either may end in ``.gz``) and ``qrels/*.tsv``."""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from llmdrill.errors import ContentError, LlmdrillError, Mistake, UnknownNameError
from llmdrill.retrieval.corpora import Document, Judgement, LabelledCorpus, Question, shortened
from llmdrill.retrieval.trec import read_qrels

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

CORPUS_NAMES: Final = ("corpus.jsonl", "corpus.jsonl.gz")
QUERIES_NAMES: Final = ("queries.jsonl", "queries.jsonl.gz")
QRELS_ORDER: Final = ("test", "dev", "train")  # which judgements are taken unless a person says
MAX_LINE_BYTES: Final = 20_000_000
MOST_MISTAKES: Final = 20  # a file of the wrong form has one in every line


def is_beir(folder: Path) -> bool:
    """Say whether a folder has a BEIR corpus."""
    return any((folder / name).is_file() for name in CORPUS_NAMES)


def load_beir(folder: Path, *, qrels: str | None = None, allow_missing: bool = False) -> LabelledCorpus:
    """Return the documents, and the queries that ``qrels`` judges, all of split ``test``.

    A document's text is its title, a blank line and its text: the same tokens as the usual title, space, text.

    Args:
        folder: The set.
        qrels: A file of ``qrels/`` without its ending; ``test`` by default, else ``dev``, else ``train``.
        allow_missing: Accept judgements of documents that the corpus does not hold (they count as never found) and of
            queries that there are not (they are left out).

    Raises:
        ContentError: If a file is missing, unreadable or malformed, an id comes twice, there is no document, or
            judgements name what does not exist.
        UnknownNameError: If there are no such ``qrels``.
    """
    documents = _documents(_one_of(folder, CORPUS_NAMES))
    queries = {entry.id: entry.text for entry in _entries(_one_of(folder, QUERIES_NAMES))}
    path = _qrels_file(folder / "qrels", qrels)
    judged = read_qrels(path)
    missing = _missing(documents, queries, judged)
    if missing and not allow_missing:
        whats = [f"{what}; with --allow-missing they {then}" for what, then in missing.items()]
        raise ContentError([Mistake(str(path), 1, 1, "", what) for what in whats])
    questions = [
        Question(name, "unspecified", queries[name], path.stem, (), "test", _judgements(judged[name]))
        for name in sorted(judged)
        if name in queries
    ]
    ordered = tuple(documents[name] for name in sorted(documents))
    notes = (f"judgements: {path.parent.name}/{path.name}", *(f"{what}; they {then}" for what, then in missing.items()))
    return LabelledCorpus(ordered, tuple(questions), "documents", str(folder), notes=notes)


def _judgements(grades: Mapping[str, int]) -> tuple[Judgement, ...]:
    return tuple(Judgement(document, grades[document]) for document in sorted(grades))


def _missing(
    documents: Mapping[str, Document], queries: Mapping[str, str], judged: Mapping[str, Mapping[str, int]]
) -> dict[str, str]:
    """Return what is judged but does not exist -> what becomes of it if that is allowed."""
    absent = sorted({name for grades in judged.values() for name in grades} - documents.keys())
    unasked = sorted(judged.keys() - queries.keys())
    rows = (
        (absent, "documents judged but not in the corpus", "count as never found"),
        (unasked, "queries judged but not in the file of queries", "are left out"),
    )
    return {f"{what}: {len(names)} ({shortened(names)})": then for names, what, then in rows if names}


def _one_of(folder: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise ContentError([Mistake(str(folder), 1, 1, "", f"holds no {' or '.join(names)}")])


def _qrels_file(folder: Path, name: str | None) -> Path:
    files = {path.stem: path for path in sorted(folder.glob("*.tsv"))}
    if not files:
        raise ContentError([Mistake(str(folder), 1, 1, "", "holds no judgements: expected test.tsv or another .tsv")])
    if name is not None and name not in files:
        raise UnknownNameError("qrels", name, files)
    return files[name or next((usual for usual in QRELS_ORDER if usual in files), min(files))]


def _documents(path: Path) -> dict[str, Document]:
    documents = {}
    for entry in _entries(path):
        title = entry.title.strip()
        text = "\n\n".join(part for part in (title, entry.text.strip()) if part)
        documents[entry.id] = Document(entry.id, ".", title or entry.id, text)
    if not documents:
        raise ContentError([Mistake(str(path), 1, 1, "", "holds no document: the corpus is empty")])
    return documents


@dataclass(frozen=True, slots=True)
class _Entry:
    id: str
    title: str
    text: str


def _entries(path: Path) -> Iterator[_Entry]:
    """Yield the objects of a file of JSON lines.

    Raises:
        ContentError: At the end, with what is wrong in the first lines that are not as they should be.
    """
    mistakes: list[Mistake] = []
    first_line: dict[str, int] = {}
    for number, line in _lines(path):
        try:
            entry = _entry(line, first_line)
        except _LineError as error:
            mistakes.append(Mistake(str(path), number, 1, "", str(error)))
            if len(mistakes) == MOST_MISTAKES:
                break
            continue
        first_line[entry.id] = number
        yield entry
    if mistakes:
        raise ContentError(mistakes)


class _LineError(LlmdrillError):
    """A line is not as it should be."""


def _entry(line: bytes, first_line: Mapping[str, int]) -> _Entry:
    if len(line) > MAX_LINE_BYTES:
        raise _LineError(f"is longer than {MAX_LINE_BYTES // 1_000_000} MB: split the document")
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:  # what is no JSON and what is no UTF-8 are both a ValueError
        raise _LineError(f"is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise _LineError("is not a JSON object")
    if type(found.get("_id")) is int:
        found["_id"] = str(found["_id"])
    entry = _Entry(_text(found, "_id"), _text({"title": found.get("title") or ""}, "title"), _text(found, "text"))
    if not entry.id:
        raise _LineError('"_id" is empty')
    if entry.id in first_line:
        raise _LineError(f"the id '{entry.id}' stands in line {first_line[entry.id]} too")
    return entry


def _text(entry: Mapping[str, Any], key: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str):
        raise _LineError(f'"{key}" must be text, not {json.dumps(value)[:40]}' if key in entry else f'has no "{key}"')
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise _LineError(f'"{key}" holds half of a character: {error.reason}') from error
    return value


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not blank, with their numbers."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            number = 0
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                if line.strip():
                    yield number, line
    except (OSError, EOFError, zlib.error) as error:
        what = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        raise ContentError([Mistake(str(path), 1, 1, "", what)]) from error
