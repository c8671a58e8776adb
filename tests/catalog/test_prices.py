"""The prices: dated, tiered, and never a zero that means unknown."""

from __future__ import annotations

import datetime as dt
import itertools
from collections import defaultdict
from typing import TYPE_CHECKING

import pytest

from llmdrill.catalog import load
from llmdrill.catalog.load import find_price, load_prices
from llmdrill.catalog.prices import read_prices
from llmdrill.errors import ContentError, UnknownNameError, UsageError
from llmdrill.estimate.cost import api_request_usd

if TYPE_CHECKING:
    from pathlib import Path

    from llmdrill.catalog.records import Price

PRICES = load_prices()
each = pytest.mark.parametrize("price", PRICES, ids=lambda price: f"{price.name}-{price.since}")


def test_there_is_something_for_everybody() -> None:
    by_name = {price.name: price for price in PRICES}
    assert len(by_name) >= 100
    assert sum(price.cached_input_usd_per_mtok is not None for price in by_name.values()) >= 40
    assert sum(price.cache_write_usd_per_mtok is not None for price in by_name.values()) >= 10
    assert sum(price.batch_input_usd_per_mtok is not None for price in by_name.values()) >= 40
    assert sum(price.output_usd_per_mtok is None for price in by_name.values()) >= 5  # embeddings
    assert sum(bool(price.tiers) for price in by_name.values()) >= 10
    wanted = {"openai", "anthropic", "google", "mistral", "deepseek", "cohere", "x-ai", "groq", "together", "fireworks"}
    assert {price.provider for price in PRICES} >= {*wanted, "aws"}


@each
def test_prices_are_of_the_right_order(price: Price) -> None:
    assert 0 <= price.input_usd_per_mtok <= 200
    assert price.output_usd_per_mtok is None or price.input_usd_per_mtok <= price.output_usd_per_mtok <= 700
    cached, written = price.cached_input_usd_per_mtok, price.cache_write_usd_per_mtok
    assert cached is None or cached <= price.input_usd_per_mtok
    assert written is None or written >= price.input_usd_per_mtok
    batch = price.batch_input_usd_per_mtok
    assert batch is None or price.input_usd_per_mtok * 0.3 <= batch <= price.input_usd_per_mtok * 1.01
    announced = dt.timedelta(days=90)
    assert price.since is None or price.since <= price.date + announced
    assert price.is_free == (price.input_usd_per_mtok == 0)
    assert not price.is_free or "free" in price.note.lower()


@each
def test_a_longer_prompt_is_never_cheaper_per_token(price: Price) -> None:
    bounds = [tier.above_tokens for tier in price.tiers]
    assert bounds == sorted(set(bounds))
    found = [price.rates(prompt_tokens=bound) for bound in (0, *(bound + 1 for bound in bounds))]
    for lower, upper in itertools.pairwise(found):
        assert lower is not None
        assert upper is not None
        assert lower.input < upper.input
        assert (lower.output or 0) <= (upper.output or 0)
        assert (lower.cached_input is None) == (upper.cached_input is None)


def test_a_tier_begins_one_token_above_its_bound() -> None:
    price = find_price("gemini-2.5-pro")
    at, above = (price.rates(prompt_tokens=tokens) for tokens in (200_000, 200_001))
    assert at is not None
    assert above is not None
    assert (at.input, at.output, above.input, above.output) == (1.25, 10, 2.5, 15)
    whole = api_request_usd(price, input_tokens=200_001, output_tokens=1000)
    assert whole == pytest.approx((200_001 * 2.5 + 1000 * 15) / 1e6)


def test_dated_entries_follow_one_another() -> None:
    history = defaultdict(list)
    for price in PRICES:
        history[price.name].append(price.since or dt.date.min)
    assert all(days == sorted(set(days)) for days in history.values())
    assert sum(len(days) > 1 for days in history.values()) >= 10


@each
def test_every_price_is_found_on_its_own_day(price: Price) -> None:
    newer = [other.since for other in PRICES if other.name == price.name and other.since]
    day = price.since or (min(newer) - dt.timedelta(days=1) if newer else price.date)
    found = find_price(price.name, date=day)
    assert (found.since, found.input_usd_per_mtok) == (price.since, price.input_usd_per_mtok)
    for alias in price.aliases:
        assert find_price(alias, date=day) == found


def test_the_day_is_never_the_clock_s() -> None:
    assert load.catalogue_date() == max(price.date for price in PRICES)
    assert find_price("gpt-4o").date <= load.catalogue_date()


def test_another_provider_s_price_is_not_passed_off() -> None:
    price = find_price("gpt-4o")
    assert find_price("openai:gpt-4o") == find_price("OpenAI/gpt-4o") == price
    assert find_price("xai/grok-3").provider == "x-ai"
    for name in ("azure:gpt-4o", "azure/gpt-4o", "openrouter/azure/gpt-4o"):
        with pytest.raises(UsageError, match="is openai's, not azure's"):
            find_price(name)


@pytest.mark.parametrize("name", ["gpt-40", "claude-sonet-4-5", "gemini 2.5 pro!", ""])
def test_an_unknown_model_costs_nothing_at_all_rather_than_zero(name: str) -> None:
    with pytest.raises(UnknownNameError):
        find_price(name)


def test_a_model_that_is_free_says_so() -> None:
    free = [price for price in PRICES if price.is_free]
    assert [price.name for price in free] == ["gemma-4-31b-it"]
    assert api_request_usd(free[0], input_tokens=1e6, output_tokens=1e6) == 0


HEAD = "source: a page\ndate: 2026-01-02\nrecords:\n  - name: x\n    provider: p\n    max_context_tokens: null\n"


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        ("{output: 2}", "the key 'input' is missing"),
        ("{input: cheap}", "must be a number"),
        ("{input: 1, tiers: [{input: 2}]}", "the key 'above_tokens' is missing"),
        ("{input: 1, batch: {input: 1, since: soon}}", "must be a date"),
        ("{input: 1, discount: 2}", "unknown key 'discount'"),
    ],
)
def test_a_malformed_price_is_refused_at_its_line(tmp_path: Path, entry: str, what: str) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text(f"{HEAD}    entries:\n      - {entry}\n")
    with pytest.raises(ContentError, match=rf"8:.*{what}"):
        read_prices(file)
