"""What requests to an API model cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from llmdrill.errors import UsageError
from llmdrill.estimate.checks import NumberError, require_not_negative, require_share
from llmdrill.estimate.explain import Explained, figure

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from llmdrill.catalog.records import Price

    Tokens = TypeVar("Tokens", float, NDArray[Any])  # one request, or one element a request

TOKENS_PER_MTOK: Final = 1e6


@dataclass(frozen=True, slots=True)
class BilledRates:
    """What each token of one request is billed at, in USD per million: its tier's, standard or batch.

    Attributes:
        output: None for a model that writes no tokens.
        above_tokens: The prompt length above which this tier holds; 0 for the first.
    """

    input: float
    output: float | None
    cached_input: float
    cache_write: float
    above_tokens: int = 0


@dataclass(frozen=True, slots=True)
class RequestCost:
    """What one request costs, by kind of token, in USD."""

    input_usd: float
    cached_input_usd: float
    cache_write_usd: float
    output_usd: float
    reasoning_usd: float
    rates: BilledRates

    @property
    def usd(self) -> float:
        """All of it."""
        return self.input_usd + self.cached_input_usd + self.cache_write_usd + self.output_usd + self.reasoning_usd


def billed_rates(price: Price, *, prompt_tokens: float, batch: bool = False) -> BilledRates:
    """Return what each token of a request is billed at.

    Formula:
        the rates of the highest tier whose above_tokens < prompt_tokens, for every token of the request; a missing
        cached or write rate is the input rate
    Args:
        price: One dated price.
        prompt_tokens: All tokens of the prompt, cached ones included.
        batch: Whether the request goes through the batch interface.

    Returns:
        Rates in USD per million tokens.

    Raises:
        NumberError: If the count is negative.
        UsageError: If the model has no batch price.

    Error:
        Exact at list price.
    Source:
        The price's own source and date; the whole request at the tier's rate as in genai-prices (TieredPrices).

    >>> from llmdrill.catalog.load import find_price
    >>> billed_rates(find_price("gemini-2.5-pro"), prompt_tokens=200_001).input
    2.5
    """
    require_not_negative(prompt_tokens=prompt_tokens)
    rates = price.rates(prompt_tokens=prompt_tokens, batch=batch)
    if rates is None:
        raise UsageError(f"the catalogue knows no batch price of '{price.name}' on that day")
    above = max((tier.above_tokens for tier in price.tiers if prompt_tokens > tier.above_tokens), default=0)
    return BilledRates(
        input=rates.input,
        output=rates.output,
        cached_input=rates.input if rates.cached_input is None else rates.cached_input,
        cache_write=rates.input if rates.cache_write is None else rates.cache_write,
        above_tokens=above,
    )


def api_request_cost(
    price: Price,
    *,
    input_tokens: float,
    output_tokens: float = 0,
    cached_input_tokens: float = 0,
    cache_write_tokens: float = 0,
    reasoning_tokens: float = 0,
    batch: bool = False,
) -> RequestCost:
    """Return what one request to an API model costs, by kind of token.

    Formula:
        tokens of a kind * its rate / 1,000,000, where plain input is input_tokens - cached_input_tokens
        - cache_write_tokens, and reasoning is billed as output
    Args:
        price: One dated price.
        input_tokens: All tokens of the prompt, those read from the provider's cache included.
        output_tokens: Tokens of the answer.
        cached_input_tokens: How many of the prompt's tokens are read from the cache.
        cache_write_tokens: How many are written to it.
        reasoning_tokens: Tokens that the model thinks with and does not show.
        batch: Whether the request goes through the batch interface.

    Returns:
        USD, by kind.

    Raises:
        NumberError: If a count is negative, or more is cached than there is.
        UsageError: If the model has no batch price, or writes no tokens and some were asked for.

    Error:
        As of api_request_usd.
    Source:
        The price's own source and date.

    >>> from llmdrill.catalog.load import find_price
    >>> api_request_cost(find_price("claude-sonnet-4-5"), input_tokens=1000, cached_input_tokens=1000).cached_input_usd
    0.0003
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
        cached = f"{input_tokens - plain_tokens:g} are said to be cached"
        raise NumberError(f"of {input_tokens:g} input tokens, {cached}: the input counts the cached ones too")
    rates = billed_rates(price, prompt_tokens=input_tokens, batch=batch)
    if (output_tokens or reasoning_tokens) and rates.output is None:
        raise UsageError(f"'{price.name}' writes no tokens (an embedding model); leave the output out")
    written = rates.output or 0.0
    return RequestCost(
        input_usd=plain_tokens * rates.input / TOKENS_PER_MTOK,
        cached_input_usd=cached_input_tokens * rates.cached_input / TOKENS_PER_MTOK,
        cache_write_usd=cache_write_tokens * rates.cache_write / TOKENS_PER_MTOK,
        output_usd=output_tokens * written / TOKENS_PER_MTOK,
        reasoning_usd=reasoning_tokens * written / TOKENS_PER_MTOK,
        rates=rates,
    )


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
        USD. Token counts may be expectations: within one tier the cost is linear in them, so the mean request gives
        the mean cost.

    Raises:
        NumberError: If a count is negative, or more is cached than there is.
        UsageError: If the model has no batch price, or writes no tokens and some were asked for.

    Error:
        Exact at list price, before tax, discounts, minimum charges and requests that fail. The mean request hides a
        tier that only some prompts reach.
    Source:
        The price's own source and date.

    >>> from llmdrill.catalog.load import find_price
    >>> round(1_000_000 * api_request_usd(find_price("gpt-4o"), input_tokens=500, output_tokens=200), 2)
    3250.0
    """
    cost = api_request_cost(
        price,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_input_tokens=cached_input_tokens,
        cache_write_tokens=cache_write_tokens,
        reasoning_tokens=reasoning_tokens,
        batch=batch,
    )
    return _tokens_usd(
        cost.rates,
        input_tokens - cached_input_tokens - cache_write_tokens,
        output_tokens + reasoning_tokens,
        cached_input_tokens,
        cache_write_tokens,
    )


def api_usd_points(
    price: Price,
    *,
    input_tokens: NDArray[Any],
    output_tokens: NDArray[Any],
    cached_input_tokens: NDArray[Any] | None = None,
    batch: bool = False,
) -> NDArray[Any]:
    """Return what many requests cost, one element a request.

    Formula:
        api_request_usd of each element, each at its own tier
    Args:
        price: One dated price.
        input_tokens: Prompt tokens (n,), cached ones included.
        output_tokens: Tokens written (n,), reasoning included.
        cached_input_tokens: Of the prompt, read from the cache (n,); None for none.
        batch: Whether the requests go through the batch interface.

    Returns:
        USD (n,).

    Raises:
        NumberError: If a count is negative or not finite, or more is cached than there is.
        UsageError: If the model has no batch price, or writes no tokens and some were asked for.

    Error:
        As of api_request_usd.
    Source:
        The price's own source and date.

    >>> import numpy as np
    >>> from llmdrill.catalog.load import find_price
    >>> api_usd_points(find_price("gpt-4o"), input_tokens=np.array([500.0]), output_tokens=np.array([200.0])).item()
    0.00325
    """
    import numpy as np

    plain_tokens = input_tokens if cached_input_tokens is None else input_tokens - cached_input_tokens
    for counts in (plain_tokens, output_tokens, *(() if cached_input_tokens is None else (cached_input_tokens,))):
        if counts.size and not (counts.min() >= 0 and counts.max() < np.inf):
            raise NumberError("token counts must be zero or more and finite, and no more cached than there are")
    rates = billed_rates(price, prompt_tokens=0, batch=batch)
    if rates.output is None and output_tokens.any():
        raise UsageError(f"'{price.name}' writes no tokens (an embedding model); leave the output out")
    usd = _tokens_usd(rates, plain_tokens, output_tokens, cached_input_tokens)
    for tier in price.tiers:
        dearer = billed_rates(price, prompt_tokens=tier.above_tokens + 1, batch=batch)
        in_tier = input_tokens > tier.above_tokens
        usd = np.where(in_tier, _tokens_usd(dearer, plain_tokens, output_tokens, cached_input_tokens), usd)
    return usd


def _tokens_usd(
    rates: BilledRates,
    plain: Tokens,
    written: Tokens,
    cached: Tokens | None = None,
    stored: Tokens | None = None,
) -> Tokens:
    total = plain * rates.input + written * (rates.output or 0.0)
    total = total if cached is None else total + cached * rates.cached_input
    total = total if stored is None else total + stored * rates.cache_write
    return total / TOKENS_PER_MTOK


def expected_attempts(*, failure_share: float, retries: float) -> float:
    """Return how often a request is sent, on average, if it is sent again after a failure.

    Formula:
        sum over k = 0 .. retries of failure_share ** k
    Args:
        failure_share: Probability that one attempt fails, whatever the others did.
        retries: How often it is sent again at most.

    Returns:
        Attempts per request, at least 1. Of them 1 - failure_share ** (retries + 1) succeed.

    Raises:
        NumberError: If the share is not from 0 to 1, or the retries are negative.

    Error:
        Too low where failures come together, as in an outage.
    Source:
        Arithmetic: the mean of a geometric distribution that is cut off.

    >>> expected_attempts(failure_share=0.5, retries=2)
    1.75
    """
    require_share(failure_share=failure_share)
    require_not_negative(retries=retries)
    if failure_share in {0, 1}:
        return 1.0 + failure_share * retries
    return -math.expm1((retries + 1) * math.log(failure_share)) / (1 - failure_share)


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


def explain_api_cost(
    price: Price,
    *,
    requests: float,
    input_tokens: float,
    output_tokens: float = 0,
    cached_input_tokens: float = 0,
    cache_write_tokens: float = 0,
    reasoning_tokens: float = 0,
    batch: bool = False,
    billed_attempts: float = 1,
) -> Explained:
    """Return the cost of ``requests`` equal requests with the formula and the numbers put in."""
    require_not_negative(requests=requests, billed_attempts=billed_attempts)
    tokens = {
        "cached_input_tokens": cached_input_tokens,
        "cache_write_tokens": cache_write_tokens,
        "reasoning_tokens": reasoning_tokens,
    }
    one = api_request_usd(price, input_tokens=input_tokens, output_tokens=output_tokens, batch=batch, **tokens)
    rates = billed_rates(price, prompt_tokens=input_tokens, batch=batch)
    plain_tokens = input_tokens - cached_input_tokens - cache_write_tokens
    parts = [("input_tokens" if plain_tokens == input_tokens else "plain_input_tokens", plain_tokens, rates.input)]
    parts += [("cached_input_tokens", cached_input_tokens, rates.cached_input)] if cached_input_tokens else []
    parts += [("cache_write_tokens", cache_write_tokens, rates.cache_write)] if cache_write_tokens else []
    parts += [("output_tokens", output_tokens, rates.output)] if rates.output is not None else []
    parts += [("reasoning_tokens", reasoning_tokens, rates.output)] if reasoning_tokens and rates.output else []
    filled = " + ".join(f"{figure(count)} × {figure(rate)}" for _, count, rate in parts)
    times = ("", "") if billed_attempts == 1 else (" × billed attempts", f" × {figure(billed_attempts)}")
    value = requests * billed_attempts * one
    return Explained(
        name="usd_total",
        value=value,
        unit="usd",
        formula=f"requests{times[0]} × ({' + '.join(f'{name} × price' for name, _, _ in parts)}) / 1,000,000",
        filled=f"{figure(requests)}{times[1]} × ({filled}) / 1,000,000 = ${figure(value)}",
        source=f"{price.source}; {_held(price, rates.above_tokens)}known on {price.date}",
    )


def _held(price: Price, above_tokens: int) -> str:
    tier = f"the rates of prompts above {above_tokens:,} tokens; " if above_tokens else ""
    return f"{tier}price in force since {price.since}, " if price.since else f"{tier}price "
