"""Small valid drills to start from, and ways to ask what is wrong with others."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from llmdrill.content import parse_yaml, validate
from llmdrill.practice.drill import DrillFile, Kind
from llmdrill.practice.template import drill_template
from llmdrill.practice.validate import validate_drills

if TYPE_CHECKING:
    from pathlib import Path

    from llmdrill.practice.drill import Drill

KINDS: tuple[str, ...] = get_args(Kind)


def template(kind: str, drill_id: str = "my-drill") -> str:
    """Return the text of a valid file with one drill."""
    return drill_template(kind, drill_id)[f"{drill_id}.yaml"]


def drill_of(text: str) -> Drill:
    """Return the first drill of a file's text."""
    return validate(parse_yaml(text, file="f.yaml"), DrillFile).drills[0]


def write(folder: Path, kind: str, *changes: tuple[str, str], drill_id: str = "my-drill") -> Path:
    """Write a valid drill with all its files, and with these changes to its text; return its file."""
    for relative, text in drill_template(kind, drill_id).items():
        (folder / relative).parent.mkdir(parents=True, exist_ok=True)
        (folder / relative).write_text(text, encoding="utf-8")
    path = folder / f"{drill_id}.yaml"
    text = path.read_text(encoding="utf-8")
    for old, new in changes:
        assert text.count(old) >= 1, f"nothing to change: {old}"
        text = text.replace(old, new, 1)
    path.write_text(text, encoding="utf-8")
    return path


def mistakes(path: Path, *, run_code: bool = False) -> list[str]:
    """Return what the validator says of a file, without its name."""
    return [str(one).removeprefix(f"{path}:") for one in validate_drills([path], run_code=run_code)]
