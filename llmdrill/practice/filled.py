"""Texts with numbers put in: ``{context_tokens}``, ``{answer:bytes}``, ``{share:.3g}``."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Final, get_args

from llmdrill.errors import UsageError
from llmdrill.units import Dimension, format_quantity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from llmdrill.practice.drawn import Value

DIMENSIONS: Final = frozenset(get_args(Dimension))


def fill(text: str, values: Mapping[str, Value]) -> str:
    """Return the text with every placeholder replaced.

    Raises:
        UsageError: If a placeholder names nothing, or its format does not suit.

    >>> fill("{n} tokens, {size:bytes}, {x:.2f}, {{kept}}", {"n": 128000, "size": 2e9, "x": 0.125})
    '128,000 tokens, 2 GB (1.86 GiB), 0.12, {kept}'
    """
    parts = []
    for literal, name, form, _ in string.Formatter().parse(text):
        parts.append(literal)
        if name is not None:
            if name not in values:
                raise UsageError(f"the text names '{{{name}}}', which is no parameter or step")
            parts.append(_shown(values[name], form or ""))
    return "".join(parts)


def placeholders(text: str) -> Iterator[str]:
    """Yield the names that a text wants filled in.

    Raises:
        UsageError: If its braces do not match.
    """
    try:
        yield from (name for _, name, _, _ in string.Formatter().parse(text) if name is not None)
    except ValueError as error:
        raise UsageError(f"the text has a brace of its own: write it twice ({error})") from error


def _shown(value: Value, form: str) -> str:
    if isinstance(value, str):
        return value
    try:
        if form in DIMENSIONS:
            return format_quantity(value, form)  # type: ignore[arg-type] # it is among the dimensions
        return format(value, form) if form else plain(value)
    except ValueError as error:
        raise UsageError(f"a number cannot be shown as '{form}'") from error


def plain(value: float) -> str:
    """Return a number with its thousands grouped, and at most six digits where it is not whole.

    >>> plain(128000), plain(0.1), plain(1 / 3), plain(2.5e-7)
    ('128,000', '0.1', '0.333333', '2.5e-07')
    """
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:,.6g}"
