"""The pages of the lab: every experiment has its section and an example that runs; links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from llmdrill.cli.app import build_app
from llmdrill.cli.lab import EXPERIMENTS

DOCS = Path(__file__).parents[2] / "docs"
LAB = (DOCS / "lab.md").read_text("utf-8")
RETRIEVAL = (DOCS / "retrieval.md").read_text("utf-8")
TEXT = f"{LAB}\n{RETRIEVAL}"
CALLS = re.findall(r"^\$ llmdrill (lab .+)$", TEXT, re.MULTILINE)
SECTIONS = re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_has_a_section_with_an_example(name: str) -> None:
    section = next((one for one in SECTIONS if one.startswith(f"{name}\n")), "")
    assert f"\n$ llmdrill lab {name}" in section


@pytest.mark.parametrize("call", CALLS)
def test_the_command_line_takes_every_example(call: str) -> None:
    group, name, *options = shlex.split(call)
    command: Any = typer.main.get_command(build_app([group, name, *options]))
    command.commands[group].commands[name].make_context(name, options)


def test_a_section_that_is_no_experiment_explains_all_of_them() -> None:
    others = [one.partition("\n")[0] for one in SECTIONS if one.partition("\n")[0] not in EXPERIMENTS]
    assert others == [
        "How to read a result",
        "Terms",
        "Protocol",
        "Engines",
        "Models",
        "Assembling a prompt",
        "Metrics",
    ]


def test_links_lead_to_pages_and_sections_that_exist() -> None:
    headings = {one.partition("\n")[0].lower().replace(" ", "-") for one in SECTIONS}
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        page, _, section = target.partition("#")
        if target.startswith("https://"):
            continue
        assert (DOCS / page).exists()
        assert page or section in headings
