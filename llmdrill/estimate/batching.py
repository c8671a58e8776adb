"""Static against continuous batching: what a batch loses by waiting for its longest answer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from llmdrill.estimate.checks import NumberError, require_positive
from llmdrill.estimate.explain import Explained, figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdrill.estimate.lognormal import Lognormal

_EDGE: Final = 12.0  # standard deviations; what lies beyond is below 1e-32
_STEPS: Final = 2400  # even, for Simpson's rule
_SOURCE: Final = "Yu et al. 2022, Orca, OSDI 2022, section 3 (iteration-level scheduling); order statistics"


def expected_longest(lengths_tokens: Sequence[float], *, batch: int) -> float:
    """Return the expected length of the longest of ``batch`` answers drawn independently from a list.

    Formula:
        sum over the sorted list of x_i * ((i / n)^batch - ((i - 1) / n)^batch)

    Args:
        lengths_tokens: Answer lengths, as seen in a trace.
        batch: Answers generated together.

    Returns:
        Tokens.

    Raises:
        NumberError: If the list is empty, a length is not positive, or batch is below one.

    Error:
        Exact for independent draws. Neighbours in a real trace are alike, which makes batches in order of arrival a
        little more even.
    Source:
        Order statistics: P(longest <= x) = F(x)^batch. Of two fair dice the larger is 161/36 on average.

    >>> round(expected_longest([1, 2, 3, 4, 5, 6], batch=2) * 36)
    161
    """
    _require_batch(batch)
    if not lengths_tokens:
        raise NumberError("lengths_tokens is empty")
    ordered = sorted(lengths_tokens)
    require_positive(shortest_tokens=ordered[0], longest_tokens=ordered[-1])
    count = len(ordered)
    shares = [(rank / count) ** batch for rank in range(count + 1)]
    return math.fsum(
        length * (after - before) for length, before, after in zip(ordered, shares, shares[1:], strict=False)
    )


def expected_longest_lognormal(lengths: Lognormal, *, batch: int) -> float:
    """Return the expected length of the longest of ``batch`` answers whose lengths are lognormal.

    Formula:
        mean * batch * integral of phi(y) * Phi(y + sigma)^(batch - 1) dy

    Args:
        lengths: The distribution of answer lengths.
        batch: Answers generated together.

    Returns:
        Tokens.

    Raises:
        NumberError: If batch is below one.

    Error:
        Below 1e-9 of the integral. A limit on the answer's length cuts the tail that this counts on.
    Source:
        Order statistics; for batch 2 the integral is 2 * Phi(sigma / sqrt(2)).

    >>> from llmdrill.estimate.lognormal import Lognormal
    >>> round(expected_longest_lognormal(Lognormal(mu=0, sigma=1), batch=2), 6)  # exp(1/2) * 2 * Phi(0.7071)
    2.50688
    """
    _require_batch(batch)
    step = 2 * _EDGE / _STEPS
    parts = []
    for index in range(_STEPS + 1):
        y = -_EDGE + index * step
        weight = 1 if index in {0, _STEPS} else 4 if index % 2 else 2
        below = 0.5 * math.erfc(-(y + lengths.sigma) / math.sqrt(2))
        parts.append(weight * math.exp(-y * y / 2) * below ** (batch - 1))
    return lengths.mean * batch * math.fsum(parts) * step / 3 / math.sqrt(2 * math.pi)


def throughput_ratio(*, mean_tokens: float, longest_tokens: float) -> float:
    """Return how many times more answers per second continuous batching gives than static batching.

    Formula:
        longest_tokens / mean_tokens

    Args:
        mean_tokens: Of one answer: a slot of a continuous batch is free for the next request after that many steps.
        longest_tokens: Expected longest of a batch: a static batch holds all its slots for that many steps.

    Returns:
        A factor, at least 1.

    Raises:
        NumberError: If a number is not positive, or the longest is shorter than the mean.

    Error:
        An upper end: requests always wait, a step takes as long with few live sequences as with many (true while
        weights dominate), and newcomers' prefills steal no time. Orca measured up to 36.9 times at equal latency, which
        also holds what its engine and its scheduling of arrivals gain.
    Source:
        Yu et al. 2022, Orca, OSDI 2022, abstract and section 3: finished requests cannot return and new ones wait until
        the whole batch is done.

    >>> throughput_ratio(mean_tokens=100, longest_tokens=250)
    2.5
    """
    require_positive(mean_tokens=mean_tokens, longest_tokens=longest_tokens)
    ratio = longest_tokens / mean_tokens
    if ratio < 1 - 1e-9:
        raise NumberError(f"the longest of a batch ({longest_tokens:g}) is not below the mean ({mean_tokens:g})")
    return ratio if ratio > 1 + 1e-12 else 1.0  # a sum's last digit is no gain


def ratio_in_order(lengths_tokens: Sequence[float], *, batch: int) -> float:
    """Return the throughput ratio of a list batched in its own order.

    Formula:
        sum over batches of (sequences * longest) / sum of lengths

    Args:
        lengths_tokens: Answer lengths in order of arrival; the last batch may be smaller.
        batch: Answers generated together.

    Returns:
        A factor, at least 1.

    Raises:
        NumberError: If the list is empty, a length is not positive, or batch is below one.

    Error:
        As throughput_ratio.
    Source:
        Arithmetic on the list.

    >>> ratio_in_order([10, 30, 10, 10], batch=2)
    1.3333333333333333
    """
    _require_batch(batch)
    if not lengths_tokens:
        raise NumberError("lengths_tokens is empty")
    require_positive(shortest_tokens=min(lengths_tokens), longest_tokens=max(lengths_tokens))
    batches = [lengths_tokens[start : start + batch] for start in range(0, len(lengths_tokens), batch)]
    return sum(len(one) * max(one) for one in batches) / math.fsum(lengths_tokens)


def _require_batch(batch: int) -> None:
    if batch < 1 or batch != int(batch):
        raise NumberError(f"batch must be a whole number from 1 on, got {batch:g}")


def explain_batching(*, mean_tokens: float, longest_tokens: float, batch: int) -> tuple[Explained, ...]:
    """Return the ratio and the wasted slots with their formulas and the numbers put in."""
    ratio = throughput_ratio(mean_tokens=mean_tokens, longest_tokens=longest_tokens)
    mean, longest = figure(mean_tokens), figure(longest_tokens)
    return (
        Explained(
            name="throughput_ratio",
            value=ratio,
            unit="count",
            formula="E[longest of the batch] / E[length]",
            filled=f"{longest} / {mean} = {figure(ratio)} times, at batch {batch}",
            source=_SOURCE,
        ),
        Explained(
            name="wasted_slots_share",
            value=1 - 1 / ratio,
            unit="share",
            formula="1 − E[length] / E[longest of the batch]",
            filled=f"1 − {mean} / {longest} = {figure(1 - 1 / ratio)}",
            source=_SOURCE,
        ),
    )
