"""The architecture of an open model, frozen: what its cache, its state, its FLOPs and its bytes depend on."""

from __future__ import annotations

import datetime as dt  # noqa: TC003 - the reader resolves annotations
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class LayerGroup:
    """``layers`` attention layers that see only the last ``window_tokens`` tokens."""

    layers: int
    window_tokens: int

    def __post_init__(self) -> None:
        if self.layers < 0 or self.window_tokens <= 0:
            raise ValueError(f"a layer group needs layers >= 0 and window_tokens > 0, got {self}")


@dataclass(frozen=True, slots=True)
class AttentionShape:
    """What the key-value cache and the attention FLOPs depend on.

    Attributes:
        layers: Layers that keep a key-value cache (a hybrid's state-space layers do not).
        kv_heads: Key-value heads of one layer.
        head_dim: Values of one query or key head.
        heads: Query heads; None where unknown (the cache does not depend on it).
        windows: Groups of layers with a sliding window; the rest see the whole context.
        latent_values: MLA: values cached per layer and token (kv_lora_rank + qk_rope_head_dim) instead of keys and
            values; None elsewhere.
        rope_values: MLA: how many of the latent_values are the rotary key (qk_rope_head_dim); the others are the
            latent that keys and values are both made of.
        value_dim: Values of one value head where they are not head_dim (v_head_dim of MLA).
        index_values: Values per layer and token of the keys that a sparse-attention indexer caches besides.
        index_tokens: Tokens that such an indexer leaves for attention to see; None for all.
        index_heads: Query heads of that indexer.
    """

    layers: int
    kv_heads: int
    head_dim: int
    heads: int | None = None
    windows: tuple[LayerGroup, ...] = ()
    latent_values: int | None = None
    rope_values: int = 0
    value_dim: int | None = None
    index_values: int = 0
    index_tokens: int | None = None
    index_heads: int = 0

    def __post_init__(self) -> None:
        known = (self.heads, self.latent_values, self.value_dim, self.index_tokens)
        numbers = (self.layers, self.kv_heads, self.head_dim, self.rope_values, self.index_values, self.index_heads)
        if min(*numbers, *(number or 0 for number in known)) < 0:
            raise ValueError(f"an attention shape has no negative counts, got {self}")
        if self.full_layers < 0:
            raise ValueError(f"{self.layers} layers, but the windowed groups hold more")
        if self.latent_values is not None and self.rope_values > self.latent_values:
            raise ValueError(f"rope_values are part of latent_values, got {self}")

    @property
    def full_layers(self) -> int:
        """Layers that see the whole context."""
        return self.layers - sum(group.layers for group in self.windows)

    @property
    def values_per_token(self) -> int:
        """Values that one layer caches for one token: a key and a value per key-value head, or the latent."""
        if self.latent_values is not None:
            return self.latent_values
        return self.kv_heads * (self.head_dim + (self.head_dim if self.value_dim is None else self.value_dim))

    @property
    def kind(self) -> str:
        """MHA, GQA, MQA or MLA; ``none`` without attention layers."""
        if not self.layers:
            return "none"
        if self.latent_values is not None:
            return "MLA"
        if self.kv_heads == self.heads:
            return "MHA"
        return "MQA" if self.kv_heads == 1 else "GQA"


@dataclass(frozen=True, slots=True)
class StateLayers:
    """Layers that keep a state of fixed size per sequence in place of a cache.

    Attributes:
        kind: ``mamba``, ``mamba2`` or ``gated_delta_net`` (linear attention of Qwen3-Next and its kin).
        layers: How many.
        conv_values: Values of the convolution's window of one layer: (kernel - 1) * channels.
        recurrent_values: Values of the recurrent state of one layer.
        conv_kernel: Taps of the convolution.
        recurrent_bytes_per_value: What the model's config asks for (4 for float32); None: the engine's choice, the
            model's own 16 bits by default.
    """

    kind: Literal["mamba", "mamba2", "gated_delta_net"]
    layers: int
    conv_values: int
    recurrent_values: int
    conv_kernel: int
    recurrent_bytes_per_value: float | None = None

    def __post_init__(self) -> None:
        if min(self.layers, self.conv_values, self.recurrent_values) < 0 or self.conv_kernel < 1:
            raise ValueError(f"state layers have no negative counts, got {self}")


@dataclass(frozen=True, slots=True)
class Experts:
    """The experts of a mixture-of-experts model.

    Attributes:
        count: Routed experts of one layer.
        per_token: Routed experts that a token is sent to.
        parameters: Parameters of all routed experts of all layers together.
        layers: Layers with experts; the others have a dense feed-forward. None where unknown.
        hidden: Width of one routed expert's feed-forward; None where unknown.
        shared_parameters: Parameters of the shared experts, which see every token, of all layers together.
    """

    count: int
    per_token: int
    parameters: int
    layers: int | None = None
    hidden: int | None = None
    shared_parameters: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.per_token <= self.count:
            raise ValueError(f"a token goes to 1 to {self.count} of {self.count} experts, got {self.per_token}")


@dataclass(frozen=True, slots=True)
class Quantization:
    """How a checkpoint stores its weights, as its config says.

    Attributes:
        format: A name that ``llmdrill.estimate.quantization`` knows, such as ``gptq-4bit`` or ``mxfp4``.
        group_values: Weights that share one scale; None where the format fixes it.
        experts_only: Whether only the routed experts are quantised.
    """

    format: str
    group_values: int | None = None
    experts_only: bool = False


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """One open model's architecture.

    Attributes:
        name: As in the catalogue, or the path of the config it was read from.
        kind: ``decoder`` writes text; ``encoder`` embeds it and keeps no cache.
        attention: Shape of the attention layers.
        layers: All blocks, those without attention included.
        hidden: Width of the residual stream.
        parameters: All of them; None if they could not be counted.
        active_parameters: Those a single token touches, the input embedding included.
        embedding_parameters: Of the input embedding table (a lookup, so neither multiplied nor read whole).
        tied_embeddings: Whether the output head is the same table.
        vocab_size: Tokens the model knows.
        max_context_tokens: The longest context it was built for.
        source: File or page read.
        date: When that copy was read; None for a person's own file.
        experts: None for a dense model.
        aliases: Other names people use.
        guessed: Fields that were not in the file and were derived, each with how.
        feed_forward: Width of the dense feed-forward; None where there is none or it is unknown.
        linear_parameters: Of the layers' matrices, routers and convolutions left out: what quantisation shrinks. The
            embeddings, the head, norms and biases are the rest. None if they could not be counted.
        state: The layers that keep a state in place of a cache; None in a pure transformer.
        quantization: How this checkpoint stores its weights; None for one precision throughout.
        model_type: As its config.json says.
    """

    name: str
    kind: Literal["decoder", "encoder"]
    attention: AttentionShape
    layers: int
    hidden: int
    parameters: int | None
    active_parameters: int | None
    embedding_parameters: int | None
    tied_embeddings: bool
    vocab_size: int
    max_context_tokens: int | None
    source: str
    date: dt.date | None
    experts: Experts | None = None
    aliases: tuple[str, ...] = ()
    guessed: tuple[str, ...] = ()
    feed_forward: int | None = None
    linear_parameters: int | None = None
    state: StateLayers | None = None
    quantization: Quantization | None = None
    model_type: str = ""

    @property
    def head_parameters(self) -> int:
        """Parameters of the output head that are not the embedding table's own; 0 where it is tied or absent."""
        return 0 if self.tied_embeddings or self.kind == "encoder" else self.vocab_size * self.hidden
