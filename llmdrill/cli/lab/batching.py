"""`llmdrill lab batching`: throughput by batch, and how a queue is best served."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - typer reads the annotations
from typing import Annotated, Literal

import typer

from llmdrill.cli.lab.options import ModelOption, QuickOption, RepeatsOption, ShapeOption  # noqa: TC001
from llmdrill.experiments.result import Experiment  # noqa: TC001

_MOST = 1024
Engine = Literal["auto", "native", "torch"]
Weights = Literal["fp32", "bf16", "int8"]


def batching(
    model: ModelOption = None,
    shape: ShapeOption = None,
    engine: Annotated[Engine, typer.Option(help="Who serves the queue; the sweep runs every engine.")] = "auto",
    precision: Annotated[
        Weights | None, typer.Option(help="Of the weights it reads; default int8, in torch fp32.")
    ] = None,
    slots: Annotated[
        int, typer.Option(min=2, max=_MOST, help="Sequences at a time; the sweep doubles from 1 to twice as many.")
    ] = 16,
    requests: Annotated[int, typer.Option(min=2, max=100_000, help="In the queue, of mixed lengths.")] = 64,
    context: Annotated[int, typer.Option(min=1, max=1_000_000, help="Tokens before each sequence of the sweep.")] = 64,
    repeats: RepeatsOption = 3,
    quick: QuickOption = False,
    *,
    seed: int,
    say: Callable[[str], None],
) -> Experiment:
    """Throughput by batch, and continuous against static batching.

    First decode steps of 1, 2, 4 … sequences in every engine and precision there is; then one queue of mixed lengths,
    prompts included, served in static batches and continuously by the same engine.
    """
    from llmdrill.experiments.batching import measure_batching
    from llmdrill.lab.batching_run import MIXED_OUTPUTS, SHORT_OUTPUTS, BatchingOptions, batches_up_to

    options = BatchingOptions(
        model=model,
        shape=shape,
        engine=engine,
        precision=precision,
        batches=batches_up_to(2 * slots, and_also=slots),
        context_tokens=context,
        slots=slots,
        requests=min(requests, 2 * slots) if quick else requests,
        repeats=1 if quick else repeats,
        outputs=SHORT_OUTPUTS if quick else MIXED_OUTPUTS,
    )
    return measure_batching(options, seed=seed, say=say)
