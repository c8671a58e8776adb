"""The benchmark of the serving estimate: its errors are as the catalogue says, and no row is dropped in silence."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from llmdrill.catalog.load import find_serving

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "serving_accuracy.py"
RUNS = ROOT.parent / "shared" / "data" / "measured" / "serving.csv"
HEADER = (
    "model,params_b,active_params_b,gpu,n_gpu,precision,input_len,output_len,batch_or_concurrency,metric,value,unit,tp,"
    "pp,attention_dp,moe_tp,moe_ep,framework,framework_version,scenario,source"
)
CLOSED = '"online, closed loop concurrency",x'


def measure(path: Path) -> dict[str, Any]:
    command = [sys.executable, str(SCRIPT), "--data", str(path), "--json"]
    result: dict[str, Any] = json.loads(
        subprocess.run(command, capture_output=True, check=True, cwd=ROOT, text=True).stdout
    )
    return result


@cache
def shared() -> dict[str, Any]:
    return measure(RUNS)


def group(metric: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in shared()["groups"] if (one["metric"], one["name"]) == (metric, name))
    return found


needs_runs = pytest.mark.skipif(not RUNS.is_file(), reason="the shared measurements are not beside the repository")


@needs_runs
def test_every_row_of_the_shared_file_is_predicted_or_listed() -> None:
    result = shared()
    assert result["rows"] == 2955
    assert result["predicted"] + sum(result["not_predicted"].values()) == result["rows"]
    assert {reason: len(lines) for reason, lines in result["not_predicted_lines"].items()} == result["not_predicted"]
    assert result["predicted"] >= 2900


@needs_runs
@pytest.mark.parametrize(
    ("metric", "name", "median", "p90"),
    [
        ("tpot", "dense", 0.10, 0.30),
        ("tpot", "moe", 0.20, 0.50),
        ("ttft without visible queueing", "all", 0.30, 1.0),
        ("throughput at maximum load", "dense", 0.15, 0.60),
    ],
)
def test_errors_on_the_shared_file(metric: str, name: str, median: float, p90: float) -> None:
    found = group(metric, name)
    assert found["median_error_share"] <= median
    assert found["p90_error_share"] <= p90
    assert found["median_error_share"] < found["roofline_median_error_share"] / 2


@needs_runs
def test_the_errors_in_sample_are_no_larger_than_those_the_catalogue_states_for_runs_held_out() -> None:
    for models in ("dense", "moe"):
        for metric in ("tpot", "ttft"):
            stated = find_serving("default").band(metric, mixture=models == "moe")
            assert group(metric, models)["median_error_share"] <= stated.median_error + 0.01
    assert 0.75 <= group("tpot", "all")["in_band_share"] <= 0.95


def test_rows_of_unknown_models_devices_engines_and_blank_fields_are_listed_not_fatal(tmp_path: Path) -> None:
    rows = [
        f"llama-3.1-8b,,,L40S,1,,1024,128,8,tpot,20,ms,1,,,,,some-engine,9,{CLOSED}",  # another engine: predicted
        f"llama-3.1-8b,,,h100,,bf16,1024,128,8,ttft,90,ms,,,,,,vllm,,{CLOSED}",  # blank split: predicted
        f"no-such-model,,,h100,1,,1024,128,8,tpot,20,ms,1,,,,,vllm,,{CLOSED}",
        f"llama-3.1-8b,,,no-such-gpu,1,,1024,128,8,tpot,20,ms,1,,,,,vllm,,{CLOSED}",
        f"llama-3.1-8b,,,h100,1,,1024,128,8,tea,20,ms,1,,,,,vllm,,{CLOSED}",
        f"llama-3.1-8b,,,h100,1,q9,1024,128,8,tpot,20,ms,1,,,,,vllm,,{CLOSED}",
        f"llama-3.1-8b,,,h100,1,,,128,8,tpot,20,ms,1,,,,,vllm,,{CLOSED}",
        f"llama-3.1-8b,,,h100,1,,1024,128,8,tpot,,ms,1,,,,,vllm,,{CLOSED}",
        f"llama-3.1-8b,,,h100,2,,1024,128,8,tpot,20,ms,1,2,,,,vllm,,{CLOSED}",
        "llama-3.1-8b,,,h100",
        ",,,,,,,,,,,,,,,,,,,,",
    ]
    path = tmp_path / "runs.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n", encoding="utf-8")
    result = measure(path)
    assert result["rows"] == len(rows)
    assert result["predicted"] == 2
    for reason in ("no model no-such-model", "no accelerator no-such-gpu", "metric tea", "unknown precision 'q9'"):
        assert any(reason in stated for stated in result["not_predicted"])
    assert result["not_predicted"]["pipeline parallel"] == 1


def test_an_empty_file_is_no_traceback(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(HEADER + "\n", encoding="utf-8")
    assert measure(path)["groups"] == []
