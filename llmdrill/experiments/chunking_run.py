"""Measure designs of chunking on a corpus: with k chunks, and with as many chunks as a budget of tokens holds."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, cast

import numpy as np

from llmdrill.retrieval.assemble import TokenizedTexts, assemble
from llmdrill.retrieval.chunk import word_spans
from llmdrill.retrieval.index import Hit, Ranked, RetrievalConfig, build_index, search_all
from llmdrill.retrieval.pipeline import score_question
from llmdrill.retrieval.progress import Progress
from llmdrill.retrieval.split import SEMANTIC

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from llmdrill.experiments.retrieval_bench import Bench
    from llmdrill.retrieval.assemble import Context
    from llmdrill.retrieval.corpora import LabelledCorpus
    from llmdrill.retrieval.embed import Embedder
    from llmdrill.retrieval.index import Retriever
    from llmdrill.retrieval.split import Match

# Method → how documents are cut, and what of a chunk is matched.
METHODS: Final[Mapping[str, tuple[str, Match]]] = MappingProxyType(
    {
        "fixed": ("fixed", "chunk"),
        "recursive": ("recursive", "chunk"),
        "sentence": ("sentence", "chunk"),
        "structural": ("structural", "chunk"),
        "semantic": ("semantic", "chunk"),
        "small-to-big": ("sentence", "sentence"),
    }
)
SPARE_RATIO: Final = 4  # chunks looked at for each that would fill the budget: some are small, some do not fit
MOST_HITS: Final = 1000
ROOM_RATIO: Final = 2  # k chunks and their headings always fit
ROOM_TOKENS: Final = 100_000


@dataclass(frozen=True, slots=True)
class Chunking:
    """One design."""

    method: str
    chunk_tokens: int
    overlap_share: float

    @property
    def overlap_tokens(self) -> int:
        """Tokens that a chunk may repeat from the one before."""
        return int(self.chunk_tokens * self.overlap_share)

    def __str__(self) -> str:
        return f"{self.method} {self.chunk_tokens}/{self.overlap_tokens}"


@dataclass(frozen=True, slots=True, eq=False)
class Sent:
    """What was sent to the model, question by question.

    Attributes:
        recall: Of evidence, found by one chunk; (answerable questions,).
        ndcg: Likewise.
        tokens: Of passages and headings, (all questions,).
        chunks: How many went in, (all questions,).
    """

    recall: np.ndarray
    ndcg: np.ndarray
    tokens: np.ndarray
    chunks: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """What one design stores, and what it sends with k chunks and within the budget."""

    chunking: Chunking
    chunks: int
    vectors: int
    stored_tokens: int
    at_k: Sent
    at_budget: Sent


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Every design measured, and the lengths of the documents they all cut."""

    cells: tuple[Cell, ...]
    documents_tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sending:
    """How much of what is found goes to the model."""

    retriever: Retriever
    k: int
    budget_tokens: int
    stem: bool = False


def measure_grid(
    bench: Bench, grid: Sequence[Chunking], sending: Sending, *, say: Callable[[str], None] = lambda _: None
) -> Grid:
    """Chunk, index and search the corpus once for every design.

    Raises:
        MissingExtraError: If a design needs an embedder and the extra ``lab`` is not installed.
    """
    if sending.retriever != "keyword" or any(METHODS[one.method][0] == SEMANTIC for one in grid):
        bench.need_embedder()
    texts = {document.id: document.text for document in bench.corpus.documents}
    embedder = None if bench.embedder is None else cast("Embedder", _TokenisingOnce(bench.embedder, texts.values()))
    run = _Run(bench, embedder, sending, TokenizedTexts(texts, embedder.token_spans if embedder else word_spans))
    cells = tuple(
        run.cell(chunking, lambda what, place=place: say(f"{place}: {what}"))  # type: ignore[misc]
        for chunking, place in ((one, f"{number} of {len(grid)}, {one}") for number, one in enumerate(grid, start=1))
    )
    return Grid(cells, tuple(run.texts.passage(name, 0, len(text)).tokens for name, text in texts.items()))


@dataclass(frozen=True, slots=True)
class _Run:
    """Everything that all designs share."""

    bench: Bench
    embedder: Embedder | None
    sending: Sending
    texts: TokenizedTexts

    def cell(self, chunking: Chunking, say: Callable[[str], None]) -> Cell:
        """Chunk, index and search the corpus; send what was found."""
        bench, sending = self.bench, self.sending
        config = _config(chunking, sending)
        index = build_index(bench.corpus, config, self.embedder, cache=bench.cache, progress=Progress(say=say))
        found = search_all(index, [question.text for question in bench.corpus.questions])
        hits = [[hit.chunk for hit in ranked.hits] for ranked in found]
        room = ROOM_RATIO * sending.k * chunking.chunk_tokens + ROOM_TOKENS
        at_k = [assemble(chunks[: sending.k], self.texts, budget_tokens=room) for chunks in hits]
        at_budget = [assemble(chunks, self.texts, budget_tokens=sending.budget_tokens) for chunks in hits]
        return Cell(
            chunking,
            chunks=len(index.chunks),
            vectors=len(index.units),
            stored_tokens=sum(unit.tokens for unit in index.units),
            at_k=_sent(bench.corpus, at_k),
            at_budget=_sent(bench.corpus, at_budget),
        )


class _TokenisingOnce:
    """An embedder that tokenises a document once, however many designs cut it; all else is the embedder's own."""

    def __init__(self, embedder: Embedder, texts: Iterable[str]) -> None:
        self._embedder = embedder
        self._spans: dict[str, np.ndarray | None] = dict.fromkeys(texts)

    def token_spans(self, text: str) -> np.ndarray:
        """Return the spans (T, 2) of the text's tokens."""
        if text not in self._spans:
            return self._embedder.token_spans(text)
        spans = self._spans[text]
        if spans is None:
            spans = self._spans[text] = self._embedder.token_spans(text)
        return spans

    def __getattr__(self, name: str) -> object:
        return getattr(self._embedder, name)


def _config(chunking: Chunking, sending: Sending) -> RetrievalConfig:
    chunker, match = METHODS[chunking.method]
    enough = SPARE_RATIO * sending.budget_tokens // chunking.chunk_tokens
    return RetrievalConfig(
        retriever=sending.retriever,
        chunker=chunker,
        match=match,
        chunk_tokens=chunking.chunk_tokens,
        overlap_tokens=chunking.overlap_tokens,
        k=max(sending.k, min(enough, MOST_HITS)),
        stem=sending.stem,
    )


def _sent(corpus: LabelledCorpus, contexts: Sequence[Context]) -> Sent:
    scores = [
        score_question(question, _ranked(context), k=max(1, len(context.kept)), labels=corpus.labels)
        for question, context in zip(corpus.questions, contexts, strict=True)
        if question.kind != "unanswerable"
    ]
    return Sent(
        recall=np.array([score.evidence_recall for score in scores], dtype=np.float64),
        ndcg=np.array([score.ndcg for score in scores], dtype=np.float64),
        tokens=np.array([context.tokens for context in contexts]),
        chunks=np.array([len(context.kept) for context in contexts]),
    )


def _ranked(context: Context) -> Ranked:
    return Ranked(tuple(Hit(chunk, 0.0) for chunk in context.kept), None)
