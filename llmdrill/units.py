"""Quantities as people write them, and as people read them. SI inside; GiB and pretty numbers only in text."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final, Literal

from llmdrill.errors import UsageError, did_you_mean, nearest_names

if TYPE_CHECKING:
    from collections.abc import Mapping

MS_PER_S: Final = 1000.0

Dimension = Literal["count", "bytes", "seconds", "usd", "share", "per_second", "bytes_per_second", "flops"]

_SCALE: Final[Mapping[str, float]] = {
    "": 1.0,
    **dict.fromkeys(("k", "K"), 1e3),
    **dict.fromkeys(("M", "m"), 1e6),
    **dict.fromkeys(("B", "G", "bn"), 1e9),
    "T": 1e12,
}
_NOUNS: Final = ("", "tok", "token", "tokens", "req", "request", "requests", "query", "queries")
_BYTES: Final[Mapping[str, float]] = {
    "B": 1.0,
    **{f"{prefix}B": 10.0 ** (3 * power) for power, prefix in enumerate("kMGTP", start=1)},
    **{f"{prefix}iB": 2.0 ** (10 * power) for power, prefix in enumerate("KMGTP", start=1)},
}
_MONEY: Final[Mapping[str, float]] = {**_SCALE, **dict.fromkeys(("$", "usd", "USD", "dollar", "dollars"), 1.0)}
_TIME: Final[Mapping[str, tuple[str, ...]]] = {
    "us": ("µs", "μs"),  # the micro sign and the Greek letter look alike
    "ms": ("msec",),
    "s": ("sec", "secs", "second", "seconds"),
    "min": ("mins", "minute", "minutes"),
    "h": ("hr", "hrs", "hour", "hours"),
    "d": ("day", "days"),
}
_SECONDS: Final[Mapping[str, float]] = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_UNITS: Final[Mapping[Dimension, Mapping[str, float]]] = {
    "count": {f"{prefix}{noun}": factor for prefix, factor in _SCALE.items() for noun in _NOUNS},
    "bytes": {**_BYTES, "KB": 1e3},
    "seconds": {spelling: _SECONDS[unit] for unit, others in _TIME.items() for spelling in (unit, *others)},
    "usd": {**_MONEY, **dict.fromkeys(("c", "¢", "ct", "cent", "cents"), 0.01)},
    "share": {"": 1.0, "%": 0.01},
    "per_second": {
        "": 1.0,
        **dict.fromkeys(("rps", "qps"), 1.0),
        **dict.fromkeys(("rpm", "qpm"), 1 / 60),
        **{f"{noun}/{unit}": 1 / factor for noun in _NOUNS for unit, factor in _SECONDS.items()},
    },
    "bytes_per_second": {f"{unit}/s": factor for unit, factor in _BYTES.items()},
    "flops": {
        f"{prefix}{unit}": 10.0 ** (3 * power)
        for power, prefix in enumerate(("", "k", "M", "G", "T", "P"))
        for unit in ("FLOP/s", "FLOPS")
    }
    | {"T": 1e12},
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
_QUANTITY: Final = re.compile(
    r"(?P<sign>[-+]?)(?P<dollar>\$?)"
    r"(?P<number>(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,3}(?:_[0-9]{3})+|[0-9]+)(?:\.[0-9]*)?|\.[0-9]+)"
    r"(?P<power>(?:[eE][-+]?[0-9]+)?)"
    r"\s*(?P<unit>(?:[^\d\s.,_+-].*)?)"
)
_LONGEST: Final = 60  # no quantity is longer, and messages stay short


def parse_quantity(text: str, dimension: Dimension, *, bare_unit: str | None = None) -> float:
    """Return the number people mean, in SI: bytes, seconds, dollars, a share of one.

    Args:
        text: As typed: ``80GB``, ``80GiB``, ``1M``, ``128k``, ``25ms``, ``3.35TB/s``, ``85%``, ``$0.002``. A comma
            groups thousands (``1,000,000``) and nothing else: ``1,5`` is refused, because half the world means 1.5.
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
    typed = text.strip()
    shown = typed if len(typed) <= _LONGEST else f"{typed[:_LONGEST]}…"
    match = _QUANTITY.fullmatch(typed) if len(typed) <= _LONGEST else None
    if not match or (match["dollar"] and dimension != "usd"):
        raise UsageError(f"'{shown}' is not a quantity I can read; write it like {_EXAMPLE[dimension]}")
    value = float(match["sign"] + match["number"].replace(",", "").replace("_", "") + match["power"])
    factor = _factor("".join(match["unit"].split()), dimension, bare_unit, shown)
    value = _times(value, factor)
    if not math.isfinite(value):
        raise UsageError(f"'{shown}' is too large to be meant; write it like {_EXAMPLE[dimension]}")
    return value + 0.0  # -0 is 0


def _times(value: float, factor: float) -> float:
    """Return the product; by dividing where the factor is one over a whole number, so that 57% is 0.57 to the bit."""
    whole = round(1 / factor)
    return value / whole if whole > 1 and math.isclose(whole * factor, 1, rel_tol=1e-12) else value * factor


def _factor(unit: str, dimension: Dimension, bare_unit: str | None, shown: str) -> float:
    wanted = unit or bare_unit or _BARE.get(dimension, "")
    factor = _known_factor(wanted, dimension)
    if factor is not None:
        return factor
    hint = did_you_mean(nearest_names(wanted, [known for known in _UNITS[dimension] if known]))
    raise UsageError(f"'{shown}': unknown unit '{wanted}'{hint}; write it like {_EXAMPLE[dimension]}")


def _known_factor(unit: str, dimension: Dimension) -> float | None:
    """Return what one of ``unit`` is in SI, capitals forgiven where they cannot change the meaning."""
    units = _UNITS[dimension]
    if unit in units:
        return units[unit]
    if dimension == "per_second" and "/" in unit:  # "ktok/day" is any count over any time
        event, _, period = unit.partition("/")
        many, each = _known_factor(event, "count"), _known_factor(period, "seconds")
        return many / each if many and each else None
    folded = {known.lower(): factor for known, factor in units.items()}
    return None if _bits(unit, dimension) else folded.get(unit.lower())


def _bits(unit: str, dimension: Dimension) -> bool:
    """Tell whether the unit reads as bits: ``Gb``, and any small b in a rate; ``gb`` alone is how people type GB."""
    small = "b" in unit and "B" not in unit
    return small and (
        dimension == "bytes_per_second" or (dimension == "bytes" and (unit == "b" or unit != unit.lower()))
    )


def six_digits(value: float) -> float:
    """Round to 6 significant digits, or to cents where that is finer: what JSON prints, equal across platforms.

    >>> six_digits(0.000123456789), six_digits(1_234_567.501)
    (0.000123457, 1234567.5)
    """
    return round(value, 2) if abs(value) >= 1e4 else float(f"{value:.6g}")


def format_bytes(value_bytes: float) -> str:
    """Return GB and GiB side by side, never mixed; below a kilobyte they are the same.

    >>> format_bytes(32_768_000_000), format_bytes(640)
    ('32.8 GB (30.5 GiB)', '640 B')
    """
    if abs(value_bytes) < 999.5:
        return f"{value_bytes:.0f} B"
    return f"{_scaled(value_bytes, 1000.0, 'kMGTP')}B ({_scaled(value_bytes, 1024.0, 'KMGTP', 'i')}B)"


def _scaled(value: float, base: float, prefixes: str, mark: str = "") -> str:
    """Return three digits and a prefix; 999,999 with base 1000 is ``1 M``, not ``1000 k``."""
    power = 0
    if abs(value) >= 1000 * base ** len(prefixes):
        return f"{value:.3g} "  # a number of FLOPs, say: no prefix that people read
    while power < len(prefixes) and abs(value) / base**power >= base - 0.5:
        power += 1
    return f"{_plain(value / base**power)} {prefixes[power - 1] + mark if power else ''}"


def format_seconds(value_s: float) -> str:
    """Return a duration with three digits and a unit that suits it.

    >>> format_seconds(0.25), format_seconds(2.5), format_seconds(5400)
    ('250 ms', '2.5 s', '1.5 h')
    """
    for limit, factor, unit in (
        (0.9995e-3, 1e6, "µs"),
        (0.9995, 1e3, "ms"),
        (119.5, 1.0, "s"),
        (3599.0, 1 / 60, "min"),
    ):
        if 0 < abs(value_s) < limit:
            return f"{_plain(value_s * factor)} {unit}"
    return f"{_plain(value_s / 3600)} h" if value_s else "0 s"


def format_usd(value_usd: float) -> str:
    """Return dollars: cents for sums, four digits for the price of a request or a token.

    >>> format_usd(3250.0), format_usd(0.000195), format_usd(1.5e-07)
    ('$3,250.00', '$0.000195', '$0.00000015')
    """
    sign, value = "-" if value_usd < 0 else "", abs(value_usd)
    return f"{sign}${value:,.2f}" if value >= 1 or value == 0 else f"{sign}${_plain(value, digits=4)}"


def format_count(value: float) -> str:
    """Return a count with k, M, B or T.

    >>> format_count(1_000_000), format_count(500), format_count(128_000), format_count(999_999), format_count(4e23)
    ('1M', '500', '128k', '1M', '4e+23')
    """
    return _scaled(value, 1000.0, "kMBT").replace(" ", "")


def format_share(value: float) -> str:
    """Return a share as a percentage; what is short of all of it never reads 100%.

    >>> format_share(0.8512), format_share(0.9995), format_share(1)
    ('85.1%', '99.95%', '100%')
    """
    digits = 3
    while digits < 9 and 0.99 < value < 1 and round(value, digits) == 1:
        digits += 1
    return f"{_plain(100 * value, digits=max(3, digits))}%"


def format_quantity(value: float, dimension: Dimension) -> str:
    """Return ``value`` as people read that dimension.

    >>> format_quantity(3.35e12, "bytes_per_second"), format_quantity(989e12, "flops")
    ('3.35 TB/s', '989 TFLOP/s')
    >>> format_quantity(12, "per_second")
    '12/s'
    """
    if dimension == "bytes_per_second":
        return f"{_scaled(value, 1000.0, 'kMGTP')}B/s"
    if dimension == "flops":
        return f"{_scaled(value, 1000.0, 'kMGTP')}FLOP/s"
    if dimension == "per_second":
        return f"{format_count(value)}/s"
    formats = {"bytes": format_bytes, "seconds": format_seconds, "usd": format_usd, "share": format_share}
    return formats.get(dimension, format_count)(value)


def _plain(value: float, *, digits: int = 3) -> str:
    """Return ``digits`` significant digits, never with an exponent.

    >>> _plain(0.0000012345), _plain(999.96), _plain(123456.0)
    ('0.00000123', '1000', '123456')
    """
    text = f"{value:.{digits}g}"
    if "e" not in text or not math.isfinite(value):
        return text
    mantissa, power = text.split("e")
    decimals = max(0, len(mantissa.lstrip("-").replace(".", "")) - 1 - int(power))
    return f"{float(text) if decimals else value:.{decimals}f}"
