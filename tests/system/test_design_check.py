"""The verdicts: the stricter limit, unknown is not pass, and nothing of another version of the scenario."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from system_cases import DRAWS, api, design_file, scenario

from llmdrill.errors import ContentError
from llmdrill.measurement import Figure, Machine, Measurement
from llmdrill.system.check import Verdict, check_design, left_out
from llmdrill.system.design import write_design
from llmdrill.system.estimate import estimate_design

PROMISES = {"total_p95": "4s", "money": "$4k", "recall": "85%", "faithful": "90%"}
MACHINE = Machine("cpu", 2, 2, 8_000_000_000, "linux", ())


def _measured(*figures: Figure, key: str = "k") -> Measurement:
    return Measurement("retrieval", key, figures, (), MACHINE, 0, 1, 1.0)


def _text(promises: dict[str, Any], stages: dict[str, Any], **reference: str) -> str:
    told = {"id": "case", "sha256": scenario().sha256, **reference}
    data = {"schema": "llmdrill/design@1", "title": "x", "scenario": told, "requirements": promises, "stages": stages}
    return write_design(data)


def _verdicts(
    promises: dict[str, Any],
    measurement: Measurement | None = None,
    stages: dict[str, Any] | None = None,
    **options: Any,
) -> dict[str, Verdict]:
    file = design_file(_text(promises, stages or {"llm": api()}))
    estimate = estimate_design(file.design, scenario(), draws=DRAWS)
    rows = check_design(file, scenario(), estimate, measurement, **{"expected_key": "k", **options})
    return {row.requirement: row for row in rows}


def test_each_requirement_gets_one_row_and_what_was_not_measured_is_unknown() -> None:
    rows = _verdicts(PROMISES)
    assert {name: row.result for name, row in rows.items()} == {
        "total_p95": "fail",
        "money": "pass",
        "recall": "unknown",
        "faithful": "unknown",
    }
    assert rows["money"].estimated == pytest.approx(3250)
    assert "not measured" in rows["recall"].why
    assert "needs people" in rows["faithful"].why


def test_the_stricter_of_scenario_and_promise_is_the_limit() -> None:
    strict = _verdicts({**PROMISES, "money": "$3k"})["money"]
    assert (strict.limit, strict.result) == (3000.0, "fail")
    assert _verdicts({**PROMISES, "money": "$3.5k"})["money"].result == "pass"


def test_promising_less_than_the_scenario_asks_fails_though_the_figure_would_do() -> None:
    lax = _verdicts({**PROMISES, "money": "$5k", "recall": "80%"}, _measured(Figure("recall_at_k", 0.99)))
    assert (lax["money"].limit, lax["money"].result) == (4000.0, "fail")
    assert lax["money"].why.startswith("the design promises at most $5,000.00; the scenario asks at most $4,000.00")
    assert lax["recall"].result == "fail"
    assert lax["recall"].measured == 0.99


def test_leaving_a_requirement_out_fails_it_and_says_so() -> None:
    rows = _verdicts({"total_p95": "4s"})
    assert rows["money"].result == "fail"
    assert "promises nothing" in rows["money"].why


def test_a_promise_beyond_the_scenario_gets_its_own_row() -> None:
    rows = _verdicts({**PROMISES, "success_share": "99%", "mrr_at_k": 0.5})
    assert rows["success_share"].result == "pass"
    assert rows["mrr_at_k"].result == "unknown"
    assert list(rows)[:4] == list(PROMISES)


def test_a_promise_by_the_metrics_name_counts_for_the_requirement() -> None:
    rows = _verdicts({"total_p95_s": "4s", "usd_per_month": "$4k", "recall": "85%", "faithful": "90%"})
    assert list(rows) == list(PROMISES)
    assert rows["money"].result == "pass"


@pytest.mark.parametrize(
    ("figure", "result", "why"),
    [
        (Figure("recall_at_k", 0.9, 0.88, 0.92, 100), "pass", "measured 90% keeps at least 85%"),
        (Figure("recall_at_k", 0.8, 0.7, 0.9, 100), "fail", "the limit lies within the interval 70% to 90%"),
        (Figure("recall_at_k", None, note="another model"), "unknown", "another model"),
        (Figure("mrr_at_k", 0.9), "unknown", "did not measure it"),
    ],
)
def test_a_measurement_decides_what_only_a_run_can_tell(figure: Figure, result: str, why: str) -> None:
    row = _verdicts(PROMISES, _measured(figure))["recall"]
    assert row.result == result
    assert why in row.why


def test_a_stale_measurement_is_unknown_not_pass() -> None:
    good = _measured(Figure("recall_at_k", 0.99), key="another")
    assert _verdicts(PROMISES, good)["recall"].result == "unknown"
    assert _verdicts(PROMISES, good, expected_key=None)["recall"].result == "unknown"
    assert "stale" in _verdicts(PROMISES, good)["recall"].why


def test_milliseconds_of_a_run_answer_a_requirement_in_seconds() -> None:
    row = _verdicts({**PROMISES, "measured_ttft_p95_s": "1s"}, _measured(Figure("ttft_p95_ms", 900.0)))
    assert row["measured_ttft_p95_s"].measured == 0.9
    assert row["measured_ttft_p95_s"].result == "pass"


def test_only_the_estimated_leaves_the_rest_out_but_not_a_promise_that_falls_short() -> None:
    assert list(_verdicts(PROMISES, estimated_only=True)) == ["total_p95", "money"]
    assert list(_verdicts({**PROMISES, "recall": "10%"}, estimated_only=True)) == ["total_p95", "money", "recall"]
    assert left_out(design_file(_text(PROMISES, {"llm": api()})), scenario()) == ("recall", "faithful")


def test_over_capacity_fails_latency_with_the_reason() -> None:
    row = _verdicts(PROMISES, stages={"llm": api(rate_limit_per_s=1)})["total_p95"]
    assert (row.result, row.estimated) == ("fail", None)
    assert "over the rate limit" in row.why


def test_an_unknown_price_is_unknown_with_the_reason() -> None:
    row = _verdicts(PROMISES, stages={"llm": api(model="nobody-knows-it")})["money"]
    assert row.result == "unknown"
    assert "no price of 'nobody-knows-it'" in row.why


def test_a_verdict_on_assumed_latency_says_so() -> None:
    assumed = _verdicts(PROMISES, stages={"llm": {"kind": "llm", "model": "gpt-4o", "max_output_tokens": 5}})
    assert "rests on the assumed latency of llm" in assumed["total_p95"].why
    assert "assumed" not in _verdicts(PROMISES)["total_p95"].why


def test_a_figure_within_the_sampling_error_of_its_limit_says_so() -> None:
    file = design_file(_text(PROMISES, {"llm": api()}))
    estimate = estimate_design(file.design, scenario(), draws=DRAWS)
    total = dataclasses.replace(estimate.total, p95_s=3.99, p95_error_s=0.02)
    near = check_design(file, scenario(), dataclasses.replace(estimate, total=total), None, expected_key=None)[0]
    assert near.result == "pass"
    assert "within the sampling error of ±20 ms" in near.why


def test_a_changed_scenario_is_refused_with_the_new_hash() -> None:
    file = design_file(_text(PROMISES, {"llm": api()}, sha256="b" * 64))
    estimate = estimate_design(file.design, scenario(), draws=100)
    with pytest.raises(
        ContentError, match=f"review what changed .* put the new hash here: {scenario().sha256}"
    ) as caught:
        check_design(file, scenario(), estimate, None, expected_key=None)
    assert (caught.value.mistakes[0].line, caught.value.mistakes[0].where) == (3, "scenario.sha256")


def test_another_scenario_is_refused() -> None:
    file = design_file(_text(PROMISES, {"llm": api()}, id="rag"))
    estimate = estimate_design(file.design, scenario(), draws=100)
    with pytest.raises(ContentError, match="answers 'rag', not 'case'"):
        check_design(file, scenario(), estimate, None, expected_key=None)


def test_promises_that_mean_nothing_are_refused_all_at_once() -> None:
    with pytest.raises(ContentError) as caught:
        _verdicts({"totl_p95": "4s", "money": "4 parsecs"})
    assert [mistake.where for mistake in caught.value.mistakes] == ["requirements.totl_p95", "requirements.money"]
    assert "did you mean total_p95" in str(caught.value)
