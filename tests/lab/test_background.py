"""Loading in the background: the result, the error, and an interpreter that leaves while it still loads."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from llmdrill.errors import ModelFileError
from llmdrill.lab.background import Warmup

ROOT = Path(__file__).resolve().parents[2]


def test_the_work_runs_while_the_person_reads() -> None:
    release = threading.Event()
    warmup = Warmup(lambda: release.wait(10)).start()
    assert not warmup.ready()
    release.set()
    assert warmup.result() is True
    assert warmup.ready()


def test_the_work_runs_once_however_often_it_is_asked_for() -> None:
    runs: list[int] = []
    warmup = Warmup(lambda: runs.append(1))
    for _ in range(3):
        warmup.start()
        warmup.result()
    assert runs == [1]


def test_an_error_is_raised_where_the_result_is_asked_for() -> None:
    def fail() -> None:
        raise ModelFileError("the weights are gone")

    warmup = Warmup(fail).start()
    with pytest.raises(ModelFileError, match="the weights are gone"):
        warmup.result()


def test_the_thread_is_stopped_before_the_interpreter_goes() -> None:
    code = """
import time
from llmdrill.lab.background import Warmup
def work():
    try:
        while True:
            time.sleep(0.01)
    finally:
        print("stopped", flush=True)
Warmup(work).start()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "stopped\n", "")


@pytest.mark.lab
@pytest.mark.parametrize("after_s", [0.0, 0.6, 1.2, 1.8, 2.4])
def test_leaving_while_the_model_loads_is_quick_and_silent(after_s: float) -> None:
    pytest.importorskip("torch")
    code = (
        "import time; from llmdrill.lab.background import Warmup; from llmdrill.lab.embed import load_minilm; "
        f"Warmup(load_minilm).start(); time.sleep({after_s})"
    )
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert time.monotonic() - start < after_s + 15
