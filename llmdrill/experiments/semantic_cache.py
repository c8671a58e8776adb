"""`llmdrill lab semantic-cache`: which threshold to take, and what right and wrong hits are then worth."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from llmdrill.errors import UsageError
from llmdrill.estimate.caching import cached_request_usd, explain_cached_request
from llmdrill.experiments.result import Experiment, Finding, Protocol
from llmdrill.picture import Picture, Series
from llmdrill.retrieval.semantic_cache import (
    DIFFERENCES,
    Looked,
    Rates,
    Traffic,
    cache_queries,
    load_pairs,
    look_up,
    rates_at,
)
from llmdrill.table import Table
from llmdrill.units import format_share, format_usd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from llmdrill.experiments.retrieval_bench import Bench

THRESHOLDS: Final = tuple(round(0.40 + 0.01 * step, 2) for step in range(60))
SHOWN: Final = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)
WRONG_PRICES: Final = (0.0, 0.01, 0.1, 1.0, 10.0)
RESAMPLES: Final = 2000
INTERVAL: Final = "95 % bootstrap interval over groups of questions"


@dataclass(frozen=True, slots=True)
class SemanticCacheOptions:
    """What to assume of the traffic and of money.

    Attributes:
        same_share: Of the requests, those that ask again what is cached.
        other_share: Of the requests, those that nearly do.
        request_usd: Of a request that is not answered from the cache.
        wrong_usd: What a wrong answer costs.
        pairs: A pairs file of one's own; None for the shipped one.
    """

    same_share: float = 0.30
    other_share: float = 0.02
    request_usd: float = 0.002
    wrong_usd: float = 0.01
    pairs: Path | None = None

    def __post_init__(self) -> None:
        if self.same_share + self.other_share > 1:
            raise UsageError("the shares of repeated and of nearly repeated questions add up to more than 1")

    @property
    def traffic(self) -> Traffic:
        """Return the mix of requests."""
        return Traffic(self.same_share, self.other_share)


@dataclass(frozen=True, slots=True)
class Chosen:
    """A threshold chosen on dev for a price of a wrong answer, and what it does on test; None: no cache is cheaper."""

    wrong_usd: float
    threshold: float | None
    rates: Rates | None
    usd: float


def measure_semantic_cache(
    bench: Bench,
    options: SemanticCacheOptions,
    *,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
    now: Callable[[], float] = time.perf_counter,
) -> Experiment:
    """Embed the pairs, choose a threshold on one half of the groups, and judge it on the other.

    Raises:
        ContentError: If the pairs file is malformed.
        MissingExtraError: If the embedder cannot be loaded.

    Error:
        The pairs were written to be hard, and traffic is a mix of them by assumed shares: real logs decide.
    Source:
        That no one threshold bounds the share of wrong hits: Schroeder et al. 2025, vCache, arXiv:2502.03771, abstract.
    """
    started = now()
    looked, groups = _looked(bench, options, say=say)
    dev, test = ([one for one in looked if one.query.split == split] for split in ("dev", "test"))
    if not dev or not test:
        raise UsageError("too few groups to choose a threshold on some and judge it on others: write more")
    chosen = [choose(dev, test, options, wrong_usd=price) for price in _prices(options)]
    mine = next(one for one in chosen if one.wrong_usd == options.wrong_usd)
    machine = bench.machine
    return Experiment(
        name="semantic-cache",
        title="A semantic cache: hits and wrong hits by threshold",
        inputs=_inputs(options, groups, looked, bench),
        findings=tuple(_findings(mine, test, options, seed=seed)),
        tables=(_by_threshold(test, options), _by_price(chosen, options), _by_difference(test, mine)),
        pictures=(_picture(test, options),),
        meaning=_meaning(mine, test, options),
        machine=machine,
        protocol=Protocol(seed, 0, 1, machine.threads, now() - started),
        notes=_notes(options, groups),
    )


def _looked(
    bench: Bench, options: SemanticCacheOptions, *, say: Callable[[str], None]
) -> tuple[tuple[Looked, ...], int]:
    from llmdrill.retrieval.embed import embed_texts

    groups = load_pairs() if options.pairs is None else load_pairs(options.pairs)
    queries = cache_queries(groups)
    say(f"embedding {len(groups) + len(queries)} questions")
    embedder = bench.need_embedder()
    cached = embed_texts([group.cached for group in groups], embedder, cache=bench.cache).vectors
    asked = embed_texts([query.text for query in queries], embedder, cache=bench.cache).vectors
    return look_up(groups, queries, cached=cached, asked=asked), len(groups)


def choose(dev: Sequence[Looked], test: Sequence[Looked], options: SemanticCacheOptions, *, wrong_usd: float) -> Chosen:
    """Return the threshold that is cheapest on dev, judged on test; of equal ones the highest."""
    costs = [
        (request_usd(rates_at(dev, options.traffic, threshold=one), options, wrong_usd=wrong_usd), -one)
        for one in THRESHOLDS
    ]
    usd, threshold = min(costs)
    if usd >= options.request_usd:
        return Chosen(wrong_usd, None, None, options.request_usd)
    rates = rates_at(test, options.traffic, threshold=-threshold)
    return Chosen(wrong_usd, -threshold, rates, request_usd(rates, options, wrong_usd=wrong_usd))


def request_usd(rates: Rates, options: SemanticCacheOptions, *, wrong_usd: float) -> float:
    """Return what a request costs on average behind the cache; looking up costs nothing where the embedder is local."""
    return cached_request_usd(
        hit_share=rates.hit_share,
        request_usd=options.request_usd,
        wrong_share=rates.wrong_share or 0.0,
        wrong_usd=wrong_usd,
    )


def _prices(options: SemanticCacheOptions) -> tuple[float, ...]:
    return tuple(sorted({*WRONG_PRICES, options.wrong_usd}))


def _findings(mine: Chosen, test: Sequence[Looked], options: SemanticCacheOptions, *, seed: int) -> Iterator[Finding]:
    n = len(test)
    yield Finding(
        "threshold_cosine", mine.threshold, n=n, weights_matter=True, note="cheapest on the dev half; unknown: no cache"
    )
    names = {
        "hit_share": "requests answered from the cache",
        "wrong_share": "of the hits: the answer to another question",
        "found_share": "of the requests whose answer is cached",
        "saved_share": "of the cost without a cache, wrong answers counted",
    }
    if mine.threshold is None or mine.rates is None:
        yield from (Finding(name, None, n=n, note=note) for name, note in names.items())
        return
    spread = _spread(test, options, threshold=mine.threshold, seed=seed)
    rates, saved = mine.rates, 1 - mine.usd / options.request_usd
    measured = (rates.hit_share, rates.wrong_share, rates.found_share, saved)
    for (name, note), value in zip(names.items(), measured, strict=True):
        low, high = spread[name]
        yield Finding(name, value, low=low, high=high, n=n, weights_matter=True, note=f"{note}; {INTERVAL}")
    (cost, *_) = explain_cached_request(
        hit_share=rates.hit_share,
        request_usd=options.request_usd,
        lookup_usd=0.0,
        wrong_share=rates.wrong_share or 0.0,
        wrong_usd=options.wrong_usd,
    )
    told = f"a request: {cost.filled}; 1,000 without a cache: {format_usd(1000 * options.request_usd)}"
    yield Finding("usd_per_1000_requests", 1000 * mine.usd, n=n, weights_matter=True, note=told)


def _spread(
    test: Sequence[Looked], options: SemanticCacheOptions, *, threshold: float, seed: int
) -> dict[str, tuple[float | None, float | None]]:
    """Return 95 % intervals: groups are drawn again with replacement, for their questions hang together."""
    rng = np.random.default_rng(seed)
    groups: dict[str, list[Looked]] = {}
    for one in test:
        groups.setdefault(one.query.group, []).append(one)
    parts = list(groups.values())
    drawn: dict[str, list[float]] = {"hit_share": [], "wrong_share": [], "found_share": [], "saved_share": []}
    for _ in range(RESAMPLES):
        again = [one for at in rng.integers(len(parts), size=len(parts)) for one in parts[at]]
        rates = rates_at(again, options.traffic, threshold=threshold)
        drawn["hit_share"].append(rates.hit_share)
        drawn["wrong_share"].append(rates.wrong_share or 0.0)
        drawn["found_share"].append(rates.found_share)
        drawn["saved_share"].append(1 - request_usd(rates, options, wrong_usd=options.wrong_usd) / options.request_usd)
    return {
        name: (float(np.quantile(values, 0.025)), float(np.quantile(values, 0.975))) for name, values in drawn.items()
    }


def _by_threshold(test: Sequence[Looked], options: SemanticCacheOptions) -> Table:
    columns = ("threshold", "hit_share", "wrong_share", "found_share", "saved_share")
    rows = []
    for threshold in SHOWN:
        rates = rates_at(test, options.traffic, threshold=threshold)
        saved = 1 - request_usd(rates, options, wrong_usd=options.wrong_usd) / options.request_usd
        rows.append((threshold, rates.hit_share, rates.wrong_share, rates.found_share, saved))
    return Table("by threshold", columns, tuple(rows), f"a wrong answer costs {format_usd(options.wrong_usd)}")


def _by_price(chosen: Sequence[Chosen], options: SemanticCacheOptions) -> Table:
    columns = ("wrong_usd", "threshold", "hit_share", "wrong_share", "saved_share")
    rows = tuple(
        (
            one.wrong_usd,
            one.threshold,
            one.rates.hit_share if one.rates else 0.0,
            one.rates.wrong_share if one.rates else None,
            1 - one.usd / options.request_usd,
        )
        for one in chosen
    )
    return Table("by price of a wrong answer", columns, rows, "no threshold: no cache is cheaper than any")


def _by_difference(test: Sequence[Looked], mine: Chosen) -> Table:
    """Return how near each kind of near miss comes, and how many of them pass the threshold."""
    rows = []
    for kind in ("same", "unrelated", *DIFFERENCES):
        of_kind = [one for one in test if kind in {one.query.difference, one.query.relation}]
        if of_kind:
            near = sorted(one.similarity for one in of_kind)
            passed = None if mine.threshold is None else sum(value >= mine.threshold for value in near) / len(near)
            rows.append((kind, len(near), float(np.median(near)), near[-1], passed))
    columns = ("kind", "n", "median_cosine", "highest_cosine", "passes_share")
    return Table("by kind of question", columns, tuple(rows), "same: a paraphrase; others: what a near miss differs in")


def _picture(test: Sequence[Looked], options: SemanticCacheOptions) -> Picture:
    rates = [rates_at(test, options.traffic, threshold=one) for one in THRESHOLDS]
    lines = (
        Series("hits", THRESHOLDS, tuple(one.hit_share for one in rates)),
        Series("wrong hits", THRESHOLDS, tuple(one.hit_share * (one.wrong_share or 0.0) for one in rates)),
    )
    return Picture("Hits and wrong hits by threshold", "cosine", "share of requests", lines)


def _meaning(mine: Chosen, test: Sequence[Looked], options: SemanticCacheOptions) -> tuple[str, str]:
    price = format_usd(options.wrong_usd)
    lowest = sorted(one.similarity for one in test if one.right)
    misses = sorted(one.similarity for one in test if one.query.relation == "other")
    above = sum(value > float(np.median(lowest)) for value in misses) / len(misses) if lowest else 0.0
    overlap = f"{format_share(above)} of the near misses are nearer to a cached question than the median paraphrase is"
    if mine.rates is None or mine.threshold is None:
        return (
            f"If a wrong answer costs {price}, no threshold pays on the questions it was chosen on: do without.",
            f"{overlap}, so similarity alone cannot tell them apart.",
        )
    saved = 1 - mine.usd / options.request_usd
    wrong = format_share(mine.rates.wrong_share or 0.0)
    verb = f"saves {format_share(saved)}" if saved > 0 else f"loses {format_share(-saved)}"
    held = f"a threshold of {mine.threshold:.2f} {verb} of the cost on questions it was not chosen on"
    return (
        f"If a wrong answer costs {price}, {held}, and {wrong} of its hits are wrong.",
        f"{overlap}: a threshold trades saved money for wrong answers and cannot separate the two.",
    )


def _inputs(
    options: SemanticCacheOptions, groups: int, looked: Sequence[Looked], bench: Bench
) -> dict[str, float | str | int | None]:
    pairs = sum(one.query.relation != "unrelated" for one in looked)
    return {
        "embedder": bench.need_embedder().name,
        "cached_questions": groups,
        "pairs": pairs,
        "same_share": options.same_share,
        "other_share": options.other_share,
        "request_usd": options.request_usd,
        "wrong_usd": options.wrong_usd,
    }


def _notes(options: SemanticCacheOptions, groups: int) -> tuple[str, ...]:
    rest = 1 - options.same_share - options.other_share
    shares = [format_share(one) for one in (options.same_share, options.other_share, rest)]
    mix = f"{shares[0]} paraphrases of what is cached, {shares[1]} near misses, {shares[2]} unrelated"
    return (
        f"the cache holds one question of each of {groups} groups; a query hits the nearest of all of them",
        f"traffic by assumption: {mix}; set yours with --same and --near",
        "the pairs are harder than most traffic: near misses were written to differ in one word where they can",
        "the threshold is chosen on half of the groups (dev) and judged on the other (test)",
    )
