"""`llmdrill lab chunking`: size, overlap and method of chunks against quality and cost."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from llmdrill.cli.lab.options import QuickOption  # noqa: TC001 - typer reads the annotations
from llmdrill.cli.lab.retrieval_options import (
    AllowMissingOption,
    CorpusOption,
    EmbedderOption,
    KOption,
    LlmOption,
    NoCacheOption,
    QuestionsOption,
    RetrieverOption,
    StemOption,
    open_bench,
)
from llmdrill.experiments.result import Experiment  # noqa: TC001

MethodOption = Annotated[
    list[str] | None,
    typer.Option("--method", help="fixed, recursive, sentence, structural, semantic or small-to-big; repeatable."),
]
SizeOption = Annotated[
    list[int] | None,
    typer.Option("--size", min=1, max=100_000, help="Tokens of a chunk; repeatable. Default: 256, 128, 512."),
]
OverlapShareOption = Annotated[
    list[float] | None,
    typer.Option("--overlap-share", help="Of a chunk, repeated by the next; repeatable. Default: 0, 0.125."),
]
BudgetOption = Annotated[
    int | None,
    typer.Option(
        "--budget-tokens", min=1, max=1_000_000, help="Sent by all designs alike; default: k chunks of the first size."
    ),
]


def chunking(
    corpus: CorpusOption = "rag",
    questions: QuestionsOption = None,
    allow_missing: AllowMissingOption = False,
    embedder: EmbedderOption = None,
    method: MethodOption = None,
    size: SizeOption = None,
    overlap_share: OverlapShareOption = None,
    retriever: RetrieverOption = "hybrid",
    k: KOption = 5,
    budget_tokens: BudgetOption = None,
    stem: StemOption = False,
    llm: LlmOption = None,
    no_cache: NoCacheOption = False,
    quick: QuickOption = False,
    *,
    seed: int,
    say: Callable[[str], None],
) -> Experiment:
    """Size, overlap and method of chunks against quality and cost."""
    from llmdrill.experiments import chunking as lab
    from llmdrill.experiments.chunking_run import METHODS

    sizes = tuple(size or (lab.QUICK_SIZES if quick else lab.SIZES))
    options = lab.ChunkingOptions(
        methods=tuple(method or (lab.QUICK_METHODS if quick else METHODS)),
        sizes=sizes,
        overlap_shares=tuple(overlap_share or (lab.OVERLAP_SHARES[:1] if quick else lab.OVERLAP_SHARES)),
        retriever=retriever,
        k=k,
        budget_tokens=budget_tokens or k * sizes[0],
        stem=stem,
        llm=lab.DEFAULT_LLM if llm is None else llm,
    )
    bench = open_bench(
        corpus, questions=questions, allow_missing=allow_missing, embedder=embedder, no_cache=no_cache, say=say
    )
    return lab.measure_chunking(bench, options, seed=seed, say=say)
