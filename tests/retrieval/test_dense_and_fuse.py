from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.retrieval.dense import dense_top_k, top_k
from llmdrill.retrieval.fuse import min_max_linear, reciprocal_rank_fusion

RANKINGS = st.lists(st.lists(st.sampled_from("abcdef"), unique=True), max_size=5)
SCORES = st.dictionaries(st.sampled_from("abcdef"), st.floats(-1e6, 1e6), max_size=6)


@given(scores=st.lists(st.sampled_from([0.0, 0.25, 0.5, -1.0]), max_size=30), k=st.integers(-1, 40))
def test_top_k_is_the_head_of_the_full_order_by_score_then_index(scores: list[float], k: int) -> None:
    expected = sorted(range(len(scores)), key=lambda i: (-scores[i], i))[: max(k, 0)]
    best = top_k(np.array(scores), k=k)
    assert best.indices.tolist() == expected
    assert best.scores.tolist() == [scores[i] for i in expected]


def test_a_nan_score_is_refused() -> None:
    with pytest.raises(ValueError, match="score 1 is NaN"):
        top_k(np.array([0.0, np.nan]), k=1)


def test_a_stored_vector_finds_itself_first() -> None:
    vectors = np.random.default_rng(0).standard_normal((200, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert [int(dense_top_k(vectors, vector, k=1).indices[0]) for vector in vectors] == list(range(200))


@given(rankings=RANKINGS, data=st.data())
def test_rrf_does_not_depend_on_the_order_of_its_inputs(rankings: list[list[str]], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(rankings))
    assert reciprocal_rank_fusion(shuffled) == reciprocal_rank_fusion(rankings)


@given(ranking=st.lists(st.sampled_from("abcdef"), unique=True))
def test_rrf_of_one_ranking_keeps_its_order(ranking: list[str]) -> None:
    fused = reciprocal_rank_fusion([ranking])
    assert sorted(fused, key=lambda item: -fused[item]) == ranking


def test_rrf_sums_one_over_k_plus_rank() -> None:
    fused = reciprocal_rank_fusion([["a", "b"], ["b"]], rrf_k=10)
    assert fused == pytest.approx({"a": 1 / 11, "b": 1 / 12 + 1 / 11})


def test_a_repetition_within_a_ranking_counts_once_and_takes_no_rank() -> None:
    assert reciprocal_rank_fusion([["a", "a", "b"]]) == reciprocal_rank_fusion([["a", "b"]])


def test_a_negative_rrf_constant_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        reciprocal_rank_fusion([["a"]], rrf_k=-1)


@given(scores=st.lists(SCORES, min_size=1, max_size=4))
def test_min_max_scores_lie_between_zero_and_one(scores: list[dict[str, float]]) -> None:
    assert all(-1e-9 <= value <= 1 + 1e-9 for value in min_max_linear(scores).values())


@given(scores=SCORES.map(lambda scores: {item: round(score) for item, score in scores.items()}))
def test_min_max_does_not_depend_on_a_retrievers_scale(scores: dict[str, float]) -> None:
    scaled = {item: 3 * score + 7 for item, score in scores.items()}
    assert min_max_linear([scaled]) == pytest.approx(min_max_linear([scores]))


def test_a_retriever_with_one_hit_still_counts() -> None:
    assert min_max_linear([{"a": 3.0}, {"b": 1.0, "c": 0.0}]) == {"a": 0.5, "b": 0.5, "c": 0.0}


def test_weights_must_be_as_many_as_retrievers() -> None:
    with pytest.raises(ValueError):
        min_max_linear([{"a": 1.0}], weights=[0.5, 0.5])
