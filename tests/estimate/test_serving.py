"""The serving model: within its stated error on published runs, above physics' floor, monotone where it must be."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.catalog.load import find_accelerator, find_model, find_serving
from llmdrill.errors import UsageError
from llmdrill.estimate.serving import ServingEstimate, serving_estimate
from llmdrill.estimate.serving_steps import Load, decode_step_s, read_parameters

ROOT = Path(__file__).parents[2]
RUNS = ROOT.parent / "shared" / "data" / "measured" / "serving.csv"
LLAMA, H100 = find_model("llama-3.1-8b"), find_accelerator("h100")


def estimate(**changes: Any) -> ServingEstimate:
    point: dict[str, Any] = {"batch": 16, "input_tokens": 1024, "output_tokens": 256}
    return serving_estimate(LLAMA, H100, **{**point, **changes})


@pytest.mark.skipif(not RUNS.is_file(), reason="the shared measurements are not beside the repository")
def test_the_error_on_published_runs_is_no_larger_than_the_catalogue_says() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "serving_accuracy.py"), "--data", str(RUNS), "--json"]
    result = json.loads(subprocess.run(command, capture_output=True, check=True, cwd=ROOT, text=True).stdout)
    overall = {group["metric"]: group for group in result["groups"] if group["model"] == "all"}
    constants = find_serving("default")
    assert overall["tpot"]["n"] == overall["ttft"]["n"] == 309
    assert overall["tpot"]["median_error_share"] <= constants.tpot_median_error
    assert overall["ttft"]["median_error_share"] <= constants.ttft_median_error
    assert sum(result["not_predicted"].values()) + sum(group["n"] for group in overall.values()) == 2955


def test_one_published_run_lies_in_the_band() -> None:
    """Llama-3.1-8B, one H100, TensorRT-LLM, 32 clients, 1024 in and 512 out: TPOT 9.877 ms (aiconfigurator)."""
    tpot = estimate(batch=32, output_tokens=512).tpot_s
    assert tpot.low_s < 9.877e-3 < tpot.high_s
    assert tpot.value_s == pytest.approx(9.877e-3, rel=0.1)


@given(batch=st.integers(1, 256), tokens=st.integers(1, 16_000), devices=st.sampled_from([1, 2, 4, 8]))
def test_no_prediction_is_faster_than_physics(batch: int, tokens: int, devices: int) -> None:
    point = estimate(batch=batch, input_tokens=tokens, tensor_parallel=devices)
    for predicted in (point.ttft_s, point.tpot_s):
        assert predicted.floor_s <= predicted.low_s <= predicted.value_s <= predicted.high_s


@given(batch=st.integers(1, 200), tokens=st.integers(16, 8000))
def test_more_clients_and_longer_prompts_are_never_faster(batch: int, tokens: int) -> None:
    point = estimate(batch=batch, input_tokens=tokens)
    for harder in (estimate(batch=batch + 1, input_tokens=tokens), estimate(batch=batch, input_tokens=tokens + 100)):
        assert harder.tpot_s.value_s > point.tpot_s.value_s
        assert harder.ttft_s.value_s > point.ttft_s.value_s


def test_fewer_bytes_decode_faster_and_a_bigger_device_holds_more() -> None:
    assert estimate(batch=1, precision="fp8").tpot_s.value_s < estimate(batch=1).tpot_s.value_s
    assert estimate(cache_bytes_per_value=1.0).max_sequences > 1.9 * estimate().max_sequences
    more = serving_estimate(LLAMA, find_accelerator("h200"), batch=16, input_tokens=1024, output_tokens=256)
    assert more.max_sequences > estimate().max_sequences


def test_a_model_that_does_not_fit_says_so() -> None:
    too_big = serving_estimate(
        find_model("llama-3.1-70b"), H100, batch=1, input_tokens=100, output_tokens=10, precision="bf16"
    )
    assert not too_big.fits
    assert too_big.max_sequences == 0
    assert estimate().fits
    assert not estimate(batch=estimate().max_sequences + 1).fits


def test_a_mixture_reads_its_active_experts_for_one_token_and_nearly_all_for_many() -> None:
    model = find_model("mixtral-8x7b")
    assert model.parameters is not None
    assert model.embedding_parameters is not None
    assert model.active_parameters is not None
    rest = model.embedding_parameters
    assert read_parameters(model, tokens=1) == pytest.approx(model.active_parameters - rest)
    assert read_parameters(model, tokens=200) == pytest.approx(model.parameters - rest)


def test_the_shown_formula_gives_the_shown_value() -> None:
    tpot, ttft = estimate().formulas
    assert tpot.value == estimate().tpot_s.value_s
    assert ttft.value == estimate().ttft_s.value_s
    for explained in (tpot, ttft):
        left, right = explained.filled.replace(" s", "").replace("×", "*").replace(",", "").split(" = ")
        assert eval(left) == pytest.approx(float(right), rel=1e-4)  # noqa: S307 - our own text


def test_without_prefills_in_the_way_tpot_is_the_step() -> None:
    assert estimate(batch=1).tpot_s.value_s == estimate(batch=1).step_s
    load = Load(batch=16, input_tokens=1024, output_tokens=256)
    assert estimate().step_s == decode_step_s(LLAMA, H100, load, find_serving("default"))


def test_what_cannot_be_predicted_is_refused() -> None:
    with pytest.raises(UsageError, match="encoder"):
        serving_estimate(find_model("minilm"), H100, batch=1, input_tokens=1, output_tokens=1)
    with pytest.raises(UsageError, match="no solid FLOP/s of 'rtx-4090'"):
        serving_estimate(LLAMA, find_accelerator("rtx-4090"), batch=1, input_tokens=1, output_tokens=1)
    with pytest.raises(UsageError, match="unknown precision 'fp17'"):
        estimate(precision="fp17")
    with pytest.raises(ValueError, match="batch must be above zero"):
        estimate(batch=0)
