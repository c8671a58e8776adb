"""The shipped catalogue: every entry loads, is sourced and dated, and equals what it was read from."""

from __future__ import annotations

import csv
import datetime as dt
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from llmdrill.catalog import load
from llmdrill.catalog.reader import read_records
from llmdrill.catalog.records import Accelerator, ModelRecord, Price
from llmdrill.errors import ContentError, UnknownNameError, UsageError
from llmdrill.estimate.cost import api_request_usd

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the shared measurements are not beside the repository")


@pytest.mark.parametrize(
    "records",
    [load.load_models, load.load_accelerators, load.load_prices, load.load_api_latency, load.load_serving],
)
def test_every_entry_has_a_source_and_a_date_and_a_name_of_its_own(records: Callable[[], tuple[Any, ...]]) -> None:
    entries = records()
    assert entries
    assert all(entry.source and isinstance(entry.date, dt.date) for entry in entries)
    names = [(known, getattr(entry, "since", None)) for entry in entries for known in (entry.name, *entry.aliases)]
    assert len(names) == len(set(names))


def test_the_catalogue_holds_what_three_scenarios_need() -> None:
    for name in ("llama-3.1-8b", "llama-3.1-70b", "qwen2.5-coder-7b", "smollm2-135m", "gpt2", "opt-13b", "mistral-7b"):
        assert load.find_model(name).kind == "decoder"
    assert load.find_model("all-MiniLM-L6-v2").parameters == 22_713_216
    assert len(load.load_accelerators()) >= 12
    assert len({price.name for price in load.load_prices()}) >= 12


@pytest.mark.parametrize("model", load.load_models(), ids=lambda model: model.name)
def test_counts_of_parameters_are_in_order(model: ModelRecord) -> None:
    assert model.parameters is not None
    assert model.active_parameters is not None
    assert model.embedding_parameters is not None
    assert model.embedding_parameters < model.active_parameters <= model.parameters
    assert model.embedding_parameters == model.vocab_size * model.hidden
    assert (model.experts is None) == (model.active_parameters == model.parameters)
    if model.experts:
        idle = model.experts.parameters * (1 - model.experts.per_token / model.experts.count)
        assert model.parameters - idle == pytest.approx(model.active_parameters)


@needs_data
def test_the_models_equal_the_public_set_they_were_read_from() -> None:
    for fact in json.loads((DATA / "models" / "models.json").read_text())["models"]:
        model = load.find_model(fact["name"])
        assert model.parameters == fact["total_params"]
        assert model.active_parameters == fact["active_params_per_token"]
        assert model.tied_embeddings == fact["tied_embeddings"]
        assert model.attention.values_per_token == fact["attention"]["kv_elements_per_layer_per_token"]


@needs_data
def test_the_accelerators_equal_the_readings_and_single_readings_are_named() -> None:
    with (DATA / "hardware" / "gpus.csv").open(newline="") as file:
        readings = {row["gpu"].lower(): row for row in csv.DictReader(file)}
    columns = {
        "memory_bytes": ("memory_gb", 1e9),
        "bandwidth_bytes_per_s": ("memory_bandwidth_gb_s", 1e9),
        "fp16_flops_per_s": ("dense_fp16_bf16_tflops", 1e12),
        "fp8_flops_per_s": ("dense_fp8_tflops", 1e12),
        "tdp_w": ("tdp_w", 1.0),
    }
    for accelerator in load.load_accelerators():
        row = readings[accelerator.name]
        for field, (column, scale) in columns.items():
            value = getattr(accelerator, field)
            assert value == (pytest.approx(float(row[column]) * scale) if row[column] else None)
            assert (field in accelerator.single_source) == (row[f"{column}_n_sources"] == "1")


@pytest.mark.parametrize("price", load.load_prices(), ids=lambda price: f"{price.name}-{price.since}")
def test_a_request_costs_what_the_pinned_price_package_says(price: Price) -> None:
    genai_prices = pytest.importorskip("genai_prices")
    day = max(price.since or dt.date.min, dt.date(2024, 1, 1))
    newer = [other for other in load.load_prices() if other.name == price.name and other.since]
    if price.since is None and newer:
        day = dt.date(2025, 1, 1)
    output_tokens = 200 if price.output_usd_per_mtok is not None else 0
    expected = genai_prices.calc_price(
        genai_prices.Usage(input_tokens=500, cache_read_tokens=100, output_tokens=output_tokens),
        model_ref=price.name,
        provider_id=price.provider,
        genai_request_timestamp=dt.datetime(day.year, day.month, day.day, 2, tzinfo=dt.UTC),
    )
    ours = api_request_usd(
        load.find_price(price.name, date=day), input_tokens=500, cached_input_tokens=100, output_tokens=output_tokens
    )
    assert ours == pytest.approx(float(expected.total_price), rel=1e-9)


def test_aliases_organisations_and_case_all_lead_to_the_same_accelerator() -> None:
    names = ("h100", "H100-80GB", "nvidia/H100_SXM", "h100-sxm-80gb")
    assert {load.find_accelerator(name).name for name in names} == {"h100-sxm-80gb"}


def test_an_unknown_name_is_answered_with_the_nearest_ones() -> None:
    with pytest.raises(UnknownNameError, match="did you mean gpt-4o-mini"):
        load.find_price("gpt4o-mini")
    with pytest.raises(UnknownNameError, match="accelerator"):
        load.find_accelerator("abacus")


def test_a_changed_price_is_found_by_its_day_and_the_default_day_is_the_catalogue_s() -> None:
    before, after = (load.find_price("o3", date=dt.date(2025, 6, day)) for day in (9, 10))
    assert (before.input_usd_per_mtok, after.input_usd_per_mtok) == (10, 2)
    assert load.find_price("o3") == load.find_price("o3", date=load.catalogue_date())


def test_a_batch_price_does_not_reach_back_before_the_source_knew_it() -> None:
    assert load.find_price("gpt-4o", date=dt.date(2026, 10, 13)).batch_input_usd_per_mtok is None
    assert load.find_price("gpt-4o", date=dt.date(2026, 10, 14)).batch_input_usd_per_mtok == 1.25


def test_a_price_before_the_first_known_day_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "prices.yaml").write_text(
        "source: a page\ndate: 2026-01-02\nrecords:\n"
        "  - {name: x, provider: p, max_context_tokens: null, entries: [{input: 1, since: 2026-01-01}]}\n"
    )
    monkeypatch.setattr(load, "FOLDER", tmp_path)
    load.load_prices.cache_clear()
    try:
        assert load.find_price("x").input_usd_per_mtok == 1
        with pytest.raises(UsageError, match="no price of 'x' before 2026-01-01"):
            load.find_price("x", date=dt.date(2025, 12, 31))
    finally:
        load.load_prices.cache_clear()


def test_an_accelerator_without_a_rental_says_none_rather_than_zero() -> None:
    assert load.find_accelerator("l4").rental is None
    rental = load.find_accelerator("a100-80gb").rental
    assert rental is not None
    assert rental.date == max(other.date for other in load.find_accelerator("a100-80gb").rentals)


GOOD = "name: x, memory_bytes: 1, bandwidth_bytes_per_s: 1, fp16_flops_per_s: 1, fp8_flops_per_s: null, tdp_w: 1"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("records:\n  - {" + GOOD + ", source: s}", "2:5: records.0.: the key 'date' is missing"),
        ("date: 2026-01-01\nsource: s\nrecords:\n  - {" + GOOD + ", colour: red}", "unknown key 'colour'"),
        ("date: soon\nsource: s\nrecords:\n  - {" + GOOD + "}", "must be a date like"),
        (
            "source: s\ndate: 2026-01-01\nrecords:\n  - {" + GOOD.replace("_w: 1", "_w: hot") + "}",
            "must be a num",
        ),
        ("records: 3", "must be a list"),
        ("[]", "needs the key 'records'"),
    ],
)
def test_a_malformed_catalogue_file_is_refused_at_its_line(tmp_path: Path, text: str, what: str) -> None:
    file = tmp_path / "file.yaml"
    file.write_text(text)
    with pytest.raises(ContentError, match=what):
        read_records(file, Accelerator)
