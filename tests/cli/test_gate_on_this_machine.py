"""Designs that run on `local`: every format of `check` and `diff` names the machine that its figures hold for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest
from local_cases import LABEL, PROFILE

from llmdrill.catalog.local import keep_profile
from llmdrill.folders import shipped_folder

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Call

RENTED = shipped_folder("scenarios") / "code-completion" / "designs" / "reference.design.yaml"
NOTE = f"llm on 'local': figures of this machine alone, {LABEL}"
FEW = ("--draws", 500)


@pytest.fixture
def local(tmp_path: Path) -> Path:
    """Return a shipped design, its model made small and moved onto this machine."""
    text, count = re.subn(
        r"model: \S+, served: self, on: \S+, replicas: \d+, precision: \w+",
        r"model: smollm2-135m, served: self, on: Local, replicas: 400, precision: int8, usd_per_accelerator_hour: 1",
        RENTED.read_text(encoding="utf-8"),
    )
    assert count == 1
    file = tmp_path / "local.design.yaml"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize("command", ["check", "diff"])
def test_every_format_says_which_profile_of_which_machine_it_rests_on(call: Call, local: Path, command: str) -> None:
    keep_profile(PROFILE)
    files = (local,) if command == "check" else (RENTED, local)

    def out(format_: str) -> str:
        return call(command, *files, *FEW, "--format", format_).out

    whose = {"check": f"{local}: ", "diff": "the head's "}[command]
    assert call(command, *files, *FEW, "--json").json["notes"] == [f"{whose}{NOTE}"]
    shown = NOTE if command == "check" else f"{whose}{NOTE}"
    assert f"- {shown}" in " ".join(out("text").split())
    assert f"- {shown}\n" in out("markdown")
    root = ET.fromstring(out("junit"))  # noqa: S314 - written by ourselves
    assert [one.get("value") for one in root.iter("property") if one.get("name") == "note"] == [shown]
    warnings = [line for line in out("github").splitlines() if line.startswith("::warning") and LABEL in line]
    assert len(warnings) == 1
    assert f"file={local}" in warnings[0]


@pytest.mark.parametrize("format_", ["text", "markdown", "json", "junit", "github"])
def test_every_format_of_an_estimate_names_the_profile_too(call: Call, local: Path, format_: str) -> None:
    keep_profile(PROFILE)
    ran = call("estimate", local, *FEW, "--format", format_)
    assert ran.status == 0
    assert LABEL in " ".join(ran.out.replace("%3A", ":").replace("%2C", ",").split())


def test_a_design_that_does_not_run_here_says_nothing_of_this_machine(call: Call) -> None:
    keep_profile(PROFILE)
    assert call("check", RENTED, *FEW, "--json").json["notes"] == []
    assert call("diff", RENTED, RENTED, *FEW, "--json").json["notes"] == []


def test_a_baseline_on_this_machine_is_told_too(call: Call, local: Path) -> None:
    keep_profile(PROFILE)
    ran = call("check", RENTED, *FEW, "--baseline", local, "--max-increase", "10%", "--json")
    assert ran.json["notes"] == [f"{RENTED}: baseline {local}: {NOTE}"]


@pytest.mark.parametrize("command", [("check",), ("check", "--json"), ("diff", RENTED), ("estimate",)])
def test_without_a_profile_one_line_names_the_command_that_makes_one(
    call: Call, local: Path, command: tuple[object, ...]
) -> None:
    ran = call(*command, local, *FEW)
    assert (ran.status, ran.err.count("\n")) == (2, 1)
    assert "run `llmdrill lab calibrate` first" in ran.err


def test_sequences_on_this_machine_are_counted_with_the_cache_that_its_engine_keeps(call: Call) -> None:
    keep_profile(PROFILE)

    def held(*precision: object, output: int = 16) -> float:
        words = ("--model", "smollm2-135m", "--on", "local", "--input", 64, "--output", output, *precision)
        found: float = call("calc", "latency", *words, "--json").json["memory_bytes"]
        return found

    layers, kv_heads, head_dim = 30, 3, 64  # of the model's own config.json
    for precision in ("int8", "fp32"):
        grown = held("--precision", precision, output=32) - held("--precision", precision)
        assert grown == 16 * 2 * layers * kv_heads * head_dim * 4
    assert held("--precision", "int8", "--kv-dtype", "fp32") == held("--precision", "int8")


def test_weights_on_this_machine_are_counted_in_both_engines(call: Call) -> None:
    keep_profile(PROFILE)
    words = ("--model", "smollm2-135m", "--on", "local", "--input", 64, "--output", 16)
    held = {
        name: call("calc", "latency", *words, "--precision", name, "--json").json["memory_bytes"]
        for name in ("int8", "fp32")
    }
    weights = 134_515_008
    assert 4 * weights < held["fp32"] < 5 * weights  # torch reads prompts and decodes: one copy
    assert 5 * weights < held["int8"] < 6.5 * weights  # torch reads prompts in fp32, the native step decodes


def test_a_cache_that_no_engine_here_keeps_is_refused(call: Call) -> None:
    keep_profile(PROFILE)
    words = ("--model", "smollm2-135m", "--on", "local", "--input", 64, "--output", 16, "--precision", "int8")
    ran = call("calc", "latency", *words, "--kv-dtype", "fp8")
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert "keeps 4 bytes for a cached value beside int8 weights" in ran.err
