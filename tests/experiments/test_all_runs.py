"""`lab all`: what is finished is kept, what is not runs, and one that fails stops no other."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from llmdrill.errors import InterruptedByPersonError, UsageError
from llmdrill.experiments.all_runs import Ran, kept_runs, run_all, write_report
from llmdrill.experiments.result import Experiment, Finding, Protocol
from llmdrill.measurement import Machine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MACHINE = Machine("c", 1, 1, 1, "p", ())


def counting(name: str, ran: list[str], error: BaseException | None = None) -> Callable[[], Experiment]:
    def run() -> Experiment:
        ran.append(name)
        if error is not None:
            raise error
        protocol = Protocol(0, 0, 1, 1, 0.5)
        findings = (Finding("a_bytes", 3.0),)
        return Experiment(name, name, {}, findings, (), (), ("One | two.", "Three."), MACHINE, protocol)

    return run


def run(folder: Path, experiments: dict[str, Callable[[], Experiment]], **changed: Any) -> tuple[Ran, ...]:
    asked: dict[str, Any] = {"conditions": {"seed": 0}, "machine": MACHINE} | changed
    return tuple(run_all(experiments, folder=folder, render=lambda one: f"## {one.name}\n", **asked))


def test_a_second_run_keeps_what_the_first_finished(tmp_path: Path) -> None:
    ran: list[str] = []
    first = run(tmp_path / "new" / "folder", {"a": counting("a", ran)})
    second = run(tmp_path / "new" / "folder", {"a": counting("a", ran), "b": counting("b", ran)})
    assert ran == ["a", "b"]
    assert [one.state for one in (*first, *second)] == ["done", "kept", "done"]
    assert (second[0].document, second[0].markdown) == (first[0].document, first[0].markdown)
    assert second[0].document is not None
    assert second[0].document["a_bytes"] == 3.0


@pytest.mark.parametrize(
    "changed", [{"conditions": {"seed": 1}}, {"machine": dataclasses.replace(MACHINE, threads=2)}, "version", "file"]
)
def test_another_option_machine_or_version_and_a_cut_file_run_anew(
    tmp_path: Path, changed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    run(tmp_path, {"a": counting("a", ran)})
    if changed == "version":
        monkeypatch.setattr("llmdrill.experiments.all_runs.__version__", "9.9")
    if changed == "file":
        path = tmp_path / "a.json"
        path.write_text(path.read_text(encoding="utf-8")[:-9], encoding="utf-8")
    (again,) = run(tmp_path, {"a": counting("a", ran)}, **(changed if isinstance(changed, dict) else {}))
    assert (again.state, ran) == ("done", ["a", "a"])


def test_one_that_fails_is_told_of_in_a_line_and_tried_again_next_time(tmp_path: Path) -> None:
    ran: list[str] = []
    experiments = {
        "bad": counting("bad", ran, UsageError("no\nroom")),
        "worse": counting("worse", ran, ZeroDivisionError("by zero")),
        "good": counting("good", ran),
    }
    found = run(tmp_path, experiments)
    assert [one.failed for one in found] == ["no room", "ZeroDivisionError: by zero", ""]
    run(tmp_path, experiments)
    assert ran == ["bad", "worse", "good", "bad", "worse"]


def test_an_interruption_loses_the_running_one_alone(tmp_path: Path) -> None:
    ran: list[str] = []
    stopped = counting("b", ran, InterruptedByPersonError("interrupted"))
    with pytest.raises(InterruptedByPersonError):
        run(tmp_path, {"a": counting("a", ran), "b": stopped, "c": counting("c", ran)})
    assert {path.name for path in tmp_path.iterdir()} == {"a.json"}
    rest = run(tmp_path, {name: counting(name, ran) for name in "abc"})
    assert [one.state for one in rest] == ["kept", "done", "done"]


def test_the_report_has_a_summary_and_every_section(tmp_path: Path) -> None:
    ran: list[str] = []
    found = run(tmp_path, {"a": counting("a", ran), "b": counting("b", ran, UsageError("why | not"))})
    text = write_report(found, folder=tmp_path, title="Title").read_text(encoding="utf-8")
    assert text.startswith("# Title\n")
    assert "| One \\| two. Three. |" in text
    assert "| b | failed |" in text
    assert "why \\| not" in text
    assert text.endswith("## a\n")


def test_what_other_runs_left_in_the_folder_is_found_again_and_told_apart(tmp_path: Path) -> None:
    ran: list[str] = []
    run(tmp_path, {"a": counting("a", ran)})
    run(tmp_path, {"b": counting("b", ran)}, conditions={"seed": 1})
    (tmp_path / "c.json").write_text("{}", encoding="utf-8")
    found = kept_runs("abcd", folder=tmp_path, conditions={"seed": 0}, machine=MACHINE)
    assert [(one.name, one.state) for one in found] == [("a", "kept"), ("b", "older")]
    text = write_report(found, folder=tmp_path, title="Title").read_text(encoding="utf-8")
    assert "| b | older |" in text
    assert text.endswith("## a\n\n## b\n")


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UsageError, match="name another with --out"):
        run(tmp_path / "file", {})
