"""Embed real texts, draw random vectors, and search both in every way, each set in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from llmdrill.errors import UsageError
from llmdrill.lab.ann_child import (
    QUERIES_FILE,
    QUESTIONS_FILE,
    VECTORS_FILE,
    AnnPlan,
    AnnRun,
    BuiltIndex,
    Locality,
    Searched,
)
from llmdrill.lab.library_texts import library_texts
from llmdrill.lab.room import need_memory
from llmdrill.retrieval.embed import embed_texts
from llmdrill.retrieval.labelled import question_entries
from llmdrill.retrieval.pydoc import QUESTIONS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from llmdrill.retrieval.embed import Embedder, EmbeddingCache, EmbeddingWork
    from llmdrill.retrieval.progress import Progress

ONE_THREAD: Final = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
)


@dataclass(frozen=True, slots=True, eq=False)
class VectorSet:
    """Unit vectors to search (N, D), queries (Q, D) that are none of them, and questions in people's words.

    Attributes:
        questions: Their vectors; none for random vectors.
        code: How many of all texts are stretches of code rather than sentences.
        work: What embedding them took; None for random ones.
    """

    vectors: NDArray[np.float32]
    queries: NDArray[np.float32]
    questions: NDArray[np.float32]
    code: int = 0
    work: EmbeddingWork | None = None


def text_vectors(
    *, vectors: int, queries: int, embedder: Embedder, cache: EmbeddingCache | None, seed: int, progress: Progress
) -> VectorSet:
    """Return the vectors of short texts of the standard library, and queries.

    The queries are other such texts, drawn at random; the questions are those of ``retrieval.pydoc``.

    Raises:
        UsageError: If the library has fewer texts, or memory would not hold their vectors.
    """
    need_memory(3 * 4 * (vectors + queries) * embedder.dimensions, what=f"{vectors:,} vectors")
    progress.say("reading the standard library")
    found = library_texts(vectors + queries, seed=seed)
    asked = [entry.text for entry in question_entries(QUESTIONS)]
    embedded = embed_texts([*found.texts, *asked], embedder, cache=cache, progress=progress)
    every = np.asarray(embedded.vectors, dtype=np.float32)
    texts, questions = every[: len(found.texts)], every[len(found.texts) :]
    mixed = texts[np.random.default_rng(seed).permutation(len(texts))]
    return VectorSet(mixed[queries:], mixed[:queries], questions, found.code, embedded.work)


def random_vectors(*, vectors: int, queries: int, dimensions: int, seed: int) -> VectorSet:
    """Return directions drawn at random: Gaussian values brought to unit length."""
    drawn = np.random.default_rng(seed).standard_normal((queries + vectors, dimensions), dtype=np.float32)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return VectorSet(drawn[queries:], drawn[:queries], drawn[:0])


def search_in_every_way(searched: VectorSet, plan: AnnPlan) -> AnnRun:
    """Build every index over the vectors and search with it, on one thread of a fresh process; ``plan.folder`` is set.

    Raises:
        UsageError: If that process fails.
    """
    with tempfile.TemporaryDirectory(prefix="llmdrill-ann-") as folder:
        np.save(Path(folder) / VECTORS_FILE, searched.vectors)
        np.save(Path(folder) / QUERIES_FILE, searched.queries)
        np.save(Path(folder) / QUESTIONS_FILE, searched.questions)
        command = (sys.executable, "-m", "llmdrill.lab.ann_child", json.dumps({**asdict(plan), "folder": folder}))
        environ = {**os.environ, **ONE_THREAD}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)  # noqa: S603 - ours
    if done.returncode:
        why = (done.stderr.splitlines() or [f"status {done.returncode}"])[-1]
        raise UsageError(f"the process that searches {len(searched.vectors):,} vectors failed: {why}")
    return _run_of(json.loads(done.stdout))


def _run_of(found: dict[str, Any]) -> AnnRun:
    lists = ("found", "found_by_questions", "alone_s", "batch_s")
    searches = ({**one, **{name: tuple(one[name]) for name in lists}} for one in found["searches"])
    return AnnRun(
        tuple(BuiltIndex(**one) for one in found["indexes"]),
        tuple(Searched(**one) for one in searches),
        Locality(**found["locality"]),
        found["why_no_graph"],
    )
