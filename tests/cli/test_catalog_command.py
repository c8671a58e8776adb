"""`llmdrill catalog`: lists, one entry in full with source and date, filters, refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from llmdrill.catalog.load import load_accelerators, load_api_latency, load_models, load_prices
from llmdrill.errors import EXIT_CANNOT_RUN

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Call

ALL: dict[str, Callable[[], tuple[Any, ...]]] = {
    "models": load_models,
    "accelerators": load_accelerators,
    "latency": load_api_latency,
    "prices": load_prices,
}


@pytest.mark.parametrize("kind", ALL)
def test_a_list_has_every_name(call: Call, kind: str) -> None:
    ran = call("catalog", kind, "--json")
    assert ran.status == 0, ran.err
    assert ran.json["schema"] == f"llmdrill/catalog-{kind}@1"
    assert {row["name"] for row in ran.json[kind]} == {record.name for record in ALL[kind]()}
    assert all(row["source"] and row["date"] for row in ran.json[kind])
    text = call("catalog", kind, "--plain").out
    assert all(record.name in text for record in ALL[kind]())


@pytest.mark.parametrize("columns", ["40", "60", "80", "120"])
@pytest.mark.parametrize("kind", ALL)
def test_it_is_readable_on_narrow_terminals(
    call: Call, monkeypatch: pytest.MonkeyPatch, kind: str, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    name = ALL[kind]()[0].name
    for words in (("catalog", kind), ("catalog", kind, name)):
        lines = call(*words, "--plain").out.splitlines()
        words_apart = [line for line in lines if len(line) > int(columns) and " " in line.strip()]
        assert not words_apart, words_apart[:3]


def test_one_accelerator_in_full(call: Call) -> None:
    out = call("catalog", "accelerators", "A100", "--plain").out
    assert "a100-sxm-80gb" in out
    for said in ("2.04 TB/s", "312 TFLOP/s", "NVLink 3", "runpod", "$1.79", "2026-11-09", "Source, as of", "gpus.csv"):
        assert said in out, said
    assert "No rent was read" in call("catalog", "accelerators", "h20", "--plain").out
    assert "tdp_w*" in call("catalog", "accelerators", "gh200-96gb", "--plain").out


def test_one_price_shows_every_day_and_tier(call: Call) -> None:
    ran = call("catalog", "prices", "o3", "--json")
    assert [(row["since"], row["input_usd_per_mtok"]) for row in ran.json["prices"]] == [(None, 10), ("2025-06-10", 2)]
    rows = [row for row in call("catalog", "prices", "o3", "--format", "markdown").out.splitlines() if "any" in row]
    assert [("2025-06-10" in row, "in force" in row) for row in rows if "from" not in row] == [
        (False, False),
        (True, True),
    ]
    table = call("catalog", "prices", "gemini-2.5-pro", "--format", "markdown").out
    assert "| above 200,000 |  | 2.5 | 15 |" in table
    assert "genai-prices 0.2.3" in table


def test_the_list_of_prices_is_that_of_one_day(call: Call) -> None:
    old = call("catalog", "prices", "--date", "2025-06-09", "--json").json["prices"]
    assert next(row for row in old if row["name"] == "o3")["input_usd_per_mtok"] == 10
    names = [row["name"] for row in old]
    assert len(names) == len(set(names))


def test_a_model_that_is_free_is_listed_as_free(call: Call) -> None:
    out = call("catalog", "prices", "gemma-4", "--format", "markdown").out
    assert "free of charge" in out or "Free" in out


def test_part_of_a_name_filters(call: Call) -> None:
    found = call("catalog", "accelerators", "a100", "--json").json["accelerators"]
    assert [one["name"] for one in found] == ["a100-sxm-80gb"]  # a100 is a name of its own
    found = call("catalog", "accelerators", "a100-", "--json").json["accelerators"]
    assert {one["name"].split("-")[0] for one in found} == {"a100"}
    assert len(found) == 4
    found = call("catalog", "models", "LLAMA-3.1", "--json").json["models"]
    assert len(found) > 1
    assert all("llama-3.1" in f"{one['name']} {one['aliases']}".lower() for one in found)


@pytest.mark.parametrize("kind", ALL)
def test_an_unknown_name_is_refused(call: Call, kind: str) -> None:
    ran = call("catalog", kind, "qqqqzz")
    assert ran.status == EXIT_CANNOT_RUN
    assert "qqqqzz" in ran.err
    assert not ran.out


def test_a_near_name_is_offered(call: Call) -> None:
    assert "gpt-4o-mini" in call("catalog", "prices", "gpt-4o-mni").err
