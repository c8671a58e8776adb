"""A transformer small enough to be trained in seconds, with the choices that the lab compares.

Shapes in comments: B sequences, T tokens, C width, H heads, D head size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from llmdrill.errors import UsageError
from llmdrill.lab.byte_text import BYTE_VALUES, draw_pieces
from llmdrill.lab.moe import DenseFeedForward, ExpertFeedForward, balance_loss, matrix
from llmdrill.lab.room import need_memory

if TYPE_CHECKING:
    from collections.abc import Callable

Positions = Literal["sinusoidal", "rope", "alibi"]
Norm = Literal["pre", "post"]
WAVELENGTH_BASE: Final = 10_000.0  # of sinusoids (Vaswani et al. 2017, section 3.5) and of RoPE (Su et al. 2021)
LAST_RATE_SHARE: Final = 0.1  # of the peak rate, where the linear decay ends
TRAINING_BYTES_PER_WEIGHT: Final = 16
ADAM_BETAS: Final = (0.9, 0.98)  # Vaswani et al. 2017, section 5.3; Xiong et al. 2020, section 3.2


@dataclass(frozen=True, slots=True)
class TinyShape:
    """What a tiny transformer is made of.

    Attributes:
        feed_forward: Inner width of a dense feed-forward, or of one expert.
        experts: 0 for a dense feed-forward.
        per_token: Experts that a token goes to.
    """

    layers: int = 2
    width: int = 96
    heads: int = 4
    feed_forward: int = 384
    positions: Positions = "rope"
    norm: Norm = "pre"
    experts: int = 0
    per_token: int = 2

    def __post_init__(self) -> None:
        if min(self.layers, self.width, self.heads, self.feed_forward) < 1 or self.width % (2 * self.heads):
            raise UsageError(f"{self.width} wide with {self.heads} heads: the width must be a multiple of twice those")

    @property
    def training_bytes(self) -> int:
        """Return the bytes of the matrices, their gradients and Adam's two moments, all in fp32."""
        layer = 4 * self.width**2 + 2 * self.width * self.feed_forward * max(1, self.experts)
        return TRAINING_BYTES_PER_WEIGHT * (self.layers * layer + BYTE_VALUES * self.width)


class TinyLayer(nn.Module):
    """One layer: causal attention and a feed-forward, with layer normalisation before or after the residual sum."""

    def __init__(self, shape: TinyShape, rng: torch.Generator) -> None:
        super().__init__()
        self.shape, width = shape, shape.width
        square = [matrix(width, width, rng=rng) for _ in range(4)]
        self.qkv = nn.Parameter(torch.cat([one.detach() for one in square[:3]]))  # (3C, C)
        self.out = square[3]  # (C, C)
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.feed_forward: DenseFeedForward | ExpertFeedForward
        if shape.experts:
            self.feed_forward = ExpertFeedForward(
                width=width, hidden=shape.feed_forward, experts=shape.experts, per_token=shape.per_token, rng=rng
            )
        else:
            self.feed_forward = DenseFeedForward(width=width, hidden=shape.feed_forward, rng=rng)

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output (B, T, C)."""
        if self.shape.norm == "pre":
            x = x + self.attend(self.attention_norm(x))
            changed: Tensor = x + self.feed_forward(self.feed_forward_norm(x))
            return changed
        x = self.attention_norm(x + self.attend(x))
        normed: Tensor = self.feed_forward_norm(x + self.feed_forward(x))
        return normed

    def attend(self, x: Tensor) -> Tensor:
        """Return what attention makes of x (B, T, C), every token seeing itself and those before it."""
        batch, tokens, width = x.shape
        heads = functional.linear(x, self.qkv).view(batch, tokens, 3, self.shape.heads, -1)
        q, k, v = heads.permute(2, 0, 3, 1, 4)  # each (B, H, T, D)
        if self.shape.positions == "rope":
            q, k = rotate_by_position(q), rotate_by_position(k)
        if self.shape.positions == "alibi":
            mask = alibi_mask(self.shape.heads, tokens)
            mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        else:
            mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return functional.linear(mixed.transpose(1, 2).reshape(batch, tokens, width), self.out)


class TinyTransformer(nn.Module):
    """A language model over bytes; the output matrix is the embedding."""

    def __init__(self, shape: TinyShape, *, seed: int) -> None:
        super().__init__()
        need_memory(shape.training_bytes, what=f"training {shape.layers} layers {shape.width} wide")
        self.shape = shape
        rng = torch.Generator().manual_seed(seed)
        self.embedding = nn.Parameter(torch.empty(BYTE_VALUES, shape.width).normal_(generator=rng) / shape.width**0.5)
        self.layers = nn.ModuleList(TinyLayer(shape, rng) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.width) if shape.norm == "pre" else nn.Identity()

    @property
    def parameter_count(self) -> int:
        return sum(one.numel() for one in self.parameters())

    def embed(self, ids: Tensor) -> Tensor:
        """Return the input (B, T, C) of the first layer, each value of variance 1."""
        x = self.embedding[ids] * math.sqrt(self.shape.width)
        return x + sinusoids(ids.shape[1], self.shape.width) if self.shape.positions == "sinusoidal" else x

    def forward(self, ids: Tensor) -> Tensor:
        """Return the logits (B, T, 256) of ids (B, T)."""
        x = self.embed(ids)
        for layer in self.layers:
            x = layer(x)
        return functional.linear(self.norm(x), self.embedding)

    def loss(self, pieces: Tensor, *, last: int | None = None) -> Tensor:
        """Return the mean nats of the next byte over pieces (B, T + 1), or over the last ``last`` of each."""
        return self.losses(pieces, last=last).mean()

    def losses(self, pieces: Tensor, *, last: int | None = None) -> Tensor:
        """Return the nats of each next byte of pieces (B, T + 1), or of the last ``last`` of each: (B, T or last)."""
        logits = self(pieces[:, :-1])[:, -last if last else None :]
        truth = pieces[:, -logits.shape[1] :]
        return functional.cross_entropy(logits.flatten(0, 1), truth.flatten(), reduction="none").view_as(truth)

    def tiny_layers(self) -> tuple[TinyLayer, ...]:
        """Return the layers, first to last."""
        return tuple(one for one in self.layers if isinstance(one, TinyLayer))

    def expert_layers(self) -> tuple[ExpertFeedForward, ...]:
        """Return the layers of experts, first to last; none in a dense model."""
        return tuple(one for one in self.modules() if isinstance(one, ExpertFeedForward))


@dataclass(frozen=True, slots=True)
class Training:
    """How a tiny model is trained: Adam, the rate rising linearly over the warm-up, then falling linearly.

    Attributes:
        warm_up_steps: 0 for none: the first step has the peak rate.
        balance_weight: Of the balancing loss of experts; Switch takes 0.01.
    """

    steps: int
    sequences: int = 32
    tokens: int = 64
    peak_rate: float = 3e-3
    warm_up_steps: int = 20
    balance_weight: float = 0.0

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0.

        >>> [round(Training(steps=4, peak_rate=1.0, warm_up_steps=2).rate(step), 3) for step in range(4)]
        [0.5, 1.0, 0.7, 0.4]
        """
        if step < self.warm_up_steps:
            return self.peak_rate * (step + 1) / self.warm_up_steps
        done = (step + 1 - self.warm_up_steps) / max(1, self.steps - self.warm_up_steps + 1)
        return self.peak_rate * (1 - (1 - LAST_RATE_SHARE) * done)


def train_tiny(
    model: TinyTransformer, text: Tensor, plan: Training, *, seed: int, say: Callable[[str], None] = lambda _: None
) -> tuple[float, ...]:
    """Train ``model`` on random pieces of ``text`` (bytes,), and return the loss in nats of every step."""
    rng = torch.Generator().manual_seed(seed)
    adam = torch.optim.Adam(model.parameters(), lr=plan.peak_rate, betas=ADAM_BETAS)
    losses = []
    for step in range(plan.steps):
        adam.param_groups[0]["lr"] = plan.rate(step)
        loss = model.loss(draw_pieces(text, pieces=plan.sequences, tokens=plan.tokens, rng=rng))
        routings = [one.routing for one in model.expert_layers() if one.routing is not None]
        total = loss + plan.balance_weight * sum((balance_loss(one) for one in routings), torch.zeros(()))
        adam.zero_grad()
        torch.autograd.backward(total)
        adam.step()
        losses.append(float(loss.detach()))
        say(f"step {step + 1} of {plan.steps}, {losses[-1]:.2f} nats a byte")
    return tuple(losses)


@torch.no_grad()
def piece_losses(model: TinyTransformer, pieces: Tensor, *, last: int | None = None, at_once: int = 32) -> Tensor:
    """Return the mean nats (B,) of the next byte of each of pieces (B, T + 1), or of its last ``last`` bytes."""
    return torch.cat([model.losses(part, last=last).mean(dim=1) for part in torch.split(pieces, at_once)])


def mean_loss(model: TinyTransformer, pieces: Tensor, *, last: int | None = None) -> float:
    """Return the mean nats of the next byte over pieces (B, T + 1), or over the last ``last`` of each."""
    return float(piece_losses(model, pieces, last=last).mean())


def sinusoids(tokens: int, width: int) -> Tensor:
    """Return the position vectors (T, C): sines of even values, cosines of odd ones.

    Source:
        Vaswani et al. 2017, arXiv:1706.03762, section 3.5.
    """
    angles = _angles(tokens, width)
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)


def rotate_by_position(x: Tensor) -> Tensor:
    """Turn the halves of head vectors (B, H, T, D) by the angles of their positions, from 0.

    Source:
        Su et al. 2021 (RoFormer), arXiv:2104.09864, section 3.2, with the halves paired as Llama pairs them.
    """
    angles = _angles(x.shape[2], x.shape[3])  # (T, D/2)
    first, second = x.chunk(2, dim=-1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def alibi_mask(heads: int, tokens: int) -> Tensor:
    """Return what ALiBi adds to the scores (H, T, T): minus slope times distance, minus infinity for later keys.

    Formula:
        slopes: a geometric sequence that starts at 2^(-8 / heads) and has that ratio.

    Source:
        Press et al. 2022, arXiv:2108.12409, section 3.
    """
    slopes = 2.0 ** (-8.0 / heads * torch.arange(1, heads + 1))  # (H,)
    at = torch.arange(tokens)
    distance = at[:, None] - at  # (T, T)
    return (-slopes[:, None, None] * distance).masked_fill(distance < 0, -math.inf)


def _angles(tokens: int, width: int) -> Tensor:
    frequencies = WAVELENGTH_BASE ** (-torch.arange(0, width, 2) / width)  # (width / 2,)
    return torch.outer(torch.arange(tokens).float(), frequencies)
