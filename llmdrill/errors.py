"""The one error tree.

LlmdrillError                 exit 2: it could not run
├── UsageError                the call's words are off
├── ContentError              a file is unreadable or malformed (one or more Mistakes, each with its place)
├── UnknownNameError          no such scenario, model, price, stage kind … (carries the nearest names)
├── MissingExtraError         an optional package is not installed (carries the command that installs it)
├── ModelFileError            a model file is absent, truncated, of another hash or of an unsupported kind
├── StoreError                the store cannot be opened or written
└── InterruptedByPersonError  exit 130: Ctrl-C; everything typed so far is saved
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

EXIT_DONE = 0
EXIT_NO = 1
EXIT_CANNOT_RUN = 2
EXIT_INTERRUPTED = 130
LONGEST_NAME = 60  # no name is longer, and messages stay short
MOST_NAMES = 8  # of those listed where none is near


class LlmdrillError(Exception):
    """Say what is wrong, where, and what to do next, in one line."""

    exit_status = EXIT_CANNOT_RUN


class UsageError(LlmdrillError):
    """The call's words are off."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake in a file: where it is and what it is."""

    file: str
    line: int
    column: int
    where: str
    what: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}"
        return f"{place}: {self.where}: {self.what}" if self.where else f"{place}: {self.what}"


class ContentError(LlmdrillError):
    """A file is unreadable or malformed; every mistake found is listed at once."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(str(mistake) for mistake in self.mistakes))


class UnknownNameError(LlmdrillError):
    """A name is not known; the nearest known ones are given."""

    def __init__(self, kind: str, name: str, known: Collection[str]) -> None:
        self.kind, self.name = kind, name
        self.nearest = nearest_names(name, known)
        shown = name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}…"
        super().__init__(f"unknown {kind} '{shown}'{did_you_mean(self.nearest) or _some_of(sorted(set(known)))}")


class MissingExtraError(LlmdrillError):
    """An optional package is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        self.extra = extra
        super().__init__(f"{what} needs the extra '{extra}': pip install -c constraints.txt 'llmdrill[{extra}]'")


class ModelFileError(LlmdrillError):
    """A model file is absent, truncated, of another hash, or of an unsupported kind."""


class StoreError(LlmdrillError):
    """The store cannot be opened or written."""


def nearest_names(name: str, known: Iterable[str], *, most: int = 3) -> tuple[str, ...]:
    """Return the known names most like ``name``, best first, case ignored.

    >>> nearest_names("Rga", ["rag", "moderation"])
    ('rag',)
    """
    import difflib

    by_lower = {candidate.lower(): candidate for candidate in known}
    typed = name[: 2 * LONGEST_NAME].lower()
    return tuple(by_lower[hit] for hit in difflib.get_close_matches(typed, by_lower, n=most, cutoff=0.5))


def _some_of(names: Sequence[str]) -> str:
    """Return ``; one of a, b`` where nothing is near: all of few, the first of many.

    >>> _some_of(["bf16", "fp8"])
    '; one of bf16, fp8'
    """
    first = ", ".join(names[:MOST_NAMES])
    rest = len(names) - MOST_NAMES
    return f"; one of {first}{f' and {rest} more' if rest > 0 else ''}" if names else ""


def did_you_mean(names: Sequence[str]) -> str:
    """Return `` (did you mean a, b?)`` or nothing.

    >>> did_you_mean(["rag"])
    ' (did you mean rag?)'
    """
    return f" (did you mean {', '.join(names)}?)" if names else ""


class InterruptedByPersonError(LlmdrillError):
    """Ctrl-C: everything typed so far is saved."""

    exit_status = EXIT_INTERRUPTED
