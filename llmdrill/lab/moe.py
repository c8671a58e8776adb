"""A mixture-of-experts feed-forward layer and its dense twin.

Shapes in comments: N tokens, C width, E experts, k experts a token goes to, I width of one expert's feed-forward.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from llmdrill.errors import UsageError


@dataclass(frozen=True, slots=True, eq=False)
class Routing:
    """Where the tokens of one batch went.

    Attributes:
        probabilities: (N, E), softmax of the router's logits.
        chosen: (N, k), the experts of each token, the likeliest first.
        gates: (N, k), weights of their outputs, adding up to 1.
    """

    probabilities: Tensor
    chosen: Tensor
    gates: Tensor

    @property
    def counts(self) -> Tensor:
        """Return how many assignments each expert got (E,)."""
        return torch.bincount(self.chosen.flatten(), minlength=self.probabilities.shape[1])

    @property
    def touched(self) -> int:
        """Return how many experts got at least one token: those whose weights the layer read."""
        return int((self.counts > 0).sum())


class DenseFeedForward(nn.Module):
    """Two matrices with ReLU between them, as in Vaswani et al. 2017, section 3.3."""

    def __init__(self, *, width: int, hidden: int, rng: torch.Generator) -> None:
        super().__init__()
        self.up = matrix(hidden, width, rng=rng)  # (I, C)
        self.down = matrix(width, hidden, rng=rng)  # (C, I)

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output (…, C) of x (…, C)."""
        return functional.linear(functional.linear(x, self.up).relu(), self.down)


class ExpertFeedForward(nn.Module):
    """Experts of two matrices each, and a router that sends every token to ``per_token`` of them.

    No capacity limit, so no token is dropped: each expert takes what it gets.

    Source:
        Lepikhin et al. 2020 (GShard), arXiv:2006.16668, algorithm 1: softmax gates, top 2, gates normed to 1;
        Fedus et al. 2021 (Switch), arXiv:2101.03961, section 2.
    """

    def __init__(self, *, width: int, hidden: int, experts: int, per_token: int, rng: torch.Generator) -> None:
        super().__init__()
        if not 1 <= per_token <= experts:
            raise UsageError(f"a token goes to 1 to {experts} of {experts} experts, not to {per_token}")
        self.per_token = per_token
        self.router = matrix(experts, width, rng=rng)  # (E, C)
        self.up = nn.ParameterList(matrix(hidden, width, rng=rng) for _ in range(experts))  # each (I, C)
        self.down = nn.ParameterList(matrix(width, hidden, rng=rng) for _ in range(experts))  # each (C, I)
        self.routing: Routing | None = None  # of the last batch, for its balance

    def route(self, x: Tensor) -> Routing:
        """Return where tokens x (N, C) go."""
        probabilities = functional.linear(x, self.router).softmax(dim=-1)
        gates, chosen = probabilities.topk(self.per_token, dim=-1)
        return Routing(probabilities, chosen, gates / gates.sum(dim=-1, keepdim=True))

    def forward(self, x: Tensor) -> Tensor:
        """Return the gated sum of the chosen experts' outputs (…, C) of x (…, C)."""
        flat = x.reshape(-1, x.shape[-1])  # (N, C)
        routing = self.routing = self.route(flat)
        order = routing.chosen.flatten().argsort(stable=True)  # (N * k,), assignments by expert
        token = order // self.per_token
        parts = torch.split(flat[token], routing.counts.tolist())
        outputs = [
            functional.linear(functional.linear(part, self.up[expert]).relu(), self.down[expert])
            for expert, part in enumerate(parts)
            if len(part)  # an expert without a token is not read
        ]
        gated = torch.cat(outputs) * routing.gates.flatten()[order, None]  # (N * k, C)
        return torch.zeros_like(flat).index_add(0, token, gated).view_as(x)


def balance_loss(routing: Routing) -> Tensor:
    """Return the auxiliary loss that pushes a router towards even loads; 1 where they are even, before its weight.

    Formula:
        E * sum over experts of f_i * P_i, f_i the share of assignments that went to expert i, P_i the mean probability
        that the router gave it. f_i has no gradient, P_i has.

    Source:
        Fedus et al. 2021 (Switch), arXiv:2101.03961, equations 4 to 6, where it is weighted by 0.01; with k experts a
        token f counts all of them, so that its shares still add up to 1.
    """
    shares = routing.counts / routing.counts.sum()
    return routing.probabilities.shape[1] * (shares * routing.probabilities.mean(dim=0)).sum()


def matrix(rows: int, columns: int, *, rng: torch.Generator) -> nn.Parameter:
    """Return a matrix drawn as Glorot and Bengio's normal initialisation draws it.

    Formula:
        Independent values of mean 0 and variance 2 / (rows + columns).

    Source:
        Xiong et al. 2020, arXiv:2002.04745, section 3.3, "Parameter Initialization".
    """
    return nn.Parameter(torch.empty(rows, columns).normal_(std=math.sqrt(2 / (rows + columns)), generator=rng))
