"""Score a ranked list of ids against graded judgements.

One semantics for all: the first k places are looked at as they are; an id that comes again gains nothing and keeps its
place; a grade of 0 or below, like no grade, is not relevant. k <= 0, or nothing relevant to find, gives 0.0; a k beyond
the list's end keeps its denominator.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import truediv
from typing import Literal

import numpy as np

Grades = Mapping[str, float]  # id -> grade
Qrels = Mapping[str, Grades]  # query -> judgements
Run = Mapping[str, Mapping[str, float]]  # query -> id -> score
Ties = Literal["id", "trec"]


def recall_at_k(ranked: Sequence[str], grades: Grades, *, k: int) -> float:
    """Return the share of the relevant ids that stand among the first k.

    >>> recall_at_k(["doc_A", "doc_B", "doc_C", "doc_D"], {"doc_B": 1, "doc_E": 1}, k=3)
    0.5
    """
    return _recall(_judge(ranked, grades, k), k)


def precision_at_k(ranked: Sequence[str], grades: Grades, *, k: int) -> float:
    """Return the relevant ids among the first k, divided by k.

    >>> precision_at_k(["a", "b"], {"a": 1}, k=4)
    0.25
    """
    return _precision(_judge(ranked, grades, k), k)


def hit_at_k(ranked: Sequence[str], grades: Grades, *, k: int) -> float:
    """Return 1.0 if a relevant id stands among the first k, else 0.0.

    >>> hit_at_k(["a", "b"], {"b": 1}, k=1)
    0.0
    """
    return _hit(_judge(ranked, grades, k), k)


def mrr_at_k(ranked: Sequence[str], grades: Grades, *, k: int) -> float:
    """Return 1 / rank of the first relevant id among the first k, else 0.0; MRR@k is its mean over the queries.

    >>> mrr_at_k(["a", "b"], {"b": 1}, k=2)
    0.5
    """
    return _reciprocal_rank(_judge(ranked, grades, k), k)


def reciprocal_rank(ranked: Sequence[str], grades: Grades) -> float:
    """Return 1 / rank of the first relevant id of the whole list, else 0.0."""
    return mrr_at_k(ranked, grades, k=len(ranked))


def ndcg_at_k(ranked: Sequence[str], grades: Grades, *, k: int) -> float:
    """Return the discounted cumulative gain of the first k, as a share of the best that k places could hold.

    Formula:
        sum over ranks r <= k of grade(r) / log2(r + 1), divided by the same sum over the k highest positive grades
        (linear gain, as trec_eval's ndcg_cut).
    Source:
        Järvelin and Kekäläinen 2002, "Cumulated gain-based evaluation of IR techniques", TOIS 20(4).

    >>> ndcg_at_k(["a", "b"], {"a": 1, "b": 2}, k=1)
    0.5
    """
    return _ndcg(_judge(ranked, grades, k), k)


def average_precision(ranked: Sequence[str], grades: Grades) -> float:
    """Return the mean over the relevant ids of the precision at each one's rank, 0 for those not in the list.

    >>> average_precision(["a", "x", "b"], {"a": 1, "b": 1})
    0.8333333333333333
    """
    return _average_precision(_judge(ranked, grades, len(ranked)))


def r_precision(ranked: Sequence[str], grades: Grades) -> float:
    """Return the precision among the first R, R being the number of relevant ids.

    >>> r_precision(["a", "x", "b"], {"a": 1, "b": 1})
    0.5
    """
    return _r_precision(_judge(ranked, grades, len(ranked)))


def rank_scores(scores: Mapping[str, float], *, ties: Ties = "id") -> list[str]:
    """Return the ids by score, highest first.

    Args:
        scores: Id to score.
        ties: ``id``: equal scores stand in ascending order of id. ``trec``: in descending order, scores compared as
            32-bit floats: what trec_eval does.

    Raises:
        ValueError: If a score is NaN.

    >>> rank_scores({"b": 1.0, "a": 1.0}), rank_scores({"b": 1.0, "a": 1.0}, ties="trec")
    (['a', 'b'], ['b', 'a'])
    """
    if any(map(math.isnan, scores.values())):
        nan = next(item for item, score in scores.items() if math.isnan(score))
        raise ValueError(f"the score of '{nan}' is NaN: it cannot be ranked")
    if ties == "id":
        return sorted(scores, key=lambda item: (-scores[item], item))
    held = np.fromiter(scores.values(), dtype=np.float32, count=len(scores)).tolist()
    return [item for _, item in sorted(zip(held, scores, strict=True), reverse=True)]


@dataclass(frozen=True, slots=True)
class RunMetrics:
    """A run's metrics.

    Attributes:
        per_query: Query to metric to value, for every query of the judgements.
        means: Metric to its mean over all judged queries; one the run lacks counts 0.
        n: Judged queries.
        n_missing: Of them, those the run lacks.
        n_without_relevant: Of them, those with nothing relevant to find, which score 0.
    """

    per_query: Mapping[str, Mapping[str, float]]
    means: Mapping[str, float]
    n: int
    n_missing: int
    n_without_relevant: int


def evaluate_run(qrels: Qrels, run: Run, *, ks: Sequence[int], ties: Ties = "id") -> RunMetrics:
    """Return the metrics of ``run``; its queries without judgements are left out.

    Args:
        qrels: Judgements.
        run: Scores.
        ks: Cut-offs for ``recall_at_k``, ``precision_at_k``, ``hit_at_k``, ``ndcg_at_k`` and ``unjudged_at_k`` (the
            share of the first k without a grade or, as trec_eval has it, with a negative one).
        ties: See ``rank_scores``.
    """
    per_query = {
        query: _query_metrics(rank_scores(run.get(query, {}), ties=ties), grades, ks) for query, grades in qrels.items()
    }
    names = next(iter(per_query.values()), {})
    return RunMetrics(
        per_query,
        {name: math.fsum(values[name] for values in per_query.values()) / len(per_query) for name in names},
        n=len(qrels),
        n_missing=sum(query not in run for query in qrels),
        n_without_relevant=sum(not any(grade > 0 for grade in grades.values()) for grades in qrels.values()),
    )


@dataclass(frozen=True, slots=True)
class _Judged:
    """The ranks, from 1, of what is relevant, their grades, and all positive grades there are, highest first."""

    ranks: Sequence[int]
    gains: Sequence[float]
    ideal: Sequence[float]


def _judge(ranked: Sequence[str], grades: Grades, k: int) -> _Judged:
    relevant = {item: grade for item, grade in grades.items() if grade > 0}
    first: dict[str, int] = {}  # id -> rank at which it first comes
    for item, rank in [(item, rank) for rank, item in enumerate(ranked[: max(k, 0)], start=1) if item in relevant]:
        first.setdefault(item, rank)
    return _Judged(list(first.values()), [grades[item] for item in first], sorted(relevant.values(), reverse=True))


def _query_metrics(ranked: Sequence[str], grades: Grades, ks: Sequence[int]) -> dict[str, float]:
    judged = _judge(ranked, grades, len(ranked))
    values = {
        "average_precision": _average_precision(judged),
        "reciprocal_rank": _reciprocal_rank(judged, len(ranked)),
        "r_precision": _r_precision(judged),
        "ndcg": _ndcg(judged, max(len(ranked), len(judged.ideal))),
    }
    unjudged = [grades.get(item, -1) < 0 for item in ranked]
    for k in ks:
        values[f"recall_at_{k}"] = _recall(judged, k)
        values[f"precision_at_{k}"] = _precision(judged, k)
        values[f"hit_at_{k}"] = _hit(judged, k)
        values[f"ndcg_at_{k}"] = _ndcg(judged, k)
        values[f"unjudged_at_{k}"] = sum(unjudged[:k]) / k if k > 0 else 0.0
    return values


def _found(judged: _Judged, k: int) -> int:
    return bisect_right(judged.ranks, k)


def _recall(judged: _Judged, k: int) -> float:
    return _found(judged, k) / len(judged.ideal) if judged.ideal else 0.0


def _precision(judged: _Judged, k: int) -> float:
    return _found(judged, k) / k if k > 0 else 0.0


def _hit(judged: _Judged, k: int) -> float:
    return float(_found(judged, k) > 0)


def _reciprocal_rank(judged: _Judged, k: int) -> float:
    return 1 / judged.ranks[0] if _found(judged, k) else 0.0


def _ndcg(judged: _Judged, k: int) -> float:
    return ndcg(judged.ranks[: _found(judged, k)], judged.gains, ideal=judged.ideal[: max(k, 0)])


def _average_precision(judged: _Judged) -> float:
    total = sum(found / rank for found, rank in enumerate(judged.ranks, start=1))
    return total / len(judged.ideal) if judged.ideal else 0.0


def _r_precision(judged: _Judged) -> float:
    return _precision(judged, len(judged.ideal))


def ndcg(ranks: Sequence[int], gains: Sequence[float], *, ideal: Sequence[float]) -> float:
    """Return the sum of gain / log2(rank + 1), as a share of the same sum for ``ideal`` at ranks 1, 2, 3, …."""
    best = _discounted(range(1, len(ideal) + 1), ideal)
    return _discounted(ranks, gains) / best if best > 0 else 0.0


def _discounted(ranks: Sequence[int], gains: Sequence[float]) -> float:
    return float(sum(map(truediv, gains, map(_log2_after, ranks))))


@lru_cache(maxsize=4096)
def _log2_after(rank: int) -> float:
    return math.log2(rank + 1)
