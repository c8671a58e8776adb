"""Attention's softmax with and without 1 / √d_k: the worked example in torch, and how saturation grows with d_k."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

Rows = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Steps:
    """Scores, weights and output of one small attention, as torch computes them in double precision."""

    scores: Rows
    weights: Rows
    output: Rows


@dataclass(frozen=True, slots=True)
class Softened:
    """Rows of softmax weights, mean over rows.

    Attributes:
        entropy_bits: log2(keys) for an even spread, 0 for all on one key.
        gradient: Trace of the softmax's Jacobian, 0 where nothing can be learned: read from autograd as the product of
            what comes to the weights, random signs, with what reaches the scores.
    """

    entropy_bits: float
    gradient: float


@dataclass(frozen=True, slots=True)
class Scaling:
    """Random queries and keys of one d_k.

    Attributes:
        variance: Of their dot products.
        plain: Of softmax over the dot products.
        scaled: Of softmax over the dot products divided by √d_k.
    """

    d_k: int
    variance: float
    plain: Softened
    scaled: Softened


def worked_example(queries: Rows, keys: Rows, values: Rows) -> Steps:
    """Return every step of softmax(Q Kᵀ / √d_k) V as torch computes it."""
    q, k, v = (torch.tensor(matrix, dtype=torch.float64) for matrix in (queries, keys, values))
    scores = q @ k.T
    weights = (scores / k.shape[1] ** 0.5).softmax(dim=-1)
    return Steps(*(tuple(tuple(row) for row in one.tolist()) for one in (scores, weights, weights @ v)))


def measure_scaling(*, widths: Sequence[int], rows: int, keys: int, seed: int) -> tuple[Scaling, ...]:
    """Return variance, entropy and gradient for standard normal queries and keys of each d_k.

    Source:
        Vaswani et al. 2017, arXiv:1706.03762, section 3.2.1: large dot products push the softmax to where its
        gradients are small.
    """
    rng = torch.Generator().manual_seed(seed)
    return tuple(_scaling_at(d_k, rows, keys, rng) for d_k in widths)


def _scaling_at(d_k: int, rows: int, keys: int, rng: torch.Generator) -> Scaling:
    query = torch.randn(rows, 1, d_k, generator=rng)
    scores = (query * torch.randn(rows, keys, d_k, generator=rng)).sum(dim=-1)  # (rows, keys): each row its own keys
    signs = 2.0 * torch.randint(2, (rows, keys), generator=rng) - 1
    return Scaling(d_k, float(scores.var()), _softened(scores, signs), _softened(scores / d_k**0.5, signs))


def _softened(scores: Tensor, signs: Tensor) -> Softened:
    """Return the entropy of softmax(scores), and the trace of its Jacobian (Hutchinson's estimate, by random signs)."""
    scores = scores.clone().requires_grad_()
    weights = scores.softmax(dim=-1)
    (passed,) = torch.autograd.grad(weights, scores, grad_outputs=signs)
    entropy = torch.special.entr(weights.detach().double()).sum(dim=-1).mean() / torch.tensor(2.0).log()
    return Softened(float(entropy), float((signs * passed).sum(dim=-1).mean()))
