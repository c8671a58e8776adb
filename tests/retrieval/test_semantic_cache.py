"""The semantic cache: the shipped pairs, what is looked up, and what a threshold does to a traffic."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest

from llmdrill.errors import ContentError
from llmdrill.retrieval.semantic_cache import (
    DIFFERENCES,
    CacheQuery,
    Looked,
    Traffic,
    cache_queries,
    load_pairs,
    look_up,
    rates_at,
    split_of,
)

if TYPE_CHECKING:
    from pathlib import Path

GROUPS = load_pairs()


def test_there_are_at_least_300_pairs_half_of_them_near_misses_of_every_kind() -> None:
    counted = Counter(query.relation for query in cache_queries(GROUPS))
    assert counted["same"] + counted["other"] >= 300
    assert abs(counted["same"] - counted["other"]) <= 0.1 * counted["same"]
    assert {kind for group in GROUPS for kind in group.other} == set(DIFFERENCES)


def test_groups_are_split_as_wholes_and_into_halves() -> None:
    splits = Counter(split_of(group.id) for group in GROUPS)
    assert min(splits.values()) >= 0.4 * len(GROUPS)
    of_group = {
        group.id: {query.split for query in cache_queries(GROUPS) if query.group == group.id} for group in GROUPS
    }
    assert all(len(found) == 1 for found in of_group.values())


def test_a_question_that_stands_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "pairs.yaml"
    file.write_text("- {id: a, cached: How?, same: [How], other: {time: When?}}\n" * 2, "utf-8")
    with pytest.raises(ContentError, match=r"pairs\.yaml:2.*stands in 'a' too"):
        load_pairs(file)


def test_an_unrelated_question_does_not_find_its_own_group() -> None:
    groups = GROUPS[:3]
    queries = [CacheQuery(group.cached, group.id, "unrelated", None, "dev") for group in groups]
    vectors = np.eye(3, dtype=np.float32)
    found = look_up(groups, queries, cached=vectors, asked=vectors)
    assert all(one.nearest != one.query.group and not one.right for one in found)


def looked(relation: str, similarity: float, *, own: bool = True) -> Looked:
    query = CacheQuery("", "a", relation, None, "test")  # type: ignore[arg-type]
    return Looked(query, "a" if own else "b", similarity)


def test_rates_weight_every_kind_of_question_by_its_share_of_the_traffic() -> None:
    seen = [looked("same", 0.9), looked("same", 0.6), looked("other", 0.9), looked("unrelated", 0.2, own=False)]
    rates = rates_at(seen, Traffic(same_share=0.5, other_share=0.1), threshold=0.8)
    assert rates.hit_share == pytest.approx(0.5 / 2 + 0.1)
    assert rates.wrong_share == pytest.approx(0.1 / 0.35)
    assert rates.found_share == 0.5


def test_a_hit_on_another_groups_answer_is_wrong_even_if_the_question_was_asked_before() -> None:
    rates = rates_at([looked("same", 0.9, own=False)], Traffic(1.0, 0.0), threshold=0.5)
    assert (rates.hit_share, rates.wrong_share, rates.found_share) == (1.0, 1.0, 0.0)


def test_a_higher_threshold_never_hits_more_often() -> None:
    rng = np.random.default_rng(0)
    kinds = ("same", "other", "unrelated")
    seen = [looked(kinds[int(rng.integers(3))], float(rng.random())) for _ in range(200)]
    hits = [rates_at(seen, Traffic(0.3, 0.1), threshold=at).hit_share for at in np.linspace(0, 1, 21)]
    assert hits == sorted(hits, reverse=True)
    assert hits[0] == pytest.approx(1.0)
