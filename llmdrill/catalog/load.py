"""Find a model, an accelerator, a price or a measured latency by name. Each file is read when first asked for."""

from __future__ import annotations

import datetime as dt
import functools
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from llmdrill.catalog.reader import read_records
from llmdrill.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    from llmdrill.catalog.architecture import ModelRecord
    from llmdrill.catalog.records import Accelerator, ApiLatency, Price, ServingConstants

FOLDER: Final = Path(__file__).parent


class _Aliased(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def aliases(self) -> tuple[str, ...]: ...


_T = TypeVar("_T", bound=_Aliased)


@functools.cache
def load_models() -> tuple[ModelRecord, ...]:
    """Return the open models of the catalogue."""
    from llmdrill.catalog.architecture import ModelRecord

    return read_records(FOLDER / "models.yaml", ModelRecord)


@functools.cache
def load_accelerators() -> tuple[Accelerator, ...]:
    """Return the accelerators of the catalogue."""
    from llmdrill.catalog.records import Accelerator

    return read_records(FOLDER / "accelerators.yaml", Accelerator)


@functools.cache
def load_prices() -> tuple[Price, ...]:
    """Return every dated price of the catalogue."""
    from llmdrill.catalog.prices import read_prices

    return read_prices(FOLDER / "prices.yaml")


@functools.cache
def load_api_latency() -> tuple[ApiLatency, ...]:
    """Return the measured API latencies of the catalogue."""
    from llmdrill.catalog.records import ApiLatency

    return read_records(FOLDER / "api_latency.yaml", ApiLatency)


@functools.cache
def load_serving() -> tuple[ServingConstants, ...]:
    """Return the serving model's constants, one record per engine."""
    from llmdrill.catalog.records import ServingConstants

    return read_records(FOLDER / "serving.yaml", ServingConstants)


def find_model(name: str) -> ModelRecord:
    """Return the open model called ``name``; case, ``_`` and a leading organisation do not matter.

    Raises:
        UnknownNameError: With the nearest names.

    >>> find_model("meta-llama/Llama-3.1-8B").parameters
    8030261248
    """
    return _find(load_models(), name, "model")


def find_accelerator(name: str) -> Accelerator:
    """Return the accelerator called ``name``, or by another of its names.

    Raises:
        UnknownNameError: With the nearest names.

    >>> find_accelerator("h100").name == find_accelerator("H100-80GB").name == "h100-sxm-80gb"
    True
    """
    return _find(load_accelerators(), name, "accelerator")


def find_serving(name: str) -> ServingConstants:
    """Return the constants of the serving engine called ``name``.

    Raises:
        UnknownNameError: With the nearest names.
    """
    return _find(load_serving(), name, "serving engine")


def find_api_latency(name: str) -> ApiLatency:
    """Return the measured latency of the API model called ``name``.

    Raises:
        UnknownNameError: If nobody's measurement of it was read: ask the person for figures then.
    """
    return _find(load_api_latency(), name, "measured API latency")


def catalogue_date() -> dt.date:
    """Return the day the catalogue's prices are known to hold on. The wall clock plays no part."""
    return max(price.date for price in load_prices())


def find_price(name: str, *, date: dt.date | None = None) -> Price:
    """Return the price of an API model on a day.

    Args:
        name: Such as ``gpt-4o-mini``; ``provider/model`` and ``provider:model`` also work.
        date: The day; default the catalogue's own date, never today's.

    Raises:
        UnknownNameError: With the nearest names.
        UsageError: If the catalogue's first price of the model is of a later day.

    >>> find_price("gpt-4o-mini").input_usd_per_mtok
    0.15
    """
    history = _matching(load_prices(), name, "API model")
    day = date or catalogue_date()
    in_force = [price for price in history if price.since is None or price.since <= day]
    if not in_force:
        first = min(price.since for price in history if price.since is not None)
        raise UsageError(f"the catalogue knows no price of '{history[0].name}' before {first}")
    price = max(in_force, key=lambda price: price.since or dt.date.min)
    return price if price.batch_since is None or price.batch_since <= day else _without_batch(price)


def read_config(path: Path) -> ModelRecord:
    """Return the architecture that a Hugging Face ``config.json`` describes; see ``llmdrill.catalog.hf_config``."""
    from llmdrill.catalog import hf_config

    return hf_config.read_config(path)


def _without_batch(price: Price) -> Price:
    return replace(
        price,
        batch_input_usd_per_mtok=None,
        batch_output_usd_per_mtok=None,
        batch_cached_input_usd_per_mtok=None,
        batch_since=None,
    )


def _find(records: tuple[_T, ...], name: str, kind: str) -> _T:
    return _matching(records, name, kind)[0]


def _matching(records: tuple[_T, ...], name: str, kind: str) -> list[_T]:
    wanted = _canonical(name)
    found = [record for record in records if wanted in map(_canonical, (record.name, *record.aliases))]
    if not found:
        raise UnknownNameError(kind, name, [known for record in records for known in (record.name, *record.aliases)])
    return found


def _canonical(name: str) -> str:
    return re.sub(r"[_\s]+", "-", re.split(r"[/:]", name.strip())[-1].lower())
