"""Low-rank adapters: two thin matrices beside each matrix of a decoder, which alone are trained.

Shapes in comments: R rows (outputs) and C columns (inputs) of a part, r the rank, B sequences, T tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from llmdrill.errors import UsageError
from llmdrill.lab.decoder import Decoder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import Tensor

    from llmdrill.lab.decoder import DecoderWeights
    from llmdrill.lab.shapes import DecoderShape

ALPHA: Final = 16.0  # the update is scaled by ALPHA / rank, so that a rate that suits one rank suits the others


@dataclass(frozen=True, slots=True)
class Adapter:
    """What is added to one fused matrix: a pair of thin matrices for each of its parts (query, key, value …).

    Attributes:
        down: (r, C) each.
        up: (R, r) each, zeros at first, so that nothing is added.
        scale: ALPHA / r.
    """

    down: tuple[Tensor, ...]
    up: tuple[Tensor, ...]
    scale: float

    def added(self, x: Tensor) -> Tensor:
        """Return what the adapter adds to the matrix's product with x (B, T, C)."""
        parts = [x @ down.T @ up.T for down, up in zip(self.down, self.up, strict=True)]
        return torch.cat(parts, dim=-1) * self.scale

    def matrix(self) -> Tensor:
        """Return the same as one matrix of the size of the fused one."""
        return torch.cat([up @ down for down, up in zip(self.down, self.up, strict=True)]) * self.scale


def parts_of(shape: DecoderShape) -> dict[str, tuple[int, ...]]:
    """Return the rows of the parts that each fused matrix of a layer holds."""
    q_rows, kv_rows = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    return {
        "qkv": (q_rows, kv_rows, kv_rows),
        "out": (shape.hidden,),
        "gate_up": (shape.intermediate, shape.intermediate),
        "down": (shape.hidden,),
    }


@dataclass(frozen=True, slots=True)
class Adapters:
    """The adapters of all layers: ``of[layer][matrix]``."""

    of: tuple[Mapping[str, Adapter], ...]

    def parameters(self) -> list[Tensor]:
        """Return every tensor that is trained."""
        adapters = [adapter for layer in self.of for adapter in layer.values()]
        return [tensor for adapter in adapters for tensor in (*adapter.down, *adapter.up)]

    def beside(self, weights: DecoderWeights) -> Iterator[tuple[Tensor, Adapter]]:
        """Return each matrix of these weights with its adapter."""
        for layer, adapters in zip(weights.layers, self.of, strict=True):
            yield from ((getattr(layer, name), adapter) for name, adapter in adapters.items())


def new_adapters(decoder: Decoder, *, rank: int, seed: int, alpha: float = ALPHA) -> Adapters:
    """Return adapters beside all seven matrices of each layer: ``down`` drawn at random, ``up`` zero.

    Raises:
        UsageError: If the rank is not positive, or larger than a matrix.

    Source:
        Hu et al. 2021, LoRA, arXiv:2106.09685, section 4.1 (scale alpha / r); microsoft/LoRA, loralib/layers.py: down
        uniform within 1 / √C, up zero.
    """
    if not 1 <= rank <= decoder.shape.kv_heads * decoder.shape.head_dim:
        most = decoder.shape.kv_heads * decoder.shape.head_dim
        raise UsageError(f"rank {rank}: adapters of this model have 1 to {most}, the rows of its smallest matrix")
    rng = torch.Generator().manual_seed(seed)

    def adapter(weight: Tensor, rows: Sequence[int]) -> Adapter:
        bound = weight.shape[1] ** -0.5
        down = [torch.empty(rank, weight.shape[1]).uniform_(-bound, bound, generator=rng) for _ in rows]
        up = [torch.zeros(one, rank) for one in rows]
        leaves = [tuple(one.requires_grad_() for one in some) for some in (down, up)]
        return Adapter(leaves[0], leaves[1], alpha / rank)

    parts = parts_of(decoder.shape)
    return Adapters(
        tuple(
            {name: adapter(getattr(layer, name), rows) for name, rows in parts.items()}
            for layer in decoder.weights.layers
        )
    )


class Adapted(TorchFunctionMode):
    """While it is on, products with these weights have what adapters add: the unmerged model, in any forward pass."""

    def __init__(self, weights: DecoderWeights, adapters: Adapters) -> None:
        super().__init__()
        self._adapters = {id(matrix): adapter for matrix, adapter in adapters.beside(weights)}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Any = None,  # noqa: ANN401 - torch's own signature
    ) -> Any:  # noqa: ANN401
        """Do as torch does, and add what the adapter of the matrix adds."""
        result = func(*args, **(kwargs or {}))
        adapter = self._adapters.get(id(args[1])) if func is functional.linear else None
        return result if adapter is None else result + adapter.added(args[0])


def merged(decoder: Decoder, adapters: Adapters) -> Decoder:
    """Return a decoder whose matrices have the adapters added once and for all: no cost when it runs."""
    with torch.no_grad():
        layers = tuple(
            replace(layer, **{name: getattr(layer, name) + one.matrix() for name, one in own.items()})
            for layer, own in zip(decoder.weights.layers, adapters.of, strict=True)
        )
    return Decoder(decoder.shape, replace(decoder.weights, layers=layers), random_weights=decoder.random_weights)
