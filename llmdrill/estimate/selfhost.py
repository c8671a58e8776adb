"""What serving on rented devices costs, and from which volume on it is cheaper than an API."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from llmdrill.estimate.checks import NumberError, require_not_negative, require_positive
from llmdrill.estimate.cost import TOKENS_PER_MTOK

HOURS_PER_MONTH: Final = 730.0  # 365 days of 24 hours over 12 months
SECONDS_PER_HOUR: Final = 3600.0
_A_HAIR: Final = 1e-9  # a volume that fills its replicas to the last request needs no further one


@dataclass(frozen=True, slots=True)
class BreakEven:
    """From which volume on a rented fleet is cheaper than an API; a fleet grows by whole replicas.

    Attributes:
        first_requests_per_month: The least volume at which it is; None if the API is cheaper at any.
        first_replicas: Replicas that volume needs.
        always_requests_per_month: The volume from which on no further replica makes it dearer again; None if each
            does, as where a full replica costs exactly what the API does.
        always_replicas: Replicas of that volume.
        full_usd_per_request: What a request costs on a fleet that is full: the least it can.
    """

    first_requests_per_month: float | None
    first_replicas: int | None
    always_requests_per_month: float | None
    always_replicas: int | None
    full_usd_per_request: float


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


def replica_requests_per_s(*, concurrency: float, ttft_s: float, tpot_s: float, output_tokens: float) -> float:
    """Return how many requests one replica finishes a second while ``concurrency`` clients each wait for their own.

    Formula:
        concurrency / (ttft_s + (output_tokens - 1) * tpot_s)

    Args:
        concurrency: Requests in flight at any moment, no think time between them.
        ttft_s: Time to first token under that load.
        tpot_s: Time per further token under that load.
        output_tokens: Tokens of one answer.

    Returns:
        Requests per second.

    Raises:
        NumberError: If a number is not above zero, or the answer has less than one token.

    Error:
        Exact for a closed loop (Little's law); its inputs carry the serving model's error.
    Source:
        Little 1961, L = lambda W, with W the time of one request.

    >>> replica_requests_per_s(concurrency=32, ttft_s=1.0, tpot_s=0.01, output_tokens=301)
    8.0
    """
    require_positive(concurrency=concurrency, ttft_s=ttft_s, tpot_s=tpot_s)
    if not (math.isfinite(output_tokens) and output_tokens >= 1):
        raise NumberError(f"output_tokens must be at least 1, got {output_tokens:g}")
    return concurrency / (ttft_s + (output_tokens - 1) * tpot_s)


def selfhost_usd_per_request(
    *, usd_per_hour: float, devices: float, requests_per_s: float, utilisation: float = 1.0
) -> float:
    """Return what one request costs on rented devices.

    Formula:
        usd_per_hour * devices / (3600 * requests_per_s * utilisation)

    Args:
        usd_per_hour: Of one device.
        devices: Of one replica.
        requests_per_s: What a replica finishes at full load.
        utilisation: Share of that load it carries on average, nights and spare replicas counted.

    Returns:
        USD.

    Raises:
        NumberError: If a number is not above zero, or the utilisation above one.

    Error:
        Exact for rent; storage, network and people are not counted.
    Source:
        Arithmetic.

    >>> round(selfhost_usd_per_request(usd_per_hour=3.6, devices=1, requests_per_s=10, utilisation=0.5), 12)
    0.0002
    """
    require_positive(usd_per_hour=usd_per_hour, devices=devices, requests_per_s=requests_per_s)
    _require_utilisation(utilisation)
    return usd_per_hour * devices / (SECONDS_PER_HOUR * requests_per_s * utilisation)


def selfhost_usd_per_mtok(
    *, usd_per_hour: float, devices: float, tokens_per_s: float, utilisation: float = 1.0
) -> float:
    """Return what a million tokens cost on rented devices.

    Formula:
        1,000,000 * usd_per_hour * devices / (3600 * tokens_per_s * utilisation)

    Args:
        usd_per_hour: Of one device.
        devices: Of one replica.
        tokens_per_s: Of the tokens that are counted, output alone or input and output, at full load.
        utilisation: Share of that load it carries on average.

    Returns:
        USD per million of those tokens.

    Raises:
        NumberError: If a number is not above zero, or the utilisation above one.

    Error:
        As of selfhost_usd_per_request.
    Source:
        Arithmetic.

    >>> round(selfhost_usd_per_mtok(usd_per_hour=3.6, devices=1, tokens_per_s=1000, utilisation=0.5), 12)
    2.0
    """
    return TOKENS_PER_MTOK * selfhost_usd_per_request(
        usd_per_hour=usd_per_hour, devices=devices, requests_per_s=tokens_per_s, utilisation=utilisation
    )


def replicas_for(*, requests_per_month: float, requests_per_s: float, utilisation: float = 1.0) -> int:
    """Return how many replicas a volume needs.

    Formula:
        max(1, ceil(requests_per_month / (requests_per_s * utilisation * 3600 * 730)))

    Args:
        requests_per_month: Of 730 hours.
        requests_per_s: What a replica finishes at full load.
        utilisation: Share of that load it may carry on average.

    Returns:
        Replicas, at least one: a model that is not loaded answers nobody.

    Raises:
        NumberError: If the volume is negative, the rate not above zero, or the utilisation not a share above zero.

    Error:
        Exact in the mean; peaks are what the utilisation leaves room for.
    Source:
        Arithmetic.

    >>> replicas_for(requests_per_month=50_000_000, requests_per_s=10, utilisation=0.5)
    4
    """
    require_not_negative(requests_per_month=requests_per_month)
    capacity = _month_capacity(requests_per_s=requests_per_s, utilisation=utilisation)
    return max(1, math.ceil(requests_per_month / capacity - _A_HAIR))


def break_even(
    *,
    api_usd_per_request: float,
    usd_per_hour: float,
    devices: float,
    requests_per_s: float,
    utilisation: float = 1.0,
) -> BreakEven:
    """Return from which volume on a rented fleet is cheaper than an API.

    Formula:
        with R = usd_per_hour * devices * 730, C = requests_per_s * utilisation * 3600 * 730 and a the API's price of a
        request: first at n = R / a on one replica, if R / a <= C; always from n = k * R / a on, with
        k = ceil(R / (a * C - R)) replicas, if a * C > R. Between the two, a further replica that is still empty makes
        it dearer for a while.

    Args:
        api_usd_per_request: What the API takes for the same request.
        usd_per_hour: Of one device, around the clock.
        devices: Of one replica.
        requests_per_s: What a replica finishes at full load.
        utilisation: Share of that load it may carry on average.

    Returns:
        The volumes, and the replicas they need.

    Raises:
        NumberError: If a number is not above zero, or the utilisation above one.

    Error:
        Exact for rent around the clock against a list price; fleets that shrink at night break even earlier.
    Source:
        Arithmetic: the fleet's cost is a staircase, the API's a line through zero.

    >>> found = break_even(api_usd_per_request=0.001, usd_per_hour=2, devices=1, requests_per_s=2, utilisation=0.5)
    >>> found.first_requests_per_month, found.always_replicas
    (1460000.0, 2)
    """
    require_positive(api_usd_per_request=api_usd_per_request)
    full = selfhost_usd_per_request(
        usd_per_hour=usd_per_hour, devices=devices, requests_per_s=requests_per_s, utilisation=utilisation
    )
    rent = usd_per_hour * devices * HOURS_PER_MONTH
    gain = api_usd_per_request * _month_capacity(requests_per_s=requests_per_s, utilisation=utilisation) - rent
    if gain < -_A_HAIR * rent:
        return BreakEven(None, None, None, None, full)
    first = rent / api_usd_per_request
    if gain <= _A_HAIR * rent:
        return BreakEven(first, 1, None, None, full)
    replicas = max(1, math.ceil(rent / gain - _A_HAIR))
    return BreakEven(first, 1, replicas * first, replicas, full)


def _month_capacity(*, requests_per_s: float, utilisation: float) -> float:
    require_positive(requests_per_s=requests_per_s)
    _require_utilisation(utilisation)
    return requests_per_s * utilisation * SECONDS_PER_HOUR * HOURS_PER_MONTH


def _require_utilisation(utilisation: float) -> None:
    if not 0 < utilisation <= 1:
        raise NumberError(f"utilisation is a share above 0 and at most 1, got {utilisation:g}")
