"""A decoder's forward pass that autograd can follow, with all continuations of a prompt in one row.

Shapes in comments: B rows, T tokens of a row, C hidden size, V vocabulary, N tokens of continuations, M continuations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from llmdrill.lab.decoder import DecoderWeights, LayerWeights, rotate, rotations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from llmdrill.lab.decoder import Decoder
    from llmdrill.lab.shapes import DecoderShape


@dataclass(frozen=True, slots=True)
class Packed:
    """Prompts, each read once, with their continuations behind them, none of which sees another.

    Attributes:
        ids: (B, T), padded with 0.
        positions: (B, T): every continuation begins where its prompt ends.
        mask: (B, T, T), True where a token (second axis) looks at another (third).
        row: (N,), the row of every token of a continuation.
        before: (N,), where in its row the token before it stands.
        targets: (N,), the tokens.
        owner: (N,), the continuation they belong to, numbered over all rows.
        continuations: M.
    """

    ids: Tensor
    positions: Tensor
    mask: Tensor
    row: Tensor
    before: Tensor
    targets: Tensor
    owner: Tensor
    continuations: int

    def sums(self, values: Tensor) -> Tensor:
        """Return the sum (M,) over each continuation of a value per token (N,)."""
        return torch.zeros(self.continuations).index_add(0, self.owner, values)


def pack(prompts: Sequence[Sequence[int]], continuations: Sequence[Sequence[Sequence[int]]]) -> Packed:
    """Put each prompt and its continuations, none of them empty, into one row.

    Shared prefixes are read once: with eight continuations of 10 tokens behind a prompt of 64 that is 144 tokens
    instead of 592, and the gradient is the same.
    """
    longest = max(len(p) + sum(map(len, own)) for p, own in zip(prompts, continuations, strict=True))
    ids, positions = (torch.zeros(len(prompts), longest, dtype=torch.long) for _ in range(2))
    part = torch.full((len(prompts), longest), -1)  # 0 for the prompt, then 1, 2 … for its continuations
    picked: list[tuple[int, int, int, int]] = []
    number = 0
    for row, (prompt, own) in enumerate(zip(prompts, continuations, strict=True)):
        end = len(prompt)
        ids[row, :end], positions[row, :end], part[row, :end] = torch.tensor(prompt), torch.arange(end), 0
        for at, tokens in enumerate(own, start=1):
            span = slice(end, end + len(tokens))
            ids[row, span], part[row, span] = torch.tensor(tokens), at
            positions[row, span] = torch.arange(len(prompt), len(prompt) + len(tokens))
            previous = (len(prompt) - 1, *range(end, end + len(tokens) - 1))
            picked += [(row, before, token, number) for before, token in zip(previous, tokens, strict=True)]
            end, number = end + len(tokens), number + 1
    seen = (part[:, None, :] == 0) | (part[:, None, :] == part[:, :, None])  # (B, T, T)
    mask = seen & torch.ones(longest, longest, dtype=torch.bool).tril()
    mask |= torch.eye(longest, dtype=torch.bool)  # padding sees itself: a row of the softmax is never empty
    rows, before, targets, owner = torch.tensor(picked).unbind(dim=1)
    return Packed(ids, positions, mask, rows, before, targets, owner, continuations=number)


def packed_logprobs(shape: DecoderShape, weights: DecoderWeights, packed: Packed) -> Tensor:
    """Return the log-probabilities (N, V) of what may follow before every token of every continuation."""
    cos, sin = (table[packed.positions, None] for table in rotations(shape))  # (B, T, 1, D)
    mask = packed.mask[:, None]  # (B, 1, T, T)
    x = weights.embedding[packed.ids]  # (B, T, C)
    for layer in weights.layers:
        x = x + _attend(shape, layer, x, (cos, sin), mask)
        normed = functional.rms_norm(x, x.shape[-1:], layer.mlp_norm, shape.norm_eps)
        gate, up = functional.linear(normed, layer.gate_up).chunk(2, dim=-1)
        x = x + functional.linear(functional.silu(gate) * up, layer.down)
    hidden = functional.rms_norm(x[packed.row, packed.before], x.shape[-1:], weights.norm, shape.norm_eps)  # (N, C)
    return functional.linear(hidden, weights.head).log_softmax(dim=-1)


def _attend(shape: DecoderShape, layer: LayerWeights, x: Tensor, turns: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
    """Return what attention adds to ``x`` (B, T, C)."""
    batch, tokens, _ = x.shape
    normed = functional.rms_norm(x, x.shape[-1:], layer.attention_norm, shape.norm_eps)
    qkv = functional.linear(normed, layer.qkv, layer.qkv_bias)
    heads = qkv.view(batch, tokens, -1, shape.head_dim)
    turning, v = torch.split(heads, [shape.heads + shape.kv_heads, shape.kv_heads], dim=2)  # (B, T, H + K or K, D)
    if layer.qk_norm is not None:
        turning = functional.rms_norm(turning, turning.shape[-1:], None, shape.norm_eps) * layer.qk_norm
    q, k = torch.split(rotate(turning, *turns), [shape.heads, shape.kv_heads], dim=2)
    mixed = functional.scaled_dot_product_attention(
        q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=mask, enable_gqa=True
    )
    return functional.linear(mixed.transpose(1, 2).reshape(batch, tokens, -1), layer.out)


def trainable_copy(decoder: Decoder) -> DecoderWeights:
    """Return a copy of a decoder's weights as leaves that collect gradients; a tied output matrix stays tied."""
    weights = decoder.weights

    def leaf(tensor: Tensor) -> Tensor:
        return tensor.detach().clone().requires_grad_()

    embedding = leaf(weights.embedding)
    layers = tuple(
        LayerWeights(
            attention_norm=leaf(layer.attention_norm),
            qkv=leaf(layer.qkv),
            qkv_bias=None if layer.qkv_bias is None else leaf(layer.qkv_bias),
            out=leaf(layer.out),
            mlp_norm=leaf(layer.mlp_norm),
            gate_up=leaf(layer.gate_up),
            down=leaf(layer.down),
            qk_norm=None if layer.qk_norm is None else leaf(layer.qk_norm),
        )
        for layer in weights.layers
    )
    head = embedding if decoder.shape.tied else leaf(weights.head)
    return DecoderWeights(embedding, layers, leaf(weights.norm), head)


def leaves(weights: DecoderWeights) -> list[Tensor]:
    """Return every tensor of the weights once."""
    of_layers = [
        tensor
        for layer in weights.layers
        for tensor in (
            *(layer.attention_norm, layer.qkv, layer.qkv_bias, layer.out),
            *(layer.mlp_norm, layer.gate_up, layer.down, layer.qk_norm),
        )
        if tensor is not None
    ]
    head = [] if weights.head is weights.embedding else [weights.head]
    return [weights.embedding, *of_layers, weights.norm, *head]
