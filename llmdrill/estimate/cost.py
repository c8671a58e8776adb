"""What requests cost: API tokens, and devices rented by the hour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from llmdrill.errors import UsageError
from llmdrill.estimate.checks import NumberError, require_not_negative
from llmdrill.estimate.explain import Explained, figure

if TYPE_CHECKING:
    from llmdrill.catalog.records import Price

TOKENS_PER_MTOK: Final = 1e6
HOURS_PER_MONTH: Final = 730.0  # 365 days of 24 hours over 12 months


def api_request_usd(
    price: Price,
    *,
    input_tokens: float,
    output_tokens: float = 0,
    cached_input_tokens: float = 0,
    cache_write_tokens: float = 0,
    reasoning_tokens: float = 0,
    batch: bool = False,
) -> float:
    """Return what one request to an API model costs.

    Formula:
        ((input_tokens - cached_input_tokens - cache_write_tokens) * input price
        + cached_input_tokens * cached price + cache_write_tokens * write price
        + (output_tokens + reasoning_tokens) * output price) / 1,000,000
    Args:
        price: One dated price; a missing cached or write price means that the input price is charged.
        input_tokens: All tokens of the prompt, those read from the provider's cache included.
        output_tokens: Tokens of the answer.
        cached_input_tokens: How many of the prompt's tokens are read from the cache.
        cache_write_tokens: How many are written to it.
        reasoning_tokens: Tokens that the model thinks with and does not show: billed as output.
        batch: Whether the request goes through the batch interface.

    Returns:
        USD. Token counts may be expectations: the cost is linear in them, so the mean request gives the mean cost.

    Raises:
        NumberError: If a count is negative, or more is cached than there is.
        UsageError: If the model has no batch price, or writes no tokens and some were asked for.

    Error:
        Exact at list price, before tax, discounts, minimum charges and failed requests that are billed.
    Source:
        The price's own source and date.

    >>> from llmdrill.catalog.load import find_price
    >>> round(1_000_000 * api_request_usd(find_price("gpt-4o"), input_tokens=500, output_tokens=200), 2)
    3250.0
    """
    require_not_negative(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_input_tokens=cached_input_tokens,
        cache_write_tokens=cache_write_tokens,
        reasoning_tokens=reasoning_tokens,
    )
    plain_tokens = input_tokens - cached_input_tokens - cache_write_tokens
    if plain_tokens < 0:
        raise NumberError(f"of {input_tokens:g} input tokens, {input_tokens - plain_tokens:g} are said to be cached")
    of_input, of_output, of_cached, of_write = _rates(price, batch=batch)
    written = output_tokens + reasoning_tokens
    if written and of_output is None:
        raise UsageError(f"'{price.name}' writes no tokens (an embedding model); leave the output out")
    total = plain_tokens * of_input + cached_input_tokens * of_cached + cache_write_tokens * of_write
    return (total + written * (of_output or 0.0)) / TOKENS_PER_MTOK


def _rates(price: Price, *, batch: bool) -> tuple[float, float | None, float, float]:
    """Return the prices of plain input, output, cached input and cache writes per million tokens."""
    if not batch:
        of_input, of_output, of_cached = (
            price.input_usd_per_mtok,
            price.output_usd_per_mtok,
            price.cached_input_usd_per_mtok,
        )
    elif price.batch_input_usd_per_mtok is not None:
        of_input, of_output, of_cached = (
            price.batch_input_usd_per_mtok,
            price.batch_output_usd_per_mtok,
            price.batch_cached_input_usd_per_mtok,
        )
    else:
        raise UsageError(f"the catalogue knows no batch price of '{price.name}' on that day")
    discount = of_input / price.input_usd_per_mtok if price.input_usd_per_mtok else 1.0
    write = price.cache_write_usd_per_mtok
    return (
        of_input,
        of_output,
        of_input if of_cached is None else of_cached,
        of_input if write is None else write * discount,
    )


def api_usd_per_month(*, usd_per_request: float, requests_per_month: float) -> float:
    """Return what a month of requests costs.

    Formula:
        usd_per_request * requests_per_month
    Args:
        usd_per_request: Of the mean request.
        requests_per_month: Requests of 730 hours.

    Returns:
        USD.

    Raises:
        NumberError: If a number is negative.

    Error:
        Exact in the mean.
    Source:
        Arithmetic.

    >>> api_usd_per_month(usd_per_request=0.00325, requests_per_month=1_000_000)
    3250.0
    """
    require_not_negative(usd_per_request=usd_per_request, requests_per_month=requests_per_month)
    return usd_per_request * requests_per_month


def rental_usd_per_month(*, usd_per_hour: float, devices: float = 1) -> float:
    """Return what devices cost that are rented around the clock.

    Formula:
        usd_per_hour * devices * 730
    Args:
        usd_per_hour: Of one device.
        devices: How many, all replicas together.

    Returns:
        USD per month of 730 hours.

    Raises:
        NumberError: If a number is negative.

    Error:
        Exact for rent; storage, network, idle spares and people are not counted.
    Source:
        Arithmetic: 365 days * 24 hours / 12 months.

    >>> rental_usd_per_month(usd_per_hour=2.69)
    1963.7
    """
    require_not_negative(usd_per_hour=usd_per_hour, devices=devices)
    return round(usd_per_hour * devices * HOURS_PER_MONTH, 10)


def explain_api_cost(
    price: Price,
    *,
    requests: float,
    input_tokens: float,
    output_tokens: float = 0,
    cached_input_tokens: float = 0,
    batch: bool = False,
) -> Explained:
    """Return the cost of ``requests`` equal requests with the formula and the numbers put in."""
    one = api_request_usd(
        price,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_input_tokens=cached_input_tokens,
        batch=batch,
    )
    of_input, of_output, of_cached, _ = _rates(price, batch=batch)
    parts = [("input_tokens", input_tokens - cached_input_tokens, of_input)]
    parts += [("cached_input_tokens", cached_input_tokens, of_cached)] if cached_input_tokens else []
    parts += [("output_tokens", output_tokens, of_output)] if of_output is not None else []
    filled = " + ".join(f"{figure(tokens)} × {figure(rate)}" for _, tokens, rate in parts)
    return Explained(
        name="usd_total",
        value=requests * one,
        unit="usd",
        formula=f"requests × ({' + '.join(f'{name} × price' for name, _, _ in parts)}) / 1,000,000",
        filled=f"{figure(requests)} × ({filled}) / 1,000,000 = ${figure(round(requests * one, 10))}",
        source=f"{price.source}; price {_since(price)}known on {price.date}",
    )


def _since(price: Price) -> str:
    return f"in force since {price.since}, " if price.since else ""
