"""Answer caches and prefix caches: what hits save, what lookups and wrong hits cost, and where the two are even."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from llmdrill.estimate.checks import NumberError, require_not_negative, require_positive, require_share
from llmdrill.estimate.explain import Explained, figure

if TYPE_CHECKING:
    from llmdrill.estimate.cost import BilledRates
    from llmdrill.estimate.lognormal import Lognormal

_ARITHMETIC: Final = "Arithmetic"


def cached_request_usd(
    *,
    hit_share: float,
    request_usd: float,
    lookup_usd: float = 0.0,
    wrong_share: float = 0.0,
    wrong_usd: float = 0.0,
) -> float:
    """Return what a request costs on average with an answer cache in front, wrong answers included.

    Formula:
        lookup_usd + (1 - hit_share) * request_usd + hit_share * wrong_share * wrong_usd

    Args:
        hit_share: Requests answered from the cache.
        request_usd: What a request costs that is not.
        lookup_usd: Paid on every request, hit or not: a semantic cache's embedding.
        wrong_share: Hits that give the answer to another question. Zero for an exact cache.
        wrong_usd: What such an answer costs: support, refund, lost customer.

    Returns:
        USD.

    Raises:
        NumberError: If a share is none or a price is negative.

    Error:
        Exact in the mean. Storing and expiring entries is not in it, and an exact cache's hits may be out of date.
    Source:
        Arithmetic. That hits can be wrong, and that one similarity threshold bounds no error rate: Schroeder et al.
        2025, vCache, arXiv:2502.03771, abstract.

    >>> round(cached_request_usd(hit_share=0.4, request_usd=0.01, lookup_usd=0.0001, wrong_share=0.01, wrong_usd=1), 6)
    0.0101
    """
    require_share(hit_share=hit_share, wrong_share=wrong_share)
    require_not_negative(request_usd=request_usd, lookup_usd=lookup_usd, wrong_usd=wrong_usd)
    return lookup_usd + (1 - hit_share) * request_usd + hit_share * wrong_share * wrong_usd


def break_even_hit_share(
    *, request_usd: float, lookup_usd: float, wrong_share: float = 0.0, wrong_usd: float = 0.0
) -> float | None:
    """Return the hit rate from which on an answer cache saves money.

    Formula:
        lookup_usd / (request_usd - wrong_share * wrong_usd)

    Args:
        request_usd: What a request costs that is not answered from the cache.
        lookup_usd: Paid on every request.
        wrong_share: Hits that give the answer to another question.
        wrong_usd: What such an answer costs.

    Returns:
        A share; None if no hit rate saves any money (a hit costs as much as a request, or a lookup does).

    Raises:
        NumberError: If a share is none or a price is negative.

    Error:
        As cached_request_usd.
    Source:
        Arithmetic: cached_request_usd = request_usd.

    >>> break_even_hit_share(request_usd=0.01, lookup_usd=0.0001)
    0.01
    """
    require_share(wrong_share=wrong_share)
    require_not_negative(request_usd=request_usd, lookup_usd=lookup_usd, wrong_usd=wrong_usd)
    gain = request_usd - wrong_share * wrong_usd  # of a hit
    return lookup_usd / gain if gain > 0 and lookup_usd <= gain else None


def break_even_wrong_share(
    *, hit_share: float, request_usd: float, lookup_usd: float, wrong_usd: float
) -> float | None:
    """Return the share of wrong hits from which on an answer cache loses money.

    Formula:
        (hit_share * request_usd - lookup_usd) / (hit_share * wrong_usd), at most 1

    Args:
        hit_share: Requests answered from the cache.
        request_usd: What a request costs that is not.
        lookup_usd: Paid on every request.
        wrong_usd: What a wrong answer costs.

    Returns:
        A share of the hits; None if it loses money without a wrong hit, or wrong answers cost nothing.

    Raises:
        NumberError: If a share is none or a price is negative.

    Error:
        As cached_request_usd; the price of a wrong answer is the least certain number here.
    Source:
        Arithmetic: cached_request_usd = request_usd.

    >>> round(break_even_wrong_share(hit_share=0.4, request_usd=0.01, lookup_usd=0.0001, wrong_usd=0.5), 4)
    0.0195
    """
    require_share(hit_share=hit_share)
    require_not_negative(request_usd=request_usd, lookup_usd=lookup_usd, wrong_usd=wrong_usd)
    saved = hit_share * request_usd - lookup_usd
    if saved < 0 or not hit_share * wrong_usd:
        return None
    return min(1.0, saved / (hit_share * wrong_usd))


def cached_latency_s(*, hit_share: float, lookup_s: float, request_mean_s: float) -> float:
    """Return the mean latency with an answer cache in front.

    Formula:
        lookup_s + (1 - hit_share) * request_mean_s

    Args:
        hit_share: Requests answered from the cache.
        lookup_s: Paid on every request, hit or not.
        request_mean_s: Mean latency of a request that is not.

    Returns:
        Seconds.

    Raises:
        NumberError: If hit_share is none or a latency is negative.

    Error:
        Exact in the mean if hits are as likely for slow requests as for fast ones.
    Source:
        Arithmetic.

    >>> round(cached_latency_s(hit_share=0.4, lookup_s=0.02, request_mean_s=2), 3)
    1.22
    """
    require_share(hit_share=hit_share)
    require_not_negative(lookup_s=lookup_s, request_mean_s=request_mean_s)
    return lookup_s + (1 - hit_share) * request_mean_s


def cached_latency_quantile_s(quantile: float, *, hit_share: float, lookup_s: float, request: Lognormal) -> float:
    """Return a percentile of the latency with an answer cache in front: a mixture of hits and misses.

    Formula:
        lookup_s for quantile <= hit_share, else lookup_s + Q((quantile - hit_share) / (1 - hit_share)), Q being the
        quantile function of requests that are not answered from the cache.

    Args:
        quantile: Such as 0.95.
        hit_share: Requests answered from the cache.
        lookup_s: Paid on every request, hit or not.
        request: Latency of a request that is not.

    Returns:
        Seconds.

    Raises:
        NumberError: If quantile is not between 0 and 1, hit_share is none or lookup_s is negative.

    Error:
        Takes the lookup as constant. A cache with a hit rate below 95 % lowers the p95 little: the slow requests are
        the misses.
    Source:
        Quantile of a mixture.

    >>> from llmdrill.estimate.lognormal import lognormal
    >>> slow = lognormal(p50=2, p95=6)
    >>> [round(cached_latency_quantile_s(q, hit_share=0.4, lookup_s=0.02, request=slow), 2) for q in (0.3, 0.7, 0.97)]
    [0.02, 2.02, 6.02]
    """
    from statistics import NormalDist

    require_share(hit_share=hit_share)
    require_not_negative(lookup_s=lookup_s)
    if not 0 < quantile < 1:
        raise NumberError(f"quantile lies between 0 and 1, got {quantile:g}")
    if quantile <= hit_share:
        return lookup_s
    z = NormalDist().inv_cdf((quantile - hit_share) / (1 - hit_share))
    return lookup_s + math.exp(request.mu + z * request.sigma)


def prefix_usd_per_mtok(rates: BilledRates, *, hit_share: float) -> float:
    """Return what a million tokens of a prompt's cached prefix cost on average.

    Formula:
        hit_share * cached_input + (1 - hit_share) * cache_write

    Args:
        rates: The provider's prices; where writing costs no more than input, cache_write is the input price.
        hit_share: Requests that find the prefix; the others write it.

    Returns:
        USD per million tokens of prefix.

    Raises:
        NumberError: If hit_share is none.

    Error:
        Exact at list price for prefixes that are long enough to be cached; storage by the hour (Gemini's explicit
        caches) is not in it.
    Source:
        The price's own source and date. Anthropic reads cost 0.1 and writes of 5 minutes 1.25 times the input price:
        portkey.ai/docs/integrations/llms/anthropic/prompt-caching, read 2026-11-22.

    >>> from llmdrill.catalog.load import find_price
    >>> from llmdrill.estimate.cost import billed_rates
    >>> rates = billed_rates(find_price("claude-sonnet-4-5"), prompt_tokens=10_000)
    >>> prefix_usd_per_mtok(rates, hit_share=1), prefix_usd_per_mtok(rates, hit_share=0)
    (0.3, 3.75)
    """
    require_share(hit_share=hit_share)
    return hit_share * rates.cached_input + (1 - hit_share) * rates.cache_write


def break_even_prefix_hit_share(rates: BilledRates) -> float | None:
    """Return the hit rate from which on writing a prefix to the provider's cache saves money.

    Formula:
        (cache_write - input) / (cache_write - cached_input)

    Args:
        rates: The provider's prices.

    Returns:
        A share, 0 where writing costs no more than input; None if reading costs no less than input.

    Error:
        As prefix_usd_per_mtok.
    Source:
        Arithmetic: prefix_usd_per_mtok = input. With writes at 1.25 and reads at 0.1 times the input: 0.25 / 1.15.

    >>> from llmdrill.catalog.load import find_price
    >>> from llmdrill.estimate.cost import billed_rates
    >>> round(break_even_prefix_hit_share(billed_rates(find_price("claude-sonnet-4-5"), prompt_tokens=10_000)), 3)
    0.217
    """
    if rates.cached_input >= rates.input:
        return None
    return max(0.0, (rates.cache_write - rates.input) / (rates.cache_write - rates.cached_input))


def break_even_reuses(rates: BilledRates) -> float | None:
    """Return how often a written prefix must be read before the write has paid.

    Formula:
        (cache_write - input) / (input - cached_input)

    Args:
        rates: The provider's prices.

    Returns:
        Reads per write; 0 where writing costs no more than input, None if reading costs no less.

    Error:
        As prefix_usd_per_mtok: the reads must come before the entry expires.
    Source:
        Arithmetic. With writes at 1.25 and reads at 0.1 times the input price: 0.25 / 0.9, so the first read pays.

    >>> from llmdrill.catalog.load import find_price
    >>> from llmdrill.estimate.cost import billed_rates
    >>> round(break_even_reuses(billed_rates(find_price("claude-sonnet-4-5"), prompt_tokens=10_000)), 3)
    0.278
    """
    if rates.cached_input >= rates.input:
        return None
    return max(0.0, (rates.cache_write - rates.input) / (rates.input - rates.cached_input))


def prefill_saved_s(*, prefill_s: float, prefix_tokens: float, input_tokens: float, hit_share: float) -> float:
    """Return the mean time to first token that a prefix cache saves.

    Formula:
        prefill_s * hit_share * prefix_tokens / input_tokens

    Args:
        prefill_s: Time of prefilling the whole prompt.
        prefix_tokens: Tokens of the prompt that are cached.
        input_tokens: All its tokens.
        hit_share: Requests that find the prefix.

    Returns:
        Seconds.

    Raises:
        NumberError: If hit_share is none, a number is negative, or the prefix is longer than the prompt.

    Error:
        Takes prefill as linear in its tokens. The tokens behind the prefix still attend to it, and an API's time to
        first token is more than prefill: at OpenAI it fell by 7 % at 1,024 tokens and by 67 % beyond 150,000.
    Source:
        Arithmetic; the measurement: openai/openai-cookbook@0dee719e:examples/Prompt_Caching_201.ipynb, section 2.3,
        read 2026-11-22.

    >>> prefill_saved_s(prefill_s=1.0, prefix_tokens=6000, input_tokens=8000, hit_share=0.8)
    0.6
    """
    require_share(hit_share=hit_share)
    require_not_negative(prefill_s=prefill_s, prefix_tokens=prefix_tokens)
    require_positive(input_tokens=input_tokens)
    if prefix_tokens > input_tokens:
        raise NumberError(f"the prefix ({prefix_tokens:g}) is longer than the prompt ({input_tokens:g} tokens)")
    return prefill_s * hit_share * prefix_tokens / input_tokens


def explain_cached_request(
    *, hit_share: float, request_usd: float, lookup_usd: float, wrong_share: float, wrong_usd: float
) -> tuple[Explained, ...]:
    """Return the cost with the cache, what it saves, and the price of wrong hits, with the numbers put in."""
    value = cached_request_usd(
        hit_share=hit_share,
        request_usd=request_usd,
        lookup_usd=lookup_usd,
        wrong_share=wrong_share,
        wrong_usd=wrong_usd,
    )
    hit, request, lookup = figure(hit_share), figure(request_usd), figure(lookup_usd)
    wrong = hit_share * wrong_share * wrong_usd
    saved = hit_share * (request_usd - wrong_share * wrong_usd) - lookup_usd
    return (
        Explained(
            name="usd_per_request",
            value=value,
            unit="usd",
            formula="lookup + (1 − hit) × request + hit × wrong × cost of a wrong answer",
            filled=(
                f"${lookup} + (1 − {hit}) × ${request} + {hit} × {figure(wrong_share)} × ${figure(wrong_usd)}"
                f" = ${figure(value)}"
            ),
            source=_ARITHMETIC,
        ),
        Explained(
            name="saved_usd_per_request",
            value=saved,
            unit="usd",
            formula="hit × (request − wrong × cost of a wrong answer) − lookup",
            filled=(
                f"{hit} × (${request} − {figure(wrong_share)} × ${figure(wrong_usd)}) − ${lookup} = ${figure(saved)}"
            ),
            source=_ARITHMETIC,
        ),
        Explained(
            name="wrong_hits_usd_per_request",
            value=wrong,
            unit="usd",
            formula="hit × wrong × cost of a wrong answer",
            filled=f"{hit} × {figure(wrong_share)} × ${figure(wrong_usd)} = ${figure(wrong)}",
            source=_ARITHMETIC,
        ),
    )
