"""Attention three ways: with the whole matrix of scores, tile by tile with an online softmax, and torch's own kernel.

Shapes in comments: B sequences, H heads, T tokens, D head size.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor
from torch.nn import functional

from llmdrill.lab.allocations import peak_tensor_bytes
from llmdrill.lab.clock import timed_alternately
from llmdrill.lab.room import need_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmdrill.lab.clock import Timing

TILE_TOKENS: Final = 128
FP32_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class GrowthReading:
    """All three at one length, over the same random queries, keys and values.

    Attributes:
        full: Seconds with the whole matrix of scores.
        tiled: Seconds tile by tile.
        fused: Seconds of torch's kernel.
        layer: Seconds of a whole attention layer: projections and torch's kernel.
        full_peak_bytes: Most bytes of tensors held at once, inputs left out, output counted.
        tiled_peak_bytes: Likewise.
        fused_peak_bytes: Likewise.
        difference_ratio: Largest gap between full and tiled, as a share of the largest output.
    """

    tokens: int
    full: Timing
    tiled: Timing
    fused: Timing
    layer: Timing
    full_peak_bytes: int
    tiled_peak_bytes: int
    fused_peak_bytes: int
    difference_ratio: float


def full_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return attention (B, H, T, D), every token seeing every token, with the scores (B, H, T, T) written out.

    Source:
        Vaswani et al. 2017, arXiv:1706.03762, equation 1; Dao et al. 2022, arXiv:2205.14135, algorithm 0.
    """
    scores = torch.matmul(q, k.transpose(-2, -1)).mul_(q.shape[-1] ** -0.5)
    return torch.matmul(scores.softmax(dim=-1), v)


def tiled_attention(q: Tensor, k: Tensor, v: Tensor, *, tile_tokens: int = TILE_TOKENS) -> Tensor:
    """Return the same (B, H, T, D) with one tile of scores at a time: each row's maximum and sum are kept running.

    When a tile brings a larger maximum, what was summed so far is scaled down by exp(old - new). The loops over
    queries and keys are those of FlashAttention the other way round, so that a row is finished before the next.

    Source:
        Dao et al. 2022, arXiv:2205.14135, algorithm 1.
    """
    output = torch.empty_like(q)
    scale = q.shape[-1] ** -0.5
    for rows in _tiles(q.shape[2], tile_tokens):
        queries = q[:, :, rows] * scale  # (B, H, tile, D)
        top = queries.new_full((*queries.shape[:3], 1), -math.inf)
        total, mixed = torch.zeros_like(top), torch.zeros_like(queries)
        for columns in _tiles(k.shape[2], tile_tokens):
            scores = torch.matmul(queries, k[:, :, columns].transpose(-2, -1))  # (B, H, tile, tile)
            larger = torch.maximum(top, scores.amax(dim=-1, keepdim=True))
            powers = scores.sub_(larger).exp_()
            shrink = (top - larger).exp()
            total.mul_(shrink).add_(powers.sum(dim=-1, keepdim=True))
            mixed.mul_(shrink).add_(torch.matmul(powers, v[:, :, columns]))
            top = larger
            del scores, powers  # or the next tile would stand beside this one
        output[:, :, rows] = mixed / total
    return output


def _tiles(tokens: int, size: int) -> list[slice]:
    return [slice(at, min(at + size, tokens)) for at in range(0, tokens, size)]


@torch.inference_mode()
def measure_growth(
    *,
    lengths: Sequence[int],
    heads: int,
    head_dim: int,
    repeats: int,
    seed: int,
    now: Callable[[], float] = time.perf_counter,
) -> tuple[GrowthReading, ...]:
    """Time the three ways and a whole layer at each length, alternately, and count the bytes they hold.

    The values are random: they change neither seconds nor bytes.

    Raises:
        UsageError: If the scores of the longest do not fit into the memory that is free.
    """
    scores_bytes = 2 * heads * max(lengths) ** 2 * FP32_BYTES  # and the weights beside them
    need_memory(scores_bytes, what=f"a matrix of scores of {max(lengths)} tokens")
    rng = torch.Generator().manual_seed(seed)
    width = heads * head_dim
    into = torch.empty(3 * width, width).normal_(std=width**-0.5, generator=rng)
    out = torch.empty(width, width).normal_(std=width**-0.5, generator=rng)
    return tuple(
        _growth_at(torch.randn(1, tokens, width, generator=rng), into, out, heads=heads, repeats=repeats, now=now)
        for tokens in lengths
    )


def _growth_at(
    x: Tensor, into: Tensor, out: Tensor, *, heads: int, repeats: int, now: Callable[[], float]
) -> GrowthReading:
    q, k, v = _project(x, into, heads)

    def layer() -> Tensor:
        mixed = functional.scaled_dot_product_attention(*_project(x, into, heads))
        return functional.linear(mixed.transpose(1, 2).reshape(x.shape), out)

    works: dict[str, Callable[[], Tensor]] = {
        "full": lambda: full_attention(q, k, v),
        "tiled": lambda: tiled_attention(q, k, v),
        "fused": lambda: functional.scaled_dot_product_attention(q, k, v),
    }
    timings = timed_alternately({**works, "layer": layer}, repeats=repeats, now=now)
    whole, parts = works["full"](), works["tiled"]()
    difference = float((whole - parts).abs().max() / whole.abs().max())
    del whole, parts
    peaks = {name: peak_tensor_bytes(work) for name, work in works.items()}
    return GrowthReading(
        tokens=x.shape[1],
        full=timings["full"],
        tiled=timings["tiled"],
        fused=timings["fused"],
        layer=timings["layer"],
        full_peak_bytes=peaks["full"],
        tiled_peak_bytes=peaks["tiled"],
        fused_peak_bytes=peaks["fused"],
        difference_ratio=difference,
    )


def _project(x: Tensor, into: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values (B, H, T, D) of x (B, T, C)."""
    parts = functional.linear(x, into).view(*x.shape[:2], 3, heads, -1).permute(2, 0, 3, 1, 4).contiguous()
    return parts[0], parts[1], parts[2]
