"""An experiment as blocks: the question, predicted beside measured, pictures, what it means, and how it was run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from llmdrill.report.blocks import Bullets, Drawing, Grid, Heading, Text
from llmdrill.report.chart import chart
from llmdrill.report.measurement_views import figure_text, machine_name, table_view

if TYPE_CHECKING:
    from llmdrill.experiments.result import Experiment, Finding
    from llmdrill.report.blocks import Block, Blocks

_RATIO_SHOWN_FROM: Final = 3.0  # an error beyond +200 % reads better as a multiple


def experiment_view(experiment: Experiment, *, level: int = 1) -> Blocks:
    """Show an experiment, its title as a heading of that level."""
    blocks: list[Block] = [Heading(experiment.title, level)]
    if experiment.lines:
        blocks.append(Drawing("\n".join(experiment.lines)))
    if experiment.findings:
        blocks.append(_findings(experiment.findings))
    blocks += [table_view(table) for table in experiment.tables]
    blocks += [Drawing(chart(picture)) for picture in experiment.pictures]
    blocks.append(Text(" ".join(experiment.meaning)))
    formulas = [f"predicted {one.name} = {one.formula}" for one in experiment.findings if one.formula]
    notes = [f"{one.name}: {one.note}" for one in experiment.findings if one.note]
    ends = (_weights(experiment.findings), _protocol(experiment))
    blocks.append(Bullets((*formulas, *notes, *experiment.notes, *ends), "dim"))
    return tuple(blocks)


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
    return "" if value is None else figure_text(name, value)


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
    if not names:
        return "Other weights of the same shape would give the same figures."
    if len(names) == len(findings):
        return "Every figure depends on the model's weights."
    return f"Other weights would change {', '.join(names)}; the rest depends on the shape alone."


def _protocol(experiment: Experiment) -> str:
    ran, machine = experiment.protocol, experiment.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions)
    return (
        f"{machine_name(machine)}; {ran.threads} thread{'s' * (ran.threads != 1)}; {versions}; seed {ran.seed},"
        f" {ran.warm_up} warm-up, {ran.repeats} repeat{'s' * (ran.repeats != 1)}; {ran.seconds:.1f} s in all"
    )
