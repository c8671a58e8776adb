"""`check`, `diff` and `estimate` as tools of CI: limits, several files, formats, and the same bytes every time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from cli_cases import COMMAND

from llmdrill.folders import shipped_folder

SCENARIOS = shipped_folder("scenarios")
DESIGNS = SCENARIOS / "moderation" / "designs"
REFERENCE = DESIGNS / "reference.design.yaml"
WORSE = DESIGNS / "everything-to-the-large-model.design.yaml"
RAG = SCENARIOS / "rag" / "designs" / "reference.design.yaml"
KEYS = ["file", "requirement", "limit", "estimated", "measured", "result", "why"]
FEW = ("--draws", "500")
ALONE = ("--estimated-only", *FEW)


def _rows(ran: Any) -> dict[str, dict[str, Any]]:
    return {row["requirement"]: row for row in ran.json["verdicts"]}


# --- limits -------------------------------------------------------------------------------------------------------


def test_limits_of_the_call_are_rows_of_the_same_keys(call: Any) -> None:
    limits = ("--max-usd-per-request", "0.0001c", "--max-usd-per-month", "$1M", "--slo", "ttft_p95_ms=5000")
    ran = call("check", REFERENCE, *ALONE, *limits, "--slo", "llm.tpot_p95_ms=1", "--json")
    assert ran.status == 1
    rows = _rows(ran)
    assert all(list(row) == KEYS for row in rows.values())
    names = ("max_usd_per_request", "max_usd_per_month", "ttft_p95_ms", "llm.tpot_p95_ms")
    assert [rows[name]["result"] for name in names] == ["fail", "pass", "pass", "fail"]
    assert rows["ttft_p95_ms"]["limit"] == 5000
    assert 10 < rows["ttft_p95_ms"]["estimated"] < 5000
    assert call("check", REFERENCE, *ALONE, *limits[2:]).status == 0


def test_a_baseline_allows_so_much_and_no_more(call: Any) -> None:
    same = call("check", REFERENCE, *ALONE, "--baseline", REFERENCE, "--max-increase", "0%", "--json")
    assert same.status == 0
    assert _rows(same)["usd_per_month_increase_share"]["estimated"] == 0
    dearer = call("check", WORSE, *ALONE, "--baseline", REFERENCE, "--max-increase", "10%", "--json")
    assert dearer.status == 1
    row = _rows(dearer)["usd_per_request_increase_share"]
    assert (row["limit"], row["result"]) == (0.1, "fail")
    assert row["estimated"] > 0.1


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--max-usd-per-request", "-1"), "negative"),
        (("--max-usd-per-month", "nan"), "quantity"),
        (("--max-usd-per-month", "1e400"), "too large"),
        (("--slo", "ttft_p96_ms=1"), "did you mean ttft_p95_ms"),
        (("--slo", "ttft_p95_ms"), "write it like"),
        (("--slo", "ttft_p95_ms=1", "--slo", "ttft_p95_ms=2"), "given twice"),
        (("--slo", "recall_any=0.7", "--estimated-only"), "only a run can tell"),
        (("--estimated-only", "--measured", "x.json"), "give one of them"),
        (("--baseline", str(REFERENCE)), "needs --max-increase"),
        (("--max-increase", "10%"), "needs --baseline"),
        (("--baseline", str(REFERENCE), "--max-increase", "10"), "1000%"),
        (("--baseline", str(RAG), "--max-increase", "10%"), "there is nothing to compare"),
        (("--baseline", "absent.yaml", "--max-increase", "10%"), "cannot be read"),
        (("--baseline", str(DESIGNS), "--max-increase", "10%"), "is a folder"),
        (("--json", "--format", "junit"), "contradict"),
        (("--format", "xml"), "xml"),
        (("--date", "tomorrow"), "tomorrow"),
        (("--slo", "lm.p95_ms=60s"), "no stage 'lm' (did you mean llm?)"),
    ],
)
def test_options_that_mean_nothing_or_two_things_are_refused(call: Any, arguments: tuple[str, ...], why: str) -> None:
    ran = call("check", REFERENCE, *FEW, *arguments)
    assert (ran.status, ran.out) == (2, ""), ran
    assert why in ran.err
    assert "Traceback" not in ran.err


# --- several files ------------------------------------------------------------------------------------------------


def test_one_bad_file_among_several_is_told_and_the_others_are_judged(call: Any, tmp_path: Path) -> None:
    bad = tmp_path / "bad.design.yaml"
    bad.write_bytes(REFERENCE.read_bytes().replace(b"gpt-4.1-mini", b"gpt-4.1-mini, modle: 1"))
    ran = call("check", REFERENCE, bad, "absent.yaml", RAG, *ALONE, "--json")
    assert ran.status == 2
    assert ran.err.count("\n") == 2
    assert ran.json["passed"] is False
    assert {row["file"] for row in ran.json["verdicts"]} == {str(REFERENCE), str(RAG)}
    told = [(one["file"], one["line"], one["where"]) for one in ran.json["errors"]]
    line = bad.read_text("utf-8").splitlines().index(next(t for t in bad.read_text().splitlines() if "modle" in t)) + 1
    assert told == [(str(bad), line, "stages.llm.modle"), ("absent.yaml", 1, "")]


def test_a_file_named_twice_is_judged_once(call: Any) -> None:
    once, twice = call("check", REFERENCE, *ALONE, "--json"), call("check", REFERENCE, REFERENCE, *ALONE, "--json")
    assert once.out == twice.out


def test_where_nothing_could_be_judged_ci_still_gets_its_report(call: Any, tmp_path: Path) -> None:
    bad = tmp_path / "bad.design.yaml"
    bad.write_text("- 1\n", encoding="utf-8")
    errors = '"verdicts": [], "left_out": [], "notes": [], "errors": [{"file": '
    told = {"junit": "<error ", "github": "::error file=", "markdown": "could not be judged:", "json": errors}
    for format_, wanted in {**told, "text": ""}.items():
        ran = call("check", bad, *ALONE, "--format", format_)
        assert ran.status == 2
        assert wanted in ran.out
        assert bool(ran.out) == bool(wanted)
        assert str(bad) in ran.err


@pytest.mark.parametrize(("command", "files"), [("diff", (REFERENCE, "BAD")), ("diff", ("BAD", REFERENCE))])
@pytest.mark.parametrize("text", ["", "hello\n", "- 1\n", "a: &a [*a]\n", "\xff"])
def test_diff_refuses_what_is_no_design(call: Any, tmp_path: Path, command: str, files: Any, text: str) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(text, encoding="latin-1")
    ran = call(command, *(bad if file == "BAD" else file for file in files))
    assert (ran.status, ran.out) == (2, "")
    assert str(bad) in ran.err


# --- diff ---------------------------------------------------------------------------------------------------------


def test_diff_is_status_0_and_with_exit_code_tells_a_difference(call: Any) -> None:
    assert call("diff", REFERENCE, WORSE, *FEW).status == 0
    assert call("diff", REFERENCE, WORSE, *FEW, "--exit-code").status == 1
    same = call("diff", REFERENCE, REFERENCE, *FEW, "--exit-code")
    assert same.status == 0
    assert "nothing differs" in " ".join(same.out.split())  # long paths wrap the line


def test_diff_names_stages_settings_and_sums(call: Any) -> None:
    found = call("diff", REFERENCE, WORSE, *FEW, "--json").json
    assert found["schema"] == "llmdrill/diff@1"
    month = found["totals"]["usd_per_month"]
    assert month["change"] == pytest.approx(month["head"] - month["base"], rel=1e-5)
    assert {"removed", "changed"} <= {stage["status"] for stage in found["stages"]}
    text = call("diff", REFERENCE, WORSE, *FEW, "--plain").out
    assert "changed: llm (llm)" in text
    assert "model" in text


def test_two_scenarios_have_nothing_to_compare(call: Any) -> None:
    ran = call("diff", REFERENCE, RAG)
    assert (ran.status, ran.out) == (2, "")
    assert "there is nothing to compare" in ran.err


def test_a_base_copied_away_finds_its_scenario_beside_the_head(call: Any, tmp_path: Path) -> None:
    from llmdrill.scale.template import scenario_template

    for relative, text in scenario_template("mine").items():
        path = tmp_path / "project" / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    head = tmp_path / "project" / "mine" / "designs" / "reference.design.yaml"
    base = tmp_path / "base.yaml"
    base.write_bytes(head.read_bytes())
    assert call("diff", base, head, *FEW, "--exit-code").status == 0
    assert call("diff", head, base, *FEW).status == 2  # from there nobody can tell where it lies
    assert call("diff", head, base, *FEW, "--scenario", tmp_path / "project" / "mine.yaml").status == 0


def test_a_stale_measurement_is_no_quality(call: Any, tmp_path: Path) -> None:
    machine = {"cpu": "x", "cores": 1, "threads": 1, "memory_bytes": 1, "platform": "p", "versions": []}
    figure = {"name": "recall_any", "value": 0.9, "low": None, "high": None, "n": 1, "note": ""}
    seen = {"kind": "classification", "key": "k", "figures": [figure], "tables": [], "machine": machine}
    seen = {**seen, "seed": 0, "repeats": 1, "seconds": 1.0, "notes": []}
    path = tmp_path / "old.measured.json"
    path.write_text(json.dumps({"schema": "llmdrill/measurement@1", "measurements": [seen]}), encoding="utf-8")
    found = call("diff", REFERENCE, REFERENCE, *FEW, "--measured-head", path, "--json").json
    assert found["quality"] == {}
    assert "stale" in found["notes"][0]


# --- formats and determinism --------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_", ["text", "json", "markdown", "junit", "github"])
@pytest.mark.parametrize("command", ["estimate", "check", "diff"])
def test_every_command_writes_every_format(call: Any, command: str, format_: str) -> None:
    files = {"estimate": (REFERENCE,), "check": (REFERENCE, WORSE, "--estimated-only"), "diff": (REFERENCE, WORSE)}
    ran = call(command, *files[command], *FEW, "--format", format_)
    assert ran.status == (1 if command == "check" else 0), ran
    assert ran.err == ""
    match format_:
        case "json":
            assert ran.json["schema"] == f"llmdrill/{command}@1"
        case "junit":
            assert ET.fromstring(ran.out.encode()).tag == "testsuites"  # noqa: S314 - written by ourselves
        case "github":
            assert all(line.startswith(("::error ", "::warning ", "::notice ")) for line in ran.out.splitlines())
        case "markdown":
            assert ran.out.startswith(f"### llmdrill {command}: ")
        case _:
            assert "\x1b" not in ran.out


@pytest.mark.parametrize("format_", ["text", "json", "markdown", "junit", "github"])
def test_the_same_call_writes_the_same_bytes_whatever_the_hash_seed_and_the_folder(
    format_: str, tmp_path: Path
) -> None:
    calls = {
        "check": ("check", REFERENCE, RAG, *ALONE, "--slo", "p95_ms=1"),
        "diff": ("diff", REFERENCE, WORSE, *FEW),
    }
    for arguments in calls.values():
        seen = set()
        for seed, folder in (("0", tmp_path), ("4242", Path("/"))):
            command = [*COMMAND, *map(str, arguments), "--format", format_]
            environ = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
            ran = subprocess.run(command, cwd=folder, env=environ, capture_output=True, check=False)
            assert ran.returncode in {0, 1}, ran.stderr
            seen.add(ran.stdout)
        assert len(seen) == 1


def test_a_pinned_date_takes_the_prices_of_that_day(call: Any) -> None:
    ran = call("check", REFERENCE, *ALONE, "--date", "2026-11-22", "--json")
    assert ran.status == 0
    assert ran.json["date"] == "2026-11-22"
    assert ran.out == call("check", REFERENCE, *ALONE, "--date", "2026-11-22", "--json").out
