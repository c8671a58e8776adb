"""`llmdrill lab faults`: what one planted fault does to a working pipeline."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from llmdrill.cli.lab.retrieval_options import (
    ChunkerOption,
    ChunkTokensOption,
    CorpusOption,
    EmbedderOption,
    KOption,
    NoCacheOption,
    OverlapOption,
    QuestionsOption,
    SplitOption,
    open_bench,
)
from llmdrill.errors import UsageError
from llmdrill.experiments.result import Experiment  # noqa: TC001


def faults(
    fault: Annotated[
        str | None, typer.Option("--fault", metavar="ID", help="One fault, with its trace; default: all of them.")
    ] = None,
    question: Annotated[
        str | None,
        typer.Option("--question", metavar="ID", help="Trace this question; default: one that shows the fault."),
    ] = None,
    corpus: CorpusOption = "rag",
    questions: QuestionsOption = None,
    embedder: EmbedderOption = None,
    chunker: ChunkerOption = "structural",
    chunk_tokens: ChunkTokensOption = 256,
    overlap: OverlapOption = 32,
    k: KOption = 5,
    split: SplitOption = "all",
    no_cache: NoCacheOption = False,
    *,
    seed: int,
    say: Callable[[str], None],
) -> Experiment:
    """What one planted fault does to a working pipeline."""
    from llmdrill.experiments.faults import FaultOptions, measure_faults

    options = FaultOptions(
        fault=fault,
        question=question,
        chunker=chunker,
        chunk_tokens=chunk_tokens,
        overlap_tokens=overlap,
        k=k,
        split=split,
    )
    if question is not None and fault is None:
        raise UsageError("--question traces one fault: name it with --fault")
    bench = open_bench(corpus, questions=questions, embedder=embedder, no_cache=no_cache, say=say)
    return measure_faults(bench, options, seed=seed, say=say)
