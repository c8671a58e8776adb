from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.retrieval.metrics import (
    average_precision,
    evaluate_run,
    hit_at_k,
    mrr_at_k,
    ndcg_at_k,
    precision_at_k,
    r_precision,
    rank_scores,
    recall_at_k,
    reciprocal_rank,
)
from llmdrill.retrieval.trec import read_qrels, read_run

if TYPE_CHECKING:
    from pathlib import Path

Metric = Callable[..., float]
AT_K = [recall_at_k, precision_at_k, hit_at_k, mrr_at_k, ndcg_at_k]
RANKED = st.lists(st.sampled_from("abcdefgh"), max_size=12)
GRADES = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(-1, 3), max_size=8)
TREC_NAMES = {"map": "map", "recip_rank": "mrr", "Rprec": "r_precision", "ndcg": "ndcg"}
TREC_CUTS = {"P": "precision", "recall": "recall", "success": "hit", "ndcg_cut": "ndcg", "unj": "unjudged"}
KS = [1, 2, 3, 5, 7, 10, 15, 20, 23, 30, 100, 200, 500, 1000, 2000]


def our_name(trec: str) -> str | None:
    measure, _, cut = trec.rpartition("_")
    if cut.isdigit() and measure in TREC_CUTS:
        return f"{TREC_CUTS[measure]}_at_{cut}"
    return TREC_NAMES.get(trec)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (recall_at_k, 0.5),
        (precision_at_k, 1 / 3),
        (hit_at_k, 1.0),
        (mrr_at_k, 0.5),
        (ndcg_at_k, 0.6309297535714575 / 1.6309297535714575),
    ],
)
def test_four_documents_against_two_relevant_at_three(metric: Metric, expected: float) -> None:
    ranked = ["doc_A", "doc_B", "doc_C", "doc_D"]
    assert metric(ranked, {"doc_B": 1, "doc_E": 1}, k=3) == pytest.approx(expected)


@pytest.mark.parametrize("metric", AT_K)
@pytest.mark.parametrize("k", [0, -3])
def test_k_of_zero_or_less_gives_zero(metric: Metric, k: int) -> None:
    assert metric(["a"], {"a": 1}, k=k) == 0.0


@pytest.mark.parametrize("metric", AT_K)
@pytest.mark.parametrize("grades", [{}, {"a": 0, "b": -1}])
def test_nothing_relevant_gives_zero(metric: Metric, grades: dict[str, int]) -> None:
    assert metric(["a", "b"], grades, k=2) == 0.0
    assert average_precision(["a", "b"], grades) == r_precision(["a", "b"], grades) == 0.0


def test_a_repeated_id_gains_nothing_and_keeps_its_place() -> None:
    ranked, grades = ["a", "a", "b"], {"a": 1, "b": 1}
    assert [recall_at_k(ranked, grades, k=k) for k in (1, 2, 3)] == [0.5, 0.5, 1.0]
    assert precision_at_k(ranked, grades, k=2) == 0.5
    assert ndcg_at_k(ranked, grades, k=3) == ndcg_at_k(["a", "x", "b"], grades, k=3)
    assert average_precision(ranked, grades) == average_precision(["a", "x", "b"], grades)


def test_a_k_beyond_the_list_keeps_its_denominator() -> None:
    assert precision_at_k(["a"], {"a": 1}, k=10) == 0.1
    assert recall_at_k(["a"], {"a": 1, "b": 1}, k=10) == 0.5


def test_ndcg_takes_its_ideal_from_all_grades_cut_at_k() -> None:
    assert ndcg_at_k(["a"], {"a": 1, "b": 3, "c": 2}, k=1) == pytest.approx(1 / 3)


def test_the_reciprocal_rank_of_the_whole_list_has_no_cut() -> None:
    assert reciprocal_rank(["x"] * 40 + ["a"], {"a": 1}) == 1 / 41


@given(ranked=RANKED, grades=GRADES, k=st.integers(-1, 15))
def test_every_metric_lies_between_zero_and_one(ranked: list[str], grades: dict[str, int], k: int) -> None:
    values = [metric(ranked, grades, k=k) for metric in AT_K]
    assert all(0 <= v <= 1 + 1e-12 for v in [*values, average_precision(ranked, grades), r_precision(ranked, grades)])


@given(ranked=RANKED, grades=GRADES, k=st.integers(1, 15))
def test_recall_never_falls_with_k(ranked: list[str], grades: dict[str, int], k: int) -> None:
    assert recall_at_k(ranked, grades, k=k) <= recall_at_k(ranked, grades, k=k + 1)


@given(grades=GRADES.filter(lambda grades: any(grade > 0 for grade in grades.values())), k=st.integers(1, 10))
def test_the_ideal_order_scores_one(grades: dict[str, int], k: int) -> None:
    assert ndcg_at_k(sorted(grades, key=lambda item: -grades[item]), grades, k=k) == pytest.approx(1)


@given(scores=st.dictionaries(st.text(max_size=3), st.sampled_from([0.0, 0.5, 1.0])))
def test_ties_stand_by_id_upwards_or_as_in_trec_downwards(scores: dict[str, float]) -> None:
    assert rank_scores(scores) == sorted(sorted(scores), key=lambda item: -scores[item])
    assert rank_scores(scores, ties="trec") == sorted(sorted(scores, reverse=True), key=lambda item: -scores[item])


def test_trec_compares_scores_as_32_bit_floats() -> None:
    assert rank_scores({"a": 1.0 + 1e-9, "b": 1.0}, ties="trec") == ["b", "a"]
    assert rank_scores({"a": 1.0 + 1e-9, "b": 1.0}) == ["a", "b"]


@pytest.mark.parametrize("ties", ["id", "trec"])
def test_a_nan_score_is_refused(ties: str) -> None:
    with pytest.raises(ValueError, match="'b' is NaN"):
        rank_scores({"a": 1.0, "b": float("nan")}, ties=ties)  # type: ignore[arg-type]


def test_a_missing_query_counts_zero_and_one_without_judgements_is_left_out() -> None:
    qrels = {"q1": {"a": 1}, "q2": {"b": 1}, "q3": {"c": 0}}
    result = evaluate_run(qrels, {"q1": {"a": 1.0, "x": 0.5}, "q3": {"c": 1.0}, "q9": {"a": 1.0}}, ks=[2])
    assert (result.n, result.n_missing, result.n_without_relevant) == (3, 1, 1)
    assert result.means["recall_at_2"] == pytest.approx(1 / 3)
    assert result.per_query["q1"]["unjudged_at_2"] == 0.5
    assert set(result.per_query) == {"q1", "q2", "q3"}


SCORED = st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from([0.0, 1.0, 1.0 + 1e-9, 2.0, -np.inf]), max_size=8)
AT = dict(zip(("recall", "precision", "hit", "mrr", "ndcg"), AT_K, strict=True))


@given(
    qrels=st.dictionaries(st.sampled_from("pqrst"), GRADES, min_size=1),
    run=st.dictionaries(st.sampled_from("pqrstu"), SCORED),
    ties=st.sampled_from(["id", "trec"]),
    ks=st.lists(st.integers(-1, 12), unique=True, max_size=3),
)
def test_a_whole_run_scores_as_its_rankings_one_by_one(
    qrels: Any, run: dict[str, dict[str, float]], ties: Any, ks: list[int]
) -> None:
    result = evaluate_run(qrels, run, ks=ks, ties=ties)
    for query, grades in qrels.items():
        ranked, values = rank_scores(run.get(query, {}), ties=ties), result.per_query[query]
        assert values["map"] == pytest.approx(average_precision(ranked, grades))
        assert values["mrr"] == reciprocal_rank(ranked, grades)
        assert values["r_precision"] == r_precision(ranked, grades)
        for k in ks:
            assert values[f"unjudged_at_{k}"] == sum(grades.get(one, -1) < 0 for one in ranked[: max(k, 0)]) / max(k, 1)
            for name, metric in AT.items():
                assert values[f"{name}_at_{k}"] == pytest.approx(metric(ranked, grades, k=k)), (name, k)
    for name, mean in result.means.items():
        assert mean == pytest.approx(np.mean([values[name] for values in result.per_query.values()]))


def test_queries_with_nothing_relevant_can_be_left_out() -> None:
    qrels = {"q1": {"a": 1}, "q2": {"a": 0}, "q3": {}, "q4": {"b": -1}}
    all_of_them = evaluate_run(qrels, {"q1": {"a": 1.0}}, ks=[1])
    some = evaluate_run(qrels, {"q1": {"a": 1.0}}, ks=[1], skip_no_relevant=True)
    assert (all_of_them.n, all_of_them.n_missing, all_of_them.n_without_relevant) == (4, 3, 3)
    assert (some.n, some.n_missing, some.n_without_relevant) == (1, 0, 3)
    assert (all_of_them.means["recall_at_1"], some.means["recall_at_1"]) == (0.25, 1.0)
    assert set(some.per_query) == {"q1"}
    assert evaluate_run({"q": {}}, {}, ks=[1], skip_no_relevant=True).means == {}


def test_the_most_recall_is_below_one_where_more_than_k_are_relevant() -> None:
    qrels = {"q1": dict.fromkeys("abcd", 1), "q2": {"a": 2, "b": 0}}
    result = evaluate_run(qrels, {"q1": {"a": 1.0}}, ks=[1, 2, 4])
    assert result.most_recall == {"recall_at_1": (1 / 4 + 1) / 2, "recall_at_2": 0.75, "recall_at_4": 1.0}


def test_a_nan_in_a_run_is_refused_by_its_document() -> None:
    with pytest.raises(ValueError, match="'b' is NaN"):
        evaluate_run({"q": {"a": 1}, "r": {}}, {"q": {"a": 1.0}, "r": {"b": float("nan")}}, ks=[1])


def expected_values(path: Path) -> dict[tuple[str, str], float]:
    rows = (line.split() for line in path.read_text(encoding="utf-8").splitlines())
    return {(query, name): float(value) for row in rows for name, query, value in [row[:3]] if our_name(name)}


def cut(run: dict[str, dict[str, float]], most: int) -> dict[str, dict[str, float]]:
    return {q: {item: s[item] for item in rank_scores(s, ties="trec")[:most]} for q, s in run.items()}


@pytest.mark.parametrize(
    ("expected", "run", "most", "at_least"),
    [
        ("expected_all_trec.txt", "results.test", 1000, 35),
        ("expected_all_trec_per_query.txt", "results.test", 1000, 130),
        ("expected_out.test.aqc", "results.trunc", 1000, 130),
        ("expected_out.test.aqcM", "results.trunc", 100, 130),
        ("expected_meas_params_per_query.txt", "results.test", 1000, 30),
    ],
)
def test_every_shared_metric_equals_trec_evals_four_decimals(
    ir_data: Path, expected: str, run: str, most: int, at_least: int
) -> None:
    result = evaluate_run(read_qrels(ir_data / "qrels.test"), cut(read_run(ir_data / run), most), ks=KS, ties="trec")
    values = expected_values(ir_data / expected)
    assert len(values) >= at_least
    for (query, name), value in values.items():
        ours = (result.means if query == "all" else result.per_query[query])[our_name(name) or ""]
        assert f"{ours:.4f}" == f"{value:.4f}", (query, name)


def test_relevance_from_level_two_upwards_equals_trec_evals(ir_data: Path) -> None:
    qrels, run = read_qrels(ir_data / "qrels.rel_level"), read_run(ir_data / "results.test")
    level2 = {query: {item: 0 if g == 1 else g for item, g in grades.items()} for query, grades in qrels.items()}
    graded, cut_off = (evaluate_run(judged, run, ks=KS, ties="trec") for judged in (qrels, level2))
    for (query, name), value in expected_values(ir_data / "expected_out.test.aql").items():
        result = graded if name.startswith("ndcg") else cut_off  # trec_eval's level does not touch its gains
        ours = (result.means if query == "all" else result.per_query[query])[our_name(name) or ""]
        assert f"{ours:.4f}" == f"{value:.4f}", (query, name)


@pytest.mark.parametrize("seed", range(3))
def test_random_runs_score_as_in_pytrec_eval(seed: int) -> None:
    pytrec_eval = pytest.importorskip("pytrec_eval")
    rng = np.random.default_rng(seed)
    qrels = {f"q{q}": {f"d{d}": int(rng.integers(0, 4)) for d in rng.integers(0, 60, 15)} for q in range(30)}
    # Few distinct scores: many ties.
    run = {q: {f"d{d}": float(rng.integers(0, 9)) for d in rng.integers(0, 60, rng.integers(1, 50))} for q in qrels}
    cuts = [1, 3, 5, 10, 40, 100]
    names = [*TREC_NAMES, *(f"{name}_{k}" for name in TREC_CUTS if name != "unj" for k in cuts)]
    measures = {*TREC_NAMES, *(f"{name}.{','.join(map(str, cuts))}" for name in TREC_CUTS if name != "unj")}
    oracle = pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(run)
    result = evaluate_run(qrels, run, ks=cuts, ties="trec")
    for query, values in oracle.items():
        ours = {name: result.per_query[query][our_name(name) or ""] for name in names}
        assert ours == pytest.approx({name: values[name] for name in names}, abs=1e-9)
