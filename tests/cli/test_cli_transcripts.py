"""What the commands print and how they exit: the contract of scripts and CI."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_cases import ROOT, run, without_torch

from llmdrill.folders import content_files, shipped_folder

sys.path.insert(0, str(ROOT / "tests" / "scale"))  # the small scenario of the walk's own tests
from walk_cases import write_case

SHIPPED = sorted(content_files("scenarios"))
SCENARIOS = shipped_folder("scenarios")
REFERENCE = SCENARIOS / "moderation" / "designs" / "reference.design.yaml"
WORSE = SCENARIOS / "moderation" / "designs" / "everything-to-the-large-model.design.yaml"
WALK_KEYS = {"schema", "scenario", "design_file", "report_file", "numbers", "coverage", "verdicts", "minutes"}
NUMBER_KEYS = {"id", "stated", "computed", "ratio", "tolerance_ratio", "within"}
COVERAGE_KEYS = {"point", "step", "weight", "evidence", "suggested", "self"}
VERDICT_KEYS = {"file", "requirement", "limit", "estimated", "measured", "result", "why"}
STAGE_KEYS = {"name", "kind", "p50_ms", "p95_ms", "p99_ms", "usd_per_request", "memory_bytes", "share_of_requests"}
# Keys beyond those every script may count on; a new one is put here on purpose.
WALK_MORE = {"measured", "not_measured_because", "scores", "missed", "plan_gaps", "flow_problems"}
COVERAGE_MORE = {"warnings"}
STAGE_MORE = {"ttft_p50_ms", "ttft_p95_ms", "tpot_p50_ms", "tpot_p95_ms", "basis", "over_capacity"}


def _demo(name: str) -> Path:
    return SCENARIOS / name / "answers" / "demo.answers.yaml"


# --- design ---------------------------------------------------------------------------------------------------------


def test_design_alone_lists_the_scenarios(call: Any) -> None:
    ran = call("design")
    assert ran.status == 0
    assert all(f"\n{name}" in f"\n{ran.out}" for name in SHIPPED)
    assert "llmdrill design NAME" in ran.out
    listed = call("design", "--json").json
    assert listed["schema"] == "llmdrill/scenarios@1"
    assert [row["id"] for row in listed["scenarios"]] == SHIPPED


def test_an_unknown_scenario_is_refused_with_the_nearest_name(call: Any) -> None:
    ran = call("design", "rga")
    assert (ran.status, ran.out) == (2, "")
    assert ran.err == "llmdrill: unknown scenario 'rga' (did you mean rag?)\n"


def test_without_a_terminal_the_walk_stops_at_once_and_names_the_commands_to_run() -> None:
    ran = run("design", "rag")
    assert (ran.status, ran.out) == (2, "")
    assert "`llmdrill design rag --demo`" in ran.err
    assert "--answers FILE" in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_demo_replays_without_torch_and_leaves_what_needs_it_unknown(name: str, tmp_path: Path) -> None:
    environ = without_torch(tmp_path)
    ran = run("design", name, "--answers", _demo(name), "--json", "--out", tmp_path / "out", environ=environ)
    assert ran.status == 0, ran.err
    found = ran.json
    assert set(found) == WALK_KEYS | WALK_MORE
    assert found["measured"] is False
    assert "llmdrill[lab]" in found["not_measured_because"]
    results = {row["requirement"]: row["result"] for row in found["verdicts"] if row["estimated"] is None}
    assert results
    assert set(results.values()) == {"unknown"}
    assert {row["result"] for row in found["verdicts"] if row["estimated"] is not None} == {"pass"}
    assert {row["suggested"] for row in found["coverage"]} == {"unknown"}
    assert "Not measured" in ran.err
    design, report = Path(found["design_file"]), Path(found["report_file"])
    assert design.is_file()
    assert "unknown" in report.read_text(encoding="utf-8").lower()
    assert not list(report.parent.glob("*.measured.json"))


def _case(call: Any, folder: Path, *arguments: str) -> Any:
    """Replay good answers to the small scenario: nothing of it can be measured, and no model is looked for."""
    if not (folder / "case.yaml").exists():
        write_case(folder)
    answers = folder / "my.answers.yaml"
    answers.write_text(
        "schema: llmdrill/answers@1\nscenario: case\nsteps:\n"
        "  S: {ask: [how-fast, money], promise.recall: 85%}\n"
        "  C: {role.guard: rules, role.llm: small}\n  A: {flow: request -> guard -> llm -> respond}\n",
        encoding="utf-8",
    )
    return call(
        "design", folder / "case.yaml", "--answers", answers, "--embedder", folder / "none", "--out", folder / "out",
        *arguments,
    )  # fmt: skip


def test_with_gate_what_is_unknown_is_not_a_pass(call: Any, tmp_path: Path) -> None:
    assert _case(call, tmp_path).status == 0
    ran = _case(call, tmp_path, "--gate")
    assert ran.status == 1
    assert "UNKNOWN" in ran.out
    assert "\x1b" not in ran.out
    assert not any("\u2500" <= letter <= "\u259f" for letter in ran.out)


@pytest.mark.lab
def test_the_demo_with_the_model_prints_one_object_and_the_same_twice(tmp_path: Path) -> None:
    """Nothing of it is timed: a replay takes no minutes, and moderation measures shares."""
    once, twice = (
        run("design", "moderation", "--demo", "--fast", "--json", "--out", tmp_path / "out") for _ in range(2)
    )
    assert once.status == 0, once.err
    assert once.out == twice.out
    assert once.out.count("\n") == 1
    found = once.json
    assert set(found) == WALK_KEYS | WALK_MORE
    assert all(set(row) == NUMBER_KEYS for row in found["numbers"])
    assert all(set(row) == COVERAGE_KEYS | COVERAGE_MORE for row in found["coverage"])
    assert all(set(row) == VERDICT_KEYS for row in found["verdicts"])
    assert all(row["measured"] is not None for row in found["verdicts"] if row["estimated"] is None)
    assert {row["suggested"] for row in found["coverage"]} <= {"check", "not found"}
    assert found["minutes"] == 0
    checked = run("check", found["design_file"], "--measured", tmp_path / "out" / "moderation.measured.json", "--json")
    assert [row["result"] for row in checked.json["verdicts"]] == [row["result"] for row in found["verdicts"]]


def test_files_of_a_replay_are_replaced_in_the_folder_that_was_named(call: Any, tmp_path: Path) -> None:
    for _ in range(2):
        assert _case(call, tmp_path, "--json").json["scenario"] == "case"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["case.design.yaml", "case.report.md"]


# --- answers files --------------------------------------------------------------------------------------------------

HEAD = "schema: llmdrill/answers@1\nscenario: moderation\nsteps:\n"


@pytest.mark.parametrize(
    ("text", "place", "what"),
    [
        (
            "schema: llmdrill/answers@1\nscenario: rag\nsteps: {}\n",
            ":2:1: ",
            "for the scenario 'rag', not 'moderation'",
        ),
        (HEAD + "  L: {flow: a -> b}\n", ":4:7: ", "it belongs to step A"),
        (HEAD + "  A: {flow: [a, b]}\n", ":4:7: ", "one answer, not a list"),
        (HEAD + "  A: {flow: a -> b\n", ":5:1: ", "is not YAML"),
        (b"\xff\xfe\x00", ":1:1: ", "is not UTF-8"),
    ],
)
def test_a_mistake_in_an_answers_file_is_told_at_its_place(
    call: Any, tmp_path: Path, text: str | bytes, place: str, what: str
) -> None:
    path = tmp_path / "my.answers.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    ran = call("design", "moderation", "--answers", path)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith(f"{path}{place}")
    assert what in ran.err
    assert ran.err.count("\n") == 1


def test_an_answer_that_is_refused_names_its_prompt(call: Any, tmp_path: Path) -> None:
    path = tmp_path / "my.answers.yaml"
    path.write_text(HEAD + "  S: {promise.total_p95: soon}\n", encoding="utf-8")
    ran = call("design", "moderation", "--answers", path)
    assert ran.status == 2
    assert "prompt 'promise.total_p95': 'soon' is not a quantity" in ran.err


def test_escape_codes_of_an_answers_file_do_not_reach_the_terminal(call: Any, tmp_path: Path) -> None:
    path = tmp_path / "my.answers.yaml"
    path.write_text(HEAD + '  S: {ask: ["\\e[31mhow fast\\e[0m"], promise.total_p95: "\\e[2Jsoon"}\n', encoding="utf-8")
    ran = call("design", "moderation", "--answers", path)
    assert ran.status == 2
    assert "\x1b" not in ran.out + ran.err


# --- estimate, check ------------------------------------------------------------------------------------------------


def test_estimate_prints_one_object_with_the_keys_scripts_count_on_the_same_twice(call: Any) -> None:
    once, twice = (call("estimate", REFERENCE, "--json", "--draws", 2000) for _ in range(2))
    assert (once.status, once.out) == (0, twice.out)
    found = once.json
    assert set(found) >= {"schema", "stages", "total", "critical_path", "bottleneck", "seed", "draws"}
    assert all(set(stage) == STAGE_KEYS | STAGE_MORE for stage in found["stages"])
    assert set(found["total"]) >= (STAGE_KEYS - {"name", "kind"}) | {"ttft_p95_ms", "usd_per_month"}
    assert (found["seed"], found["draws"]) == (0, 2000)
    other = call("estimate", REFERENCE, "--format", "json", "--draws", 2000, "--seed", 1).json
    assert other["seed"] == 1
    assert other["total"]["p95_ms"] != found["total"]["p95_ms"]


def test_estimate_in_markdown_and_with_formulas(call: Any) -> None:
    assert "| stage |" in call("estimate", REFERENCE, "--format", "markdown", "--draws", 500).out
    assert "source: " in call("estimate", REFERENCE, "--explain", "--draws", 500).out


def test_check_passes_the_reference_fails_the_worse_and_says_what_was_left_out(call: Any) -> None:
    passed = call("check", REFERENCE, "--estimated-only", "--draws", 2000)
    assert (passed.status, "PASS" in passed.out) == (0, True)
    assert "Left out (--estimated-only)" in passed.out
    failed = call("check", WORSE, "--estimated-only", "--draws", 2000)
    assert (failed.status, "FAIL" in failed.out) == (1, True)


def test_check_without_a_measurement_is_unknown_and_unknown_is_no_pass(call: Any) -> None:
    once, twice = (call("check", REFERENCE, "--json", "--draws", 2000) for _ in range(2))
    assert (once.status, once.out) == (1, twice.out)
    found = once.json
    assert set(found) == {"schema", "passed", "verdicts", "left_out", "notes", "errors", "seed", "draws", "date"}
    assert found["passed"] is False
    assert all(set(row) == VERDICT_KEYS for row in found["verdicts"])
    assert {row["result"] for row in found["verdicts"] if row["estimated"] is None} == {"unknown"}


def test_check_holds_several_files_at_once_each_row_with_its_file(call: Any) -> None:
    found = call("check", REFERENCE, WORSE, "--estimated-only", "--json", "--draws", 2000).json
    assert {row["file"] for row in found["verdicts"]} == {str(REFERENCE), str(WORSE)}
    assert found["passed"] is False
    assert {row["file"] for row in found["verdicts"] if row["result"] == "fail"} == {str(WORSE)}


def _measured(path: Path, *, key: str) -> Path:
    machine = {"cpu": "x", "cores": 2, "threads": 2, "memory_bytes": 1, "platform": "linux", "versions": []}
    figures = [
        {"name": name, "value": value, "low": None, "high": None, "n": 9, "note": ""}
        for name, value in (("recall_any", 0.99), ("false_positive_rate", 0.0), ("escalated_share", 0.1))
    ]
    run_ = {"kind": "classification", "key": key, "figures": figures, "tables": [], "machine": machine, "seed": 0}
    run_ |= {"repeats": 1, "seconds": 1.0, "notes": []}
    path.write_text(json.dumps({"schema": "llmdrill/measurement@1", "measurements": [run_]}), encoding="utf-8")
    return path


def test_a_stale_measurement_is_unknown_and_one_with_the_right_key_decides(call: Any, tmp_path: Path) -> None:
    from llmdrill.experiments.evaluate import evaluation_key
    from llmdrill.system.design import load_design
    from llmdrill.system.scenario import load_scenario

    stale = call("check", REFERENCE, "--measured", _measured(tmp_path / "a.json", key="0" * 64), "--json")
    assert stale.status == 1
    assert sum("the measurement is stale" in row["why"] for row in stale.json["verdicts"]) == 3
    key = evaluation_key(load_scenario("moderation"), load_design(REFERENCE).design, seed=0)
    assert key is not None
    fresh = call("check", REFERENCE, "--measured", _measured(tmp_path / "b.json", key=key), "--json")
    assert fresh.status == 0, fresh.out
    assert {row["measured"] for row in fresh.json["verdicts"] if row["estimated"] is None} == {0.99, 0, 0.1}


def test_a_design_for_another_version_of_its_scenario_is_refused_with_the_new_hash(call: Any, tmp_path: Path) -> None:
    from llmdrill.system.scenario import load_scenario

    sha256 = load_scenario("moderation").scenario.sha256
    path = tmp_path / "old.design.yaml"
    path.write_text(REFERENCE.read_text(encoding="utf-8").replace(sha256, "a" * 64), encoding="utf-8")
    for command in ("check", "estimate"):
        ran = call(command, path)
        assert (ran.status, ran.out) == (2, "")
        assert f"put the new hash here: {sha256}" in ran.err


# --- scenario, schema, doctor ---------------------------------------------------------------------------------------


def test_scenario_list_and_show(call: Any) -> None:
    assert call("scenario", "list").out == call("design").out
    shown = call("scenario", "show", "moderation", "--json").json
    assert shown["id"] == "moderation"
    assert len(shown["sha256"]) == 64
    assert "Clarifying questions" in call("scenario", "show", "moderation").out


def test_a_broken_scenario_of_ones_own_is_listed_as_broken_and_validated_with_places(call: Any, home: Path) -> None:
    (home / "scenarios").mkdir()
    (home / "scenarios" / "mine.yaml").write_text("schema: llmdrill/scenario@1\nid: mine\n", encoding="utf-8")
    assert "mine" in call("design").out
    assert "(broken: " in call("design").out
    ran = call("scenario", "validate", "mine", "--json")
    assert ran.status == 1
    assert ran.json["mistakes"][0]["line"] == 1
    assert "mistakes" in call("scenario", "validate", "mine").err


def test_validate_passes_what_is_shipped(call: Any) -> None:
    ran = call("scenario", "validate", *SHIPPED)
    assert (ran.status, ran.err) == (0, ""), ran.out
    assert ran.out == f"{len(SHIPPED)} scenarios, 0 mistakes\n"


def test_a_new_scenario_validates_as_it_is_and_nothing_is_overwritten(call: Any, tmp_path: Path) -> None:
    made = call("scenario", "new", "my-bot", "--out", tmp_path)
    assert made.status == 0, made.err
    assert call("scenario", "validate", tmp_path / "my-bot.yaml").status == 0
    again = call("scenario", "new", "my-bot", "--out", tmp_path)
    assert again.status == 2
    assert "exists already" in again.err
    assert call("scenario", "new", "My Bot", "--out", tmp_path).status == 2


@pytest.mark.parametrize("kind", ["scenario", "design", "answers"])
def test_schema_prints_a_json_schema_that_knows_the_files_keys(call: Any, kind: str) -> None:
    ran = call("schema", kind)
    assert ran.status == 0
    assert ran.json["type"] == "object"
    assert "schema" in ran.json["properties"]
    assert ran.json["additionalProperties"] is False
    names = set(ran.json.get("$defs", {}))
    assert all(reference.rsplit("/", 1)[1] in names for reference in _references(ran.json))


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [one for inner in value.values() for one in _references(inner)]
    return [one for inner in value for one in _references(inner)] if isinstance(value, list) else []


def test_doctor_lists_what_works_with_a_remedy_for_what_does_not(call: Any) -> None:
    ran = call("doctor", "--json")
    assert ran.json["schema"] == "llmdrill/doctor@1"
    findings = ran.json["findings"]
    assert all(set(row) == {"what", "state", "detail", "remedy"} for row in findings)
    assert {row["state"] for row in findings} <= {"ok", "missing", "broken"}
    assert all(row["remedy"] for row in findings if row["state"] != "ok")
    assert ran.status == int(any(row["state"] == "broken" for row in findings))
    assert next(row for row in findings if row["what"] == "store")["state"] == "ok"


def test_doctor_finds_a_store_that_cannot_be_opened(call: Any, home: Path) -> None:
    (home / "llmdrill.sqlite3").write_bytes(b"no database" * 100)
    ran = call("doctor", "--json")
    assert ran.status == 1
    assert next(row for row in ran.json["findings"] if row["what"] == "store")["state"] == "broken"


def test_resume_without_an_open_walk_says_so_and_refuses_a_number_it_does_not_know(call: Any) -> None:
    assert call("resume").out == "No open walk. `llmdrill design` lists the scenarios.\n"
    ran = call("resume", 7)
    assert ran.status == 2
    assert "there is no session 7" in ran.err


def test_a_reader_that_goes_away_is_no_error() -> None:
    import subprocess

    script = f"'{sys.executable}' -m llmdrill schema scenario | head -c 10; echo \"${{PIPESTATUS[0]}}\""
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.stdout.endswith("\n0\n") or done.stdout.endswith("0\n")) and done.stderr == ""  # noqa: PT018 - one outcome


def test_an_encoding_without_our_letters_costs_letters_and_no_traceback() -> None:
    ran = run("design", environ={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert ran.status == 0


def test_the_module_and_the_command_are_the_same() -> None:
    command = shutil.which("llmdrill") or str(Path(sys.executable).with_name("llmdrill"))
    import subprocess

    if not Path(command).is_file():
        pytest.skip("the command is not on this machine")
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == run("--version").out
