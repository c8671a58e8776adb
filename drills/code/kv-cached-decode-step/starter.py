"""One decode step of an attention layer with a key-value cache."""

from __future__ import annotations

import numpy as np


def decode_step(
    x: np.ndarray,
    weights: dict[str, np.ndarray],
    keys: np.ndarray,
    values: np.ndarray,
    position: int,
) -> np.ndarray:
    """Return the attention layer's output for the newest token, and keep its key and value in the cache.

    Args:
        x: (D,) input of the newest token.
        weights: ``q`` (D, H * hd), ``k`` and ``v`` (D, G * hd), ``o`` (H * hd, D). H query heads share G key-value
            heads, H / G each: query heads 0 to H / G - 1 share the first.
        keys: (G, capacity, hd), changed in place: only at ``position``. Beyond it stands what others left behind.
        values: (G, capacity, hd), likewise.
        position: Of the newest token, from 0; so many tokens are in the cache already.

    Returns:
        (D,)
    """
    raise NotImplementedError
