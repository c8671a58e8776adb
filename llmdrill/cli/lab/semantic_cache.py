"""`llmdrill lab semantic-cache`: thresholds of a semantic cache: hits, wrong hits, money."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - typer reads the annotations
from pathlib import Path  # noqa: TC003
from typing import Annotated

import typer

from llmdrill.cli.calc.options import quantity
from llmdrill.cli.calc.options import share as read_share
from llmdrill.cli.lab.retrieval_options import EmbedderOption, NoCacheOption, open_bench
from llmdrill.experiments.result import Experiment  # noqa: TC001


def semantic_cache(
    same: Annotated[str, typer.Option(help="Share of the requests that ask again what is cached.")] = "30%",
    near: Annotated[str, typer.Option(help="Share of the requests that nearly do, and need another answer.")] = "2%",
    request: Annotated[str, typer.Option(help="What a request costs that is not answered from the cache.")] = "$0.002",
    wrong: Annotated[str, typer.Option(help="What a wrong answer costs.")] = "$0.01",
    pairs: Annotated[
        Path | None, typer.Option("--pairs", metavar="FILE", help="Pairs of your own, in the shipped file's form.")
    ] = None,
    embedder: EmbedderOption = None,
    no_cache: NoCacheOption = False,
    *,
    seed: int,
    say: Callable[[str], None],
) -> Experiment:
    """Thresholds of a semantic cache: hits, wrong hits, money."""
    from llmdrill.experiments.semantic_cache import SemanticCacheOptions, measure_semantic_cache

    options = SemanticCacheOptions(
        same_share=read_share("same", same),
        other_share=read_share("near", near),
        request_usd=quantity("request", request, "usd"),
        wrong_usd=quantity("wrong", wrong, "usd", zero=True),
        pairs=pairs,
    )
    bench = open_bench("rag", embedder=embedder, no_cache=no_cache, say=say)
    return measure_semantic_cache(bench, options, seed=seed, say=say)
