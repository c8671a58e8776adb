"""Find a model, an accelerator, a price or a measured latency by name. Each file is read when first asked for."""

from __future__ import annotations

import datetime as dt
import functools
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from llmdrill.catalog.index import named_provider, open_table
from llmdrill.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    from llmdrill.catalog.architecture import ModelRecord
    from llmdrill.catalog.index import Named, Table
    from llmdrill.catalog.records import Accelerator, ApiLatency, Price, ServingConstants

FOLDER: Final = Path(__file__).parent
LOCAL: Final = "local"


_T = TypeVar("_T", bound="Named")


@functools.cache
def load_models() -> tuple[ModelRecord, ...]:
    """Return the open models of the catalogue."""
    return _models().records()


@functools.cache
def load_accelerators() -> tuple[Accelerator, ...]:
    """Return the accelerators of the catalogue."""
    return _accelerators().records()


@functools.cache
def load_prices() -> tuple[Price, ...]:
    """Return every dated price of the catalogue."""
    return _prices().records()


@functools.cache
def load_api_latency() -> tuple[ApiLatency, ...]:
    """Return the measured API latencies of the catalogue."""
    return _api_latency().records()


@functools.cache
def load_serving() -> tuple[ServingConstants, ...]:
    """Return the serving model's constants, one record per engine."""
    return _serving().records()


def find_model(name: str) -> ModelRecord:
    """Return the open model called ``name``; case, ``_`` and a leading organisation do not matter.

    Raises:
        UnknownNameError: With the nearest names.

    >>> find_model("meta-llama/Llama-3.1-8B").parameters
    8030261248
    """
    return _matching(_models(), name, "model")[0]


def find_accelerator(name: str) -> Accelerator:
    """Return the accelerator called ``name``, or by another of its names; ``local`` is this machine.

    Raises:
        UnknownNameError: With the nearest names.
        UsageError: If it is this machine, and nobody calibrated it.

    >>> find_accelerator("h100").name == find_accelerator("H100-80GB").name == "h100-sxm-80gb"
    True
    """
    if name.strip().lower() == LOCAL:
        from llmdrill.catalog.local import local_accelerator

        return local_accelerator()
    return _matching(_accelerators(), name, "accelerator")[0]


def find_serving(name: str) -> ServingConstants:
    """Return the constants of the serving engine called ``name``.

    Raises:
        UnknownNameError: With the nearest names.
    """
    return _matching(_serving(), name, "serving engine")[0]


def constants_of(accelerator: Accelerator, engine: str) -> ServingConstants:
    """Return the serving model's constants on a device: of the engine called ``engine``, or of this machine's profile.

    Raises:
        UnknownNameError: With the nearest names.
        UsageError: If an engine is named for this machine, which runs the lab's own.
    """
    if accelerator.name != LOCAL:
        return find_serving(engine)
    from llmdrill.catalog.local import LocalAccelerator

    if engine not in {"default", LOCAL} or not isinstance(accelerator, LocalAccelerator):
        raise UsageError(f"'{LOCAL}' is measured with the lab's own engines: leave out the engine '{engine}'")
    return accelerator.constants


def find_api_latency(name: str) -> ApiLatency:
    """Return the measured latency of the API model called ``name``.

    Raises:
        UnknownNameError: If nobody's measurement of it was read: ask the person for figures then.
    """
    return _matching(_api_latency(), name, "measured API latency")[0]


def catalogue_date() -> dt.date:
    """Return the day the catalogue's prices are known to hold on. The wall clock plays no part."""
    newest = _prices().newest
    if newest is None:
        raise UsageError("the catalogue holds no price")
    return newest


def find_price(name: str, *, date: dt.date | None = None) -> Price:
    """Return the price of an API model on a day.

    Args:
        name: Such as ``gpt-4o-mini``; ``provider/model`` and ``provider:model`` also work, for the provider whose price
            the catalogue holds: others sell the same model dearer.
        date: The day; default the catalogue's own date, never today's.

    Raises:
        UnknownNameError: With the nearest names.
        UsageError: If another provider is named, or the catalogue's first price of the model is of a later day.

    >>> find_price("gpt-4o-mini").input_usd_per_mtok
    0.15
    """
    history = _matching(_prices(), name, "API model")
    provider = named_provider(name)
    if provider and provider != history[0].provider.replace("-", ""):
        raise UsageError(f"the catalogue's price of '{history[0].name}' is {history[0].provider}'s, not {provider}'s")
    day = date or catalogue_date()
    in_force = [price for price in history if price.since is None or price.since <= day]
    if not in_force:
        first = min(price.since for price in history if price.since is not None)
        raise UsageError(f"the catalogue knows no price of '{history[0].name}' before {first}")
    price = max(in_force, key=lambda price: price.since or dt.date.min)
    return price if price.batch_since is None or price.batch_since <= day else _without_batch(price)


def read_config(path: Path) -> ModelRecord:
    """Return the architecture that a Hugging Face ``config.json`` describes; see ``hugging_face.config``."""
    from llmdrill.catalog.hugging_face import config

    return config.read_config(path)


def _without_batch(price: Price) -> Price:
    return replace(
        price,
        batch_input_usd_per_mtok=None,
        batch_output_usd_per_mtok=None,
        batch_cached_input_usd_per_mtok=None,
        batch_cache_write_usd_per_mtok=None,
        batch_since=None,
    )


def _matching(table: Table[_T], name: str, kind: str) -> tuple[_T, ...]:
    found = table.matching(name)
    if not found:
        raise UnknownNameError(kind, name, table.known)
    return found


# --- the files ----------------------------------------------------------------------------------------------------


def catalogue_files() -> dict[Path, type[Any]]:
    """Return every file of the catalogue, and what it holds records of."""
    from llmdrill.catalog import records

    return {
        FOLDER / "models.yaml": records.ModelRecord,
        FOLDER / "accelerators.yaml": records.Accelerator,
        FOLDER / "prices.yaml": records.Price,
        FOLDER / "api_latency.yaml": records.ApiLatency,
        FOLDER / "serving.yaml": records.ServingConstants,
    }


def read_file(path: Path, kind: type[_T]) -> tuple[_T, ...]:
    """Read the YAML of a catalogue file, whatever its index says.

    Raises:
        ContentError: At the first mistake, with its place.
    """
    if path.name == "prices.yaml":
        from llmdrill.catalog.prices import read_prices

        return cast("tuple[_T, ...]", read_prices(path))
    from llmdrill.catalog.reader import read_records

    return read_records(path, kind)


@functools.cache
def _table(path: Path, kind: type[_T]) -> Table[_T]:
    return open_table(path, kind, read_file)


def _models() -> Table[ModelRecord]:
    from llmdrill.catalog.architecture import ModelRecord

    return _table(FOLDER / "models.yaml", ModelRecord)


def _accelerators() -> Table[Accelerator]:
    from llmdrill.catalog.accelerator import Accelerator

    return _table(FOLDER / "accelerators.yaml", Accelerator)


def _prices() -> Table[Price]:
    from llmdrill.catalog.price import Price

    return _table(FOLDER / "prices.yaml", Price)


def _api_latency() -> Table[ApiLatency]:
    from llmdrill.catalog.api_latency import ApiLatency

    return _table(FOLDER / "api_latency.yaml", ApiLatency)


def _serving() -> Table[ServingConstants]:
    from llmdrill.catalog.serving_constants import ServingConstants

    return _table(FOLDER / "serving.yaml", ServingConstants)
