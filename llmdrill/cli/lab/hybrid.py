"""`llmdrill lab hybrid`: dense, sparse and hybrid search by kind of question; fusion weights."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from llmdrill.cli.lab.options import QuickOption  # noqa: TC001 - typer reads the annotations
from llmdrill.cli.lab.retrieval_options import (
    AllowMissingOption,
    CandidatesOption,
    ChunkerOption,
    ChunkTokensOption,
    CorpusOption,
    EmbedderOption,
    KOption,
    NoCacheOption,
    OverlapOption,
    QuestionsOption,
    StemOption,
    open_bench,
)
from llmdrill.experiments.result import Experiment  # noqa: TC001


def hybrid(
    corpus: CorpusOption = "rag",
    questions: QuestionsOption = None,
    allow_missing: AllowMissingOption = False,
    embedder: EmbedderOption = None,
    chunker: ChunkerOption = "structural",
    chunk_tokens: ChunkTokensOption = 256,
    overlap: OverlapOption = 32,
    k: KOption = 5,
    candidates: CandidatesOption = 50,
    stem: StemOption = False,
    codes: Annotated[bool, typer.Option("--codes", help="Keep codes such as E-4021 whole for BM25.")] = False,
    no_cache: NoCacheOption = False,
    quick: QuickOption = False,
    *,
    seed: int,
    say: Callable[[str], None],
) -> Experiment:
    """Dense, sparse and hybrid search by kind of question; fusion weights."""
    from llmdrill.experiments.hybrid import measure_hybrid
    from llmdrill.experiments.hybrid_run import QUICK_RRF_KS, QUICK_WEIGHTS, RRF_KS, WEIGHTS, HybridOptions

    options = HybridOptions(
        chunker=chunker,
        chunk_tokens=chunk_tokens,
        overlap_tokens=overlap,
        k=k,
        candidates=candidates,
        stem=stem,
        codes=codes,
        weights=QUICK_WEIGHTS if quick else WEIGHTS,
        rrf_ks=QUICK_RRF_KS if quick else RRF_KS,
    )
    bench = open_bench(
        corpus, questions=questions, allow_missing=allow_missing, embedder=embedder, no_cache=no_cache, say=say
    )
    return measure_hybrid(bench, options, seed=seed, say=say)
