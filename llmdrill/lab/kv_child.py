"""A process of its own that fills one key-value cache and says what it cost: run as ``python -m``, asked by kv_run.

Between the two readings of the process's memory every position is written and nothing else happens; the pages that
making the tensor has touched are given back before. So what the process grows by is what is used of the cache.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import sys
from pathlib import Path
from typing import Any, Final

import torch

from llmdrill.lab.decoder import KvCache
from llmdrill.lab.machine import resident_bytes
from llmdrill.lab.shapes import DecoderShape

PIECE_BYTES: Final = 1 << 17  # written at once: small beside the cache, so that its own memory is too
_EXACT: Final = Path("/proc/self/smaps_rollup")  # statm may lag behind by some pages of each thread
_DTYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16}


def exact_resident_bytes() -> int | None:
    """Return the memory this process holds, as exactly as the system tells it; None where it does not."""
    try:
        lines = _EXACT.read_text(encoding="ascii").splitlines()
    except OSError:
        return resident_bytes()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Rss:"))


def give_back(tensor: torch.Tensor) -> bool:
    """Give the whole pages of a tensor of zeros back to the system, and say whether it took them.

    ``torch.zeros`` writes all that it allocates, so a process would hold every page of a cache that nobody used. What
    is given back reads as zeros again, and takes memory when it is next written.
    """
    if sys.platform != "linux":
        return False  # elsewhere the same call promises no zeros
    first = tensor.data_ptr() + -tensor.data_ptr() % mmap.PAGESIZE
    size = (tensor.data_ptr() + tensor.nbytes - first) // mmap.PAGESIZE * mmap.PAGESIZE
    if size <= 0:
        return True  # no page is the tensor's alone
    asked = ctypes.c_void_p(first), ctypes.c_size_t(size), mmap.MADV_DONTNEED
    return bool(ctypes.CDLL(None).madvise(*asked) == 0)


def fill(cache: KvCache, shape: DecoderShape, piece: torch.Tensor) -> None:
    """Write keys and values to every position of every layer, a piece (B, T, K, D) at a time."""
    for first in range(0, cache.capacity_tokens, piece.shape[1]):
        positions = torch.arange(first, min(first + piece.shape[1], cache.capacity_tokens))
        here = positions.expand(len(piece), -1)  # (B, T)
        for layer in range(shape.layers):
            cache.write(layer, piece[:, : len(positions)], piece[:, : len(positions)], here)


def measure(asked: dict[str, Any]) -> dict[str, int | None]:
    """Return the bytes of the cache's tensor, and by how much writing every position of it let this process grow."""
    shape, sequences = DecoderShape(**asked["shape"]), asked["sequences"]
    dtype = _DTYPES[asked["dtype"]]
    context, token_bytes = asked["context_tokens"], sequences * shape.kv_heads * shape.head_dim * dtype.itemsize
    piece_tokens = min(context, max(1, PIECE_BYTES // token_bytes))
    piece = torch.ones(sequences, piece_tokens, shape.kv_heads, shape.head_dim, dtype=dtype)
    small = KvCache(shape, sequences=sequences, capacity_tokens=min(context, 2 * piece_tokens), dtype=dtype)
    fill(small, shape, piece)  # loads all code that writing needs
    cache = KvCache(shape, sequences=sequences, capacity_tokens=context, dtype=dtype)
    before = exact_resident_bytes() if give_back(cache.keys_values) else None
    fill(cache, shape, piece)
    after = exact_resident_bytes()
    growth = None if before is None or after is None else after - before
    return {"tensor_bytes": cache.allocated_bytes, "rss_bytes": growth}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(json.loads(sys.argv[1]))))
