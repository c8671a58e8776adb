"""What `lab rerank` shows: its tables, its picture and its two sentences."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Final

from llmdrill.experiments.rerank_run import HYBRID, KEYWORD, NONE
from llmdrill.experiments.rerankers import BI_ENCODER, CROSS_ENCODER, MAXSIM
from llmdrill.picture import Picture, Series
from llmdrill.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmdrill.experiments.rerank import Measured
    from llmdrill.experiments.rerank_run import Arm
    from llmdrill.retrieval.compare import Interval

SHOWN: Final = {KEYWORD: "BM25", "dense": "dense", HYBRID: "hybrid"}
DIGITS: Final = 3


def quality_table(seen: Measured) -> Table:
    """Return every first stage as it is and reordered, with the paired gain in recall."""
    columns = (
        "first_stage", "reranker", "n", "recall_at_k", "ndcg_at_k", "mrr_at_k",
        "recall_gain", "gain_low", "gain_high", "better", "worse",
    )  # fmt: skip
    note = f"k = {seen.options.k}; gain in recall over the first stage as it is, paired, 95 % bootstrap interval"
    return Table("by first stage and reranker", columns, tuple(_quality_row(seen, arm) for arm in seen.arms), note)


def _quality_row(seen: Measured, arm: Arm) -> tuple[str | float | int | None, ...]:
    means = tuple(round(arm.mean(metric), DIGITS) for metric in ("evidence_recall", "ndcg", "mrr"))
    name = SHOWN.get(arm.first, arm.first)
    if arm.reranker == NONE:
        return (name, "none", None, *means, None, None, None, None, None)
    gained = seen.gain(arm.first, arm.reranker, "evidence_recall", n=arm.n)
    before = seen.arm(arm.first).values("evidence_recall")
    pairs = list(zip(arm.values("evidence_recall"), before, strict=True))
    better, worse = sum(a > b for a, b in pairs), sum(a < b for a, b in pairs)
    ends = (round(gained.mean, DIGITS), round(gained.low, DIGITS), round(gained.high, DIGITS))
    return (name, arm.reranker, arm.n, *means, *ends, better, worse)


def by_kind_table(seen: Measured) -> Table:
    """Return recall by kind of question, and what each reranker changes: where it hurts."""
    kinds = list(dict.fromkeys(question.kind for question in seen.questions))
    columns = ("first_stage", "kind", "questions", "recall_at_k", *(f"{_word(one)}_gain" for one in seen.rerankers))
    rows: tuple[tuple[str | float | int | None, ...], ...] = tuple(
        (
            SHOWN[first],
            kind,
            len(seen.arm(first).values("evidence_recall", kind=kind)),
            round(seen.arm(first).mean("evidence_recall", kind=kind), DIGITS),
            *(round(seen.gain(first, one, "evidence_recall", kind=kind).mean, DIGITS) for one in seen.rerankers),
        )
        for first in (KEYWORD, HYBRID)
        for kind in sorted(kinds)
    )
    return Table("by kind of question", columns, rows, f"gain in recall with {seen.options.main_n} candidates reranked")


def price_table(seen: Measured) -> Table:
    """Return milliseconds a question, by reranker and n."""
    columns = ("reranker", "n", "stored_ms", "fresh_ms")
    rows: list[tuple[str | float | int | None, ...]] = []
    for reranker in seen.rerankers:
        for n in seen.options.ns:
            readings = [seen.ms(reranker, stored=stored, n=n) for stored in (True, False)]
            if any(readings):
                rows.append((reranker, n, *(round(median(ms), DIGITS) if ms else None for ms in readings)))
    note = "median of the readings; stored: arrays of the texts beside the index; fresh: texts encoded meanwhile"
    return Table("price of a question", columns, tuple(rows), note)


def picture(seen: Measured) -> Picture:
    """Return recall by the number of candidates, from k (nothing reordered) on."""
    at = tuple(float(n) for n in (seen.options.k, *(n for n in seen.options.ns if n > seen.options.k)))
    series = [
        Series(f"{SHOWN[first]} + {reranker}", at, tuple(_recalls(seen, first, reranker, at)))
        for first in (HYBRID, KEYWORD)
        for reranker in seen.rerankers
    ]
    label = f"candidates reranked (left end: k = {seen.options.k}, as found)"
    return Picture("Recall by how many candidates are reranked", label, "recall at k", tuple(series), log_x=True)


def _recalls(seen: Measured, first: str, reranker: str, at: tuple[float, ...]) -> Iterator[float]:
    yield seen.arm(first).mean("evidence_recall")
    for n in at[1:]:
        yield seen.arm(first, reranker, int(n)).mean("evidence_recall")


def meaning(seen: Measured) -> tuple[str, str]:
    """Return what late interaction brings and costs, and what the bi-encoder does to search that is not its own."""
    return _late(seen), _whole(seen)


def _late(seen: Measured) -> str:
    n, k = seen.options.main_n, seen.options.k
    found = seen.gain(HYBRID, MAXSIM, "evidence_recall")
    stored, fresh = (seen.ms(MAXSIM, stored=one, n=n) for one in (True, False))
    price = f" for {_ms(median(stored))} a question" if stored else ""
    wait = f", or {_ms(median(fresh))} where token vectors are not stored" if fresh else ""
    return f"MaxSim over the best {n} of hybrid search {_moved(f'its recall at {k}', found)}{price}{wait}."


def _whole(seen: Measured) -> str:
    n, most = seen.options.main_n, max(seen.options.ns)
    hybrid, keyword = (seen.gain(first, BI_ENCODER, "evidence_recall") for first in (HYBRID, KEYWORD))
    last = seen.gain(KEYWORD, BI_ENCODER, "evidence_recall", n=most)
    did = f"Rescoring them by the bi-encoder {_moved('it', hybrid)}; behind BM25 it {_moved('recall', keyword)}"
    did += "" if n == most else f", and with {most} candidates the difference is {last.mean:+.3f}"
    if CROSS_ENCODER in seen.rerankers:
        read = seen.gain(HYBRID, CROSS_ENCODER, "evidence_recall")
        did += f"; the cross-encoder {_moved('that of hybrid search', read)}"
    return f"{did}."


def _ms(value: float) -> str:
    return f"{float(f'{value:.3g}'):,.10g} ms"


def _moved(what: str, gained: Interval) -> str:
    """Say what the interval allows to be said."""
    ends = f"{gained.low:+.3f} to {gained.high:+.3f}"
    if gained.low <= 0 <= gained.high:
        return f"did not surely change {what} ({ends})"
    return f"{'raised' if gained.mean > 0 else 'lowered'} {what} by {abs(gained.mean):.3f} ({ends})"


def _word(reranker: str) -> str:
    return reranker.replace("-", "_")
