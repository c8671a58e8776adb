"""Floating-point operations of prefill and decode, and the roofline they meet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdrill.errors import UsageError
from llmdrill.estimate.checks import require_not_negative, require_positive

if TYPE_CHECKING:
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


def attention_flops(shape: AttentionShape, *, tokens: float, context_tokens: float) -> float:
    """Return the operations of scores and weighted values of ``tokens`` tokens that each see ``context_tokens``.

    Formula:
        sum over layers of 4 * heads * head_dim * tokens * min(context_tokens, window)
        (2 per multiply-add, once for the scores and once for the values).

    Args:
        shape: heads must be known (kv_heads is taken where it is not).
        tokens: Query tokens.
        context_tokens: Key tokens that each of them sees.

    Returns:
        FLOP.

    Raises:
        NumberError: If a count is negative.

    Error:
        Softmax is left out: under 2 % of these. A kernel that does not skip masked blocks does up to twice as many.
    Source:
        Kaplan et al. 2020, arXiv:2001.08361, table 1.

    >>> from llmdrill.catalog.architecture import AttentionShape
    >>> attention_flops(AttentionShape(layers=1, kv_heads=8, head_dim=64, heads=8), tokens=1, context_tokens=10)
    20480.0
    """
    require_not_negative(tokens=tokens, context_tokens=context_tokens)
    heads = shape.heads or shape.kv_heads
    seen = shape.full_layers * context_tokens
    seen += sum(group.layers * min(context_tokens, group.window_tokens) for group in shape.windows)
    return float(4 * heads * shape.head_dim * tokens * seen)


def prefill_flops(model: ModelRecord, *, input_tokens: float) -> float:
    """Return the operations of reading a prompt.

    Formula:
        2 * matmul_parameters * input_tokens + attention_flops(input_tokens, input_tokens / 2)
        (a causal mask lets a token see half the prompt on average).

    Args:
        model: Its parameters must be known.
        input_tokens: Tokens of the prompt that are not read from a prefix cache.

    Returns:
        FLOP.

    Raises:
        NumberError: If input_tokens is negative.
        UsageError: If the model's parameters are unknown.

    Error:
        Engines run the output head for the last token only: too high by its share (6.5 % for Llama-3.1-8B).
    Source:
        Kaplan et al. 2020, arXiv:2001.08361, section 2.1: 2N + 2 n_layer n_ctx d_attn per token.

    >>> from llmdrill.catalog.load import find_model
    >>> f"{prefill_flops(find_model('llama-3.1-8b'), input_tokens=1000):.3e}"
    '1.527e+13'
    """
    attention = attention_flops(model.attention, tokens=input_tokens, context_tokens=input_tokens / 2)
    return 2 * matmul_parameters(model) * input_tokens + attention


def decode_flops(model: ModelRecord, *, context_tokens: float) -> float:
    """Return the operations of writing one token.

    Formula:
        2 * matmul_parameters + attention_flops(1, context_tokens)

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
    return 2 * matmul_parameters(model) + attention_flops(model.attention, tokens=1, context_tokens=context_tokens)


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
