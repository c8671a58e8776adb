"""The key-value cache: its size, and what fits into a given memory."""

from __future__ import annotations

import bisect
import math
from typing import TYPE_CHECKING, Final

from llmdrill.estimate.checks import require_not_negative, require_positive
from llmdrill.estimate.explain import Explained, figure

if TYPE_CHECKING:
    from llmdrill.catalog.architecture import AttentionShape

MANY_TOKENS: Final = 2**48  # more than any context: where the search for the longest one ends
_SOURCE: Final = "Kwon et al. 2023, arXiv:2309.06180, section 3"


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
        bytes_per_value: 2 for fp16 and bf16, 1 for fp8.
        block_tokens: Tokens of one block of a paged cache; 1 for no paging.

    Returns:
        Bytes.

    Raises:
        NumberError: If a count is negative or not finite (a ValueError and a UsageError).

    Error:
        Exact: 25 of 25 models of a public set equal the cache that a real implementation allocates. An engine that
        keeps windowed layers unwindowed needs more; state-space layers' state and allocator slack are not counted.
    Source:
        Kwon et al. 2023, arXiv:2309.06180, section 3: OPT-13B needs 800 KB a token.

    >>> from llmdrill.catalog.architecture import AttentionShape
    >>> kv_cache_bytes(AttentionShape(layers=40, kv_heads=40, head_dim=128), context_tokens=1)
    819200.0
    """
    require_not_negative(context_tokens=context_tokens, sequences=sequences)
    require_positive(bytes_per_value=bytes_per_value, block_tokens=block_tokens)
    per_value = shape.values_per_token * bytes_per_value * sequences
    full = shape.full_layers * _held(context_tokens, math.inf, block_tokens)
    windowed = sum(group.layers * _held(context_tokens, group.window_tokens, block_tokens) for group in shape.windows)
    return float(per_value * (full + windowed))


def _held(context_tokens: float, window_tokens: float, block_tokens: int) -> float:
    tokens = min(context_tokens, window_tokens)
    return tokens if block_tokens == 1 else math.ceil(tokens / block_tokens) * block_tokens


def max_context_tokens(
    shape: AttentionShape, *, memory_bytes: float, sequences: float = 1, bytes_per_value: float = 2.0
) -> int | None:
    """Return the longest context of each of ``sequences`` sequences whose caches fit into ``memory_bytes``.

    Formula:
        The largest whole context_tokens with kv_cache_bytes(context_tokens) <= memory_bytes.

    Args:
        shape: As for kv_cache_bytes.
        memory_bytes: What is left for the cache beside weights and activations.
        sequences: Sequences resident at once.
        bytes_per_value: 2 for fp16 and bf16, 1 for fp8.

    Returns:
        Tokens; None if the cache stops growing before the memory is full (every layer has a window).

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
        return kv_cache_bytes(shape, context_tokens=tokens, sequences=sequences, bytes_per_value=bytes_per_value)

    if needed(MANY_TOKENS) <= memory_bytes:
        return None
    return bisect.bisect_right(range(MANY_TOKENS), memory_bytes, key=needed) - 1


def max_sequences(
    shape: AttentionShape, *, memory_bytes: float, context_tokens: float, bytes_per_value: float = 2.0
) -> int | None:
    """Return how many sequences of ``context_tokens`` fit into ``memory_bytes`` at once.

    Formula:
        floor(memory_bytes / kv_cache_bytes(context_tokens))

    Args:
        shape: As for kv_cache_bytes.
        memory_bytes: What is left for the cache beside weights and activations.
        context_tokens: Prompt plus generated tokens of one sequence.
        bytes_per_value: 2 for fp16 and bf16, 1 for fp8.

    Returns:
        Sequences; None if a sequence needs no cache.

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
    require_not_negative(memory_bytes=memory_bytes)
    one = kv_cache_bytes(shape, context_tokens=context_tokens, bytes_per_value=bytes_per_value)
    return math.floor(memory_bytes / one) if one else None


def explain_kv_cache(
    shape: AttentionShape, *, context_tokens: float, sequences: float = 1, bytes_per_value: float = 2.0
) -> Explained:
    """Return kv_cache_bytes with its formula and the numbers put in."""
    value = kv_cache_bytes(shape, context_tokens=context_tokens, sequences=sequences, bytes_per_value=bytes_per_value)
    latent = shape.latent_values is not None
    per_token = "latent_values" if latent else "2 × kv_heads × head_dim"
    per_token_filled = f"{shape.latent_values}" if latent else f"2 × {shape.kv_heads} × {shape.head_dim}"
    terms = [f"{shape.full_layers} × {figure(context_tokens)}"] if shape.full_layers or not shape.windows else []
    terms += [f"{group.layers} × min({figure(context_tokens)}, {group.window_tokens:,})" for group in shape.windows]
    layers_and_tokens = "layers × context_tokens" if not shape.windows else "Σ layers × min(context_tokens, window)"
    filled = terms[0] if len(terms) == 1 else f"({' + '.join(terms)})"
    return Explained(
        name="kv_cache_bytes",
        value=value,
        unit="bytes",
        formula=f"{per_token} × {layers_and_tokens} × bytes_per_value × sequences",
        filled=f"{per_token_filled} × {filled} × {bytes_per_value:g} × {figure(sequences)} = {figure(value)} B",
        source=_SOURCE,
    )
