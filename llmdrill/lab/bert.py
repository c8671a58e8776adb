"""A BERT encoder's forward pass in plain torch: the whole of all-MiniLM-L6-v2 but its tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
from torch.nn import functional

from llmdrill.lab.length_batches import BATCH_TOKENS, length_batches

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from llmdrill.lab.bert_shape import Affine, BertShape, EncoderArrays

_ONEDNN: Final = torch.ops.mkldnn  # its linear operators are private in name, but what torch.compile emits


class Linear:
    """``x @ weight.T + bias``, then GELU if asked; the weight is laid out once for oneDNN where torch offers that.

    Laying out ahead and fusing GELU is worth 8 to 25 % at 1,024 tokens a batch (two cores, AVX-512).
    """

    def __init__(self, weight: Tensor, bias: Tensor, *, gelu: bool = False, packed: bool) -> None:
        self.gelu, self.packed, self.bias = gelu, packed, bias
        self.weight = _ONEDNN._reorder_linear_weight(weight.contiguous(), None) if packed else weight  # noqa: SLF001

    def __call__(self, x: Tensor) -> Tensor:
        if self.packed:
            name, variant = ("gelu", "none") if self.gelu else ("none", "")
            fused: Tensor = _ONEDNN._linear_pointwise(x, self.weight, self.bias, name, [], variant)  # noqa: SLF001
            return fused
        y = functional.linear(x, self.weight, self.bias)
        return functional.gelu(y) if self.gelu else y


@dataclass(frozen=True, slots=True)
class Norm:
    """Layer normalisation."""

    weight: Tensor
    bias: Tensor
    eps: float

    def __call__(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.eps)


@dataclass(frozen=True, slots=True)
class Layer:
    """One encoder layer: query, key and value in one matrix."""

    qkv: Linear
    out: Linear
    attention_norm: Norm
    up: Linear
    down: Linear
    output_norm: Norm


@dataclass(frozen=True, slots=True)
class Encoder:
    """A BERT encoder, ready to run."""

    shape: BertShape
    words: Tensor  # (V, C)
    positions: Tensor  # (P, C), the first token type's vector added
    norm: Norm
    layers: tuple[Layer, ...]

    def __call__(self, ids: Tensor, mask: Tensor | None) -> Tensor:
        """Return the last hidden state (B, T, C) of token ids (B, T); ``mask`` (B, T) is True where a token is real."""
        batch, tokens = ids.shape
        keys = None if mask is None else mask[:, None, None, :]  # (B, 1, 1, T)
        x = self.norm(self.words[ids] + self.positions[:tokens]).view(batch * tokens, -1)  # (B*T, C)
        for layer in self.layers:
            qkv = layer.qkv(x).view(batch, tokens, 3, self.shape.heads, -1)
            q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, H, T, D)
            seen = functional.scaled_dot_product_attention(q, k, v, attn_mask=keys)
            x = layer.attention_norm(x + layer.out(seen.transpose(1, 2).reshape(batch * tokens, -1)))
            x = layer.output_norm(x + layer.down(layer.up(x)))
        return x.view(batch, tokens, -1)


@dataclass(frozen=True, slots=True)
class TorchEncoder:
    """The torch engine: batches of nearly one length, padded to their longest.

    Attributes:
        batch_tokens: Of one batch, padding included.
        in_order: Leave the texts unsorted.
    """

    encoder: Encoder
    batch_tokens: int = BATCH_TOKENS
    in_order: bool = False

    def each(
        self, rows: Sequence[list[int]], take: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield the index of each row of token ids with what ``take`` makes of its last hidden state (T, C)."""
        lengths = [len(row) for row in rows]
        batches = length_batches(lengths, batch_tokens=self.batch_tokens, in_order=self.in_order)
        with torch.inference_mode():
            for picked in batches:
                hidden = self.encoder(*pad_rows([rows[index] for index in picked])).float().numpy()  # (B, T, C)
                for index, one in zip(picked, hidden, strict=True):
                    yield index, take(one[: lengths[index]])

    def batched(self, *, batch_tokens: int, in_order: bool = False) -> TorchEncoder:
        """Return an encoder on the same weights that takes texts in other batches."""
        return TorchEncoder(self.encoder, batch_tokens, in_order)

    @torch.inference_mode()
    def products(self, *, tokens: int) -> int:
        """Do the matrix products of all layers, GELU within them, for at least so many tokens, batch by batch."""
        batches, shape, dtype = -(-tokens // self.batch_tokens), self.encoder.shape, self.encoder.words.dtype
        x = torch.ones(self.batch_tokens, shape.hidden, dtype=dtype)
        wide = torch.ones(self.batch_tokens, shape.intermediate, dtype=dtype)
        for _ in range(batches):
            for layer in self.encoder.layers:
                for one, given in ((layer.qkv, x), (layer.out, x), (layer.up, x), (layer.down, wide)):
                    one(given)
        return batches * self.batch_tokens


def pad_rows(rows: Sequence[list[int]]) -> tuple[Tensor, Tensor | None]:
    """Return token ids (B, T) and where they are real (B, T), or None if all are."""
    lengths = torch.tensor([len(row) for row in rows])
    longest = int(lengths.max())
    mask = torch.arange(longest) < lengths[:, None]
    return torch.tensor([row + [0] * (longest - len(row)) for row in rows]), None if bool(mask.all()) else mask


def can_pack(dtype: torch.dtype) -> bool:
    """Tell whether torch's oneDNN linear with a weight laid out ahead works here, by running the smallest one."""
    try:
        tiny = Linear(torch.ones(16, 16, dtype=dtype), torch.ones(16, dtype=dtype), gelu=True, packed=True)
        return bool(tiny(torch.ones(2, 16, dtype=dtype)).isfinite().all())
    except (RuntimeError, AttributeError):
        return False


def build_encoder(shape: BertShape, arrays: EncoderArrays, *, dtype: torch.dtype) -> Encoder:
    """Put the weights of a checkpoint into an encoder of ``dtype``."""
    packed = can_pack(dtype)

    def tensor(values: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(values).to(dtype)

    def linear(one: Affine, *, gelu: bool = False) -> Linear:
        return Linear(tensor(one.weight), tensor(one.bias), gelu=gelu, packed=packed)

    def norm(one: Affine) -> Norm:
        return Norm(tensor(one.weight), tensor(one.bias), shape.norm_eps)

    return Encoder(
        shape=shape,
        words=tensor(arrays.words),
        positions=tensor(arrays.positions),
        norm=norm(arrays.norm),
        layers=tuple(
            Layer(
                qkv=linear(one.qkv),
                out=linear(one.out),
                attention_norm=norm(one.attention_norm),
                up=linear(one.up, gelu=True),
                down=linear(one.down),
                output_norm=norm(one.output_norm),
            )
            for one in arrays.layers
        ),
    )
