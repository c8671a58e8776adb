"""`llmdrill calc cache`: what an answer cache or a prefix cache saves."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from llmdrill.cli.calc.answer import Answer  # noqa: TC001 - typer resolves annotations
from llmdrill.cli.calc.options import quantity, share
from llmdrill.errors import UsageError

if TYPE_CHECKING:
    from llmdrill.catalog.records import Price
    from llmdrill.estimate.lognormal import Lognormal

Kind = Literal["exact", "semantic", "prefix"]
_Kind = Annotated[Kind | None, typer.Option(help="Answers by equal or similar question, or the prompt's prefix.")]
_HitRate = Annotated[str | None, typer.Option(help="Share of requests that hit; or --reuses for a prefix.")]
_Model = Annotated[str | None, typer.Option(help="The API model that answers what misses; or --request-cost.")]
_Input = Annotated[str | None, typer.Option("--input", help="Prompt tokens of a request.")]
_Output = Annotated[str, typer.Option(help="Answer tokens of a request.")]
_RequestCost = Annotated[str | None, typer.Option(help="Cost of a request that misses, in place of --model.")]
_LookupCost = Annotated[str, typer.Option(help="Cost of a lookup, paid on every request.")]
_Lookup = Annotated[str, typer.Option(help="Latency of a lookup, paid on every request, such as 20ms.")]
_Latency = Annotated[str | None, typer.Option(help="Median latency of a request that misses, such as 2s.")]
_LatencyP95 = Annotated[str | None, typer.Option(help="Its 95th percentile; default the median.")]
_Wrong = Annotated[str, typer.Option(help="Share of hits that answer another question (semantic).")]
_WrongCost = Annotated[str, typer.Option(help="What a wrong answer costs you.")]
_Prefix = Annotated[str | None, typer.Option(help="Tokens of the prompt that repeat, from its start (prefix).")]
_Reuses = Annotated[str | None, typer.Option(help="Requests that read a prefix before it expires, per write.")]
_Prefill = Annotated[str | None, typer.Option(help="Time of prefilling the whole prompt, such as 800ms (prefix).")]
_Requests = Annotated[str, typer.Option(help="How many requests, such as 1M.")]
_Date = Annotated[
    dt.datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Price of that day; default the catalogue's.")
]


def cache(
    *,
    kind: _Kind = None,
    hit_rate: _HitRate = None,
    model: _Model = None,
    input_: _Input = None,
    output: _Output = "0",
    request_cost: _RequestCost = None,
    lookup_cost: _LookupCost = "0",
    lookup: _Lookup = "0",
    latency: _Latency = None,
    latency_p95: _LatencyP95 = None,
    wrong: _Wrong = "0",
    wrong_cost: _WrongCost = "0",
    prefix: _Prefix = None,
    reuses: _Reuses = None,
    prefill: _Prefill = None,
    requests: _Requests = "1",
    date: _Date = None,
) -> Answer:
    """What a cache saves, and the price of wrong hits."""
    from llmdrill.cli.calc.cache_answers import AnswerCache, answer_cache
    from llmdrill.cli.calc.cache_prefix import PrefixCache, prefix_cache

    if kind is None:
        raise UsageError("which cache? give --kind exact, --kind semantic or --kind prefix")
    price = _price(model, date)
    many = quantity("requests", requests, "count")
    written = quantity("output", output, "count", zero=True)
    if kind == "prefix":
        defaulted = (lookup, lookup_cost, wrong, wrong_cost)
        _refuse(kind, request_cost, latency, latency_p95, *(one for one in defaulted if one != "0"))
        prompt = (_needed("prefix", prefix), _needed("input", input_), written)
        prefill_s = None if prefill is None else quantity("prefill", prefill, "seconds")
        return prefix_cache(PrefixCache(_required_price(price), _hits(hit_rate, reuses), *prompt, prefill_s, many))
    _refuse(kind, prefix, reuses, prefill, wrong if kind == "exact" and wrong != "0" else None)
    return answer_cache(
        AnswerCache(
            kind=kind,
            price=price,
            hit_share=_hits(hit_rate, None),
            request_usd=_request_usd(price, input_, written, request_cost),
            lookup_usd=quantity("lookup-cost", lookup_cost, "usd", zero=True),
            lookup_s=quantity("lookup", lookup, "seconds", zero=True),
            wrong_share=share("wrong", wrong),
            wrong_usd=quantity("wrong-cost", wrong_cost, "usd", zero=True),
            latency=_latency(latency, latency_p95),
            requests=many,
        )
    )


def _refuse(kind: Kind, *given: str | None) -> None:
    """Refuse options of another kind of cache."""
    if any(one is not None for one in given):
        others = {
            "prefix": "--request-cost, --latency, --lookup and --wrong are for caches of answers, not for a prefix",
            "exact": "--prefix, --reuses and --prefill are for --kind prefix, and an exact cache has no --wrong hits",
            "semantic": "--prefix, --reuses and --prefill are for --kind prefix",
        }
        raise UsageError(others[kind])


def _price(model: str | None, date: dt.datetime | None) -> Price | None:
    from llmdrill.catalog.load import find_price

    if model is None:
        return None
    return find_price(model, date=date.date() if date else None)


def _required_price(price: Price | None) -> Price:
    if price is None:
        raise UsageError("--model is missing: a prefix cache saves what the provider's prices say")
    return price


def _needed(name: str, text: str | None) -> float:
    if text is None:
        raise UsageError(f"--{name} is missing: tokens, such as 8k")
    return quantity(name, text, "count")


def _hits(hit_rate: str | None, reuses: str | None) -> float:
    """Return the share of requests that hit: given, or n of n + 1 where every write is read n times."""
    if (hit_rate is None) == (reuses is None):
        raise UsageError("how many requests hit? give --hit-rate (or, for a prefix, --reuses), one of the two")
    if reuses is not None:
        read = quantity("reuses", reuses, "count", zero=True)
        return read / (read + 1)
    return share("hit-rate", str(hit_rate))


def _request_usd(price: Price | None, input_: str | None, output_tokens: float, request_cost: str | None) -> float:
    from llmdrill.estimate.cost import api_request_usd

    if (price is None) == (request_cost is None):
        raise UsageError("what does a request cost? give --model with --input and --output, or --request-cost")
    if price is None:
        return quantity("request-cost", str(request_cost), "usd")
    return api_request_usd(price, input_tokens=_needed("input", input_), output_tokens=output_tokens)


def _latency(latency: str | None, latency_p95: str | None) -> Lognormal | None:
    from llmdrill.estimate.lognormal import lognormal

    if latency is None:
        if latency_p95 is not None:
            raise UsageError("--latency-p95 needs --latency, the median")
        return None
    p50 = quantity("latency", latency, "seconds")
    p95 = p50 if latency_p95 is None else quantity("latency-p95", latency_p95, "seconds")
    if p95 < p50:
        raise UsageError(f"--latency-p95 ({latency_p95}) is below --latency ({latency})")
    return lognormal(p50=p50, p95=p95)
