"""Plain data out of a file, and where each part of it stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from llmdrill.errors import Mistake

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_BYTES: Final = 4_000_000  # of one file

Path_ = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Located:
    """Plain data out of a YAML file, and where each part of it stands.

    Attributes:
        file: The name to show in messages.
        data: dicts, tuples, str, int, float, bool, None.
        places: Path of keys and indexes to (line, column), both from 1. The place of a value; of a key under ``KEY``.
        sha256: Of the text as UTF-8, without a byte-order mark.
    """

    file: str
    data: Any
    places: dict[Path_, tuple[int, int]]
    sha256: str

    def mistake(self, path: Sequence[str | int], what: str) -> Mistake:
        """Return a mistake at ``path``, or at the nearest enclosing place that is known."""
        known = tuple(path)
        while known and known not in self.places:
            known = known[:-1]
        line, column = self.places.get(known, (1, 1))
        return Mistake(self.file, line, column, dotted(path), what)


def dotted(path: Sequence[str | int]) -> str:
    """Return ``roles[2].options`` for ``("roles", 2, "options")``.

    >>> dotted(("roles", 2, "options"))
    'roles[2].options'
    """
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
