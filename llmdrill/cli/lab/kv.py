"""`llmdrill lab kv`: bytes of the key-value cache, and what decoding without one costs."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - typer reads the annotations
from typing import Annotated, Literal

import typer

from llmdrill.cli.lab.options import ModelOption, QuickOption, RepeatsOption, ShapeOption  # noqa: TC001
from llmdrill.experiments.result import Experiment  # noqa: TC001

_MOST = 1_000_000
CacheType = Literal["fp32", "bf16"]


def kv(
    model: ModelOption = None,
    shape: ShapeOption = None,
    context: Annotated[
        int | None, typer.Option(min=1, max=_MOST, help="Tokens of each sequence in the cache; default 1024.")
    ] = None,
    batch: Annotated[
        int | None, typer.Option(min=1, max=_MOST, help="Sequences in the cache; default: enough for 64 MiB.")
    ] = None,
    dtype: Annotated[CacheType, typer.Option(help="Of the cache, and of the model that generates.")] = "fp32",
    prompt: Annotated[int, typer.Option(min=1, max=_MOST, help="Tokens read before generation.")] = 16,
    tokens: Annotated[int, typer.Option(min=2, max=_MOST, help="Tokens generated with and without a cache.")] = 192,
    repeats: RepeatsOption = 3,
    quick: QuickOption = False,
    *,
    seed: int,
    say: Callable[[str], None],
) -> Experiment:
    """Bytes of the key-value cache, and what decoding without one costs."""
    from llmdrill.experiments.kv import KvOptions, measure_kv

    options = KvOptions(
        model=model,
        shape=shape,
        context_tokens=context,
        sequences=batch,
        dtype=dtype,
        prompt_tokens=prompt,
        output_tokens=min(tokens, 48) if quick else tokens,
        repeats=1 if quick else repeats,
        sweep=not quick,
    )
    return measure_kv(options, seed=seed, say=say)
