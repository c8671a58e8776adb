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
    """Return the attention layer's output (D,) for the newest token; its key and value are written at ``position``."""
    kv_heads, _, head_dim = keys.shape
    query = (x @ weights["q"]).reshape(kv_heads, -1, head_dim)  # (G, H / G, hd)
    keys[:, position] = (x @ weights["k"]).reshape(kv_heads, head_dim)
    values[:, position] = (x @ weights["v"]).reshape(kv_heads, head_dim)
    seen = slice(0, position + 1)
    scores = query @ keys[:, seen].transpose(0, 2, 1) / np.sqrt(head_dim)  # (G, H / G, n)
    raised = np.exp(scores - scores.max(axis=-1, keepdims=True))
    mixed = raised / raised.sum(axis=-1, keepdims=True) @ values[:, seen]  # (G, H / G, hd)
    return mixed.reshape(-1) @ weights["o"]
