"""What is not imported: the start of a command costs only what it needs."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import typer

from llmdrill.cli.app import build_app
from llmdrill.cli.calc import CALCULATORS, build_group

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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


@pytest.mark.parametrize(
    "words",
    [
        "kv --layers 32 --kv-heads 8 --head-dim 128 --context 8k",
        "kv --model llama-3.1-8b --context 8k --explain",
        "cost --model gpt-4o-mini --input 500 --output 200 --requests 1M",
        "cost --model gpt-4o-mini --input 500 --date 2026-11-01 --json",
        "memory --model llama-3.1-8b",
        "latency --model llama-3.1-8b --on h100 --batch 32 --input 1024 --output 128",
    ],
)
def test_a_calculator_of_scalars_loads_nothing_heavy(words: str) -> None:
    if words.partition(" ")[0] not in CALCULATORS:
        pytest.skip("there is no such calculator")
    assert _loaded("calc", *words.split()) == set()


@pytest.mark.parametrize("name", ["rag", "moderation"])
def test_the_walk_comes_to_its_first_prompt_without_torch_and_numpy(name: str) -> None:
    assert not _loaded("design", name, "--plain", before=FIRST_PROMPT) & {"torch", "numpy", "tiktoken", "rich"}


def test_estimate_and_check_load_no_torch() -> None:
    from llmdrill.folders import shipped_folder

    design = shipped_folder("scenarios") / "moderation" / "designs" / "reference.design.yaml"
    assert "torch" not in _loaded("check", str(design), "--estimated-only", "--draws", "500")


def _summaries(app: typer.Typer) -> dict[str, str]:
    commands: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined] # it is a group
    return {name: command.get_short_help_str(limit=1000) for name, command in commands.items()}


@pytest.mark.parametrize("build", [build_app, build_group])
def test_help_without_commands_says_what_the_commands_say_of_themselves(
    build: Callable[[Sequence[str] | None], typer.Typer],
) -> None:
    assert _summaries(build([])) == _summaries(build(None))


def test_a_command_that_was_called_is_not_a_stand_in() -> None:
    called: Any = typer.main.get_command(build_app(["check", "x"]))
    assert [*called.commands] == ["check"]
    assert called.commands["check"].params


@pytest.mark.parametrize("home", ["/dev/null/home", None], ids=["a-home-that-cannot-be", "no-home"])
def test_calculators_and_the_gate_need_no_home(home: str | None) -> None:
    from llmdrill.folders import shipped_folder

    environ = {key: value for key, value in os.environ.items() if key not in {"HOME", "LLMDRILL_HOME"}}
    environ |= {"HOME": home, "LLMDRILL_HOME": home, "XDG_CACHE_HOME": home} if home else {}
    design = shipped_folder("scenarios") / "rag" / "designs" / "reference.design.yaml"
    for words in (
        ("--help",),
        ("calc", "cost", "--model", "gpt-4o", "--input", "1"),
        ("check", str(design), "--estimated-only", "--draws", "500"),
    ):
        command = [sys.executable, "-m", "llmdrill", *words]
        ran = subprocess.run(command, capture_output=True, text=True, env=environ, check=False)
        assert (ran.returncode, ran.stderr) == (0, "")
