"""Compile the native engines (decode step, encoder) with the person's compiler, once, into the cache folder."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llmdrill.folders import cache_folder

FOLDER: Final = Path(__file__).parent
SOURCES: Final = (FOLDER / "step.c", FOLDER / "encode.c")
HEADERS: Final = tuple(FOLDER / name for name in ("arithmetic.h", "kernels.h", "encode.h"))  # which they include
COMPILERS: Final = ("cc", "gcc", "clang")
FLAGS: Final = (
    *("-O3", "-std=gnu11", "-fPIC", "-shared", "-pthread"),
    *("-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math"),  # what lets a compiler vectorise plain loops
)
ASK_WITHIN_S: Final = 10.0
COMPILE_WITHIN_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Compiled:
    """What came of compiling: a library, or the reason why there is none.

    Attributes:
        compiler: The first line of its own description; None if there is no compiler.
    """

    library: Path | None
    compiler: str | None
    reason: str | None = None


class _FailedError(Exception):
    """A compiler could not be run, or did not do what it was asked."""


def compile_native(
    folder: Path | None = None,
    *,
    ask_within_s: float = ASK_WITHIN_S,
    compile_within_s: float = COMPILE_WITHIN_S,
) -> Compiled:
    """Return the compiled library, from the cache if this compiler has compiled these sources before.

    The compiler is ``$CC``, else the first of cc, gcc and clang on the path. A library carries its own hash in its
    name, so that one that was truncated or changed is compiled again, never loaded; it appears under that name whole,
    so that processes that compile at once do not disturb each other.
    """
    folder = folder or cache_folder() / "native"
    command = _compiler()
    if command is None:
        return Compiled(None, None, f"no C compiler: $CC is not set and none of {', '.join(COMPILERS)} is on the path")
    compiler = None
    try:
        compiler = _run((*command, "--version"), within_s=ask_within_s).partition("\n")[0].strip()
        key = _key(command, compiler)
        return Compiled(_find(folder, key) or _compile(command, folder, key, within_s=compile_within_s), compiler)
    except _FailedError as error:
        return Compiled(None, compiler, str(error))
    except OSError as error:
        return Compiled(None, compiler, f"{folder} cannot be written: {error.strerror or error}")


def _compiler() -> tuple[str, ...] | None:
    chosen = shlex.split(os.environ.get("CC", ""))
    if chosen:
        return tuple(chosen)
    found = next((path for name in COMPILERS if (path := shutil.which(name))), None)
    return None if found is None else (found,)


def _key(command: tuple[str, ...], compiler: str) -> str:
    source = (path.read_text(encoding="utf-8") for path in (*SOURCES, *HEADERS))
    parts = (*command, compiler, *FLAGS, platform.system(), platform.machine(), *source)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _find(folder: Path, key: str) -> Path | None:
    """Return the library of that key whose bytes still have the hash that its name says; remove others."""
    for path in folder.glob(f"native-{key}-*.so"):
        if path.name == _name(key, path.read_bytes()):
            return path
        path.unlink(missing_ok=True)
    return None


def _name(key: str, library: bytes) -> str:
    return f"native-{key}-{hashlib.sha256(library).hexdigest()[:32]}.so"


def _compile(command: tuple[str, ...], folder: Path, key: str, *, within_s: float) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="compiling-", ignore_cleanup_errors=True) as scratch:
        made = Path(scratch, "native.so")
        _run((*command, *FLAGS, *map(str, SOURCES), "-o", str(made), "-lm"), within_s=within_s)
        if not made.is_file():
            raise _FailedError(f"{shlex.join(command)} reported success, but wrote nothing")
        path = folder / _name(key, made.read_bytes())
        made.replace(path)
    return path


def _run(command: tuple[str, ...], *, within_s: float) -> str:
    """Return what a program printed; one that does not end in time is killed with all that it started."""
    program = Path(command[0]).name
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(  # noqa: S603 - the person's own compiler
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        except OSError as error:
            raise _FailedError(f"{command[0]} cannot be run: {error.strerror or error}") from error
        try:
            status = process.wait(timeout=within_s)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                raise _FailedError(f"{program} did not end within {within_s:g} s") from error
            raise
        output.seek(0)
        text = output.read().decode(errors="replace")
    if status != 0:
        raise _FailedError(f"{program} failed with status {status}: {_first_line(text)}")
    return text


def _first_line(text: str) -> str:
    """Return the first line that names an error, else the first line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return next((line for line in lines if "error" in line), lines[0] if lines else "it said nothing")
