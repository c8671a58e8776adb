"""What a design's stages mean for the run that measures it: the one place that reads designs for the lab."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from llmdrill.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmdrill.retrieval.index import RetrievalConfig
    from llmdrill.system.design import Design
    from llmdrill.system.scenario import Scenario

WHOLE_DOCUMENT_TOKENS: Final = 1_000_000  # a design that does not chunk stores documents whole
PASSAGE_KINDS: Final = ("reranker", "fusion", "vector_search", "keyword_search")  # nearest to the model first
EMBEDDER_HERE: Final = "all-minilm-l6-v2"
MINILM_SHA256: Final = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # the only weights accepted


@dataclass(frozen=True, slots=True)
class RetrievalPlan:
    """How a design retrieves, and what of it cannot be run here.

    Attributes:
        config: For ``retrieval.evaluate_retrieval``.
        stand_in: The embedding model the design names, if it is not the one that runs here; else None.
        notes: Parts of the design that the run leaves out.
    """

    config: RetrievalConfig
    stand_in: str | None
    notes: tuple[str, ...]


def stages_of(design: Design, *kinds: str) -> list[Any]:
    """Return the design's stages of these kinds, in the order of ``kinds``, then of the file."""
    return [stage for kind in kinds for stage in design.stages.values() if stage.kind == kind]


def retrieval_plan(design: Design) -> RetrievalPlan:
    """Return how a design retrieves.

    Raises:
        UsageError: If it has neither vector nor keyword search.
    """
    from llmdrill.retrieval.index import RetrievalConfig

    dense, sparse = stages_of(design, "vector_search"), stages_of(design, "keyword_search")
    if not dense and not sparse:
        raise UsageError("the design has no vector_search and no keyword_search: there is no retrieval to measure")
    if dense and not stages_of(design, "embedding"):
        raise UsageError(
            "vector_search has nothing to search with: no embedding stage turns the question into a vector"
        )
    chunking = next(iter(stages_of(design, "chunking")), None)
    fusion = next(iter(stages_of(design, "fusion")), None)
    settings: dict[str, Any] = {}
    if chunking is not None:
        settings["truncate"] = chunking.truncate
    if fusion is not None:
        settings["rrf_k"] = int(fusion.rrf_k)
    if sparse:
        settings |= {"stem": sparse[0].stem, "codes": sparse[0].codes}
    k = passages_kept(design)
    config = RetrievalConfig(
        retriever="hybrid" if dense and sparse else "dense" if dense else "keyword",
        chunker=chunking.method if chunking else "fixed",
        chunk_tokens=int(chunking.size_tokens) if chunking else WHOLE_DOCUMENT_TOKENS,
        overlap_tokens=int(chunking.overlap_tokens) if chunking else 0,
        k=k,
        candidates=max([k, *(int(stage.k) for stage in (*dense, *sparse))]),
        **settings,
    )
    embedding = next(iter(stages_of(design, "embedding")), None)
    model = embedding.model if embedding and dense else None
    stand_in = model if model and model != EMBEDDER_HERE else None
    return RetrievalPlan(config, stand_in, tuple(_left_out(design, fusion)))


def passages_kept(design: Design) -> int:
    """Return how many passages the design keeps: k of the last stage on the way to the model that states one.

    Raises:
        UsageError: If none does.
    """
    stated = [int(stage.k) for stage in stages_of(design, *PASSAGE_KINDS) if stage.k is not None]
    if not stated:
        raise UsageError("no stage of the design says how many passages it keeps: set k on its search")
    return stated[0]


def context_tokens(design: Design) -> float:
    """Return the retrieved tokens in one prompt: k of the last stage that hands on passages, times a chunk's size."""
    chunking = next(iter(stages_of(design, "chunking")), None)
    if chunking is None or not stages_of(design, *PASSAGE_KINDS):
        return 0.0
    return float(passages_kept(design) * chunking.size_tokens)


def prompt_tokens(scenario: Scenario, design: Design) -> float:
    """Return the median prompt of the design's language model: the person's text, instructions, retrieved text."""
    models = stages_of(design, "llm")
    instructions = models[0].prompt_tokens if models else 0
    return float(scenario.workload.input_tokens.p50 + instructions + context_tokens(design))


def _left_out(design: Design, fusion: Any) -> Iterable[str]:  # noqa: ANN401 - a stage
    if stages_of(design, "reranker"):
        yield "the reranker does not run here: figures are of the ranking it would be given, cut at its k"
    if fusion is not None and fusion.method != "rrf":
        yield f"fusion '{fusion.method}' is measured as reciprocal rank fusion"
    if stages_of(design, "cache"):
        yield "the cache is left out: every question is searched"
