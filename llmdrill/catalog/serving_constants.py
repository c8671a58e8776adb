"""The serving model's constants for an engine, and what stands behind them."""

from __future__ import annotations

import datetime as dt  # noqa: TC003 - the reader resolves annotations
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Band:
    """How far a kind of prediction was from runs that its constants had not seen.

    Attributes:
        metric: What was predicted.
        models: ``dense``, or ``moe`` for mixtures of experts.
        low: A tenth of the runs measured less than this many times the prediction.
        high: A tenth measured more than this many times.
        median_error: Median of |predicted - measured| / measured.
        rows: How many runs.
    """

    metric: Literal["tpot", "ttft", "throughput"]
    models: Literal["dense", "moe"]
    low: float
    high: float
    median_error: float
    rows: int


@dataclass(frozen=True, slots=True)
class ServingConstants:
    """What the serving model knows of one engine, what that was fitted to, and how far it was off elsewhere.

    Attributes:
        kernel_s: Fitted. Time of one operator that neither bytes nor FLOPs explain (launch, fill and drain).
        all_reduce_s: Fitted. Latency of one all-reduce between the devices; two per layer.
        sequence_s: Fitted. Time of one step for each sequence in it (sampling, bookkeeping).
        first_token_kernel_s: Fitted. Time per operator that a first token takes beside the passes: launches outside a
            captured graph, tokenizer, scheduling, streaming. It does not hold up the sequences that decode.
        mixes_prefill: Whether prompts are prefilled in the same passes in which others decode, or in passes between.
        idle_slots: Sequences that the engine admits fewer than there are clients, where its batch is set to those.
        bands: Errors on runs held out, pooled over all engines.
        rows: Measured figures that the fit used.
    """

    name: str
    kernel_s: float
    all_reduce_s: float
    sequence_s: float
    first_token_kernel_s: float
    bands: tuple[Band, ...]
    rows: int
    fitted_to: str
    source: str
    date: dt.date
    mixes_prefill: bool = True
    idle_slots: int = 0
    aliases: tuple[str, ...] = ()

    def band(self, metric: str, *, mixture: bool) -> Band:
        """Return the error of predicting ``metric`` of a dense model or a mixture of experts."""
        models = "moe" if mixture else "dense"
        return next(band for band in self.bands if (band.metric, band.models) == (metric, models))
