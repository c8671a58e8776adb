"""The page of every command and option, from the typer app."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import typer
from pages.markdown import code, fence, table

from llmdrill.cli.app import build_app

if TYPE_CHECKING:
    from collections.abc import Iterator

HEAD = """# The command line

Written by `docs/generate.py` from the program itself; do not edit.

Results go to stdout; prompts, progress and errors to stderr. `--json` prints one JSON object with a key `schema`.

| exit status | meaning |
|---|---|
| 0 | done |
| 1 | the answer is no: a check fails or is unknown, `validate` found mistakes, an `--assert` or `--gate` is not met |
| 2 | it could not run: wrong usage, an unreadable or malformed file, a missing extra |
| 130 | interrupted; everything typed so far is saved |
"""


def page() -> str:
    """Return the page."""
    root = typer.main.get_command(build_app(None))
    return "\n\n".join([HEAD.strip(), *_commands(root, "llmdrill")]) + "\n"


def _commands(command: Any, name: str) -> Iterator[str]:  # noqa: ANN401 - typer carries its own click
    inner = getattr(command, "commands", None)
    if inner is None or name == "llmdrill":
        yield _command(command, name)
    else:
        yield f"## `{name}`\n\n{command.help}"
    for each, child in (inner or {}).items():
        if not child.hidden:
            yield from _commands(child, f"{name} {each}")


def _command(command: Any, name: str) -> str:  # noqa: ANN401 - as above
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option" and not one.hidden]
    usage = " ".join([name, *("[OPTIONS]" for _ in options[:1]), *(_argument(one) for one in arguments)])
    rows = [(code(_argument(one)), _default(one), one.help or "") for one in arguments]
    rows += [(code(_spelled(one)), _default(one), one.help or "") for one in options if one.name != "help"]
    heading = "##" if name.count(" ") < 2 else "###"
    parts = [f"{heading} `{name}`", inspect.cleandoc(command.help or ""), fence(usage, "text")]
    return "\n\n".join([*parts, *([table(("argument or option", "default", "meaning"), rows)] if rows else [])])


def _argument(one: Any) -> str:  # noqa: ANN401 - as above
    choices = getattr(one.type, "choices", None)
    name = "|".join(map(str, choices)) if choices else (one.metavar or one.name).upper()
    many = "..." if one.nargs == -1 else ""
    return f"{name}{many}" if one.required else f"[{name}]{many}"


def _spelled(one: Any) -> str:  # noqa: ANN401 - as above
    names = ", ".join(one.opts)
    if one.is_flag:
        return names
    choices = getattr(one.type, "choices", None)
    value = "|".join(map(str, choices)) if choices else one.metavar or str(one.type.name).upper().removesuffix(" RANGE")
    return f"{names} {value}"


def _default(one: Any) -> str:  # noqa: ANN401 - as above
    if one.required:
        return "needed"
    default = one.default
    return "" if default is None or default is False or default in ((), "") else code(default)
