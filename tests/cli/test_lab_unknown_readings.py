"""Readings that only Linux gives, a process's age and its memory: elsewhere they are unknown, and all else runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

pytest.importorskip("torch")

from llmdrill.experiments.kv import KvOptions, measure_kv
from llmdrill.experiments.result import experiment_json
from llmdrill.lab import cycle_run, kv_child, kv_run, machine, process_age
from llmdrill.lab.process_age import process_age_s
from llmdrill.report.experiment_view import experiment_view
from llmdrill.report.markdown import to_markdown

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Call

pytestmark = pytest.mark.lab

DECODE = ("lab", "decode", "--shape", "tiny", "--pp", 8, "--tg", 4, "--quick")


def row_of(name: str, out: str) -> list[str]:
    """Return the cells of a figure in the Markdown table of figures."""
    rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in out.splitlines())
    return next(row for row in rows if row[0].replace("\\", "").startswith(name))


def test_the_age_of_a_process_is_unknown_without_its_file(tmp_path: Path) -> None:
    assert process_age_s(tmp_path / "stat") is None
    (tmp_path / "stat").write_text("1 (name) S 2", encoding="utf-8")
    assert process_age_s(tmp_path / "stat") is None


def test_an_unknown_age_leaves_first_token_s_unknown_and_nothing_else(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(cycle_run, "process_age_s", lambda: process_age.process_age_s(tmp_path / "none"))
    text = call(*DECODE, "--format", "markdown", "--assert", "first_token_s <= 1h")
    assert text.status == 1
    assert "unknown" in text.err
    assert "unknown" in row_of("first_token_s", text.out)
    found = call(*DECODE, "--json").json
    assert found["first_token_s"] is None
    assert found["ttft_ms"] > 0


def test_unknown_memory_of_a_process_leaves_rss_bytes_unknown_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_memory(points: list[kv_run.CachePoint], **_: object) -> list[kv_run.CacheBytes]:
        return [kv_run.CacheBytes(one.tensor_bytes, None) for one in kv_run_measure(points[:1]) * len(points)]

    kv_run_measure = kv_run.measure_caches
    monkeypatch.setattr(kv_run, "measure_caches", without_memory)
    options = KvOptions(shape="tiny", context_tokens=64, prompt_tokens=4, output_tokens=4, repeats=1)
    experiment = measure_kv(options)
    shown = to_markdown(experiment_view(experiment))
    assert next(line for line in shown.splitlines() if line.startswith("| rss")).count("unknown") == 1
    assert "this system does not tell the memory of a process" in shown
    found = experiment_json(experiment)
    assert found["rss_bytes"] is None
    assert found["tensor_bytes"] == found["formula_bytes"]
    assert all(row["rss_bytes"] is None for row in found["sweep"])
    assert found["spread"] == {}  # of one repeat
    assert "grew" not in " ".join(found["meaning"])


def test_a_process_without_its_memory_file_says_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(kv_child, "_EXACT", tmp_path / "none")
    monkeypatch.setattr(machine, "Path", lambda _: tmp_path / "none")
    assert machine.resident_bytes() is None
    assert kv_child.exact_resident_bytes() is None
