"""Code drills: a workspace to write in, and checks that run in a process of their own within limits.

The limits are of time, memory and written bytes, and whatever the code starts is ended with it. They stop mistakes, not
malice: a drill's checks and a person's code run with that person's rights. So the code of a pack that somebody else
wrote runs only after the person has agreed to that pack once.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmdrill.errors import UsageError
from llmdrill.practice.code_watched import Watched
from llmdrill.practice.grade import Grade

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmdrill.practice.drill import CodeDrill

STARTER, SOLUTION, CHECKS = "starter.py", "solution.py", "checks.py"


@dataclass(frozen=True, slots=True)
class Checked:
    """What one check said.

    Attributes:
        check: What it checks, in words.
        problem: Input, expected and got; None if it holds.
    """

    check: str
    problem: str | None


@dataclass(frozen=True, slots=True)
class CodeResult:
    """What the checks of a code drill said.

    Attributes:
        checks: Those that ran.
        stopped: Why the rest did not: a limit, or a process that ended; None where all ran.
    """

    checks: tuple[Checked, ...]
    stopped: str | None

    @property
    def passed(self) -> bool:
        """Whether every check ran and holds."""
        return self.stopped is None and bool(self.checks) and all(one.problem is None for one in self.checks)

    def grade(self) -> Grade:
        """Return the grade: all or nothing, with the first failure."""
        failed = [f"{one.check}: {one.problem}" for one in self.checks if one.problem is not None]
        told = (*failed[:1], *([self.stopped] if self.stopped else []))
        held = sum(one.problem is None for one in self.checks)
        return Grade(float(self.passed), lines=(f"{held} of {len(self.checks)} checks hold", *told))


def run_checks(drill: CodeDrill, folder: Path, file: Path) -> CodeResult:
    """Run a drill's checks on a file.

    Args:
        drill: Its limits count.
        folder: Of the drill: where ``checks.py`` stands.
        file: What the person wrote.

    Raises:
        UsageError: If the file or the checks are not there, or no process can be started.
    """
    for path in (folder / CHECKS, file):
        if not path.is_file():
            raise UsageError(f"{path}: there is no such file")
    reading, writing = os.pipe()
    try:
        process = _start(drill, folder / CHECKS, file, writing)
    except OSError as error:
        os.close(reading)
        raise UsageError(f"the checks cannot be started: {error.strerror}") from error
    finally:
        os.close(writing)
    watched = Watched(process, reading, seconds=drill.seconds, memory_bytes=drill.memory)
    try:
        told, stopped = watched.read()
    finally:
        os.close(reading)
        status = watched.end()
    wanted, checks = _told(told)
    stopped = stopped or _why_ended(drill, status)
    if stopped is None and (wanted is None or len(checks) < wanted):
        stopped = "stopped: its process ended before every check ran"
    return CodeResult(checks, stopped)


def _start(drill: CodeDrill, checks: Path, file: Path, writing: int) -> subprocess.Popen[bytes]:
    child = Path(__file__).with_name("code_child.py")
    limits = (str(int(drill.memory)), str(drill.seconds), str(writing))
    return subprocess.Popen(  # noqa: S603 - our own child; what it loads the person has agreed to
        [sys.executable, "-I", "-B", str(child), str(checks.resolve()), str(file.resolve()), *limits],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(writing,),
        start_new_session=True,
        env={"PATH": os.environ.get("PATH", ""), "HOME": os.environ.get("HOME", ""), "OMP_NUM_THREADS": "1"},
        cwd=file.resolve().parent,
    )


def _told(told: bytes) -> tuple[int | None, tuple[Checked, ...]]:
    """Return how many checks there are to run, and what those said that ran."""
    wanted, checks = None, []
    for line in told.splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            one = json.loads(line)
            if "checks" in one:
                wanted = int(one["checks"])
            else:
                checks.append(Checked(str(one["check"]), None if one["problem"] is None else str(one["problem"])))
    return wanted, tuple(checks)


def _why_ended(drill: CodeDrill, status: int) -> str | None:
    if status == -signal.SIGXCPU:
        return f"stopped: it took more than {drill.seconds} s"
    if status == -signal.SIGKILL:
        return "stopped: its process was killed, as a system does that runs out of memory"
    return None if status == 0 else f"stopped: its process ended with status {status}"


def code_mistakes(drill: CodeDrill, folder: Path, *, run: bool) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield what is wrong with a code drill's files: one is absent, the starter passes, the solution does not."""
    absent = [name for name in (STARTER, SOLUTION, CHECKS) if not (folder / name).is_file()]
    if absent:
        yield (), f"needs {', '.join(absent)} in code/{drill.id}/"
        return
    for name in (STARTER, SOLUTION):
        if f"def {drill.function}(" not in (folder / name).read_text(encoding="utf-8"):
            yield ("function",), f"{name} has no function '{drill.function}'"
    if not run:
        return
    if run_checks(drill, folder, folder / STARTER).passed:
        yield (), "the checks hold for the unsolved starter"
    result = run_checks(drill, folder, folder / SOLUTION)
    if not result.passed:
        yield (), f"the solution does not pass: {'; '.join(result.grade().lines)}"
