"""The estimate as JSON: unit-bearing keys, milliseconds, six significant digits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from llmdrill.units import six_digits

if TYPE_CHECKING:
    from llmdrill.system.band import EstimateBand
    from llmdrill.system.estimate import Estimate, StageEstimate, TotalEstimate

SCHEMA: Final = "llmdrill/estimate@1"


def estimate_json(estimate: Estimate, band: EstimateBand | None = None) -> dict[str, Any]:
    """Return the JSON object: milliseconds, six significant digits; equal estimates give equal text."""
    return {
        "schema": SCHEMA,
        "stages": [_stage_json(stage) for stage in estimate.stages],
        "total": _total_json(estimate.total),
        "critical_path": [
            {"name": step.name, "start_ms": _ms(step.start_s), "end_ms": _ms(step.end_s)}
            for step in estimate.critical_path
        ],
        "band": _band_json(band) if band else None,
        "bottleneck": estimate.bottleneck,
        "bottleneck_share": _digits(estimate.bottleneck_share),
        "seed": estimate.seed,
        "draws": estimate.draws,
        "notes": list(estimate.notes),
    }


def _stage_json(stage: StageEstimate) -> dict[str, Any]:
    return {
        "name": stage.name,
        "kind": stage.kind,
        "p50_ms": _ms(stage.p50_s),
        "p95_ms": _ms(stage.p95_s),
        "p99_ms": _ms(stage.p99_s),
        "ttft_p50_ms": _ms(stage.ttft_p50_s),
        "ttft_p95_ms": _ms(stage.ttft_p95_s),
        "tpot_p50_ms": _ms(stage.tpot_p50_s),
        "tpot_p95_ms": _ms(stage.tpot_p95_s),
        "usd_per_request": _digits(stage.usd_per_request),
        "memory_bytes": _digits(stage.memory_bytes),
        "share_of_requests": _digits(stage.share_of_requests),
        "basis": stage.basis,
        "over_capacity": stage.over_capacity,
    }


def _total_json(total: TotalEstimate) -> dict[str, Any]:
    return {
        "p50_ms": _ms(total.p50_s),
        "p95_ms": _ms(total.p95_s),
        "p99_ms": _ms(total.p99_s),
        "ttft_p50_ms": _ms(total.ttft_p50_s),
        "ttft_p95_ms": _ms(total.ttft_p95_s),
        "p50_error_ms": _ms(total.p50_error_s),
        "p95_error_ms": _ms(total.p95_error_s),
        "p99_error_ms": _ms(total.p99_error_s),
        "ttft_p95_error_ms": _ms(total.ttft_p95_error_s),
        "usd_per_request": _digits(total.usd_per_request),
        "usd_per_month": _digits(total.usd_per_month),
        "memory_bytes": _digits(total.memory_bytes),
        "share_of_requests": _digits(total.share_of_requests),
        "success_share": _digits(total.success_share),
        "human_share": _digits(total.human_share),
        "basis": total.basis,
        "over_capacity": total.over_capacity,
    }


def _band_json(band: EstimateBand) -> dict[str, Any]:
    """Return the totals at both ends of the 80 % band of the stages whose times are predicted."""
    ends = {"low": _total_json(band.low.total), "high": _total_json(band.high.total)}
    names = ("p50_ms", "p95_ms", "p99_ms", "ttft_p50_ms", "ttft_p95_ms")
    figures = {name: {end: total[name] for end, total in ends.items()} for name in names}
    return {"share": 0.8, "stages": list(band.stages), **figures}


def _ms(value_s: float | None) -> float | None:
    return None if value_s is None else six_digits(1000.0 * value_s)


def _digits(value: float | None) -> float | None:
    return None if value is None else six_digits(value)
