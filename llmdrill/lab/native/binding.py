"""The functions and structures of step.c and encode.c, as ctypes sees them; no torch here."""

from __future__ import annotations

import ctypes
from ctypes import CDLL, POINTER, Structure, c_double, c_int, c_int64, c_void_p
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llmdrill.lab.native.build import Compiled, compile_native

if TYPE_CHECKING:
    from pathlib import Path

PATHS: Final = ("scalar", "avx2", "avx512", "avx512-vnni")  # in the order of step.c
WEIGHT_TYPES: Final = ("fp32", "bf16", "int8")
GROUP: Final = 64  # columns are padded to whole groups, rows to whole blocks
BLOCK: Final = 16
UNIT: Final = 4  # columns of int8 that lie together
MAX_ROWS: Final = 32
MAX_HEAD_DIM: Final = 512
MAX_THREADS: Final = 256


class MatrixStruct(Structure):
    _fields_ = (
        ("rows", c_int64),
        ("columns", c_int64),
        ("stride", c_int64),
        ("values", c_void_p),
        ("scales", c_void_p),
    )


class LayerStruct(Structure):
    _fields_ = (
        *((name, c_void_p) for name in ("attention_norm", "mlp_norm", "qkv_bias", "qk_norm")),
        *((name, MatrixStruct) for name in ("qkv", "out", "gate", "up", "down")),
    )


class ModelStruct(Structure):
    _fields_ = (
        *((name, c_int64) for name in ("layers", "hidden", "heads", "kv_heads", "head_dim", "intermediate")),
        *((name, c_int64) for name in ("weight_type", "cache_type")),
        ("norm_eps", c_double),
        ("layer", POINTER(LayerStruct)),
        *((name, c_void_p) for name in ("norm", "cos", "sin")),
        ("head", MatrixStruct),
    )


class StepStruct(Structure):
    _fields_ = (
        ("rows", c_int64),
        *((name, c_void_p) for name in ("sequence", "position", "x", "cache")),
        *((name, c_int64) for name in ("sequences", "capacity")),
        ("logits", c_void_p),
    )


class EncoderMatrix(Structure):
    _fields_ = (
        *((name, c_int64) for name in ("rows", "units")),
        *((name, c_void_p) for name in ("values", "scales", "bias")),
    )


class EncoderLayer(Structure):
    _fields_ = (
        *((name, EncoderMatrix) for name in ("qkv", "out", "up", "down")),
        *((name, c_void_p) for name in ("attention_gain", "attention_bias", "output_gain", "output_bias")),
    )


class EncoderModel(Structure):
    _fields_ = (
        *((name, c_int64) for name in ("layers", "hidden", "heads", "intermediate", "type")),
        ("norm_eps", c_double),
        ("layer", POINTER(EncoderLayer)),
        *((name, c_void_p) for name in ("words", "positions", "gain", "bias")),
    )


class ChunkStruct(Structure):
    _fields_ = (("sequences", c_int64), *((name, c_void_p) for name in ("start", "ids", "x")))


class Library:
    """The compiled C files, loaded."""

    def __init__(self, path: Path) -> None:
        self._c = CDLL(str(path))
        self._c.llmdrill_open.argtypes = (POINTER(ModelStruct), c_int, c_int)
        self._c.llmdrill_open.restype = c_void_p
        self._c.llmdrill_close.argtypes, self._c.llmdrill_close.restype = (c_void_p,), None
        self._c.llmdrill_step.argtypes, self._c.llmdrill_step.restype = (c_void_p, POINTER(StepStruct)), None
        self._c.llmdrill_read.argtypes = (c_void_p, c_void_p, c_int64)
        self._c.llmdrill_read.restype = ctypes.c_uint64
        self._c.llmdrill_encode.argtypes = (POINTER(EncoderModel), POINTER(ChunkStruct), c_int)
        self._c.llmdrill_products.argtypes = (POINTER(EncoderModel), c_int64, c_int)

    @property
    def paths(self) -> tuple[str, ...]:
        """Return the instruction sets that this processor has, the best last."""
        return PATHS[: int(self._c.llmdrill_best_path()) + 1]

    def open(self, model: ModelStruct, *, threads: int, path: str) -> int | None:
        """Return the address of a new engine; None where memory is short."""
        address: int | None = self._c.llmdrill_open(ctypes.byref(model), threads, PATHS.index(path))
        return address

    def close(self, engine: int) -> None:
        self._c.llmdrill_close(engine)

    def step(self, engine: int, step: StepStruct) -> None:
        self._c.llmdrill_step(engine, ctypes.byref(step))

    def encode(self, model: EncoderModel, chunk: ChunkStruct, *, path: str) -> bool:
        """Encode a chunk of sequences on this thread; False where memory is short."""
        return bool(self._c.llmdrill_encode(ctypes.byref(model), ctypes.byref(chunk), PATHS.index(path)))

    def products(self, model: EncoderModel, tokens: int, *, path: str) -> bool:
        """Do the matrix products of all layers and nothing else; False where memory is short."""
        return bool(self._c.llmdrill_products(ctypes.byref(model), tokens, PATHS.index(path)))

    def read(self, engine: int, address: int, size_bytes: int) -> None:
        self._c.llmdrill_read(engine, address, size_bytes)


@dataclass(frozen=True, slots=True)
class NativeStatus:
    """Whether there are native engines here: their compiler and instruction set, or the reason why torch runs alone."""

    library: Library | None
    compiler: str | None
    path: str | None
    reason: str | None


def native_status(folder: Path | None = None) -> NativeStatus:
    """Compile (or find) the native engines and load them."""
    made: Compiled = compile_native(folder)
    if made.library is None:
        return NativeStatus(None, made.compiler, None, made.reason)
    try:
        library = Library(made.library)
    except (OSError, AttributeError) as error:
        return NativeStatus(None, made.compiler, None, f"{made.library} cannot be loaded: {error}")
    return NativeStatus(library, made.compiler, library.paths[-1], None)
