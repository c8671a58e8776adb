"""What a scenario's model cannot see: names, settings, worked answers, and whether its designs do what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml
from system_cases import api, scenario, scenario_data, scenario_file

from llmdrill.folders import content_files
from llmdrill.system.design import write_design
from llmdrill.system.scenario import Scenario, load_scenario
from llmdrill.system.validate import validate_scenario

if TYPE_CHECKING:
    from pathlib import Path

GOOD = {"total_p95": "4s", "money": "$4k", "recall": "85%", "faithful": "90%"}
QUICK = api(tpot_p95=0.012)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, tuple) else value


def _ship(folder: Path, name: str, stages: dict[str, Any], of: Scenario, promises: dict[str, str] = GOOD) -> None:
    place = folder / "case" / "designs"
    place.mkdir(parents=True, exist_ok=True)
    told = {"id": "case", "sha256": of.sha256}
    data = {"schema": "llmdrill/design@1", "title": "x", "scenario": told, "requirements": promises, "stages": stages}
    (place / name).write_text(write_design(data), encoding="utf-8")


def _mistakes(folder: Path, stages: dict[str, Any] | None = None, **changes: Any) -> list[str]:
    data = scenario_data(**changes)
    _ship(folder, "reference.design.yaml", stages or {"llm": QUICK}, Scenario.model_validate(data))
    file = scenario_file(folder, yaml.safe_dump(_plain(data), sort_keys=False))
    return [str(mistake).replace(str(folder), "") for mistake in validate_scenario(file)]


def test_a_sound_scenario_has_no_mistakes(tmp_path: Path) -> None:
    assert _mistakes(tmp_path) == []


def test_mistakes_come_all_at_once_each_with_its_line(tmp_path: Path) -> None:
    data = scenario_data()
    roles = ({**data["roles"][0], "options": (*data["roles"][0]["options"], data["roles"][0]["options"][0])},)
    topics = ({**data["topics"][0], "reveals": ("total_p95", "recal")}, data["topics"][1])
    flow = {"rules": ({"rule": "before", "stage": "lm", "then": "llm", "why": "x"},), "example": "x"}
    hints = dict.fromkeys("SCAL", ("Think.",))
    found = "\n".join(_mistakes(tmp_path, roles=roles, topics=topics, flow=flow, hints=hints))
    assert "the id 'small' stands twice" in found
    assert "there is no requirement 'recal' (did you mean recall?)" in found
    assert "no topic reveals 'recall'" in found
    assert "there is no role 'lm' (did you mean llm?)" in found
    assert "step E has no hint" in found
    assert all(line.startswith("/case.yaml:") and not line.startswith("/case.yaml:1:1:") for line in found.split("\n"))


@pytest.mark.parametrize(
    ("option", "what"),
    [
        ({"kind": "lm"}, "unknown stage kind 'lm' (did you mean llm?)"),
        ({"kind": "llm", "settings": {"model": "x", "modl": "x"}}, "has no setting 'modl' (did you mean model?)"),
        ({"kind": "llm", "settings": {}}, "a stage of kind 'llm' needs the setting 'model'"),
        ({"kind": "rules", "settings": {"passes": "130%"}}, "less than or equal to 1"),
        ({"kind": "rules", "settings": {"fallback": "lm"}}, "falls back on 'lm', which is no role"),
    ],
)
def test_an_option_whose_settings_make_no_stage_is_found(tmp_path: Path, option: dict[str, Any], what: str) -> None:
    role = scenario_data()["roles"][0]
    options = (*role["options"][:2], {"id": "odd", "label": "Odd", "trade_off": "x", "settings": {}, **option})
    found = _mistakes(tmp_path, roles=({**role, "options": options},))
    assert len(found) == 1
    assert what in found[0]
    assert "roles[0].options[2]" in found[0]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"expect": 1.6}, "expects 1.6, but 'peak_requests_per_s' gives 1.52207"),
        ({"dimension": "count"}, "asks for count, but 'peak_requests_per_s' gives per_second"),
        ({"computed": {"by": "peak_request"}}, "unknown computation 'peak_request' (did you mean peak_requests_per_s"),
        ({"computed": {"by": "peak_requests_per_s", "arguments": {"x": 1}}}, "takes no argument 'x'"),
        ({"computed": {"by": "weights_bytes", "arguments": {"model": "lama"}}}, "unknown model 'lama'"),
    ],
)
def test_a_worked_answer_is_computed_again(tmp_path: Path, change: dict[str, Any], what: str) -> None:
    number = {**scenario_data()["numbers"][0], **change}
    assert what in "\n".join(_mistakes(tmp_path, numbers=(number,)))


def test_a_question_on_the_design_is_answered_by_the_reference(tmp_path: Path) -> None:
    number = {**scenario_data()["numbers"][0], "dimension": "usd", "computed": {"by": "design.usd_per_month"}}
    assert _mistakes(tmp_path, numbers=({**number, "expect": "$3,250"},)) == []
    assert "expects $3,500" in _mistakes(tmp_path, numbers=({**number, "expect": "$3,500"},))[0]


def test_a_reference_that_does_not_pass_is_found(tmp_path: Path) -> None:
    slow = _mistakes(tmp_path, {"llm": api(tpot_p50=0.1, tpot_p95=0.2)})
    assert len(slow) == 1
    assert "the reference design does not pass 'total_p95': estimated" in slow[0]


def test_a_worse_design_must_fail_what_it_is_said_to_fail(tmp_path: Path) -> None:
    worse = {"design": "worse.design.yaml", "fails": ("total_p95", "money"), "why": "x"}
    _ship(tmp_path, "worse.design.yaml", {"llm": api(tpot_p50=0.1, tpot_p95=0.2)}, scenario())
    found = _mistakes(tmp_path, worse=(worse,))
    assert len(found) == 1
    assert "is said to fail 'money', but: estimated $3,250.00 keeps" in found[0]
    unknown = _mistakes(tmp_path, worse=({**worse, "fails": ("total_p59",)},))
    assert "there is no requirement 'total_p59' (did you mean total_p95?)" in unknown[0]


def test_a_design_of_an_older_version_is_found_in_its_own_file(tmp_path: Path) -> None:
    worse = {"design": "old.design.yaml", "fails": ("money",), "why": "x"}
    _ship(
        tmp_path,
        "old.design.yaml",
        {"llm": QUICK},
        scenario(workload={**scenario_data()["workload"], "peak_factor": 9}),
    )
    found = _mistakes(tmp_path, worse=(worse,))
    assert len(found) == 1
    assert found[0].startswith("/case/designs/old.design.yaml:3:")
    assert "put the new hash here" in found[0]


def test_a_missing_design_and_a_missing_folder_are_found(tmp_path: Path) -> None:
    evaluation = {**scenario_data()["evaluation"], "kind": "retrieval", "folder": "nowhere"}
    reference = {**scenario_data()["reference"], "design": "none.design.yaml"}
    found = "\n".join(_mistakes(tmp_path, evaluation=evaluation, reference=reference))
    assert "cannot be read" in found
    assert "there is no folder" in found


@pytest.mark.parametrize("name", sorted(content_files("scenarios")))
def test_every_shipped_scenario_is_sound(name: str) -> None:
    assert [str(mistake) for mistake in validate_scenario(load_scenario(name))] == []
