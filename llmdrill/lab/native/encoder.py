"""The native BERT encoder: one C file (encode.c) over texts that lie one behind the other, checked by the torch engine.

Shapes in comments: T tokens of a text, C hidden size, R rows and K columns of a matrix.
"""

from __future__ import annotations

import contextlib
import copy
import mmap
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from llmdrill.errors import UsageError
from llmdrill.lab.length_batches import length_batches
from llmdrill.lab.machine import threads_in_use
from llmdrill.lab.native.binding import ChunkStruct, EncoderLayer, EncoderMatrix, EncoderModel, Library
from llmdrill.lab.room import need_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from llmdrill.lab.bert_shape import Affine, BertShape, EncoderArrays

    Floats = NDArray[np.float32]
    Take = Callable[[Floats], Floats]

EncoderPrecision = Literal["fp32", "int16"]
TYPES: Final = ("fp32", "int16")  # in the order of encode.c, as the figures that follow
PANEL: Final = 32
ROWS: Final = 12
UNIT: Final = {"fp32": 1, "int16": 2}
UNIT_BYTES: Final = 4
NORM: Final = 32_700.0  # the length of a row of int16
LEAST: Final = 1e-30  # of a row of zeros
MAX_HEAD: Final = 512
CHUNK_TOKENS: Final = 256  # measured alike up to 512; the activations of a chunk stay in a core's cache
LEAST_CHUNK_TOKENS: Final = 48  # below it a chunk reads the weights for too little work
_HUGE_PAGE_BYTES: Final = 2 << 20


def why_not(shape: BertShape) -> str | None:
    """Return why encode.c cannot run a shape; None if it can."""
    size = shape.hidden // shape.heads
    if shape.hidden % shape.heads or size % PANEL or shape.intermediate % PANEL or size > MAX_HEAD:
        sizes = f"{shape.hidden} hidden, {shape.heads} heads, {shape.intermediate} intermediate"
        return f"the native encoder needs a head size and an intermediate size that {PANEL} divides, not {sizes}"
    return None


@dataclass(frozen=True, slots=True)
class Packed:
    """A matrix as encode.c reads it: units (R / PANEL, units, PANEL) and, for int16, the scale of each row (R,)."""

    units: NDArray[np.float32] | NDArray[np.int16]
    scales: Floats | None
    bias: Floats


def pack(matrix: Affine, precision: EncoderPrecision) -> Packed:
    """Lay out a weight (R, K); int16 divides each row by a scale that makes its length ``NORM``, and rounds."""
    weight, unit = matrix.weight, UNIT[precision]
    rows, columns = weight.shape
    laid = weight.reshape(rows // PANEL, PANEL, columns // unit, unit).transpose(0, 2, 1, 3)
    if precision == "fp32":
        return Packed(laid, None, matrix.bias)
    scales = np.maximum(np.linalg.norm(weight, axis=1), LEAST).astype(np.float32) / np.float32(NORM)
    by_panel = scales.reshape(-1, 1, PANEL, 1)
    return Packed(np.rint(laid / by_panel).astype(np.int16), scales, matrix.bias)


class NativeEncoder:
    """A BERT encoder in encode.c, with its own copy of the weights; safe to use from several threads.

    Attributes:
        precision: ``int16``: every row of weights and of activations as 16-bit whole numbers with one scale.
        path: The instruction set.
    """

    def __init__(
        self,
        library: Library,
        shape: BertShape,
        arrays: EncoderArrays,
        *,
        precision: EncoderPrecision = "int16",
        path: str | None = None,
        batch_tokens: int = CHUNK_TOKENS,
        in_order: bool = False,
    ) -> None:
        self.precision, self.path, self._library, self._shape = precision, path or library.paths[-1], library, shape
        self.batch_tokens, self.in_order = batch_tokens, in_order
        reason = why_not(shape)
        if reason is not None:
            raise UsageError(reason)
        if self.path not in library.paths:
            raise UsageError(f"this processor has no '{self.path}' ({', '.join(library.paths)})")
        self._memory = _Memory(arrays, precision)
        self._layers = (EncoderLayer * shape.layers)(
            *(
                EncoderLayer(
                    *(self._matrix(pack(one, precision)) for one in (layer.qkv, layer.out, layer.up, layer.down)),
                    *self._pair(layer.attention_norm),
                    *self._pair(layer.output_norm),
                )
                for layer in arrays.layers
            )
        )
        self._model = EncoderModel(
            *(shape.layers, shape.hidden, shape.heads, shape.intermediate, TYPES.index(precision)),
            *(shape.norm_eps, self._layers),
            *(self._memory.hold(table) for table in (arrays.words, arrays.positions)),
            *self._pair(arrays.norm),
        )

    def each(self, rows: Sequence[list[int]], take: Take) -> Iterator[tuple[int, Floats]]:
        """Yield the index of each row of token ids with what ``take`` makes of its last hidden state (T, C).

        Chunks of whole texts go to the threads in turn; ``take`` runs there too. A text's figures do not depend on
        what it is encoded with, to the bit.
        """
        lengths, threads = [len(row) for row in rows], threads_in_use()
        fair = max(LEAST_CHUNK_TOKENS, min(self.batch_tokens, sum(lengths) // threads))
        chunks = list(length_batches(lengths, batch_tokens=fair, in_order=self.in_order))
        work = partial(self._chunk, rows, take)
        if threads == 1 or len(chunks) <= 1:
            for chunk in chunks:
                yield from work(chunk)
            return
        with ThreadPoolExecutor(threads, thread_name_prefix="encode") as pool:
            for done in pool.map(work, chunks):
                yield from done

    def batched(self, *, batch_tokens: int, in_order: bool = False) -> NativeEncoder:
        """Return an encoder on the same weights that takes texts in other chunks."""
        other = copy.copy(self)
        other.batch_tokens, other.in_order = batch_tokens, in_order
        return other

    def products(self, *, tokens: int) -> int:
        """Do the matrix products of all layers for at least so many tokens, chunk by chunk, and nothing else."""
        chunks, threads = -(-tokens // self.batch_tokens), threads_in_use()
        with ThreadPoolExecutor(threads, thread_name_prefix="encode") as pool:
            done = list(pool.map(self._products, range(chunks)))
        if not all(done):
            raise UsageError(f"there is not enough memory for the products of {self.batch_tokens} tokens")
        return chunks * self.batch_tokens

    def _products(self, _: int) -> bool:
        return self._library.products(self._model, self.batch_tokens, path=self.path)

    def _chunk(self, rows: Sequence[list[int]], take: Take, picked: list[int]) -> list[tuple[int, Floats]]:
        ids = np.concatenate([np.asarray(rows[index], dtype=np.int64) for index in picked])
        starts = np.cumsum([0, *(len(rows[index]) for index in picked)], dtype=np.int64)
        if ids.min() < 0 or ids.max() >= self._shape.vocab or np.diff(starts).max() > self._shape.positions:
            raise UsageError(f"token ids go up to {self._shape.vocab - 1}, texts up to {self._shape.positions} tokens")
        x = np.empty((len(ids), self._shape.hidden), dtype=np.float32)
        chunk = ChunkStruct(len(picked), starts.ctypes.data, ids.ctypes.data, x.ctypes.data)
        if not self._library.encode(self._model, chunk, path=self.path):
            raise UsageError(f"there is not enough memory to encode {len(ids)} tokens at once")
        return [(index, take(x[start:end])) for index, start, end in zip(picked, starts[:-1], starts[1:], strict=True)]

    def _matrix(self, packed: Packed) -> EncoderMatrix:
        panels, units, _, _ = packed.units.shape
        scales = None if packed.scales is None else self._memory.hold(packed.scales)
        return EncoderMatrix(
            panels * PANEL, units, self._memory.hold(packed.units), scales, self._memory.hold(packed.bias)
        )

    def _pair(self, one: Affine) -> tuple[int, int]:
        return self._memory.hold(one.weight), self._memory.hold(one.bias)


class _Memory:
    """The weights' own memory: in huge pages where the kernel gives them, each array from a cache line on."""

    _LINE: Final = 64

    def __init__(self, arrays: EncoderArrays, precision: EncoderPrecision) -> None:
        matrices = [one for layer in arrays.layers for one in (layer.qkv, layer.out, layer.up, layer.down)]
        values = sum(one.weight.size for one in matrices) * UNIT_BYTES // UNIT[precision]
        rows = sum(len(one.bias) for one in matrices) * 4 * UNIT_BYTES  # scales, biases and norms, with room to spare
        needed = values + rows + arrays.words.nbytes + arrays.positions.nbytes + 2 * _HUGE_PAGE_BYTES
        need_memory(needed, what=f"the native encoder's copy of the weights in {precision}")
        memory = mmap.mmap(-1, needed, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            with contextlib.suppress(OSError):
                memory.madvise(mmap.MADV_HUGEPAGE)
        whole = np.frombuffer(memory, dtype=np.uint8)
        self._free = whole[-whole.ctypes.data % _HUGE_PAGE_BYTES :]

    def hold(self, values: NDArray[np.float32] | NDArray[np.int16]) -> int:
        """Copy an array into the memory and return its address; it lives as long as this object."""
        piece = self._free[: values.nbytes].view(values.dtype)
        piece.reshape(values.shape)[...] = values
        self._free = self._free[values.nbytes + -values.nbytes % self._LINE :]
        return int(piece.ctypes.data)
