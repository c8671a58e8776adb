"""A whole pipeline in front of a language model, from a question to a prompt with citations, each part exchangeable."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from llmdrill.retrieval.assemble import Context, TokenizedTexts, assemble
from llmdrill.retrieval.chunk import word_spans
from llmdrill.retrieval.index import Hit, Index, search_all

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from llmdrill.retrieval.assemble import Heading
    from llmdrill.retrieval.chunk import Chunk
    from llmdrill.retrieval.corpora import Document, LabelledCorpus

INSTRUCTION: Final = (
    "Answer from the passages below and from nothing else. After each statement give the number of the passage it"
    " rests on, as [1]. Where editions differ, take the one in force at the time the question is about; if it names"
    " none, that is the end of 2025. If the passages do not answer the question, say so and hand over."
)
NOTHING_FOUND: Final = "(no passage was found)"


@dataclass(frozen=True, slots=True, eq=False)
class Pipeline:
    """What happens between a question and the prompt; the defaults change nothing on the way.

    Attributes:
        store: Today's documents by id: what a citation is looked up in.
        index: What was indexed, with its own copy of the texts.
        k: Chunks that go on to the prompt.
        budget_tokens: Of the context.
        heading: The line above a passage.
        searched: What is searched for, given the question.
        allowed: The filter: which chunks may be returned; applied before the cut at k.
        least_score: Best score below which nothing is returned; None: never.
        quoted: How much of a chunk the prompt quotes.
        ordered: The order in which chunks are offered to the budget.
        link_shift: How far beside the right passage the link of a citation leads.
    """

    store: Mapping[str, Document] = field(repr=False)
    index: Index = field(repr=False)
    k: int
    budget_tokens: int
    heading: Heading
    searched: Callable[[str], str] = str
    allowed: Callable[[Chunk], bool] = bool
    least_score: float | None = None
    quoted: Callable[[Chunk], Chunk] | None = None
    ordered: Callable[[Sequence[Chunk]], Sequence[Chunk]] = tuple
    link_shift: int = 0


@dataclass(frozen=True, slots=True)
class Link:
    """A number in the prompt, the text it stands over, and where its link leads in today's documents (None: nowhere).

    Attributes:
        shown_as: The document that the passage was taken from.
        quoted: The passage as the model reads it.
        target: ``document:start-end``.
        looked_up: The text found there.
    """

    number: int
    shown_as: str
    quoted: str
    target: str | None
    looked_up: str | None


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the pipeline did with a question.

    Attributes:
        hits: At most k, best first.
        context: None where nothing was found.
        links: One for each passage of the prompt.
    """

    question: str
    hits: tuple[Hit, ...]
    context: Context | None
    prompt: str
    links: tuple[Link, ...]


def titled(corpus: LabelledCorpus) -> Heading:
    """Return headings with the document's title, which bears its edition, and its id."""
    titles = {document.id: document.title for document in corpus.documents}
    return lambda number, document: f"[{number}] {titles[document]} ({document})"


def make_pipeline(corpus: LabelledCorpus, index: Index, *, budget_tokens: int) -> Pipeline:
    """Return the pipeline as it should be."""
    store = {document.id: document for document in corpus.documents}
    return Pipeline(store, index, k=index.config.k, budget_tokens=budget_tokens, heading=titled(corpus))


def prepare_all(pipeline: Pipeline, questions: Sequence[str]) -> tuple[Prepared, ...]:
    """Return what the pipeline hands to the model for each question."""
    index = pipeline.index
    config = replace(index.config, k=max(pipeline.k, index.config.candidates))  # a filter may take some away
    found = search_all(replace(index, config=config), [pipeline.searched(question) for question in questions])
    texts = TokenizedTexts(index.texts, index.embedder.token_spans if index.embedder else word_spans)
    prepared = []
    for question, ranked in zip(questions, found, strict=True):
        sure = pipeline.least_score is None or (ranked.top_score or 0.0) >= pipeline.least_score
        hits = [hit for hit in ranked.hits if sure and pipeline.allowed(hit.chunk)][: pipeline.k]
        prepared.append(_prepared(pipeline, texts, question, hits))
    return tuple(prepared)


def _prepared(pipeline: Pipeline, texts: TokenizedTexts, question: str, hits: Sequence[Hit]) -> Prepared:
    chunks = [pipeline.quoted(hit.chunk) if pipeline.quoted else hit.chunk for hit in hits]
    context = None
    if chunks:
        ordered = pipeline.ordered(chunks)
        context = assemble(ordered, texts, budget_tokens=pipeline.budget_tokens, heading=pipeline.heading)
    passages = context.text if context else NOTHING_FOUND
    prompt = f"{INSTRUCTION}\n\nPassages:\n\n{passages}\n\nQuestion: {question}\n"
    return Prepared(question, tuple(hits), context, prompt, _links(pipeline, context))


def _links(pipeline: Pipeline, context: Context | None) -> tuple[Link, ...]:
    citations = context.citations if context else ()
    links = []
    for at, one in enumerate(citations):
        quoted = context.text[one.context_start : one.context_end] if context else ""
        meant = at + pipeline.link_shift
        if not 0 <= meant < len(citations):
            links.append(Link(one.number, one.document, quoted, None, None))
            continue
        to = citations[meant]
        target = f"{to.document}:{to.start}-{to.end}"
        links.append(
            Link(one.number, one.document, quoted, target, pipeline.store[to.document].text[to.start : to.end])
        )
    return tuple(links)


def held(passage: str, text: str) -> bool:
    """Say whether at least half of a passage's characters stand in the text, in one piece.

    >>> held("not in checked luggage", "packs: not in checked"), held("not in checked luggage", "in luggage")
    (True, False)
    """
    half = (len(passage) + 1) // 2
    return any(passage[start : start + half] in text for start in range(len(passage) - half + 1))


def shown_by(links: Sequence[Link], passage: str) -> tuple[Link, ...]:
    """Return the numbers of the prompt under which at least half of a passage stands."""
    return tuple(link for link in links if held(passage, link.quoted))


def leads_to(link: Link, passage: str) -> bool:
    """Say whether who follows a link finds at least half of the passage."""
    return link.looked_up is not None and held(passage, link.looked_up)
