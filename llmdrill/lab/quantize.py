"""Weights in few bits: whole numbers packed two to a byte, a scale and perhaps a zero point for each group of columns.

Shapes in comments: R rows, C columns, G groups of a row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from llmdrill.lab.decoder import Decoder, DecoderWeights, LayerWeights

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

MATRICES: Final = ("qkv", "out", "gate_up", "down")  # of a layer; rows are rounded apart, so fused ones lose nothing
NIBBLE_BITS: Final = 4


@dataclass(frozen=True, slots=True)
class Scheme:
    """How a weight becomes a whole number.

    Attributes:
        bits: Of each weight: 4 or 8.
        group: Columns that share a scale; None for whole rows.
        zero_point: Whether each group also has the whole number that stands for 0, so that its range need not be
            symmetric.
    """

    bits: int
    group: int | None = None
    zero_point: bool = False

    @property
    def scale_type(self) -> torch.dtype:
        """Return fp16 for groups, as GPTQ's and AWQ's files have it, and fp32 for the few scales of whole rows."""
        return torch.float32 if self.group is None else torch.float16

    def columns(self, weight: Tensor) -> int:
        """Return the columns of a group."""
        return weight.shape[1] if self.group is None else min(self.group, weight.shape[1])


@dataclass(frozen=True, slots=True)
class Grid:
    """The numbers that weights can become: ``(code - zero) * scale`` for whole codes from ``low`` to ``high``."""

    scale: Tensor  # (R, G)
    zero: Tensor  # (R, G)
    low: int
    high: int

    def codes(self, weight: Tensor) -> Tensor:
        """Return the nearest codes of weights that broadcast against scale and zero."""
        return (weight / self.scale + self.zero).round_().clamp_(self.low, self.high)


def fit_grid(blocks: Tensor, scheme: Scheme) -> Grid:
    """Return the grid of groups (R, G, columns): wide enough for the largest weight of each, rounded as it is stored.

    Symmetric: the largest magnitude becomes 7 or 127. With a zero point: the range from the least (at most 0) to the
    largest weight is divided by 15 or 255, and 0 stays exactly 0.
    """
    least_scale = torch.finfo(scheme.scale_type).tiny  # of a group of zeros
    levels = 2**scheme.bits - 1
    if scheme.zero_point:
        low, high = blocks.amin(dim=-1).clamp(max=0), blocks.amax(dim=-1).clamp(min=0)
        scale = ((high - low) / levels).clamp(min=least_scale).to(scheme.scale_type).float()
        return Grid(scale, (-low / scale).round().clamp_(0, levels), 0, levels)
    middle = 2 ** (scheme.bits - 1)
    scale = (blocks.abs().amax(dim=-1) / (middle - 1)).clamp(min=least_scale).to(scheme.scale_type).float()
    return Grid(scale, torch.full_like(scale, middle), 1, levels)


@dataclass(frozen=True, slots=True)
class PackedMatrix:
    """A matrix (R, C) as it lies in memory.

    Attributes:
        size: R and C.
        columns: Of a group; the last group of a row may be narrower.
        bits: Of a code.
        codes: (R * C * bits / 8,) bytes; of four bits, the even one lies in the low half.
        scales: (R, G).
        zeros: As ``codes``, one for each scale; None where the middle code is 0.
    """

    size: tuple[int, int]
    columns: int
    bits: int
    codes: Tensor
    scales: Tensor
    zeros: Tensor | None

    @property
    def nbytes(self) -> int:
        """Return the bytes of all its tensors."""
        return self.codes.nbytes + self.scales.nbytes + (0 if self.zeros is None else self.zeros.nbytes)

    def restore(self) -> Tensor:
        """Return the matrix in fp32: what the codes stand for."""
        rows, columns = self.size
        codes = _unpack(self.codes, rows * columns, self.bits).view(rows, columns).float()
        zeros: Tensor | float = 2.0 ** (self.bits - 1)
        if self.zeros is not None:
            zeros = self._spread(_unpack(self.zeros, self.scales.numel(), self.bits).view_as(self.scales))
        return (codes - zeros) * self._spread(self.scales)

    def _spread(self, of_groups: Tensor) -> Tensor:
        """Return a value of each group (R, G) for each column (R, C)."""
        return of_groups.float().repeat_interleave(self.columns, dim=1)[:, : self.size[1]]


def pack_codes(codes: Tensor, grid: Grid, scheme: Scheme, *, columns: int) -> PackedMatrix:
    """Return codes (R, C) and their grid as they lie in memory."""
    zeros = _pack(grid.zero, scheme.bits) if scheme.zero_point else None
    scales, packed = grid.scale.to(scheme.scale_type), _pack(codes, scheme.bits)
    return PackedMatrix((codes.shape[0], codes.shape[1]), columns, scheme.bits, packed, scales, zeros)


def round_matrix(weight: Tensor, scheme: Scheme) -> PackedMatrix:
    """Round every weight (R, C) to the nearest number of its group's grid.

    Source:
        Arithmetic; "RTN" in Frantar et al. 2023, arXiv:2210.17323.
    """
    rows, columns = weight.shape[0], scheme.columns(weight)
    padded = functional.pad(weight.float(), (0, -weight.shape[1] % columns))  # zeros widen no range
    blocks = padded.view(rows, -1, columns)  # (R, G, columns)
    grid = fit_grid(blocks, scheme)
    spread = replace(grid, scale=grid.scale[..., None], zero=grid.zero[..., None])
    codes = spread.codes(blocks).view(rows, -1)[:, : weight.shape[1]]
    return pack_codes(codes, grid, scheme, columns=columns)


def _pack(codes: Tensor, bits: int) -> Tensor:
    flat = codes.flatten().to(torch.uint8)
    if bits != NIBBLE_BITS:
        return flat
    even = functional.pad(flat, (0, len(flat) % 2)).view(-1, 2)
    return even[:, 0] | (even[:, 1] << NIBBLE_BITS)


def _unpack(packed: Tensor, count: int, bits: int) -> Tensor:
    if bits != NIBBLE_BITS:
        return packed
    return torch.stack((packed & 0xF, packed >> NIBBLE_BITS), dim=1).flatten()[:count]


@dataclass(frozen=True, slots=True)
class Quantized:
    """A decoder whose weights went through few bits, and what is stored of it.

    Attributes:
        decoder: Weights in fp32 again, each exactly what is stored.
        stored: Every tensor by its name: packed, or plain in a 16- or 32-bit type.
    """

    decoder: Decoder
    stored: Mapping[str, PackedMatrix | Tensor]

    @property
    def weight_bytes(self) -> int:
        """Return the bytes of everything that is stored; a tied head is not stored again."""
        return sum(one.nbytes for one in self.stored.values())


def named_tensors(decoder: Decoder) -> dict[str, Tensor]:
    """Return every tensor of a decoder by name: ``embedding``, ``norm``, ``head`` if not tied, ``0.qkv`` and so on."""
    weights = decoder.weights
    found = {"embedding": weights.embedding, "norm": weights.norm}
    if weights.head is not weights.embedding:
        found["head"] = weights.head
    layers = enumerate(weights.layers)
    parts = {f"{at}.{part}": getattr(layer, part) for at, layer in layers for part in LayerWeights.__slots__}
    return found | {name: tensor for name, tensor in parts.items() if tensor is not None}


def quantize(
    decoder: Decoder, pack: Callable[[str, Tensor], PackedMatrix | None], *, rest: torch.dtype = torch.float16
) -> Quantized:
    """Return the decoder with what ``pack`` packs; where it returns None, a tensor is kept in the type ``rest``.

    Args:
        decoder: fp32 weights.
        pack: Name and tensor → packed, or None.
        rest: fp16 as GPTQ's and AWQ's files have it; fp32 keeps the others exactly.
    """
    stored = {name: pack(name, tensor) or tensor.to(rest) for name, tensor in named_tensors(decoder).items()}
    back = {name: one.restore() if isinstance(one, PackedMatrix) else one.float() for name, one in stored.items()}
    layers = tuple(
        LayerWeights(**{part: back.get(f"{at}.{part}") for part in LayerWeights.__slots__})  # type: ignore[arg-type]
        for at in range(decoder.shape.layers)
    )
    weights = DecoderWeights(back["embedding"], layers, back["norm"], back.get("head", back["embedding"]))
    return Quantized(Decoder(decoder.shape, weights, random_weights=decoder.random_weights), stored)


def round_layers(decoder: Decoder, scheme: Scheme) -> Quantized:
    """Round the matrices of all layers to the nearest; embedding, head, norms and biases stay in fp16."""
    return quantize(decoder, lambda name, one: round_matrix(one, scheme) if is_layer_matrix(name) else None)


def round_everything(decoder: Decoder, scheme: Scheme) -> Quantized:
    """Round embedding and head too; norms and biases stay in fp32: how the embedded model is packaged."""
    return quantize(decoder, lambda _, one: round_matrix(one, scheme) if one.ndim == 2 else None, rest=torch.float32)


def round_alone(decoder: Decoder, name: str, scheme: Scheme) -> Quantized:
    """Round the matrix of that name and leave everything else as it is."""
    return quantize(decoder, lambda at, one: round_matrix(one, scheme) if at == name else None, rest=torch.float32)


def is_layer_matrix(name: str) -> bool:
    """Tell a layer's matrix from everything else.

    >>> is_layer_matrix("0.qkv"), is_layer_matrix("0.qkv_bias"), is_layer_matrix("embedding")
    (True, False, False)
    """
    return name.partition(".")[2] in MATRICES


class OnLinear(TorchFunctionMode):
    """While it is on, every product of inputs with a weight matrix goes by a function that may exchange the matrix."""

    def __init__(self, seen: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self._seen = seen

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Any = None,  # noqa: ANN401 - torch's own signature
    ) -> Any:  # noqa: ANN401
        """Do as torch does, but with the matrix that the function returns."""
        if func is functional.linear:
            args = (args[0], self._seen(args[0], args[1]), *args[2:])
        return func(*args, **(kwargs or {}))


def unpacking(quantized: Quantized) -> OnLinear:
    """Return a mode in which each packed matrix is restored whenever it is multiplied with, and then dropped.

    That is what a file of few bits costs without a product that reads them as they are: memory is saved, time is not.
    """
    tensors = named_tensors(quantized.decoder)
    packed = {id(tensors[name]): one for name, one in quantized.stored.items() if isinstance(one, PackedMatrix)}
    return OnLinear(lambda _, weight: packed[id(weight)].restore() if id(weight) in packed else weight)
