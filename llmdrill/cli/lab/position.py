"""`llmdrill lab position`: recall by where in the context something stands."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - typer reads the annotations
from typing import Annotated, Literal

import typer

from llmdrill.cli.lab.options import ModelOption, QuickOption  # noqa: TC001 - typer reads the annotations
from llmdrill.experiments.result import Experiment  # noqa: TC001

QUICK_CASES = 4


def position(
    task: Annotated[
        Literal["code", "facts"] | None,
        typer.Option("--task", help="Complete code, or answer from facts; default: facts with --model, else code."),
    ] = None,
    model: ModelOption = None,
    context: Annotated[
        list[int] | None,
        typer.Option(
            "--context",
            min=1,
            max=1_000_000,
            help="Tokens of the prompt, once for each length; default a quarter, a half and all of the model's, 1024 at"
            " most.",
        ),
    ] = None,
    cases: Annotated[int, typer.Option(min=1, max=1000, help="Definitions, each among other text.")] = 16,
    chunks: Annotated[int, typer.Option(min=2, max=100, help="Retrieved into the longest context.")] = 7,
    few_chunks: Annotated[int, typer.Option("--few-chunks", min=1, max=99, help="The remedy of fewer.")] = 2,
    quick: QuickOption = False,
    *,
    seed: int,
    say: Callable[[str], None],
) -> Experiment:
    """Lost in the middle: recall by the depth of what is to be found."""
    from llmdrill.experiments.position import PositionOptions, measure_position

    options = PositionOptions(
        task=task or ("code" if model is None else "facts"),
        model=model,
        context_tokens=tuple(sorted(set(context or ()))),
        cases=min(cases, QUICK_CASES) if quick else cases,
        chunks=chunks,
        few_chunks=few_chunks,
    )
    return measure_position(options, seed=seed, say=say)
