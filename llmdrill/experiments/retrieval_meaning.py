"""What the numbers of `llmdrill lab retrieval` mean, in two sentences, and what to read with care."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from llmdrill.estimate.cost import explain_api_cost
from llmdrill.experiments.retrieval_shown import QUESTIONS
from llmdrill.units import MS_PER_S, format_bytes, format_usd

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmdrill.catalog.price import Price
    from llmdrill.experiments.retrieval import Tried
    from llmdrill.experiments.retrieval_bench import Bench
    from llmdrill.retrieval.pipeline import KindRow, RetrievalComparison

ALPHA: Final = 0.05
FEW: Final = 20  # questions, below which a bootstrap interval is too narrow


def meaning_of(
    bench: Bench, tried: Sequence[Tried], compared: Sequence[tuple[Tried, RetrievalComparison]], price: Price
) -> tuple[str, str]:
    """Return what came out and, of several designs, how they differ."""
    first = _first_sentence(bench, tried[0], price)
    if len(tried) > 1 and compared:
        return first, _difference(compared)
    return first, _where_it_fails(tried[0])


def _first_sentence(bench: Bench, tried: Tried, price: Price) -> str:
    result, config = tried.result, tried.design.config
    pace = f"{float(np.median(tried.query_s)) * MS_PER_S:.3g} ms" if tried.query_s else "an unknown time"
    recall = result.mean("evidence_recall")
    if recall is None or result.sent_tokens is None:
        return (
            f"The index of {result.chunks:,} chunks takes {format_bytes(result.index_bytes)}, and half of the searches"
            f" take less than {pace}; how good they are no label tells."
        )
    spans = bench.corpus.labels == "spans"
    what = "the evidence is among the first" if spans else "the relevant documents are among the first"
    places = f"{config.k} {'chunk' if spans else 'document'}{'s' * (config.k != 1)}"
    usd = explain_api_cost(price, requests=QUESTIONS, input_tokens=result.sent_tokens).value
    found = f"{recall.mean:.0%} of {what} {places} ({recall.low:.0%} to {recall.high:.0%})"
    return (
        f"{found}; half of the searches take less than {pace}, and the {result.sent_tokens:,.0f} tokens that a question"
        f" sends on cost {format_usd(usd)} per 1,000 at {price.name}'s price."
    )


def _difference(compared: Sequence[tuple[Tried, RetrievalComparison]]) -> str:
    """Say of each further design whether its recall differs from the first's."""
    said = []
    for one, found in compared:
        if found.metric != "evidence_recall":
            continue
        apart = found.difference
        points = f"{abs(apart.mean) * 100:.1f} points"
        if apart.low <= 0 <= apart.high or found.p_value > ALPHA:
            said.append(f"'{one.design.name}' cannot be told from the first ({100 * apart.mean:+.1f} points)")
        else:
            more = "more" if apart.mean > 0 else "less"
            said.append(f"'{one.design.name}' finds {points} {more} (p = {found.p_value:.2g})")
    n = compared[0][1].difference.n
    return f"On the same {n} questions, {', and '.join(said)}."


def _where_it_fails(tried: Tried) -> str:
    kinds: list[tuple[float, KindRow]] = [
        (row.evidence_recall, row) for row in tried.result.by_kind if row.evidence_recall is not None
    ]
    possible = tried.result.possible_recall
    if len(kinds) > 1:
        worst, best = min(kinds, key=lambda pair: pair[0]), max(kinds, key=lambda pair: pair[0])
        if worst[0] == best[0]:
            return f"All kinds of question fare alike, at {best[0]:.0%}."
        return (
            f"Of all kinds of question {_name(worst[1])} fares worst with {worst[0]:.0%} (n = {worst[1].n}),"
            f" {_name(best[1])} best with {best[0]:.0%} (n = {best[1].n})."
        )
    if possible is None:
        return "Give labelled questions (--questions FILE) to measure quality on these documents."
    if possible < 1:
        return f"No ranking could reach more than {possible:.0%} with k = {tried.design.config.k}."
    return "The places suffice: a perfect ranking would find everything."


def _name(row: KindRow) -> str:
    return row.kind.replace("_", " ")


def notes_of(bench: Bench, tried: Sequence[Tried]) -> Iterator[str]:
    """Yield what to read with care."""
    first = tried[0].result
    yield from bench.corpus.notes
    if first.n:
        if bench.corpus.labels == "spans":
            yield "recall counts an evidence span as found when one chunk covers at least half of its characters"
        else:
            yield "documents are ranked by their best chunk, and scored against the grades of their labels"
        yield "intervals are over these questions on this corpus: other documents may order the designs otherwise"
    if 0 < first.n < FEW:
        yield f"{first.n} questions are few: intervals from so small a sample are too narrow"
    if not bench.corpus.questions:
        yield f"no labelled question: {tried[0].queries} sentences of the corpus were searched for, to time the search"
    if tried[0].wordless:
        yield f"questions without a word that BM25 could look up: {tried[0].wordless}; for them it finds nothing"
    for one in tried:
        if one.design.config.k > one.result.chunks:
            which = "that hold a word of the question" if one.design.config.retriever == "keyword" else "of them"
            yield f"k = {one.design.config.k} is more than the {one.result.chunks:,} chunks: all {which} are returned"
    if any(one.design.config.k != tried[0].design.config.k for one in tried):
        yield "designs with different k compare different metrics: more places find more, and cost more"
    if tried[0].embed_s and len(tried[0].embed_s) < len(tried[0].search_s):
        yield f"query times are of the first {len(tried[0].embed_s)} questions"
