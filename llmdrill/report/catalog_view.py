"""The catalogue as blocks: a list to choose from, or one entry in full with source and date."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import TYPE_CHECKING, Any, Final

from llmdrill.report.blocks import Bullets, Grid, Heading, Text
from llmdrill.units import format_bytes, format_count, format_quantity, format_usd

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from llmdrill.catalog.architecture import ModelRecord
    from llmdrill.catalog.records import Accelerator, ApiLatency, Price, TokenRates
    from llmdrill.report.blocks import Block, Blocks

_UNKNOWN: Final = "–"
_APART: Final = {"name", "aliases", "source", "date", "note", "guessed", "single_source", "rentals"}  # shown elsewhere


def models_view(models: Sequence[ModelRecord]) -> Blocks:
    """List open models: size, attention, context."""
    rows = tuple(
        (
            one.name,
            _count(one.parameters),
            "" if one.active_parameters == one.parameters else _count(one.active_parameters),
            one.attention.kind,
            str(one.attention.layers),
            _count(one.max_context_tokens),
        )
        for one in models
    )
    return (Grid(("model", ">parameters", ">active", "attention", ">layers", ">context"), rows, note=_how("models")),)


def model_view(model: ModelRecord) -> Blocks:
    """Show one open model in full."""
    return (Heading(model.name, 1), _fields(model), *_origin(model), *_bullets("Guessed", model.guessed))


def accelerators_view(accelerators: Sequence[Accelerator]) -> Blocks:
    """List accelerators: memory, bandwidth, rates, rent."""
    rows = tuple(
        (
            one.name,
            format_bytes(one.memory_bytes).split(" (")[0],
            _quantity(one.bandwidth_bytes_per_s, "bytes_per_second"),
            _quantity(one.fp16_flops_per_s, "flops"),
            _quantity(one.fp8_flops_per_s, "flops"),
            f"{format_usd(one.rental.usd_per_hour)} {one.rental.provider}" if one.rental else _UNKNOWN,
        )
        for one in accelerators
    )
    columns = ("accelerator", ">memory", ">bandwidth", ">fp16 dense", ">fp8 dense", "rent per hour")
    return (Grid(columns, rows, note=_how("accelerators")),)


def accelerator_view(accelerator: Accelerator) -> Blocks:
    """Show one accelerator in full, with its rents."""
    rents = tuple(
        (
            one.provider,
            format_usd(one.usd_per_hour),
            str(one.date),
            one.note,
            one.source,
            _taken(one, accelerator.rental),
        )
        for one in sorted(accelerator.rentals, key=lambda one: (-one.date.toordinal(), one.usd_per_hour))
    )
    columns = ("provider", ">per hour", "read on", "what", "source", "used")
    rental: Block = Grid(columns, rents, "Rent") if rents else Text("No rent was read: bring a figure of your own.")
    single = accelerator.single_source
    return (
        Heading(accelerator.name, 1),
        _fields(accelerator, marked=single),
        *((Text("* One source alone gives it; of the others at least two agree.", "dim"),) if single else ()),
        rental,
        *_origin(accelerator),
    )


def prices_view(prices: Sequence[Price]) -> Blocks:
    """List API prices in force, in USD per million tokens."""
    rows = tuple(
        (
            one.name,
            one.provider,
            *_rates(one.rates(prompt_tokens=0)),
            _usd(one.batch_input_usd_per_mtok),
            _tier_mark(one),
        )
        for one in prices
    )
    columns = ("API model", "provider", ">input", ">output", ">cached", ">cache write", ">batch input", "tiers")
    return (Grid(columns, rows, "USD per million tokens", _how("prices")),)


def price_view(history: Sequence[Price], in_force: Price | None) -> Blocks:
    """Show every dated price of one API model; ``in_force`` is the one of the day asked for."""
    newest = history[-1]
    rows = tuple(row for price in history for row in _price_rows(price, price == in_force))
    columns = ("since", "prompt", "batch", ">input", ">output", ">cached", ">cache write", "")
    context = newest.max_context_tokens
    return (
        Heading(newest.name, 1),
        Text(f"{newest.provider}{f', {context:,} tokens of context' if context else ''}"),
        Grid(columns, rows, "USD per million tokens"),
        *_origin(newest),
    )


def latency_view(latencies: Sequence[ApiLatency]) -> Blocks:
    """List measured API latencies."""
    rows = tuple(
        (
            one.name,
            *(format_quantity(value, "seconds") for value in (one.ttft_p50_s, one.ttft_p95_s, one.tpot_p50_s)),
            str(one.requests),
            one.measured,
            one.conditions,
        )
        for one in latencies
    )
    columns = ("API model", ">TTFT p50", ">TTFT p95", ">TPOT p50", ">requests", "measured", "conditions")
    return (Grid(columns, rows), *_sources(latencies))


def _price_rows(price: Price, in_force: bool) -> Iterable[tuple[str, ...]]:
    since = str(price.since) if price.since else "unknown"
    mark = "in force" if in_force else ""
    for above in (0, *(tier.above_tokens for tier in price.tiers)):
        prompt = f"above {above:,}" if above else "any" if not price.tiers else f"to {price.tiers[0].above_tokens:,}"
        yield (since, prompt, "", *_rates(price.rates(prompt_tokens=above + 1)), mark)
        batch = price.rates(prompt_tokens=above + 1, batch=True)
        if batch:
            yield (since, prompt, f"from {price.batch_since}" if price.batch_since else "yes", *_rates(batch), mark)


def _rates(rates: TokenRates | None) -> tuple[str, ...]:
    if rates is None:
        return (_UNKNOWN,) * 4
    return tuple(map(_usd, (rates.input, rates.output, rates.cached_input, rates.cache_write)))


def _usd(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.10g}"


def _tier_mark(price: Price) -> str:
    if price.is_free:
        return "free of charge"
    return ", ".join(f"> {format_count(tier.above_tokens)}" for tier in price.tiers)


def _taken(rental: Any, taken: Any) -> str:  # noqa: ANN401 - two rentals
    return "yes" if rental == taken else ""


def _count(value: float | None) -> str:
    return _UNKNOWN if value is None else format_count(value)


def _quantity(value: float | None, dimension: Any) -> str:  # noqa: ANN401 - a Dimension
    return _UNKNOWN if value is None else format_quantity(value, dimension)


def _fields(record: Any, marked: Sequence[str] = ()) -> Grid:  # noqa: ANN401 - any record of the catalogue
    rows = tuple((f"{name}{'*' if name in marked else ''}", value) for name, value in _flat(record))
    return Grid(("field", "value"), rows)


def _flat(record: Any, prefix: str = "") -> Iterable[tuple[str, str]]:  # noqa: ANN401 - any record of the catalogue
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        left_out = value is None and field.default is None  # nothing to know, as the experts of a dense model
        if (not prefix and field.name in _APART) or value in ((), "") or left_out:
            continue
        if dataclasses.is_dataclass(value):
            yield from _flat(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", _shown(field.name, value)


def _shown(name: str, value: Any) -> str:  # noqa: ANN401 - whatever a record holds
    if value is None:
        return "unknown"
    if isinstance(value, tuple):
        return ", ".join(_shown(name, item) for item in value)
    if dataclasses.is_dataclass(value):
        return ", ".join(
            f"{field.name} {_shown(field.name, getattr(value, field.name))}" for field in dataclasses.fields(value)
        )
    if isinstance(value, bool | str | dt.date):
        return str(value)
    if name.endswith("_ops_per_s"):
        return _quantity(value, "flops").replace("FLOP", "OP")
    for ending, dimension in (("_bytes_per_s", "bytes_per_second"), ("_flops_per_s", "flops"), ("_bytes", "bytes")):
        if name.endswith(ending):
            return _quantity(value, dimension)
    return f"{value:,.10g}"


def _origin(record: Any) -> tuple[Block, ...]:  # noqa: ANN401 - any record of the catalogue
    names = (Text(f"Also called {', '.join(record.aliases)}."),) if record.aliases else ()
    note = (Text(record.note),) if getattr(record, "note", "") else ()
    return (*note, *names, Text(f"Source, as of {record.date}: {record.source}"))


def _sources(records: Sequence[ApiLatency]) -> tuple[Block, ...]:
    return tuple(Text(line) for line in dict.fromkeys(f"Source, as of {one.date}: {one.source}" for one in records))


def _bullets(title: str, items: Sequence[str]) -> tuple[Block, ...]:
    return (Heading(title), Bullets(tuple(items))) if items else ()


def _how(kind: str) -> str:
    return f"llmdrill catalog {kind} NAME shows one in full, with its source; part of a name filters."
