"""Score the files of an evaluation: a run against judgements, and against another run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmdrill.errors import ContentError, Mistake
from llmdrill.retrieval.compare import compare_all
from llmdrill.retrieval.metrics import evaluate_run
from llmdrill.retrieval.trec import read_qrels, read_run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from llmdrill.retrieval.compare import Paired
    from llmdrill.retrieval.metrics import RunMetrics, Ties


@dataclass(frozen=True, slots=True)
class ScoredRun:
    """A run's metrics, and how they differ from a baseline's.

    Attributes:
        n_not_judged: Queries of the run that have no judgements: they are left out.
        baseline: Metrics of the other run; None without one.
        differences: Metric to this run minus the other; empty without one.
    """

    qrels_file: str
    run_file: str
    baseline_file: str | None
    ks: tuple[int, ...]
    ties: Ties
    metrics: RunMetrics
    n_not_judged: int
    baseline: RunMetrics | None
    differences: Mapping[str, Paired]


def score_run(
    qrels_file: Path,
    run_file: Path,
    *,
    baseline_file: Path | None = None,
    ks: Sequence[int],
    ties: Ties = "id",
    skip_no_relevant: bool = False,
    seed: int = 0,
) -> ScoredRun:
    """Read judgements and runs, and score them.

    Args:
        qrels_file: See ``read_qrels``.
        run_file: See ``read_run``.
        baseline_file: Another run to compare with, query by query.
        ks: See ``evaluate_run``.
        ties: See ``rank_scores``.
        skip_no_relevant: See ``evaluate_run``.
        seed: Of the intervals and the permutation test.

    Raises:
        ContentError: If a file is unreadable or malformed, or no query counts.
    """
    qrels, run = read_qrels(qrels_file), read_run(run_file)
    metrics = evaluate_run(qrels, run, ks=ks, ties=ties, skip_no_relevant=skip_no_relevant)
    if not metrics.n:
        raise ContentError([Mistake(str(qrels_file), 1, 1, "", "no query has anything relevant: there is no mean")])
    baseline = None
    if baseline_file is not None:
        other = read_run(baseline_file)
        baseline = evaluate_run(qrels, other, ks=ks, ties=ties, skip_no_relevant=skip_no_relevant)
    return ScoredRun(
        qrels_file=str(qrels_file),
        run_file=str(run_file),
        baseline_file=None if baseline_file is None else str(baseline_file),
        ks=tuple(ks),
        ties=ties,
        metrics=metrics,
        n_not_judged=len(run.keys() - qrels.keys()),
        baseline=baseline,
        differences=_differences(metrics, baseline, seed) if baseline else {},
    )


def _differences(metrics: RunMetrics, baseline: RunMetrics, seed: int) -> dict[str, Paired]:
    def columns(of: RunMetrics) -> dict[str, list[float]]:
        return {name: [values[name] for values in of.per_query.values()] for name in of.means}

    return compare_all(columns(metrics), columns(baseline), seed=seed)


def figures(scored: ScoredRun) -> dict[str, float]:
    """Return every single figure by its name: what a script can hold to a limit.

    With a baseline, ``NAME_difference`` (this run minus the other), the ends of its 95 % interval
    ``NAME_difference_low`` and ``NAME_difference_high``, and ``NAME_p`` stand beside each metric.
    """
    metrics = scored.metrics
    counts = {"n": metrics.n, "n_missing": metrics.n_missing, "n_without_relevant": metrics.n_without_relevant}
    most = {f"most_{name}": value for name, value in metrics.most_recall.items()}
    found = {**metrics.means, **most, **counts, "n_not_judged": scored.n_not_judged}
    for name, paired in scored.differences.items():
        interval = paired.difference
        found |= {f"{name}_difference": interval.mean, f"{name}_p": paired.p_value}
        found |= {f"{name}_difference_low": interval.low, f"{name}_difference_high": interval.high}
    return found


def notes(scored: ScoredRun) -> Iterator[str]:
    """Yield what a reader must know of the means."""
    metrics = scored.metrics
    if metrics.n_missing == metrics.n:
        yield "the run has none of the judged queries: are these files of the same collection?"
    for name, most in metrics.most_recall.items():
        if round(most, 4) < 1:
            k = name.rpartition("_")[2]
            why = f"a query with more than {k} relevant documents, or none, cannot reach 1"
            yield f"{name} could be {most:.4f} at most: {why}"


def score_json(scored: ScoredRun, *, per_query: bool = False) -> dict[str, Any]:
    """Return the result as one object: the means by name, then counts, notes and what was asked for."""
    metrics, baseline = scored.metrics, scored.baseline
    counts = {"n": metrics.n, "n_missing": metrics.n_missing, "n_without_relevant": metrics.n_without_relevant}
    found: dict[str, Any] = {
        "schema": "llmdrill/metrics@1",
        "qrels": scored.qrels_file,
        "run": scored.run_file,
        "k": scored.ks,
        "ties": scored.ties,
        **metrics.means,
        **{f"most_{name}": value for name, value in metrics.most_recall.items()},
        **counts,
        "n_not_judged": scored.n_not_judged,
        "notes": list(notes(scored)),
    }
    if baseline:
        found["baseline"] = {"run": scored.baseline_file, **baseline.means, "n_missing": baseline.n_missing}
        found["difference"] = {
            name: {
                "mean": one.difference.mean,
                "low": one.difference.low,
                "high": one.difference.high,
                "p": one.p_value,
                "wins": one.wins,
                "losses": one.losses,
            }
            for name, one in scored.differences.items()
        }
    return {**found, "per_query": metrics.per_query} if per_query else found
