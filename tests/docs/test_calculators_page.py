"""docs/calculators.md shows a real command of every calculator with what it really prints.

Run this file to write the outputs anew after a calculator changed: python tests/docs/test_calculators_page.py
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from llmdrill.cli.calc import CALCULATORS

PAGE = Path(__file__).parents[2] / "docs" / "calculators.md"
CONSOLE = re.compile(r"```console\n\$ (.+)\n((?:.*\n)*?)```\n")


def printed_by(command: str) -> str:
    """Return what a shell shows for a command: its stdout, then its stderr."""
    with tempfile.TemporaryDirectory() as folder:
        ran = subprocess.run(
            ["bash", "-c", f'llmdrill() {{ "{sys.executable}" -m llmdrill "$@"; }}\n{command}'],
            capture_output=True,
            encoding="utf-8",
            cwd=folder,
            env={**os.environ, "COLUMNS": "120"},
            check=False,
        )
    assert ran.returncode in {0, 1}, ran.stderr
    return (ran.stdout + ran.stderr).rstrip("\n") + "\n"


def run_anew(page: str) -> str:
    """Return the page with every command's output as it is today."""
    return CONSOLE.sub(lambda block: f"```console\n$ {block[1]}\n{printed_by(block[1])}```\n", page)


BLOCKS = CONSOLE.findall(PAGE.read_text(encoding="utf-8"))


@pytest.mark.skipif(shutil.which("bash") is None, reason="the page's commands are for bash")
@pytest.mark.parametrize(("command", "shown"), BLOCKS, ids=[command[:60] for command, _ in BLOCKS])
def test_a_command_prints_what_the_page_shows(command: str, shown: str) -> None:
    needed = {"calc bleu": "sacrebleu", "calc rouge": "rouge_score"}
    absent = [one for words, one in needed.items() if words in command and importlib.util.find_spec(one) is None]
    if absent:
        pytest.skip(f"needs the extra 'text-metrics'; not installed: {', '.join(absent)}")
    assert printed_by(command) == shown, f"write the page anew: python {Path(__file__).relative_to(PAGE.parents[1])}"


def test_every_calculator_has_its_section_in_the_order_of_help() -> None:
    headings = re.findall(r"^## (\w+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert headings == list(CALCULATORS)
    for name in CALCULATORS:
        assert any(f"llmdrill calc {name}" in command for command, _ in BLOCKS)


if __name__ == "__main__":
    PAGE.write_text(run_anew(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
