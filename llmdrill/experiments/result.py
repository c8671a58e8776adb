"""What every experiment of the lab returns: each quantity measured, predicted or both, and what it means."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmdrill.measurement import Machine
    from llmdrill.picture import Picture
    from llmdrill.table import Table


@dataclass(frozen=True, slots=True)
class Finding:
    """One quantity of an experiment.

    Attributes:
        name: Its identifier with its unit, such as ``ttft_p50_ms``; values are in that unit.
        measured: What the run saw; None where it could not be measured.
        predicted: What the closed form says; None where there is none.
        low: Lower end of the spread over repeats or of the 95 % interval, as ``note`` says.
        high: Upper end.
        n: How many repeats, tokens or texts stand behind it.
        formula: Of the prediction, with the numbers put in.
        weights_matter: Whether other weights would give another figure: false for latency and memory.
        note: What a reader must know to read the figure rightly.
    """

    name: str
    measured: float | None
    predicted: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    formula: str = ""
    weights_matter: bool = False
    note: str = ""

    @property
    def error_share(self) -> float | None:
        """Return how far the prediction is off, as a share of what was measured; None where a share says nothing.

        Equal figures are exact, 0 and 0 among them; between 0, or a figure of the other sign, and another no share
        tells how far apart they are.

        >>> Finding("tpot_ms", measured=10.0, predicted=8.0).error_share
        -0.2
        >>> Finding("lost_blocks", measured=0.0, predicted=0.0).error_share
        0.0
        >>> Finding("lost_blocks", measured=3.0, predicted=0.0).error_share
        """
        if self.measured is None or self.predicted is None:
            return None
        if self.measured == self.predicted:
            return 0.0
        return (self.predicted - self.measured) / self.measured if self.predicted * self.measured > 0 else None


def over_rounds(
    name: str,
    values: Sequence[float],
    *,
    measured: float | None = None,
    predicted: float | None = None,
    formula: str = "",
    weights_matter: bool = False,
    note: str = "",
) -> Finding:
    """Return the median of readings, one a round, with the smallest and the largest; a single one has no spread.

    ``measured`` may stand in the median's place, such as a ratio of two medians.

    >>> over_rounds("tpot_ms", [3.0, 1.0, 2.0]).measured, over_rounds("tpot_ms", [3.0]).low
    (2.0, None)
    """
    low, high = (min(values), max(values)) if len(values) > 1 else (None, None)
    middle = median(values) if measured is None else measured
    return Finding(name, middle, predicted, low, high, len(values), formula, weights_matter, note)


@dataclass(frozen=True, slots=True)
class Protocol:
    """How an experiment was run.

    Attributes:
        seed: Of everything drawn at random.
        warm_up: Unread runs before the first that counts.
        repeats: Readings behind each timed figure.
        threads: Of torch and of the native step.
        seconds: Wall time of the whole experiment.
    """

    seed: int
    warm_up: int
    repeats: int
    threads: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Experiment:
    """What one experiment found.

    Attributes:
        name: Its command, such as ``kv``.
        title: The question, in a line.
        inputs: What it was run with, under keys that bear their units and are no finding's name.
        findings: Every quantity, each name once.
        tables: Sweeps and breakdowns.
        pictures: For the terminal and for ``--svg``.
        meaning: Two sentences on what came out.
        machine: Where it ran.
        protocol: How it ran.
        notes: Caveats, each a sentence.
        lines: Text shown before the figures.
    """

    name: str
    title: str
    inputs: Mapping[str, Any]
    findings: tuple[Finding, ...]
    tables: tuple[Table, ...]
    pictures: tuple[Picture, ...]
    meaning: tuple[str, str]
    machine: Machine
    protocol: Protocol
    notes: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [*(one.name for one in self.findings), *self.inputs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"experiment '{self.name}' has {', '.join(twice)} twice")

    def finding(self, name: str) -> Finding | None:
        """Return the finding of that name, or None."""
        return next((one for one in self.findings if one.name == name), None)


def experiment_json(experiment: Experiment) -> dict[str, Any]:
    """Return the experiment as one object: findings by name, then predictions, spreads, inputs, tables, meaning."""
    findings = experiment.findings
    return {
        "schema": f"llmdrill/lab-{experiment.name}@1",
        **{one.name: one.measured for one in findings},
        "predicted": {one.name: one.predicted for one in findings if one.predicted is not None},
        "formulas": {one.name: one.formula for one in findings if one.formula},
        "spread": {one.name: [one.low, one.high] for one in findings if one.low is not None or one.high is not None},
        "weights_matter": [one.name for one in findings if one.weights_matter],
        **experiment.inputs,
        **{table.title.replace(" ", "_"): table_json(table) for table in experiment.tables},
        "lines": experiment.lines,
        "meaning": experiment.meaning,
        "notes": experiment.notes,
        "machine": _fields(experiment.machine),
        "protocol": _fields(experiment.protocol),
    }


def table_json(table: Table) -> list[dict[str, Any]]:
    """Return a table's rows as objects."""
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def _fields(record: Machine | Protocol) -> dict[str, Any]:
    from dataclasses import asdict

    fields = asdict(record)
    return {**fields, "versions": dict(fields["versions"])} if "versions" in fields else fields
