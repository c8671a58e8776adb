"""The result of a check of several designs: what was judged, what could not be read, and what that amounts to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from llmdrill.errors import EXIT_CANNOT_RUN, EXIT_DONE, EXIT_NO
from llmdrill.system.check import verdict_json

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator

    from llmdrill.errors import Mistake
    from llmdrill.system.check import Result, Verdict

SCHEMA: Final = "llmdrill/check@1"
Outcome = Literal["pass", "fail", "unknown", "error"]


@dataclass(frozen=True, slots=True)
class FileCheck:
    """One design file.

    Attributes:
        file: As it was named.
        verdicts: Empty if the file could not be judged.
        left_out: What ``--estimated-only`` does not judge.
        notes: What its verdicts hold for alone: a machine.
        mistakes: Why it could not be judged.
    """

    file: str
    verdicts: tuple[Verdict, ...] = ()
    left_out: tuple[str, ...] = ()
    mistakes: tuple[Mistake, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """The worst of the file: error, fail, unknown, pass."""
        if self.mistakes:
            return "error"
        results = {verdict.result for verdict in self.verdicts}
        return "fail" if "fail" in results else "unknown" if "unknown" in results else "pass"


@dataclass(frozen=True, slots=True)
class GateCheck:
    """All files of one check; ``date`` is the day of the prices, None for the catalogue's."""

    files: tuple[FileCheck, ...]
    seed: int
    draws: int
    date: dt.date | None = None

    @property
    def verdicts(self) -> Iterator[Verdict]:
        """Every row of every file."""
        return (verdict for one in self.files for verdict in one.verdicts)

    @property
    def passed(self) -> bool:
        """Whether every file could be judged and every row passes."""
        return all(one.outcome == "pass" for one in self.files)

    @property
    def exit_status(self) -> int:
        """0 all pass, 1 any fails or is unknown, 2 a file could not be judged."""
        if any(one.mistakes for one in self.files):
            return EXIT_CANNOT_RUN
        return EXIT_DONE if self.passed else EXIT_NO

    def count(self, result: Result) -> int:
        """Return how many rows have this result."""
        return sum(verdict.result == result for verdict in self.verdicts)


def gate_json(gate: GateCheck) -> dict[str, Any]:
    """Return the one object that ``check --json`` prints."""
    return {
        "schema": SCHEMA,
        "passed": gate.passed,
        "verdicts": [verdict_json(verdict) for verdict in gate.verdicts],
        "left_out": [f"{one.file}: {name}" for one in gate.files for name in one.left_out],
        "notes": [f"{one.file}: {note}" for one in gate.files for note in one.notes],
        "errors": [
            {"file": m.file, "line": m.line, "column": m.column, "where": m.where, "what": m.what}
            for one in gate.files
            for m in one.mistakes
        ],
        "seed": gate.seed,
        "draws": gate.draws,
        "date": gate.date.isoformat() if gate.date else None,
    }
