"""How long this process has been running, by the kernel's account: a command's start lies before its first line."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

_STAT: Final = Path("/proc/self/stat")
_START_FIELD: Final = 19  # of those after the name in brackets: starttime, the 22nd of proc(5)


def process_age_s(stat: Path = _STAT) -> float | None:
    """Return the seconds since this process was started; None where the kernel does not tell.

    Error:
        The kernel counts the start in ticks of a hundredth of a second.
    Source:
        Linux man-pages, proc_pid_stat(5): starttime, in clock ticks since boot.
    """
    try:
        after_name = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        started_s = int(after_name[_START_FIELD]) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started_s
    except (OSError, AttributeError, ValueError, IndexError):
        return None
