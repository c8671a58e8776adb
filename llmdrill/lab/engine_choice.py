"""Which engine decodes: the one a person asks for, or the fastest there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from llmdrill.errors import UsageError
from llmdrill.lab.native.engine import ChosenEngine, NativeDecoder, native_or_torch

if TYPE_CHECKING:
    from llmdrill.lab.decoder import Decoder
    from llmdrill.lab.load_decoder import Precision

EngineName = Literal["auto", "native", "torch"]
WeightPrecision = Literal["fp32", "bf16", "int8"]


def prompt_precision(precision: WeightPrecision | None) -> Precision:
    """Return the precision of prefill and of the cache, which are torch's: it multiplies no int8 weights."""
    return "bf16" if precision == "bf16" else "fp32"


def choose_engine(decoder: Decoder, *, engine: EngineName, precision: WeightPrecision | None) -> ChosenEngine:
    """Return the engine that decodes, and why it is not the native one if it is not.

    Args:
        decoder: With weights in ``prompt_precision(precision)``.
        engine: ``auto`` is native where it can be had.
        precision: Of the weights that a decode step reads; None: int8 in the native engine, the decoder's in torch.

    Raises:
        UsageError: If the native engine is asked for and cannot be had, or torch for int8.
    """
    if engine == "torch":
        if precision == "int8":
            raise UsageError("the torch engine has no int8 weights: --precision fp32 or bf16, or --engine native")
        return ChosenEngine(decoder, "the torch engine was asked for")
    chosen = native_or_torch(decoder, precision=precision or "int8")
    if isinstance(chosen.decoder, NativeDecoder):
        return chosen
    if engine == "native":
        raise UsageError(f"no native engine here: {chosen.reason}; --engine torch runs anywhere")
    return chosen
