"""`llmdrill lab paged`: waste, sharing, copy-on-write and preemption of a paged key-value cache."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from llmdrill.cli.lab.options import ModelOption, QuickOption, RepeatsOption, ShapeOption  # noqa: TC001
from llmdrill.experiments.result import Experiment  # noqa: TC001

_MOST = 1_000_000


def paged(
    model: ModelOption = None,
    shape: ShapeOption = None,
    requests: Annotated[int, typer.Option(min=2, max=1000, help="In the queue.")] = 16,
    longest: Annotated[
        int, typer.Option(min=16, max=_MOST, help="Tokens a request may have; reservation sets them aside for each.")
    ] = 256,
    pool: Annotated[
        int | None, typer.Option(min=1, max=_MOST, help="Tokens the pool has room for; default 2 × longest.")
    ] = None,
    block: Annotated[int, typer.Option(min=1, max=_MOST, help="Tokens of a block.")] = 16,
    samples: Annotated[int, typer.Option(min=2, max=64, help="Of one prompt; twice as many share a prefix.")] = 4,
    repeats: RepeatsOption = 3,
    quick: QuickOption = False,
    *,
    seed: int,
    say: Callable[[str], None],
) -> Experiment:
    """A paged key-value cache: waste, sharing, copy-on-write, preemption."""
    from llmdrill.experiments.paged import PagedOptions, measure_paged

    options = PagedOptions(
        model=model,
        shape=shape,
        requests=min(requests, 8) if quick else requests,
        longest_tokens=min(longest, 128) if quick else longest,
        pool_tokens=pool,
        block_tokens=block,
        samples=samples,
        repeats=1 if quick else repeats,
    )
    return measure_paged(options, seed=seed, say=say)
