"""The lab where an optional package is missing: one line that names the extra, before anything runs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from cli_cases import run, without_torch

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", ["kv", "all"])
def test_without_torch_an_experiment_names_the_extra_lab(name: str, tmp_path: Path) -> None:
    ran = run("lab", name, "--quick", environ=without_torch(tmp_path))
    assert (ran.status, ran.out) == (2, "")
    assert ran.err == "llmdrill: the lab needs the extra 'lab': pip install -c constraints.txt 'llmdrill[lab]'\n"


def test_without_torch_help_is_there_all_the_same(tmp_path: Path) -> None:
    ran = run("lab", "decode", "--help", environ=without_torch(tmp_path))
    assert ran.status == 0
    assert "--steps" in ran.out


def test_without_matplotlib_a_picture_is_refused_and_names_the_extra_plot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "from importlib.machinery import PathFinder\n"
        "find = PathFinder.find_spec\n"
        "PathFinder.find_spec = lambda name, *rest: None if name == 'matplotlib' else find(name, *rest)\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    ran = run("lab", "kv", "--quick", "--svg", tmp_path / "a.svg")
    assert (ran.status, ran.out) == (2, "")
    assert ran.err == "llmdrill: drawing SVG needs the extra 'plot': pip install -c constraints.txt 'llmdrill[plot]'\n"
    assert not (tmp_path / "a.svg").exists()


def test_the_progress_line_stays_on_one_line_of_the_window(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from llmdrill.cli.lab.command import progress_line

    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    progress_line()("word " * 20)
    shown = capsys.readouterr().err.removeprefix("\r\x1b[2K")
    assert 30 < len(shown) < 40
    assert "\n" not in shown
