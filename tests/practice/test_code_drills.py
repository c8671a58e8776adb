"""Code drills: what runs away is stopped and leaves nothing behind, and nothing that a person wrote is overwritten."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from practice_cases import drill_of, template, write

from llmdrill.errors import UsageError
from llmdrill.practice.code import CodeResult, run_checks
from llmdrill.practice.consent import has_agreed, keep_agreement
from llmdrill.practice.drill import CodeDrill
from llmdrill.practice.library import Listed, code_folder, load_library
from llmdrill.practice.packs import Pack
from llmdrill.practice.workspace import latest_started, start_file

SOUND = """import numpy as np

def softmax(x):
    raised = np.exp(x - x.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)
"""
HOLD_MUCH = """for _ in range(8):
    if os.fork() == 0:
        kept = bytearray(2**28)
        time.sleep(60)
time.sleep(60)"""
START_MANY = """for _ in range(40):
    child = subprocess.Popen(['sleep', '60'])
    open({note!r}, 'a').write(f'{{child.pid}} ')
time.sleep(60)"""
linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system does not show process groups")


def checked(folder: Path, code: str, *, seconds: int = 1) -> CodeResult:
    limits = template("code").replace("seconds: 5", f"seconds: {seconds}").replace("memory: 500MB", "memory: 100MB")
    drill = drill_of(limits)
    assert isinstance(drill, CodeDrill)
    write(folder, "code")
    file = folder / "mine.py"
    file.write_text(code, encoding="utf-8")
    return run_checks(drill, folder / "code" / "my-drill", file)


def body(code: str) -> str:
    return "import os, sys, subprocess, time\ndef softmax(x):\n" + "".join(f"    {line}\n" for line in code.split("\n"))


def alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def assert_ended(note: Path) -> None:
    """Refuse if a process is still there; one that was killed may take a moment to go."""
    started = [int(one) for one in note.read_text(encoding="utf-8").split()]
    deadline = time.monotonic() + 10
    while any(map(alive, started)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert started
    assert not any(map(alive, started))


def test_what_is_right_passes_and_leaves_no_file_behind(tmp_path: Path) -> None:
    result = checked(tmp_path, SOUND, seconds=30)
    assert result.passed
    assert result.grade().score == 1.0
    assert not list(tmp_path.rglob("__pycache__"))


def test_a_failure_shows_input_expected_and_got_and_the_line_of_an_error(tmp_path: Path) -> None:
    result = checked(tmp_path, body("return x"))
    assert result.grade().score == 0.0
    assert all(word in str(result.checks[0].problem) for word in ("input", "expected", "got"))
    error = checked(tmp_path, body("y = x\nreturn y.nothing"))
    assert str(error.checks[0].problem).startswith("line 4: AttributeError")
    assert "SyntaxError" in str(checked(tmp_path, "def softmax(x:\n").checks[0].problem)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("while True: pass", "more than 1 s"),
        ("time.sleep(60)", "more than 1 s"),
        ("os._exit(0)", "before every check ran"),
        ("os.kill(os.getpid(), 9)", "was killed"),
    ],
)
def test_what_does_not_end_or_ends_itself_is_told(code: str, told: str, tmp_path: Path) -> None:
    began = time.monotonic()
    result = checked(tmp_path, body(code))
    assert not result.passed
    assert told in str(result.stopped)
    assert time.monotonic() - began < 30


def test_a_loop_while_the_file_is_loaded_is_stopped_too(tmp_path: Path) -> None:
    assert "more than 1 s" in str(checked(tmp_path, "while True: pass").stopped)


@linux
def test_ten_gigabytes_are_refused(tmp_path: Path) -> None:
    result = checked(tmp_path, body("import numpy as np\nkept = np.ones(10 * 2**27)\nreturn kept"))
    assert not result.passed
    assert "MemoryError" in str(result.checks[0].problem)


@linux
def test_what_many_processes_hold_together_is_limited(tmp_path: Path) -> None:
    result = checked(tmp_path, body(HOLD_MUCH), seconds=30)
    assert "held more than 100 MB" in str(result.stopped)


@linux
def test_many_processes_are_stopped_and_none_is_left(tmp_path: Path) -> None:
    note = tmp_path / "started"
    result = checked(tmp_path, body(START_MANY.format(note=str(note))), seconds=30)
    assert "started more than 16 processes" in str(result.stopped)
    assert_ended(note)


@linux
def test_a_process_left_behind_by_code_that_passes_is_ended(tmp_path: Path) -> None:
    note = tmp_path / "started"
    child = f"import subprocess\nopen({str(note)!r}, 'w').write(str(subprocess.Popen(['sleep', '60']).pid))\n"
    assert checked(tmp_path, child + SOUND, seconds=30).passed
    assert_ended(note)


def test_what_code_prints_is_not_taken_for_results(tmp_path: Path) -> None:
    code = 'print(\'{"check": "all", "problem": null}\')\nreturn x'
    assert not checked(tmp_path, body(code)).passed


# --- the workspace ------------------------------------------------------------------------------------------------


def listed_code(folder: Path) -> Listed:
    write(folder, "code")
    return load_library([Pack("a", folder)]).find("my-drill")


def test_a_file_that_was_begun_is_never_overwritten(tmp_path: Path) -> None:
    listed, work = listed_code(tmp_path / "pack"), tmp_path / "work"
    path = start_file(listed, work)
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match="stays as it is"):
        start_file(listed, work)
    assert path.read_text(encoding="utf-8") == "mine"
    assert latest_started([listed], work) == listed
    with pytest.raises(UsageError, match="llmdrill code start"):
        latest_started([listed], tmp_path)


def test_a_drill_whose_folder_leads_out_of_its_pack_is_refused(tmp_path: Path) -> None:
    listed = listed_code(tmp_path / "pack")
    inner = tmp_path / "pack" / "code" / "my-drill"
    os.rename(inner, tmp_path / "elsewhere")  # noqa: PTH104 - a folder
    inner.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="leads out of its pack"):
        code_folder(listed)


def test_a_person_agrees_to_a_pack_once(tmp_path: Path) -> None:
    pack, other = Pack("a", tmp_path), Pack("a", tmp_path / "other")
    assert not has_agreed(pack)
    keep_agreement(pack, now="2026-01-01T00:00:00+00:00")
    assert has_agreed(Pack("renamed", tmp_path))
    assert not has_agreed(other)
