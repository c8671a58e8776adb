"""The 80 % band of a self-hosted model's predicted times, as a latency at either end of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from llmdrill.system.kinds.base import Latency, Timing
from llmdrill.system.kinds.model_call import ModelCall

if TYPE_CHECKING:
    import numpy as np

    from llmdrill.catalog.serving_constants import Band
    from llmdrill.system.kinds.base import Array, StageBase

BandEnd = Literal["low", "high"]


def is_predicted(stage: StageBase) -> bool:
    """Tell whether the serving model predicts a stage's times; a person's own figures have no band."""
    return (
        isinstance(stage, ModelCall)
        and stage.served == "self"
        and stage.ttft_p50 is None
        and (stage.latency_p50 is None or stage.latency_p95 is None)
    )


def at_band_end(stage: StageBase, latency: Latency, end: BandEnd) -> Latency:
    """Return a stage's latency with TTFT and TPOT at one end of their bands; as it is if it has none.

    The batch stays that of the prediction: the bands are of runs at a given batch.
    """
    if not (isinstance(stage, ModelCall) and is_predicted(stage)) or latency.over_capacity:
        return latency
    first_times, token_times = (float(getattr(band, end)) for band in _bands(stage))
    sample, ttft, tpot = latency.sample, latency.ttft, latency.tpot

    def scaled(rng: np.random.Generator, n: int) -> Timing:
        timing = sample(rng, n)
        if timing.first_s is None:
            return Timing(first_times * timing.total_s)
        first = first_times * timing.first_s
        return Timing(first + token_times * (timing.total_s - timing.first_s), first)

    def first(rng: np.random.Generator, n: int) -> Array:
        return first_times * ttft(rng, n)  # type: ignore[misc] # used only where there is one

    def token(rng: np.random.Generator, n: int) -> Array:
        return token_times * tpot(rng, n)  # type: ignore[misc] # likewise

    return Latency(
        scaled,
        latency.basis,
        latency.shown,
        ttft=first if ttft else None,
        tpot=token if tpot else None,
        notes=latency.notes,
    )


def _bands(call: ModelCall) -> tuple[Band, Band]:
    """Return the bands of TTFT and TPOT."""
    from llmdrill.catalog.load import find_accelerator, find_model
    from llmdrill.system.kinds.self_hosted import engine_constants

    constants, _ = engine_constants(call, find_accelerator(str(call.on)))
    mixture = find_model(call.model).experts is not None
    return constants.band("ttft", mixture=mixture), constants.band("tpot", mixture=mixture)
