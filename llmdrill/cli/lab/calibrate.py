"""`llmdrill lab calibrate`: this machine's profile, which the accelerator ``local`` is."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from llmdrill.cli.lab.options import QuickOption  # noqa: TC001
from llmdrill.experiments.result import Experiment  # noqa: TC001


def calibrate(
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="Readings of every probe and request.")] = 4,
    again: Annotated[
        bool, typer.Option("--again", help="Time no probes: hold the kept profile against shapes once more.")
    ] = False,
    quick: QuickOption = False,
    *,
    seed: int,
    say: Callable[[str], None],
) -> Experiment:
    """Profile this machine, and predict shapes that were not run."""
    from llmdrill.experiments.calibrate import CalibrateOptions, measure_calibrate

    return measure_calibrate(CalibrateOptions(rounds=rounds, again=again, quick=quick), seed=seed, say=say)
