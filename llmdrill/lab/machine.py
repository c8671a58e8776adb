"""The machine a measurement is taken on."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Final

from llmdrill.measurement import Machine

_PACKAGES: Final = ("torch", "numpy", "tokenizers")
_CPUINFO: Final = Path("/proc/cpuinfo")


def this_machine() -> Machine:
    """Describe this machine: CPU, cores, torch's threads, memory, platform and the versions that matter."""
    return Machine(
        cpu=cpu_name(_CPUINFO),
        cores=_cores(),
        threads=threads_in_use(),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        platform=f"{platform.system()} {platform.release()} {platform.machine()}",
        versions=(("python", platform.python_version()), *_versions()),
    )


def cpu_name(cpuinfo: Path) -> str:
    """Return the CPU's own name from ``cpuinfo``, on macOS from sysctl, else its architecture."""
    if cpuinfo.exists():
        fields = (line.partition(":") for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines())
        names = [value.strip() for key, _, value in fields if key.strip() == "model name"]
        return names[0] if names else platform.machine()
    try:
        asked = ("/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string")
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return platform.processor() or platform.machine()


def resident_bytes() -> int | None:
    """Return the memory this process holds right now, read from the kernel; None where it cannot be read."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def _cores() -> int:
    """Count the cores this process may use: in a container fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def use_threads(threads: int | None) -> None:
    """Set the threads of torch, and so of the native step; None leaves them as they are."""
    import torch

    if threads is not None:
        torch.set_num_threads(threads)


def threads_in_use() -> int:
    """Return torch's threads; where it is not loaded, what it would take: to ask it alone is not worth its import."""
    torch = sys.modules.get("torch")
    if torch is not None:
        return int(torch.get_num_threads())
    stated = os.environ.get("OMP_NUM_THREADS", "")
    return int(stated) if stated.isdecimal() and int(stated) > 0 else _cores()


def _versions() -> tuple[tuple[str, str], ...]:
    found = []
    for name in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found.append((name, metadata.version(name)))
    return tuple(found)
