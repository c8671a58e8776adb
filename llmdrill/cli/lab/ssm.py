"""`llmdrill lab ssm`: a state-space layer against its attention twin."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from llmdrill.cli.lab.options import QuickOption, RepeatsOption  # noqa: TC001 - typer reads the annotations
from llmdrill.experiments.result import Experiment  # noqa: TC001


def ssm(
    width: Annotated[int, typer.Option(min=8, max=4096, help="Of both layers.")] = 128,
    state: Annotated[int, typer.Option(min=1, max=1024, help="Values of state per inner channel.")] = 16,
    heads: Annotated[int, typer.Option(min=1, max=256, help="Of the attention twin.")] = 4,
    longest: Annotated[int, typer.Option(min=128, max=131072, help="Tokens of the longest prompt.")] = 16384,
    context: Annotated[int, typer.Option(min=128, max=1 << 20, help="Longest context before a decode step.")] = 65536,
    repeats: RepeatsOption = 3,
    quick: QuickOption = False,
    *,
    seed: int,
    say: Callable[[str], None],
) -> Experiment:
    """A state-space layer against its attention twin."""
    from llmdrill.experiments.ssm import SsmOptions, measure_ssm

    options = SsmOptions(
        width=width,
        state=state,
        heads=heads,
        longest_tokens=min(longest, 1024) if quick else longest,
        longest_context_tokens=min(context, 8192) if quick else context,
        repeats=min(repeats, 2) if quick else repeats,
    )
    return measure_ssm(options, seed=seed, say=say)
