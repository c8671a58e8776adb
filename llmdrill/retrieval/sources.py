"""Load a corpus by what a person calls it: a shipped name, ``pydoc``, or a path."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from llmdrill.errors import ContentError, Mistake, UnknownNameError, UsageError
from llmdrill.folders import home_folder, shipped_folder

if TYPE_CHECKING:
    from llmdrill.retrieval.corpora import LabelledCorpus

PYDOC: Final = "pydoc"


def source_names() -> tuple[str, ...]:
    """Return the names that need no path: the labelled corpora of scenarios, and ``pydoc``."""
    return (*sorted(_labelled_folders()), PYDOC)


def load_source(
    source: str, *, questions: Path | None = None, allow_missing: bool = False, qrels: str | None = None
) -> LabelledCorpus:
    """Return the documents and questions that ``source`` stands for.

    Args:
        source: A name of ``source_names()``, which goes before a folder of that name (``./rag`` is the folder); a
            folder in BEIR layout; a folder of ``corpus/`` and ``questions/``; any other folder, or a file: documents
            without questions.
        questions: A file of questions about the documents, instead of those of the source.
        allow_missing: Accept labels on documents that do not exist; they are counted in ``notes``.
        qrels: Which judgements of a BEIR folder.

    Raises:
        UnknownNameError: If it is neither a name nor a path.
        UsageError: If ``qrels`` are named for what is no BEIR folder.
        ContentError: If it cannot be read, holds no document, or is labelled wrongly: with every mistake.
        MissingExtraError: If it is a PDF and pypdf is not installed.
    """
    path = _labelled_folders().get(source) or Path(os.path.expanduser(source))  # noqa: PTH111 - Path's raises for ~user
    if qrels is not None and (source == PYDOC or not _has_beir(path)):
        raise UsageError(f"'{source}' has no qrels to choose from: only a folder in BEIR layout has")
    corpus = replace(_load(source, path, qrels=qrels, allow_missing=allow_missing), source=source)
    if questions is None:
        return corpus
    from llmdrill.retrieval.labelled import with_questions

    return with_questions(corpus, questions, allow_missing=allow_missing)


def _load(source: str, path: Path, *, qrels: str | None, allow_missing: bool) -> LabelledCorpus:
    if source == PYDOC:
        from llmdrill.retrieval.pydoc import load_pydoc

        return load_pydoc()
    if not source or not os.path.exists(path):  # noqa: PTH110 - Path.exists raises for a name too long or a folder closed to us
        if os.sep in source or "." in source:
            raise ContentError([Mistake(source, 1, 1, "", "there is no such file or folder")])
        raise UnknownNameError("corpus", source, source_names())
    if _has_beir(path):
        from llmdrill.retrieval.beir import load_beir

        return load_beir(path, qrels=qrels, allow_missing=allow_missing)
    if (path / "corpus").is_dir() and (path / "questions").is_dir():
        from llmdrill.retrieval.labelled import load_labelled_corpus

        return load_labelled_corpus(path)
    from llmdrill.retrieval.ingest.folder import load_documents

    return load_documents(path)


def _has_beir(path: Path) -> bool:
    from llmdrill.retrieval.beir import is_beir

    return is_beir(path)


def _labelled_folders() -> dict[str, Path]:
    """Return the folders of scenarios that hold a labelled corpus, the user's own first."""
    found: dict[str, Path] = {}
    for scenarios in (home_folder() / "scenarios", shipped_folder("scenarios")):
        for folder in sorted(scenarios.glob("*/questions")):
            if (folder.parent / "corpus").is_dir():
                found.setdefault(folder.parent.name, folder.parent)
    return found
