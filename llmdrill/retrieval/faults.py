"""Faults to plant in a working pipeline, one at a time: what breaks, who sees it, and what mends it.

What a fault is called, how it shows and which fixes are wrong, ``fault_texts`` says; here is what it does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np

from llmdrill.errors import UnknownNameError
from llmdrill.retrieval.answering import Pipeline, make_pipeline
from llmdrill.retrieval.embed import embed_texts
from llmdrill.retrieval.index import ChunkTexts, build_index
from llmdrill.retrieval.sparse import build_bm25, word_tokenizer

if TYPE_CHECKING:
    from llmdrill.retrieval.chunk import Chunk
    from llmdrill.retrieval.corpora import LabelledCorpus
    from llmdrill.retrieval.embed import Embedder, EmbeddingCache
    from llmdrill.retrieval.index import Index, RetrievalConfig

Plant = Callable[["Sound"], Pipeline | None]  # None: this corpus or design has nothing to plant it in
EDITION: Final = re.compile(r"(.+)-(20\d\d)")
COPIES: Final = 3
QUOTED_CHARACTERS: Final = 255
QUARTER: Final = 4  # chunks four times as long, or a quarter as long
FOREIGN_LEAST_SCORE: Final = 0.5
BUDGET_SHARE: Final = 0.6
LAST_TURN: Final = "Thanks. Which ribbon for the L110?"


@dataclass(frozen=True, slots=True)
class Parts:
    """What a pipeline is made of.

    Attributes:
        other_embedder: Gives vectors of the same size that are not comparable with the embedder's.
    """

    corpus: LabelledCorpus = field(repr=False)
    config: RetrievalConfig
    embedder: Embedder = field(repr=False)
    other_embedder: Embedder = field(repr=False)
    cache: EmbeddingCache | None = field(default=None, repr=False)
    budget_tokens: int = 1600

    def build(self, config: RetrievalConfig | None = None, corpus: LabelledCorpus | None = None) -> Index:
        """Return an index of the corpus, or of another one, by this design or another."""
        return build_index(corpus or self.corpus, config or self.config, self.embedder, cache=self.cache)


@dataclass(frozen=True, slots=True)
class Sound:
    """A pipeline as it should be, and what it was made of."""

    parts: Parts
    pipeline: Pipeline


def make_sound(parts: Parts) -> Sound:
    """Return the sound pipeline of these parts."""
    return Sound(parts, make_pipeline(parts.corpus, parts.build(), budget_tokens=parts.budget_tokens))


def plant(fault: str, sound: Sound) -> Pipeline | None:
    """Return the pipeline with a fault in it; None if this corpus or design has nothing to plant it in.

    Raises:
        UnknownNameError: If there is no such fault.
    """
    if fault not in PLANTS:
        raise UnknownNameError("fault", fault, PLANTS)
    return PLANTS[fault](sound)


def edition_of(document: str) -> tuple[str, int] | None:
    """Return a document's name without its year, and the year; None if it is no yearly edition.

    >>> edition_of("returns-policy-2025"), edition_of("warranty-doa-macro")
    (('returns-policy', 2025), None)
    """
    found = EDITION.fullmatch(document)
    return (found[1], int(found[2])) if found else None


def _stale_index(sound: Sound) -> Pipeline | None:
    """The newest edition took the place of the one before in the store, and the index never heard of it."""
    texts = {document.id: document.text for document in sound.parts.corpus.documents}
    before = _edition_before(texts)
    if not before:
        return None
    old = tuple(
        replace(document, text=texts[before[document.id]]) if document.id in before else document
        for document in sound.parts.corpus.documents
    )
    return replace(sound.pipeline, index=sound.parts.build(corpus=replace(sound.parts.corpus, documents=old)))


def _edition_before(documents: Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    """Return the newest edition of each group that has several, and the one before it."""
    years: dict[str, list[int]] = {}
    for document in documents:
        edition = edition_of(document)
        if edition:
            years.setdefault(edition[0], []).append(edition[1])
    several = {name: sorted(found)[-2:] for name, found in years.items() if len(found) > 1}
    return {f"{name}-{newest}": f"{name}-{older}" for name, (older, newest) in several.items()}


def _wrong_filter(sound: Sound) -> Pipeline | None:
    """A filter that was right last year: documents that bear another year are left out."""
    newest = {document: edition[1] for document in sound.pipeline.store if (edition := edition_of(document))}
    if not newest:
        return None
    last_year = max(newest.values()) - 1
    return replace(sound.pipeline, allowed=lambda chunk: newest.get(chunk.document, last_year) == last_year)


def _embedder_mismatch(sound: Sound) -> Pipeline:
    index = sound.pipeline.index
    texts = ChunkTexts(index.units, index.texts)
    vectors = embed_texts(
        texts, sound.parts.other_embedder, truncate=sound.parts.config.truncate, cache=sound.parts.cache
    ).vectors
    return replace(sound.pipeline, index=replace(index, vectors=vectors))


def _unnormalised_vectors(sound: Sound) -> Pipeline | None:
    """Token vectors were added up and never divided: the dot product grows with the length of a chunk."""
    index = sound.pipeline.index
    if index.vectors is None:
        return None
    tokens = np.array([max(unit.tokens, 1) for unit in index.units], dtype=np.float32)
    return replace(sound.pipeline, index=replace(index, vectors=index.vectors * tokens[:, None]))


def _wrong_top_k(sound: Sound) -> Pipeline:
    return replace(sound.pipeline, k=1)


def _unseen_tail(sound: Sound) -> Pipeline:
    """Chunks four times as long, a quarter as many: the embedder reads the beginning of each and drops the rest."""
    config = replace(sound.parts.config, chunk_tokens=sound.parts.config.chunk_tokens * QUARTER, truncate=True)
    return replace(sound.pipeline, index=sound.parts.build(config), k=max(sound.pipeline.k // QUARTER, 1))


def _cut_sentences(sound: Sound) -> Pipeline:
    """Chunks a quarter as long, cut wherever the count of tokens ends, without overlap; as many as before."""
    size = max(sound.parts.config.chunk_tokens // QUARTER, 1)
    config = replace(sound.parts.config, chunker="fixed", chunk_tokens=size, overlap_tokens=0)
    return replace(sound.pipeline, index=sound.parts.build(config))


def _duplicates(sound: Sound) -> Pipeline:
    """Every run of the ingest wrote all chunks anew and deleted none."""
    index = sound.pipeline.index
    units, chunks = index.units * COPIES, index.chunks * COPIES
    bm25 = build_bm25(ChunkTexts(units, index.texts), stem=sound.parts.config.stem, codes=sound.parts.config.codes)
    vectors = None if index.vectors is None else np.tile(index.vectors, (COPIES, 1))
    return replace(
        sound.pipeline,
        index=replace(
            index,
            units=units,
            chunks=chunks,
            vectors=vectors,
            bm25=None if index.bm25 is None else bm25,
            first_unit=None,
        ),
    )


def _codes_torn(sound: Sound) -> Pipeline | None:
    """The index keeps codes such as E-4021 whole, the query side tears them apart."""
    index = sound.pipeline.index
    if index.bm25 is None or not sound.parts.config.codes:
        return None
    return replace(
        sound.pipeline,
        index=replace(index, bm25=replace(index.bm25, tokenize=word_tokenizer(stem=sound.parts.config.stem))),
    )


def _history_in_query(sound: Sound) -> Pipeline:
    return replace(sound.pipeline, searched=lambda question: f"{LAST_TURN} {question}")


def _foreign_threshold(sound: Sound) -> Pipeline:
    return replace(sound.pipeline, least_score=FOREIGN_LEAST_SCORE)


def _truncated_chunk(sound: Sound) -> Pipeline:
    """The column that keeps a chunk's text beside its vector holds so many characters."""

    def first_characters(chunk: Chunk) -> Chunk:
        return replace(chunk, end=min(chunk.end, chunk.start + QUOTED_CHARACTERS))

    return replace(sound.pipeline, quoted=first_characters)


def _missing_date(sound: Sound) -> Pipeline:
    return replace(sound.pipeline, heading=lambda number, _: f"[{number}]")


def _citation_shifted(sound: Sound) -> Pipeline:
    return replace(sound.pipeline, link_shift=1)


def _best_cut(sound: Sound) -> Pipeline:
    """Best last, since models read the end well; then a budget that not all fit is filled from the front."""
    budget_tokens = max(int(sound.pipeline.budget_tokens * BUDGET_SHARE), 1)
    return replace(sound.pipeline, ordered=lambda chunks: chunks[::-1], budget_tokens=budget_tokens)


def _untouched(sound: Sound) -> Pipeline:
    """The pipeline did its work; the fault is in what the model made of it."""
    return sound.pipeline


PLANTS: Final[Mapping[str, Plant]] = MappingProxyType(
    {
        "stale-index": _stale_index,
        "wrong-filter": _wrong_filter,
        "embedder-mismatch": _embedder_mismatch,
        "unnormalised-vectors": _unnormalised_vectors,
        "wrong-top-k": _wrong_top_k,
        "unseen-tail": _unseen_tail,
        "cut-sentences": _cut_sentences,
        "duplicates": _duplicates,
        "codes-torn": _codes_torn,
        "history-in-query": _history_in_query,
        "foreign-threshold": _foreign_threshold,
        "truncated-chunk": _truncated_chunk,
        "missing-date": _missing_date,
        "citation-shifted": _citation_shifted,
        "best-cut": _best_cut,
        "old-edition-taken": _untouched,
        "negation-lost": _untouched,
        "wrong-column": _untouched,
        "beyond-the-passages": _untouched,
    }
)
