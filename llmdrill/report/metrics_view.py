"""The metrics of a run as blocks: means, differences from a baseline, counts, and each query on request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdrill.report.blocks import Bullets, Grid, Heading
from llmdrill.retrieval.score_run import notes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmdrill.report.blocks import Block, Blocks
    from llmdrill.retrieval.metrics import RunMetrics
    from llmdrill.retrieval.score_run import ScoredRun


def metrics_view(scored: ScoredRun, *, per_query: bool = False) -> Blocks:
    """Show a scored run."""
    blocks: list[Block] = [Heading(f"{scored.run_file} against {scored.qrels_file}", 1)]
    blocks.append(_compared(scored) if scored.baseline else _means(scored.metrics))
    blocks.append(Bullets(tuple(_counts(scored))))
    told = tuple(notes(scored))
    blocks += [Bullets(told, "warn")] if told else []
    return (*blocks, *(_each_query(scored.metrics, scored.ks) if per_query else ()))


def _means(metrics: RunMetrics) -> Grid:
    rows = tuple((name, f"{value:.4f}") for name, value in metrics.means.items())
    return Grid(("metric", ">mean"), rows)


def _compared(scored: ScoredRun) -> Grid:
    """Show both runs and, where there is a query to compare on, how sure the difference is."""
    metrics, baseline = scored.metrics.means, scored.baseline.means if scored.baseline else {}
    rows = [
        (
            name,
            f"{metrics[name]:.4f}",
            f"{baseline[name]:.4f}",
            f"{one.difference.mean:+.4f}",
            f"{one.difference.low:+.4f}",
            f"{one.difference.high:+.4f}",
            f"{one.p_value:.2g}",
            f"{one.wins}:{one.losses}",
        )
        for name, one in scored.differences.items()
    ]
    columns = ("metric", ">mean", ">baseline", ">difference", ">low", ">high", ">p", ">won:lost")
    note = f"baseline: {scored.baseline_file}; low and high: 95 % paired bootstrap interval; p: permutation test"
    return Grid(columns, tuple(rows), note=note)


def _counts(scored: ScoredRun) -> Iterator[str]:
    metrics = scored.metrics
    yield f"n = {metrics.n} queries count; ties by {'trec_eval' if scored.ties == 'trec' else 'id'}"
    other = f" ({scored.baseline.n_missing} in the baseline)" if scored.baseline else ""
    yield f"n_missing = {metrics.n_missing}{other}: judged, but not in the run; each counts 0"
    yield f"n_without_relevant = {metrics.n_without_relevant}: judged, with nothing relevant to find"
    yield f"n_not_judged = {scored.n_not_judged}: in the run without judgements; left out"


def _each_query(metrics: RunMetrics, ks: tuple[int, ...]) -> Iterator[Block]:
    """Yield a table for the whole list and one for each k."""
    names = list(metrics.means)
    ends = [f"_at_{k}" for k in ks]
    yield _table(metrics, "Each query", {name: name for name in names if "_at_" not in name})
    for k, end in zip(ks, ends, strict=True):
        yield _table(metrics, f"Each query at {k}", {n: n.removesuffix(end) for n in names if n.endswith(end)})


def _table(metrics: RunMetrics, title: str, headers: dict[str, str]) -> Grid:
    rows = tuple((query, *(f"{values[name]:.4f}" for name in headers)) for query, values in metrics.per_query.items())
    return Grid(("query", *(f">{header}" for header in headers.values())), rows, title)
