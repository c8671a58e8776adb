"""Floating-point operations of prefill and decode, the roofline they meet, and how near a measurement comes to it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from llmdrill.errors import UsageError
from llmdrill.estimate.checks import require_not_negative, require_positive
from llmdrill.estimate.explain import Explained, figure
from llmdrill.estimate.state import state_flops

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmdrill.catalog.architecture import AttentionShape, ModelRecord


def matmul_parameters(model: ModelRecord) -> float:
    """Return the parameters that one token is multiplied with.

    Formula:
        active_parameters, less the input embedding where it is not also the output head (a lookup multiplies nothing).

    Args:
        model: Its counts of parameters must be known.

    Returns:
        Parameters.

    Raises:
        UsageError: If the model's parameters are unknown.

    Error:
        Norms and biases are counted as if multiplied: under 0.1 %.
    Source:
        Kaplan et al. 2020, arXiv:2001.08361, section 2.1.

    >>> from llmdrill.catalog.load import find_model
    >>> matmul_parameters(find_model("llama-3.1-8b"))
    7504924672
    """
    if model.active_parameters is None or model.embedding_parameters is None:
        raise UsageError(f"the number of parameters of '{model.name}' is unknown; name a model of the catalogue")
    return model.active_parameters - (0 if model.tied_embeddings else model.embedding_parameters)


def attention_flops(shape: AttentionShape, *, tokens: float, context_tokens: float, absorbed: bool = False) -> float:
    """Return the operations of scores and weighted values of ``tokens`` tokens that each see ``context_tokens``.

    Formula:
        sum over layers of 2 * heads * (head_dim + value_dim) * tokens * min(context_tokens, window)
        (2 per multiply-add; value_dim is head_dim but in latent attention). Absorbed latent attention works on the
        latents themselves: 2 * heads * (latent_values + latent_values - rope_values) in place of that. A
        sparse-attention indexer adds 2 * index_heads * index_values for every token of the context and leaves
        attention index_tokens of them.

    Args:
        shape: heads must be known (kv_heads is taken where it is not).
        tokens: Query tokens.
        context_tokens: Key tokens that each of them sees.
        absorbed: Latent attention as engines run decode: 3 to 4 times the operations, but no keys and values unpacked.

    Returns:
        FLOP.

    Raises:
        NumberError: If a count is negative.

    Error:
        Softmax is left out: under 2 % of these. A kernel that does not skip masked blocks does up to twice as many.
    Source:
        Kaplan et al. 2020, arXiv:2001.08361, table 1; latent attention: arithmetic of its shapes, PyPI transformers
        5.23.0, models/deepseek_v3/modeling_deepseek_v3.py.

    >>> from llmdrill.catalog.architecture import AttentionShape
    >>> attention_flops(AttentionShape(layers=1, kv_heads=8, head_dim=64, heads=8), tokens=1, context_tokens=10)
    20480.0
    """
    require_not_negative(tokens=tokens, context_tokens=context_tokens)
    return _pair_flops(shape, absorbed=absorbed, pairs=lambda window: tokens * min(context_tokens, window))


def explain_attention(shape: AttentionShape, *, context_tokens: float) -> Explained:
    """Return attention_flops of one token in decode with its formula and the numbers put in."""
    value = attention_flops(shape, tokens=1, context_tokens=context_tokens, absorbed=True)
    tokens, latent = figure(context_tokens), shape.latent_values
    few = shape.index_tokens
    terms = [f"{shape.full_layers} × {tokens if few is None else f'min({tokens}, {figure(few)})'}"]
    terms += [f"{group.layers} × min({tokens}, {figure(group.window_tokens)})" for group in shape.windows]
    heads = shape.heads or shape.kv_heads
    width, wide = "(head_dim + value_dim)", f"({shape.head_dim} + {shape.value_dim or shape.head_dim})"
    if latent is not None:
        width, wide = "(2 × latent_values - rope_values)", f"(2 × {latent} - {shape.rope_values})"
    formula, filled = f"2 × heads × {width} × Σ layers × tokens seen", f"2 × {heads} × {wide} × ({' + '.join(terms)})"
    if shape.index_heads:
        formula += " + 2 × index_heads × index_values × layers × context"
        filled += f" + 2 × {shape.index_heads} × {shape.index_values} × {shape.full_layers} × {tokens}"
    return Explained(
        name="attention_flops_per_token",
        value=value,
        unit="count",
        formula=formula,
        filled=f"{filled} = {figure(value)}",
        source="Kaplan et al. 2020, arXiv:2001.08361, table 1; latent attention: arithmetic of its shapes",
    )


def _pair_flops(shape: AttentionShape, *, absorbed: bool, pairs: Callable[[float], float]) -> float:
    """Return the attention operations where ``pairs`` gives the query-key pairs of a layer with a window."""
    every = pairs(math.inf)
    seen = shape.full_layers * (every if shape.index_tokens is None else pairs(shape.index_tokens))
    seen += sum(group.layers * pairs(group.window_tokens) for group in shape.windows)
    index = 2 * shape.index_heads * shape.index_values * shape.full_layers * every
    return float(2 * (shape.heads or shape.kv_heads) * _values_per_pair(shape, absorbed=absorbed) * seen + index)


def _values_per_pair(shape: AttentionShape, *, absorbed: bool) -> int:
    """Return the multiply-adds of one query head with one key: its score and its weighted value."""
    if absorbed and shape.latent_values is not None:
        return 2 * shape.latent_values - shape.rope_values
    return shape.head_dim + (shape.head_dim if shape.value_dim is None else shape.value_dim)


def _causal_pairs(tokens: float, cached_tokens: float, window: float) -> float:
    """Return the query-key pairs of a prompt whose tokens each see what is before them, at most a window."""
    room = max(window - cached_tokens, 0.0)  # tokens until the window is full
    growing = min(tokens, room)
    return growing * (cached_tokens + growing / 2) + (tokens - growing) * (window if tokens > growing else 0.0)


def prefill_flops(model: ModelRecord, *, input_tokens: float, cached_tokens: float = 0.0) -> float:
    """Return the operations of reading a prompt.

    Formula:
        2 * matmul_parameters * input_tokens + the attention of a causal mask, under which a token sees half the prompt
        on average, and at most a layer's window + state_flops(input_tokens).

    Args:
        model: Its parameters must be known.
        input_tokens: Tokens of the prompt that are not read from a prefix cache.
        cached_tokens: Tokens before them that are.

    Returns:
        FLOP.

    Raises:
        NumberError: If a count is negative.
        UsageError: If the model's parameters are unknown.

    Error:
        Engines run the output head for the last token only: too high by its share (6.5 % for Llama-3.1-8B).
    Source:
        Kaplan et al. 2020, arXiv:2001.08361, section 2.1: 2N + 2 n_layer n_ctx d_attn per token.

    >>> from llmdrill.catalog.load import find_model
    >>> f"{prefill_flops(find_model('llama-3.1-8b'), input_tokens=1000):.3e}"
    '1.527e+13'
    """
    require_not_negative(input_tokens=input_tokens, cached_tokens=cached_tokens)
    attention = _pair_flops(
        model.attention, absorbed=False, pairs=lambda window: _causal_pairs(input_tokens, cached_tokens, window)
    )
    return 2 * matmul_parameters(model) * input_tokens + attention + state_flops(model.state, tokens=input_tokens)


def decode_flops(model: ModelRecord, *, context_tokens: float) -> float:
    """Return the operations of writing one token.

    Formula:
        2 * matmul_parameters + attention_flops(1, context_tokens), absorbed in latent attention + state_flops(1)

    Args:
        model: Its parameters must be known.
        context_tokens: Tokens already in the cache.

    Returns:
        FLOP per token and sequence.

    Raises:
        NumberError: If context_tokens is negative.
        UsageError: If the model's parameters are unknown.

    Error:
        As prefill_flops, without the output head's part.
    Source:
        Kaplan et al. 2020, arXiv:2001.08361, section 2.1.

    >>> from llmdrill.catalog.load import find_model
    >>> decode_flops(find_model("llama-3.1-8b"), context_tokens=0)
    15009849344.0
    """
    attention = attention_flops(model.attention, tokens=1, context_tokens=context_tokens, absorbed=True)
    return 2 * matmul_parameters(model) + attention + state_flops(model.state, tokens=1)


def arithmetic_intensity(*, flops: float, moved_bytes: float) -> float:
    """Return the operations that a step does for each byte it moves.

    Formula:
        flops / moved_bytes
    Args:
        flops: Of the step, all sequences together.
        moved_bytes: Weights and cache read, all sequences together.

    Returns:
        FLOP per byte; below the device's ridge the step waits for memory.

    Raises:
        NumberError: If flops is negative or no byte is moved.

    Error:
        Activations are left out: they stay on the chip in decode.
    Source:
        Williams et al. 2009, Roofline, doi:10.1145/1498765.1498785.

    >>> arithmetic_intensity(flops=2e9, moved_bytes=2e9)
    1.0
    """
    require_not_negative(flops=flops)
    require_positive(moved_bytes=moved_bytes)
    return flops / moved_bytes


def ridge_flops_per_byte(*, flops_per_s: float, bandwidth_bytes_per_s: float) -> float:
    """Return the arithmetic intensity from which on a device computes rather than waits for memory.

    Formula:
        flops_per_s / bandwidth_bytes_per_s
    Args:
        flops_per_s: Dense peak.
        bandwidth_bytes_per_s: Of the memory.

    Returns:
        FLOP per byte.

    Raises:
        NumberError: If a number is not positive.

    Error:
        Both peaks are nominal; real kernels reach 40 to 85 % of each, so the true ridge lies within a factor of two.
    Source:
        Williams et al. 2009, Roofline, doi:10.1145/1498765.1498785.

    >>> round(ridge_flops_per_byte(flops_per_s=989e12, bandwidth_bytes_per_s=3.35e12), 1)
    295.2
    """
    require_positive(flops_per_s=flops_per_s, bandwidth_bytes_per_s=bandwidth_bytes_per_s)
    return flops_per_s / bandwidth_bytes_per_s


def mfu_share(*, flops_per_token: float, tokens_per_s: float, peak_flops_per_s: float, devices: int = 1) -> float:
    """Return the model FLOPs utilisation of a measured throughput.

    Formula:
        flops_per_token * tokens_per_s / (devices * peak_flops_per_s)

    Args:
        flops_per_token: What the model needs for a token, whatever the engine really does.
        tokens_per_s: Measured, of all devices together.
        peak_flops_per_s: Dense peak of one device at the precision in use.
        devices: That worked on it.

    Returns:
        A share of one; above one the measurement or a figure is wrong, or tokens came from a cache.

    Raises:
        NumberError: If a number is negative, or a peak or the devices are not positive.

    Error:
        As exact as its inputs. Tokens read from a prefix cache must not be counted as computed.
    Source:
        karpathy/nanoGPT@0011cd44, model.py, estimate_mfu, after PaLM, arXiv:2204.02311, appendix B.

    >>> mfu_share(flops_per_token=16e9, tokens_per_s=24_725, peak_flops_per_s=989e12)
    0.4
    """
    require_not_negative(flops_per_token=flops_per_token, tokens_per_s=tokens_per_s)
    require_positive(peak_flops_per_s=peak_flops_per_s, devices=devices)
    return flops_per_token * tokens_per_s / (devices * peak_flops_per_s)


def mbu_share(*, bytes_per_step: float, step_s: float, bandwidth_bytes_per_s: float, devices: int = 1) -> float:
    """Return the model bandwidth utilisation of a measured decode step.

    Formula:
        bytes_per_step / step_s / (devices * bandwidth_bytes_per_s), bytes_per_step = weights read + cache read
    Args:
        bytes_per_step: Weights and key-value cache that a step has to read.
        step_s: Measured time between two tokens of a sequence (TPOT).
        bandwidth_bytes_per_s: Of one device's memory, nominal.
        devices: That worked on it.

    Returns:
        A share of one; above one the measurement or a figure is wrong.

    Raises:
        NumberError: If a number is negative, or a time, a bandwidth or the devices are not positive.

    Error:
        As exact as its inputs. Of a mixture of experts only the experts that were touched are read.
    Source:
        Databricks 2023, LLM Inference Performance Engineering: (parameter size + cache size) / TPOT over the peak.

    >>> mbu_share(bytes_per_step=14e9, step_s=0.014, bandwidth_bytes_per_s=2e12)
    0.5
    """
    require_not_negative(bytes_per_step=bytes_per_step)
    require_positive(step_s=step_s, bandwidth_bytes_per_s=bandwidth_bytes_per_s, devices=devices)
    return bytes_per_step / step_s / (devices * bandwidth_bytes_per_s)
