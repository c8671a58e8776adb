"""GPTQ: round a matrix column by column, and let the columns that are still to come make up for each error.

Shapes in comments: N calibration tokens, R rows, C columns of a matrix.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import torch

from llmdrill.lab.decoder import Decoder
from llmdrill.lab.quantize import MATRICES, Grid, OnLinear, fit_grid, pack_codes, quantize

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from llmdrill.lab.quantize import PackedMatrix, Quantized, Scheme

DAMPING_SHARE: Final = 0.01  # of the mean diagonal, added to it: the paper's 1 %
BLOCK_COLUMNS: Final = 128  # updated among themselves first, and only then all the columns behind them


def input_products(decoder: Decoder, layer: int, windows: Tensor) -> dict[str, Tensor]:
    """Return x^T x (C, C) of the inputs x of a layer's four matrices, summed over all tokens of windows (B, T)."""
    weights = replace(decoder.weights, layers=decoder.weights.layers[: layer + 1])  # no later layer is needed
    upto = Decoder(replace(decoder.shape, layers=layer + 1), weights, random_weights=decoder.random_weights)
    names = {id(getattr(weights.layers[layer], name)): name for name in MATRICES}
    sums: dict[str, Tensor] = {}

    def add(inputs: Tensor, weight: Tensor) -> Tensor:
        if (name := names.get(id(weight))) is not None:
            rows = inputs.flatten(0, -2).double()  # (N, C)
            sums[name] = sums[name] + rows.T @ rows if name in sums else rows.T @ rows
        return weight

    with OnLinear(add):
        for window in windows:
            upto.start(sequences=1, capacity_tokens=len(window)).prefill([window.tolist()])
    return sums


def gptq_matrix(weight: Tensor, products: Tensor, scheme: Scheme) -> PackedMatrix:
    """Round a matrix (R, C) so that its products with the calibration inputs change little.

    Column by column: what rounding took from a column is put on the columns behind it, in the shares that the inverse
    of the Hessian says are the least harm. A group's grid is fitted when its first column is reached.

    Args:
        weight: (R, C).
        products: (C, C), x^T x of the calibration inputs: the Hessian of the squared error but for a factor.
        scheme: Bits and groups.

    Source:
        Frantar et al. 2023, GPTQ, arXiv:2210.17323, section 4: fixed order, lazy batches, Cholesky form, 1 % damping.
    """
    work, columns, width = weight.double().clone(), scheme.columns(weight), weight.shape[1]
    upper = _inverse_factor(products, work)  # (C, C)
    codes, grids = torch.empty_like(work), list[Grid]()
    for first, last in _blocks(width, columns):
        if first % columns == 0:
            grids.append(_wide(fit_grid(work[:, None, first : first + columns].float(), scheme)))
        errors = torch.zeros_like(work[:, first:last])
        for at in range(first, last):
            code = grids[-1].codes(work[:, at : at + 1])  # (R, 1)
            restored = (code - grids[-1].zero) * grids[-1].scale
            error = (work[:, at : at + 1] - restored) / upper[at, at]
            work[:, at + 1 : last] -= error * upper[at, at + 1 : last]
            codes[:, at : at + 1], errors[:, at - first : at - first + 1] = code, error
        work[:, last:] -= errors @ upper[first:last, last:]
    scale, zero = (torch.cat([getattr(grid, part) for grid in grids], dim=1).float() for part in ("scale", "zero"))
    return pack_codes(codes, replace(grids[0], scale=scale, zero=zero), scheme, columns=columns)


def _blocks(width: int, columns: int) -> Iterator[tuple[int, int]]:
    """Yield where blocks begin and end: at most ``BLOCK_COLUMNS``, and none across the border of two groups.

    >>> list(_blocks(400, 192))
    [(0, 128), (128, 192), (192, 320), (320, 384), (384, 400)]
    """
    for group in range(0, width, columns):
        end = min(group + columns, width)
        yield from ((at, min(at + BLOCK_COLUMNS, end)) for at in range(group, end, BLOCK_COLUMNS))


def _wide(grid: Grid) -> Grid:
    return replace(grid, scale=grid.scale.double(), zero=grid.zero.double())


def _inverse_factor(products: Tensor, work: Tensor) -> Tensor:
    """Return U with U^T U = inverse of the damped Hessian; columns of inputs that are always 0 become 0."""
    hessian = products.clone()
    dead = hessian.diagonal() == 0
    hessian.diagonal()[dead] = 1
    work[:, dead] = 0
    hessian.diagonal().add_(DAMPING_SHARE * hessian.diagonal().mean())
    inverse: Tensor = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    factor: Tensor = torch.linalg.cholesky(inverse, upper=True)
    return factor


def quantize_gptq(decoder: Decoder, scheme: Scheme, windows: Tensor) -> Quantized:
    """Quantise layer after layer, each calibrated on what the layers before it, already quantised, hand on.

    Args:
        decoder: fp32 weights.
        scheme: Bits and groups.
        windows: (B, T) calibration tokens: a few thousand in all, more than the widest matrix has columns.
    """
    packed: dict[str, PackedMatrix] = {}
    so_far = quantize(decoder, lambda name, _: packed.get(name))
    for index in range(decoder.shape.layers):
        products = input_products(so_far.decoder, index, windows)
        for name in MATRICES:
            weight = getattr(decoder.weights.layers[index], name)
            packed[f"{index}.{name}"] = gptq_matrix(weight, products[name], scheme)
        so_far = quantize(decoder, lambda name, _: packed.get(name))
    return so_far
