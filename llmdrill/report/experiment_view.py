"""An experiment as blocks: the question, predicted beside measured, what it means, pictures, and how it was run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from llmdrill.report.blocks import Bullets, Chart, Drawing, Grid, Heading, Text
from llmdrill.report.measurement_views import figure_text, machine_name, table_view

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from llmdrill.experiments.result import Experiment, Finding
    from llmdrill.report.blocks import Block, Blocks

_RATIO_SHOWN_FROM: Final = 3.0  # an error beyond +200 % reads better as a multiple
MEANING: Final = "What it means"
FIGURES: Final = "What the figures are"


def experiment_view(experiment: Experiment, *, level: int = 1) -> Blocks:
    """Show an experiment, its title as a heading of that level; what was found comes before how it was found."""
    blocks: list[Block] = [Heading(experiment.title, level)]
    if experiment.lines:
        blocks.append(Drawing("\n".join(experiment.lines)))
    if experiment.findings:
        blocks.append(_findings(experiment.findings))
    blocks += [Heading(MEANING, level + 1), Text(" ".join(experiment.meaning))]
    blocks += [Chart(picture) for picture in experiment.pictures]
    blocks += [table_view(table) for table in experiment.tables]
    notes = tuple(_by_text(experiment.findings, lambda one: one.note, ": "))
    formulas = tuple(_by_text(experiment.findings, lambda one: one.formula, " = "))
    care = (*experiment.notes, _weights(experiment.findings))
    for title, items in (
        (FIGURES, notes),
        ("How they were predicted", formulas),
        ("Read with care", care),
        ("How it was run", _protocol(experiment)),
    ):
        blocks += [Heading(title, level + 1), Bullets(items, "dim")] if items else []
    return tuple(blocks)


def _by_text(findings: tuple[Finding, ...], text_of: Callable[[Finding], str], sign: str) -> Iterator[str]:
    """Yield each text behind the names of all figures that it is about."""
    names: dict[str, list[str]] = {}
    for one in findings:
        names.setdefault(text_of(one), []).append(one.name)
    return (f"{', '.join(those)}{sign}{text}" for text, those in names.items() if text)


def _findings(findings: tuple[Finding, ...]) -> Grid:
    """Show what was found; columns that would be empty are left out."""
    spread = any(one.low is not None or one.high is not None for one in findings)
    predicted = any(one.predicted is not None for one in findings)
    columns = ["figure", *([">predicted"] if predicted else []), ">measured", *([">off by"] if predicted else [])]
    columns += [*([">low", ">high"] if spread else []), ">n"]
    rows = []
    for one in findings:
        row = [one.name]
        row += [_value(one.name, one.predicted)] if predicted else []
        row += [_value(one.name, one.measured) or "unknown"]
        row += [_error(one.error_share)] if predicted else []
        row += [_value(one.name, one.low), _value(one.name, one.high)] if spread else []
        rows.append((*row, str(one.n or "")))
    return Grid(tuple(columns), tuple(rows), "Predicted and measured" if predicted else "Measured")


def _value(name: str, value: float | None) -> str:
    """Return a figure in the unit that its name ends in, so that a row has one unit.

    >>> _value("first_token_s", 0.149), _value("ttft_p50_ms", 1761.3), _value("step_bytes", 8.78e6)
    ('0.149 s', '1,760 ms', '8.78 MB')
    """
    if value is None:
        return ""
    if name.endswith("_s") and not name.endswith("_per_s"):
        return f"{float(f'{value:.3g}'):,.10g} s"
    return figure_text(name, value).partition(" (")[0]  # of GB and GiB the first: a table needs no two


def _error(share: float | None) -> str:
    """Return how far a prediction is off.

    >>> _error(-0.2), _error(0.004), _error(4.0), _error(0.0)
    ('-20.0%', '+0.4%', '5.0x', 'exact')
    """
    if share is None:
        return ""
    if share == 0:
        return "exact"
    return f"{1 + share:.1f}x" if 1 + share >= _RATIO_SHOWN_FROM else f"{share:+.1%}"


def _weights(findings: tuple[Finding, ...]) -> str:
    names = [one.name for one in findings if one.weights_matter]
    others = [one.name for one in findings if not one.weights_matter]
    if not names:
        return "Other weights of the same shape would give the same figures."
    if not others:
        return "Every figure depends on the model's weights."
    if len(names) <= len(others):
        return f"Other weights would change {', '.join(names)}; the rest depends on the shape alone."
    return f"Other weights would change every figure but {', '.join(others)}."


def _protocol(experiment: Experiment) -> tuple[str, ...]:
    ran, machine = experiment.protocol, experiment.machine
    repeats = f"{ran.repeats} repeat{'s' * (ran.repeats != 1)}"
    return (
        f"{machine_name(machine)}; {ran.threads} thread{'s' * (ran.threads != 1)}",
        ", ".join(f"{name} {version}" for name, version in machine.versions),
        f"seed {ran.seed}, {ran.warm_up} warm-up, {repeats}; {ran.seconds:.1f} s in all",
    )
