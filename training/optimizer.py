"""Muon for the matrices of the layers, AdamW for everything else, and the schedule of their rates.

Muon as in KellerJordan/Muon@00ba60d3, muon.py: momentum, then about the nearest orthogonal matrix by five steps of a
Newton-Schulz iteration, scaled by sqrt(max(1, rows / columns)); here in fp32, which is faster on a CPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch

if TYPE_CHECKING:
    from torch import Tensor, nn

NEWTON_SCHULZ: Final = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS: Final = 5


@dataclass(frozen=True, slots=True)
class Rates:
    """Learning rates and decays at their height."""

    muon: float = 0.02
    adam: float = 0.01
    momentum: float = 0.95
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)


def orthogonalized(matrix: Tensor) -> Tensor:
    """Return about the nearest matrix whose singular values are all one (they come out between 0.7 and 1.2)."""
    a, b, c = NEWTON_SCHULZ
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum whose every step is made orthogonal, with decoupled weight decay."""

    def __init__(self, matrices: list[nn.Parameter], rates: Rates) -> None:
        super().__init__(matrices, {"lr": rates.muon, "momentum": rates.momentum, "weight_decay": rates.weight_decay})

    @torch.no_grad()
    def step(self, closure: object = None) -> None:  # noqa: ARG002  torch's signature
        """Take one step (Nesterov's momentum)."""
        for group in self.param_groups:
            for matrix in group["params"]:
                state = self.state[matrix]
                momentum = state.setdefault("momentum", torch.zeros_like(matrix))
                momentum.lerp_(matrix.grad, 1 - group["momentum"])
                direction = orthogonalized(matrix.grad.lerp(momentum, group["momentum"]))
                scale = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                matrix.add_(direction, alpha=-group["lr"] * scale)


@dataclass(frozen=True, slots=True)
class Optimizers:
    """Both optimizers as one."""

    muon: Muon
    adam: torch.optim.AdamW
    rates: Rates

    def step(self, factor: float) -> None:
        """Take one step at so much of the full rates, and clear the gradients."""
        for optimizer, rate in ((self.muon, self.rates.muon), (self.adam, self.rates.adam)):
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def saved(self) -> dict[str, Any]:
        return {"muon": self.muon.state_dict(), "adam": self.adam.state_dict()}

    def restore(self, saved: dict[str, Any]) -> None:
        self.muon.load_state_dict(saved["muon"])
        self.adam.load_state_dict(saved["adam"])


def optimizers_for(model: nn.Module, rates: Rates) -> Optimizers:
    """Give the layers' matrices to Muon; the embedding (also the output matrix) and the gains to AdamW."""
    matrices = [weight for name, weight in model.named_parameters() if weight.ndim == 2 and "embed" not in name]
    taken = {id(weight) for weight in matrices}
    others = [weight for weight in model.parameters() if id(weight) not in taken]
    adam = torch.optim.AdamW(others, lr=rates.adam, betas=rates.betas, weight_decay=0.0)
    return Optimizers(Muon(matrices, rates), adam, rates)


def rate_factor(*, step: int, warmup_steps: int, progress: float, decay_share: float) -> float:
    """Return the share of the full rate: up over the first steps, flat, then down to 0 over the last share.

    >>> [rate_factor(step=50, warmup_steps=100, progress=0.1, decay_share=0.2)]
    [0.5]
    >>> [round(rate_factor(step=500, warmup_steps=100, progress=at, decay_share=0.2), 2) for at in (0.5, 0.8, 0.9, 1)]
    [1.0, 1.0, 0.5, 0.0]
    """
    up = min(1.0, step / warmup_steps) if warmup_steps else 1.0
    down = min(1.0, max(0.0, 1.0 - progress) / decay_share) if decay_share else 1.0
    return up * down
