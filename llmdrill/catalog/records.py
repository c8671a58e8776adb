"""What the catalogue's files hold, frozen. Unknown is None; every record says where it was read and when."""

from __future__ import annotations

import datetime as dt  # noqa: TC003 - the reader resolves annotations
from dataclasses import dataclass

from llmdrill.catalog.architecture import AttentionShape, Experts, LayerGroup, ModelRecord

__all__ = [
    "Accelerator",
    "ApiLatency",
    "AttentionShape",
    "Band",
    "Experts",
    "LayerGroup",
    "ModelRecord",
    "Price",
    "Rental",
    "ServingConstants",
]


@dataclass(frozen=True, slots=True)
class Rental:
    """What one accelerator cost per hour: one provider, one day."""

    provider: str
    usd_per_hour: float
    source: str
    date: dt.date
    note: str = ""


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One accelerator's datasheet.

    Attributes:
        memory_bytes: Nominal, in SI bytes (80 GB is 80e9); a driver shows a few percent more or less.
        bandwidth_bytes_per_s: Of its memory.
        fp16_flops_per_s: Dense matrix multiplication in fp16 or bf16, FLOP/s; None where no figure is solid.
        fp8_flops_per_s: Dense, in fp8; None where it has none or no source gives it.
        tdp_w: Board power.
        single_source: Fields that only one public source gives; the others agree in at least two.
        rentals: Newest last.
    """

    name: str
    memory_bytes: float
    bandwidth_bytes_per_s: float
    fp16_flops_per_s: float | None
    fp8_flops_per_s: float | None
    tdp_w: float | None
    source: str
    date: dt.date
    aliases: tuple[str, ...] = ()
    single_source: tuple[str, ...] = ()
    rentals: tuple[Rental, ...] = ()

    @property
    def rental(self) -> Rental | None:
        """The newest rental price, the first listed of its day; None if no source was read: ask for a figure then."""
        return max(self.rentals, key=lambda rental: rental.date) if self.rentals else None


@dataclass(frozen=True, slots=True)
class Price:
    """What an API model costs from a day on, in USD per million tokens.

    Attributes:
        output_usd_per_mtok: None for a model that writes no tokens (an embedding model).
        cached_input_usd_per_mtok: For input read from the provider's prompt cache; None if it has no such price.
        cache_write_usd_per_mtok: For input written to it; None if writing costs no more than input.
        batch_*: Under the provider's batch interface; None if the source gives none.
        batch_since: First day for which the source gives the batch prices.
        since: First day of this price; None if the source does not say.
        max_context_tokens: The model's context window.
        source: Package and version, or page.
        date: When that copy was published: the price is known to hold on this day.
    """

    name: str
    provider: str
    input_usd_per_mtok: float
    output_usd_per_mtok: float | None
    cached_input_usd_per_mtok: float | None
    cache_write_usd_per_mtok: float | None
    batch_input_usd_per_mtok: float | None
    batch_output_usd_per_mtok: float | None
    batch_cached_input_usd_per_mtok: float | None
    batch_since: dt.date | None
    since: dt.date | None
    max_context_tokens: int | None
    source: str
    date: dt.date
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ApiLatency:
    """Latency of one API model as somebody measured it: dated, and only as good as the place it was measured from.

    Attributes:
        tpot_p50_s: (total - TTFT) / (output tokens - 1).
        requests: How many requests stand behind the percentiles.
        measured: Month or day of the measurement.
        conditions: Token counts, concurrency, region.
    """

    name: str
    provider: str
    ttft_p50_s: float
    ttft_p95_s: float
    tpot_p50_s: float
    tpot_p95_s: float
    requests: int
    input_tokens: int
    output_tokens: int
    measured: str
    conditions: str
    source: str
    date: dt.date
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Band:
    """An 80 % band as factors on a prediction: measured / predicted lies between ``low`` and ``high``."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ServingConstants:
    """The serving model's few constants for one engine, and what they were fitted to.

    Attributes:
        mbu: Share of the memory bandwidth that a decode step reaches.
        mfu: Share of the 16-bit peak rate that prefill reaches.
        mfu_fp8: Share of the fp8 peak rate that it reaches with fp8 weights.
        layer_overhead_s: Time of one layer of one step that neither bytes nor FLOPs explain (launches, norms).
        step_overhead_s: Time of one step outside the layers (scheduler, sampling).
        all_reduce_s: Latency of one all-reduce under tensor parallelism; two per layer.
        link_bytes_per_s: Effective bandwidth of one device's link in an all-reduce.
        interference: gamma: share of a newcomer's prefill that steals time from running decodes.
        admission: Share of the other sequences' prefills that a newcomer waits for under closed-loop load.
        request_overhead_s: Time of one request outside the model (HTTP, tokenizer, scheduling of the first step).
        ttft_band: measured / predicted TTFT, 10th to 90th percentile.
        tpot_band: The same of TPOT.
        ttft_median_error: Median of |measured - predicted| / measured.
        tpot_median_error: The same of TPOT.
        rows: Measured rows that the fit used.
    """

    name: str
    mbu: float
    mfu: float
    mfu_fp8: float
    layer_overhead_s: float
    step_overhead_s: float
    all_reduce_s: float
    link_bytes_per_s: float
    interference: float
    admission: float
    request_overhead_s: float
    ttft_band: Band
    tpot_band: Band
    ttft_median_error: float
    tpot_median_error: float
    rows: int
    fitted_to: str
    source: str
    date: dt.date
    aliases: tuple[str, ...] = ()
