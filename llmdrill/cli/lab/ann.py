"""`llmdrill lab ann`: approximate search against exact."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from llmdrill.cli.lab.options import QuickOption, RepeatsOption  # noqa: TC001 - typer reads the annotations
from llmdrill.cli.lab.retrieval_options import EmbedderOption, NoCacheOption  # noqa: TC001
from llmdrill.experiments.result import Experiment  # noqa: TC001

QUICK_VECTORS = 2000


def ann(
    vectors: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Of real texts; 100000 takes minutes to embed, once.")
    ] = 10_000,
    queries: Annotated[int, typer.Option(min=1, max=100_000, help="Of other texts.")] = 500,
    k: Annotated[int, typer.Option("--k", min=1, max=1000, help="Neighbours asked for.")] = 10,
    links: Annotated[int, typer.Option(min=2, max=512, help="M of HNSW: links of a vector.")] = 32,
    ef_construction: Annotated[
        int, typer.Option("--ef-construction", min=1, max=10_000, help="Candidates while HNSW is built.")
    ] = 40,
    target: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of the true neighbours that is good enough.")
    ] = 0.95,
    embedder: EmbedderOption = None,
    no_cache: NoCacheOption = False,
    repeats: RepeatsOption = 3,
    quick: QuickOption = False,
    *,
    seed: int,
    say: Callable[[str], None],
    tell: Callable[[str], None],
) -> Experiment:
    """Approximate search: recall, speed and memory against exact."""
    from llmdrill.experiments.ann import AnnOptions, measure_ann

    options = AnnOptions(
        vectors=min(vectors, QUICK_VECTORS) if quick else vectors,
        queries=min(queries, 100) if quick else queries,
        k=k,
        links=links,
        ef_construction=ef_construction,
        target_share=target,
        repeats=1 if quick else repeats,
    )
    return measure_ann(options, embedder=embedder, use_cache=not no_cache, seed=seed, say=say, tell=tell)
