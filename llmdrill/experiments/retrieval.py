"""`llmdrill lab retrieval`: what one retrieval design finds, takes and costs; several beside each other."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from llmdrill.errors import UnknownNameError, UsageError
from llmdrill.experiments.result import Experiment, Protocol
from llmdrill.experiments.retrieval_meaning import meaning_of, notes_of
from llmdrill.experiments.retrieval_shown import (
    differences_table,
    findings_of,
    inputs_of,
    kinds_table,
    pictures_of,
    table_of,
)
from llmdrill.retrieval.index import Index, RetrievalConfig, build_index, search_all
from llmdrill.retrieval.pipeline import METRICS, RetrievalComparison, compare_retrieval, evaluate_ranked
from llmdrill.retrieval.progress import Progress
from llmdrill.retrieval.query_time import query_embedding_s

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal

    from llmdrill.experiments.retrieval_bench import Bench
    from llmdrill.retrieval.pipeline import RetrievalResult

DEFAULT_LLM: Final = "gpt-4o-mini"
PROBES: Final = 50  # sentences that stand for questions where a corpus has none: they can be timed, not scored
PROBE_WORDS: Final = 12
SHORT: Final = {"overlap": "overlap_tokens"}  # as the option is called


@dataclass(frozen=True, slots=True)
class Design:
    """A configuration under the name that tables show.

    Attributes:
        name: What it changes of the first; ``base`` for the first.
    """

    name: str
    config: RetrievalConfig


@dataclass(frozen=True, slots=True)
class Tried:
    """What one configuration came to on a bench.

    Attributes:
        predicted_chunks: What a sliding window over the documents' tokens gives.
        embed_s: Of each timed query, embedded alone; empty for keyword search.
        search_s: Of each query.
        queries: Questions or, where there are none, sentences of the corpus that were searched for.
        wordless: Of them, those without a word that BM25 could look up.
    """

    design: Design
    result: RetrievalResult
    predicted_chunks: int
    dimensions: int | None
    embed_s: tuple[float, ...]
    search_s: tuple[float, ...]
    queries: int
    wordless: int

    @property
    def query_s(self) -> tuple[float, ...]:
        """Return the seconds of each timed query, from its text to its hits."""
        if not self.embed_s:
            return self.search_s
        return tuple(one + other for one, other in zip(self.embed_s, self.search_s, strict=False))


def parse_design(text: str, base: RetrievalConfig) -> Design:
    """Return ``base`` with what ``text`` changes, such as ``retriever=dense,chunk_tokens=128``.

    Raises:
        UsageError: If it is no list of ``name=value``, or a value is none of its setting.
        UnknownNameError: If there is no such setting.
    """
    kinds = {field.name: type(getattr(base, field.name)) for field in fields(RetrievalConfig)}
    changes: dict[str, object] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        name, sign, value = (side.strip() for side in part.partition("="))
        name = SHORT.get(name, name.replace("-", "_"))
        if not sign or not value:
            raise UsageError(
                f"--compare '{text}': write settings as name=value, such as retriever=dense,chunk_tokens=128"
            )
        if name not in kinds or name == "rerank":
            raise UnknownNameError("setting", name, sorted(set(kinds) - {"rerank"}))
        if name in changes:
            raise UsageError(f"--compare '{text}' sets {name} twice: give each design a --compare of its own")
        changes[name] = _value(value, kinds[name], f"--compare: {name}")
    if not changes:
        raise UsageError(f"--compare '{text}' changes nothing: write it like retriever=dense,chunk_tokens=128")
    config = replace(base, **changes)  # type: ignore[arg-type]
    if "fusion" in changes and config.retriever != "hybrid":
        raise UsageError(f"--compare '{text}': fusion joins two searches: add retriever=hybrid")
    if "dense_weight" in changes and (config.retriever, config.fusion) != ("hybrid", "linear"):
        raise UsageError(f"--compare '{text}': dense_weight weighs linear fusion: add retriever=hybrid,fusion=linear")
    return Design(", ".join(f"{name}={value}" for name, value in changes.items()), config)


def _value(text: str, kind: type, what: str) -> object:
    if kind is bool:
        if text.lower() not in {"true", "false", "yes", "no"}:
            raise UsageError(f"{what} is yes or no, not '{text}'")
        return text.lower() in {"true", "yes"}
    try:
        return kind(text)
    except ValueError as error:
        raise UsageError(f"{what} is a number, not '{text}'") from error


def measure_retrieval_designs(
    bench: Bench,
    designs: Sequence[Design],
    *,
    split: Literal["dev", "test", "all"] = "test",
    llm: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Experiment:
    """Index the corpus by each design, ask it every question, and compare each with the first.

    Raises:
        MissingExtraError: If a design needs the embedding model and it is not installed.
        UnknownNameError: If the catalogue knows no price of ``llm``.
        InterruptedByPersonError: At Ctrl-C; what was embedded is kept, so that the same command goes on there.
    """
    from llmdrill.catalog.load import find_price

    shown = progress or Progress()
    began = shown.now()
    price = find_price(DEFAULT_LLM if llm is None else llm)
    tried = [_tried(bench, design, split, seed, shown) for design in designs]
    first = tried[0]
    compared = _compared(tried, seed)
    machine = bench.machine
    return Experiment(
        name="retrieval",
        title=f"Retrieval on '{bench.corpus.source}': quality, latency, memory and cost",
        inputs=inputs_of(bench, first, split=split, price=price),
        findings=tuple(findings_of(bench, first, price)),
        tables=tuple(filter(None, (table_of(tried, price), differences_table(compared), kinds_table(bench, first)))),
        pictures=tuple(pictures_of(tried)),
        meaning=meaning_of(bench, tried, compared, price),
        machine=machine,
        protocol=Protocol(seed, 1, 1, machine.threads, shown.now() - began),
        notes=tuple(notes_of(bench, tried)),
    )


def _tried(bench: Bench, design: Design, split: Literal["dev", "test", "all"], seed: int, progress: Progress) -> Tried:
    """Index and search by one design; its index is let go before the next one is built."""
    corpus, config = bench.corpus, design.config
    embedder = bench.embedder if config.retriever == "keyword" else bench.need_embedder()
    began = progress.now()
    index = build_index(corpus, config, embedder, cache=bench.cache, progress=progress)
    index_s = progress.now() - began
    asked = [question.text for question in corpus.questions] or _probes(index, seed)
    progress.say(f"searching for {len(asked):,} questions")
    ranked = search_all(index, asked, now=progress.now)
    result = evaluate_ranked(corpus, index, ranked if corpus.questions else (), split=split, seed=seed)
    scored = [score.id for score in result.questions]
    texts = {question.id: question.text for question in corpus.questions}
    search_s = [score.search_s for score in result.questions] or [one.seconds for one in ranked]
    return Tried(
        design=design,
        result=replace(result, index_s=index_s),
        predicted_chunks=_predicted_chunks(index),
        dimensions=None if index.vectors is None else index.vectors.shape[1],
        embed_s=_query_embedding_s(bench, index, [texts[name] for name in scored] or asked, progress),
        search_s=tuple(search_s),
        queries=len(asked),
        wordless=0 if index.bm25 is None else sum(not index.bm25.tokenize(query) for query in asked),
    )


def _predicted_chunks(index: Index) -> int:
    from llmdrill.estimate.chunks import chunk_count

    config = index.config
    return chunk_count(
        index.document_tokens.tolist(), size_tokens=config.chunk_tokens, overlap_tokens=config.overlap_tokens
    )


def _query_embedding_s(bench: Bench, index: Index, queries: Sequence[str], progress: Progress) -> tuple[float, ...]:
    if index.vectors is None:
        return ()
    machine = bench.machine
    return query_embedding_s(
        queries,
        bench.need_embedder(),
        machine=f"{machine.cpu}, {machine.cores} cores",
        cache=bench.cache,
        progress=progress,
    )


def _probes(index: Index, seed: int) -> list[str]:
    """Return the first words of some chunks, drawn at random."""
    rng = np.random.default_rng(seed)
    drawn = rng.choice(len(index.chunks), size=min(PROBES, len(index.chunks)), replace=False)
    return [" ".join(re.findall(r"\S+", index.text(index.chunks[at]))[:PROBE_WORDS]) for at in drawn.tolist()]


def _compared(tried: Sequence[Tried], seed: int) -> list[tuple[Tried, RetrievalComparison]]:
    """Return each further design against the first, by every metric; none where nothing could be scored."""
    first = tried[0].result
    return [
        (one, compare_retrieval(one.result, first, seed=seed, metric=metric))
        for one in tried[1:]
        if first.n
        for metric in METRICS
    ]
