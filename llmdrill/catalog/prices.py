"""The price file: one record per model, in it one dated entry per price."""

from __future__ import annotations

import datetime as dt  # noqa: TC003 - the reader resolves annotations
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmdrill.catalog.price import Price, PriceTier, TokenRates
from llmdrill.catalog.reader import read_records

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Batch:
    """Prices under the provider's batch interface, in USD per million tokens, and from when the source knows them."""

    input: float
    output: float | None = None
    cached_input: float | None = None
    cache_write: float | None = None
    since: dt.date | None = None


@dataclass(frozen=True, slots=True)
class Tier:
    """Prices of every token of a request whose prompt is longer than ``above_tokens``."""

    above_tokens: int
    input: float
    output: float | None = None
    cached_input: float | None = None
    cache_write: float | None = None
    batch: Batch | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """Prices from a day on (None: the source does not say since when), in USD per million tokens."""

    input: float
    output: float | None = None
    cached_input: float | None = None
    cache_write: float | None = None
    batch: Batch | None = None
    tiers: tuple[Tier, ...] = ()
    since: dt.date | None = None


@dataclass(frozen=True, slots=True)
class ModelPrices:
    """All prices of one API model that the source gives."""

    name: str
    provider: str
    max_context_tokens: int | None
    entries: tuple[Entry, ...]
    source: str
    date: dt.date
    aliases: tuple[str, ...] = ()
    model_id: str = ""
    note: str = ""


def read_prices(path: Path) -> tuple[Price, ...]:
    """Read the price file.

    Raises:
        ContentError: At the first mistake, with its place.
    """
    return tuple(_price(model, entry) for model in read_records(path, ModelPrices) for entry in model.entries)


def _price(model: ModelPrices, entry: Entry) -> Price:
    batch = entry.batch
    return Price(
        name=model.name,
        provider=model.provider,
        input_usd_per_mtok=entry.input,
        output_usd_per_mtok=entry.output,
        cached_input_usd_per_mtok=entry.cached_input,
        cache_write_usd_per_mtok=entry.cache_write,
        batch_input_usd_per_mtok=batch.input if batch else None,
        batch_output_usd_per_mtok=batch.output if batch else None,
        batch_cached_input_usd_per_mtok=batch.cached_input if batch else None,
        batch_cache_write_usd_per_mtok=batch.cache_write if batch else None,
        batch_since=batch.since if batch else None,
        since=entry.since,
        max_context_tokens=model.max_context_tokens,
        source=model.source,
        date=model.date,
        aliases=model.aliases,
        tiers=tuple(sorted(map(_tier, entry.tiers), key=lambda tier: tier.above_tokens)),
        model_id=model.model_id,
        note=model.note,
    )


def _tier(tier: Tier) -> PriceTier:
    return PriceTier(tier.above_tokens, _rates(tier), _rates(tier.batch) if tier.batch else None)


def _rates(of: Tier | Batch) -> TokenRates:
    return TokenRates(of.input, of.output, of.cached_input, of.cache_write)
