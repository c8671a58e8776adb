"""`llmdrill lab moe`: a mixture-of-experts layer against its dense twins."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from llmdrill.cli.lab.options import QuickOption, RepeatsOption  # noqa: TC001 - typer reads the annotations
from llmdrill.experiments.result import Experiment  # noqa: TC001


def moe(
    width: Annotated[int, typer.Option(min=8, max=8192, help="Of the timed layers.")] = 512,
    hidden: Annotated[int, typer.Option(min=8, max=32768, help="Inner width of one expert of the timed layer.")] = 1024,
    experts: Annotated[int, typer.Option(min=2, max=256, help="Of a layer, timed and trained.")] = 8,
    per_token: Annotated[int, typer.Option(min=1, max=256, help="Experts that a token is sent to.")] = 2,
    tokens: Annotated[int, typer.Option(min=1, max=65536, help="Most tokens of a timed batch.")] = 256,
    steps: Annotated[int, typer.Option(min=1, max=100_000, help="Of each of the four trainings.")] = 120,
    repeats: RepeatsOption = 7,
    quick: QuickOption = False,
    *,
    seed: int,
    say: Callable[[str], None],
) -> Experiment:
    """A mixture-of-experts layer against its dense twins."""
    from llmdrill.experiments.moe import MoeOptions, measure_moe

    options = MoeOptions(
        width=min(width, 128) if quick else width,
        hidden=min(hidden, 256) if quick else hidden,
        experts=experts,
        per_token=per_token,
        most_tokens=min(tokens, 32) if quick else tokens,
        steps=min(steps, 8) if quick else steps,
        repeats=min(repeats, 2) if quick else repeats,
    )
    return measure_moe(options, seed=seed, say=say)
