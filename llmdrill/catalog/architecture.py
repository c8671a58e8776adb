"""The architecture of an open model, frozen: what its cache, its FLOPs and its bytes depend on."""

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
        head_dim: Values of one head.
        heads: Query heads; None where unknown (the cache does not depend on it).
        windows: Groups of layers with a sliding window; the rest see the whole context.
        latent_values: MLA: values cached per layer and token (kv_lora_rank + qk_rope_head_dim) instead of keys and
            values; None elsewhere.
    """

    layers: int
    kv_heads: int
    head_dim: int
    heads: int | None = None
    windows: tuple[LayerGroup, ...] = ()
    latent_values: int | None = None

    def __post_init__(self) -> None:
        numbers = (self.layers, self.kv_heads, self.head_dim, self.heads or 0, self.latent_values or 0)
        if min(numbers) < 0:
            raise ValueError(f"an attention shape has no negative counts, got {self}")
        if self.full_layers < 0:
            raise ValueError(f"{self.layers} layers, but the windowed groups hold more")

    @property
    def full_layers(self) -> int:
        """Layers that see the whole context."""
        return self.layers - sum(group.layers for group in self.windows)

    @property
    def values_per_token(self) -> int:
        """Values that one layer caches for one token: a key and a value per key-value head, or the latent."""
        return 2 * self.kv_heads * self.head_dim if self.latent_values is None else self.latent_values

    @property
    def kind(self) -> str:
        """MHA, GQA, MQA or MLA."""
        if self.latent_values is not None:
            return "MLA"
        if self.kv_heads == self.heads:
            return "MHA"
        return "MQA" if self.kv_heads == 1 else "GQA"


@dataclass(frozen=True, slots=True)
class Experts:
    """The routed experts of a mixture-of-experts model.

    Attributes:
        count: Routed experts of one layer.
        per_token: Experts that a token is sent to.
        parameters: Parameters of all routed experts of all layers together.
    """

    count: int
    per_token: int
    parameters: int


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
