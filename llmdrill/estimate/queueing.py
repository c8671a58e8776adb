"""Waiting: utilisation, the wait before one of several servers, and the batch that a load keeps resident."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from llmdrill.estimate.checks import require_not_negative, require_positive

if TYPE_CHECKING:
    from collections.abc import Callable

_HALVINGS: Final = 60


def utilisation(*, arrivals_per_s: float, service_s: float, servers: int = 1) -> float:
    """Return the share of time that servers are busy; 1 or more means that the queue grows without end.

    Formula:
        arrivals_per_s * service_s / servers
    Args:
        arrivals_per_s: Requests per second.
        service_s: Mean time that one request holds a server.
        servers: Equal servers (or slots).

    Returns:
        A share; above 1 where more is asked for than can be served.

    Raises:
        NumberError: If a number is negative or there is no server.

    Error:
        Exact in the mean.
    Source:
        Little 1961, doi:10.1287/opre.9.3.383.

    >>> utilisation(arrivals_per_s=8, service_s=0.1)
    0.8
    """
    require_not_negative(arrivals_per_s=arrivals_per_s, service_s=service_s)
    require_positive(servers=servers)
    return arrivals_per_s * service_s / servers


def wait_probability(*, arrivals_per_s: float, service_s: float, servers: int = 1) -> float:
    """Return the probability that an arriving request must wait (Erlang C).

    Formula:
        B / (1 - rho * (1 - B)) with Erlang B by its recursion B(k) = a B(k-1) / (k + a B(k-1)), a = arrivals * service.

    Args:
        arrivals_per_s: Poisson arrivals.
        service_s: Mean of exponential service times.
        servers: Equal servers.

    Returns:
        A probability; 1 where the load exceeds the servers.

    Raises:
        NumberError: If a number is negative or there is no server.

    Error:
        Exact for M/M/c. Arrivals in bursts wait more, regular service times less (half, in the mean, for one server).
    Source:
        Erlang 1917; Gross et al., Fundamentals of Queueing Theory, section 2.3.

    >>> round(wait_probability(arrivals_per_s=2, service_s=1, servers=3), 4)
    0.4444
    """
    load = utilisation(arrivals_per_s=arrivals_per_s, service_s=service_s)
    rho = load / servers
    if rho >= 1:
        return 1.0
    blocked = 1.0
    for server in range(1, servers + 1):
        blocked = load * blocked / (server + load * blocked)
    return blocked / (1 - rho * (1 - blocked))


def mean_wait_s(*, arrivals_per_s: float, service_s: float, servers: int = 1) -> float | None:
    """Return the mean wait before service in an M/M/c queue.

    Formula:
        wait_probability * service_s / (servers * (1 - utilisation))

    Args:
        arrivals_per_s: Poisson arrivals.
        service_s: Mean of exponential service times.
        servers: Equal servers.

    Returns:
        Seconds; None where the queue grows without end.

    Raises:
        NumberError: If a number is negative or there is no server.

    Error:
        As wait_probability.
    Source:
        Gross et al., Fundamentals of Queueing Theory, section 2.3.

    >>> round(mean_wait_s(arrivals_per_s=0.5, service_s=1), 6)  # M/M/1: rho / (1 - rho) * service
    1.0
    """
    rho = utilisation(arrivals_per_s=arrivals_per_s, service_s=service_s, servers=servers)
    if rho >= 1:
        return None
    waits = wait_probability(arrivals_per_s=arrivals_per_s, service_s=service_s, servers=servers)
    return waits * service_s / (servers * (1 - rho))


def wait_quantile_s(share: float, *, arrivals_per_s: float, service_s: float, servers: int = 1) -> float | None:
    """Return the wait that a ``share`` of requests does not exceed in an M/M/c queue.

    Formula:
        max(0, ln(wait_probability / (1 - share)) * service_s / (servers * (1 - utilisation)))

    Args:
        share: Such as 0.95.
        arrivals_per_s: Poisson arrivals.
        service_s: Mean of exponential service times.
        servers: Equal servers.

    Returns:
        Seconds; None where the queue grows without end.

    Raises:
        NumberError: If a number is negative or there is no server.

    Error:
        As wait_probability.
    Source:
        Gross et al., Fundamentals of Queueing Theory, section 2.3: the wait of those who wait is exponential.

    >>> round(wait_quantile_s(0.95, arrivals_per_s=0.5, service_s=1), 3)
    4.605
    """
    rho = utilisation(arrivals_per_s=arrivals_per_s, service_s=service_s, servers=servers)
    if rho >= 1:
        return None
    waits = wait_probability(arrivals_per_s=arrivals_per_s, service_s=service_s, servers=servers)
    if waits <= 1 - share:
        return 0.0
    return math.log(waits / (1 - share)) * service_s / (servers * (1 - rho))


def resident_batch(
    seconds_in_service: Callable[[float], float], *, arrivals_per_s: float, max_batch: float
) -> float | None:
    """Return how many sequences continuous batching keeps resident under a load.

    Formula:
        The smallest b with b = arrivals_per_s * seconds_in_service(b) (Little's law), by halving on [0, max_batch].

    Args:
        seconds_in_service: Time from first to last token of a request when b are resident; grows with b.
        arrivals_per_s: Requests per second to one replica.
        max_batch: The most that memory or the engine admits.

    Returns:
        Sequences, on average; None where even max_batch cannot serve the load.

    Raises:
        NumberError: If a number is negative.

    Error:
        Means only: a burst fills the batch beyond it.
    Source:
        Little 1961, doi:10.1287/opre.9.3.383.

    >>> round(resident_batch(lambda batch: 2 + 0.1 * batch, arrivals_per_s=5, max_batch=64), 6)
    20.0
    """
    require_not_negative(arrivals_per_s=arrivals_per_s, max_batch=max_batch)
    if arrivals_per_s * seconds_in_service(max_batch) > max_batch:
        return None
    low, high = 0.0, float(max_batch)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if arrivals_per_s * seconds_in_service(middle) <= middle else (middle, high)
    return high
