"""What an unquoted YAML 1.2 scalar means."""

from __future__ import annotations

import math
import re
from typing import Final

# YAML 1.2 core schema: `no` is a string, `1e3` is a number, `012` is twelve. (PyYAML speaks 1.1 by default.)
_BOOL: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_INT: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


def plain_scalar(text: str) -> str | int | float | bool | None:
    """Return what an unquoted YAML 1.2 scalar means.

    Raises:
        ValueError: If it is a number too large for a float.

    >>> plain_scalar("no"), plain_scalar("1e3"), plain_scalar("012"), plain_scalar("12:30")
    ('no', 1000.0, 12, '12:30')
    """
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if _INT.fullmatch(text):
        return int(text, 0) if text[:2] in {"0o", "0x"} else int(text)
    if _FLOAT.fullmatch(text):
        value = float(text)
        if not math.isfinite(value):
            raise ValueError(text)
        return value
    return text
