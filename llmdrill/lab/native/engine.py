"""The native engine: torch reads prompts, one C file (step.c) decodes; used like the torch engine, and checked by it.

Shapes in comments: B sequences, T new tokens, C hidden size, V vocabulary, D head size.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import threading
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import torch
from torch.nn import functional

from llmdrill.errors import UsageError
from llmdrill.lab.decoder import Decoder, KvCache, Session, rotations
from llmdrill.lab.native import binding
from llmdrill.lab.native.binding import LayerStruct, Library, MatrixStruct, ModelStruct, StepStruct
from llmdrill.lab.room import need_memory

if TYPE_CHECKING:
    from torch import Tensor

    from llmdrill.lab.decoder import LayerWeights

NativePrecision = Literal["fp32", "bf16", "int8"]
INT8_LARGEST: Final = 127
LEAST_SCALE: Final = 1e-30  # of a row of zeros
HUGE_PAGE_BYTES: Final = 2 << 20
CACHE_LINE_BYTES: Final = 64
_WEIGHT_DTYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.int8}
_DTYPES: Final = {torch.float32: "fp32", torch.bfloat16: "bf16"}


class HugePages:
    """Memory for weights that are read end to end at every step.

    With pages of 4 KB the processor looks up an address every 4 KB, which halved the bandwidth where it was measured
    (a virtual machine); so the kernel is asked for large pages, which it may refuse.
    """

    def __init__(self, size_bytes: int) -> None:
        memory = mmap.mmap(-1, size_bytes + HUGE_PAGE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            with contextlib.suppress(OSError):
                memory.madvise(mmap.MADV_HUGEPAGE)
        whole = torch.frombuffer(memory, dtype=torch.uint8)
        self._free = whole[-whole.data_ptr() % HUGE_PAGE_BYTES :]

    def zeros(self, *size: int, dtype: torch.dtype) -> Tensor:
        """Return the next piece of the memory as a tensor; every piece begins at a cache line."""
        needed = aligned_bytes(*size, dtype=dtype)
        piece, self._free = self._free[:needed], self._free[needed:]
        return piece[: math.prod(size) * dtype.itemsize].view(dtype).view(size)


def aligned_bytes(*size: int, dtype: torch.dtype) -> int:
    """Return the bytes of a tensor, rounded up to whole cache lines."""
    needed = math.prod(size) * dtype.itemsize
    return needed + -needed % CACHE_LINE_BYTES


def padded_size(weight: Tensor) -> tuple[int, int]:
    """Return the rows and columns that step.c reads of a matrix: whole blocks of rows, whole groups of columns."""
    rows, columns = weight.shape
    return rows + -rows % binding.BLOCK, columns + -columns % binding.GROUP


def packed_bytes(weight: Tensor, precision: NativePrecision) -> int:
    """Return the room that ``pack`` takes."""
    scales = aligned_bytes(len(weight), dtype=torch.float32) if precision == "int8" else 0
    return aligned_bytes(*padded_size(weight), dtype=_WEIGHT_DTYPES[precision]) + scales


def pack(weight: Tensor, precision: NativePrecision, memory: HugePages) -> tuple[Tensor, Tensor | None]:
    """Return the values of a weight (R, C) as step.c reads them and, for int8, the scale of each row (R,).

    int8 is symmetric and to the nearest: a weight is its int8 value times the scale of its row. The values lie as
    (R / BLOCK, C / unit, BLOCK, unit), padded with zeros, where a unit is one column, or four of int8.
    """
    scales, unit = None, 1
    if precision == "int8":
        scales, unit = memory.zeros(len(weight), dtype=torch.float32), binding.UNIT
        scales.copy_(weight.abs().amax(dim=1).float() / INT8_LARGEST).clamp_(min=LEAST_SCALE)
        weight = (weight / scales[:, None]).round_()
    rows, columns = padded_size(weight)
    values = memory.zeros(rows // binding.BLOCK, columns // unit, binding.BLOCK, unit, dtype=_WEIGHT_DTYPES[precision])
    padding = (0, columns - weight.shape[1], 0, rows - weight.shape[0])
    values.copy_(functional.pad(weight, padding).view(-1, binding.BLOCK, columns // unit, unit).transpose(1, 2))
    return values, scales


class _Engine:
    """What one engine of step.c holds: the packed weights, their addresses, and its threads."""

    def __init__(
        self, library: Library, decoder: Decoder, *, precision: NativePrecision, threads: int, path: str
    ) -> None:
        shape, weights = decoder.shape, decoder.weights
        self._library, self._lock = library, threading.Lock()
        self._keep: list[Tensor] = []
        matrices = [weights.head, *(one for layer in weights.layers for one in _matrices(layer))]
        needed = sum(packed_bytes(one, precision) for one in matrices)
        need_memory(needed, what=f"the native step's own copy of the weights in {precision}")
        self._memory = HugePages(needed)
        self.weight_bytes = 0
        layers = (LayerStruct * shape.layers)(
            *(
                LayerStruct(
                    self._vector(layer.attention_norm),
                    self._vector(layer.mlp_norm),
                    *(None if one is None else self._vector(one) for one in (layer.qkv_bias, layer.qk_norm)),
                    *(self._matrix(one, precision) for one in _matrices(layer)),
                )
                for layer in weights.layers
            )
        )
        angles = (self._vector(table[:, shape.head_dim // 2 :], streamed=False) for table in rotations(shape))
        model = ModelStruct(
            *(shape.layers, shape.hidden, shape.heads, shape.kv_heads, shape.head_dim, shape.intermediate),
            *(binding.WEIGHT_TYPES.index(precision), binding.WEIGHT_TYPES.index(_DTYPES[decoder.dtype])),
            *(shape.norm_eps, layers, self._vector(weights.norm), *angles),
            self._matrix(weights.head, precision),
        )
        address = library.open(model, threads=threads, path=path)
        if address is None:
            raise UsageError("there is not enough memory for the working space of the native decode step")
        self._address = address
        weakref.finalize(self, _close, library, address, (layers, self._keep))

    def step(self, step: StepStruct) -> None:
        with self._lock:  # the engine has one working space
            self._library.step(self._address, step)

    def read(self, memory: Tensor) -> None:
        with self._lock:
            self._library.read(self._address, memory.data_ptr(), memory.nbytes)

    def _vector(self, values: Tensor, *, streamed: bool = True) -> int:
        return self._hold(values.float().contiguous(), streamed=streamed)

    def _matrix(self, weight: Tensor, precision: NativePrecision) -> MatrixStruct:
        values, scales = pack(weight, precision, self._memory)
        at = None if scales is None else self._hold(scales)
        return MatrixStruct(*weight.shape, padded_size(weight)[1], self._hold(values), at)

    def _hold(self, tensor: Tensor, *, streamed: bool = True) -> int:
        self._keep.append(tensor)
        self.weight_bytes += tensor.nbytes if streamed else 0
        return tensor.data_ptr()


def _matrices(layer: LayerWeights) -> tuple[Tensor, ...]:
    """Return the matrices of a layer in the order of step.c."""
    return layer.qkv, layer.out, *layer.gate_up.chunk(2), layer.down


def _close(library: Library, address: int, _kept_until_now: object) -> None:
    library.close(address)


class NativeDecoder(Decoder):
    """A decoder whose sessions prefill with torch and decode with step.c, both on the same cache.

    It shares the weights of the decoder it is made of. Logits of a decoding step are fp32 whatever the precision.
    """

    def __init__(
        self,
        decoder: Decoder,
        library: Library,
        *,
        precision: NativePrecision = "int8",
        threads: int | None = None,
        path: str | None = None,
    ) -> None:
        super().__init__(decoder.shape, decoder.weights, random_weights=decoder.random_weights)
        self.precision, self.path = precision, path or library.paths[-1]
        self.threads = torch.get_num_threads() if threads is None else threads
        _refuse(decoder, self.threads, self.path, library.paths)
        self._engine = _Engine(library, decoder, precision=precision, threads=self.threads, path=self.path)

    def start(self, *, sequences: int, capacity_tokens: int) -> NativeSession:
        """Return an empty session of so many sequences with room for so many tokens each."""
        cache = KvCache(self.shape, sequences=sequences, capacity_tokens=capacity_tokens, dtype=self.dtype)
        return NativeSession(self, cache)

    def step_bytes(self, *, context_tokens: int) -> int:
        """Return the bytes that a step of one token has to read: all weights, and the keys and values before it."""
        element = self.weights.embedding.element_size()
        return self._engine.weight_bytes + context_tokens * self.shape.kv_bytes_per_token * element // 4

    def read(self, memory: Tensor) -> None:
        """Read memory with the threads of the step and do nothing else: what a step can be held against."""
        self._engine.read(memory)

    @torch.inference_mode()
    def step(self, ids: Tensor, cache: KvCache) -> Tensor:
        """Append tokens (B, T) to the sequences of a cache, and return their logits (B, T, V)."""
        batch, tokens = ids.shape
        sequence = torch.arange(batch).repeat_interleave(tokens)  # (B * T,), as position
        position = (cache.lengths[:, None] + torch.arange(tokens)).flatten()
        x = self.weights.embedding[ids.flatten()].float()  # (B * T, C)
        logits = torch.empty(batch * tokens, self.shape.vocab)
        for first in range(0, batch * tokens, binding.MAX_ROWS):  # later tokens of a sequence see the earlier ones
            rows = slice(first, first + binding.MAX_ROWS)
            self._engine.step(_step(sequence[rows], position[rows], x[rows], cache, logits[rows]))
        cache.lengths += tokens
        return logits.view(batch, tokens, -1)


def _step(sequence: Tensor, position: Tensor, x: Tensor, cache: KvCache, logits: Tensor) -> StepStruct:
    return StepStruct(
        *(len(x), sequence.data_ptr(), position.data_ptr(), x.data_ptr(), cache.keys_values.data_ptr()),
        *(len(cache.lengths), cache.capacity_tokens, logits.data_ptr()),
    )


def _refuse(decoder: Decoder, threads: int, path: str, paths: tuple[str, ...]) -> None:
    if path not in paths:
        raise UsageError(f"this processor has no '{path}' ({', '.join(paths)})")
    if not 1 <= threads <= binding.MAX_THREADS:
        raise UsageError(f"{threads} threads: the native decode step runs on 1 to {binding.MAX_THREADS}")
    if decoder.dtype not in _DTYPES:
        raise UsageError(f"the native decode step reads caches of fp32 and bf16, not {decoder.dtype}")
    if decoder.shape.head_dim > binding.MAX_HEAD_DIM:
        raise UsageError(f"head size {decoder.shape.head_dim}: the native step has room for {binding.MAX_HEAD_DIM}")


class NativeSession(Session):
    """B sequences being continued; ``prefill`` is torch's."""

    def __init__(self, decoder: NativeDecoder, cache: KvCache) -> None:
        super().__init__(decoder, cache)
        self._native = decoder

    def decode(self, ids: Tensor) -> Tensor:
        """Append one token (B,) to each sequence, and return the logits (B, V) of the next."""
        return self.verify(ids[:, None])[:, 0]

    def verify(self, ids: Tensor) -> Tensor:
        """Append tokens (B, T) to each sequence, and return the logits (B, T, V) after each of them."""
        self._need_room(ids)
        return self._native.step(ids, self.cache)


@dataclass(frozen=True, slots=True)
class ChosenEngine:
    """The fastest engine there is for a decoder, and why it is not the native one if it is not."""

    decoder: Decoder
    reason: str | None


def native_or_torch(
    decoder: Decoder, *, precision: NativePrecision = "int8", threads: int | None = None
) -> ChosenEngine:
    """Return the native engine of a decoder; where it cannot be had, the decoder itself and the reason."""
    status = binding.native_status()
    if status.library is None:
        return ChosenEngine(decoder, status.reason)
    try:
        return ChosenEngine(NativeDecoder(decoder, status.library, precision=precision, threads=threads), None)
    except UsageError as error:
        return ChosenEngine(decoder, str(error))
