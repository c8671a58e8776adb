"""The difference of two designs: which stages changed, in what, and what that does to the whole."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
from system_cases import DRAWS, api, design_file, fixed, scenario, workload

from llmdrill.errors import ContentError
from llmdrill.measurement import Figure, Machine, Measurement
from llmdrill.system.design import write_design
from llmdrill.system.diff import Diff, StageDiff, diff_designs
from llmdrill.system.diff_json import diff_json
from llmdrill.system.estimate import estimate_design
from llmdrill.system.side import Side

if TYPE_CHECKING:
    from llmdrill.system.scenario import Scenario

MACHINE = Machine("cpu", 2, 2, 8_000_000_000, "linux", ())


def _side(
    stages: dict[str, Any],
    promises: dict[str, Any] | None = None,
    of: Scenario | None = None,
    figures: tuple[Figure, ...] = (),
    **changes: Any,
) -> Side:
    of = of or scenario()
    told = {"id": "case", "sha256": of.sha256}
    data = {"schema": "llmdrill/design@1", "title": "x", "scenario": told, "requirements": promises or {}}
    file = design_file(write_design({**data, "stages": stages, **changes}))
    seen = Measurement("retrieval", "k", figures, (), MACHINE, 0, 1, 1.0) if figures else None
    return Side(file, of, estimate_design(file.design, of, draws=DRAWS), seen)


def _diff(base: dict[str, Any], head: dict[str, Any]) -> Diff:
    return diff_designs(_side(base), _side(head))


def _stages(diff: Diff) -> dict[str, StageDiff]:
    return {one.name: one for one in diff.stages}


def test_a_design_does_not_differ_from_itself_nor_by_how_it_is_written() -> None:
    same = _diff({"llm": api(ttft_p50="400ms")}, {"llm": api(ttft_p50=0.4)})
    assert not same.different
    assert {one.status for one in same.stages} == {"same"}
    assert {one.change for one in same.totals if one.base is not None} == {0.0}


def test_stages_are_added_removed_changed_affected_or_the_same() -> None:
    base = {"old": fixed(0.1), "llm": api(after=["old"]), "end": fixed(0.2, after=["llm"]), "side": fixed(0.1)}
    gate = {"kind": "rules", "passes": "50%", "latency_p50": 0.001, "latency_p95": 0.001}
    head = {
        "gate": gate,
        "llm": api(after=["gate"], model="gpt-4o-mini"),
        "end": fixed(0.2, after=["llm"]),
        "side": fixed(0.1),
    }
    found = {name: one.status for name, one in _stages(_diff(base, head)).items()}
    assert found == {"gate": "added", "llm": "changed", "end": "affected", "side": "same", "old": "removed"}


def test_a_changed_setting_is_told_as_it_is_written_and_a_default_as_one() -> None:
    base, head = {"llm": api(retries=2, timeout="12s")}, {"llm": api(model="gpt-4o-mini", timeout="9s")}
    told = {one.name: (one.base, one.head) for one in _stages(_diff(base, head))["llm"].settings}
    assert told == {"model": ("gpt-4o", "gpt-4o-mini"), "timeout": ("12s", "9s"), "retries": ("2", "0 (default)")}


def test_the_reasons_a_person_writes_change_nothing() -> None:
    assert not _diff({"llm": api(why="cheap")}, {"llm": api(why="good")}).different


def test_another_kind_of_stage_shows_its_own_settings() -> None:
    told = {one.name: (one.base, one.head) for one in _stages(_diff({"a": api()}, {"a": fixed(0.1)}))["a"].settings}
    assert told["kind"] == ("llm", "tool")
    assert told["model"] == ("gpt-4o", None)
    assert told["latency_p50"] == (None, "0.1")


def test_the_parts_add_up_to_the_whole_and_there_and_back_is_nothing() -> None:
    base, head = {"llm": api()}, {"llm": api(), "judge": api(after=["llm"], model="gpt-4o-mini")}
    there, back = _diff(base, head), _diff(head, base)
    parts = [one for stage in there.stages for one in stage.figures if one.name == "usd_per_month"]
    moved = sum((one.head or 0.0) - (one.base or 0.0) for one in parts)
    assert there.total("usd_per_month").change == pytest.approx(moved)
    for one in there.totals:
        assert one.change == pytest.approx(-(back.total(one.name).change or 0.0))


def test_a_price_that_is_not_known_is_no_zero() -> None:
    change = _diff({"llm": api()}, {"llm": api(model="my-own-model")}).total("usd_per_month")
    assert (change.head, change.change, change.change_share) == (None, None, None)
    assert change.differs()


def test_promises_and_measured_quality_are_compared() -> None:
    base = _side({"llm": api()}, {"money": "$4k", "total_p95": "4s"}, figures=(Figure("recall_at_k", 0.8),))
    head = _side({"llm": api()}, {"money": "$3k", "recall": "85%"}, figures=(Figure("recall_at_k", 0.9),))
    found = diff_designs(base, head)
    assert found.different
    told = {one.name: (one.base, one.head) for one in found.promises}
    assert told == {"money": (4000.0, 3000.0), "recall": (None, 0.85), "total_p95": (4.0, None)}
    (recall,) = found.quality
    assert recall.change == pytest.approx(0.1)


def test_a_changed_scenario_is_told_since_it_moves_every_figure() -> None:
    busy = scenario(workload=workload(requests_per_month="2M"))
    found = diff_designs(_side({"llm": api()}), _side({"llm": api()}, of=busy))
    assert [(one.name, one.base, one.head) for one in found.scenario] == [
        ("workload.requests_per_month", "1,000,000", "2,000,000")
    ]
    assert found.total("usd_per_month").change_share == pytest.approx(1.0)
    assert found.different


def test_two_scenarios_are_not_compared() -> None:
    base, head = _side({"llm": api()}), _side({"llm": api()})
    other = base.file.design.scenario.model_copy(update={"id": "rag"})
    moved = dataclasses.replace(base.file, design=base.file.design.model_copy(update={"scenario": other}))
    with pytest.raises(ContentError, match=r"answers 'case', my\.design\.yaml 'rag': there is nothing to compare"):
        diff_designs(dataclasses.replace(base, file=moved), head)


def test_json_bears_its_units_and_six_digits() -> None:
    found = diff_json(_diff({"llm": api()}, {"llm": api(ttft_p50=0.5, ttft_p95=0.8)}))
    assert found["schema"] == "llmdrill/diff@1"
    ttft = found["totals"]["ttft_p50_ms"]
    assert ttft["base"] == pytest.approx(400, rel=0.05)
    assert ttft["head"] == pytest.approx(500, rel=0.05)
    assert ttft["change"] == float(f"{ttft['change']:.6g}")
    assert not any(name.endswith("_s") for stage in found["stages"] for name in stage["figures"])
