"""What `llmdrill lab ann` makes of its runs: figures beside their closed forms, tables, the picture, two sentences."""

from __future__ import annotations

import math
from statistics import mean, median, stdev
from typing import TYPE_CHECKING, Final

from llmdrill.estimate.explain import figure
from llmdrill.estimate.index_memory import IndexDesign, explain_index_memory, index_parts
from llmdrill.estimate.index_work import build_distances, build_seconds, query_distances
from llmdrill.experiments.result import Finding
from llmdrill.picture import Picture, Series
from llmdrill.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmdrill.estimate.index_memory import IndexKind, VectorType
    from llmdrill.experiments.ann import AnnOptions, AnnResult
    from llmdrill.lab.ann_child import AnnRun, BuiltIndex, Searched

Z_95: Final = 1.96
MS_PER_S: Final = 1000.0
DESIGNS: Final[dict[str, tuple[IndexKind, VectorType]]] = {
    "fp32": ("flat", "fp32"),
    "int8": ("flat", "int8"),
    "binary": ("flat", "binary"),
    "hnsw": ("hnsw", "fp32"),
}
KEY_OF: Final = {"exact": "exact", "int8": "int8", "binary": "binary", "binary, rescored": "binary_rescored"}


def ann_findings(found: AnnResult) -> Iterator[Finding]:
    """Yield every figure: recall and speed of each way, bytes of each index, and when the graph pays off."""
    exact, chosen = _way(found.real, "exact"), best_walk(found)
    for one in _main_ways(found)[1:]:
        yield _recall(f"{KEY_OF.get(one.way, 'hnsw')}_recall_share", one)
    for one in _main_ways(found):
        yield _speed(f"{KEY_OF.get(one.way, 'hnsw')}_queries_per_s", one.alone_s, "one query at a time, on one thread")
    for one in _main_ways(found):
        yield _speed(
            f"{KEY_OF.get(one.way, 'hnsw')}_batch_queries_per_s", one.batch_s, "many queries at once, on one thread"
        )
    for index in found.real.indexes:
        yield _bytes(found, index)
    yield from _graph_findings(found, exact, chosen)
    if chosen is not None:
        random = _way(found.random, "hnsw", chosen.setting)
        yield _recall("random_hnsw_recall_share", random, of_texts=False)
        note = "the same for questions that people would ask of this library"
        yield _recall("hnsw_question_recall_share", chosen, shares=chosen.found_by_questions, note=note)
    rescored = _main_ways(found)[3]
    yield _recall(
        "random_binary_rescored_recall_share", _way(found.random, rescored.way, rescored.setting), of_texts=False
    )
    note = "in how many directions neighbours spread (Levina and Bickel); it compares sets, it is no absolute"
    for name, run in (("intrinsic_dimension", found.real), ("random_intrinsic_dimension", found.random)):
        of_texts = run is found.real
        yield Finding(
            name, run.locality.intrinsic_dimension, n=found.options.queries, weights_matter=of_texts, note=note
        )


def best_walk(found: AnnResult) -> Searched | None:
    """Return the walk through the graph with the least candidates that finds the target share, else the widest."""
    return _least(found, "hnsw")


def _least(found: AnnResult, way: str) -> Searched | None:
    settings = [one for one in found.real.searches if one.way == way]  # in rising order
    enough = (one for one in settings if mean(one.found) >= found.options.target_share)
    return next(enough, settings[-1] if settings else None)


def break_even(*, build_s: float, exact_s: float, graph_s: float) -> float | None:
    """Return after how many queries a graph has saved the time of its building; None if it saves nothing a query.

    Formula:
        build_s / (exact_s - graph_s), times of one query

    Source:
        Arithmetic.

    >>> break_even(build_s=2.0, exact_s=0.75, graph_s=0.25)
    4.0
    """
    return build_s / (exact_s - graph_s) if exact_s > graph_s else None


def _main_ways(found: AnnResult) -> list[Searched]:
    """Return exact, int8, binary, binary rescored and the graph, these two with the least candidates that will do."""
    named = [_way(found.real, name) for name in ("exact", "int8", "binary")]
    return [*named, *(one for one in (_least(found, "binary, rescored"), best_walk(found)) if one is not None)]


def _way(run: AnnRun, name: str, setting: int | None = None) -> Searched:
    return next(one for one in run.searches if one.way == name and (setting is None or one.setting == setting))


def _alone_s(one: Searched) -> float:
    return median(one.alone_s)


def _what(one: Searched) -> str:
    """Return a way and its setting in words."""
    match one.way:
        case "hnsw":
            return f"a walk with ef_search {one.setting}"
        case "binary, rescored":
            return f"the best {one.setting} by their signs, rescored by fp32"
        case "exact":
            return "every vector in fp32"
        case other:
            return f"every vector in {other}"


def _recall(
    name: str, one: Searched, *, of_texts: bool = True, shares: Sequence[float] | None = None, note: str = ""
) -> Finding:
    found = one.found if shares is None else shares
    low, high = _interval(found)
    note = f"{note or f'of the true first k, {_what(one)}'}; low and high: 95 % interval over queries"
    return Finding(name, mean(found), None, low, high, len(found), weights_matter=of_texts, note=note)


def _interval(shares: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of a mean share, by the normal approximation, within 0 and 1."""
    half = Z_95 * stdev(shares) / math.sqrt(len(shares))
    return max(0.0, mean(shares) - half), min(1.0, mean(shares) + half)


def _speed(name: str, seconds: Sequence[float], note: str) -> Finding:
    rates = [1 / one for one in seconds]
    return Finding(
        name, median(rates), None, min(rates), max(rates), len(rates), note=f"{note}; low and high over rounds"
    )


def design_of(options: AnnOptions, name: str, *, dimensions: int) -> IndexDesign:
    """Return what the estimate takes an index for."""
    kind, dtype = DESIGNS[name]
    return IndexDesign(kind, vectors=options.vectors, dimensions=dimensions, dtype=dtype, links=options.links)


def _bytes(found: AnnResult, index: BuiltIndex) -> Finding:
    parts = index_parts(design_of(found.options, index.name, dimensions=found.dimensions))
    explained = explain_index_memory(parts)
    note = "of the arrays" if index.name != "hnsw" else "as Faiss writes the index"
    return Finding(
        f"{index.name}_bytes", float(index.nbytes), explained.value, formula=explained.filled, n=1, note=note
    )


def _graph_findings(found: AnnResult, exact: Searched, chosen: Searched | None) -> Iterator[Finding]:
    index = next((one for one in found.real.indexes if one.name == "hnsw"), None)
    if index is None or chosen is None or chosen.setting is None:
        return
    design, ef = design_of(found.options, "hnsw", dimensions=found.dimensions), found.options.ef_construction
    distances, built = build_distances(design, ef_construction=ef), build_seconds(design, ef_construction=ef)
    if built is None:
        return
    asked = query_distances(design, ef_search=chosen.setting)
    walk_s = asked * built.value_s / distances
    yield Finding(
        "hnsw_build_s",
        index.build_s,
        built.value_s,
        n=1,
        formula=f"build_distances × (50 ns + 0.3 ns × dimensions) = {figure(distances)} × "
        f"{built.value_s / distances * 1e9:.3g} ns = {built.value_s:.3g} s",
        note="on one thread; predicted for one core of an x86 server",
    )
    yield Finding(
        "hnsw_query_ms",
        _alone_s(chosen) * MS_PER_S,
        walk_s * MS_PER_S,
        min(chosen.alone_s) * MS_PER_S,
        max(chosen.alone_s) * MS_PER_S,
        len(chosen.alone_s),
        f"query_distances × (50 ns + 0.3 ns × dimensions) = {figure(asked)} × "
        f"{built.value_s / distances * 1e9:.3g} ns = {walk_s * MS_PER_S:.3g} ms",
        note=f"{_what(chosen)}, one query at a time; low and high over rounds",
    )
    yield Finding("hnsw_ef_search", float(chosen.setting), note="the least that found the target share, or the most")
    exact_s = _alone_s(exact)
    yield Finding(
        "break_even_queries",
        break_even(build_s=index.build_s, exact_s=exact_s, graph_s=_alone_s(chosen)),
        break_even(build_s=built.value_s, exact_s=exact_s, graph_s=walk_s),
        formula="build / (exact query − walk) = "
        f"{built.value_s:.3g} s / ({exact_s * MS_PER_S:.3g} ms measured − {walk_s * MS_PER_S:.3g} ms)",
        note="asked one at a time until the graph has saved the time of its building; unknown if it saves none",
    )


def ann_tables(found: AnnResult) -> Iterator[Table]:
    """Yield every way to search, every index, and what neighbourhoods are like."""
    rows = []
    for one, other in zip(found.real.searches, found.random.searches, strict=True):
        low, high = _interval(one.found)
        speeds = (round(1 / median(seconds)) for seconds in (one.alone_s, one.batch_s))
        shares = (round(share, 4) for share in (mean(one.found), low, high))
        others = (round(mean(shown), 4) for shown in (one.found_by_questions, other.found))
        rows.append((one.way, one.setting, *shares, *speeds, *others))
    columns = ("way", "setting", "recall_share", "low", "high", "queries_per_s", "batch_queries_per_s")
    note = (
        "setting: candidates that are rescored by fp32 (or int8), or ef_search; low and high: 95 % interval over"
        f" queries; question: recall for questions in people's words; random: over {found.random_count:,} random"
        " vectors"
    )
    yield Table("searches", (*columns, "question_recall_share", "random_recall_share"), tuple(rows), note)
    full = next(one.nbytes for one in found.real.indexes if one.name == "fp32")
    yield Table(
        "indexes",
        ("index", "bytes", "share_of_fp32", "build_s"),
        tuple((one.name, one.nbytes, round(one.nbytes / full, 4), round(one.build_s, 4)) for one in found.real.indexes),
        "rescoring also reads the candidates' rows of the fp32 (or int8) vectors, in memory or on a disk",
    )
    yield Table(
        "neighbourhoods",
        ("vectors", "nearest_cosine", "tenth_cosine", "any_cosine", "intrinsic_dimension"),
        tuple(
            (name, *(round(value, 3) for value in (at.nearest, at.kth, at.typical)), round(at.intrinsic_dimension, 1))
            for name, at in (("texts", found.real.locality), ("random", found.random.locality))
        ),
        "medians over queries",
    )


def ann_pictures(found: AnnResult) -> tuple[Picture, ...]:
    """Return recall against queries per second."""
    named = (
        ("exact", found.real, "exact"),
        ("int8", found.real, "int8"),
        ("binary, rescored", found.real, "binary, rescored"),
        ("HNSW", found.real, "hnsw"),
        ("HNSW, random vectors", found.random, "hnsw"),
    )
    series = []
    for name, run, way in named:
        points = [one for one in run.searches if one.way == way]
        if points:
            rates = tuple(1 / _alone_s(one) for one in points)
            series.append(Series(name, rates, tuple(mean(one.found) for one in points)))
    return (Picture("Recall by speed", "queries per second, one at a time", "recall share", tuple(series), log_x=True),)


def ann_meaning(found: AnnResult) -> tuple[str, str]:
    """Return what the graph, or fewer bytes, buy here, and what random vectors would have said."""
    return _gain(found), _trap(found)


def _gain(found: AnnResult) -> str:
    options, (exact, int8, _, rescored, *walks) = found.options, _main_ways(found)
    over = f"Over {options.vectors:,} vectors of real texts"
    bits = (
        f"binary vectors with {rescored.setting} rescored find {mean(rescored.found):.1%} of the true first"
        f" {options.k} at {_times(exact, rescored)} times the speed of the exact scan"
    )
    if not walks:
        return f"{over} int8 finds {mean(int8.found):.1%} in a quarter of the memory, and {bits}."
    walk = walks[0]
    index = next(one for one in found.real.indexes if one.name == "hnsw")
    pays = break_even(build_s=index.build_s, exact_s=_alone_s(exact), graph_s=_alone_s(walk))
    graph = (
        f"{over} HNSW finds {mean(walk.found):.1%} of the true first {options.k}, {mean(walk.found_by_questions):.1%}"
        f" for people's questions, at {_times(exact, walk)} times the speed of"
    )
    if pays is None:
        return f"{graph} the exact scan, so it never pays off here; {bits}."
    return f"{graph} the exact scan and pays off after {figure(float(f'{pays:.2g}'))} queries; {bits}."


def _times(slow: Searched, fast: Searched) -> str:
    """Return how many times as fast one way is as another, to two digits."""
    return figure(float(f"{_alone_s(slow) / _alone_s(fast):.2g}"))


def _trap(found: AnnResult) -> str:
    chosen, rescored = best_walk(found), _main_ways(found)[3]
    judged = chosen or rescored
    name = "graph" if chosen else "binary vectors"
    random = _way(found.random, judged.way, judged.setting)
    real_share, random_share = mean(judged.found), mean(random.found)
    spread = (
        f"their neighbours spread in {found.random.locality.intrinsic_dimension:.0f} directions, those of texts in"
        f" {found.real.locality.intrinsic_dimension:.0f}"
    )
    same = f"On {found.random_count:,} random vectors the same {name} at the same setting"
    if random_share < real_share:
        return f"{same} would have found {random_share:.1%}: {spread}, so never judge an index by random vectors."
    return f"{same} found {random_share:.1%}, no less than on texts here, although {spread}."


def ann_notes(found: AnnResult) -> Iterator[str]:
    """Yield where vectors and queries came from, and what transfers and what does not."""
    options = found.options
    prose = options.vectors + options.queries - found.code
    code = f" and {found.code:,} stretches of its code" if found.code else ""
    yield (
        f"texts: {prose:,} sentences of docstrings and comments of this Python's standard library{code}; queries are"
        " texts of the same kind that are not among the vectors; the questions are those of the corpus pydoc"
    )
    if found.work is not None:
        yield f"{found.work.fresh:,} texts were embedded anew in {found.work.seconds:.0f} s; they are kept"
    yield (
        "all on one thread of a fresh process; scans are numpy's, and numpy multiplies no bytes, so int8 is here for"
        " its memory, not its speed; the graph is Faiss's"
    )
    yield "recall counts a vector as found if it is as near as the true k-th: ties are no misses"
    if found.real.why_no_graph:
        yield f"no HNSW: {found.real.why_no_graph}"
