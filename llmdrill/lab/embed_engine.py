"""Which engine turns token ids into hidden states: the native one where it can be had, else torch; no torch here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Protocol, cast

from llmdrill.errors import UsageError
from llmdrill.lab.native.binding import PATHS, Library, native_status
from llmdrill.lab.native.encoder import EncoderPrecision, NativeEncoder, why_not

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from llmdrill.lab.bert_shape import BertShape, EncoderArrays

EngineName = Literal["auto", "native", "torch"]
Precision = Literal["auto", "fp32", "bf16", "int16"]
Held = Literal["fp32", "bf16", "int16"]
_CPUINFO: Final = Path("/proc/cpuinfo")
_WITHOUT: Final = "the native encoder holds weights in fp32 or int16, not bf16"


class HiddenStates(Protocol):
    """What turns token ids into the last hidden state of each text."""

    def each(
        self, rows: Sequence[list[int]], take: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield the index of each row of token ids with what ``take`` makes of its last hidden state (T, C)."""
        ...

    def batched(self, *, batch_tokens: int, in_order: bool = False) -> HiddenStates:
        """Return the same with batches of so many tokens, of texts as they come or of nearly one length."""
        ...

    def products(self, *, tokens: int) -> int:
        """Do the matrix products of all layers for at least so many tokens, and return for how many."""
        ...


@dataclass(frozen=True, slots=True)
class EmbedEngine:
    """The engine that embeds.

    Attributes:
        precision: What it holds the matrices in.
        reason: Why it is torch; None if it is native.
        library: Of the native engine.
    """

    name: Literal["native", "torch"]
    precision: Held
    reason: str | None
    library: Library | None = None


def choose_embed_engine(shape: BertShape, *, engine: EngineName = "auto", precision: Precision = "auto") -> EmbedEngine:
    """Return the engine and the precision that an embedder of this shape runs in.

    ``auto`` is the native engine in int16, where it can be had on a processor with AVX2 or more: measured twice as fast
    as its fp32, and nearer to fp32 than bf16 is. Else it is torch, in bf16 where the processor has AMX tiles: without
    them torch 2.13 multiplied bf16 more slowly than fp32 (167 against 250 GFLOP/s on a Xeon with AVX512_BF16).

    Raises:
        UsageError: If what is asked for cannot be had.
    """
    if engine == "native" and precision == "bf16":
        raise UsageError(f"{_WITHOUT}: --engine torch has it")
    if engine == "torch" and precision == "int16":
        raise UsageError("the torch engine has no int16 weights: --precision fp32 or bf16, or --engine native")
    if engine == "torch" or precision == "bf16":
        return _torch(precision, "the torch engine was asked for" if engine == "torch" else _WITHOUT)
    status = native_status()
    reason = status.reason or why_not(shape)
    wanted = engine == "native" or precision == "int16"
    if reason is None and status.path == PATHS[0] and not wanted:
        reason = "this processor has neither AVX2 nor AVX-512, for which the native encoder is written"
    if reason is None:
        held = "int16" if precision == "auto" else precision
        return EmbedEngine("native", held, None, status.library)
    if wanted:
        raise UsageError(f"no native engine here: {reason}; --engine torch runs anywhere, in fp32 or bf16")
    return _torch(precision, reason)


def build_hidden_states(chosen: EmbedEngine, shape: BertShape, arrays: EncoderArrays) -> HiddenStates:
    """Build the chosen engine from the weights."""
    if chosen.library is not None:
        return NativeEncoder(chosen.library, shape, arrays, precision=cast("EncoderPrecision", chosen.precision))
    import torch

    from llmdrill.lab import bert

    dtype = torch.bfloat16 if chosen.precision == "bf16" else torch.float32
    return bert.TorchEncoder(bert.build_encoder(shape, arrays, dtype=dtype))


def cpu_has_amx(cpuinfo: Path = _CPUINFO) -> bool:
    """Tell whether this processor has AMX tiles, as Linux says; elsewhere no."""
    if not cpuinfo.exists():
        return False
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    return any("amx_tile" in line.split() for line in lines if line.startswith("flags"))


def _torch(precision: Precision, reason: str) -> EmbedEngine:
    fast = "bf16" if cpu_has_amx() else "fp32"
    return EmbedEngine("torch", cast("Held", fast if precision == "auto" else precision), reason)
