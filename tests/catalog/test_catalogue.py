"""The shipped catalogue: every entry loads, is sourced and dated, and equals what it was read from."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from llmdrill.catalog import load
from llmdrill.catalog.reader import read_records
from llmdrill.catalog.records import Accelerator, ModelRecord
from llmdrill.errors import ContentError, UnknownNameError, UsageError

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


@pytest.mark.parametrize("page", ["README.md", "CHANGELOG.md"])
def test_the_pages_count_the_catalogue_rightly(page: str) -> None:
    root = Path(__file__).resolve().parents[2]
    if not (root / page).exists():
        pytest.skip("not a checkout")
    said = " ".join((root / page).read_text("utf-8").split())
    models, accelerators = len(load.load_models()), len(load.load_accelerators())
    api_models = len({price.name for price in load.load_prices()})
    assert f"{models} open models, {accelerators} accelerators and {api_models} API models" in said
