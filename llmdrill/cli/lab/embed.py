"""`llmdrill lab embed`: throughput and memory of the embedder."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - typer reads the annotations
from typing import Annotated, Literal

import typer

from llmdrill.cli.lab.options import QuickOption, RepeatsOption  # noqa: TC001 - typer reads the annotations
from llmdrill.cli.lab.retrieval_options import EmbedderOption  # noqa: TC001
from llmdrill.experiments.result import Experiment  # noqa: TC001

EngineName = Literal["auto", "native", "torch"]
Precision = Literal["auto", "fp32", "bf16", "int16"]


def embed(
    embedder: EmbedderOption = None,
    engine: Annotated[
        EngineName, typer.Option("--engine", help="auto is the native one, where a C compiler is.")
    ] = "auto",
    precision: Annotated[
        Precision, typer.Option("--precision", help="Of the matrices; int16 is native only, bf16 torch only.")
    ] = "auto",
    passages: Annotated[
        int, typer.Option(min=1, max=10_000, help="As long as the model sees; every reading has as many tokens.")
    ] = 12,
    repeats: RepeatsOption = 3,
    quick: QuickOption = False,
    *,
    seed: int,
    say: Callable[[str], None],
) -> Experiment:
    """Throughput and memory of the embedder, against this machine's limit."""
    from llmdrill.experiments.embed import EmbedOptions, measure_embed

    options = EmbedOptions(
        passages=min(passages, 4) if quick else passages,
        engine=engine,
        precision=precision,
        repeats=1 if quick else repeats,
        memory_of_all=not quick,
    )
    return measure_embed(options, embedder=embedder, seed=seed, say=say)
