"""`llmdrill calc selfhost`: what serving on rented accelerators costs, and when it beats an API."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from llmdrill.cli.calc.answer import Answer, Span
from llmdrill.cli.calc.options import Config, Model, On, quantity, required_model, share, whole
from llmdrill.errors import UsageError
from llmdrill.units import format_count, format_quantity, format_share, format_usd

if TYPE_CHECKING:
    from llmdrill.catalog.records import Accelerator
    from llmdrill.estimate.explain import Explained
    from llmdrill.estimate.selfhost import BreakEven
    from llmdrill.estimate.serving import ServingEstimate

_UsdPerHour = Annotated[
    str | None, typer.Option(help="Rent of one accelerator; default the catalogue's newest and cheapest.")
]
_TokensPerS = Annotated[
    str | None, typer.Option(help="Output tokens a second of one full replica, if you measured it.")
]
_Batch = Annotated[str | None, typer.Option(help="Requests in flight on a full replica: predicts its rate.")]
_PerMonth = Annotated[str | None, typer.Option(help="Requests a month: gives replicas and usd_per_month.")]
_Utilisation = Annotated[str | None, typer.Option(help="Share of full load carried on average: 0.5, 50%; assumed 50%.")]
_Day = Annotated[
    dt.datetime | None, typer.Option(formats=["%Y-%m-%d"], help="API price of that day; default the catalogue's.")
]


_ASSUMED_UTILISATION: Final = 0.5  # nights, weekends and spare replicas counted


@dataclass(frozen=True, slots=True)
class _Rate:
    """How many requests a replica finishes a second at full load, and how that is known.

    Attributes:
        low_per_s: Where every time is at the upper end of its 80 % band; None for a figure of the person's own.
    """

    per_s: float
    filled: str
    source: str
    low_per_s: float | None = None
    high_per_s: float | None = None
    inputs: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Rent:
    """What one device costs an hour, and who says so."""

    usd_per_hour: float
    source: str


def selfhost(
    *,
    on: On = None,
    tp: Annotated[str, typer.Option(help="Accelerators of one replica.")] = "1",
    usd_per_hour: _UsdPerHour = None,
    input_: Annotated[str, typer.Option("--input", help="Prompt tokens of one request.")] = "",
    output: Annotated[str, typer.Option(help="Answer tokens of one request.")] = "",
    tokens_per_s: _TokensPerS = None,
    model: Model = None,
    config: Config = None,
    batch: _Batch = None,
    precision: Annotated[str, typer.Option(help="Of the weights: bf16, fp8, int4 …")] = "bf16",
    engine: Annotated[str, typer.Option(help="Serving engine, as the catalogue names it.")] = "default",
    utilisation: _Utilisation = None,
    per_month: _PerMonth = None,
    against: Annotated[str | None, typer.Option(help="An API model of the catalogue: gives the break-even.")] = None,
    date: _Day = None,
) -> Answer:
    """Cost on rented accelerators, and the break-even against an API."""
    tokens = _tokens("input", input_), _tokens("output", output)
    devices = whole("tp", tp)
    carried = _ASSUMED_UTILISATION if utilisation is None else share("utilisation", utilisation, zero=False)
    rent = _rent(on, usd_per_hour)
    asked = (model, config, batch, precision, engine)
    if tokens_per_s is None:
        rate = _predicted(required_model(model, config), on, tokens, batch, devices, precision, engine)
    else:
        rate = _stated(tokens_per_s, tokens[1], alone=asked == (None, None, None, "bf16", "default"))
    costs = _costs(rent, rate, tokens, devices, carried)
    spans = _spans(costs[1].value, rate)
    fleet = _fleet(rent, rate, devices, carried, per_month)
    versus = _versus(against, date.date() if date else None, tokens, rent, rate, devices, carried)
    return Answer(
        calculator="selfhost",
        lines=(_line(costs, rent, devices, carried), *_band_line(spans), *fleet.lines, *versus.lines),
        figures=(*costs, *fleet.figures, *versus.figures),
        spans=spans,
        unknown=(*fleet.unknown, *versus.unknown),
        inputs={
            "accelerator": on,
            "devices_per_replica": devices,
            "usd_per_hour": rent.usd_per_hour,
            "rent_source": rent.source,
            "utilisation_share": carried,
            "input_tokens": tokens[0],
            "output_tokens": tokens[1],
            **rate.inputs,
            **versus.inputs,
        },
        notes=(f"Rent: {rent.source}.", *_assumed(utilisation), *rate.notes, *versus.notes),
    )


def _assumed(utilisation: str | None) -> tuple[str, ...]:
    if utilisation is not None:
        return ()
    return (f"assumed: {format_share(_ASSUMED_UTILISATION)} utilisation; the cost goes with one over it",)


def _tokens(name: str, text: str) -> float:
    if not text:
        raise UsageError(f"--{name} is missing: tokens of one request, such as 500")
    return quantity(name, text, "count")


def _rent(on: str | None, usd_per_hour: str | None) -> _Rent:
    if usd_per_hour is not None:
        return _Rent(quantity("usd-per-hour", usd_per_hour, "usd"), "your figure")
    if on is None:
        raise UsageError("what does a device cost? give --on ACCELERATOR or --usd-per-hour")
    from llmdrill.catalog.load import find_accelerator

    accelerator = find_accelerator(on)
    rental = accelerator.rental
    if rental is None:
        raise UsageError(f"the catalogue knows no rent of '{accelerator.name}': give --usd-per-hour")
    return _Rent(rental.usd_per_hour, f"{rental.provider}, {rental.source}, {rental.date}")


def _stated(tokens_per_s: str, output_tokens: float, *, alone: bool) -> _Rate:
    from llmdrill.estimate.explain import figure

    if not alone:
        predicted = "--model with --batch, --precision and --engine (predicted)"
        raise UsageError(f"give --tokens-per-s (measured), or {predicted}: one of the two")
    written = quantity("tokens-per-s", tokens_per_s, "per_second")
    filled = f"{figure(written)} / {figure(output_tokens)}"
    return _Rate(written / output_tokens, filled, "your figure", inputs={"throughput": "stated"})


def _predicted(
    record: Any,  # noqa: ANN401 - a ModelRecord
    on: str | None,
    tokens: tuple[float, float],
    batch: str | None,
    devices: int,
    precision: str,
    engine: str,
) -> _Rate:
    if on is None or batch is None:
        raise UsageError("to predict the throughput give --on and --batch; or give --tokens-per-s")
    from llmdrill.catalog.load import find_accelerator
    from llmdrill.estimate.serving import serving_estimate

    accelerator: Accelerator = find_accelerator(on)
    together = quantity("batch", batch, "count")
    found = serving_estimate(
        record,
        accelerator,
        batch=together,
        input_tokens=tokens[0],
        output_tokens=tokens[1],
        tensor_parallel=devices,
        precision=precision,
        engine=engine,
    )
    if not found.fits:
        most = f"at most {found.max_sequences} fit" if found.max_sequences else "not even its weights fit"
        where = f"{devices} x {accelerator.name}"
        raise UsageError(
            f"{where} cannot hold {batch} such requests of '{record.name}' in {precision}: {most}; raise --tp"
        )
    asked = {"model": record.name, "batch": together, "precision": precision, "engine": engine}
    return _of_estimate(found, together, tokens[1], asked)


def _of_estimate(found: ServingEstimate, together: float, output_tokens: float, asked: dict[str, Any]) -> _Rate:
    """Return the rate of a replica with ``together`` requests in flight, and where both times' bands put it."""
    from llmdrill.estimate.selfhost import replica_requests_per_s

    ttft, tpot = found.ttft_s, found.tpot_s
    middle, low, high = (
        replica_requests_per_s(concurrency=together, ttft_s=first, tpot_s=further, output_tokens=output_tokens)
        for first, further in ((ttft.value_s, tpot.value_s), (ttft.high_s, tpot.high_s), (ttft.low_s, tpot.low_s))
    )
    return _Rate(
        middle,
        f"{together:.6g} / ({ttft.value_s:.6g} + {output_tokens - 1:.6g} × {tpot.value_s:.6g})",
        found.formulas[0].source,
        low_per_s=low,
        high_per_s=high,
        inputs={"throughput": "predicted", **asked, "ttft_s": ttft.value_s, "tpot_s": tpot.value_s},
        notes=(
            "The throughput is predicted: the band is that of both times at the ends of their 80 % bands.",
            *_queue_note(found, together),
        ),
    )


def _queue_note(found: ServingEstimate, together: float) -> tuple[str, ...]:
    if not found.queues:
        return ()
    return (f"{together:g} requests are in flight, but the memory holds {found.resident:.3g}: the others queue.",)


def _costs(
    rent: _Rent, rate: _Rate, tokens: tuple[float, float], devices: int, carried: float
) -> tuple[Explained, ...]:
    from llmdrill.estimate.explain import Explained, figure
    from llmdrill.estimate.selfhost import selfhost_usd_per_mtok, selfhost_usd_per_request

    hour = {"usd_per_hour": rent.usd_per_hour, "devices": devices, "utilisation": carried}
    shown = f"{figure(rent.usd_per_hour)} × {devices} / (3,600 × "
    each = selfhost_usd_per_request(requests_per_s=rate.per_s, **hour)
    found = [
        Explained(
            "requests_per_s",
            rate.per_s,
            "per_second",
            "requests in flight / seconds of one, or output tokens per second / output tokens",
            f"{rate.filled} = {rate.per_s:.6g}/s",
            rate.source,
        ),
        Explained(
            "usd_per_request",
            each,
            "usd",
            "rent per hour × devices / (3,600 × requests per second × utilisation)",
            f"{shown}{rate.per_s:.6g} × {carried:g}) = ${each:.6g}",
            rent.source,
        ),
    ]
    for name, count in (("usd_per_mtok_output", tokens[1]), ("usd_per_mtok_total", sum(tokens))):
        value = selfhost_usd_per_mtok(tokens_per_s=rate.per_s * count, **hour)
        filled = f"1,000,000 × {shown}{rate.per_s * count:.6g} × {carried:g}) = ${value:.6g}"
        formula = "1,000,000 × rent per hour × devices / (3,600 × tokens per second × utilisation)"
        found.append(Explained(name, value, "usd", formula, filled, rent.source))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Part:
    """What one question adds to the answer."""

    figures: tuple[Explained, ...] = ()
    lines: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    inputs: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def _fleet(rent: _Rent, rate: _Rate, devices: int, carried: float, per_month: str | None) -> _Part:
    """Return replicas and rent of a month's volume."""
    from llmdrill.estimate.explain import Explained
    from llmdrill.estimate.selfhost import rental_usd_per_month, replicas_for

    if per_month is None:
        return _Part(unknown=("replicas", "usd_per_month"))
    volume = quantity("per-month", per_month, "count")
    count = replicas_for(requests_per_month=volume, requests_per_s=rate.per_s, utilisation=carried)
    month = rental_usd_per_month(usd_per_hour=rent.usd_per_hour, devices=count * devices)
    return _Part(
        figures=(
            Explained(
                "replicas",
                count,
                "count",
                "ceil(requests per month / (requests per second × utilisation × 3,600 × 730)), at least 1",
                f"ceil({volume:,.10g} / ({rate.per_s:.6g} × {carried:g} × 3,600 × 730)) = {count}",
                "Arithmetic",
            ),
            Explained(
                "usd_per_month",
                month,
                "usd",
                "rent per hour × devices × replicas × 730",
                f"{rent.usd_per_hour:g} × {devices} × {count} × 730 = ${month:,.10g}",
                rent.source,
            ),
        ),
        lines=(
            f"{format_count(volume)} requests a month: {count} replica{'s'[: count - 1]}, {format_usd(month)} a month",
        ),
        inputs={"requests_per_month": volume},
    )


def _versus(
    against: str | None,
    day: dt.date | None,
    tokens: tuple[float, float],
    rent: _Rent,
    rate: _Rate,
    devices: int,
    carried: float,
) -> _Part:
    """Return the break-even against an API model."""
    names = ("api_usd_per_request", "break_even_requests_per_month", "always_cheaper_requests_per_month")
    if against is None:
        if day is not None:
            raise UsageError("--date is the day of the API's price: it needs --against")
        return _Part(unknown=names)
    from llmdrill.catalog.load import find_price
    from llmdrill.estimate.cost import explain_api_cost
    from llmdrill.estimate.explain import Explained
    from llmdrill.estimate.selfhost import break_even

    price = find_price(against, date=day)
    if price.is_free:
        raise UsageError(f"'{price.name}' is free of charge: nothing breaks even against it")
    request = explain_api_cost(price, requests=1, input_tokens=tokens[0], output_tokens=tokens[1])
    api = request.value
    found = break_even(
        api_usd_per_request=api,
        usd_per_hour=rent.usd_per_hour,
        devices=devices,
        requests_per_s=rate.per_s,
        utilisation=carried,
    )
    month = f"{rent.usd_per_hour:g} × {devices} × 730"
    figures = [replace(request, name=names[0])]
    formula = "replicas × rent of a month / API price of a request"
    for name, value, count in (
        (names[1], found.first_requests_per_month, found.first_replicas),
        (names[2], found.always_requests_per_month, found.always_replicas),
    ):
        if value is not None:
            filled = f"{count} × {month} / ${api:.6g} = {value:,.6g}"
            figures.append(Explained(name, value, "count", formula, filled, "Arithmetic"))
    given = {one.name for one in figures}
    return _Part(
        figures=tuple(figures),
        lines=(_verdict(found, price.name, api),),
        unknown=tuple(name for name in names if name not in given),
        inputs={"against": price.name, "price_date": price.date.isoformat(), "price_source": price.source},
        notes=("Rent counts the devices alone: storage, network and people come on top.",),
    )


def _verdict(found: BreakEven, name: str, api: float) -> str:
    full = format_usd(found.full_usd_per_request)
    if found.first_requests_per_month is None:
        own = f"so used, a replica costs {full} a request"
        return f"{name} at {format_usd(api)} a request is cheaper at any volume: {own}"
    first = (
        f"cheaper than {name} ({format_usd(api)}) from {format_count(found.first_requests_per_month)} requests a month"
    )
    if found.always_requests_per_month is None:
        return f"{first} while its replicas are full; each further one makes it dearer again"
    if found.always_replicas == 1:
        return f"{first} on"
    always = format_count(found.always_requests_per_month)
    return f"{first} on one replica, and from {always} on {found.always_replicas} at every volume above"


def _line(costs: tuple[Explained, ...], rent: _Rent, devices: int, carried: float) -> str:
    value = {one.name: one.value for one in costs}
    output, total = (format_usd(value[f"usd_per_mtok_{kind}"]) for kind in ("output", "total"))
    load = f"{format_share(carried)} of {format_quantity(value['requests_per_s'], 'per_second')}"
    return (
        f"{format_usd(value['usd_per_request'])} a request, "
        f"{output} per million output tokens ({total} of all tokens), "
        f"at {load} on {devices} x {format_usd(rent.usd_per_hour)} an hour"
    )


def _band_line(spans: dict[str, Span]) -> tuple[str, ...]:
    if not spans:
        return ()
    each = spans["usd_per_request"]
    return (f"80 % band: {format_usd(each.low)} to {format_usd(each.high)} a request",)


def _spans(usd_per_request: float, rate: _Rate) -> dict[str, Span]:
    if rate.low_per_s is None or rate.high_per_s is None:
        return {}
    return {
        "requests_per_s": Span(rate.low_per_s, rate.high_per_s),
        "usd_per_request": Span(
            usd_per_request * rate.per_s / rate.high_per_s, usd_per_request * rate.per_s / rate.low_per_s
        ),
    }
