"""What one pass through the model costs a replica: bytes, operations and messages, and the time they take."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llmdrill.errors import UsageError
from llmdrill.estimate.flops import matmul_parameters
from llmdrill.estimate.kv_cache import index_cache_bytes
from llmdrill.estimate.quantization import checkpoint_bytes, find_format
from llmdrill.estimate.serving_load import MFU_16_BIT, expert_arithmetic, reached_flops_per_s, rest_arithmetic
from llmdrill.estimate.state import state_bytes

if TYPE_CHECKING:
    from llmdrill.catalog.architecture import AttentionShape, ModelRecord
    from llmdrill.catalog.records import Accelerator, ServingConstants
    from llmdrill.estimate.serving_load import Load

# Shared by all engines. MBU: weights of 2,700 GEMMs on A100 and H100 are read at 0.81 to 0.88 of the bandwidth, decode
# attention over 300 MB of cache at 0.84 to 0.91 (ai-dynamo/aiconfigurator@095f58a5, systems/data/*/gemm, */attention).
MBU: Final = 0.85
# Bytes and FLOPs overlap, but not wholly: t = (bytes_s^3 + flops_s^3)^(1/3) fits the same GEMMs best (2 to 5).
OVERLAP: Final = 3.0
PREFILL_ATTENTION_MFU: Final = (
    0.5  # of the 16-bit peak: causal attention kernels on the same devices; 0.35 fits as well
)
# Norms, residuals, rotary embedding and activation move about 8 + 12 / t values of 2 bytes per token and hidden value
# of a layer: the reads and writes of the operators in microsoft/vidur@7d475133, data/profiling/compute/*/mlp.csv.
SHARED_VALUES: Final = 8.0
SPLIT_VALUES: Final = 12.0
# Each routed copy of a token is gathered, read, written and summed back: 8 passes of 2 bytes over its hidden values.
ROUTED_BYTES: Final = 16.0
_LINK_UNKNOWN: Final = 32e9  # assumed where no source gives a link: PCIe 4 x16
LINK_SHARE: Final = 0.75  # of the link's rate that an all-reduce reaches; 1.0 changes the error by under 1 %
_HIDDEN_BYTES: Final = 2.0  # hidden states travel in 16 bits whatever the weights have
_HEAD_BYTES: Final = 2.0  # the output head stays in 16 bits
# Operators of a layer: norm, QKV, rotary and cache write, attention, projection, norm, gate and up, activation, down.
# A mixture puts router, top-k, sort, two grouped products, activation and un-permute in place of the last three;
# shared experts add four, latent attention five (two more projections, two norms, two absorbed products for one).
DENSE_OPERATORS: Final = 9
EXPERT_OPERATORS: Final = 4
SHARED_EXPERT_OPERATORS: Final = 4
LATENT_OPERATORS: Final = 5
# A first token's overhead grows with the experts: 16 of a layer count as one operator. Shared by all engines and chosen
# on their runs; with 8, or with none, the folds are as good for mixtures, with none worse for dense models.
EXPERTS_PER_OPERATOR: Final = 16.0


@dataclass(frozen=True, slots=True)
class Replica:
    """A model on its devices at a precision: everything a pass needs, per device.

    Attributes:
        dense_bytes: Weights that every token reads, routed experts and head left out.
        dense_flops: Operations with them per token.
        expert_bytes: All routed experts.
        expert_flops: Operations per token with the experts it is routed to.
        routed_share: Experts per token as a share of all.
        head_bytes: Of the output head.
        head_flops: Per sequence.
        cache_token_bytes: Read of the cache per token of a sequence's context, by window: (bytes, window tokens).
        pair_flops: Of decode attention per token of context, by window, as above.
        prefill_pair_flops: Of prefill attention, likewise.
        state_sequence_bytes: Read and written per sequence and pass by layers that keep a state.
        moved_bytes: Of activations per token.
        routed_bytes: Of routed copies per token.
        operators: Operators of one pass.
        first_token_operators: The same, and what a prompt's many experts add.
        message_bytes: Of one token's hidden state.
    """

    devices: int
    groups: int
    layers: int
    bandwidth: float
    link: float
    dense_rate: float
    expert_rate: float
    wide_rate: float
    dense_bytes: float
    dense_flops: float
    expert_bytes: float
    expert_flops: float
    routed_share: float
    head_bytes: float
    head_flops: float
    cache_token_bytes: tuple[tuple[float, float], ...]
    pair_flops: tuple[tuple[float, float], ...]
    prefill_pair_flops: tuple[tuple[float, float], ...]
    state_sequence_bytes: float
    moved_bytes: float
    routed_bytes: float
    operators: float
    first_token_operators: float
    message_bytes: float


@functools.lru_cache(maxsize=1024)
def _weight_bytes(weight_format: str, group_values: int | None) -> float:
    return find_format(weight_format).bytes_per_weight(group_values)


def expert_weight_bytes(model: ModelRecord, precision: str) -> float:
    """Return the bytes of one routed expert's weight: in 4 bits as the checkpoint itself stores it, if it does."""
    own = model.quantization
    if own is not None and own.experts_only and precision in {"fp4", "int4"}:
        return _weight_bytes(own.format, own.group_values)
    return _weight_bytes(precision, None)


def device_weights_bytes(model: ModelRecord, load: Load) -> float:
    """Return the weights that one device of the replica holds.

    Formula:
        (checkpoint_bytes - routed experts * their bytes) / tensor_parallel + routed experts * their bytes / devices
        + parameters * prompt_bytes_per_weight / devices
    Args:
        model: Its parameters must be known.
        load: precision, tensor_parallel, data_parallel and prompt_bytes_per_weight count.

    Returns:
        Bytes.

    Raises:
        UsageError: If the model's parameters are unknown.

    Error:
        As checkpoint_bytes; a 4-bit mixture that also quantises attention is up to 3 % smaller. Where the layers'
        matrices could not be counted, norms and biases are taken for quantised too: 0.1 %.
    Source:
        Arithmetic.

    >>> from llmdrill.catalog.load import find_model
    >>> from llmdrill.estimate.serving_load import Load
    >>> device_weights_bytes(find_model("llama-3.1-8b"), Load(1, 1, 1, tensor_parallel=2))
    8030261248.0
    """
    rest, routed, tables = _split(model)
    experts = routed * expert_weight_bytes(model, load.precision) if routed else 0.0
    rest_precision = rest_arithmetic(model, load.precision)
    if model.linear_parameters is None:
        stored = rest * _weight_bytes(rest_precision, None) + tables * _HEAD_BYTES
    else:
        whole = checkpoint_bytes(model, weight_format=rest_precision)
        stored = whole - (routed * _weight_bytes(rest_precision, None) if routed else 0.0)
    prompts = (rest + routed + tables) * load.prompt_bytes_per_weight
    return stored / load.tensor_parallel + (experts + prompts) / load.devices


def replica_of(model: ModelRecord, accelerator: Accelerator, load: Load) -> Replica:
    """Return what passes of a model on these devices cost, worked out once.

    Raises:
        UsageError: If the model's parameters or the device's rate are unknown.
    """
    rest, routed, _ = _split(model)
    experts, shape, precision, tp = model.experts, model.attention, load.precision, load.tensor_parallel
    head = float(model.vocab_size * model.hidden)
    routed_share = experts.per_token / experts.count if experts else 0.0
    wide = accelerator.fp16_flops_per_s or reached_flops_per_s(accelerator, "bf16")
    spans = _spans(shape)
    copies = 1 if shape.latent_values is not None else min(tp, max(shape.kv_heads, 1))
    cached = shape.values_per_token * load.cache_bytes_per_value / copies
    heads = shape.heads or shape.kv_heads
    value_dim = shape.head_dim if shape.value_dim is None else shape.value_dim
    pair = 2.0 * heads * (shape.head_dim + value_dim) / tp
    latent = shape.latent_values
    absorbed = pair if latent is None else 2.0 * heads * (2 * latent - shape.rope_values) / tp
    expert_layers = 0 if experts is None else model.layers if experts.layers is None else experts.layers
    return Replica(
        devices=load.devices,
        groups=load.data_parallel,
        layers=model.layers,
        bandwidth=accelerator.bandwidth_bytes_per_s * MBU,
        link=(accelerator.link_bytes_per_s or _LINK_UNKNOWN) * LINK_SHARE,
        dense_rate=reached_flops_per_s(accelerator, rest_arithmetic(model, precision)),
        expert_rate=reached_flops_per_s(accelerator, expert_arithmetic(model, accelerator, precision)),
        wide_rate=wide,
        dense_bytes=rest * _weight_bytes(rest_arithmetic(model, precision), None) / tp,
        dense_flops=2.0 * rest / tp,
        expert_bytes=routed * expert_weight_bytes(model, precision) / load.devices if routed else 0.0,
        expert_flops=2.0 * routed * routed_share / load.devices,
        routed_share=routed_share,
        head_bytes=head * _HEAD_BYTES / load.devices,
        head_flops=2.0 * head / load.devices,
        cache_token_bytes=(*((layers * cached, window) for layers, window in spans), *_indexer_bytes(shape)),
        pair_flops=tuple((layers * absorbed, window) for layers, window in spans),
        prefill_pair_flops=tuple((layers * pair, window) for layers, window in spans),
        state_sequence_bytes=2.0 * state_bytes(model.state) / tp,
        moved_bytes=_HIDDEN_BYTES * model.layers * model.hidden * (SHARED_VALUES + SPLIT_VALUES / tp),
        routed_bytes=0.0
        if experts is None
        else ROUTED_BYTES * experts.per_token * model.hidden * expert_layers / load.expert_parallel,
        operators=_operators(model, expert_layers),
        first_token_operators=_operators(model, expert_layers)
        + (expert_layers * experts.count / EXPERTS_PER_OPERATOR if experts else 0.0),
        message_bytes=model.hidden * _HIDDEN_BYTES,
    )


def pass_s(
    replica: Replica,
    constants: ServingConstants,
    *,
    fresh_tokens: float = 0.0,
    fresh_context_tokens: float = 0.0,
    prompts: float = 0.0,
    sequences: float = 0.0,
    context_tokens: float = 0.0,
    tokens_per_sequence: float = 1.0,
) -> float:
    """Return the time of one pass that prefills some tokens and decodes some sequences, beside each other.

    Formula:
        sum over the dense layers, the routed experts and the head of (bytes_s^3 + flops_s^3)^(1/3), and of attention
        and the activations' traffic, + operators * kernel_s + sequences * sequence_s + 2 * layers * all_reduce,
        all_reduce = min(a + (n - 1) * bytes / link, 2 a + 2 (n - 1) / n * bytes / link) over n devices.
        Of the routed experts 1 - (1 - share)^tokens are read.

    Args:
        replica: The model on its devices.
        constants: Of the engine.
        fresh_tokens: Prompt tokens of all groups together.
        fresh_context_tokens: Context that each of them sees, in the mean.
        prompts: Prompts that end in this pass (each needs the head once).
        sequences: That decode.
        context_tokens: Of each of them.
        tokens_per_sequence: More than 1 where drafts are verified.

    Returns:
        Seconds.

    Raises:
        Nothing.

    Error:
        See the constants' own record: held-out median error and 80 % band on published runs.
    Source:
        Roofline: Williams et al. 2009, doi:10.1145/1498765.1498785; what a pass reads and multiplies: Pope et al.
        2022, arXiv:2211.05102, section 2.

    >>> from llmdrill.catalog.load import find_accelerator, find_model, find_serving
    >>> from llmdrill.estimate.serving_load import Load
    >>> replica = replica_of(find_model("llama-3.1-8b"), find_accelerator("h100"), Load(1, 1024, 128))
    >>> pass_s(replica, find_serving("default"), sequences=1) > 15e9 / 3.35e12  # the weights once
    True
    """
    tokens = fresh_tokens + sequences * tokens_per_sequence
    own = tokens / replica.groups  # of one group: its attention sees only its sequences
    bandwidth = replica.bandwidth
    time = _both(replica.dense_bytes / bandwidth, own * replica.dense_flops / replica.dense_rate)
    if replica.expert_bytes:
        read = replica.expert_bytes * (1.0 - (1.0 - replica.routed_share) ** tokens)
        time += _both(read / bandwidth, tokens * replica.expert_flops / replica.expert_rate)
        time += tokens * replica.routed_bytes / bandwidth
    written = sequences * tokens_per_sequence + prompts
    time += _both(replica.head_bytes / bandwidth, written * replica.head_flops / (replica.wide_rate * MFU_16_BIT))
    if sequences:
        mine = sequences / replica.groups
        read = mine * (_over(replica.cache_token_bytes, context_tokens) + replica.state_sequence_bytes)
        flops = mine * tokens_per_sequence * _over(replica.pair_flops, context_tokens)
        time += _both(read / bandwidth, flops / (replica.wide_rate * PREFILL_ATTENTION_MFU))
    if fresh_tokens:
        flops = fresh_tokens / replica.groups * _over(replica.prefill_pair_flops, fresh_context_tokens)
        time += flops / (replica.wide_rate * PREFILL_ATTENTION_MFU)
    time += own * replica.moved_bytes / bandwidth
    time += replica.operators * constants.kernel_s + sequences * constants.sequence_s
    return time + _messages_s(replica, constants.all_reduce_s, own)


def _messages_s(replica: Replica, latency_s: float, tokens: float) -> float:
    devices = replica.devices
    if devices == 1:
        return 0.0
    carried = tokens * replica.message_bytes / replica.link
    one_shot = latency_s + (devices - 1) * carried
    two_shot = 2 * latency_s + 2 * (devices - 1) / devices * carried
    return 2 * replica.layers * min(one_shot, two_shot)


def _both(reading_s: float, multiplying_s: float) -> float:
    longer, shorter = (reading_s, multiplying_s) if reading_s > multiplying_s else (multiplying_s, reading_s)
    return longer * (1.0 + (shorter / longer) ** OVERLAP) ** (1.0 / OVERLAP) if longer else 0.0


def _over(costs: tuple[tuple[float, float], ...], tokens: float) -> float:
    return sum(cost * (min(window, tokens)) for cost, window in costs)


def _spans(shape: AttentionShape) -> tuple[tuple[float, float], ...]:
    """Return (layers, tokens that they see at most); an indexer leaves attention few."""
    most = float("inf") if shape.index_tokens is None else float(shape.index_tokens)
    windows = tuple((float(group.layers), min(float(group.window_tokens), most)) for group in shape.windows)
    return ((float(shape.full_layers), most), *windows)


def _indexer_bytes(shape: AttentionShape) -> tuple[tuple[float, float], ...]:
    """Return what a sparse-attention indexer reads: the keys of the whole context."""
    return ((index_cache_bytes(shape, context_tokens=1), float("inf")),) if shape.index_values else ()


def _split(model: ModelRecord) -> tuple[float, float, float]:
    """Return the parameters that every token is multiplied with, those of routed experts, and of the two tables."""
    if model.parameters is None or model.embedding_parameters is None:
        raise UsageError(f"the number of parameters of '{model.name}' is unknown; name a model of the catalogue")
    routed = model.experts.parameters if model.experts else 0
    tables = model.embedding_parameters + model.head_parameters
    return float(model.parameters - routed - tables), float(routed), float(tables)


def _operators(model: ModelRecord, expert_layers: int) -> float:
    shared = bool(model.experts and model.experts.shared_parameters)
    of_experts = expert_layers * (EXPERT_OPERATORS + SHARED_EXPERT_OPERATORS * shared)
    latent = LATENT_OPERATORS * model.attention.layers if model.attention.latent_values is not None else 0
    return model.layers * DENSE_OPERATORS + of_experts + latent


# --- floors ---------------------------------------------------------------------------------------------------------


def read_parameters(model: ModelRecord, *, tokens: float) -> float:
    """Return the parameters that one step reads which runs ``tokens`` tokens through the model.

    Formula:
        matmul_parameters of a dense model. Of routed experts, count * (1 - (1 - per_token / count)^tokens) of each
        layer's are expected to be touched, if tokens choose evenly and independently.

    Args:
        model: Its parameters must be known.
        tokens: Tokens of the step: the batch, in decode.

    Returns:
        Parameters.

    Raises:
        UsageError: If the model's parameters are unknown.

    Error:
        Real routing is uneven: fewer experts are touched than this.
    Source:
        Expectation over independent choices.

    >>> from llmdrill.catalog.load import find_model
    >>> read_parameters(find_model("llama-3.1-8b"), tokens=1) == read_parameters(find_model("llama-3.1-8b"), tokens=64)
    True
    """
    experts = model.experts
    active = matmul_parameters(model)
    if experts is None:
        return active
    share = experts.per_token / experts.count
    untouched: float = (1 - share) ** max(tokens, 1)
    return active + experts.parameters * (1 - untouched - share)
