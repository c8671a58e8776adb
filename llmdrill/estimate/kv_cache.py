"""The key-value cache: its size, and what fits into a given memory."""

from __future__ import annotations

import bisect
import math
from typing import TYPE_CHECKING, Final

from llmdrill.errors import UsageError, did_you_mean, nearest_names
from llmdrill.estimate.checks import require_not_negative, require_positive
from llmdrill.estimate.explain import Explained, figure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmdrill.catalog.architecture import AttentionShape

BLOCK_TOKENS: Final = 16  # of a paged cache: vLLM's default
MANY_TOKENS: Final = 2**48  # more than any context: where the search for the longest one ends
# Bytes of one cached value. fp8 and int8 have one scale per tensor, which is nothing; q8_0, q4_0 (llama.cpp) and nvfp4
# have one per block and carry it here; int4 and fp4 are the values alone.
CACHE_BYTES_PER_VALUE: Final[Mapping[str, float]] = {
    "fp32": 4.0,
    "fp16": 2.0,
    "bf16": 2.0,
    "fp8": 1.0,
    "int8": 1.0,
    "int4": 0.5,
    "fp4": 0.5,
    "q8_0": 34 / 32,
    "q4_0": 18 / 32,
    "nvfp4": 9 / 16,
}
_INDEX_BYTES: Final = 1 + 4 / 128  # an fp8 value and its part of a scale
_SOURCE: Final = "Kwon et al. 2023, arXiv:2309.06180, section 3"


def cache_bytes_per_value(dtype: str) -> float:
    """Return the bytes of one cached value, scales of its block counted where the format has blocks.

    Raises:
        UsageError: If the type is unknown.

    >>> cache_bytes_per_value("fp8"), cache_bytes_per_value("q4_0")
    (1.0, 0.5625)
    """
    if dtype not in CACHE_BYTES_PER_VALUE:
        hint = did_you_mean(nearest_names(dtype, CACHE_BYTES_PER_VALUE))
        raise UsageError(f"unknown cache type '{dtype}'{hint}; one of {', '.join(CACHE_BYTES_PER_VALUE)}")
    return CACHE_BYTES_PER_VALUE[dtype]


def kv_cache_bytes(
    shape: AttentionShape,
    *,
    context_tokens: float,
    sequences: float = 1,
    bytes_per_value: float = 2.0,
    block_tokens: int = 1,
) -> float:
    """Return the size of the key-value cache of ``sequences`` resident sequences.

    Formula:
        sum over layers of 2 * kv_heads * head_dim * bytes_per_value * tokens * sequences (the 2 is one key and one
        value). tokens is context_tokens, at most the window in a windowed layer, rounded up to whole blocks.
        Multi-head latent attention stores latent_values in place of 2 * kv_heads * head_dim.

    Args:
        shape: Layers, windows, and either kv_heads and head_dim or latent_values.
        context_tokens: Prompt plus generated tokens of one sequence.
        sequences: Sequences resident at once.
        bytes_per_value: 2 for fp16 and bf16, 1 for fp8, 0.5 for 4 bits; cache_bytes_per_value knows them by name.
        block_tokens: Tokens of one block of a paged cache; 1 for no paging.

    Returns:
        Bytes.

    Raises:
        NumberError: If a count is negative or not finite (a ValueError and a UsageError).

    Error:
        Exact: the cache that a real implementation allocates, for each of 26 models of a public set. An engine that
        keeps windowed layers unwindowed needs more. State-space layers' state and a sparse-attention indexer's keys
        come on top: state_bytes, index_cache_bytes.
    Source:
        Kwon et al. 2023, arXiv:2309.06180, section 3: OPT-13B needs 800 KB a token.

    >>> from llmdrill.catalog.architecture import AttentionShape
    >>> kv_cache_bytes(AttentionShape(layers=40, kv_heads=40, head_dim=128), context_tokens=1)
    819200.0
    """
    require_not_negative(context_tokens=context_tokens, sequences=sequences)
    require_positive(bytes_per_value=bytes_per_value, block_tokens=block_tokens)
    per_value = shape.values_per_token * bytes_per_value * sequences
    return float(per_value * _layer_tokens(shape, context_tokens, block_tokens))


def _layer_tokens(shape: AttentionShape, context_tokens: float, block_tokens: int) -> float:
    """Return the tokens that all layers of one sequence hold together."""
    full = shape.full_layers * _held(context_tokens, math.inf, block_tokens)
    windowed = sum(group.layers * _held(context_tokens, group.window_tokens, block_tokens) for group in shape.windows)
    return full + windowed


def _held(context_tokens: float, window_tokens: float, block_tokens: int) -> float:
    tokens = min(context_tokens, window_tokens)
    return tokens if block_tokens == 1 else math.ceil(tokens / block_tokens) * block_tokens


def index_cache_bytes(shape: AttentionShape, *, context_tokens: float, sequences: float = 1) -> float:
    """Return the size of the keys that a sparse-attention indexer caches beside the latents.

    Formula:
        layers * index_values * (1 + 4 / 128) * context_tokens * sequences: fp8 values, and a 4-byte scale for each 128
        of them; 0 without an indexer.

    Args:
        shape: layers and index_values count.
        context_tokens: Prompt plus generated tokens of one sequence.
        sequences: Sequences resident at once.

    Returns:
        Bytes.

    Raises:
        NumberError: If a count is negative.

    Error:
        Exact for vLLM's layout; an engine that keeps these keys in 16 bits needs twice as much.
    Source:
        vLLM, vllm/model_executor/models/deepseek_v2.py, DeepseekV32IndexerCache: head_dim + head_dim // 128 * 4 bytes.

    >>> from llmdrill.catalog.load import find_model
    >>> index_cache_bytes(find_model("glm-5").attention, context_tokens=1) / 78
    132.0
    """
    require_not_negative(context_tokens=context_tokens, sequences=sequences)
    return float(shape.layers * shape.index_values * _INDEX_BYTES * context_tokens * sequences)


def max_context_tokens(
    shape: AttentionShape,
    *,
    memory_bytes: float,
    sequences: float = 1,
    bytes_per_value: float = 2.0,
    block_tokens: int = 1,
) -> int | None:
    """Return the longest context of each of ``sequences`` sequences whose caches fit into ``memory_bytes``.

    Formula:
        The largest whole context_tokens with kv_cache_bytes(context_tokens) <= memory_bytes.

    Args:
        shape: As for kv_cache_bytes.
        memory_bytes: What is left for the cache beside weights and activations, and the state if there is one.
        sequences: Sequences resident at once.
        bytes_per_value: 2 for fp16 and bf16, 1 for fp8.
        block_tokens: Tokens of one block of a paged cache; 1 for no paging.

    Returns:
        Tokens; None if the cache stops growing before the memory is full (every layer has a window, or none a cache).

    Raises:
        NumberError: If a number is not positive.

    Error:
        As kv_cache_bytes; a model's own longest context may be shorter.
    Source:
        The inverse of kv_cache_bytes.

    >>> from llmdrill.catalog.architecture import AttentionShape
    >>> max_context_tokens(AttentionShape(layers=40, kv_heads=40, head_dim=128), memory_bytes=819_200 * 2048)
    2048
    """
    require_positive(sequences=sequences, bytes_per_value=bytes_per_value)
    require_not_negative(memory_bytes=memory_bytes)

    def needed(tokens: int) -> float:
        cache = kv_cache_bytes(
            shape,
            context_tokens=tokens,
            sequences=sequences,
            bytes_per_value=bytes_per_value,
            block_tokens=block_tokens,
        )
        return cache + index_cache_bytes(shape, context_tokens=tokens, sequences=sequences)

    if needed(MANY_TOKENS) <= memory_bytes:
        return None
    return bisect.bisect_right(range(MANY_TOKENS), memory_bytes, key=needed) - 1


def max_sequences(
    shape: AttentionShape,
    *,
    memory_bytes: float,
    context_tokens: float,
    bytes_per_value: float = 2.0,
    block_tokens: int = 1,
    fixed_bytes: float = 0.0,
) -> int | None:
    """Return how many sequences of ``context_tokens`` fit into ``memory_bytes`` at once.

    Formula:
        floor(memory_bytes / (kv_cache_bytes(context_tokens) + index_cache_bytes(context_tokens) + fixed_bytes))

    Args:
        shape: As for kv_cache_bytes.
        memory_bytes: What is left for the cache beside weights and activations.
        context_tokens: Prompt plus generated tokens of one sequence.
        bytes_per_value: 2 for fp16 and bf16, 1 for fp8.
        block_tokens: Tokens of one block of a paged cache; 1 for no paging.
        fixed_bytes: What a sequence holds whatever its length: state_bytes of state-space layers.

    Returns:
        Sequences; None if a sequence needs no memory.

    Raises:
        NumberError: If a number is negative.

    Error:
        As kv_cache_bytes. An engine that admits by current length holds more at first and preempts later.
    Source:
        The inverse of kv_cache_bytes.

    >>> from llmdrill.catalog.architecture import AttentionShape
    >>> max_sequences(AttentionShape(layers=40, kv_heads=40, head_dim=128), memory_bytes=12e9, context_tokens=2048)
    7
    """
    require_not_negative(memory_bytes=memory_bytes, fixed_bytes=fixed_bytes)
    cache = kv_cache_bytes(
        shape, context_tokens=context_tokens, bytes_per_value=bytes_per_value, block_tokens=block_tokens
    )
    one = cache + index_cache_bytes(shape, context_tokens=context_tokens) + fixed_bytes
    return math.floor(memory_bytes / one) if one else None


def cache_copies(shape: AttentionShape, *, tensor_parallel: int) -> float:
    """Return how often the cache is stored when its heads are split over devices.

    Formula:
        1 while kv_heads is a multiple of tensor_parallel; tensor_parallel / kv_heads beyond, as each device needs at
        least one head; tensor_parallel under multi-head latent attention, whose one latent serves every head.

    Args:
        shape: heads and kv_heads must be known for a split.
        tensor_parallel: Devices that the heads are split over.

    Returns:
        Copies; each device holds kv_cache_bytes * copies / tensor_parallel.

    Raises:
        NumberError: If tensor_parallel is not positive.
        UsageError: If the heads cannot be split evenly over so many devices.

    Error:
        Engines that split a latent's tokens over the devices (context parallel decoding) store one copy.
    Source:
        Arithmetic of a split by heads.

    >>> from llmdrill.catalog.load import find_model
    >>> [cache_copies(find_model("llama-3.1-70b").attention, tensor_parallel=t) for t in (1, 8, 16)]
    [1.0, 1.0, 2.0]
    >>> cache_copies(find_model("deepseek-v3").attention, tensor_parallel=8)
    8.0
    """
    require_positive(tensor_parallel=tensor_parallel)
    heads, kv_heads = shape.heads or shape.kv_heads, shape.kv_heads
    if tensor_parallel == 1 or not shape.layers:
        return 1.0
    if heads % tensor_parallel:
        raise UsageError(f"{heads} attention heads cannot be split evenly over {tensor_parallel} devices")
    if shape.latent_values is not None:
        return float(tensor_parallel)
    if kv_heads % tensor_parallel and tensor_parallel % kv_heads:
        raise UsageError(f"{kv_heads} key-value heads cannot be split evenly over {tensor_parallel} devices")
    return max(1.0, tensor_parallel / kv_heads)


def explain_kv_cache(
    shape: AttentionShape,
    *,
    context_tokens: float,
    sequences: float = 1,
    bytes_per_value: float = 2.0,
    block_tokens: int = 1,
    name: str = "kv_cache_bytes",
) -> Explained:
    """Return kv_cache_bytes with its formula and the numbers put in."""
    value = kv_cache_bytes(
        shape,
        context_tokens=context_tokens,
        sequences=sequences,
        bytes_per_value=bytes_per_value,
        block_tokens=block_tokens,
    )
    layers, layers_filled = _layers_shown(shape, context_tokens, block_tokens)
    per_token, per_token_filled = _values_shown(shape)
    return Explained(
        name=name,
        value=value,
        unit="bytes",
        formula=f"{per_token} × {layers} × bytes_per_value × sequences",
        filled=f"{per_token_filled} × {layers_filled} × {bytes_per_value:g} × {figure(sequences)} = {figure(value)} B",
        source=_SOURCE,
    )


def explain_index_cache(shape: AttentionShape, *, context_tokens: float, sequences: float = 1) -> Explained:
    """Return index_cache_bytes with its formula and the numbers put in."""
    value = index_cache_bytes(shape, context_tokens=context_tokens, sequences=sequences)
    filled = f"{shape.layers} × {shape.index_values} × (1 + 4 / 128) × {figure(context_tokens)} × {figure(sequences)}"
    return Explained(
        name="index_cache_bytes",
        value=value,
        unit="bytes",
        formula="layers × index_values × (1 + 4 / 128) × context_tokens × sequences",
        filled=f"{filled} = {figure(value)} B",
        source="vLLM, vllm/model_executor/models/deepseek_v2.py, DeepseekV32IndexerCache",
    )


def _values_shown(shape: AttentionShape) -> tuple[str, str]:
    """Return the values of one token and layer, in names and in numbers."""
    if shape.latent_values is not None:
        return "latent_values", f"{shape.latent_values}"
    if shape.value_dim is not None:
        return "kv_heads × (head_dim + value_dim)", f"{shape.kv_heads} × ({shape.head_dim} + {shape.value_dim})"
    return "2 × kv_heads × head_dim", f"2 × {shape.kv_heads} × {shape.head_dim}"


def _layers_shown(shape: AttentionShape, context_tokens: float, block_tokens: int) -> tuple[str, str]:
    """Return the layers and the tokens each holds, in names and in numbers."""
    held = figure(_held(context_tokens, math.inf, block_tokens))
    terms = [f"{shape.full_layers} × {held}"] if shape.full_layers or not shape.windows else []
    for group in shape.windows:
        windowed = figure(_held(group.window_tokens, math.inf, block_tokens))
        terms.append(f"{group.layers} × min({held}, {windowed})")
    tokens = "context_tokens" if block_tokens == 1 else f"⌈context_tokens / {block_tokens}⌉ × {block_tokens}"
    names = f"layers × {tokens}" if not shape.windows else f"Σ layers × min({tokens}, window)"
    return names, terms[0] if len(terms) == 1 else f"({' + '.join(terms)})"
