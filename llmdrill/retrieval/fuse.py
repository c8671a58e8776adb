"""Join several rankings of the same things into one."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import Final, TypeVar

import numpy as np

Id = TypeVar("Id", bound=Hashable)
DEFAULT_RRF_K: Final = 60


def reciprocal_rank_fusion(rankings: Sequence[Sequence[Id]], *, rrf_k: int = DEFAULT_RRF_K) -> dict[Id, float]:
    """Return each id's fused score: ranks count, scores do not.

    Formula:
        sum over the rankings that hold the id of 1 / (rrf_k + rank), rank from 1; a repetition within a
        ranking is dropped before the ranks are counted.

    Args:
        rankings: Ids, best first; their order among each other does not matter.
        rrf_k: The larger, the less the first ranks stand out.

    Raises:
        ValueError: If rrf_k is negative.
    Source:
        Cormack, Clarke and Büttcher 2009, "Reciprocal rank fusion outperforms Condorcet and individual rank learning
        methods", SIGIR: k = 60.

    >>> fused = reciprocal_rank_fusion([["a", "b"], ["b", "c"]])
    >>> round(fused["b"], 6) == round(1 / 62 + 1 / 61, 6)
    True
    """
    if rrf_k < 0:
        raise ValueError(f"rrf_k is {rrf_k}: it must not be negative")
    parts: defaultdict[Id, list[float]] = defaultdict(list)
    for ranking in rankings:
        for rank, item in enumerate(dict.fromkeys(ranking), start=1):
            parts[item].append(1 / (rrf_k + rank))
    return {item: math.fsum(terms) for item, terms in parts.items()}  # fsum: the order of the rankings cannot show


def min_max_linear(scores: Sequence[Mapping[Id, float]], *, weights: Sequence[float] | None = None) -> dict[Id, float]:
    """Return the weighted sum of each retriever's scores, scaled so that its best is 1 and its worst 0.

    An id that a retriever did not return gets 0 from it; a retriever whose scores are all equal gives each of them 1.

    Args:
        scores: One mapping from id to score for each retriever.
        weights: One for each retriever; equal ones that add up to 1 if not given.

    Raises:
        ValueError: If the weights are not as many as the retrievers.
    Source:
        Bruch, Gai and Ingber 2023, "An Analysis of Fusion Functions for Hybrid Retrieval", arXiv:2210.11934: the
        convex combination, which they find ahead of reciprocal rank fusion.

    >>> min_max_linear([{"a": 12.0, "b": 4.0}, {"b": 0.9, "c": 0.1}])
    {'a': 0.5, 'b': 0.5, 'c': 0.0}
    """
    shares = [1 / len(scores)] * len(scores) if weights is None else weights
    parts: defaultdict[Id, list[float]] = defaultdict(list)
    for one, weight in zip(scores, shares, strict=True):
        scaled = min_max_scaled(np.fromiter(one.values(), dtype=np.float64, count=len(one)))
        for item, score in zip(one, scaled.tolist(), strict=True):
            parts[item].append(weight * score)
    return {item: math.fsum(terms) for item, terms in parts.items()}


def min_max_scaled(scores: np.ndarray) -> np.ndarray:
    """Return scores (n,) with the best at 1 and the worst at 0; all at 1 where they are equal.

    >>> min_max_scaled(np.array([4.0, 12.0, 6.0])).tolist()
    [0.0, 1.0, 0.25]
    """
    low, high = scores.min(initial=np.inf), scores.max(initial=-np.inf)
    return (scores - low) / (high - low) if high > low else np.ones(len(scores))
