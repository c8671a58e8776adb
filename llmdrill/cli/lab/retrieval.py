"""`llmdrill lab retrieval`: one retrieval configuration or several: quality, latency, memory, cost."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - typer reads the annotations
from typing import Final

from llmdrill.cli.lab.retrieval_options import (
    AllowMissingOption,
    CandidatesOption,
    ChunkerOption,
    ChunkTokensOption,
    CompareOption,
    CorpusOption,
    DenseWeightOption,
    EmbedderOption,
    FusionOption,
    KOption,
    LlmOption,
    MatchOption,
    NoCacheOption,
    OverlapOption,
    QuestionsOption,
    RetrieverOption,
    SplitOption,
    StemOption,
    TruncateOption,
    open_bench,
)
from llmdrill.errors import UsageError
from llmdrill.experiments.result import Experiment  # noqa: TC001

EVEN: Final = 0.5  # the weight of either side


def retrieval(
    corpus: CorpusOption = "rag",
    retriever: RetrieverOption = "hybrid",
    chunker: ChunkerOption = "structural",
    chunk_tokens: ChunkTokensOption = 256,
    overlap: OverlapOption = 32,
    k: KOption = 5,
    match: MatchOption = "chunk",
    fusion: FusionOption = "rrf",
    dense_weight: DenseWeightOption = EVEN,
    candidates: CandidatesOption = 50,
    stem: StemOption = False,
    truncate: TruncateOption = False,
    split: SplitOption = "test",
    compare: CompareOption = None,
    llm: LlmOption = None,
    questions: QuestionsOption = None,
    allow_missing: AllowMissingOption = False,
    embedder: EmbedderOption = None,
    no_cache: NoCacheOption = False,
    *,
    seed: int,
    say: Callable[[str], None],
    tell: Callable[[str], None],
) -> Experiment:
    """One retrieval configuration or several: quality, latency, memory, cost."""
    from llmdrill.experiments.retrieval import Design, measure_retrieval_designs, parse_design
    from llmdrill.retrieval.index import RetrievalConfig
    from llmdrill.retrieval.progress import Progress

    _require_linear(dense_weight, retriever, fusion)
    base = RetrievalConfig(
        retriever=retriever,
        chunker=chunker,
        chunk_tokens=chunk_tokens,
        overlap_tokens=overlap,
        k=k,
        candidates=max(k, candidates),
        stem=stem,
        truncate=truncate,
        fusion=fusion,
        dense_weight=dense_weight,
        match=match,
    )
    designs = [Design("the first", base), *(parse_design(text, base) for text in compare or ())]
    bench = open_bench(
        corpus, questions=questions, allow_missing=allow_missing, embedder=embedder, no_cache=no_cache, say=say
    )
    return measure_retrieval_designs(bench, designs, split=split, llm=llm, seed=seed, progress=Progress(say, tell))


def _require_linear(dense_weight: float, retriever: str, fusion: str) -> None:
    if fusion == "linear" and retriever != "hybrid":
        raise UsageError(f"--fusion joins two searches, and --retriever {retriever} is one: take hybrid")
    if dense_weight != EVEN and (retriever, fusion) != ("hybrid", "linear"):
        raise UsageError("--dense-weight weighs linear fusion: add --retriever hybrid --fusion linear")
