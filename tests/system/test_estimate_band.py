"""The 80 % band of predicted serving times, carried through a design to its totals and its verdicts."""

from __future__ import annotations

from pathlib import Path

import pytest
from system_cases import api, design_file, scenario

from llmdrill.catalog.load import find_model, find_serving
from llmdrill.folders import shipped_folder
from llmdrill.report.blocks import Grid, Text
from llmdrill.report.estimate_views import estimate_view, total_texts
from llmdrill.system.band import EstimateBand, band_of
from llmdrill.system.check import Verdict, check_design
from llmdrill.system.design import DesignFile, load_design, write_design
from llmdrill.system.estimate import Estimate, estimate_design
from llmdrill.system.estimate_json import estimate_json
from llmdrill.system.limits import slo_limit
from llmdrill.system.scenario import load_scenario

COMPLETION = load_scenario("code-completion").scenario
FILE = load_design(Path(shipped_folder("scenarios"), "code-completion", "designs", "reference.design.yaml"))
DRAWS = 2000
TIMES = ("p50_s", "p95_s", "p99_s", "ttft_p50_s", "ttft_p95_s")


def _estimate(file: DesignFile = FILE) -> Estimate:
    return estimate_design(file.design, COMPLETION, draws=DRAWS)


def _band(file: DesignFile = FILE) -> EstimateBand:
    found = band_of(file.design, COMPLETION, seed=0, draws=DRAWS)
    assert found is not None
    return found


def _row(limit: str, *, band: EstimateBand | None) -> Verdict:
    rows = check_design(FILE, COMPLETION, _estimate(), None, expected_key=None, limits=[slo_limit(limit)], band=band)
    return rows[-1]


def test_a_stage_at_an_end_takes_its_band_times_as_long_and_the_others_as_long_as_before() -> None:
    stage, band, middle = FILE.design.stages["llm"], _band(), _estimate()
    constants = find_serving("vllm")
    assert getattr(stage, "engine", "") == "vllm"
    assert find_model("qwen2.5-coder-7b").experts is None
    for end, found in (("low", band.low), ("high", band.high)):
        for figure, metric in (("ttft_p50_s", "ttft"), ("ttft_p95_s", "ttft"), ("tpot_p50_s", "tpot")):
            times = getattr(constants.band(metric, mixture=False), end)
            assert getattr(found.stage("llm"), figure) == pytest.approx(times * getattr(middle.stage("llm"), figure))
        assert found.stage("network") == middle.stage("network")


def test_the_prediction_lies_between_the_ends_of_every_total() -> None:
    band, middle = _band(), _estimate()
    for name in TIMES:
        low, high = (getattr(one.total, name) for one in (band.low, band.high))
        assert low < getattr(middle.total, name) < high
    assert band.low.total.usd_per_month == middle.total.usd_per_month


def test_a_design_whose_times_nobody_predicts_has_no_band() -> None:
    told = {"id": "case", "sha256": scenario().sha256}
    data = {"schema": "llmdrill/design@1", "title": "x", "scenario": told, "stages": {"llm": api()}}
    file = design_file(write_design(data))
    assert band_of(file.design, scenario(), seed=0, draws=DRAWS) is None
    assert estimate_json(estimate_design(file.design, scenario(), draws=DRAWS))["band"] is None


def test_a_verdict_that_the_band_would_turn_says_so_and_stays_what_it_is() -> None:
    p95 = _estimate().total.p95_s or 0.0
    close, wide = (f"p95_ms={1000 * p95 * share}" for share in (1.02, 4.0))
    alone, turned = _row(close, band=None), _row(close, band=_band())
    assert (alone.result, turned.result) == ("pass", "pass")
    assert "the 80 % band of llm reaches" in turned.why
    assert turned.why.endswith("which breaks it")
    assert "band" not in alone.why + _row(wide, band=_band()).why
    fails = _row(f"p95_ms={1000 * p95 * 0.99}", band=_band())
    assert fails.result == "fail"
    assert fails.why.endswith("which keeps it")


def test_the_estimate_states_both_ends() -> None:
    band = _band()
    blocks = estimate_view(_estimate(), band=band)
    told = next(one.text for one in blocks if isinstance(one, Text) and "80 % band" in one.text)
    assert told.startswith("At the ends of the 80 % band of llm")
    found = estimate_json(_estimate(), band)["band"]
    assert found["stages"] == ["llm"]
    assert found["p95_ms"]["low"] < 1000 * (_estimate().total.p95_s or 0.0) < found["p95_ms"]["high"]


def test_a_memory_that_nobody_knows_is_unknown_and_not_left_out() -> None:
    assert _estimate().total.memory_bytes is None  # the keyword index's
    assert ("memory held", "unknown") in total_texts(_estimate())
    grid = next(one for one in estimate_view(_estimate()) if isinstance(one, Grid) and one.columns[0] == "total")
    assert grid.note.endswith("memory held is unknown.")
