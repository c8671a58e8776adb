"""Self-hosted models under load, limits, and what is not known."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from system_cases import api, estimated, fixed, known, scenario, stage_of, workload

from llmdrill.catalog.load import find_accelerator, find_model
from llmdrill.estimate.fit import released_bytes
from llmdrill.estimate.placement import Demand, place
from llmdrill.estimate.serving import serving_estimate
from llmdrill.estimate.serving_load import served_precision
from llmdrill.system.estimate_json import estimate_json

Stages = dict[str, dict[str, Any]]


def _own(**changes: Any) -> dict[str, Any]:
    return {"kind": "llm", "model": "llama-3.1-8b", "served": "self", "on": "h100-sxm-80gb", **changes}


def test_over_a_rate_limit_there_is_no_latency_but_a_reason() -> None:
    found = estimated({"a": fixed(1.0, rate_limit_per_s=1.5), "b": fixed(1.0, after=["a"])})
    assert stage_of(found, "a").p50_s is None
    assert stage_of(found, "b").p50_s == 1.0
    assert found.total.p95_s is None
    assert found.total.over_capacity == "a: 1.52 requests/s in the busy hour are over the rate limit of 1.5/s"
    assert found.bottleneck == "a"
    assert estimated({"a": fixed(1.0, rate_limit_per_s=1.6)}).total.p95_s == 1.0


def test_a_load_that_no_batch_serves_gives_no_figure_and_says_so() -> None:
    crowd = scenario(workload=workload(requests_per_month="10B"))
    found = estimated({"llm": _own()}, of=crowd)
    assert found.stages[0].p50_s is None
    assert found.stages[0].ttft_p95_s is None
    assert "serve at most about" in str(found.total.over_capacity)
    assert found.total.usd_per_month is not None
    text = json.dumps(estimate_json(found), allow_nan=False)
    assert "Infinity" not in text


def test_weights_that_do_not_fit_are_over_capacity() -> None:
    found = estimated({"llm": _own(model="llama-3.1-70b")})
    assert "does not fit" in str(found.total.over_capacity)
    assert estimated({"llm": _own(model="llama-3.1-70b", tensor_parallel=4)}).total.over_capacity is None


@settings(max_examples=8, deadline=None)
@given(replicas=st.integers(1, 4))
def test_more_replicas_are_dearer_larger_and_no_slower(replicas: int) -> None:
    busy = scenario(workload=workload(requests_per_month="20M"))
    few, more = (estimated({"llm": _own(replicas=n)}, of=busy) for n in (replicas, replicas + 1))
    assert known(more.total.usd_per_month) > known(few.total.usd_per_month)
    assert known(more.total.memory_bytes) > known(few.total.memory_bytes)
    if few.total.p50_s is not None:
        assert known(more.total.p50_s) <= known(few.total.p50_s) * 1.001


def test_the_batch_obeys_littles_law() -> None:
    busy = scenario(workload=workload(requests_per_month="20M"))
    shown = {one.name: one for one in estimated({"llm": _own()}, of=busy).stages[0].explained}
    rate = 20e6 / (730 * 3600) * 4
    residence = shown["ttft_s"].value + 199 * shown["tpot_s"].value
    assert shown["batch"].value == pytest.approx(1 + rate * residence, rel=1e-6)


def test_a_self_hosted_model_is_as_quick_as_the_serving_model_says_at_that_batch() -> None:
    busy = scenario(workload=workload(requests_per_month="20M"))
    stage = estimated({"llm": _own()}, of=busy, draws=20_000).stages[0]
    shown = {one.name: one.value for one in stage.explained}
    said = serving_estimate(
        find_model("llama-3.1-8b"),
        find_accelerator("h100-sxm-80gb"),
        batch=shown["batch"],
        input_tokens=700,
        output_tokens=200,
        engine="vllm",
    )
    assert shown["batch"] > 5
    assert shown["tpot_s"] == pytest.approx(said.tpot_s.value_s)
    assert stage.tpot_p50_s == pytest.approx(said.tpot_s.value_s, rel=0.05)
    assert said.prefill_s < shown["ttft_s"] < said.ttft_s.value_s  # requests that do not all start at once wait less
    assert known(stage.ttft_p50_s) < shown["ttft_s"] < known(stage.ttft_p95_s)  # the serving model states a mean


def test_rent_is_paid_by_the_hour_whatever_the_load() -> None:
    stages = {"llm": _own(replicas=2, tensor_parallel=2, usd_per_accelerator_hour=3.0)}
    for requests in ("1k", "1M"):
        found = estimated(stages, of=scenario(workload=workload(requests_per_month=requests)))
        assert found.total.usd_per_month == pytest.approx(3.0 * 4 * 730)


def test_an_unknown_price_makes_the_total_unknown_not_zero() -> None:
    found = estimated({"llm": api(model="nobody-knows-it")})
    assert found.stages[0].usd_per_request is None
    assert found.total.usd_per_month is None
    assert any("no price of 'nobody-knows-it' is known" in note for note in found.notes)
    stated = estimated({"llm": api(model="nobody-knows-it", usd_per_million_input=2.5, usd_per_million_output=10)})
    assert stated.total.usd_per_request == pytest.approx(0.00325)


def test_an_index_of_unknown_size_has_no_memory_figure() -> None:
    stages: Stages = {
        "chunk": {"kind": "chunking", "method": "fixed", "size_tokens": 200},
        "embed": {"kind": "embedding", "model": "all-minilm-l6-v2"},
        "search": {"kind": "vector_search", "after": ["embed"], "k": 5},
    }
    assert estimated(stages).total.memory_bytes is None
    assert estimated(stages, corpus_tokens=200e6).total.memory_bytes == 1e6 * 384 * 4
    assert estimated(stages, chunks=10).total.memory_bytes == 10 * 384 * 4


def test_a_figure_nobody_measured_is_called_assumed_and_ones_own_is_called_yours() -> None:
    stages = {
        "guard": {"kind": "rules"},
        "llm": api(after=["guard"]),
        "plain": {**api(after=["llm"]), "ttft_p50": None},
    }
    del stages["plain"]["ttft_p50"], stages["plain"]["ttft_p95"]
    found = estimated(stages)
    assert [one.basis for one in found.stages] == ["assumed", "yours", "assumed"]
    assert found.total.basis == "assumed"
    assert any(note.startswith("plain: the time to first token of 'gpt-4o' is assumed") for note in found.notes)
    assert estimated({"llm": api()}).total.basis == "yours"


@pytest.mark.parametrize(
    ("model", "split", "on"),
    [
        ("llama-3.1-8b", 1, "h100-sxm-80gb"),
        ("llama-3.1-8b", 8, "h100-sxm-80gb"),
        ("deepseek-v3", 8, "b200-sxm-180gb"),
        ("jamba-v0.1", 2, "h200-sxm-141gb"),
        ("gpt-oss-120b", 1, "h100-sxm-80gb"),
    ],
)
def test_a_design_holds_what_the_calculators_say(model: str, split: int, on: str) -> None:
    """`calc latency` and `calc memory` of the same replica, at the batch of the busy hour; gpt-oss as released."""
    precision = {"precision": "fp8"} if model == "deepseek-v3" else {}
    stage = estimated({"llm": _own(model=model, tensor_parallel=split, on=on, **precision)}).stages[0]
    batch = {one.name: one.value for one in stage.explained}["batch"]
    record, device = find_model(model), find_accelerator(on)
    weights = released_bytes(record, precision.get("precision"))[1]
    placed = place(record, Demand(weights), tensor_parallel=split)
    said = serving_estimate(
        record,
        device,
        batch=batch,
        input_tokens=700,
        output_tokens=200,
        tensor_parallel=split,
        precision=served_precision(record, precision.get("precision")),
    )
    assert known(stage.memory_bytes) == pytest.approx(said.memory_bytes, rel=1e-6)
    fixed = (placed.weights_bytes + placed.activation_bytes) * split
    assert known(stage.memory_bytes) == pytest.approx(fixed + batch * said.sequence_bytes, rel=1e-6)
