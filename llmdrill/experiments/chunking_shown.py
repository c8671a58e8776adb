"""What `lab chunking` shows: its figures, tables, pictures and two sentences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from llmdrill.estimate.chunks import chunk_count
from llmdrill.experiments.result import Finding
from llmdrill.picture import Picture, Series
from llmdrill.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmdrill.experiments.chunking import Measured
    from llmdrill.experiments.chunking_run import Cell, Chunking, Sent
    from llmdrill.retrieval.compare import Interval

    Row = tuple[str | float | int | None, ...]

DIGITS: Final = 3
PARTS: Final = ("method", "chunk_tokens", "overlap_share")


def findings(seen: Measured) -> Iterator[Finding]:
    """Yield what the first design and the chosen one find, send and cost, and how far designs lie apart."""
    first, chosen = seen.first, seen.chosen
    yield Finding("n_queries", float(seen.test.sum()), note="answerable questions that designs are judged by")
    yield Finding("designs", float(len(seen.cells)))
    yield _chunks(seen)
    yield Finding("stored_tokens", float(first.stored_tokens), note=f"{first.chunking}")
    yield _quality("recall_at_k", seen.mean(first.at_k.recall), f"{first.chunking}")
    yield _quality("ndcg_at_k", seen.mean(first.at_k.ndcg), f"{first.chunking}")
    product = f"k × chunk budget = {seen.options.k} × {first.chunking.chunk_tokens}"
    yield from _sent("", seen, first, first.at_k, _Planned(seen.options.k * first.chunking.chunk_tokens, product))
    yield _quality("recall_at_budget", seen.mean(first.at_budget.recall), f"{first.chunking}")
    yield _quality("chosen_recall_at_budget", seen.mean(chosen.at_budget.recall), f"{chosen.chunking}, best on dev")
    p_value = seen.p_value(chosen.at_budget.recall, first.at_budget.recall)
    yield _quality("chosen_gain_at_budget", _gain(seen), f"over {first.chunking}, paired, p = {p_value:.2g}")
    yield from _sent("chosen_", seen, chosen, chosen.at_budget, _Planned(seen.options.budget_tokens, "the budget"))
    yield _range("recall_range_at_k", seen, [cell.at_k for cell in seen.cells])
    yield _range("recall_range_at_budget", seen, [cell.at_budget for cell in seen.cells])


def _chunks(seen: Measured) -> Finding:
    one, lengths = seen.first.chunking, seen.grid.documents_tokens
    predicted = chunk_count(lengths, size_tokens=one.chunk_tokens, overlap_tokens=one.overlap_tokens)
    formula = "sum over documents of ceil((tokens - overlap) / (size - overlap)), at least 1"
    return Finding("chunks", float(seen.first.chunks), float(predicted), formula=formula, note=f"{one}")


def _quality(name: str, interval: Interval, note: str) -> Finding:
    ends = (interval.low, interval.high)
    return Finding(name, interval.mean, None, *ends, interval.n, weights_matter=True, note=f"{note}; 95 % interval")


@dataclass(frozen=True, slots=True)
class _Planned:
    """How many tokens a design should send, and why."""

    tokens: int
    formula: str


def _sent(prefix: str, seen: Measured, cell: Cell, sent: Sent, planned: _Planned) -> Iterator[Finding]:
    tokens, n = float(sent.tokens.mean()), len(sent.tokens)
    spent, most = seen.cost(tokens), seen.cost(planned.tokens)
    note = f"{cell.chunking}; mean per question, as the embedder counts them"
    yield Finding(f"{prefix}sent_tokens", tokens, planned.tokens, n=n, formula=planned.formula, note=note)
    note = f"sent tokens at {seen.price.name}'s input price; {spent.source}"
    yield Finding(f"{prefix}usd_per_1000_questions", spent.value, most.value, n=n, formula=most.filled, note=note)


def _range(name: str, seen: Measured, sent: list[Sent]) -> Finding:
    means = [_recall(seen, one) for one in sent]
    ends, note = (min(means), max(means)), "best minus worst design; low and high are the recalls of the two"
    return Finding(name, max(means) - min(means), None, *ends, len(means), weights_matter=True, note=note)


def tables(seen: Measured) -> tuple[Table, ...]:
    """Return each choice by itself, then what every design finds with k chunks and within the budget, and stores."""
    single = (_with_k(seen), _at_budget(seen), _stored(seen))
    return (_choices(seen), *single) if len(seen.cells) > 1 else single


def _choices(seen: Measured) -> Table:
    columns = ("choice", "value", "recall_at_k", "sent_tokens", "recall_at_budget", "gain_at_budget", "low", "high")
    note = (
        "mean over all designs with that value; gain: at equal tokens over the first value of the choice, paired by"
        " question, 95 % interval"
    )
    rows = [row for part in PARTS for row in _choice(seen, part)]
    return Table("by choice", columns, tuple(rows), note)


def _choice(seen: Measured, part: str) -> Iterator[Row]:
    groups: dict[str, list[Cell]] = {}
    for cell in seen.cells:
        groups.setdefault(_value(cell, part), []).append(cell)
    if len(groups) < 2:
        return
    means = {value: np.mean([cell.at_budget.recall for cell in cells], axis=0) for value, cells in groups.items()}
    first = next(iter(means.values()))
    for value, cells in groups.items():
        gain = None if means[value] is first else seen.difference(means[value], first)
        at_k = float(np.mean([_recall(seen, cell.at_k) for cell in cells]))
        tokens = round(float(np.mean([cell.at_k.tokens.mean() for cell in cells])))
        recalls = (round(at_k, DIGITS), tokens, round(_mean(seen, means[value]), DIGITS))
        yield (part, value, *recalls, *_three(gain))


def _value(cell: Cell, part: str) -> str:
    one = cell.chunking
    values = {"method": one.method, "chunk_tokens": str(one.chunk_tokens), "overlap_share": f"{one.overlap_share:g}"}
    return values[part]


def _with_k(seen: Measured) -> Table:
    columns = ("design", "recall_at_k", "low", "high", "ndcg_at_k", "sent_tokens", "usd_per_1000_questions")
    rows = []
    for cell in seen.cells:
        ndcg, tokens = _mean(seen, cell.at_k.ndcg), float(cell.at_k.tokens.mean())
        quality = (*_three(seen.mean(cell.at_k.recall)), round(ndcg, DIGITS))
        rows.append((str(cell.chunking), *quality, round(tokens), round(float(seen.cost(tokens).value), 4)))
    note = f"k = {seen.options.k}; 95 % bootstrap interval of the mean over {int(seen.test.sum())} questions"
    return Table("with k chunks", columns, tuple(rows), note)


def _at_budget(seen: Measured) -> Table:
    columns = ("design", "chunks_sent", "sent_tokens", "recall", "gain", "low", "high", "dev_recall")
    rows = []
    first = seen.first.at_budget
    for cell in seen.cells:
        sent = cell.at_budget
        gain = None if sent is first else seen.difference(sent.recall, first.recall)
        counts = (round(float(sent.chunks.mean()), 1), round(float(sent.tokens.mean())))
        dev = round(float(sent.recall[seen.dev].mean()), DIGITS)
        rows.append((str(cell.chunking), *counts, round(_mean(seen, sent.recall), DIGITS), *_three(gain), dev))
    note = (
        f"as many chunks as fit {seen.options.budget_tokens:,} tokens; gain over {seen.first.chunking}, paired by"
        " question, 95 % interval; designs are chosen by dev_recall, which the rest has not seen"
    )
    return Table("at equal tokens", columns, tuple(rows), note if seen.split else note.rpartition(";")[0])


def _stored(seen: Measured) -> Table:
    columns = ("design", "method", "chunk_tokens", "overlap_tokens", "chunks", "vectors", "stored_tokens")
    rows = tuple(
        (str(one.chunking), *_parts(one.chunking), one.chunks, one.vectors, one.stored_tokens) for one in seen.cells
    )
    return Table("stored", columns, rows, "vectors: of chunks; of sentences for small-to-big")


def _parts(one: Chunking) -> tuple[str, int, int]:
    return one.method, one.chunk_tokens, one.overlap_tokens


def _three(interval: Interval | None) -> tuple[float | None, float | None, float | None]:
    if interval is None:
        return None, None, None
    return round(interval.mean, DIGITS), round(interval.low, DIGITS), round(interval.high, DIGITS)


def pictures(seen: Measured) -> tuple[Picture, ...]:
    """Return recall by the tokens that k chunks send, and recall by chunk size at equal tokens."""
    k, budget = seen.options.k, seen.options.budget_tokens
    by_tokens, by_size = [], []
    for method in seen.options.methods:
        cells = [cell for cell in seen.cells if cell.chunking.method == method and _no_overlap(seen, cell)]
        cells.sort(key=lambda cell: cell.chunking.chunk_tokens)
        sizes = tuple(float(cell.chunking.chunk_tokens) for cell in cells)
        tokens = tuple(float(cell.at_k.tokens.mean()) for cell in cells)
        by_tokens.append(Series(method, tokens, tuple(_recall(seen, cell.at_k) for cell in cells)))
        by_size.append(Series(method, sizes, tuple(_recall(seen, cell.at_budget) for cell in cells)))
    label = f"overlap {100 * seen.options.overlap_shares[0]:g} %"
    return (
        Picture(f"Recall with {k} chunks", f"tokens sent per question ({label})", "recall", tuple(by_tokens)),
        Picture(
            f"Recall at {budget:,} tokens sent", f"tokens per chunk ({label})", "recall", tuple(by_size), log_x=True
        ),
    )


def _no_overlap(seen: Measured, cell: Cell) -> bool:
    return cell.chunking.overlap_share == seen.options.overlap_shares[0]


def _recall(seen: Measured, sent: Sent) -> float:
    return _mean(seen, sent.recall)


def _mean(seen: Measured, values: np.ndarray) -> float:
    return float(values[seen.test].mean())


def _gain(seen: Measured) -> Interval:
    return seen.difference(seen.chosen.at_budget.recall, seen.first.at_budget.recall)


def meaning(seen: Measured) -> tuple[str, str]:
    """Return what is left of the differences at equal tokens, and whether the best on dev is better on test."""
    return _ranges(seen), _judged(seen)


def _ranges(seen: Measured) -> str:
    k, budget = seen.options.k, seen.options.budget_tokens
    if len(seen.cells) == 1:
        recall, tokens = seen.mean(seen.first.at_k.recall), seen.first.at_k.tokens.mean()
        return f"{seen.first.chunking} finds {recall.mean:.3f} of the evidence with {k} chunks: {tokens:,.0f} tokens."
    worst, *_, best = sorted(seen.cells, key=lambda cell: _recall(seen, cell.at_k))
    low, high = _recall(seen, worst.at_k), _recall(seen, best.at_k)
    sent = f"sending {worst.at_k.tokens.mean():,.0f} and {best.at_k.tokens.mean():,.0f} tokens"
    at_budget = [_recall(seen, cell.at_budget) for cell in seen.cells]
    left = max(at_budget) - min(at_budget)
    span = f"{min(at_budget):.2f} to {max(at_budget):.2f}"
    apart = f"With {k} chunks recall goes from {low:.2f} ({worst.chunking}) to {high:.2f} ({best.chunking}), {sent}"
    if left < high - low:
        return f"{apart}; at {budget:,} tokens for all the range narrows to {span}: the rest was bought with tokens."
    return f"{apart}; at {budget:,} tokens for all it still goes from {span}: tokens do not explain it."


def _judged(seen: Measured) -> str:
    first, chosen = seen.first.chunking, seen.chosen.chunking
    if len(seen.cells) == 1:
        return "There is nothing to compare it with: give several methods, sizes or overlaps."
    if chosen == first:
        return f"At equal tokens no design beats {first} {'on dev' if seen.split else 'here'}{_clear(seen)}."
    gain = _gain(seen)
    where = ("on dev", "on test by ") if seen.split else ("here", "by ")
    verdict = "within chance" if gain.low <= 0 <= gain.high else "a gain" if gain.low > 0 else "a loss"
    told = f"{chosen}, the best {where[0]} at equal tokens, differs from {first} {where[1]}{gain.mean:+.3f}"
    return f"{told} ({gain.low:+.3f} to {gain.high:+.3f}), {verdict}{_clear(seen)}."


def _clear(seen: Measured) -> str:
    """Name the choices that differ from the first of their kind beyond chance, over the whole grid."""
    rows = [row for part in PARTS for row in _choice(seen, part)]
    if not rows:
        return ""
    first = {str(part): str(value) for part, value, *_, gain, _, _ in rows if gain is None}
    clear = [
        f"{_spoken(str(part), str(value))} instead of {first[str(part)]} ({gain:+.3f})"
        for part, value, *_, gain, low, high in rows
        if isinstance(gain, float) and isinstance(low, float) and isinstance(high, float) and low * high > 0
    ]
    if not clear:
        return "; over the whole grid no single choice differs beyond chance either"
    both = f"{', '.join(clear[:-1])} and {clear[-1]}" if len(clear) > 1 else clear[0]
    return f"; over the whole grid what differs beyond chance is {both}"


def _spoken(part: str, value: str) -> str:
    return {"method": value, "chunk_tokens": f"chunks of {value}", "overlap_share": f"an overlap of {value}"}[part]
