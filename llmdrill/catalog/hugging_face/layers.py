"""What each layer of a config is: attention with or without a window, a state, a feed-forward, experts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from llmdrill.catalog.hugging_face.families import FAMILIES, UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmdrill.catalog.hugging_face.keys import Config

MAX_LAYERS: Final = 10_000
EXPERT_KEYS: Final = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
_KINDS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("full_attention", "attention", "global_attention", "indexed_attention", "*"), "full"),
    **dict.fromkeys(("sliding_attention", "chunked_attention", "local_attention"), "window"),
    **dict.fromkeys(("linear_attention", "mamba", "mamba2", "M"), "state"),
    **dict.fromkeys(("mlp", "-"), "dense"),
    **dict.fromkeys(("moe", "E"), "moe"),
}
_NO_FEED_FORWARD: Final = frozenset({"mamba", "mamba2", "falcon_mamba"})
_WINDOW_KEYS: Final = ("sliding_window", "attention_chunk_size", "sliding_window_size")
_OFTEN_WINDOWED: Final = frozenset({"mistral", "mixtral", "ministral3", "phi3", "phimoe", "starcoder2"})


@dataclass(frozen=True, slots=True)
class Layers:
    """How many layers of each kind: a mixer is full attention, windowed attention or a state."""

    total: int
    full: int
    windowed: int
    window_tokens: int | None
    state: int
    dense: int
    moe: int


def read_layers(config: Config) -> Layers:
    """Count the layers of each kind.

    Raises:
        ContentError: If the counts contradict each other or are beyond any model's.
    """
    kinds = _mixers(config)
    count = Counter(kinds)
    window = config.count(*_WINDOW_KEYS, zero=True) or None if count["window"] else None
    if count["window"] and window is None:
        raise config.refuse("layer_types has windowed layers, but there is no sliding_window")
    if count["dense"] or count["moe"]:  # such blocks hold a feed-forward and nothing else
        dense, moe = count["dense"], count["moe"]
    else:
        moe = _expert_layers(config, len(kinds))
        dense = 0 if config.model_type in _NO_FEED_FORWARD else len(kinds) - moe
    return Layers(len(kinds), count["full"], count["window"], window, count["state"], dense, moe)


def _mixers(config: Config) -> tuple[str, ...]:
    pattern = config.text("hybrid_override_pattern")
    named = tuple(pattern) if pattern else config.list_of_text("layer_types", "layers_block_type")
    if named is not None:
        if not named or len(named) > MAX_LAYERS:
            raise config.refuse(f"layer_types lists {len(named)} layers, more than any model has or none")
        given = config.keys.get("num_hidden_layers")
        if type(given) is int and given != len(named):
            raise config.refuse(f"layer_types lists {len(named)} layers, num_hidden_layers says {given}")
        return tuple(_kind(config, name) for name in named)
    layers = config.needed("num_hidden_layers", "n_layer", "num_layers", "n_layers")
    if layers > MAX_LAYERS:
        raise config.refuse(f"num_hidden_layers must be at most {MAX_LAYERS:,}, got {layers}")
    if config.model_type in _NO_FEED_FORWARD:
        return ("state",) * layers
    return (
        tuple(_attention_or_state(config, layer) for layer in range(layers))
        if _hybrid(config)
        else _all(config, layers)
    )


def _kind(config: Config, name: str) -> str:
    if name not in _KINDS:
        told = f"layer_types: '{name}' is unknown, taken to attend to the whole context"
        if told not in config.guessed:
            config.guessed.append(told)
    return _KINDS.get(name, "full")


def _hybrid(config: Config) -> bool:
    keys = ("attn_layer_period", "full_attention_interval", "attn_layer_indices")
    return any(key in config.keys for key in keys) or "attn_layer_period" in config.defaults or _delta(config)


def _delta(config: Config) -> bool:
    return "linear_num_value_heads" in config.keys or "linear_num_value_heads" in config.defaults


def _attention_or_state(config: Config, layer: int) -> str:
    indices = config.keys.get("attn_layer_indices")
    if isinstance(indices, list):
        return "full" if layer in indices else "state"
    period = config.count("attn_layer_period")
    if period is not None:
        return "full" if layer % period == (config.count("attn_layer_offset", zero=True) or 0) % period else "state"
    return "full" if (layer + 1) % (config.count("full_attention_interval") or 4) == 0 else "state"


def _all(config: Config, layers: int) -> tuple[str, ...]:
    """Return the kinds where every layer attends: which of them have a window."""
    windowed = _windowed_layers(config, layers)
    return ("window",) * windowed + ("full",) * (layers - windowed)


def _windowed_layers(config: Config, layers: int) -> int:
    if config.flag("use_sliding_window") is False or not config.count(*_WINDOW_KEYS, zero=True):
        return 0
    pattern = config.keys.get("sliding_window_pattern")
    if isinstance(pattern, str) and pattern:  # one letter a layer, L for local
        return sum(pattern[layer % len(pattern)] == "L" for layer in range(layers))
    every = config.count("sliding_window_pattern", "no_rope_layer_interval")
    every = every or FAMILIES.get(config.model_type, UNKNOWN).window_every
    if every is not None:
        return layers - layers // every
    if config.flag("use_sliding_window"):
        return max(layers - (config.count("max_window_layers", zero=True) or 0), 0)
    if config.model_type not in _OFTEN_WINDOWED:
        config.guessed.append("layer_types: not given, every layer taken to have the sliding window")
    return layers


def _expert_layers(config: Config, layers: int) -> int:
    """Count the layers whose feed-forward is made of experts, under every spelling."""
    if (config.count(*EXPERT_KEYS, zero=True) or 0) < 2:
        return 0
    kinds = config.list_of_text("mlp_layer_types")
    if kinds is not None:
        return sum(kind == "sparse" for kind in kinds[:layers])
    only = _whole_numbers(config.keys.get("mlp_only_layers"))
    listed = _whole_numbers(config.keys.get("moe_layers"))
    if listed:
        return sum(layer < layers for layer in listed)
    first = config.count("first_k_dense_replace", zero=True) or 0
    period = config.count("expert_layer_period")
    if period is not None:
        offset = (config.count("expert_layer_offset", zero=True) or 0) % period
        return sum(layer % period == offset for layer in range(layers))
    step = config.count("decoder_sparse_step", "interleave_moe_layer_step")
    if step is not None:
        return sum((layer + 1) % step == 0 and layer not in only for layer in range(layers))
    every = config.count("moe_layer_freq") if type(config.keys.get("moe_layer_freq")) is int else 1
    return sum(layer >= first and layer % (every or 1) == 0 for layer in range(layers))


def _whole_numbers(value: Any) -> frozenset[int]:  # noqa: ANN401 - plain JSON
    return frozenset(item for item in value if type(item) is int) if isinstance(value, list) else frozenset()
