"""Quantities as people write them, and as people read them. SI inside; GiB and pretty numbers only in text."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final, Literal

from llmdrill.errors import UsageError, did_you_mean, nearest_names

if TYPE_CHECKING:
    from collections.abc import Mapping

Dimension = Literal["count", "bytes", "seconds", "usd", "share", "per_second", "bytes_per_second", "flops"]

_SCALE: Final[Mapping[str, float]] = {"": 1.0, "k": 1e3, "M": 1e6, "B": 1e9, "G": 1e9, "T": 1e12}
_BYTES: Final[Mapping[str, float]] = {
    "B": 1.0,
    **{f"{prefix}B": 10.0 ** (3 * power) for power, prefix in enumerate("kMGTP", start=1)},
    **{f"{prefix}iB": 2.0 ** (10 * power) for power, prefix in enumerate("KMGTP", start=1)},
}
_UNITS: Final[Mapping[Dimension, Mapping[str, float]]] = {
    "count": {**_SCALE, "tokens": 1.0, "tok": 1.0, "ktok": 1e3, "Mtok": 1e6, "bn": 1e9, "m": 1e6, "K": 1e3},
    "bytes": {**_BYTES, "KB": 1e3},
    "seconds": {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "min": 60.0, "h": 3600.0, "d": 86400.0, "sec": 1.0},
    "usd": {
        "": 1.0,
        "usd": 1.0,
        "USD": 1.0,
        "$": 1.0,
        "k": 1e3,
        "M": 1e6,
        "m": 1e6,
        "c": 0.01,
        "¢": 0.01,
        "cents": 0.01,
    },
    "share": {"": 1.0, "%": 0.01},
    "per_second": {
        "": 1.0,
        "/s": 1.0,
        "tok/s": 1.0,
        "req/s": 1.0,
        "rps": 1.0,
        "qps": 1.0,
        "/min": 1 / 60,
        "/h": 1 / 3600,
    },
    "bytes_per_second": {f"{unit}/s": factor for unit, factor in _BYTES.items()},
    "flops": {"FLOP/s": 1.0, "FLOPS": 1.0, "GFLOPS": 1e9, "TFLOPS": 1e12, "PFLOPS": 1e15, "TFLOP/s": 1e12, "T": 1e12},
}
_BARE: Final[Mapping[Dimension, str]] = {"bytes": "B", "seconds": "s", "bytes_per_second": "B/s", "flops": "FLOP/s"}
_EXAMPLE: Final[Mapping[Dimension, str]] = {
    "count": "500, 128k, 1M",
    "bytes": "80GB, 30.5GiB, 512MB",
    "seconds": "250ms, 2s, 1.5min",
    "usd": "$0.002, 0.2c, $1.5k",
    "share": "0.85, 85%",
    "per_second": "12, 12/s, 40 tok/s",
    "bytes_per_second": "3.35TB/s",
    "flops": "989TFLOPS",
}
_QUANTITY = re.compile(
    r"^(?P<sign>[-+]?)\$?(?P<number>\d[\d_,]*\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?)\s*(?P<unit>[^\d\s]*\S*)$"
)


def parse_quantity(text: str, dimension: Dimension, *, bare_unit: str | None = None) -> float:
    """Return the number people mean, in SI: bytes, seconds, dollars, a share of one.

    Args:
        text: As typed: ``80GB``, ``80GiB``, ``1M``, ``128k``, ``25ms``, ``3.35TB/s``, ``85%``, ``$0.002``.
        dimension: What kind of quantity is expected.
        bare_unit: The unit of a number without one; default bytes, seconds, dollars or a plain count.

    Raises:
        UsageError: If the text is no such quantity, or is not finite.

    >>> parse_quantity("30.5GiB", "bytes")
    32749125632.0
    >>> parse_quantity("250", "seconds", bare_unit="ms")
    0.25
    >>> parse_quantity("1,000,000", "count")
    1000000.0
    """
    match = _QUANTITY.match(text.strip().replace("\N{NO-BREAK SPACE}", " "))
    if not match:
        raise UsageError(f"'{text.strip()}' is not a quantity I can read; write it like {_EXAMPLE[dimension]}")
    value = float(match["sign"] + match["number"].replace(",", "").replace("_", ""))
    if not math.isfinite(value):
        raise UsageError(f"'{text.strip()}' is too large to be meant; write it like {_EXAMPLE[dimension]}")
    return value * _factor(match["unit"], dimension, bare_unit, text)


def _factor(unit: str, dimension: Dimension, bare_unit: str | None, text: str) -> float:
    units = _UNITS[dimension]
    wanted = unit or bare_unit or _BARE.get(dimension, "")
    if wanted in units:
        return units[wanted]
    folded = {known.lower(): factor for known, factor in units.items()}
    if dimension != "bytes" and wanted.lower() in folded:
        return folded[wanted.lower()]
    if dimension == "bytes" and wanted.lower() in folded and wanted != "b":
        return folded[wanted.lower()]
    hint = did_you_mean(nearest_names(wanted, [known for known in units if known]))
    raise UsageError(f"'{text.strip()}': unknown unit '{wanted}'{hint}; write it like {_EXAMPLE[dimension]}")


def six_digits(value: float) -> float:
    """Round to 6 significant digits: what JSON prints, equal across platforms.

    >>> six_digits(0.000123456789)
    0.000123457
    """
    return float(f"{value:.6g}")


def format_bytes(value_bytes: float) -> str:
    """Return GB and GiB side by side, never mixed.

    >>> format_bytes(32_768_000_000)
    '32.8 GB (30.5 GiB)'
    """
    return f"{_scaled(value_bytes, 1000.0, 'kMGTP', 'B')} ({_scaled(value_bytes, 1024.0, 'KMGTP', 'iB')})"


def _scaled(value: float, base: float, prefixes: str, suffix: str) -> str:
    power = min(int(math.log(value, base) + 1e-12), len(prefixes)) if value >= base else 0
    return f"{value / base**power:.3g} {prefixes[power - 1]}{suffix}" if power else f"{value:.0f} B"


def format_seconds(value_s: float) -> str:
    """Return a duration with three digits and a unit that suits it.

    >>> format_seconds(0.25), format_seconds(2.5), format_seconds(5400)
    ('250 ms', '2.5 s', '1.5 h')
    """
    for limit, factor, unit in ((1e-3, 1e6, "µs"), (0.9995, 1e3, "ms"), (120.0, 1.0, "s"), (7200.0 / 2, 1 / 60, "min")):
        if abs(value_s) < limit:
            return f"{_plain(value_s * factor)} {unit}"
    return f"{_plain(value_s / 3600)} h"


def format_usd(value_usd: float) -> str:
    """Return dollars: cents for sums, four digits for the price of a request.

    >>> format_usd(3250.0), format_usd(0.000195)
    ('$3,250.00', '$0.000195')
    """
    return f"${value_usd:,.2f}" if abs(value_usd) >= 1 or value_usd == 0 else f"${value_usd:.4g}"


def format_count(value: float) -> str:
    """Return a count with k, M or B.

    >>> format_count(1_000_000), format_count(500), format_count(128_000)
    ('1M', '500', '128k')
    """
    for factor, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{_plain(value / factor)}{suffix}"
    return _plain(value)


def format_share(value: float) -> str:
    """Return a share as a percentage.

    >>> format_share(0.8512)
    '85.1%'
    """
    return f"{100 * value:.3g}%"


def format_quantity(value: float, dimension: Dimension) -> str:
    """Return ``value`` as people read that dimension."""
    formats = {"bytes": format_bytes, "seconds": format_seconds, "usd": format_usd, "share": format_share}
    return formats.get(dimension, format_count)(value)


def _plain(value: float) -> str:
    text = f"{value:.3g}"
    return text if "e" not in text else f"{value:.0f}"
