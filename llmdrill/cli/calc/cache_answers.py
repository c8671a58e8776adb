"""A cache of answers, exact or semantic: its figures and how they are told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from llmdrill.cli.calc.answer import Answer
from llmdrill.estimate.explain import Explained, figure
from llmdrill.units import format_count, format_seconds, format_share, format_usd

if TYPE_CHECKING:
    from llmdrill.catalog.records import Price
    from llmdrill.estimate.lognormal import Lognormal
    from llmdrill.table import Table

_ARITHMETIC: Final = "Arithmetic"
_HIT_SHARES: Final = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8)
_LATENCIES: Final = ("latency_mean_ms", "latency_p50_ms", "latency_p95_ms", "saved_latency_mean_ms")


@dataclass(frozen=True, slots=True)
class AnswerCache:
    """A cache of answers in front of a model.

    Attributes:
        request_usd: What a request costs that misses.
        latency: Of a request that misses; None where it was not said.
    """

    kind: Literal["exact", "semantic"]
    price: Price | None
    hit_share: float
    request_usd: float
    lookup_usd: float
    lookup_s: float
    wrong_share: float
    wrong_usd: float
    latency: Lognormal | None
    requests: float


def answer_cache(plan: AnswerCache) -> Answer:
    """Return what the cache saves."""
    figures = (*_cost_figures(plan), *_latency_figures(plan))
    known = {one.name for one in figures}
    wanted = ("break_even_hit_share", "break_even_wrong_share", *_LATENCIES)
    return Answer(
        calculator="cache",
        lines=tuple(_lines(plan, {one.name: one.value for one in figures})),
        figures=figures,
        inputs={
            "kind": plan.kind,
            "hit_share": plan.hit_share,
            "model": plan.price.name if plan.price else None,
            "price_date": plan.price.date.isoformat() if plan.price else None,
            "price_source": plan.price.source if plan.price else None,
            "uncached_usd_per_request": plan.request_usd,
            "lookup_usd": plan.lookup_usd,
            "lookup_ms": plan.lookup_s * 1000,
            "wrong_share": plan.wrong_share,
            "wrong_usd": plan.wrong_usd,
            "requests": plan.requests,
        },
        notes=tuple(_notes(plan)),
        unknown=tuple(name for name in wanted if name not in known),
        tables=(_by_hit_rate(plan),),
    )


def _cost_figures(plan: AnswerCache) -> list[Explained]:
    from llmdrill.estimate.caching import break_even_hit_share, break_even_wrong_share, explain_cached_request

    found = list(
        explain_cached_request(
            hit_share=plan.hit_share,
            request_usd=plan.request_usd,
            lookup_usd=plan.lookup_usd,
            wrong_share=plan.wrong_share,
            wrong_usd=plan.wrong_usd,
        )
    )
    saved = found[1].value
    filled = f"{figure(plan.requests)} × ${figure(saved)} = ${figure(saved * plan.requests)}"
    found.append(
        Explained("saved_usd", saved * plan.requests, "usd", "requests × saved_usd_per_request", filled, _ARITHMETIC)
    )
    request, lookup = figure(plan.request_usd), figure(plan.lookup_usd)
    hits = break_even_hit_share(
        request_usd=plan.request_usd,
        lookup_usd=plan.lookup_usd,
        wrong_share=plan.wrong_share,
        wrong_usd=plan.wrong_usd,
    )
    if hits is not None:
        filled = f"${lookup} / (${request} − {figure(plan.wrong_share)} × ${figure(plan.wrong_usd)}) = {figure(hits)}"
        formula = "lookup / (request − wrong × cost of a wrong answer)"
        found.append(Explained("break_even_hit_share", hits, "share", formula, filled, _ARITHMETIC))
    wrong = break_even_wrong_share(
        hit_share=plan.hit_share,
        request_usd=plan.request_usd,
        lookup_usd=plan.lookup_usd,
        wrong_usd=plan.wrong_usd,
    )
    if wrong is not None:
        hit = figure(plan.hit_share)
        filled = f"min(1, ({hit} × ${request} − ${lookup}) / ({hit} × ${figure(plan.wrong_usd)})) = {figure(wrong)}"
        formula = "min(1, (hit × request − lookup) / (hit × cost of a wrong answer))"
        found.append(Explained("break_even_wrong_share", wrong, "share", formula, filled, _ARITHMETIC))
    return found


def _latency_figures(plan: AnswerCache) -> list[Explained]:
    from llmdrill.estimate.caching import cached_latency_quantile_s, cached_latency_s

    if plan.latency is None:
        return []
    request, hit, lookup = plan.latency, plan.hit_share, plan.lookup_s
    mean = cached_latency_s(hit_share=hit, lookup_s=lookup, request_mean_s=request.mean)
    found = [
        Explained(
            name="latency_mean_ms",
            value=mean,
            unit="seconds",
            formula="lookup + (1 − hit) × mean of a miss",
            filled=f"{figure(lookup)} + (1 − {figure(hit)}) × {figure(request.mean)} = {figure(mean)} s",
            source=_ARITHMETIC,
        )
    ]
    for percent in (50, 95):
        value = cached_latency_quantile_s(percent / 100, hit_share=hit, lookup_s=lookup, request=request)
        point = f"Q(({percent / 100} − {figure(hit)}) / (1 − {figure(hit)}))"
        behind = percent / 100 > hit
        filled = f"{figure(lookup)} + {point}" if behind else figure(lookup)
        what = "Q being the quantiles of a miss" if behind else "that of a hit"
        found.append(
            Explained(
                name=f"latency_p{percent}_ms",
                value=value,
                unit="seconds",
                formula=f"lookup, if hit ≥ {percent / 100}; else lookup + Q(({percent / 100} − hit) / (1 − hit))",
                filled=f"{filled} = {figure(value)} s, {what}",
                source="Quantile of a mixture of hits and misses",
            )
        )
    saved = request.mean - mean
    filled = f"{figure(request.mean)} − {figure(mean)} = {figure(saved)} s"
    formula = "mean of a miss − latency_mean_ms"
    return [*found, Explained("saved_latency_mean_ms", saved, "seconds", formula, filled, _ARITHMETIC)]


def _lines(plan: AnswerCache, value: dict[str, float]) -> list[str]:
    saved = value["saved_usd_per_request"]
    part = format_share(abs(saved) / plan.request_usd)
    verb = "saves" if saved >= 0 else "loses"
    each = f"{verb} {format_usd(abs(saved))} a request ({part}): {format_usd(value['usd_per_request'])}"
    lines = [f"the cache {each} in place of {format_usd(plan.request_usd)}"]
    if plan.requests != 1:
        lines.append(f"it {verb} {format_usd(abs(value['saved_usd']))} over {format_count(plan.requests)} requests")
    even = value.get("break_even_hit_share")
    told = "at no hit rate" if even is None else f"from a hit rate of {format_share(even)} on"
    lines.append(f"it pays {told}")
    if "break_even_wrong_share" in value:
        lines.append(
            f"it pays as long as at most {format_share(value['break_even_wrong_share'])} of its hits are wrong"
        )
    if plan.latency is not None:
        mean, p95 = format_seconds(value["latency_mean_ms"]), format_seconds(value["latency_p95_ms"])
        before = f"{format_seconds(plan.latency.mean)} and {format_seconds(plan.latency.p95)}"
        lines.append(f"latency: mean {mean}, p95 {p95}; without the cache {before}")
    return lines


def _notes(plan: AnswerCache) -> list[str]:
    notes = []
    if plan.kind == "semantic":
        if not plan.wrong_share:
            notes.append("assumed: no hit is wrong; measure that share (--wrong) before you trust a semantic cache")
        elif not plan.wrong_usd:
            notes.append("assumed: a wrong answer costs nothing; say what it does with --wrong-cost")
        if not plan.lookup_usd:
            notes.append("assumed: a lookup costs nothing; embedding the question does: see --lookup-cost")
    else:
        notes.append("an exact cache gives no answer to another question, but it may give an old one")
    if plan.latency is not None and plan.hit_share < 0.95:
        notes.append("the slow requests are the misses: below a hit rate of 95 % a cache lowers the p95 little")
    return notes


def _by_hit_rate(plan: AnswerCache) -> Table:
    from llmdrill.estimate.caching import cached_latency_s, cached_request_usd
    from llmdrill.table import Table

    rows = []
    for hit in _HIT_SHARES:
        cost = cached_request_usd(
            hit_share=hit,
            request_usd=plan.request_usd,
            lookup_usd=plan.lookup_usd,
            wrong_share=plan.wrong_share,
            wrong_usd=plan.wrong_usd,
        )
        request = plan.latency.mean if plan.latency else None
        mean = (
            None if request is None else cached_latency_s(hit_share=hit, lookup_s=plan.lookup_s, request_mean_s=request)
        )
        rows.append((hit, cost, plan.request_usd - cost, None if mean is None else mean * 1000))
    columns = ("hit_share", "usd_per_request", "saved_usd_per_request", "latency_mean_ms")
    return Table("by hit rate", columns, tuple(rows))
