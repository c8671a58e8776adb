"""Exact search over unit vectors: a matrix product and the best k."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, eq=False)
class TopK:
    """The best k: row numbers (k,) and their scores (k,), best first."""

    indices: np.ndarray
    scores: np.ndarray


def top_k(scores: np.ndarray, *, k: int) -> TopK:
    """Return the k highest of ``scores`` (N,), a tie going to the lower index.

    Raises:
        ValueError: If a score is NaN, which has no place in an order.

    >>> top_k(np.array([0.5, 0.9, 0.5]), k=2).indices.tolist()
    [1, 0]
    """
    if np.isnan(scores).any():
        raise ValueError(f"score {int(np.isnan(scores).argmax())} is NaN: it cannot be ranked")
    k = max(0, min(k, len(scores)))
    if k == 0:
        return TopK(np.zeros(0, dtype=np.intp), scores[:0])
    # All that tie with the k-th enter, so that the partition's arbitrary choice among them does not show.
    candidates = np.flatnonzero(scores >= np.partition(scores, -k)[-k])
    order = candidates[np.argsort(-scores[candidates], kind="stable")][:k]
    return TopK(order, scores[order])


def dense_top_k(vectors: np.ndarray, query: np.ndarray, *, k: int) -> TopK:
    """Return the k rows of ``vectors`` (N, D) with the highest cosine to ``query`` (D,); all are of unit length."""
    return top_k(vectors @ query, k=k)
