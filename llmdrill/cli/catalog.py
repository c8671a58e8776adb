"""`llmdrill catalog models|accelerators|prices|latency`: the facts behind every estimate, with source and date."""

from __future__ import annotations

import dataclasses
import datetime as dt
import sys
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from llmdrill.cli import options  # noqa: TC001 - typer reads the annotations
from llmdrill.cli.show import emit_json
from llmdrill.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdrill.catalog.index import Named
    from llmdrill.report.blocks import Blocks

    _T = TypeVar("_T", bound=Named)

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="The facts behind the estimates: models, accelerators and prices, each with source and date.",
)

Name = Annotated[str | None, typer.Argument(help="One entry in full; or part of a name: those that hold it.")]
Day = Annotated[
    dt.datetime | None,
    typer.Option("--date", formats=["%Y-%m-%d"], help="Prices of that day; default the catalogue's."),
]


@app.command()
def models(
    name: Name = None, format_: options.Format = "text", json_: options.Json = False, plain: options.Plain = False
) -> None:
    """List the open models, or show one."""
    from llmdrill.catalog.load import load_models
    from llmdrill.report.catalog_view import model_view, models_view

    chosen = _chosen(load_models(), name, "model")
    view = model_view(chosen[0]) if _is_one(chosen, name) else models_view(chosen)
    _show("models", chosen, view, format_, json=json_, plain=plain)


@app.command()
def accelerators(
    name: Name = None, format_: options.Format = "text", json_: options.Json = False, plain: options.Plain = False
) -> None:
    """List the accelerators, or show one with its rents."""
    from llmdrill.catalog.load import load_accelerators
    from llmdrill.report.catalog_view import accelerator_view, accelerators_view

    chosen = _chosen(load_accelerators(), name, "accelerator")
    view = accelerator_view(chosen[0]) if _is_one(chosen, name) else accelerators_view(chosen)
    _show("accelerators", chosen, view, format_, json=json_, plain=plain)


@app.command()
def prices(
    name: Name = None,
    date: Day = None,
    format_: options.Format = "text",
    json_: options.Json = False,
    plain: options.Plain = False,
) -> None:
    """List the API prices in force, or show every dated price of one model."""
    from llmdrill.catalog.load import find_price, load_prices
    from llmdrill.report.catalog_view import price_view, prices_view

    day = date.date() if date else None
    dated = _chosen(load_prices(), name, "API model")
    names = tuple(dict.fromkeys(price.name for price in dated))
    if _is_one(names, name):
        view = price_view(dated, find_price(names[0], date=day))
        _show("prices", dated, view, format_, json=json_, plain=plain)
        return
    in_force = [price for one in names if (price := _in_force(one, day))]
    _show("prices", in_force, prices_view(in_force), format_, json=json_, plain=plain)


@app.command()
def latency(
    name: Name = None, format_: options.Format = "text", json_: options.Json = False, plain: options.Plain = False
) -> None:
    """List the API latencies that somebody measured."""
    from llmdrill.catalog.load import load_api_latency
    from llmdrill.report.catalog_view import latency_view

    chosen = _chosen(load_api_latency(), name, "measured API latency")
    _show("latency", chosen, latency_view(chosen), format_, json=json_, plain=plain)


def _chosen(records: Sequence[_T], name: str | None, kind: str) -> Sequence[_T]:
    """Return the records called ``name``; if there is none, those whose name holds it; all without a name.

    Raises:
        UnknownNameError: If there is neither.
    """
    from llmdrill.catalog.index import canonical

    if name is None:
        return records
    wanted = canonical(name)
    called = [one for one in records if wanted in map(canonical, (one.name, *one.aliases))]
    found = called or [one for one in records if any(wanted in canonical(known) for known in (one.name, *one.aliases))]
    if not found or not wanted:
        raise UnknownNameError(kind, name, [known for one in records for known in (one.name, *one.aliases)])
    return found


def _is_one(chosen: Sequence[Any], name: str | None) -> bool:
    return name is not None and len(chosen) == 1


def _in_force(name: str, day: dt.date | None) -> Any:  # noqa: ANN401 - a Price, or None
    from llmdrill.catalog.load import find_price

    try:
        return find_price(name, date=day)
    except UsageError:
        return None  # its first known price is of a later day


def _show(  # one way of writing for all four
    kind: str, records: Sequence[Any], view: Blocks, format_: options.Format, *, json: bool, plain: bool
) -> None:
    if json or format_ == "json":
        emit_json({"schema": f"llmdrill/catalog-{kind}@1", kind: [_plain(record) for record in records]})
    elif format_ == "markdown":
        from llmdrill.report.markdown import to_markdown

        sys.stdout.write(to_markdown(view))
    else:
        from llmdrill.report.terminal import Terminal

        Terminal(sys.stdout, plain=True if plain else None).write(view)


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever a record holds
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, dt.date) else value
