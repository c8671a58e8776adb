"""Logistic heads on embeddings: one per category, trained by Newton's method in well under a second."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOST_STEPS: Final = 50
_SMALLEST_STEP: Final = 1e-8


@dataclass(frozen=True, slots=True)
class Heads:
    """Weights (C, D) and intercepts (C,) of C categories."""

    weights: NDArray[np.float64]
    intercepts: NDArray[np.float64]

    def probabilities(self, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the probability (N, C) that each of N vectors (N, D) belongs to each category."""
        return _sigmoid(vectors.astype(np.float64) @ self.weights.T + self.intercepts)


def train_heads(vectors: NDArray[np.float32], labels: NDArray[np.bool_], *, l2: float) -> Heads:
    """Return the heads that minimise the logistic loss on vectors (N, D) and labels (N, C).

    Formula:
        sum of log(1 + exp(-y (w x + b))) + l2 / 2 * |w|^2, with y = ±1; the intercept b is not penalised. Newton's
        method with halved steps finds the one minimum, so nothing is drawn at random.

    Raises:
        ValueError: If l2 is not positive, or a category has no example or nothing but examples.
    """
    if l2 <= 0:
        raise ValueError(f"l2 is {l2}: it must be positive, or the weights of separable classes grow without end")
    examples = labels.sum(axis=0)
    if (examples == 0).any() or (examples == len(labels)).any():
        raise ValueError(
            f"each category needs messages with it and without it to train on; counts are {examples.tolist()}"
        )
    with_one = np.hstack([vectors.astype(np.float64), np.ones((len(vectors), 1))])  # (N, D + 1)
    solved = np.stack([_newton(with_one, column.astype(np.float64), l2) for column in labels.T])
    return Heads(solved[:, :-1], solved[:, -1])


def _newton(x: NDArray[np.float64], y: NDArray[np.float64], l2: float) -> NDArray[np.float64]:
    penalty = np.full(x.shape[1], l2)
    penalty[-1] = 0.0
    weights = np.zeros(x.shape[1])
    loss = _loss(weights, x, y, penalty)
    for _ in range(_MOST_STEPS):
        p = _sigmoid(x @ weights)
        gradient = x.T @ (p - y) + penalty * weights
        curvature = (x * (p * (1 - p))[:, None]).T @ x + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        while (new := _loss(weights - step, x, y, penalty)) > loss and np.abs(step).max() > _SMALLEST_STEP:
            step = step / 2
        weights, loss = weights - step, new
        if np.abs(step).max() <= _SMALLEST_STEP:
            break
    return weights


def _loss(
    weights: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64], penalty: NDArray[np.float64]
) -> float:
    z = x @ weights
    return float(np.logaddexp(0, z).sum() - y @ z + (penalty * weights**2).sum() / 2)


def _sigmoid(z: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.exp(-np.logaddexp(0, -z))
