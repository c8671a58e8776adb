"""Score a ranked list of ids against graded judgements.

One semantics for all: the first k places are looked at as they are; an id that comes again gains nothing and keeps its
place; a grade of 0 or below, like no grade, is not relevant. k <= 0, or nothing relevant to find, gives 0.0; a k beyond
the list's end keeps its denominator.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, compress, pairwise, repeat
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

Grades = Mapping[str, float]  # id -> grade
Qrels = Mapping[str, Grades]  # query -> judgements
Run = Mapping[str, Mapping[str, float]]  # query -> id -> score
Ints = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float64]
Ties = Literal["id", "trec"]
UNJUDGED: Final = -1.0  # the grade of an id without one; trec_eval reads a negative grade the same way


def recall_at_k(ranked: Sequence[str], grades: Grades, *, k: int) -> float:
    """Return the share of the relevant ids that stand among the first k.

    >>> recall_at_k(["doc_A", "doc_B", "doc_C", "doc_D"], {"doc_B": 1, "doc_E": 1}, k=3)
    0.5
    """
    return float(_judge(ranked, grades).recall(k)[0])


def precision_at_k(ranked: Sequence[str], grades: Grades, *, k: int) -> float:
    """Return the relevant ids among the first k, divided by k.

    >>> precision_at_k(["a", "b"], {"a": 1}, k=4)
    0.25
    """
    return float(_judge(ranked, grades).precision(k)[0])


def hit_at_k(ranked: Sequence[str], grades: Grades, *, k: int) -> float:
    """Return 1.0 if a relevant id stands among the first k, else 0.0.

    >>> hit_at_k(["a", "b"], {"b": 1}, k=1)
    0.0
    """
    return float(_judge(ranked, grades).hit(k)[0])


def mrr_at_k(ranked: Sequence[str], grades: Grades, *, k: int) -> float:
    """Return 1 / rank of the first relevant id among the first k, else 0.0; MRR@k is its mean over the queries.

    >>> mrr_at_k(["a", "b"], {"b": 1}, k=2)
    0.5
    """
    return float(_judge(ranked, grades).reciprocal_rank(k)[0])


def reciprocal_rank(ranked: Sequence[str], grades: Grades) -> float:
    """Return 1 / rank of the first relevant id of the whole list, else 0.0."""
    return float(_judge(ranked, grades).reciprocal_rank()[0])


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
    return float(_judge(ranked, grades).ndcg(k)[0])


def average_precision(ranked: Sequence[str], grades: Grades) -> float:
    """Return the mean over the relevant ids of the precision at each one's rank, 0 for those not in the list.

    >>> average_precision(["a", "x", "b"], {"a": 1, "b": 1})
    0.8333333333333333
    """
    return float(_judge(ranked, grades).average_precision()[0])


def r_precision(ranked: Sequence[str], grades: Grades) -> float:
    """Return the precision among the first R, R being the number of relevant ids.

    >>> r_precision(["a", "x", "b"], {"a": 1, "b": 1})
    0.5
    """
    return float(_judge(ranked, grades).r_precision()[0])


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
        per_query: Query to metric to value, for every query that counts.
        means: Metric to its mean over these queries; one the run lacks counts 0. Empty without a query.
        most_recall: Metric ``recall_at_k`` to the mean of the most that k places allow: below 1 where a query has more
            than k relevant ids.
        n: Queries that count: all judged ones, or those with something relevant.
        n_missing: Of them, those the run lacks.
        n_without_relevant: Judged queries with nothing relevant to find, which score 0 where they count.
    """

    per_query: Mapping[str, Mapping[str, float]]
    means: Mapping[str, float]
    most_recall: Mapping[str, float]
    n: int
    n_missing: int
    n_without_relevant: int


def evaluate_run(
    qrels: Qrels, run: Run, *, ks: Sequence[int], ties: Ties = "id", skip_no_relevant: bool = False
) -> RunMetrics:
    """Return the metrics of ``run``; its queries without judgements are left out.

    Args:
        qrels: Judgements.
        run: Scores.
        ks: Cut-offs for ``recall_at_k``, ``precision_at_k``, ``hit_at_k``, ``mrr_at_k``, ``ndcg_at_k`` and
            ``unjudged_at_k`` (the share of the first k without a grade or, as trec_eval has it, with a negative one).
        ties: See ``rank_scores``.
        skip_no_relevant: Leave out queries with nothing relevant, instead of counting them 0.

    Raises:
        ValueError: If a score is NaN.
    """
    found, ideal = _found(qrels, run, ties), _ideal(list(qrels.values()))
    judged = _Judged(found.where(found.grade > 0), ideal)
    answerable = ideal.count() > 0
    counted = answerable if skip_no_relevant else np.ones_like(answerable)
    columns = {name: values[counted] for name, values in _columns(judged, found, ks).items()}
    queries = list(compress(qrels, counted))
    rows = np.stack(list(columns.values()), axis=1).tolist()  # (n, metrics)
    return RunMetrics(
        {query: dict(zip(columns, row, strict=True)) for query, row in zip(queries, rows, strict=True)},
        {name: _mean(column) for name, column in columns.items() if queries},
        {f"recall_at_{k}": _mean(judged.most_recall(k)[counted]) for k in ks if queries},
        n=len(queries),
        n_missing=sum(query not in run for query in queries),
        n_without_relevant=int((~answerable).sum()),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Places:
    """Places in the rankings of Q queries, best first within a query.

    Attributes:
        queries: Q.
        query: Number of the query that a place belongs to, ascending, (P,).
        rank: From 1, (P,).
        grade: Of the id that stands there, (P,).
    """

    queries: int
    query: Ints
    rank: Ints
    grade: Floats

    def where(self, wanted: npt.NDArray[np.bool_]) -> _Places:
        """Return some of the places: those where ``wanted`` (P,) is true."""
        return _Places(self.queries, self.query[wanted], self.rank[wanted], self.grade[wanted])

    def upto(self, k: float | Ints) -> _Places:
        """Return the places of rank k or better."""
        return self.where(self.rank <= k)

    def count(self) -> Ints:
        """Return how many places each query has, (Q,)."""
        return np.bincount(self.query, minlength=self.queries)

    def total(self, values: Floats) -> Floats:
        """Return the sum of ``values`` (P,) over each query's places, (Q,)."""
        return np.bincount(self.query, values, minlength=self.queries).astype(np.float64, copy=False)

    def gain(self) -> Floats:
        """Return each query's discounted cumulative gain, (Q,)."""
        return self.total(_discounted(self.rank, self.grade))


@dataclass(frozen=True, slots=True, eq=False)
class _Judged:
    """The relevant places that were found, and those of the best ranking there could be. Every metric is (Q,)."""

    found: _Places
    ideal: _Places

    def recall(self, k: int) -> Floats:
        return self.found.upto(k).count() / self._relevant

    def most_recall(self, k: int) -> Floats:
        return self.ideal.upto(k).count() / self._relevant

    def precision(self, k: int) -> Floats:
        return self.found.upto(k).count() / max(k, 1)

    def hit(self, k: int) -> Floats:
        return (self.found.upto(k).count() > 0).astype(np.float64)

    def reciprocal_rank(self, k: float = math.inf) -> Floats:
        first = self.found.where(self._nth == 1).upto(k)
        return first.total(1 / first.rank)

    def ndcg(self, k: float = math.inf) -> Floats:
        best = self.ideal.upto(k).gain()
        return self.found.upto(k).gain() / np.where(best > 0, best, 1)

    def average_precision(self) -> Floats:
        return self.found.total(self._nth / self.found.rank) / self._relevant

    def r_precision(self) -> Floats:
        return self.found.upto(self._relevant[self.found.query]).count() / self._relevant

    @property
    def _relevant(self) -> Ints:
        """Relevant ids of each query, (Q,); 1 where there is none, as nothing can be found there."""
        return np.maximum(self.ideal.count(), 1)

    @property
    def _nth(self) -> Ints:
        """1 at the first place of each query, 2 at its second …, (P,)."""
        return _counted_up(self.found.count())


def _judge(ranked: Sequence[str], grades: Grades) -> _Judged:
    """Judge one ranking, in which an id may come again."""
    first: dict[str, int] = {}
    for rank, item in enumerate(ranked, start=1):
        if grades.get(item, 0) > 0:
            first.setdefault(item, rank)
    ranks = np.fromiter(first.values(), dtype=np.intp)
    gains = np.array([grades[item] for item in first], dtype=np.float64)
    return _Judged(_Places(1, np.zeros_like(ranks), ranks, gains), _ideal([grades]))


def _found(qrels: Qrels, run: Run, ties: Ties) -> _Places:
    """Return every place of the run with the grade of the id that stands there."""
    scored = [run.get(query, {}) for query in qrels]
    grades: list[float] = []
    for judged, scores in zip(qrels.values(), scored, strict=True):
        grades += map(judged.get, scores, repeat(UNJUDGED))
    counts = np.array([len(scores) for scores in scored], dtype=np.intp)
    grade = np.array(grades, dtype=np.float64)
    return _places(counts, grade[_order(scored, counts, grade, ties)])


def _ideal(judged: Sequence[Grades]) -> _Places:
    """Return the places of the best rankings there could be: each query's grades, highest first, if positive."""
    counts = np.array([len(grades) for grades in judged], dtype=np.intp)
    grades = np.fromiter(chain.from_iterable(one.values() for one in judged), dtype=np.float64)
    places = _places(counts, grades[_downwards(grades, counts)])
    return places.where(places.grade > 0)


def _places(counts: Ints, grade: Floats) -> _Places:
    """Return all places of queries that have ``counts`` (Q,) places each, with the grades (P,) there."""
    return _Places(len(counts), np.repeat(np.arange(len(counts)), counts), _counted_up(counts), grade)


def _order(scored: Sequence[Mapping[str, float]], counts: Ints, grade: Floats, ties: Ties) -> Ints:
    """Return an order that puts the grades of each query's ids as ``rank_scores`` puts the ids, (P,)."""
    values = chain.from_iterable(scores.values() for scores in scored)
    scores = np.fromiter(values, dtype=np.float32 if ties == "trec" else np.float64, count=len(grade))
    if np.isnan(scores).any():
        for one in scored:
            rank_scores(one)  # tells whose score it is
    order = _downwards(scores, counts)
    held, query = scores[order], np.repeat(np.arange(len(counts)), counts)
    same = (held[1:] == held[:-1]) & (query[1:] == query[:-1])  # as the place before
    if same.any():
        tie = np.concatenate([[0], np.cumsum(~same)])  # its number, (P,)
        mixed = np.bincount(tie[1:], same & (grade[order][1:] != grade[order][:-1])) > 0  # others need no order
        _settle_ties(order, tie, np.flatnonzero(mixed[tie]), list(chain.from_iterable(scored)), ties)
    return order


def _settle_ties(order: Ints, tie: Ints, places: Ints, ids: Sequence[str], ties: Ties) -> None:
    """Put the ids of each tie among ``places`` in order."""
    items = [ids[number] for number in order[places].tolist()]
    alphabet = {item: number for number, item in enumerate(sorted(set(items), reverse=ties == "trec"))}
    letters = np.fromiter(map(alphabet.__getitem__, items), dtype=np.intp, count=len(items))
    order[places] = order[places][np.argsort(tie[places] * len(alphabet) + letters)]


def _downwards(values: np.ndarray, counts: Ints) -> Ints:
    """Return the order that sorts each query's stretch of ``values`` (P,) downwards; ties stand in any order."""
    order = np.arange(len(values))
    for start, end in pairwise([0, *np.cumsum(counts).tolist()]):
        order[start:end] = start + (-values[start:end]).argsort()  # quicker than one sort by query and value
    return order


def _counted_up(counts: Ints) -> Ints:
    """Return 1, 2, 3 … for each of ``counts`` (Q,) one after the other, (sum,)."""
    return np.arange(1, int(counts.sum()) + 1) - np.repeat(np.cumsum(counts) - counts, counts)


def _columns(judged: _Judged, found: _Places, ks: Sequence[int]) -> dict[str, Floats]:
    unjudged = found.upto(max(ks, default=0))
    unjudged = unjudged.where(unjudged.grade < 0)
    columns = {
        "map": judged.average_precision(),
        "mrr": judged.reciprocal_rank(),
        "r_precision": judged.r_precision(),
        "ndcg": judged.ndcg(),
    }
    for k in ks:
        columns[f"recall_at_{k}"] = judged.recall(k)
        columns[f"precision_at_{k}"] = judged.precision(k)
        columns[f"hit_at_{k}"] = judged.hit(k)
        columns[f"mrr_at_{k}"] = judged.reciprocal_rank(k)
        columns[f"ndcg_at_{k}"] = judged.ndcg(k)
        columns[f"unjudged_at_{k}"] = unjudged.upto(k).count() / max(k, 1)
    return columns


def _mean(column: Floats) -> float:
    return float(column.mean())


def ndcg(ranks: Sequence[int], gains: Sequence[float], *, ideal: Sequence[float]) -> float:
    """Return the sum of gain / log2(rank + 1), as a share of the same sum for ``ideal`` at ranks 1, 2, 3, …."""
    best = _discounted(np.arange(1, len(ideal) + 1), np.asarray(ideal)).sum()
    return float(_discounted(np.asarray(ranks), np.asarray(gains)).sum() / best) if best > 0 else 0.0


def _discounted(rank: Ints, grade: Floats) -> Floats:
    gain: Floats = grade / np.log2(rank + 1)
    return gain
