"""The attention shape and the state of a config: what its cache and its state hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from llmdrill.catalog.architecture import AttentionShape, LayerGroup, StateLayers

if TYPE_CHECKING:
    from llmdrill.catalog.hugging_face.keys import Config
    from llmdrill.catalog.hugging_face.layers import Layers

_BYTES: Final = {"float32": 4.0, "float16": 2.0, "bfloat16": 2.0}


def read_attention(config: Config, layers: Layers, hidden: int) -> AttentionShape:
    """Return the shape of the layers that keep a cache.

    Raises:
        ContentError: If heads and sizes contradict each other.
    """
    with_cache = layers.full + layers.windowed
    if not with_cache:
        return AttentionShape(layers=0, kv_heads=0, head_dim=0)
    windows = (LayerGroup(layers.windowed, layers.window_tokens),) if layers.windowed and layers.window_tokens else ()
    heads = config.needed("num_attention_heads", "n_head", "n_heads")
    rank = config.count("kv_lora_rank")
    if rank is not None:
        return _latent(config, rank, heads, with_cache, windows)
    head_dim = config.count("head_dim", "kv_channels", "attention_head_dim")
    if head_dim is None:
        if hidden % heads:
            raise config.refuse(f"has no head_dim, and hidden_size {hidden} is no multiple of its {heads} heads")
        head_dim = hidden // heads
    value_dim = config.count("v_head_dim")
    return AttentionShape(
        layers=with_cache,
        kv_heads=_kv_heads(config, heads),
        head_dim=head_dim,
        heads=heads,
        windows=windows,
        value_dim=None if value_dim == head_dim else value_dim,
    )


def _latent(config: Config, rank: int, heads: int, layers: int, windows: tuple[LayerGroup, ...]) -> AttentionShape:
    rope = config.needed("qk_rope_head_dim")
    top = config.count("index_topk")
    return AttentionShape(
        layers=layers,
        kv_heads=heads,
        head_dim=config.needed("qk_nope_head_dim") + rope,
        heads=heads,
        windows=windows,
        latent_values=rank + rope,
        rope_values=rope,
        value_dim=config.needed("v_head_dim"),
        index_values=config.needed("index_head_dim") if top is not None else 0,
        index_tokens=top,
        index_heads=config.needed("index_n_heads") if top is not None else 0,
    )


def _kv_heads(config: Config, heads: int) -> int:
    one_for_all = config.flag("multi_query") and not config.flag("new_decoder_architecture")
    if one_for_all:
        return 1
    if config.model_type == "falcon" and not config.flag("new_decoder_architecture"):
        return heads  # its num_kv_heads counts only in the new decoder
    given = config.count("num_key_value_heads", "num_kv_heads", "n_head_kv", "multi_query_group_num")
    if given is None:
        if not config.known:
            config.guessed.append(f"num_key_value_heads: not given, taken as the {heads} attention heads")
        return heads
    if heads % given:
        raise config.refuse(f"{heads} attention heads cannot share {given} key-value heads evenly")
    return given


def read_state(config: Config, layers: int, hidden: int) -> StateLayers | None:
    """Return the layers that keep a state in place of a cache; None if there are none, or their state is unknown."""
    if not layers:
        return None
    if config.count("linear_num_value_heads") is not None:
        return _delta_net(config, layers)
    kernel = config.count("mamba_d_conv", "conv_kernel", "d_conv") or 4
    size = config.count("mamba_d_state", "ssm_state_size", "state_size", "d_state")
    if size is None:
        config.guessed.append(f"state: what {layers} layers without a cache keep per sequence is not known")
        return None
    heads = config.count("mamba_num_heads", "mamba_n_heads", *(("num_heads",) if config.model_type == "mamba2" else ()))
    if heads is None:
        inner = hidden * (config.count("mamba_expand", "expand") or 2)
        return StateLayers("mamba", layers, (kernel - 1) * inner, inner * size, kernel, _state_bytes(config))
    inner = heads * config.needed("mamba_head_dim", "mamba_d_head", "head_dim")
    channels = inner + 2 * (config.count("n_groups", "mamba_n_groups") or 1) * size
    return StateLayers("mamba2", layers, (kernel - 1) * channels, inner * size, kernel, _state_bytes(config))


def _delta_net(config: Config, layers: int) -> StateLayers:
    keys = config.needed("linear_num_key_heads") * config.needed("linear_key_head_dim")
    heads, value_dim = config.needed("linear_num_value_heads"), config.needed("linear_value_head_dim")
    kernel = config.needed("linear_conv_kernel_dim")
    conv = (kernel - 1) * (2 * keys + heads * value_dim)
    recurrent = heads * config.needed("linear_key_head_dim") * value_dim
    return StateLayers("gated_delta_net", layers, conv, recurrent, kernel, _state_bytes(config))


def _state_bytes(config: Config) -> float | None:
    """Return the bytes of a value of the recurrent state where the config asks for a type."""
    return _BYTES.get(config.text("mamba_ssm_cache_dtype", "mamba_ssm_dtype") or "")
