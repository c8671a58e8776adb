"""`lab semantic-cache`: a threshold is chosen on one half and judged on the other, and money decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from llmdrill.errors import UsageError
from llmdrill.experiments.semantic_cache import SemanticCacheOptions, choose, measure_semantic_cache
from llmdrill.retrieval.semantic_cache import CacheQuery, Looked

if TYPE_CHECKING:
    from llmdrill.retrieval.semantic_cache import Relation


def looked(relation: Relation, similarity: float) -> Looked:
    return Looked(CacheQuery("", "a", relation, None, "dev"), "a", similarity)


SEPARABLE = [looked("same", 0.9), looked("other", 0.7), looked("unrelated", 0.3)]


def test_a_threshold_between_right_and_wrong_is_found_where_there_is_one() -> None:
    chosen = choose(SEPARABLE, SEPARABLE, SemanticCacheOptions(same_share=0.5, other_share=0.2), wrong_usd=1.0)
    assert chosen.threshold is not None
    assert 0.7 < chosen.threshold <= 0.9
    assert chosen.rates is not None
    assert chosen.rates.wrong_share == 0.0
    assert chosen.usd == pytest.approx(0.5 * 0.002)


def test_no_cache_is_chosen_where_every_threshold_costs_more() -> None:
    mixed = [looked("same", 0.7), looked("other", 0.9), looked("unrelated", 0.3)]
    chosen = choose(mixed, mixed, SemanticCacheOptions(same_share=0.2, other_share=0.2), wrong_usd=1.0)
    assert (chosen.threshold, chosen.usd) == (None, 0.002)


def test_wrong_answers_that_cost_nothing_are_given_all_the_time() -> None:
    chosen = choose(SEPARABLE, SEPARABLE, SemanticCacheOptions(same_share=0.5, other_share=0.2), wrong_usd=0.0)
    assert chosen.threshold is not None
    assert chosen.threshold <= 0.7


def test_shares_above_one_are_refused() -> None:
    with pytest.raises(UsageError, match="more than 1"):
        SemanticCacheOptions(same_share=0.8, other_share=0.3)


def test_the_shipped_pairs_run_on_the_real_embedder() -> None:
    pytest.importorskip("torch")
    from llmdrill.experiments.retrieval_bench import load_bench

    free = measure_semantic_cache(load_bench(use_cache=False), SemanticCacheOptions(wrong_usd=0.0))
    found = {one.name: one for one in free.findings}
    assert found["hit_share"].measured is not None
    assert found["hit_share"].measured > 0.3
    assert found["wrong_share"].low is not None
    assert found["wrong_share"].low <= (found["wrong_share"].measured or 0.0) <= (found["wrong_share"].high or 1.0)
    assert {row[0] for row in free.tables[2].rows} >= {"same", "unrelated", "entity", "negation"}
    assert len(free.meaning) == 2
