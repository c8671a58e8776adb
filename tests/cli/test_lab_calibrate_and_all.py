"""`llmdrill lab calibrate`, the accelerator `local` and `llmdrill lab all` as they are called."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("torch")

from local_cases import LABEL, PROFILE

from llmdrill.catalog.local import keep_profile
from llmdrill.experiments.all_runs import REPORT

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Call

pytestmark = pytest.mark.lab

LATENCY = ("calc", "latency", "--model", "smollm2-135m", "--on", "local", "--input", 64, "--output", 8)


def test_calculators_answer_for_this_machine_and_say_which_profile(call: Call) -> None:
    keep_profile(PROFILE)
    answer = call(*LATENCY, "--precision", "fp32")
    assert answer.status == 0
    assert f"'local' is this machine: {LABEL}; its cache takes 4 bytes a value" in answer.out
    refused = call(*LATENCY, "--precision", "bf16")
    assert refused.status == 2
    assert "measured in fp32, int8, not in bf16" in refused.err


def test_without_a_profile_calculators_and_again_name_the_command(call: Call) -> None:
    for words in (LATENCY, ("lab", "calibrate", "--again")):
        refused = call(*words)
        assert refused.status == 2
        assert refused.err.count("\n") == 1
        assert "run `llmdrill lab calibrate` first" in refused.err


@pytest.mark.lab
def test_the_command_runs_named_experiments_goes_on_and_exits_1_where_one_failed(call: Call, tmp_path: Path) -> None:
    first = call("lab", "all", "--quick", "--only", "prefix", "--out", tmp_path, "--json")
    assert (first.status, first.json["schema"], first.json["kept"]) == (0, "llmdrill/lab-all@1", [])
    assert first.json["experiments"]["prefix"]["schema"] == "llmdrill/lab-prefix@1"
    again = call("lab", "all", "--quick", "--only", "prefix", "--out", tmp_path)
    assert again.status == 0
    assert "kept" in again.out
    assert (tmp_path / REPORT).read_text(encoding="utf-8").count("## ") >= 1
    assert json.loads((tmp_path / "prefix.json").read_text(encoding="utf-8"))["schema"] == "llmdrill/lab-run@1"


@pytest.mark.lab
def test_running_one_experiment_leaves_the_others_in_the_report(call: Call, tmp_path: Path) -> None:
    kept = {"schema": "llmdrill/lab-run@1", "key": "of another day", "seconds": 1.0, "markdown": "## Cached\n"}
    (tmp_path / "kv.json").write_text(json.dumps({**kept, "experiment": {"meaning": ["One.", "Two."]}}))
    ran = call("lab", "all", "--quick", "--only", "prefix", "--out", tmp_path)
    assert "beside 1 that were there before" in " ".join(ran.out.split())
    report = (tmp_path / REPORT).read_text(encoding="utf-8")
    assert report.index("| kv | older |") < report.index("| prefix | done |")
    assert report.index("## Cached") < report.index("## Prefix caching")


def test_names_that_are_no_experiments_are_refused(call: Call, tmp_path: Path) -> None:
    unknown = call("lab", "all", "--only", "prefx", "--out", tmp_path)
    assert (unknown.status, "did you mean prefix" in unknown.err) == (2, True)
    assert call("lab", "all", "--only", ",", "--out", tmp_path).status == 2
