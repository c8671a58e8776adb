"""Limits from the command line: what a name means, which way it points, how much more than a baseline is allowed."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from system_cases import DRAWS, api, design_file, fixed, scenario

from llmdrill.errors import ContentError, UsageError
from llmdrill.measurement import Figure, Machine, Measurement
from llmdrill.system.check import Verdict, check_design, verdict_json
from llmdrill.system.design import DesignFile, write_design
from llmdrill.system.estimate import Estimate, estimate_design
from llmdrill.system.figures import keeps
from llmdrill.system.increase import increase_share, increase_verdicts
from llmdrill.system.limits import Limit, max_increase, money_limit, slo_limit
from llmdrill.units import six_digits

PROMISES = {"total_p95": "4s", "money": "$4k", "recall": "85%", "faithful": "90%"}


def _file(stages: dict[str, Any] | None = None, promises: dict[str, Any] | None = None) -> DesignFile:
    told = {"id": "case", "sha256": scenario().sha256}
    data = {"schema": "llmdrill/design@1", "title": "x", "scenario": told, "requirements": promises or PROMISES}
    return design_file(write_design({**data, "stages": stages or {"llm": api()}}))


def _estimate(file: DesignFile) -> Estimate:
    return estimate_design(file.design, scenario(), draws=DRAWS)


def _rows(*limits: Limit, file: DesignFile | None = None, measurement: Measurement | None = None) -> dict[str, Verdict]:
    file = file or _file()
    rows = check_design(file, scenario(), _estimate(file), measurement, expected_key="k", limits=limits)
    return {row.requirement: row for row in rows}


# --- names and values ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "metric", "limit", "per"),
    [
        ("ttft_p95_ms=800", "ttft_p95_s", 0.8, 0.001),
        ("ttft_p95_ms=0.8s", "ttft_p95_s", 0.8, 0.001),
        ("TTFT-p95-ms<=800", "ttft_p95_s", 0.8, 0.001),
        ("ttft_p95_s=0.8", "ttft_p95_s", 0.8, 1.0),
        ("p95_ms=4000", "total_p95_s", 4.0, 0.001),
        ("total_p99_min=1", "total_p99_s", 60.0, 60.0),
        ("memory_gb=80", "memory_bytes", 80e9, 1e9),
        ("memory_gib=80", "memory_bytes", 80 * 2**30, 2**30),
        ("memory_gb=80GiB", "memory_bytes", 80 * 2**30, 1e9),
        ("usd_per_month=$2.5k", "usd_per_month", 2500.0, 1.0),
        ("success_share=99.9%", "success_share", 0.999, 1.0),
        ("success_percent>=99.9", "success_share", 0.999, 0.01),
        ("human_share=0", "human_share", 0.0, 1.0),
        ("recall_at_k>=0.7", "recall_at_k", 0.7, 1.0),
    ],
)
def test_a_bare_number_has_the_unit_of_the_name(text: str, metric: str, limit: float, per: float) -> None:
    found = slo_limit(text)
    assert (found.metric.name, found.stage) == (metric, None)
    assert found.limit == pytest.approx(limit)
    assert found.per == pytest.approx(per)


@given(st.integers(1, 10**6))
def test_milliseconds_by_name_by_unit_and_in_seconds_are_one_limit(ms: int) -> None:
    same = {slo_limit(f"ttft_p95_ms={ms}").limit, slo_limit(f"ttft_p95_ms={ms}ms").limit}
    assert len(same) == 1
    assert slo_limit(f"ttft_p95_s={ms}ms").limit == pytest.approx(ms / 1000)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("ttft_p96_ms=800", "unknown metric 'ttft_p96_ms' (did you mean ttft_p95_ms"),
        ("total_p95_msec=800", "did you mean total_p95_ms"),
        ("zzz=1", "unknown metric 'zzz' (known: ttft_p50_ms"),
        ("tpot_p95_ms=30", "write STAGE.tpot_p95_ms"),
        ("faithfulness=0.9", "needs people"),
        ("ttft_p95_ms>=800", "more of ttft_p95_ms is worse; write ttft_p95_ms<=VALUE"),
        ("success_share<=0.9", "more of success_share is better"),
        ("ttft_p95_ms=-1", "negative"),
        ("ttft_p95_ms=0", "nothing takes no time"),
        ("ttft_p95_ms=nan", "not a quantity"),
        ("ttft_p95_ms=inf", "not a quantity"),
        ("usd_per_month=1e400", "too large"),
        ("ttft_p95_ms=8GB", "unknown unit 'GB'"),
        ("success_share=3", "no share"),
        ("llm.colour=3", "unknown metric 'colour' of a stage"),
        ("ttft_p95_ms", "write it like ttft_p95_ms=800"),
        ("=800", "write it like"),
        ("ttft_p95_ms=", "write it like"),
        ("ttft_p95_ms==800", "not a quantity"),
        ("", "write it like"),
        ("a" * 10_000, "write it like"),
    ],
)
def test_a_limit_that_means_nothing_is_refused_in_a_line(text: str, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        slo_limit(text)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 900


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "1e400", "", "2 EUR", "ten"])
def test_an_amount_that_is_none_is_refused_with_its_option(text: str) -> None:
    with pytest.raises(UsageError, match=r"--max-usd-per-request: "):
        money_limit("request", text)


@pytest.mark.parametrize(
    ("text", "why"), [("-10%", "negative"), ("nan", "quantity"), ("10", "1000%; write 10%"), ("x", "quantity")]
)
def test_an_increase_that_could_mean_two_things_is_refused(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        max_increase(text)


# --- rows ---------------------------------------------------------------------------------------------------------


def test_a_limit_of_the_call_is_a_row_of_its_own_in_the_unit_of_its_name() -> None:
    rows = _rows(slo_limit("ttft_p95_ms=700"), money_limit("month", "$3k"))
    assert list(rows)[-2:] == ["ttft_p95_ms", "max_usd_per_month"]
    assert rows["ttft_p95_ms"].result == rows["max_usd_per_month"].result == "fail"
    told = verdict_json(rows["ttft_p95_ms"])
    assert told["limit"] == 700
    assert told["estimated"] == pytest.approx(800, rel=0.05)  # the stated p95 of the model
    assert verdict_json(rows["max_usd_per_month"])["limit"] == 3000
    assert verdict_json(rows["total_p95"])["limit"] == 4


def test_a_limit_of_the_name_of_a_row_makes_it_stricter_and_never_laxer() -> None:
    by_metric = {"total_p95": "4s", "usd_per_month": "$3.9k", "recall": "85%", "faithful": "90%", "human_share": "5%"}
    strict = _rows(slo_limit("human_share=2%"), file=_file(promises=by_metric))["human_share"]
    assert (strict.limit, strict.why.rpartition("; ")[2]) == (0.02, "the limit is the command line's")
    lax = _rows(slo_limit("human_share=9%"), file=_file(promises=by_metric))["human_share"]
    assert (lax.limit, "command line" in lax.why) == (0.05, False)


def test_one_stage_can_be_held_to_a_limit() -> None:
    rows = _rows(slo_limit("llm.tpot_p95_ms=15"), slo_limit("llm.p95_ms=60s"), slo_limit("llm.usd_per_request=1"))
    assert [row.result for row in rows.values()][-3:] == ["fail", "pass", "pass"]
    assert rows["llm.tpot_p95_ms"].estimated == pytest.approx(0.02, rel=0.05)


def test_a_stage_that_is_not_there_is_told_at_the_designs_stages() -> None:
    with pytest.raises(ContentError, match=r"my\.design\.yaml:\d+:\d+: stages: .*no stage 'lm' \(did you mean llm\?\)"):
        _rows(slo_limit("lm.p95_ms=60s"))


def test_a_figure_of_a_stage_that_it_has_not_is_unknown() -> None:
    file = _file({"tool": fixed(0.1), "llm": api(after=["tool"])})
    assert _rows(slo_limit("tool.ttft_p95_ms=60s"), file=file)["tool.ttft_p95_ms"].result == "unknown"


def test_a_stage_over_capacity_fails_its_time_limit() -> None:
    row = _rows(slo_limit("llm.p95_ms=60s"), file=_file({"llm": api(rate_limit_per_s=1.5)}))["llm.p95_ms"]
    assert (row.estimated, row.result) == (None, "fail")
    assert row.why.startswith("over capacity: ")


def test_a_measured_metric_is_judged_by_the_measurement() -> None:
    machine = Machine("cpu", 2, 2, 8_000_000_000, "linux", ())
    seen = Measurement("retrieval", "k", (Figure("mrr_at_k", 0.5),), (), machine, 0, 1, 1.0)
    rows = _rows(slo_limit("mrr_at_k=0.6"), measurement=seen)
    assert (rows["mrr_at_k"].measured, rows["mrr_at_k"].result) == (0.5, "fail")
    assert _rows(slo_limit("mrr_at_k=0.6"))["mrr_at_k"].result == "unknown"


def test_a_row_stands_at_its_promise_or_at_the_stage_that_weighs_most() -> None:
    file = _file({"tool": fixed(0.1), "llm": api(after=["tool"])})
    rows = _rows(money_limit("request", "1"), slo_limit("tool.p95_ms=1"), file=file)
    lines = {name: file.located.places[("stages", name)][0] for name in ("tool", "llm")}
    assert rows["max_usd_per_request"].line == lines["llm"]
    assert rows["tool.p95_ms"].line == lines["tool"]
    assert (rows["money"].line, rows["money"].column) == file.located.places[("requirements", "money")]


@pytest.mark.parametrize("name", ["p95_ms", "p95_s", "usd_per_month", "llm.p95_ms", "llm.usd_per_request"])
def test_a_figure_copied_from_the_json_is_a_limit_that_is_kept_and_one_below_it_is_not(name: str) -> None:
    figure = verdict_json(_rows(slo_limit(f"{name}=1"))[name])["estimated"]
    assert _rows(slo_limit(f"{name}={figure}"))[name].result == "pass"
    row = _rows(slo_limit(f"{name}={figure * (1 - 2e-6):.12g}"))[name]
    assert row.result == "fail"
    told, limit = row.why.partition(";")[0].removeprefix("estimated ").split(" breaks at most ")
    assert told != limit


@given(st.floats(1e-9, 1e9), st.sampled_from([1.0, 0.001, 60.0, 2**30]))
def test_every_figure_keeps_what_is_printed_of_it_and_breaks_a_limit_a_millionth_off(value: float, per: float) -> None:
    printed = six_digits(value / per) * per
    assert keeps(value, printed, better="lower", per=per)
    assert keeps(value, printed, better="higher", per=per) or printed == 1
    assert not keeps(value, value * (1 - 1.1e-5), better="lower", per=per)
    assert not keeps(value, value * (1 + 1.1e-5), better="higher", per=per)


def test_short_of_all_is_not_all() -> None:
    assert not keeps(1 - 1e-9, 1.0, better="higher")


# --- increase -----------------------------------------------------------------------------------------------------


@given(st.floats(1e-6, 1e9), st.floats(0, 10))
def test_the_increase_of_a_figure_is_the_share_it_rose_by(base: float, share: float) -> None:
    assert increase_share(base, base * (1 + share)) == pytest.approx(share, abs=1e-9)


def _increases(base: dict[str, Any], head: dict[str, Any], allowed: float) -> dict[str, Verdict]:
    old, new = _file(base), _file(head)
    rows = increase_verdicts(new, _estimate(new), old, _estimate(old), max_increase_share=allowed)
    return {row.requirement: row for row in rows}


def test_the_same_design_rises_by_nothing() -> None:
    rows = _increases({"llm": api()}, {"llm": api()}, 0.0)
    assert {row.estimated for row in rows.values()} == {0.0}
    assert {row.result for row in rows.values()} == {"pass"}
    assert "memory_bytes_increase_share" not in rows  # neither holds any


def test_a_model_of_twice_the_price_fails_ten_percent_and_passes_what_it_costs() -> None:
    twice = {"llm": api(prompt_tokens=100), "again": api(prompt_tokens=100, after=["llm"])}
    rows = _increases({"llm": api(prompt_tokens=100)}, twice, 0.1)
    row = rows["usd_per_month_increase_share"]
    assert (row.result, row.limit) == ("fail", 0.1)
    assert row.estimated == pytest.approx(1.0)
    assert "rises by 100%: " in row.why
    generous = _increases({"llm": api(prompt_tokens=100)}, twice, 1.0)  # exactly what it rises by
    assert generous["usd_per_month_increase_share"].result == "pass"


def test_what_was_free_and_is_not_fails_and_what_is_unknown_is_unknown() -> None:
    free = {"llm": fixed(0.1)}
    assert "against nothing" in _increases(free, {"llm": api()}, 10.0)["usd_per_request_increase_share"].why
    priceless = {"llm": api(model="my-own-model")}
    row = _increases({"llm": api()}, priceless, 10.0)["usd_per_request_increase_share"]
    assert (row.result, row.estimated) == ("unknown", None)


def test_a_baseline_of_another_scenario_is_refused() -> None:
    old, new = _file(), _file()
    other = old.design.scenario.model_copy(update={"id": "rag"})
    old = dataclasses.replace(old, design=old.design.model_copy(update={"scenario": other}))
    with pytest.raises(ContentError, match="nothing to compare"):
        increase_verdicts(new, _estimate(new), old, _estimate(new), max_increase_share=0.1)
