"""The second source of prices: where the two disagree is listed here with a reason, or this fails."""

from __future__ import annotations

import datetime as dt
import sys
from typing import TYPE_CHECKING, Final

import pytest

from llmdrill.catalog.load import find_price, load_prices
from llmdrill.errors import MissingExtraError, UnknownNameError, UsageError
from llmdrill.estimate.cost import api_request_usd

if TYPE_CHECKING:
    from llmdrill.catalog.records import Price

# Catalogue name → why genai-prices says something else by more than 0.5 %, or nothing.
EXPLAINED: Final = {"gemma-4-31b-it": "free of charge: genai-prices leaves the rate out, the catalogue says zero"}

# input, output, read from cache, written to cache
MIXES: Final = {
    "short": (500, 200, 0, 0),
    "cached": (20_000, 500, 15_000, 0),
    "written": (20_000, 500, 0, 15_000),
    "both": (20_000, 500, 8_000, 8_000),
    "long": (150_000, 3_000, 0, 0),
    "longest": (600_000, 5_000, 100_000, 0),
}
PRICES = load_prices()


def day_of(price: Price, *, batch: bool) -> dt.date:
    """Return a day on which this price is in force, and its batch price known."""
    days = [other.since for other in PRICES if other.name == price.name and other.since]
    if price.since is None and days:
        return min(days) - dt.timedelta(days=1)
    if price.since in (None, max(days, default=None)):
        return max(price.since or price.date, price.date)
    return max(day for day in (price.since, price.batch_since if batch else None) if day)


def test_every_price_is_that_of_the_pinned_package_in_every_mix() -> None:
    pytest.importorskip("genai_prices")
    from llmdrill.catalog.genai import genai_request_cost

    compared, apart = 0, {}
    for price in PRICES:
        for batch in (False, True) if price.batch_input_usd_per_mtok is not None else (False,):
            day = day_of(price, batch=batch)
            if batch and price.batch_since and day < price.batch_since:
                continue  # no longer in force when the source began to know the batch price
            dated = find_price(price.name, date=day)
            assert dated.since == price.since
            for mix, (prompt, answer, cached, written) in MIXES.items():
                tokens = {
                    "input_tokens": prompt,
                    "output_tokens": 0 if price.output_usd_per_mtok is None else answer,
                    "cached_input_tokens": cached,
                    "cache_write_tokens": written,
                }
                try:
                    ours = api_request_usd(dated, batch=batch, **tokens)
                except UsageError:
                    ours = None  # a tier without a batch price
                try:
                    theirs = genai_request_cost(price.name, date=day, known=dated, batch=batch, **tokens).usd
                except UsageError:
                    theirs = None
                compared += 1
                if ours is None or theirs is None or ours != pytest.approx(theirs, rel=0.005):
                    apart[price.name, mix, batch] = (ours, theirs)
    assert compared > 1000
    assert {name for name, _, _ in apart} == set(EXPLAINED), apart


def test_the_package_prices_a_request_of_a_pinned_day() -> None:
    pytest.importorskip("genai_prices")
    from llmdrill.catalog.genai import genai_request_cost, source

    found = genai_request_cost("gpt-4o", date=dt.date(2026, 1, 1), input_tokens=500, output_tokens=200)
    assert found.usd == pytest.approx(0.00325)
    assert (found.model, found.provider, found.date) == ("gpt-4o", "openai", dt.date(2026, 1, 1))
    assert found.source == source() == "genai-prices 0.2.3"
    before, after = (genai_request_cost("o3", date=dt.date(2025, 6, day), input_tokens=1e6).usd for day in (9, 10))
    assert (before, after) == (10, 2)
    elsewhere = genai_request_cost("azure:gpt-4o", date=dt.date(2026, 1, 1), input_tokens=500, output_tokens=200)
    assert elsewhere.provider == "azure"


def test_what_the_package_cannot_price_is_refused() -> None:
    pytest.importorskip("genai_prices")
    from llmdrill.catalog.genai import genai_request_cost

    day = dt.date(2026, 11, 10)
    with pytest.raises(UnknownNameError, match="model of genai-prices"):
        genai_request_cost("gpt-4oo-maxi", date=day, input_tokens=1)
    with pytest.raises(UsageError, match="no batch price on 2025-01-01"):
        genai_request_cost("gpt-4o", date=dt.date(2025, 1, 1), input_tokens=1, batch=True)
    with pytest.raises(UsageError, match="no price per token"):
        genai_request_cost("x", known=find_price("gemma-4-31b-it"), date=day, input_tokens=1)


def test_without_the_extra_the_install_line_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from llmdrill.catalog.genai import genai_request_cost

    monkeypatch.setitem(sys.modules, "genai_prices", None)
    with pytest.raises(MissingExtraError, match=r"llmdrill\[prices\]"):
        genai_request_cost("gpt-4o", date=dt.date(2026, 1, 1), input_tokens=1)
