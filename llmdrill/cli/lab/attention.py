"""`llmdrill lab attention`: scaling, tiling, positions beyond training, growth."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from llmdrill.cli.lab.options import QuickOption, RepeatsOption  # noqa: TC001 - typer reads the annotations
from llmdrill.experiments.result import Experiment  # noqa: TC001


def attention(
    heads: Annotated[int, typer.Option(min=1, max=128, help="Of the timed attention.")] = 4,
    head_dim: Annotated[int, typer.Option(min=1, max=512, help="Values of one head.")] = 64,
    longest: Annotated[int, typer.Option(min=128, max=16384, help="Tokens of the longest timed sequence.")] = 2048,
    steps: Annotated[int, typer.Option(min=1, max=100_000, help="Of each of the three trainings.")] = 200,
    width: Annotated[int, typer.Option(min=8, max=1024, help="Of the trained models; a multiple of 8.")] = 64,
    repeats: RepeatsOption = 3,
    quick: QuickOption = False,
    *,
    seed: int,
    say: Callable[[str], None],
) -> Experiment:
    """Attention: scaling, tiling, positions beyond training, growth."""
    from llmdrill.experiments.attention import AttentionOptions, measure_attention

    options = AttentionOptions(
        heads=heads,
        head_dim=head_dim,
        longest_tokens=min(longest, 1024) if quick else longest,
        steps=min(steps, 10) if quick else steps,
        width=min(width, 32) if quick else width,
        pieces=4 if quick else AttentionOptions().pieces,
        repeats=1 if quick else repeats,
    )
    return measure_attention(options, seed=seed, say=say)
