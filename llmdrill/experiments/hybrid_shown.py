"""What `llmdrill lab hybrid` shows: tables, pictures and two sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from llmdrill.experiments.hybrid_run import EVEN_WEIGHT, NAMES
from llmdrill.picture import Picture, Series
from llmdrill.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from llmdrill.experiments.hybrid_run import Judged, Way
    from llmdrill.retrieval.compare import Paired

DECIMALS: Final = 4  # of a table
ALPHA: Final = 0.05
READABLE: Final = {"exact_code": "exact codes", "multi_document": "several documents"}


def tables(seen: Judged) -> Iterator[Table]:
    """Yield the ways side by side, by kind of question, and both sweeps."""
    yield _ways(seen)
    if len(kinds(seen)) > 1:
        yield _by_kind(seen)
        yield _differences(seen)
    yield _swept(seen, "dense_weight", seen.swept.linear, chosen=seen.weight)
    yield _swept(seen, "rrf_k", seen.swept.rrf, chosen=seen.rrf_k)


def kinds(seen: Judged) -> tuple[str, ...]:
    """Return the kinds of the questions that are judged by, in the order in which they first come."""
    return tuple(dict.fromkeys(question.kind for question in seen.test))


def _ways(seen: Judged) -> Table:
    """Show each way's metrics; a way that comes twice, because the usual setting was chosen, is shown once."""
    ways: dict[str, Way] = {
        "dense": seen.dense,
        "sparse": seen.sparse,
        "rrf, k = 60": seen.rrf,
        f"rrf, k = {seen.rrf_k}": seen.swept.rrf[seen.rrf_k].of(seen.test),
        f"linear, weight {EVEN_WEIGHT:g}": seen.swept.linear[EVEN_WEIGHT].of(seen.test),
        f"linear, weight {seen.weight:g}": seen.linear,
    }
    rows: list[tuple[str | float, ...]] = []
    for name, way in ways.items():
        ndcg = way.interval("ndcg", seed=seen.seed)
        figures = (way.mean("evidence_recall"), way.mean("mrr"), ndcg.mean, ndcg.low, ndcg.high)
        rows.append((name, *(round(one, DECIMALS) for one in figures)))
    note = "low and high: 95 % bootstrap interval of nDCG over the questions"
    return Table("ways", ("way", *NAMES, "low", "high"), tuple(rows), note)


def _by_kind(seen: Judged) -> Table:
    ways = (seen.dense, seen.sparse, seen.rrf, seen.linear)
    rows: tuple[tuple[str | float, ...], ...] = tuple(
        (
            kind,
            len(seen.dense.values("evidence_recall", kind=kind)),
            *(round(way.mean("evidence_recall", kind=kind), DECIMALS) for way in ways),
        )
        for kind in kinds(seen)
    )
    note = f"recall at k; rrf with k = 60, linear with weight {seen.weight:g}"
    return Table("by kind of question", ("kind", "n", *(way.name for way in ways)), rows, note)


def _differences(seen: Judged) -> Table:
    rows: list[tuple[str | float, ...]] = []
    for kind in kinds(seen):
        for way, other in ((seen.sparse, seen.dense), (seen.linear, seen.dense), (seen.linear, seen.sparse)):
            found = way.against(other, "evidence_recall", seed=seen.seed, kind=kind)
            ends = (found.difference.mean, found.difference.low, found.difference.high)
            difference = tuple(round(end, DECIMALS) for end in ends)
            rows.append((kind, f"{way.name} - {other.name}", *difference, float(f"{found.p_value:.2g}")))
    note = "of recall at k, paired by question: 95 % bootstrap interval, p by a permutation test"
    return Table("differences by kind", ("kind", "ways", "difference", "low", "high", "p"), tuple(rows), note)


def _swept(seen: Judged, setting: str, ways: Mapping[float, Way] | Mapping[int, Way], *, chosen: float) -> Table:
    parts = {"dev": seen.dev, "test": seen.test} if seen.dev else {"all": seen.test}
    columns = [f"{part}_{name}" for part in parts for name in ("recall_at_k", "ndcg_at_k")]
    rows = []
    for value, way in ways.items():
        found = [way.of(part).mean(metric) for part in parts.values() for metric in (NAMES["recall_at_k"], "ndcg")]
        rows.append((value, *(round(mean, DECIMALS) for mean in found)))
    note = f"{chosen:g} was chosen on dev; test was not looked at for that" if seen.dev else "nothing was chosen"
    return Table(f"by {setting.replace('_', ' ')}", (setting, *columns), tuple(rows), note)


def pictures(seen: Judged) -> tuple[Picture, ...]:
    """Return recall by kind of question, and nDCG by the weight of vectors."""
    shown = kinds(seen)
    at = tuple(map(float, range(len(shown))))
    bars = tuple(
        Series(way.name, at, tuple(way.mean("evidence_recall", kind=kind) for kind in shown))
        for way in (seen.dense, seen.sparse, seen.linear)
    )
    parts = {"dev": seen.dev, "test": seen.test} if seen.dev else {"all questions": seen.test}
    weights = tuple(seen.swept.linear)
    lines = tuple(
        Series(name, weights, tuple(way.of(part).mean("ndcg") for way in seen.swept.linear.values()))
        for name, part in parts.items()
    )
    by_kind = Picture("Recall by kind of question", "", "recall at k", bars, "bars", shown)
    by_weight = Picture("Linear fusion", "weight of vectors", "nDCG at k", lines)
    return (by_kind, by_weight) if len(shown) > 1 else (by_weight,)


def meaning(seen: Judged) -> tuple[str, str]:
    """Say whether fusion pays here, and which kinds of question it is that the two sides lose."""
    paired = seen.linear.against(seen.single, "ndcg", seed=seen.seed)
    single, fused = seen.single.mean("ndcg"), seen.linear.mean("ndcg")
    how = f"the weight {seen.weight:g} for vectors{' that dev chose' if seen.dev else ''}"
    other = "vectors" if seen.single.name == "dense" else "keywords"
    said = f"On {len(seen.test)} questions linear fusion with {how} has an nDCG@{seen.swept.k} of {fused:.3f}"
    if paired.wins == paired.losses == 0:
        return f"{said}, and so have {other} alone, on every question.", _kinds_sentence(seen)
    pace = "above" if fused > single else "below" if fused < single else "as high as"
    gap = f"a difference of {_interval(paired)}, {_sure(paired)}"
    return f"{said}, {pace} the {single:.3f} of {other} alone: {gap}.", _kinds_sentence(seen)


def _interval(paired: Paired) -> str:
    difference = paired.difference
    return f"{difference.mean:+.3f} (95 % from {difference.low:+.3f} to {difference.high:+.3f})"


def _sure(paired: Paired) -> str:
    return "more than chance explains" if paired.p_value < ALPHA else "which chance may explain"


def _kinds_sentence(seen: Judged) -> str:
    shown = kinds(seen)
    if len(shown) == 1:
        rrf, linear = seen.rrf.mean("ndcg"), seen.linear.mean("ndcg")
        return f"Reciprocal rank fusion has {rrf:.3f} against {linear:.3f}; the questions carry no kinds to tell apart."
    gaps = {
        kind: seen.sparse.mean("evidence_recall", kind=kind) - seen.dense.mean("evidence_recall", kind=kind)
        for kind in shown
    }
    best, worst = max(gaps, key=gaps.__getitem__), min(gaps, key=gaps.__getitem__)
    if gaps[best] > 0 > gaps[worst]:
        return (
            f"Keywords are furthest ahead of vectors on {_named(best)} (recall {_recalls(seen, best)}) and furthest"
            f" behind on {_named(worst)} ({_recalls(seen, worst)})."
        )
    ahead, behind, kind = ("Keywords", "vectors", best) if gaps[best] > 0 else ("Vectors", "keywords", worst)
    if not gaps[kind]:
        return "On every kind of question vectors and keywords have the same recall."
    return (
        f"{ahead} fall behind {behind} on no kind of question; they are furthest ahead on {_named(kind)}, where recall"
        f" is {_recalls(seen, kind)}."
    )


def _named(kind: str) -> str:
    return READABLE.get(kind, f"{kind} questions")


def _recalls(seen: Judged, kind: str) -> str:
    sparse, dense = (way.mean("evidence_recall", kind=kind) for way in (seen.sparse, seen.dense))
    p_value = seen.sparse.against(seen.dense, "evidence_recall", seed=seen.seed, kind=kind).p_value
    return f"{sparse:.2f} by keywords against {dense:.2f} by vectors, p = {p_value:.2g}"
