"""`llmdrill lab rerank`: what reranking n candidates gains and costs, and when it hurts."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from llmdrill.cli.lab.options import QuickOption, RepeatsOption  # noqa: TC001 - typer reads the annotations
from llmdrill.cli.lab.retrieval_options import (
    AllowMissingOption,
    ChunkerOption,
    ChunkTokensOption,
    CorpusOption,
    EmbedderOption,
    KOption,
    NoCacheOption,
    OverlapOption,
    QuestionsOption,
    SplitOption,
    StemOption,
    open_bench,
)
from llmdrill.experiments.result import Experiment  # noqa: TC001


def rerank(
    corpus: CorpusOption = "rag",
    questions: QuestionsOption = None,
    allow_missing: AllowMissingOption = False,
    embedder: EmbedderOption = None,
    cross_encoder: Annotated[
        str | None,
        typer.Option("--cross-encoder", metavar="FOLDER_OR_ID", help="A BERT cross-encoder to run beside the others."),
    ] = None,
    n: Annotated[
        list[int] | None,
        typer.Option(
            "--n", min=1, max=1000, help="Candidates to rerank, once for each number; default 10, 20, 50, 100."
        ),
    ] = None,
    chunker: ChunkerOption = "structural",
    chunk_tokens: ChunkTokensOption = 256,
    overlap: OverlapOption = 32,
    k: KOption = 5,
    split: SplitOption = "all",
    stem: StemOption = False,
    repeats: RepeatsOption = 5,
    no_cache: NoCacheOption = False,
    quick: QuickOption = False,
    *,
    seed: int,
    say: Callable[[str], None],
) -> Experiment:
    """What reranking n candidates gains and costs, and when it hurts."""
    from llmdrill.experiments.rerank import NS, RerankOptions, measure_rerank

    options = RerankOptions(
        chunker=chunker,
        chunk_tokens=chunk_tokens,
        overlap_tokens=overlap,
        k=k,
        ns=tuple(sorted(set(n))) if n else (10, 50) if quick else NS,
        split=split,
        stem=stem,
        cross_encoder=cross_encoder,
        repeats=min(repeats, 2) if quick else repeats,
    )
    bench = open_bench(
        corpus, questions=questions, allow_missing=allow_missing, embedder=embedder, no_cache=no_cache, say=say
    )
    return measure_rerank(bench, options, seed=seed, say=say)
