"""`llmdrill lab decode`: the cycle of generation, and what a token costs."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - typer reads the annotations
from typing import Annotated, Literal

import typer

from llmdrill.cli.lab.options import ModelOption, QuickOption, RepeatsOption, ShapeOption  # noqa: TC001
from llmdrill.experiments.result import Experiment  # noqa: TC001

Engine = Literal["auto", "native", "torch"]
Weights = Literal["fp32", "bf16", "int8"]


def decode(
    prompt: Annotated[str | None, typer.Option(help="Text to go on with; default: the start of a function.")] = None,
    model: ModelOption = None,
    shape: ShapeOption = None,
    engine: Annotated[Engine, typer.Option(help="Who decodes; auto: native where a compiler makes it.")] = "auto",
    precision: Annotated[
        Weights | None, typer.Option(help="Of the weights a step reads; default int8, in torch fp32.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, max=1000, help="Steps of the cycle that are shown.")] = 12,
    tokens: Annotated[int, typer.Option(min=2, max=100_000, help="Output tokens of the timed request.")] = 64,
    pp: Annotated[int, typer.Option(min=1, max=100_000, help="Tokens of llama-bench's prompt test.")] = 512,
    tg: Annotated[int, typer.Option(min=1, max=100_000, help="Tokens of its generation test.")] = 128,
    repeats: RepeatsOption = 7,
    quick: QuickOption = False,
    *,
    seed: int,
    say: Callable[[str], None],
) -> Experiment:
    """Decode token by token: TTFT, TPOT, tokens per second, MBU and MFU."""
    from llmdrill.experiments.decode import measure_decode
    from llmdrill.lab.cycle_run import DecodeOptions

    options = DecodeOptions(
        prompt=prompt,
        model=model,
        shape=shape,
        engine=engine,
        precision=precision,
        steps=steps,
        output_tokens=tokens,
        prompt_test_tokens=pp,
        generation_test_tokens=tg,
        repeats=min(repeats, 3) if quick else repeats,
    )
    return measure_decode(options, seed=seed, say=say)
