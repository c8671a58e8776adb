"""`llmdrill calc cost`: the price of API requests."""

from __future__ import annotations

import datetime as dt  # noqa: TC003 - typer resolves annotations
from typing import TYPE_CHECKING, Annotated

import typer

from llmdrill.cli.calc.answer import Answer
from llmdrill.cli.show import count_option
from llmdrill.units import format_count, format_usd

if TYPE_CHECKING:
    from llmdrill.catalog.records import Price


def cost(
    *,
    model: Annotated[str, typer.Option(help="An API model of the catalogue.")],
    input_: Annotated[str, typer.Option("--input", help="Prompt tokens of one request.")],
    output: Annotated[str, typer.Option(help="Answer tokens of one request.")] = "0",
    requests: Annotated[str, typer.Option(help="How many requests, such as 1M.")] = "1",
    cached: Annotated[str, typer.Option(help="Prompt tokens read from the provider's cache.")] = "0",
    batch: Annotated[bool, typer.Option("--batch", help="Through the batch interface.")] = False,
    date: Annotated[
        dt.datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Price of that day; default the catalogue's.")
    ] = None,
) -> Answer:
    """Price of API requests."""
    from llmdrill.catalog.load import find_price
    from llmdrill.estimate.cost import explain_api_cost
    from llmdrill.estimate.explain import Explained, figure

    price = find_price(model, date=date.date() if date else None)
    input_tokens = count_option("input", input_)
    output_tokens = count_option("output", output, zero=True)
    many = count_option("requests", requests)
    total = explain_api_cost(
        price,
        requests=many,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_input_tokens=count_option("cached", cached, zero=True),
        batch=batch,
    )
    each = Explained(
        name="usd_per_request",
        value=total.value / many,
        unit="usd",
        formula="usd_total / requests",
        filled=f"${figure(total.value)} / {figure(many)} = ${figure(total.value / many)}",
        source="Arithmetic",
    )
    return Answer(
        calculator="cost",
        lines=(
            f"{format_usd(total.value)} for {format_count(many)} requests, {format_usd(each.value)} each",
            f"{price.name}: list price known on {price.date}; source: {price.source}",
        ),
        figures=(total, each),
        inputs={
            "model": price.name,
            "provider": price.provider,
            "requests": many,
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
            "batch": batch,
            "price_date": price.date.isoformat(),
            "price_since": price.since.isoformat() if price.since else None,
            "price_source": price.source,
        },
        notes=_price_notes(price, input_tokens + output_tokens),
    )


def _price_notes(price: Price, tokens: float) -> tuple[str, ...]:
    longest = price.max_context_tokens
    return (f"{price.name} takes at most {longest:,} tokens of context",) if longest and tokens > longest else ()
