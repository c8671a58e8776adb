"""`llmdrill lab prefix`: time to first token by share of the prompt already cached."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from llmdrill.cli.lab.options import (  # noqa: TC001 - typer reads the annotations
    ModelOption,
    PrecisionOption,
    QuickOption,
    RepeatsOption,
    ShapeOption,
)
from llmdrill.experiments.result import Experiment  # noqa: TC001


def prefix(
    model: ModelOption = None,
    shape: ShapeOption = None,
    precision: PrecisionOption = "fp32",
    tokens: Annotated[int, typer.Option(min=8, max=1_000_000, help="Of every prompt.")] = 512,
    repeats: RepeatsOption = 7,
    quick: QuickOption = False,
    *,
    seed: int,
    say: Callable[[str], None],
) -> Experiment:
    """Prefix caching: time to first token by share of the prompt already cached."""
    from llmdrill.experiments.prefix import PrefixOptions, measure_prefix

    options = PrefixOptions(
        model=model,
        shape=shape,
        precision=precision,
        prompt_tokens=min(tokens, 128) if quick else tokens,
        repeats=min(repeats, 2) if quick else repeats,
    )
    return measure_prefix(options, seed=seed, say=say)
