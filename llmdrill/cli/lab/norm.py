"""`llmdrill lab norm`: Pre-LN against Post-LN."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from llmdrill.cli.lab.options import QuickOption  # noqa: TC001 - typer reads the annotations
from llmdrill.experiments.result import Experiment  # noqa: TC001


def norm(
    layers: Annotated[int, typer.Option(min=1, max=64, help="Of the trained models.")] = 6,
    width: Annotated[int, typer.Option(min=8, max=1024, help="Of all models; a multiple of 8.")] = 64,
    steps: Annotated[int, typer.Option(min=1, max=100_000, help="Of each of the four trainings.")] = 150,
    rate: Annotated[float, typer.Option(min=1e-6, max=1.0, help="Highest learning rate of Adam.")] = 6e-3,
    warm_up: Annotated[int, typer.Option(min=1, max=100_000, help="Steps of warm-up, in two of the four.")] = 50,
    models: Annotated[int, typer.Option(min=1, max=100, help="Drawn for each figure at initialisation.")] = 3,
    quick: QuickOption = False,
    *,
    seed: int,
    say: Callable[[str], None],
) -> Experiment:
    """Pre-LN against Post-LN: gradients by depth in a small training."""
    from llmdrill.experiments.norm import DEPTHS, NormOptions, measure_norm

    options = NormOptions(
        layers=min(layers, 4) if quick else layers,
        width=width,
        steps=min(steps, 10) if quick else steps,
        peak_rate=rate,
        warm_up_steps=min(warm_up, 5) if quick else warm_up,
        seeds=1 if quick else models,
        depths=DEPTHS[:2] if quick else DEPTHS,
    )
    return measure_norm(options, seed=seed, say=say)
