"""Parameters counted from a config: matrices of the layers, experts, and all the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmdrill.catalog.architecture import Experts
from llmdrill.catalog.hugging_face.families import FAMILIES, UNKNOWN, Family
from llmdrill.catalog.hugging_face.layers import EXPERT_KEYS

if TYPE_CHECKING:
    from llmdrill.catalog.architecture import AttentionShape
    from llmdrill.catalog.hugging_face.keys import Config
    from llmdrill.catalog.hugging_face.layers import Layers


@dataclass(frozen=True, slots=True)
class Size:
    """Parameters: ``linear`` of matrices that a token is multiplied with, ``other`` of the rest (norms, biases …)."""

    linear: int = 0
    other: int = 0

    def __add__(self, more: Size) -> Size:
        return Size(self.linear + more.linear, self.other + more.other)

    def __mul__(self, times: int) -> Size:
        return Size(self.linear * times, self.other * times)

    @property
    def all(self) -> int:
        """Both together."""
        return self.linear + self.other


@dataclass(frozen=True, slots=True)
class Counts:
    """What was counted: all parameters, those of the layers' matrices, and the experts."""

    parameters: int
    linear: int
    experts: Experts | None

    @property
    def active(self) -> int:
        """Parameters that a single token touches: all but the routed experts it is not sent to."""
        if self.experts is None:
            return self.parameters
        one = self.experts.parameters // self.experts.count
        return self.parameters - one * (self.experts.count - self.experts.per_token)


def count_parameters(
    config: Config, layers: Layers, shape: AttentionShape, *, hidden: int, vocab_size: int, tied: bool
) -> Counts:
    """Count the parameters of the model that a config describes; exact where its architecture is known.

    Raises:
        ContentError: If a size is missing.
    """
    family = FAMILIES.get(config.model_type, UNKNOWN)
    norm = family.norm_vectors * hidden
    mixers = _attention(config, family, shape, hidden) * shape.layers + _state(config, hidden) * layers.state
    norms = Size(0, _norms(config, family) * norm * layers.total)
    dense = _feed_forward(config, family, hidden, _dense_width(config)) * layers.dense if layers.dense else Size()
    routed, shared, router = _experts(config, family, hidden) if layers.moe else (Size(), Size(), Size())
    body = mixers + norms + dense + (routed + shared + router) * layers.moe
    total = body + _ends(config, family, hidden, vocab_size, tied=tied)
    experts = None
    if layers.moe:
        experts = Experts(
            count=config.needed(*EXPERT_KEYS),
            per_token=experts_per_token(config),
            parameters=routed.all * layers.moe,
            layers=layers.moe,
            hidden=_expert_width(config),
            shared_parameters=shared.all * layers.moe,
        )
    return Counts(total.all, body.linear, experts)


def experts_per_token(config: Config) -> int:
    """Return how many routed experts a token is sent to, under any spelling.

    Raises:
        ContentError: If the config does not say.
    """
    names = ("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_top_k", "experts_per_token")
    per_token, count = config.needed(*names), config.needed(*EXPERT_KEYS)
    if per_token > count:
        raise config.refuse(f"a token cannot go to {per_token} of {count} experts")
    return per_token


def _matrix(rows: int, columns: int, *, bias: bool = False) -> Size:
    return Size(rows * columns, rows if bias else 0)


def _has_bias(config: Config, always: bool | None, *keys: str) -> bool:
    return bool(config.flag(*keys)) if always is None else always


def _norms(config: Config, family: Family) -> int:
    """Return the norms of one layer, which parallel attention and feed-forward may share."""
    if config.model_type == "falcon" and (config.flag("new_decoder_architecture") or not config.flag("parallel_attn")):
        return 2
    if config.model_type == "stablelm" and config.flag("use_parallel_residual"):
        return 1
    return family.norms


def _attention(config: Config, family: Family, shape: AttentionShape, hidden: int) -> Size:
    if not shape.layers:
        return Size()
    if shape.latent_values is not None:
        return _latent_attention(config, shape, hidden)
    heads = shape.heads or shape.kv_heads
    value_dim = shape.head_dim if shape.value_dim is None else shape.value_dim
    queries, keys, values = heads * shape.head_dim, shape.kv_heads * shape.head_dim, shape.kv_heads * value_dim
    bias_keys = ("attention_bias", "use_qkv_bias", "qkv_bias", "use_bias", "enable_bias", "add_qkv_bias", "bias")
    bias = _has_bias(config, family.qkv_bias, *bias_keys)
    size = _matrix(queries * (2 if family.query_gate else 1) + keys + values, hidden, bias=bias)
    size += _matrix(hidden, heads * value_dim, bias=bias and family.output_bias)
    norms = {"head": 2 * shape.head_dim, "width": queries + keys, None: 0}[family.head_norms]
    if family.head_norms_flag and not config.flag(family.head_norms_flag):
        norms = 0
    return size + Size(0, norms + (heads if family.sinks else 0))


def _latent_attention(config: Config, shape: AttentionShape, hidden: int) -> Size:
    heads, rope = shape.heads or shape.kv_heads, shape.rope_values
    latent = (shape.latent_values or 0) - rope
    value_dim = shape.value_dim or 0
    rank = config.count("q_lora_rank")
    bias = bool(config.flag("attention_bias"))
    queries = heads * shape.head_dim
    size = _matrix(queries, hidden) if rank is None else _matrix(rank, hidden, bias=bias) + _matrix(queries, rank)
    size += Size(0, (rank or 0) + latent)  # the norms of the two latents
    size += _matrix(latent + rope, hidden, bias=bias)
    size += _matrix(heads * (shape.head_dim - rope + value_dim), latent)
    size += _matrix(hidden, heads * value_dim, bias=bias)
    if shape.index_values:
        size += _matrix(shape.index_heads * shape.index_values, rank or hidden) + _matrix(shape.index_values, hidden)
        size += _matrix(shape.index_heads, hidden) + Size(0, 2 * shape.index_values)
    return size


def _state(config: Config, hidden: int) -> Size:
    """Return the size of one layer that keeps a state: Mamba, Mamba-2 or a gated delta net."""
    if config.count("linear_num_value_heads") is not None:
        return _delta_net(config, hidden)
    state = config.count("mamba_d_state", "ssm_state_size", "state_size", "d_state")
    if state is None:
        return Size()
    kernel = config.count("mamba_d_conv", "conv_kernel", "d_conv") or 4
    bias = bool(config.flag("mamba_proj_bias", "use_bias"))
    conv_bias = config.flag("mamba_conv_bias", "use_conv_bias") is not False
    heads = config.count("mamba_num_heads", "mamba_n_heads", *(("num_heads",) if config.model_type == "mamba2" else ()))
    if heads is not None:
        inner = heads * config.needed("mamba_head_dim", "mamba_d_head", "head_dim")
        groups = 2 * (config.count("n_groups", "mamba_n_groups") or 1) * state
        size = _matrix(2 * inner + groups + heads, hidden, bias=bias) + _matrix(hidden, inner, bias=bias)
        return size + Size(0, (inner + groups) * (kernel + conv_bias) + 3 * heads + inner)
    inner = hidden * (config.count("mamba_expand", "expand") or 2)
    rank = _time_step_rank(config, hidden)
    size = _matrix(2 * inner, hidden, bias=bias) + _matrix(hidden, inner, bias=bias)
    size += _matrix(rank + 2 * state, inner) + _matrix(inner, rank, bias=True)
    norms = rank + 2 * state if config.model_type == "jamba" else 0
    return size + Size(0, inner * (kernel + conv_bias) + inner * state + inner + norms)


def _time_step_rank(config: Config, hidden: int) -> int:
    name = "mamba_dt_rank" if config.model_type == "jamba" else "time_step_rank"
    given = config.keys.get(name, config.defaults.get(name, "auto"))
    return -(-hidden // 16) if given == "auto" else config.needed(name)


def _delta_net(config: Config, hidden: int) -> Size:
    keys = config.needed("linear_num_key_heads") * config.needed("linear_key_head_dim")
    heads, value_dim = config.needed("linear_num_value_heads"), config.needed("linear_value_head_dim")
    values = heads * value_dim
    size = _matrix(2 * keys + 2 * values + 2 * heads, hidden) + _matrix(hidden, values)
    conv = (2 * keys + values) * config.needed("linear_conv_kernel_dim")
    return size + Size(0, conv + 2 * heads + value_dim)


def _dense_width(config: Config) -> int:
    """Return the width of the feed-forward of a layer without experts."""
    if config.model_type == "llama4_text":
        return config.needed("intermediate_size_mlp")
    width = config.count("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size")
    return 4 * config.needed("hidden_size", "n_embd", "d_model") if width is None else width


def _expert_width(config: Config) -> int:
    given = config.count("moe_intermediate_size")
    return config.needed("intermediate_size") if given is None else given


def _feed_forward(config: Config, family: Family, hidden: int, width: int) -> Size:
    bias = _has_bias(config, family.mlp_bias, "mlp_bias", "use_bias", "enable_bias", "bias")
    return _matrix((2 if family.gated else 1) * width, hidden, bias=bias) + _matrix(hidden, width, bias=bias)


def _experts(config: Config, family: Family, hidden: int) -> tuple[Size, Size, Size]:
    """Return one layer's routed experts, its shared experts and its router."""
    count, width = config.needed(*EXPERT_KEYS), _expert_width(config)
    matrices = 3 if family.gated else 2
    biases = matrices * width - width + hidden if family.expert_bias else 0
    one = Size(matrices * width * hidden, biases)
    shared_width = _shared_width(config, width)
    shared = Size(matrices * shared_width * hidden)
    gate = hidden if config.count("shared_expert_intermediate_size") is not None else 0
    return one * count, shared, Size(0, count * hidden + (count if family.router_bias else 0) + gate)


def _shared_width(config: Config, width: int) -> int:
    """Return the width of all shared experts of a layer together."""
    if config.model_type == "llama4_text":
        return width
    given = config.count("shared_expert_intermediate_size", "moe_shared_expert_intermediate_size", zero=True)
    if given is not None:
        return given
    return width * (config.count("n_shared_experts", "num_shared_experts", zero=True) or 0)


def _ends(config: Config, family: Family, hidden: int, vocab_size: int, *, tied: bool) -> Size:
    """Return embeddings, positions, the last norm and the head; of an encoder its first norm and its pooler."""
    table = vocab_size * hidden
    positions = 0
    if family.positions is not None:
        places = config.needed("max_position_embeddings", "n_positions", "n_ctx") + family.positions
        positions = places * hidden
    norm = family.norm_vectors * hidden
    if config.model_type == "bert":
        kinds = (config.count("type_vocab_size", zero=True) or 0) * hidden
        return Size(0, table + positions + kinds + norm + hidden * hidden + hidden)
    head_bias = vocab_size if _has_bias(config, family.head_bias, "lm_head_bias") else 0
    return Size(0, table + positions + norm + (0 if tied else table) + head_bias)
