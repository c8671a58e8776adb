"""The page of every closed form, from the docstrings of llmdrill.estimate."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from typing import TYPE_CHECKING

from pages.markdown import code, fence

import llmdrill.estimate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

HEAD = """# The closed forms

Written by `docs/generate.py` from the docstrings of `llmdrill.estimate`; do not edit. *Error* says when a formula is
wrong, and by how much.
"""
SECTION = re.compile(r"^(Formula|Args|Returns|Raises|Error|Source|Attributes):\s*$", re.MULTILINE)
DOCTEST = re.compile(r"^>>> ", re.MULTILINE)


def page() -> str:
    """Return the page."""
    parts = [HEAD.strip()]
    for module in _modules():
        functions = list(_functions(module))
        if functions:
            parts.append(f"## `{module.__name__}`\n\n{inspect.cleandoc(module.__doc__ or '')}")
            parts += [_function(name, function) for name, function in functions]
    return "\n\n".join(parts) + "\n"


def _modules() -> Iterator[ModuleType]:
    for found in sorted(pkgutil.iter_modules(llmdrill.estimate.__path__), key=lambda one: one.name):
        yield importlib.import_module(f"llmdrill.estimate.{found.name}")


def _functions(module: ModuleType) -> Iterator[tuple[str, Callable[..., object]]]:
    for name, found in vars(module).items():
        own = getattr(found, "__module__", None) == module.__name__ and not name.startswith("_")
        if own and inspect.isfunction(found):
            yield name, found


def _function(name: str, function: Callable[..., object]) -> str:
    text = inspect.getdoc(function) or ""
    body, example = [*DOCTEST.split(text, maxsplit=1), ""][:2]
    pieces = SECTION.split(body)
    parts = [f"### `{name}`", fence(_signature(name, function), "python"), pieces[0].strip()]
    parts += [_section(title, said) for title, said in zip(pieces[1::2], pieces[2::2], strict=True)]
    if example:
        parts.append(fence(f">>> {example}", "python"))
    return "\n\n".join(part for part in parts if part)


def _signature(name: str, function: Callable[..., object]) -> str:
    signature = inspect.signature(function)
    line = f"{name}{signature}".replace("'", "")
    if len(line) <= 100:
        return line
    given, keyword_only = [], False
    for one in signature.parameters.values():
        if one.kind is one.KEYWORD_ONLY and not keyword_only:
            given.append("    *,")
            keyword_only = True
        given.append(f"    {one},".replace("'", ""))
    returns = str(signature.return_annotation).replace("'", "")
    return "\n".join([f"{name}(", *given, f") -> {returns}"])


def _section(title: str, said: str) -> str:
    said = inspect.cleandoc("\n" + said.rstrip())
    if title == "Formula":
        return f"**{title}**\n\n{fence(said, 'text')}"
    if title in {"Args", "Attributes", "Raises"}:
        items = re.split(r"\n(?=\S)", said.strip())
        lines = [
            re.sub(r"^([\w, *]+): ", lambda match: f"{code(match[1])}: ", " ".join(item.split())) for item in items
        ]
        return f"**{title}**\n\n" + "\n".join(f"- {line}" for line in lines)
    return f"**{title}:** {' '.join(said.split())}"
