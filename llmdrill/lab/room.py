"""Ask whether memory is enough before it is taken: a refusal reads better than what the kernel does to a process."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from llmdrill.errors import UsageError
from llmdrill.units import format_bytes

MEMINFO: Final = Path("/proc/meminfo")
ASKED_FROM_BYTES: Final = 64 << 20  # less is not worth reading a file for
GROUP: Final = Path("/sys/fs/cgroup")  # of a container, as control groups version 2 show it from inside


def available_bytes(*, meminfo: Path = MEMINFO, group: Path = GROUP) -> int | None:
    """Return the memory that can still be taken: the machine's, or what its container leaves; None where unknown."""
    lines = _text(meminfo).splitlines()
    free = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    limit, used = _text(group / "memory.max").strip(), _text(group / "memory.current").strip()
    if limit.isdigit() and used.isdigit():
        free.append(max(0, int(limit) - int(used)))
    return min(free, default=None)


def need_memory(size_bytes: float, *, what: str) -> None:
    """Refuse what does not fit into the memory that is left; where that is unknown, let it be tried.

    Raises:
        UsageError: If it does not fit.
    """
    free = available_bytes() if size_bytes >= ASKED_FROM_BYTES else None
    if free is not None and size_bytes > free:
        raise UsageError(
            f"{what} needs {format_bytes(size_bytes)} of memory, and {format_bytes(free)} is left: "
            "take a smaller model, fewer sequences or a shorter context"
        )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""
