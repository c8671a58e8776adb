"""`llmdrill lab ann`: approximate search against exact, on vectors of real texts and, as a warning, on random ones."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from llmdrill.errors import UsageError
from llmdrill.experiments.ann_shown import ann_findings, ann_meaning, ann_notes, ann_pictures, ann_tables
from llmdrill.experiments.result import Experiment, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from llmdrill.lab.ann_child import AnnPlan, AnnRun
    from llmdrill.measurement import Machine
    from llmdrill.retrieval.embed import EmbeddingWork

MOST_RANDOM: Final = 10_000  # random vectors: more make the graph's case on them only worse, and take minutes to build
FEWEST_VECTORS: Final = 256
FEWEST_QUERIES: Final = 20
CANDIDATES_PER_K: Final = (2, 4, 10, 20)
EF_SEARCH: Final = (10, 16, 32, 64, 128, 256, 512)


@dataclass(frozen=True, slots=True)
class AnnOptions:
    """What to search.

    Attributes:
        vectors: Of real texts.
        queries: Of other texts; ``timed_queries`` of them are timed, one by one and in a batch.
        k: Neighbours asked for.
        links: M of the graph.
        ef_construction: Candidates kept while a vector's place in the graph is sought.
        target_share: Of the true neighbours, what is taken for good enough.
    """

    vectors: int = 10_000
    queries: int = 500
    timed_queries: int = 128
    k: int = 10
    links: int = 32
    ef_construction: int = 40
    target_share: float = 0.95
    repeats: int = 3

    def __post_init__(self) -> None:
        if self.vectors < FEWEST_VECTORS or self.queries < FEWEST_QUERIES:
            asked = f"{self.vectors:,} vectors and {self.queries:,} queries"
            raise UsageError(f"{asked}: at least {FEWEST_VECTORS:,} and {FEWEST_QUERIES} say something")
        if self.k > self.vectors:
            raise UsageError(f"--k {self.k:,}: there are only {self.vectors:,} vectors")

    @property
    def ef_search(self) -> tuple[int, ...]:
        """Return the candidates of a walk that are tried; a walk with fewer than k finds no k."""
        return tuple(dict.fromkeys(max(self.k, ef) for ef in EF_SEARCH))

    @property
    def candidates(self) -> tuple[int, ...]:
        """Return how many are rescored, at most all vectors."""
        return tuple(dict.fromkeys(min(self.vectors, times * self.k) for times in CANDIDATES_PER_K))


@dataclass(frozen=True, slots=True)
class AnnResult:
    """Both runs and what they were made of.

    Attributes:
        code: How many of the texts are stretches of code.
        work: What embedding took; None where nothing had to be embedded.
    """

    options: AnnOptions
    dimensions: int
    embedder: str
    real: AnnRun
    random: AnnRun
    random_count: int
    code: int
    work: EmbeddingWork | None


def measure_ann(
    options: AnnOptions,
    *,
    embedder: Path | None = None,
    use_cache: bool = True,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
    tell: Callable[[str], None] = lambda _: None,
    now: Callable[[], float] = time.perf_counter,
) -> Experiment:
    """Search the same vectors exactly, in fewer bytes and in a graph, and set recall beside speed and memory.

    Args:
        options: What to search.
        embedder: Folder of a BERT encoder; None for the installed one.
        use_cache: Take embeddings from the disk and keep them there.
        seed: Draws texts, queries, random vectors.
        say: Told how far it is.
        tell: Told how long embedding will take.
        now: The clock.

    Raises:
        MissingExtraError: If the extra ``lab`` is not installed; without ``ann`` only the graph is left out.
        ModelFileError: If the embedder's files cannot be used.
        UsageError: If the standard library has fewer texts.

    Error:
        Texts of one library are nearer to each other than those of the world, and so are queries drawn from them: real
        questions may lie further off, where a graph finds less. All scans but the graph's are numpy's.
    Source:
        Recall against queries per second, on one thread: Aumüller et al. 2018, arXiv:1807.05614. Recall by intrinsic
        dimension: Elliott and Clark 2024, arXiv:2405.17813.
    """
    from llmdrill.folders import cache_folder
    from llmdrill.lab.ann_run import random_vectors, search_in_every_way, text_vectors
    from llmdrill.lab.lazy_embed import lazy_minilm
    from llmdrill.lab.machine import this_machine
    from llmdrill.retrieval.embedding_cache import DiskEmbeddingCache
    from llmdrill.retrieval.progress import Progress

    started, machine = now(), this_machine()
    encoder = lazy_minilm(None if embedder is None else embedder.expanduser())
    texts = text_vectors(
        vectors=options.vectors,
        queries=options.queries,
        embedder=encoder,
        cache=DiskEmbeddingCache(cache_folder() / "embeddings") if use_cache else None,
        seed=seed,
        progress=Progress(say, tell, now),
    )
    say(f"{options.vectors:,} vectors of texts: building and searching every index")
    real = search_in_every_way(texts, _plan(options))
    drawn = random_vectors(
        vectors=min(options.vectors, MOST_RANDOM), queries=options.queries, dimensions=encoder.dimensions, seed=seed
    )
    say(f"{len(drawn.vectors):,} random vectors: the same again")
    random = search_in_every_way(drawn, _plan(replace(options, repeats=1)))
    work = texts.work if texts.work and texts.work.fresh else None
    found = AnnResult(options, encoder.dimensions, encoder.name, real, random, len(drawn.vectors), texts.code, work)
    return _experiment(found, machine, Protocol(seed, 1, options.repeats, 1, now() - started))


def _experiment(found: AnnResult, machine: Machine, protocol: Protocol) -> Experiment:
    return Experiment(
        name="ann",
        title="Approximate search: recall, speed and memory against exact",
        inputs=_inputs(found),
        findings=tuple(ann_findings(found)),
        tables=tuple(ann_tables(found)),
        pictures=ann_pictures(found),
        meaning=ann_meaning(found),
        machine=machine,
        protocol=protocol,
        notes=tuple(ann_notes(found)),
    )


def _inputs(found: AnnResult) -> dict[str, object]:
    options = found.options
    return {
        "vectors": options.vectors,
        "dimensions": found.dimensions,
        "embedder": found.embedder,
        "queries": options.queries,
        "k": options.k,
        "links": options.links,
        "ef_construction": options.ef_construction,
        "target_share": options.target_share,
        "random_vectors": found.random_count,
    }


def _plan(options: AnnOptions) -> AnnPlan:
    from llmdrill.lab.ann_child import AnnPlan

    return AnnPlan(
        folder="",
        k=options.k,
        links=options.links,
        ef_construction=options.ef_construction,
        ef_search=options.ef_search,
        candidates=options.candidates,
        timed_queries=min(options.queries, options.timed_queries),
        repeats=options.repeats,
    )
