"""A BERT encoder's forward pass in plain torch: the whole of all-MiniLM-L6-v2 but its tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
from torch.nn import functional

from llmdrill.errors import ModelFileError
from llmdrill.lab.model_files import take

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

_ONEDNN: Final = torch.ops.mkldnn  # its linear operators are private in name, but what torch.compile emits


@dataclass(frozen=True, slots=True)
class BertShape:
    """The figures of config.json that the forward pass needs."""

    layers: int
    hidden: int
    heads: int
    intermediate: int
    vocab: int
    positions: int
    norm_eps: float


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


def cpu_has_fast_bf16() -> bool:
    """Tell whether bf16 matmuls beat fp32 here: with AMX tiles they do.

    AVX512_BF16 alone is no reason: on a Xeon without AMX tiles torch 2.13 reached 167 GFLOP/s in bf16 and 250 in fp32.
    """
    probe = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return bool(probe and probe())


def can_pack(dtype: torch.dtype) -> bool:
    """Tell whether torch's oneDNN linear with a weight laid out ahead works here, by running the smallest one."""
    try:
        tiny = Linear(torch.ones(16, 16, dtype=dtype), torch.ones(16, dtype=dtype), gelu=True, packed=True)
        return bool(tiny(torch.ones(2, 16, dtype=dtype)).isfinite().all())
    except (RuntimeError, AttributeError, NotImplementedError):
        return False


def shape_of(config: Mapping[str, Any], folder: Path) -> BertShape:
    """Read the shape from config.json, refusing encoders that this forward pass would get wrong."""
    for key, wanted in (("model_type", "bert"), ("hidden_act", "gelu"), ("position_embedding_type", "absolute")):
        if config.get(key, None if key == "model_type" else wanted) != wanted:
            raise ModelFileError(
                f"{folder}/config.json: {key} is '{config.get(key)}': only a BERT encoder with {wanted} is supported",
            )
    try:
        return BertShape(
            layers=int(config["num_hidden_layers"]),
            hidden=int(config["hidden_size"]),
            heads=int(config["num_attention_heads"]),
            intermediate=int(config["intermediate_size"]),
            vocab=int(config["vocab_size"]),
            positions=int(config["max_position_embeddings"]),
            norm_eps=float(config.get("layer_norm_eps", 1e-12)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(f"{folder}/config.json: missing or malformed figure {error}") from error


def build_encoder(shape: BertShape, tensors: Mapping[str, Tensor], *, dtype: torch.dtype, folder: Path) -> Encoder:
    """Put the weights of a checkpoint into an encoder of ``dtype``."""
    prefix = "bert." if any(name.startswith("bert.") for name in tensors) else ""
    packed = can_pack(dtype)

    def get(name: str, *size: int) -> Tensor:
        return take(tensors, prefix + name, size, folder=folder).to(dtype)

    def linear(names: tuple[str, ...], rows: int, columns: int, *, gelu: bool = False) -> Linear:
        weight = torch.cat([get(f"{name}.weight", rows, columns) for name in names])
        return Linear(weight, torch.cat([get(f"{name}.bias", rows) for name in names]), gelu=gelu, packed=packed)

    def norm(name: str) -> Norm:
        return Norm(get(f"{name}.weight", shape.hidden), get(f"{name}.bias", shape.hidden), shape.norm_eps)

    def layer(at: str) -> Layer:
        width, inner = shape.hidden, shape.intermediate
        return Layer(
            qkv=linear(tuple(f"{at}.attention.self.{part}" for part in ("query", "key", "value")), width, width),
            out=linear((f"{at}.attention.output.dense",), width, width),
            attention_norm=norm(f"{at}.attention.output.LayerNorm"),
            up=linear((f"{at}.intermediate.dense",), inner, width, gelu=True),
            down=linear((f"{at}.output.dense",), width, inner),
            output_norm=norm(f"{at}.output.LayerNorm"),
        )

    types = take(tensors, prefix + "embeddings.token_type_embeddings.weight", (2, shape.hidden), folder=folder)
    return Encoder(
        shape=shape,
        words=get("embeddings.word_embeddings.weight", shape.vocab, shape.hidden),
        positions=get("embeddings.position_embeddings.weight", shape.positions, shape.hidden) + types[0].to(dtype),
        norm=norm("embeddings.LayerNorm"),
        layers=tuple(layer(f"encoder.layer.{index}") for index in range(shape.layers)),
    )
