"""Options that several experiments share, so that they read alike everywhere."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

Precision = Literal["fp32", "bf16"]

ModelOption = Annotated[
    str | None,
    typer.Option("--model", help="A model folder or hub id of the Llama family; default: the embedded model."),
]
ShapeOption = Annotated[
    str | None,
    typer.Option("--shape", help="A named shape with random weights, for latency and memory only: smollm2-135m …"),
]
PrecisionOption = Annotated[Precision, typer.Option("--precision", help="Of weights and cache in the torch engine.")]
RepeatsOption = Annotated[int, typer.Option("--repeats", min=1, max=1000, help="Readings of each timed figure.")]
QuickOption = Annotated[bool, typer.Option("--quick", help="Fewer repeats and smaller sweeps.")]
