"""Shapes of Llama-family decoders: from a config.json, or by name for runs with random weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from llmdrill.errors import ModelFileError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Mapping

ARCHITECTURES: Final = ("llama", "mistral", "qwen2", "qwen3")  # values of model_type


@dataclass(frozen=True, slots=True)
class LongRope:
    """Llama 3's stretched positions: slow rotations are slowed by ``factor``, fast ones kept, those between blended."""

    factor: float
    low_frequency_factor: float
    high_frequency_factor: float
    original_positions: int


@dataclass(frozen=True, slots=True)
class DecoderShape:
    """What a Llama-family decoder's forward pass needs to know.

    Attributes:
        heads: Query heads.
        kv_heads: Key and value heads: as many as ``heads`` in MHA, fewer in GQA, one in MQA.
        tied: The output matrix is the embedding matrix.
        max_positions: The longest context; for a model with a sliding window, the window, within which it is exact.
        qkv_bias: As in Qwen2.
        qk_norm: Every head's query and key is normed before it is turned, as in Qwen3.
    """

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    rope_theta: float
    norm_eps: float
    tied: bool
    max_positions: int
    qkv_bias: bool = False
    qk_norm: bool = False
    long_rope: LongRope | None = None

    @property
    def kv_bytes_per_token(self) -> int:
        """Return the bytes of one token's keys and values in fp32."""
        return 2 * self.layers * self.kv_heads * self.head_dim * 4

    @property
    def parameters(self) -> int:
        """Return the number of weights.

        >>> NAMED_SHAPES["smollm2-135m"].parameters
        134515008
        """
        q_and_out, k_and_v = self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention = 2 * self.hidden * (q_and_out + k_and_v) + (q_and_out + 2 * k_and_v) * self.qkv_bias
        norms = 2 * self.hidden + 2 * self.head_dim * self.qk_norm
        layer = attention + 3 * self.hidden * self.intermediate + norms
        return self.layers * layer + self.hidden + self.vocab * self.hidden * (1 if self.tied else 2)


# smollm2-135m, smollm2-360m: mlc-ai/mlc-llm@01ced331, python/mlc_llm/model/model_preset.py.
# qwen2.5-0.5b: config.json of Qwen/Qwen2.5-0.5B-Instruct as quoted by public repositories (code search, 2026-11-22).
# tiny: no model; small enough for tests, with every feature that smollm2 has.
NAMED_SHAPES: Final[dict[str, DecoderShape]] = {
    "tiny": DecoderShape(
        layers=2,
        hidden=64,
        heads=4,
        kv_heads=2,
        head_dim=16,
        intermediate=128,
        vocab=256,
        rope_theta=10_000.0,
        norm_eps=1e-5,
        tied=True,
        max_positions=2048,
    ),
    "smollm2-135m": DecoderShape(
        layers=30,
        hidden=576,
        heads=9,
        kv_heads=3,
        head_dim=64,
        intermediate=1536,
        vocab=49_152,
        rope_theta=100_000.0,
        norm_eps=1e-5,
        tied=True,
        max_positions=8192,
    ),
    "smollm2-360m": DecoderShape(
        layers=32,
        hidden=960,
        heads=15,
        kv_heads=5,
        head_dim=64,
        intermediate=2560,
        vocab=49_152,
        rope_theta=100_000.0,
        norm_eps=1e-5,
        tied=True,
        max_positions=8192,
    ),
    "qwen2.5-0.5b": DecoderShape(
        layers=24,
        hidden=896,
        heads=14,
        kv_heads=2,
        head_dim=64,
        intermediate=4864,
        vocab=151_936,
        rope_theta=1_000_000.0,
        norm_eps=1e-6,
        tied=True,
        max_positions=32_768,
        qkv_bias=True,
    ),
}


def named_shape(name: str) -> DecoderShape:
    """Return the shape of that name.

    >>> named_shape("smollm2-135").layers
    Traceback (most recent call last):
    llmdrill.errors.UnknownNameError: unknown decoder shape 'smollm2-135' (did you mean smollm2-135m, smollm2-360m?)
    """
    try:
        return NAMED_SHAPES[name]
    except KeyError:
        raise UnknownNameError("decoder shape", name, NAMED_SHAPES) from None


def shape_from_config(config: Mapping[str, Any], *, file: str) -> DecoderShape:
    """Read a shape from config.json, refusing what the forward pass would get wrong.

    Raises:
        ModelFileError: If the architecture or one of its features is not supported, or a figure is missing.
    """
    _refuse_unsupported(config, file)
    try:
        heads, hidden = int(config["num_attention_heads"]), int(config["hidden_size"])
        windows = [config["sliding_window"]] if _slides(config) else []
        rope = config.get("rope_parameters") or {}
        shape = DecoderShape(
            layers=int(config["num_hidden_layers"]),
            hidden=hidden,
            heads=heads,
            kv_heads=int(config.get("num_key_value_heads") or heads),
            head_dim=int(config.get("head_dim") or hidden // heads),
            intermediate=int(config["intermediate_size"]),
            vocab=int(config["vocab_size"]),
            rope_theta=float(config.get("rope_theta") or rope.get("rope_theta") or 10_000.0),
            norm_eps=float(config["rms_norm_eps"]),
            tied=bool(config.get("tie_word_embeddings", False)),
            max_positions=min(int(config["max_position_embeddings"]), *windows, 1 << 40),
            qkv_bias=config["model_type"] == "qwen2",
            qk_norm=config["model_type"] == "qwen3",
            long_rope=_long_rope(config, file),
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ModelFileError(f"{file}: missing or malformed figure {error}") from error
    if (
        min(shape.layers, hidden, heads, shape.kv_heads, shape.vocab) < 1
        or heads % shape.kv_heads
        or shape.head_dim % 2
    ):
        raise ModelFileError(f"{file}: {heads} heads, {shape.kv_heads} KV heads, head size {shape.head_dim} do not fit")
    return shape


def _refuse_unsupported(config: Mapping[str, Any], file: str) -> None:
    kind = config.get("model_type")
    if kind not in ARCHITECTURES:
        raise ModelFileError(f"{file}: the architecture '{kind}' is not supported ({', '.join(ARCHITECTURES)} are)")
    if config.get("hidden_act", "silu") != "silu":
        raise ModelFileError(f"{file}: the activation '{config['hidden_act']}' is not supported (silu is)")
    for key in ("attention_bias", "mlp_bias", "quantization_config"):
        if config.get(key):
            raise ModelFileError(f"{file}: {key} is not supported")


def _slides(config: Mapping[str, Any]) -> bool:
    return bool(config.get("sliding_window")) and bool(
        config.get("use_sliding_window", config["model_type"] == "mistral")
    )


def _long_rope(config: Mapping[str, Any], file: str) -> LongRope | None:
    rope = config.get("rope_scaling") or config.get("rope_parameters") or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind == "default":
        return None
    if kind != "llama3":
        raise ModelFileError(f"{file}: the rope scaling '{kind}' is not supported (llama3 is)")
    return LongRope(
        factor=float(rope["factor"]),
        low_frequency_factor=float(rope["low_freq_factor"]),
        high_frequency_factor=float(rope["high_freq_factor"]),
        original_positions=int(rope["original_max_position_embeddings"]),
    )
