"""Guards: checks that need no labels and no model's answer, each a share of what is wrong, 0 in a sound pipeline."""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np

from llmdrill.retrieval.embed import embed_texts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from llmdrill.retrieval.answering import Pipeline, Prepared

CODE: Final = re.compile(r"\b[A-Z]{1,3}-?\d{2,5}\b")
EDITION: Final = re.compile(r"-(20\d\d)$")
SENTENCE_ENDS: Final = frozenset(".!?:;|*`\"'”)")
UNIT_TOLERANCE: Final = 1e-3
CANARIES: Final = 40  # chunks that are embedded once more
SAME_COSINE: Final = 0.99  # below it a vector is another one; precisions differ by less


@dataclass(frozen=True, slots=True)
class Seen:
    """A pipeline, and what it did with some questions."""

    pipeline: Pipeline
    prepared: Sequence[Prepared]


@dataclass(frozen=True, slots=True)
class Guard:
    """A check to run beside a pipeline: what it counts, and how."""

    counts: str
    share: Callable[[Seen], float]


def _share(wrong: Iterable[bool]) -> float:
    found = list(wrong)
    return sum(found) / len(found) if found else 0.0


def _stale_documents(seen: Seen) -> float:
    texts = seen.pipeline.index.texts
    return _share(texts.get(name) != document.text for name, document in seen.pipeline.store.items())


def _unreachable_documents(seen: Seen) -> float:
    reachable = {chunk.document for chunk in seen.pipeline.index.chunks if seen.pipeline.allowed(chunk)}
    return _share(document not in reachable for document in seen.pipeline.store)


def _vectors_not_reproduced(seen: Seen) -> float:
    index = seen.pipeline.index
    if index.vectors is None or index.embedder is None:
        return 0.0
    some = np.unique(np.linspace(0, len(index.units) - 1, CANARIES).astype(int))
    texts = [index.text(index.units[at]) for at in some.tolist()]
    fresh = embed_texts(texts, index.embedder, truncate=index.config.truncate, cache=index.cache).vectors
    stored = index.vectors[some]
    cosines = (stored * fresh).sum(axis=1) / np.linalg.norm(stored, axis=1)
    return float((cosines < SAME_COSINE).mean())


def _vectors_off_unit_length(seen: Seen) -> float:
    if seen.pipeline.index.vectors is None:
        return 0.0
    lengths = np.linalg.norm(seen.pipeline.index.vectors, axis=1)
    return float((np.abs(lengths - 1) > UNIT_TOLERANCE).mean())


def _unseen_text(seen: Seen) -> float:
    return seen.pipeline.index.unseen_share or 0.0


def _cut_chunks(seen: Seen) -> float:
    def cut(document: str, end: int) -> bool:
        text = seen.pipeline.index.texts[document]
        after = text[end : end + 1]
        return text[end - 1] not in SENTENCE_ENDS and not text[end:].lstrip(" ").startswith("\n") and bool(after)

    return _share(cut(chunk.document, chunk.end) for chunk in seen.pipeline.index.chunks)


def _repeated_hits(seen: Seen) -> float:
    texts = [[seen.pipeline.index.text(hit.chunk) for hit in one.hits] for one in seen.prepared]
    return _share(text in of_question[:at] for of_question in texts for at, text in enumerate(of_question))


def _codes_without_postings(seen: Seen) -> float:
    bm25 = seen.pipeline.index.bm25
    if bm25 is None:
        return 0.0
    corpus = "\n".join(document.text for document in seen.pipeline.store.values())
    codes = {code for one in seen.prepared for code in CODE.findall(one.question) if code in corpus}
    return _share(not any(term in bm25.terms for term in bm25.tokenize(code)) for code in codes)


def _words_nobody_asked(seen: Seen) -> float:
    searched = [(set(seen.pipeline.searched(one.question).split()), set(one.question.split())) for one in seen.prepared]
    return _share(word not in asked for sent, asked in searched for word in sent)


def _short_lists(seen: Seen) -> float:
    return _share(len(one.hits) < seen.pipeline.index.config.k for one in seen.prepared)


def _shortened_chunks(seen: Seen) -> float:
    def whole(one: Prepared) -> Iterable[bool]:
        text = one.context.text if one.context else ""
        dropped = set(one.context.dropped) if one.context else set()
        return (seen.pipeline.index.text(hit.chunk) in text for hit in one.hits if hit.chunk not in dropped)

    return _share(not found for one in seen.prepared for found in whole(one))


def _undated_passages(seen: Seen) -> float:
    def undated(one: Prepared) -> Iterable[bool]:
        for link in one.links:
            year = EDITION.search(link.shown_as)
            if year:
                shown = f"{seen.pipeline.heading(link.number, link.shown_as)}\n{link.quoted}"
                yield year[1] not in shown

    return _share(wrong for one in seen.prepared for wrong in undated(one))


def _broken_links(seen: Seen) -> float:
    return _share(link.looked_up != link.quoted for one in seen.prepared for link in one.links)


def _best_hits_left_out(seen: Seen) -> float:
    def left_out(one: Prepared) -> bool:
        best = one.hits[0].chunk
        return one.context is None or any(
            (chunk.document, chunk.start) == (best.document, best.start) for chunk in one.context.dropped
        )

    return _share(left_out(one) for one in seen.prepared if one.hits)


GUARDS: Final[Mapping[str, Guard]] = MappingProxyType(
    {
        "stale_documents": Guard("documents whose text in the index is not today's", _stale_documents),
        "unreachable_documents": Guard("documents that no question can bring back", _unreachable_documents),
        "vectors_not_reproduced": Guard(
            "stored vectors that the query side would not give the same text", _vectors_not_reproduced
        ),
        "vectors_off_unit_length": Guard("vectors whose length is not 1", _vectors_off_unit_length),
        "unseen_text": Guard("characters that the embedder never saw", _unseen_text),
        "cut_chunks": Guard("chunks that end inside a sentence or a table's row", _cut_chunks),
        "repeated_hits": Guard("hits whose text stands among the hits above", _repeated_hits),
        "codes_without_postings": Guard(
            "codes in questions that keyword search cannot look up", _codes_without_postings
        ),
        "words_nobody_asked": Guard("searched words that the question does not have", _words_nobody_asked),
        "short_lists": Guard("questions with fewer hits than the design's k", _short_lists),
        "shortened_chunks": Guard("chunks in the prompt that are not there whole", _shortened_chunks),
        "undated_passages": Guard("passages of yearly editions that show no year", _undated_passages),
        "broken_links": Guard("citations whose link shows another text than the passage", _broken_links),
        "best_hits_left_out": Guard("questions whose best hit is not in the prompt", _best_hits_left_out),
    }
)
