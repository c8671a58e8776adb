"""Limits from the command line: `--max-usd-per-request`, `--max-usd-per-month`, `--slo`, `--max-increase`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from llmdrill.errors import ContentError, UsageError, did_you_mean, nearest_names
from llmdrill.system.metrics import METRICS, Metric
from llmdrill.units import parse_quantity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from llmdrill.system.design import DesignFile
    from llmdrill.units import Dimension

_SLO: Final = re.compile(r"\s*(?P<name>[^<>=\s]+)\s*(?P<sign><=|>=|=)\s*(?P<value>\S(?:.*\S)?)\s*")
_UNITS: Final[Mapping[str, tuple[str, str]]] = {  # end of a name → end of the metric's name, unit of a bare number
    "_us": ("_s", "us"),
    "_ms": ("_s", "ms"),
    "_min": ("_s", "min"),
    **{f"_{prefix}b": ("_bytes", f"{prefix.replace('k', 'K').upper()}B") for prefix in "kmgt"},
    **{f"_{prefix}ib": ("_bytes", f"{prefix.upper()}iB") for prefix in "kmgt"},
    "_percent": ("_share", "%"),
}
_ALIASES: Final = {f"p{percent}_s": f"total_p{percent}_s" for percent in (50, 95, 99)}
_OF_STAGE: Final[Mapping[str, Dimension]] = {
    **{f"{what}p{percent}_s": "seconds" for what in ("", "ttft_", "tpot_") for percent in (50, 95)},
    "p99_s": "seconds",
    "usd_per_request": "usd",
    "memory_bytes": "bytes",
}
MOST_INCREASE: Final = 1.0  # above it a bare number is more likely meant as per cent


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit.

    Attributes:
        name: What its row is called: as it was written.
        metric: Of the whole design, or of ``stage``.
        limit: In SI.
        per: What one unit of the name is in SI: 0.001 for a name that ends in ``_ms``.
        stage: The one stage that is held to it; None for the whole.
    """

    name: str
    metric: Metric
    limit: float
    per: float = 1.0
    stage: str | None = None


def money_limit(period: Literal["request", "month"], text: str) -> Limit:
    """Return the limit that ``--max-usd-per-request`` or ``--max-usd-per-month`` sets.

    Raises:
        UsageError: If it is no amount of money, or negative.
    """
    metric = METRICS[f"usd_per_{period}"]
    return Limit(f"max_{metric.name}", metric, _value(f"--max-usd-per-{period}", metric, text, None))


def slo_limit(text: str) -> Limit:
    """Return the limit that ``--slo NAME=VALUE`` sets; a bare number has the unit of the name.

    The name is a metric (``ttft_p95_ms``, ``memory_gb``, ``success_share``, ``recall_at_k``) or one of a stage
    (``llm.tpot_p95_ms``). ``=`` means at most, or at least where more is better; ``<=`` and ``>=`` say so.

    Raises:
        UsageError: If it cannot be read, names no known metric, says the wrong direction, or is no such quantity.

    >>> limit = slo_limit("ttft_p95_ms=800")
    >>> limit.name, limit.metric.name, limit.limit, limit.per
    ('ttft_p95_ms', 'ttft_p95_s', 0.8, 0.001)
    """
    match = _SLO.fullmatch(text)
    if not match:
        raise UsageError(f"cannot read --slo '{text[:60]}'; write it like ttft_p95_ms=800")
    stage, _, name = match["name"].rpartition(".")
    name = name.lower().replace("-", "_")
    metric, unit = _metric(name, stage)
    wanted = "<=" if metric.better == "lower" else ">="
    if match["sign"] not in {"=", wanted}:
        raise UsageError(f"--slo {text.strip()}: more of {name} is {_worse(metric)}; write {name}{wanted}VALUE")
    limit = _value(f"--slo {match['name']}", metric, match["value"], unit)
    if metric.dimension == "seconds" and limit == 0:
        raise UsageError(f"--slo {text.strip()}: nothing takes no time; give a limit above zero")
    per = parse_quantity(f"1{unit}", metric.dimension) if unit else 1.0
    return Limit(f"{stage}.{name}" if stage else name, metric, limit, per, stage or None)


def _worse(metric: Metric) -> str:
    return "worse" if metric.better == "lower" else "better"


def _value(option: str, metric: Metric, text: str, unit: str | None) -> float:
    try:
        value = parse_quantity(text, metric.dimension, bare_unit=unit)
    except UsageError as error:
        raise UsageError(f"{option}: {error}") from error
    if value < 0:
        raise UsageError(f"{option}: '{text}' is negative; a limit is zero or more")
    if metric.dimension == "share" and value > 1:
        raise UsageError(f"{option}: '{text}' is no share; write it like 0.85 or 85%")
    return value


def _metric(name: str, stage: str) -> tuple[Metric, str | None]:
    """Return the metric a name means and the unit of a bare number; None if it is the metric's own."""
    known = dict(_stage_metrics(stage)) if stage else {key: one for key, one in METRICS.items() if _judgeable(one)}
    for canonical, unit in _readings(name):
        metric = known.get(canonical) or (None if stage else known.get(_ALIASES.get(canonical, "")))
        if metric is not None:
            return metric, unit
    if name in METRICS and not stage:
        raise UsageError(f"--slo {name}: needs people, a judge model or production traffic: nothing here can tell it")
    if not stage and any(canonical in _OF_STAGE for canonical, _ in _readings(name)):
        raise UsageError(f"--slo {name}: this is a figure of one stage; write STAGE.{name}, such as llm.{name}")
    names = [_usual(key) for key in known]
    nearest = did_you_mean(nearest_names(name, names)) or f" (known: {', '.join(names)})"
    raise UsageError(f"--slo: unknown metric '{name}'{' of a stage' if stage else ''}{nearest}")


def _judgeable(metric: Metric) -> bool:
    return metric.source in {"estimate", "measurement"}


def _readings(name: str) -> Iterator[tuple[str, str | None]]:
    """Yield the metric's name that a name may stand for, with the unit it says."""
    yield name, None
    for end, (canonical, unit) in _UNITS.items():
        if name.endswith(end):
            yield name.removesuffix(end) + canonical, unit


def _usual(name: str) -> str:
    return name.removesuffix("_s") + "_ms" if name.endswith("_s") else name


def _stage_metrics(stage: str) -> Iterator[tuple[str, Metric]]:
    for name, dimension in _OF_STAGE.items():
        yield name, Metric(name, dimension, "lower", "estimate", "operations", f"{name} of the stage '{stage}'")


def require_stage(limit: Limit, file: DesignFile) -> None:
    """Refuse a limit on a stage that a design does not have.

    Raises:
        ContentError: At the design's stages, with the nearest names.
    """
    stages = file.design.stages
    if limit.stage is None or limit.stage in stages:
        return
    hint = did_you_mean(nearest_names(limit.stage, stages)) or f" (stages: {', '.join(stages)})"
    what = f"--slo {limit.name}: there is no stage '{limit.stage}'{hint}"
    raise ContentError([file.located.mistake(("stages",), what)])


def max_increase(text: str) -> float:
    """Return the share by which figures may rise above a baseline's.

    Raises:
        UsageError: If it is no share or negative, or a bare number above one, which could mean either.

    >>> max_increase("10%"), max_increase("0.1"), max_increase("150%")
    (0.1, 0.1, 1.5)
    """
    try:
        value = parse_quantity(text, "share")
    except UsageError as error:
        raise UsageError(f"--max-increase: {error}") from error
    if value < 0:
        raise UsageError(f"--max-increase: '{text}' is negative; 0% allows no increase")
    if value > MOST_INCREASE and "%" not in text:
        raise UsageError(
            f"--max-increase: '{text}' would be {100 * value:g}%; write {text.strip()}% or a share like 0.1"
        )
    return value
