"""Formulas over whole arrays of points, for plots and sweeps. The price of many requests is in estimate/cost.py."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from llmdrill.estimate.checks import NumberError, require_positive

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from llmdrill.catalog.architecture import AttentionShape


def kv_cache_points(
    shape: AttentionShape,
    *,
    context_tokens: NDArray[Any],
    sequences: NDArray[Any] | float = 1,
    bytes_per_value: float = 2.0,
    block_tokens: int = 1,
) -> NDArray[Any]:
    """Return the size of the key-value cache at many points, one element a point.

    Formula:
        kv_cache_bytes of each element.

    Args:
        shape: Layers, windows, and either kv_heads and head_dim or latent_values.
        context_tokens: Prompt plus generated tokens of one sequence (n,).
        sequences: Sequences resident at once, (n,) or one number for all.
        bytes_per_value: 2 for fp16 and bf16, 1 for fp8, 0.5 for 4 bits.
        block_tokens: Tokens of one block of a paged cache; 1 for no paging.

    Returns:
        Bytes (n,).

    Raises:
        NumberError: If a count is negative or not finite.

    Error:
        As of kv_cache_bytes; the two are equal to the last bit.
    Source:
        Kwon et al. 2023, arXiv:2309.06180, section 3: OPT-13B needs 800 KB a token.

    >>> import numpy as np
    >>> from llmdrill.catalog.architecture import AttentionShape
    >>> opt = AttentionShape(layers=40, kv_heads=40, head_dim=128)
    >>> kv_cache_points(opt, context_tokens=np.array([1, 2048])).tolist()
    [819200.0, 1677721600.0]
    """
    import numpy as np

    require_positive(bytes_per_value=bytes_per_value, block_tokens=block_tokens)
    context, resident = np.asarray(context_tokens, dtype=float), np.asarray(sequences, dtype=float)
    for name, counts in (("context_tokens", context), ("sequences", resident)):
        if counts.size and not (counts.min() >= 0 and counts.max() < math.inf):
            raise NumberError(f"{name} must be zero or more and finite, in every element")

    def held(window_tokens: float) -> NDArray[Any]:
        tokens = context if window_tokens == math.inf else np.minimum(context, window_tokens)
        return tokens if block_tokens == 1 else np.ceil(tokens / block_tokens) * block_tokens

    windowed = sum(group.layers * held(group.window_tokens) for group in shape.windows)
    per_value = shape.values_per_token * bytes_per_value * resident
    return np.asarray(per_value * (shape.full_layers * held(math.inf) + windowed))
