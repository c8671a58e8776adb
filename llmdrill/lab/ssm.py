"""A selective state-space layer in two forms that give the same output, and the attention layer it stands in for.

Shapes in comments: B sequences, T tokens, C width, D inner width, N values of state per channel, R rank of the step
size, H heads, S cached positions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from llmdrill.errors import UsageError
from llmdrill.lab.moe import matrix

SMALLEST_STEP: Final = 0.001  # step sizes start between these, evenly on a logarithmic scale
LARGEST_STEP: Final = 0.1
CHANNELS_PER_RANK: Final = 16  # rank of the step size: width / 16


@dataclass(frozen=True, slots=True)
class SsmShape:
    """A state-space layer and its attention twin.

    Attributes:
        width: C, of both.
        expand: Inner channels per channel of the width.
        state: N, values of state per inner channel.
        kernel: Taps of the convolution before the state.
        heads: Of the attention twin.
    """

    width: int = 128
    expand: int = 2
    state: int = 16
    kernel: int = 4
    heads: int = 4

    def __post_init__(self) -> None:
        if min(self.width, self.expand, self.state, self.heads) < 1 or self.kernel < 2 or self.width % self.heads:
            raise UsageError(f"a layer {self.width} wide with {self.heads} heads: the heads must divide the width")

    @property
    def inner(self) -> int:
        return self.expand * self.width

    @property
    def rank(self) -> int:
        return math.ceil(self.width / CHANNELS_PER_RANK)


@dataclass(slots=True, eq=False)
class SsmState:
    """All that a state-space layer remembers of its sequences: the same size after one token and after a million.

    Attributes:
        window: (B, D, kernel - 1), the last inputs of the convolution.
        recurrent: (B, D, N).
    """

    window: Tensor
    recurrent: Tensor

    @property
    def allocated_bytes(self) -> int:
        """Return the size of both tensors."""
        return self.window.nbytes + self.recurrent.nbytes


class SelectiveLayer(nn.Module):
    """A state-space layer whose step size, input and output vectors depend on the token, as in Mamba.

    Source:
        Gu and Dao 2023, arXiv:2312.00752, algorithm 2, sections 3.4 (the block) and 3.6 (rank and first values of the
        step size, decays 1 … N); state-spaces/mamba, mamba_ssm/modules/mamba_simple.py.
    """

    def __init__(self, shape: SsmShape, *, seed: int) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(seed)
        self.shape, inner, states = shape, shape.inner, shape.state
        self.into = matrix(2 * inner, shape.width, rng=rng)  # (2D, C): the channels and their gate
        self.taps = nn.Parameter(torch.randn(inner, shape.kernel, generator=rng) / shape.kernel**0.5)  # (D, kernel)
        self.selects = matrix(shape.rank + 2 * states, inner, rng=rng)  # (R + 2N, D)
        self.step_size = matrix(inner, shape.rank, rng=rng)  # (D, R)
        span = math.log(LARGEST_STEP / SMALLEST_STEP)
        first_steps = SMALLEST_STEP * (torch.rand(inner, generator=rng) * span).exp()  # (D,)
        self.step_bias = nn.Parameter(first_steps.expm1().log())  # softplus gives first_steps back
        self.log_decay = nn.Parameter(torch.arange(1.0, states + 1).log().repeat(inner, 1))  # (D, N)
        self.skip = nn.Parameter(torch.ones(inner))
        self.out = matrix(shape.width, inner, rng=rng)  # (C, D)

    def start(self, *, sequences: int) -> SsmState:
        """Return the state of sequences that have read nothing."""
        shape = self.shape
        window = torch.zeros(sequences, shape.inner, shape.kernel - 1)
        return SsmState(window, torch.zeros(sequences, shape.inner, shape.state))

    def forward(self, x: Tensor, state: SsmState) -> Tensor:
        """Return the outputs (B, T, C) of all tokens x (B, T, C) at once, and leave ``state`` after the last one."""
        channels, gate = functional.linear(x, self.into).chunk(2, dim=-1)  # each (B, T, D)
        seen = torch.cat((state.window, channels.transpose(1, 2)), dim=2)  # (B, D, kernel - 1 + T)
        mixed = functional.conv1d(seen, self.taps[:, None], groups=self.shape.inner).transpose(1, 2)
        u = functional.silu(mixed)  # (B, T, D)
        chosen = self._select(u)
        y, last = selective_scan(chosen, self.log_decay.exp(), state.recurrent)
        state.window, state.recurrent = seen[:, :, -(self.shape.kernel - 1) :].clone(), last
        return functional.linear((y + self.skip * u) * functional.silu(gate), self.out)

    def step(self, x: Tensor, state: SsmState) -> Tensor:
        """Return the output (B, C) of one token x (B, C), and move ``state`` on."""
        channels, gate = functional.linear(x, self.into).chunk(2, dim=-1)  # each (B, D)
        seen = torch.cat((state.window, channels[..., None]), dim=2)  # (B, D, kernel)
        u = functional.silu((seen * self.taps).sum(dim=-1))  # (B, D)
        chosen = self._select(u)
        kept = _decay(chosen.steps, self.log_decay.exp()) * state.recurrent  # (B, D, N)
        state.window, state.recurrent = seen[:, :, 1:].clone(), kept + _outer(chosen.inputs, chosen.writes)
        y = _inner(state.recurrent, chosen.reads) + self.skip * u
        return functional.linear(y * functional.silu(gate), self.out)

    def _select(self, u: Tensor) -> Selected:
        """Return what the tokens u (…, D) choose."""
        shape = self.shape
        rank, writes, reads = torch.split(
            functional.linear(u, self.selects), [shape.rank, shape.state, shape.state], dim=-1
        )
        steps = functional.softplus(functional.linear(rank, self.step_size) + self.step_bias)  # (…, D)
        return Selected(steps, steps * u, writes, reads)


@dataclass(frozen=True, slots=True, eq=False)
class Selected:
    """What the tokens chose.

    Attributes:
        steps: (B, T, D), step sizes, above zero.
        inputs: (B, T, D), step size times input.
        writes: (B, T, N), how the input enters the state.
        reads: (B, T, N), how the state leaves it.
    """

    steps: Tensor
    inputs: Tensor
    writes: Tensor
    reads: Tensor

    def in_pieces(self, length: int) -> Selected:
        """Return all four cut to (B, pieces, length, …), the last piece filled with tokens that change nothing."""
        tokens = self.steps.shape[1]
        missing = -tokens % length
        parts = (self.steps, self.inputs, self.writes, self.reads)
        return Selected(*(torch.unflatten(functional.pad(one, (0, 0, 0, missing)), 1, (-1, length)) for one in parts))


def selective_scan(chosen: Selected, rates: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Return the outputs (B, T, D) of all tokens and the last state (B, D, N), from rates (D, N) and the first state.

    Formula:
        h_t = exp(-steps_t * rates) * h_(t-1) + inputs_t * writes_t, y_t = reads_t · h_t. The decay is the paper's
        zero-order hold; the input is only multiplied by the step size, as the authors' code does, where the paper's
        equation 4 holds it, too.

    The T tokens are cut into about √T pieces. All pieces go through their tokens in lockstep as if each began at
    zero, the end of each is carried into the next, and what a piece's true beginning adds is put on top: about 3√T
    steps instead of T. The states of all tokens, T * D * N values, are never held at once.

    Source:
        Gu and Dao 2023, arXiv:2312.00752, section 3.3.2: a parallel scan, and no state of a token kept in memory;
        state-spaces/mamba@01887ed7, mamba_ssm/ops/selective_scan_interface.py, selective_scan_ref.
    """
    tokens = chosen.steps.shape[1]
    cut = chosen.in_pieces(max(1, math.isqrt(tokens)))
    pieces, length = cut.steps.shape[1:3]
    since = cut.steps.cumsum(dim=2)  # (B, pieces, length, D)
    state = torch.zeros(start.shape[0], pieces, *start.shape[1:])  # (B, pieces, D, N)
    y = torch.empty_like(cut.steps)  # (B, pieces, length, D)
    for at in range(length):
        state = _decay(cut.steps[:, :, at], rates) * state + _outer(cut.inputs[:, :, at], cut.writes[:, :, at])
        y[:, :, at] = _inner(state, cut.reads[:, :, at])
    over_piece = _decay(since[:, :, -1], rates)
    starts = torch.empty_like(state)
    for piece in range(pieces):
        starts[:, piece] = start
        start = state[:, piece] + over_piece[:, piece] * start
    for at in range(length):
        y[:, :, at] += _inner(_decay(since[:, :, at], rates) * starts, cut.reads[:, :, at])
    return y.flatten(1, 2)[:, :tokens], start


def _decay(steps: Tensor, rates: Tensor) -> Tensor:
    """Return (…, D, N) for steps (…, D) and rates (D, N)."""
    return (-steps[..., None] * rates).exp()


def _outer(inputs: Tensor, writes: Tensor) -> Tensor:
    """Return (…, D, N) for (…, D) and (…, N)."""
    return inputs[..., None] * writes[..., None, :]


def _inner(state: Tensor, reads: Tensor) -> Tensor:
    """Return (…, D) for (…, D, N) and (…, N)."""
    return torch.matmul(state, reads[..., None])[..., 0]


class AttentionTwin(nn.Module):
    """Causal multi-head attention of the same width, with a cache that grows by one key and one value a token."""

    def __init__(self, shape: SsmShape, *, seed: int) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(seed)
        self.shape = shape
        self.qkv = matrix(3 * shape.width, shape.width, rng=rng)  # (3C, C)
        self.out = matrix(shape.width, shape.width, rng=rng)  # (C, C)

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs (B, T, C) of all tokens x (B, T, C) at once."""
        q, k, v = self._heads(x)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return functional.linear(mixed.transpose(1, 2).reshape(x.shape), self.out)

    def step(self, x: Tensor, cache: Tensor, *, at: int) -> Tensor:
        """Return the output (B, C) of one token x (B, C) at position ``at``, its key and value kept in ``cache``.

        The cache is (2, B, H, S, C / H).
        """
        q, k, v = self._heads(x[:, None])
        cache[0, :, :, at], cache[1, :, :, at] = k[:, :, 0], v[:, :, 0]
        mixed = functional.scaled_dot_product_attention(q, cache[0, :, :, : at + 1], cache[1, :, :, : at + 1])
        return functional.linear(mixed.reshape(x.shape), self.out)

    def cache(self, *, sequences: int, tokens: int) -> Tensor:
        """Return an empty cache of so many sequences and tokens."""
        return torch.zeros(2, sequences, self.shape.heads, tokens, self.shape.width // self.shape.heads)

    def _heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        batch, tokens, _ = x.shape
        heads = functional.linear(x, self.qkv).view(batch, tokens, 3, self.shape.heads, -1).permute(2, 0, 3, 1, 4)
        return heads[0], heads[1], heads[2]  # each (B, H, T, C / H)
