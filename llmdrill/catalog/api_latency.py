"""Latency of an API model as somebody measured it."""

from __future__ import annotations

import datetime as dt  # noqa: TC003 - the reader resolves annotations
from dataclasses import dataclass


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
