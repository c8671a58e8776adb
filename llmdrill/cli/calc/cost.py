"""`llmdrill calc cost`: the price of API requests."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from llmdrill.cli.calc.answer import Answer
from llmdrill.cli.calc.options import quantity, share, whole
from llmdrill.errors import UnknownNameError, UsageError
from llmdrill.units import format_count, format_share, format_usd

if TYPE_CHECKING:
    from llmdrill.catalog.records import Price
    from llmdrill.estimate.cost import RequestCost
    from llmdrill.estimate.explain import Explained
    from llmdrill.table import Table

_DAYS_PER_MONTH: Final = 365 / 12
_MOST_RETRIES: Final = 100

_Cached = Annotated[str, typer.Option(help="Prompt tokens read from the provider's cache.")]
_CacheWrite = Annotated[str, typer.Option(help="Prompt tokens written to the provider's cache.")]
_Reasoning = Annotated[str, typer.Option(help="Tokens that the model thinks with and does not show.")]
_PerDay = Annotated[str | None, typer.Option(help="Requests a day: gives usd_per_month.")]
_PerMonth = Annotated[str | None, typer.Option(help="Requests a month: gives usd_per_month.")]
_FailuresFree = Annotated[
    bool, typer.Option("--failures-free", help="Failed attempts are not billed; without it they are, in full.")
]
_Day = Annotated[
    dt.datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Price of that day; default the catalogue's.")
]
_Prices = Annotated[
    Literal["catalogue", "genai"], typer.Option(help="Whose prices: llmdrill's, or those of genai-prices.")
]


@dataclass(frozen=True, slots=True)
class _Request:
    """One request, and how often it is sent.

    Attributes:
        billed_attempts: Attempts per request that are paid for, on average.
        answered_share: Requests that get an answer, retries included.
    """

    tokens: dict[str, float]
    batch: bool
    attempts: float
    billed_attempts: float
    answered_share: float


def cost(
    *,
    model: Annotated[str, typer.Option(help="An API model of the catalogue.")],
    input_: Annotated[str, typer.Option("--input", help="Prompt tokens of one request, cached ones included.")],
    output: Annotated[str, typer.Option(help="Answer tokens of one request.")] = "0",
    requests: Annotated[str, typer.Option(help="How many requests, such as 1M.")] = "1",
    cached: _Cached = "0",
    cache_write: _CacheWrite = "0",
    reasoning: _Reasoning = "0",
    batch: Annotated[bool, typer.Option("--batch", help="Through the batch interface.")] = False,
    per_day: _PerDay = None,
    per_month: _PerMonth = None,
    failures: Annotated[str, typer.Option(help="Share of attempts that fail: 0.02, 2%.")] = "0",
    retries: Annotated[str, typer.Option(help="How often a failed request is sent again at most.")] = "0",
    failures_free: _FailuresFree = False,
    date: _Day = None,
    prices: _Prices = "catalogue",
) -> Answer:
    """Price of API requests."""
    many = quantity("requests", requests, "count")
    request = _request(
        counts={
            "input": input_,
            "output": output,
            "cached": cached,
            "cache-write": cache_write,
            "reasoning": reasoning,
        },
        batch=batch,
        failure_share=share("failures", failures),
        retries=whole("retries", retries, zero=True),
        free=failures_free,
    )
    monthly = _monthly(per_day, per_month)
    day = date.date() if date else None
    found = _by_genai(model, day, request, many) if prices == "genai" else _by_catalogue(model, day, request, many)
    figures = (found.total, *_shares(found.total.value, many, request, monthly), _total_tokens(many, request))
    stated = {"requests": many, **request.tokens, "batch": batch, "requests_per_month": monthly}
    return Answer(
        calculator="cost",
        lines=(_first_line(figures, many, free=found.inputs.get("free", False)), *found.lines),
        figures=figures,
        unknown=() if monthly else ("usd_per_month",),
        inputs={**found.inputs, **stated, "billed_attempts_per_request": request.billed_attempts},
        notes=(*found.notes, *_retry_notes(request, free=failures_free)),
        tables=found.tables,
    )


@dataclass(frozen=True, slots=True)
class _Found:
    """What one source of prices says."""

    total: Explained
    lines: tuple[str, ...]
    inputs: dict[str, Any]
    notes: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()


def _request(*, counts: dict[str, str], batch: bool, failure_share: float, retries: int, free: bool) -> _Request:
    from llmdrill.estimate.cost import expected_attempts

    if failure_share == 1:
        raise UsageError("--failures must be below 1 (100%): or no request is ever answered")
    if retries > _MOST_RETRIES:
        raise UsageError(f"--retries {retries} is too many to be meant")
    names = {"cached": "cached_input_tokens", "cache-write": "cache_write_tokens"}
    tokens = {
        names.get(name, f"{name}_tokens"): quantity(name, text, "count", zero=name != "input")
        for name, text in counts.items()
    }
    attempts = expected_attempts(failure_share=failure_share, retries=retries)
    answered = 1 - failure_share ** (retries + 1)
    return _Request(tokens, batch, attempts, answered if free else attempts, answered)


def _monthly(per_day: str | None, per_month: str | None) -> float | None:
    if per_day is not None and per_month is not None:
        raise UsageError("give --per-day or --per-month, not both")
    if per_day is not None:
        return quantity("per-day", per_day, "count") * _DAYS_PER_MONTH
    return None if per_month is None else quantity("per-month", per_month, "count")


def _by_catalogue(model: str, day: dt.date | None, request: _Request, many: float) -> _Found:
    from llmdrill.catalog.load import find_price
    from llmdrill.estimate.cost import api_request_cost, explain_api_cost

    price = find_price(model, date=day)
    total = explain_api_cost(
        price, requests=many, batch=request.batch, billed_attempts=request.billed_attempts, **request.tokens
    )
    one = api_request_cost(price, batch=request.batch, **request.tokens)
    return _Found(
        total=total,
        lines=(f"{price.name}: list price known on {price.date}; source: {price.source}",),
        inputs={
            "model": price.name,
            "provider": price.provider,
            "free": price.is_free,
            "tier_above_tokens": one.rates.above_tokens,
            "price_date": price.date.isoformat(),
            "price_since": price.since.isoformat() if price.since else None,
            "price_source": price.source,
        },
        notes=_price_notes(price, day, one, request),
        tables=(_by_kind(one, request.tokens),),
    )


def _by_genai(model: str, day: dt.date | None, request: _Request, many: float) -> _Found:
    from llmdrill.catalog.genai import genai_request_cost
    from llmdrill.catalog.load import catalogue_date, find_price
    from llmdrill.estimate.explain import Explained, figure

    pinned = day or catalogue_date()
    try:
        known = find_price(model, date=pinned)
    except (UnknownNameError, UsageError):
        known = None  # the package knows many more models than the catalogue
    tokens = dict(request.tokens)
    tokens["output_tokens"] += tokens.pop("reasoning_tokens")
    one = genai_request_cost(model, date=pinned, known=known, batch=request.batch, **tokens)
    value = many * request.billed_attempts * one.usd
    total = Explained(
        name="usd_total",
        value=value,
        unit="usd",
        formula="requests × billed attempts × price of one request",
        filled=f"{figure(many)} × {figure(request.billed_attempts)} × ${figure(one.usd)} = ${figure(value)}",
        source=f"{one.source}, calc_price of {one.provider}:{one.model} at noon UTC of {one.date}",
    )
    return _Found(
        total=total,
        lines=(f"{one.provider}:{one.model}: list price of {one.date}; source: {one.source}",),
        inputs={
            "model": one.model,
            "provider": one.provider,
            "price_date": one.date.isoformat(),
            "price_source": one.source,
        },
    )


def _shares(total: float, many: float, request: _Request, monthly: float | None) -> tuple[Explained, ...]:
    """Return the total by request, by thousand and by month."""
    each = total / many
    found = [
        _arithmetic("usd_per_request", each, "usd_total / requests", f"${total:.10g} / {many:.10g}"),
        _arithmetic("usd_per_1000_requests", 1000 * each, "usd_per_request × 1,000", f"${each:.10g} × 1,000"),
    ]
    if request.answered_share < 1:
        answered = request.answered_share
        found.append(
            _arithmetic(
                "usd_per_answered_request",
                each / answered,
                "usd_per_request / (1 − failures^(retries + 1))",
                f"${each:.10g} / {answered:.10g}",
            )
        )
    if monthly is not None:
        month = each * monthly
        formula, filled = "usd_per_request × requests per month", f"${each:.10g} × {monthly:.10g}"
        found.append(_arithmetic("usd_per_month", month, formula, filled))
    return tuple(found)


def _total_tokens(many: float, request: _Request) -> Explained:
    from llmdrill.estimate.explain import Explained, figure

    read, *written = (request.tokens[f"{kind}_tokens"] for kind in ("input", "output", "reasoning"))
    value = many * request.billed_attempts * (read + sum(written))
    filled = f"{figure(many)} × {figure(request.billed_attempts)} × ({' + '.join(map(figure, (read, *written)))})"
    return Explained(
        name="total_tokens",
        value=value,
        unit="count",
        formula="requests × billed attempts × (input_tokens + output_tokens + reasoning_tokens)",
        filled=f"{filled} = {figure(value)}",
        source="Arithmetic",
    )


def _arithmetic(name: str, value: float, formula: str, filled: str) -> Explained:
    from llmdrill.estimate.explain import Explained

    return Explained(name, value, "usd", formula, f"{filled} = ${value:.10g}", "Arithmetic")


def _first_line(figures: tuple[Explained, ...], many: float, *, free: bool) -> str:
    value = {one.name: one.value for one in figures}
    named = f"{format_count(many)} request{'' if many == 1 else 's'}"
    if free:
        return f"Free of charge: $0 for {named}."
    month = f"; {format_usd(value['usd_per_month'])} a month" if "usd_per_month" in value else ""
    each = f"{format_usd(value['usd_per_request'])} each, {format_usd(value['usd_per_1000_requests'])} per 1,000"
    return f"{format_usd(value['usd_total'])} for {named}, {each}{month}"


def _by_kind(one: RequestCost, tokens: dict[str, float]) -> Table:
    from llmdrill.table import Table

    rates, read, stored = one.rates, tokens["cached_input_tokens"], tokens["cache_write_tokens"]
    rows = (
        ("input", tokens["input_tokens"] - read - stored, rates.input, one.input_usd),
        ("input read from cache", read, rates.cached_input, one.cached_input_usd),
        ("input written to cache", stored, rates.cache_write, one.cache_write_usd),
        ("output", tokens["output_tokens"], rates.output, one.output_usd),
        ("reasoning", tokens["reasoning_tokens"], rates.output, one.reasoning_usd),
    )
    return Table("one attempt", ("kind", "tokens", "usd_per_mtok", "usd"), tuple(row for row in rows if row[1]))


def _price_notes(price: Price, day: dt.date | None, one: RequestCost, request: _Request) -> tuple[str, ...]:
    notes = [price.note] if price.note else []
    tokens = sum(request.tokens[f"{kind}_tokens"] for kind in ("input", "output", "reasoning"))
    if one.rates.above_tokens:
        notes.append(f"A prompt above {one.rates.above_tokens:,} tokens: every token of the request is in that tier.")
    if price.max_context_tokens and tokens > price.max_context_tokens:
        notes.append(f"{price.name} takes at most {price.max_context_tokens:,} tokens of context.")
    if request.tokens["cached_input_tokens"] and one.rates.cached_input == one.rates.input:
        notes.append(f"{price.name} has no price of its own for input read from a cache: it is billed in full.")
    if day and day > price.date:
        notes.append(f"Prices were read on {price.date}: a change after that day is not known.")
    if day and day < price.date and price.since is None:
        notes.append(f"The source does not say since when this price holds: on {day} it may have been another.")
    return tuple(notes)


def _retry_notes(request: _Request, *, free: bool) -> tuple[str, ...]:
    if request.answered_share == 1:
        return ()
    billed = "failed attempts are not billed" if free else "failed attempts are billed in full"
    unanswered = f"{format_share(1 - request.answered_share)} of the requests get no answer."
    return (f"{request.attempts:.4g} attempts per request on average; {billed}. {unanswered}",)
