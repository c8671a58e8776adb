"""Watch a process group that runs somebody's code: read what it tells, and end it beyond a limit."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from llmdrill.units import format_bytes

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

START_S: Final = 30.0  # for Python, numpy or torch to load; the drill's own seconds count from then
TICK_S: Final = 0.1  # between two looks at the group
TOLD_BYTES: Final = 1 << 20
MOST_PROCESSES: Final = 16
OWN_BYTES: Final = 1 << 30  # what Python with torch holds before anything is done with it
_PROC: Final = Path("/proc")
_GROUP, _RESIDENT_PAGES = 2, 21  # of the fields that follow the name in /proc/PID/stat


@dataclass(frozen=True, slots=True)
class Watched:
    """A process that leads its own group, and the pipe that it tells results on.

    Attributes:
        seconds: It may take, once it has told its first line: that it has loaded.
        memory_bytes: All processes of the group together may hold, beyond what loading takes; where the system shows
            groups (Linux). Each process has a limit of its own as well.
    """

    process: subprocess.Popen[bytes]
    reading: int
    seconds: float
    memory_bytes: float

    def read(self) -> tuple[bytes, str | None]:
        """Return what was told until the process ended, and why it was stopped before."""
        deadline, told = time.monotonic() + START_S, b""
        while self.process.poll() is None:
            piece = self._piece(TICK_S)
            if piece and not told:
                deadline = time.monotonic() + self.seconds
            told += piece
            stopped = self._beyond(deadline, told)
            if stopped:
                return told, stopped
        while len(told) < TOLD_BYTES and (piece := self._piece(0.0)):  # what it told last
            told += piece
        return told, None

    def end(self) -> int:
        """End the process and whatever it has started, and return its status."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        return self.process.wait()

    def _piece(self, wait_s: float) -> bytes:
        if not select.select([self.reading], [], [], wait_s)[0]:
            return b""
        piece = os.read(self.reading, 1 << 16)
        if not piece and wait_s:
            time.sleep(0.005)  # nobody tells any more: what is left is to end
        return piece

    def _beyond(self, deadline: float, told: bytes) -> str | None:
        if time.monotonic() > deadline:
            return f"stopped: it took more than {self.seconds:g} s" if told else "stopped: it did not load"
        if len(told) > TOLD_BYTES:
            return "stopped: it told more than anybody reads"
        held = tuple(_resident_bytes(self.process.pid))
        if len(held) > MOST_PROCESSES:
            return f"stopped: it started more than {MOST_PROCESSES} processes"
        if sum(held) > self.memory_bytes + OWN_BYTES:
            return f"stopped: it held more than {format_bytes(self.memory_bytes)}"
        return None


def _resident_bytes(group: int) -> Iterator[int]:
    """Yield the resident memory of every process of a group; nothing where the system does not show them."""
    for folder in _PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            if int(fields[_GROUP]) == group:
                yield int(fields[_RESIDENT_PAGES]) * resource.getpagesize()
