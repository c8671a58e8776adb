"""What is not imported: the start of a command costs only what it needs."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

HEAVY = ("torch", "numpy", "pydantic", "yaml", "rich", "tiktoken", "safetensors", "tokenizers")
DRIVER = """
import builtins, sys
from llmdrill.cli import main
def stop(label=""):
    raise SystemExit(0)
builtins.input = stop
sys.stdin.isatty = lambda: True
sys.argv = ["llmdrill", *sys.argv[1:]]
try:
    main()
finally:
    print("LOADED " + " ".join(name for name in {heavy!r} if name in sys.modules), file=sys.stderr)
"""
FIRST_PROMPT = """
import llmdrill.lab.background as background
background.Warmup.start = lambda self: self  # the model is loaded in the background: that is not the start
"""


def _loaded(*arguments: str, before: str = "") -> set[str]:
    script = before + DRIVER.format(heavy=HEAVY)
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, env=dict(os.environ), check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.rsplit("LOADED", 1)[1].split())


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("design", "--help"), ("calc", "--help")])
def test_help_loads_nothing_heavy(arguments: tuple[str, ...]) -> None:
    assert _loaded(*arguments) == set()


def test_a_calculator_loads_no_torch() -> None:
    assert "torch" not in _loaded(
        "calc", "kv", "--layers", "32", "--kv-heads", "8", "--head-dim", "128", "--context", "8k"
    )


@pytest.mark.parametrize("name", ["rag", "moderation"])
def test_the_walk_comes_to_its_first_prompt_without_torch_and_numpy(name: str) -> None:
    assert not _loaded("design", name, "--plain", before=FIRST_PROMPT) & {"torch", "numpy", "tiktoken", "rich"}


def test_estimate_and_check_load_no_torch() -> None:
    from llmdrill.content import shipped_folder

    design = shipped_folder("scenarios") / "moderation" / "designs" / "reference.design.yaml"
    assert "torch" not in _loaded("check", str(design), "--estimated-only", "--draws", "500")
