"""What every experiment on retrieval begins with: a corpus, an embedder that loads when it is needed, and a cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llmdrill.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from llmdrill.measurement import Machine
    from llmdrill.retrieval.corpora import LabelledCorpus
    from llmdrill.retrieval.embed import Embedder
    from llmdrill.retrieval.embedding_cache import DiskEmbeddingCache

DEFAULT_CORPUS: Final = "rag"


@dataclass(frozen=True, slots=True)
class Bench:
    """Where retrieval is measured.

    Attributes:
        embedder: Its weights are loaded when it first has to embed; None where the extra ``lab`` is not installed.
        cache: Embeddings on disk; None if none are to be used.
    """

    corpus: LabelledCorpus
    embedder: Embedder | None
    cache: DiskEmbeddingCache | None

    @property
    def machine(self) -> Machine:
        """Where this runs; asked for after the work, it knows whether torch was needed and its threads."""
        from llmdrill.lab.machine import this_machine

        return this_machine()

    def need_embedder(self) -> Embedder:
        """Return the embedder.

        Raises:
            MissingExtraError: If the extra ``lab`` is not installed.
        """
        if self.embedder is None:
            raise MissingExtraError("the embedding model", "lab")
        return self.embedder

    def need_questions(self) -> None:
        """Refuse a corpus whose questions have no labels.

        Raises:
            UsageError: If there is no question that the corpus answers.
        """
        if not any(question.answerable for question in self.corpus.questions):
            raise UsageError(
                f"the corpus '{self.corpus.source}' has no labelled question: quality cannot be measured on it; give"
                " --questions FILE, or take `--corpus rag`"
            )


def load_bench(
    source: str = DEFAULT_CORPUS,
    *,
    questions: Path | None = None,
    allow_missing: bool = False,
    embedder: Path | None = None,
    use_cache: bool = True,
    say: Callable[[str], None] = lambda _: None,
) -> Bench:
    """Return a bench for the corpus that ``source`` names.

    Args:
        source: See ``retrieval.sources.load_source``.
        questions: Labelled questions, where the source has none.
        allow_missing: Leave out judgements of documents that are not there.
        embedder: Folder of a BERT encoder; None for the installed one.
        use_cache: Keep embeddings on disk and take them from there.
        say: Told what is going on.

    Raises:
        ContentError, UnknownNameError: As ``load_source`` says.
        ModelFileError: If the embedder's files cannot be used.
    """
    from llmdrill.folders import cache_folder
    from llmdrill.retrieval.embedding_cache import DiskEmbeddingCache
    from llmdrill.retrieval.sources import load_source

    say(f"reading {source}")
    corpus = load_source(source, questions=questions, allow_missing=allow_missing)
    cache = DiskEmbeddingCache(cache_folder() / "embeddings") if use_cache else None
    return Bench(corpus, _embedder(embedder), cache)


def _embedder(folder: Path | None) -> Embedder | None:
    from llmdrill.lab.lazy_embed import lazy_minilm

    try:
        return lazy_minilm(None if folder is None else folder.expanduser())
    except MissingExtraError:
        if folder is not None:
            raise
        return None  # keyword search needs none
