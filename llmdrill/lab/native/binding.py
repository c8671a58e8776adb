"""The functions and structures of step.c, as ctypes sees them; no torch here."""

from __future__ import annotations

import ctypes
from ctypes import CDLL, POINTER, Structure, c_double, c_int, c_int64, c_void_p
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llmdrill.lab.native.build import Compiled, compile_step

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


class Library:
    """A compiled step.c, loaded."""

    def __init__(self, path: Path) -> None:
        self._c = CDLL(str(path))
        self._c.llmdrill_open.argtypes = (POINTER(ModelStruct), c_int, c_int)
        self._c.llmdrill_open.restype = c_void_p
        self._c.llmdrill_close.argtypes, self._c.llmdrill_close.restype = (c_void_p,), None
        self._c.llmdrill_step.argtypes, self._c.llmdrill_step.restype = (c_void_p, POINTER(StepStruct)), None
        self._c.llmdrill_read.argtypes = (c_void_p, c_void_p, c_int64)
        self._c.llmdrill_read.restype = ctypes.c_uint64

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

    def read(self, engine: int, address: int, size_bytes: int) -> None:
        self._c.llmdrill_read(engine, address, size_bytes)


@dataclass(frozen=True, slots=True)
class NativeStatus:
    """Whether there is a native step here: its compiler and instruction set, or the reason why torch decodes."""

    library: Library | None
    compiler: str | None
    path: str | None
    reason: str | None


def native_status(folder: Path | None = None) -> NativeStatus:
    """Compile (or find) the native step and load it."""
    made: Compiled = compile_step(folder)
    if made.library is None:
        return NativeStatus(None, made.compiler, None, made.reason)
    try:
        library = Library(made.library)
    except (OSError, AttributeError) as error:
        return NativeStatus(None, made.compiler, None, f"{made.library} cannot be loaded: {error}")
    return NativeStatus(library, made.compiler, library.paths[-1], None)
