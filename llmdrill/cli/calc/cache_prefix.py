"""A provider's cache of prompt prefixes: its figures and how they are told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llmdrill.cli.calc.answer import Answer
from llmdrill.errors import UsageError
from llmdrill.estimate.explain import Explained, figure
from llmdrill.units import format_count, format_seconds, format_share, format_usd

if TYPE_CHECKING:
    from llmdrill.catalog.records import Price
    from llmdrill.estimate.cost import BilledRates
    from llmdrill.table import Table

_ARITHMETIC: Final = "Arithmetic"
_REUSES: Final = (0, 1, 2, 3, 5, 10, 20, 50, 100)
LEAST_CACHED_TOKENS: Final = 1024  # of a prefix that OpenAI, Gemini and most of Anthropic's models cache


@dataclass(frozen=True, slots=True)
class PrefixCache:
    """A prompt whose beginning repeats.

    Attributes:
        hit_share: Requests that find the prefix; the others write it.
        prefill_s: Time of prefilling the whole prompt; None where it was not said.
    """

    price: Price
    hit_share: float
    prefix_tokens: float
    input_tokens: float
    output_tokens: float
    prefill_s: float | None
    requests: float


def prefix_cache(plan: PrefixCache) -> Answer:
    """Return what the cache saves."""
    from llmdrill.estimate.cost import billed_rates

    if plan.prefix_tokens > plan.input_tokens:
        raise UsageError(
            f"the prefix ({plan.prefix_tokens:g} tokens) is longer than the prompt ({plan.input_tokens:g})"
        )
    rates = billed_rates(plan.price, prompt_tokens=plan.input_tokens)
    figures = (*_cost_figures(plan, rates), *_break_even(rates), *_latency(plan))
    known = {one.name for one in figures}
    return Answer(
        calculator="cache",
        lines=tuple(_lines(plan, {one.name: one.value for one in figures})),
        figures=figures,
        inputs={
            "kind": "prefix",
            "hit_share": plan.hit_share,
            "model": plan.price.name,
            "price_date": plan.price.date.isoformat(),
            "price_source": plan.price.source,
            "prefix_tokens": plan.prefix_tokens,
            "input_tokens": plan.input_tokens,
            "output_tokens": plan.output_tokens,
            "requests": plan.requests,
        },
        notes=tuple(_notes(plan, rates)),
        unknown=tuple(
            name for name in ("break_even_hit_share", "break_even_reuses", "saved_ttft_ms") if name not in known
        ),
        tables=(_by_reuses(plan),),
    )


def _usd(plan: PrefixCache, hit_share: float) -> float:
    """Return the cost of the mean request: a hit reads the prefix, a miss writes it."""
    from llmdrill.estimate.cost import api_request_usd

    read = hit_share * plan.prefix_tokens
    return api_request_usd(
        plan.price,
        input_tokens=plan.input_tokens,
        output_tokens=plan.output_tokens,
        cached_input_tokens=read,
        cache_write_tokens=plan.prefix_tokens - read,  # not (1 - hit_share) * prefix: the two may add up to a hair more
    )


def _uncached_usd(plan: PrefixCache) -> float:
    from llmdrill.estimate.cost import api_request_usd

    return api_request_usd(plan.price, input_tokens=plan.input_tokens, output_tokens=plan.output_tokens)


def _cost_figures(plan: PrefixCache, rates: BilledRates) -> list[Explained]:
    from llmdrill.estimate.caching import prefix_usd_per_mtok
    from llmdrill.estimate.cost import TOKENS_PER_MTOK

    cost, fresh = _usd(plan, plan.hit_share), plan.input_tokens - plan.prefix_tokens
    each = prefix_usd_per_mtok(rates, hit_share=plan.hit_share)
    saved = plan.prefix_tokens * (rates.input - each) / TOKENS_PER_MTOK
    prefix, hit = figure(plan.prefix_tokens), figure(plan.hit_share)
    mean = f"({hit} × {figure(rates.cached_input)} + (1 − {hit}) × {figure(rates.cache_write)})"
    source = f"{plan.price.source}; price known on {plan.price.date}"
    written = f" + {figure(plan.output_tokens)} × {figure(rates.output or 0)}" if plan.output_tokens else ""
    return [
        Explained(
            name="usd_per_request",
            value=cost,
            unit="usd",
            formula="(prefix × (hit × cached + (1 − hit) × write) + fresh × input + output × output price) / 1,000,000",
            filled=(
                f"({prefix} × {mean} + {figure(fresh)} × {figure(rates.input)}{written}) / 1,000,000 = ${figure(cost)}"
            ),
            source=source,
        ),
        Explained(
            name="saved_usd_per_request",
            value=saved,
            unit="usd",
            formula="prefix × (input − (hit × cached + (1 − hit) × write)) / 1,000,000",
            filled=f"{prefix} × ({figure(rates.input)} − {mean}) / 1,000,000 = ${figure(saved)}",
            source=source,
        ),
        Explained(
            name="saved_usd",
            value=saved * plan.requests,
            unit="usd",
            formula="requests × saved_usd_per_request",
            filled=f"{figure(plan.requests)} × ${figure(saved)} = ${figure(saved * plan.requests)}",
            source=_ARITHMETIC,
        ),
    ]


def _break_even(rates: BilledRates) -> list[Explained]:
    from llmdrill.estimate.caching import break_even_prefix_hit_share, break_even_reuses

    hits, reuses = break_even_prefix_hit_share(rates), break_even_reuses(rates)
    if hits is None or reuses is None:
        return []
    write, read, plain = figure(rates.cache_write), figure(rates.cached_input), figure(rates.input)
    return [
        Explained(
            name="break_even_hit_share",
            value=hits,
            unit="share",
            formula="(write price − input price) / (write price − cached price)",
            filled=f"({write} − {plain}) / ({write} − {read}) = {figure(hits)}",
            source=_ARITHMETIC,
        ),
        Explained(
            name="break_even_reuses",
            value=reuses,
            unit="count",
            formula="(write price − input price) / (input price − cached price)",
            filled=f"({write} − {plain}) / ({plain} − {read}) = {figure(reuses)} reads per write",
            source=_ARITHMETIC,
        ),
    ]


def _latency(plan: PrefixCache) -> list[Explained]:
    from llmdrill.estimate.caching import prefill_saved_s

    if plan.prefill_s is None:
        return []
    value = prefill_saved_s(
        prefill_s=plan.prefill_s,
        prefix_tokens=plan.prefix_tokens,
        input_tokens=plan.input_tokens,
        hit_share=plan.hit_share,
    )
    share = f"{figure(plan.prefix_tokens)} / {figure(plan.input_tokens)}"
    return [
        Explained(
            name="saved_ttft_ms",
            value=value,
            unit="seconds",
            formula="prefill × hit × prefix / input, on average",
            filled=f"{figure(plan.prefill_s)} × {figure(plan.hit_share)} × {share} = {figure(value)} s",
            source="Arithmetic: prefill taken as linear in its tokens",
        )
    ]


def _lines(plan: PrefixCache, value: dict[str, float]) -> list[str]:
    saved, before = value["saved_usd_per_request"], _uncached_usd(plan)
    verb = "saves" if saved >= 0 else "loses"
    part = f" ({format_share(abs(saved) / before)})" if before else ""
    each = f"{verb} {format_usd(abs(saved))} a request{part}: {format_usd(value['usd_per_request'])}"
    lines = [f"caching the prefix {each} in place of {format_usd(before)}"]
    if plan.requests != 1:
        lines.append(f"it {verb} {format_usd(abs(value['saved_usd']))} over {format_count(plan.requests)} requests")
    if "break_even_reuses" in value:
        reads = f"{value['break_even_reuses']:.3g} reads per write"
        lines.append(f"it pays from {reads} on, a hit rate of {format_share(value['break_even_hit_share'])}")
    if "saved_ttft_ms" in value:
        lines.append(f"{format_seconds(value['saved_ttft_ms'])} less to the first token on average")
    return lines


def _notes(plan: PrefixCache, rates: BilledRates) -> list[str]:
    notes = []
    if rates.cached_input >= rates.input:
        notes.append(f"the catalogue has no lower price for {plan.price.name}'s cached input: nothing is saved")
    if plan.prefix_tokens < LEAST_CACHED_TOKENS:
        notes.append(
            f"{plan.prefix_tokens:g} tokens are too few for most providers: OpenAI and Gemini cache from 1,024 on, "
            "Anthropic from 512 to 4,096 by model; shorter prefixes are billed in full, without a word"
        )
    notes.append(
        "hits must come in time: Anthropic keeps an entry for 5 minutes after its last use (1 hour at a higher write "
        "price), Azure OpenAI for 5 to 10 minutes; the write price here is that of the shorter life"
    )
    notes.append("the prefix must be equal to the token: whatever varies (date, user, order of tools) stands behind it")
    return notes


def _by_reuses(plan: PrefixCache) -> Table:
    from llmdrill.table import Table

    before = _uncached_usd(plan)
    rows = []
    for reads in _REUSES:
        cost = _usd(plan, reads / (reads + 1))
        rows.append((reads, reads / (reads + 1), cost, before - cost))
    columns = ("reads_per_write", "hit_share", "usd_per_request", "saved_usd_per_request")
    return Table("by reuse", columns, tuple(rows))
