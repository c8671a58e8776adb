"""A trace: what a pipeline did with one question, step by step, as a person reads it who looks for the fault."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from llmdrill.errors import UnknownNameError
from llmdrill.retrieval.answering import held, leads_to, prepare_all, shown_by
from llmdrill.retrieval.fault_texts import fault_text
from llmdrill.retrieval.faults import plant

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmdrill.retrieval.answering import Link, Pipeline, Prepared
    from llmdrill.retrieval.chunk import Chunk
    from llmdrill.retrieval.corpora import Question
    from llmdrill.retrieval.faults import Sound

EXCERPT_CHARACTERS: Final = 160
CITED: Final = re.compile(r"\[([a-z][a-z0-9-]*)\]")
FIGURE: Final = re.compile(r"\d+(?:[.,]\d+)*")


@dataclass(frozen=True, slots=True)
class TraceHit:
    """A chunk that was found: ``chunk`` is ``document:start-end``."""

    rank: int
    chunk: str
    score: float
    excerpt: str


@dataclass(frozen=True, slots=True)
class TraceCitation:
    """A number in the prompt, the document it stands over, where its link leads, and whether the text is the same."""

    number: int
    document: str
    target: str | None
    same_text: bool


@dataclass(frozen=True, slots=True)
class TraceEvidence:
    """A labelled passage of the question, and how far it came.

    Attributes:
        text: As it stands in today's document.
        rank: Of the first hit that holds at least half of it; None if none does.
        in_prompt: Whether at least half of it stands in a passage of the prompt.
        looked_up: Whether the link of that passage's number leads to it.
    """

    document: str
    grade: int
    text: str
    rank: int | None
    in_prompt: bool
    looked_up: bool


@dataclass(frozen=True, slots=True)
class AuthoredAnswer:
    """What an answer to this prompt may look like; a person wrote it, no model did.

    Attributes:
        unsupported: Figures of the answer that stand neither in a passage it cites nor in the question.
    """

    text: str
    unsupported: tuple[str, ...]
    authored: bool = True


@dataclass(frozen=True, slots=True)
class Trace:
    """A question's way through a pipeline.

    Attributes:
        fault: What was planted; None for the sound pipeline. A reader who is to find it must not see this, nor
            ``evidence``.
        config: What the pipeline's design says, name and value.
        prompt: As the model gets it.
        context_tokens: Of the passages and their headings, in tokens of the embedder.
        dropped: Chunks that the budget left out.
        evidence: Empty where nothing answers the question.
    """

    fault: str | None
    question_id: str
    kind: str
    question: str
    config: tuple[tuple[str, str], ...]
    hits: tuple[TraceHit, ...]
    prompt: str
    context_tokens: int
    citations: tuple[TraceCitation, ...]
    dropped: tuple[str, ...]
    evidence: tuple[TraceEvidence, ...]
    answer: AuthoredAnswer | None


@dataclass(frozen=True, slots=True)
class TracePair:
    """The same question in the sound pipeline and in the faulty one."""

    sound: Trace
    faulty: Trace


def trace_pair(sound: Sound, fault: str, *, question: str | None = None) -> TracePair | None:
    """Return the two traces of a fault, by default for the question that shows it; None if it cannot be planted.

    Args:
        sound: The pipeline without it.
        fault: Its id.
        question: Id of another question; then there are no authored answers.

    Raises:
        UnknownNameError: If there is no such fault, or the corpus has no such question.
    """
    text = fault_text(fault)
    by_id = {one.id: one for one in sound.parts.corpus.questions}
    wanted = question or text.question
    if wanted not in by_id:
        raise UnknownNameError("question", wanted, by_id)
    broken, asked = plant(fault, sound), by_id[wanted]
    if broken is None:
        return None
    answers = (text.sound_answer, text.answer) if asked.id == text.question else (None, None)
    return TracePair(
        trace(sound.pipeline, asked, answer=answers[0]),
        trace(broken, asked, answer=answers[1], fault=fault),
    )


def trace(pipeline: Pipeline, question: Question, *, answer: str | None = None, fault: str | None = None) -> Trace:
    """Return what the pipeline does with a question; ``answer`` cites documents as ``[document]``."""
    prepared = prepare_all(pipeline, [question.text])[0]
    return Trace(
        fault=fault,
        question_id=question.id,
        kind=question.kind,
        question=question.text,
        config=_config(pipeline),
        hits=tuple(_hits(pipeline, prepared)),
        prompt=prepared.prompt,
        context_tokens=prepared.context.tokens if prepared.context else 0,
        citations=tuple(
            TraceCitation(link.number, link.shown_as, link.target, link.looked_up == link.quoted)
            for link in prepared.links
        ),
        dropped=tuple(_named(chunk) for chunk in (prepared.context.dropped if prepared.context else ())),
        evidence=tuple(_evidence(pipeline, prepared, question)),
        answer=None if answer is None else _authored(answer, prepared.links, question.text),
    )


def trace_json(one: Trace) -> dict[str, Any]:
    """Return a trace as an object for JSON."""
    fields = asdict(one)
    return {**fields, "config": dict(one.config)}


def _config(pipeline: Pipeline) -> tuple[tuple[str, str], ...]:
    config = pipeline.index.config
    shown = {
        "retriever": config.retriever,
        "chunker": config.chunker,
        "chunk_tokens": config.chunk_tokens,
        "overlap_tokens": config.overlap_tokens,
        "k": config.k,
        "budget_tokens": pipeline.budget_tokens,
    }
    return tuple((name, str(value)) for name, value in shown.items())


def _hits(pipeline: Pipeline, prepared: Prepared) -> Iterator[TraceHit]:
    for rank, hit in enumerate(prepared.hits, start=1):
        yield TraceHit(rank, _named(hit.chunk), round(hit.score, 4), _excerpt(pipeline.index.text(hit.chunk)))


def _named(chunk: Chunk) -> str:
    return f"{chunk.document}:{chunk.start}-{chunk.end}"


def _excerpt(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= EXCERPT_CHARACTERS else f"{flat[: EXCERPT_CHARACTERS - 1]}…"


def _evidence(pipeline: Pipeline, prepared: Prepared, question: Question) -> Iterator[TraceEvidence]:
    for span in question.evidence:
        passage = pipeline.store[span.document].text[span.start : span.end]
        over = shown_by(prepared.links, passage)
        ranks = (at for at, hit in enumerate(prepared.hits, start=1) if held(passage, pipeline.index.text(hit.chunk)))
        yield TraceEvidence(
            span.document,
            span.grade,
            passage,
            next(ranks, None),
            in_prompt=bool(over),
            looked_up=any(leads_to(link, passage) for link in over),
        )


def _authored(answer: str, links: Sequence[Link], question: str) -> AuthoredAnswer:
    numbers = {link.shown_as: link.number for link in reversed(links)}
    cited = [link for link in links if link.shown_as in CITED.findall(answer)]
    known = set(FIGURE.findall(" ".join((question, *(link.quoted for link in cited)))))
    claimed = FIGURE.findall(CITED.sub("", answer))
    return AuthoredAnswer(
        CITED.sub(lambda found: f"[{numbers.get(found[1], '?')}]", answer),
        tuple(dict.fromkeys(figure for figure in claimed if figure not in known)),
    )
