"""What a real run saw: figures with their spread, the machine, and the key that says what was run."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA: Final = "llmdrill/measurement@1"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured quantity.

    Attributes:
        name: A metric's identifier with its unit, such as ``recall_at_k`` or ``ttft_p95_ms``.
        value: The figure; None where it could not be measured.
        low: Lower end of the 95 % interval or of the spread over repeats, as ``note`` says.
        high: Upper end.
        n: How many questions, messages or repeats stand behind it.
        note: What a reader must know to read the figure rightly; empty if nothing.
    """

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a measurement, ready for any report: column names and rows of cells."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | float | int | None, ...], ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a measurement was taken."""

    cpu: str
    cores: int
    threads: int
    memory_bytes: int
    platform: str
    versions: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one lab run saw.

    Attributes:
        kind: ``retrieval``, ``decoding`` or ``classification``.
        key: Hash of everything the result depends on (see ``measurement_key``).
        figures: The measured quantities, each name once.
        tables: Curves and breakdowns for the report.
        machine: Where it ran.
        seed: Of everything drawn at random.
        repeats: How often timed work was repeated after the warm-up.
        seconds: Wall time of the whole run; not part of what must repeat exactly.
        notes: Sentences that belong beside the figures ("random weights: latency and memory only").
    """

    kind: str
    key: str
    figures: tuple[Figure, ...]
    tables: tuple[Table, ...]
    machine: Machine
    seed: int
    repeats: int
    seconds: float
    notes: tuple[str, ...] = ()

    def figure(self, name: str) -> Figure | None:
        """Return the figure of that name, or None if this run did not measure it."""
        return next((figure for figure in self.figures if figure.name == name), None)


def measurement_key(parts: Mapping[str, object]) -> str:
    """Return the sha256 of everything a measurement depends on: corpus, labels, model and parameters.

    >>> measurement_key({"k": 5, "model": "x"}) == measurement_key({"model": "x", "k": 5})
    True
    >>> measurement_key({"k": 5}) == measurement_key({"k": 6})
    False
    """
    canonical = json.dumps(dict(parts), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
