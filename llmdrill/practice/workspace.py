"""Where code drills are written: one file a drill, never overwritten."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from llmdrill.errors import UsageError
from llmdrill.folders import home_folder
from llmdrill.practice.code import STARTER
from llmdrill.practice.library import code_folder

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from llmdrill.practice.library import Listed


def workspace_folder() -> Path:
    """Return the folder that code is written in where the person names no other."""
    return home_folder() / "code"


def workspace_file(listed: Listed, folder: Path) -> Path:
    """Return the file of a code drill in a workspace.

    Raises:
        UsageError: If it is no code drill.
    """
    if listed.entry.kind != "code":
        raise UsageError(f"'{listed.entry.id}' is a drill of kind {listed.entry.kind}: there is no code to write")
    return folder / f"{listed.entry.id.replace('-', '_')}.py"


def start_file(listed: Listed, folder: Path) -> Path:
    """Write a code drill's starter into a workspace and return its path.

    Raises:
        UsageError: If the file is there already, the starter is not, or the folder cannot be written to.
    """
    target, starter = workspace_file(listed, folder), code_folder(listed) / STARTER
    try:
        text = starter.read_text(encoding="utf-8")
        folder.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise UsageError(f"{target} exists already and stays as it is: go on with it, or move it away") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{target}: cannot be started: {error}") from error
    return target


def latest_started(drills: Iterable[Listed], folder: Path) -> Listed:
    """Return the code drill whose file was written to last.

    Raises:
        UsageError: If none was started here.
    """
    started = [
        (file.stat().st_mtime_ns, listed.entry.id, listed)
        for listed in drills
        if listed.entry.kind == "code" and (file := workspace_file(listed, folder)).is_file()
    ]
    if not started:
        raise UsageError(f"{folder}: no code drill was started here; llmdrill code start ID")
    return max(started, key=lambda one: one[:2])[2]
