"""A second source of API prices: the package genai-prices, an extra. Its sums are Decimal; here they become floats."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from llmdrill.errors import MissingExtraError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

    from llmdrill.catalog.records import Price

NOON: Final = dt.time(12, tzinfo=dt.UTC)  # some prices depend on the hour; the catalogue's are those at noon UTC
_BATCH: Final = {"processing": "batch"}


@dataclass(frozen=True, slots=True)
class GenaiCost:
    """What one request costs by genai-prices.

    Attributes:
        usd: All of it.
        model: As the package calls the model it found.
        provider: Whose price.
        source: Package and version.
        date: The day whose price was asked for.
    """

    usd: float
    model: str
    provider: str
    source: str
    date: dt.date


def genai_request_cost(
    model: str,
    *,
    date: dt.date,
    known: Price | None = None,
    input_tokens: float,
    output_tokens: float = 0,
    cached_input_tokens: float = 0,
    cache_write_tokens: float = 0,
    batch: bool = False,
) -> GenaiCost:
    """Return what one request costs by the data that comes with the installed genai-prices. Nothing is fetched.

    Args:
        model: A name that the package knows; ``provider:model`` chooses the provider.
        date: The day whose price is asked for.
        known: The catalogue's own price of that model, if it has one: it tells provider and name.
        input_tokens: All tokens of the prompt, cached ones included.
        output_tokens: Tokens written, reasoning included.
        cached_input_tokens: Of the prompt, read from the provider's cache.
        cache_write_tokens: Of the prompt, written to it.
        batch: Whether the request goes through the batch interface.

    Raises:
        MissingExtraError: If the package is not installed.
        UnknownNameError: If it knows no such model.
        UsageError: If it gives the model no price per token on that day, or no batch price.
    """
    package = _package()
    provider, name = _reference(model, known)
    usage = package.Usage(
        input_tokens=_number(input_tokens),
        output_tokens=_number(output_tokens),
        cache_read_tokens=_number(cached_input_tokens),
        cache_write_tokens=_number(cache_write_tokens),
    )
    moment = dt.datetime.combine(date, NOON)
    try:
        found = package.calc_price(
            usage,
            model_ref=name,
            provider_id=provider,
            genai_request_timestamp=moment,
            price_context=_BATCH if batch else None,
        )
    except LookupError:
        raise UnknownNameError("model of genai-prices", model, _names()) from None
    if found.model_price.input_mtok is None:
        raise UsageError(f"genai-prices gives '{found.model.id}' no price per token")
    if batch and not _has_batch(found.model.price_variants or (), moment):
        raise UsageError(f"genai-prices gives '{found.model.id}' no batch price on {date}")
    return GenaiCost(float(found.total_price), found.model.id, found.provider.id, source(), date)


def source() -> str:
    """Return the package's name and version: ``genai-prices 0.2.3``."""
    from importlib.metadata import version

    return f"genai-prices {version('genai-prices')}"


def _package() -> ModuleType:
    try:
        import genai_prices
    except ImportError:
        raise MissingExtraError("--prices genai", "prices") from None
    return genai_prices


def _reference(model: str, known: Price | None) -> tuple[str | None, str]:
    if known is not None:
        return known.provider, known.model_id or known.name
    provider, colon, name = model.partition(":")
    return (provider, name) if colon else (None, model)


def _number(tokens: float) -> float:
    return int(tokens) if float(tokens).is_integer() else tokens


def _has_batch(variants: Iterable[Any], moment: dt.datetime) -> bool:
    return any(
        variant.when == _BATCH and (variant.constraint is None or variant.constraint.active(moment))
        for variant in variants
    )


def _names() -> list[str]:
    from genai_prices import data

    return [model.id for provider in data.providers for model in provider.models]
