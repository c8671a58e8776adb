"""The decoder as it is trained; its parameters bear Hugging Face's names, so that exporting is writing them down.

Shapes in comments: B sequences, T tokens, C hidden size, H heads, K key-value heads, D head size, V vocabulary.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

ROPE_THETA: Final = 10_000.0
NORM_EPS: Final = 1e-5
EMBEDDING_SPREAD: Final = 0.02
CONFIG_KEYS: Final = {  # size of a shape → what a Llama's config.json calls it
    "layers": "num_hidden_layers",
    "hidden": "hidden_size",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "intermediate": "intermediate_size",
    "vocabulary": "vocab_size",
    "max_positions": "max_position_embeddings",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a decoder with tied embeddings."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int = 4096
    max_positions: int = 1024

    @property
    def parameters(self) -> int:
        """Return the number of weights.

        >>> PRESETS["8m"].parameters, PRESETS["1m"].parameters
        (8335488, 1078144)
        """
        attention = 2 * self.hidden * self.head_dim * (self.heads + self.kv_heads)
        layer = attention + 3 * self.hidden * self.intermediate + 2 * self.hidden
        return self.layers * layer + self.hidden + self.vocabulary * self.hidden

    def config(self) -> dict[str, Any]:
        """Return it as a Llama's config.json."""
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_act": "silu",
            **{key: getattr(self, size) for size, key in CONFIG_KEYS.items()},
            "rope_theta": ROPE_THETA,
            "rms_norm_eps": NORM_EPS,
            "tie_word_embeddings": True,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Shape:
        """Read what ``config`` wrote."""
        return cls(**{size: config[key] for size, key in CONFIG_KEYS.items()})

    def saved(self) -> dict[str, int]:
        return asdict(self)


PRESETS: Final[dict[str, Shape]] = {
    "8m": Shape(layers=5, hidden=384, heads=6, kv_heads=2, head_dim=64, intermediate=832),
    "1m": Shape(layers=3, hidden=128, heads=2, kv_heads=1, head_dim=64, intermediate=352),
    "tiny": Shape(layers=2, hidden=32, heads=2, kv_heads=1, head_dim=16, intermediate=64, vocabulary=320),
}


class Norm(nn.Module):
    """RMSNorm with a gain."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        return functional.rms_norm(x, x.shape[-1:], self.weight, NORM_EPS)


class Attention(nn.Module):
    """Causal self-attention with rotary positions and grouped key-value heads."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.q_proj = nn.Linear(shape.hidden, shape.heads * shape.head_dim, bias=False)
        self.k_proj = nn.Linear(shape.hidden, shape.kv_heads * shape.head_dim, bias=False)
        self.v_proj = nn.Linear(shape.hidden, shape.kv_heads * shape.head_dim, bias=False)
        self.o_proj = nn.Linear(shape.heads * shape.head_dim, shape.hidden, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        shape, (batch, tokens, _) = self.shape, x.shape
        q = rotate(self.q_proj(x).view(batch, tokens, shape.heads, shape.head_dim).transpose(1, 2), cos, sin)
        k = rotate(self.k_proj(x).view(batch, tokens, shape.kv_heads, shape.head_dim).transpose(1, 2), cos, sin)
        v = self.v_proj(x).view(batch, tokens, shape.kv_heads, shape.head_dim).transpose(1, 2)  # (B, K, T, D)
        group = shape.heads // shape.kv_heads
        k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)  # (B, H, T, D)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(mixed.transpose(1, 2).reshape(batch, tokens, -1))


class Mlp(nn.Module):
    """SwiGLU."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.hidden, shape.intermediate, bias=False)
        self.up_proj = nn.Linear(shape.hidden, shape.intermediate, bias=False)
        self.down_proj = nn.Linear(shape.intermediate, shape.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """Attention, then the MLP, each added to what came in (Pre-LN)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm, self.self_attn = Norm(shape.hidden), Attention(shape)
        self.post_attention_layernorm, self.mlp = Norm(shape.hidden), Mlp(shape)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    """The whole decoder."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embed_tokens = nn.Embedding(shape.vocabulary, shape.hidden)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = Norm(shape.hidden)
        cos, sin = rotations(shape)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self._initialise()

    def _initialise(self) -> None:
        """Draw the weights; what adds to the residual stream begins at zero, so that layers come in gently."""
        nn.init.normal_(self.embed_tokens.weight, std=EMBEDDING_SPREAD)
        for name, weight in self.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                nn.init.zeros_(weight)
            elif weight.ndim == 2 and "embed" not in name:
                bound = (3.0 / weight.shape[1]) ** 0.5
                nn.init.uniform_(weight, -bound, bound)

    def hidden(self, ids: Tensor) -> Tensor:
        """Return the normed result (B, T, C) of ids (B, T)."""
        cos, sin = self.cos[: ids.shape[1]], self.sin[: ids.shape[1]]
        x = self.embed_tokens(ids)
        for layer in self.layers:
            x = layer(x, cos, sin)
        return self.norm(x)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the logits (B, T, V)."""
        return functional.linear(self.hidden(ids), self.embed_tokens.weight)

    def loss(self, ids: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy in nats of predicting targets (B, T)."""
        return functional.cross_entropy(self(ids).flatten(0, 1).float(), targets.flatten())


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the halves of each head vector (B, H, T, D) by the angles (T, D) of its position."""
    first, second = x.chunk(2, dim=-1)
    return x * cos.to(x.dtype) + torch.cat((-second, first), dim=-1) * sin.to(x.dtype)


def rotations(shape: Shape) -> tuple[Tensor, Tensor]:
    """Return cosine and sine (max_positions, D) of every position's angles."""
    frequencies = 1.0 / ROPE_THETA ** (torch.arange(0, shape.head_dim, 2).float() / shape.head_dim)  # (D/2,)
    angles = torch.outer(torch.arange(shape.max_positions).float(), frequencies).repeat(1, 2)
    return angles.cos(), angles.sin()
