"""`llmdrill lab hybrid`: vectors, keywords and both by kind of question; fusion is tuned on dev, judged on test."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from llmdrill.experiments.hybrid_run import NAMES, judge, sweep
from llmdrill.experiments.hybrid_shown import kinds, meaning, pictures, tables
from llmdrill.experiments.result import Experiment, Finding, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from llmdrill.experiments.hybrid_run import HybridOptions, Judged
    from llmdrill.experiments.retrieval_bench import Bench

INTERVAL: Final = "95 % bootstrap interval over the questions"


def measure_hybrid(
    bench: Bench,
    options: HybridOptions,
    *,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
    now: Callable[[], float] = time.perf_counter,
) -> Experiment:
    """Search by vectors, by BM25 and by both, choose the fusion's constants on dev, and judge on the other questions.

    Raises:
        MissingExtraError: If the embedder cannot be loaded.
        UsageError: If the corpus has no labelled question, or the overlap does not fit the chunk.
    Source:
        Reciprocal rank fusion: Cormack, Clarke and Büttcher 2009, SIGIR. Min-max linear fusion and its weight: Bruch,
        Gai and Ingber 2023, arXiv:2210.11934.
    """
    started = now()
    bench.need_questions()
    swept = sweep(bench, options, say=say)
    judged = judge(swept, seed=seed)
    machine = bench.machine
    return Experiment(
        name="hybrid",
        title="Hybrid search: vectors, keywords and both, by kind of question",
        inputs=_inputs(bench, options, judged),
        findings=tuple(_findings(judged)),
        tables=tuple(tables(judged)),
        pictures=pictures(judged),
        meaning=meaning(judged),
        machine=machine,
        protocol=Protocol(seed, 0, 1, machine.threads, now() - started),
        notes=tuple(_notes(bench, judged)),
    )


def _findings(seen: Judged) -> Iterator[Finding]:
    for way in (seen.dense, seen.sparse, seen.rrf, seen.linear):
        for name, metric in NAMES.items():
            found = way.interval(metric, seed=seen.seed)
            yield Finding(
                f"{way.name}_{name}",
                found.mean,
                low=found.low,
                high=found.high,
                n=found.n,
                weights_matter=way is not seen.sparse,
                note=INTERVAL,
            )
    for way in (seen.rrf, seen.linear):
        for name, metric in NAMES.items():
            paired = way.against(seen.single, metric, seed=seen.seed)
            yield Finding(
                f"{way.name}_{name}_gain",
                paired.difference.mean,
                low=paired.difference.low,
                high=paired.difference.high,
                n=paired.difference.n,
                weights_matter=True,
                note=f"over {seen.single.name} search, paired by question; {INTERVAL}",
            )
    how = (
        f"the highest nDCG on the {len(seen.dev)} dev questions"
        if seen.dev
        else "as usual: there is nothing to tune on"
    )
    yield Finding("chosen_dense_weight", seen.weight, n=len(seen.dev), weights_matter=True, note=how)
    yield Finding("chosen_rrf_k", float(seen.rrf_k), n=len(seen.dev), weights_matter=True, note=how)


def _inputs(bench: Bench, options: HybridOptions, seen: Judged) -> dict[str, object]:
    return {
        "corpus": bench.corpus.source,
        "corpus_sha256": bench.corpus.content_sha256,
        "documents": len(bench.corpus.documents),
        "chunks": seen.swept.chunks,
        "n_dev": len(seen.dev),
        "n_judged": len(seen.test),
        "embedder": bench.need_embedder().name,
        "chunker": options.chunker,
        "chunk_tokens": options.chunk_tokens,
        "overlap_tokens": options.overlap_tokens,
        "k": options.k,
        "candidates": options.candidates,
        "stem": options.stem,
        "codes": options.codes,
        "single": seen.single.name,
    }


def _notes(bench: Bench, seen: Judged) -> Iterator[str]:
    yield from bench.corpus.notes
    if seen.dev:
        yield (
            f"weight, constant and the single search to compare with were chosen on {len(seen.dev)} dev questions;"
            f" every figure that is not named dev is of the {len(seen.test)} others"
        )
    else:
        yield (
            "the questions are not split into dev and test, so nothing was tuned: weight 0.5, k = 60, vectors as the"
            " single search; a setting picked from these curves has yet to be judged on other questions"
        )
    wordless = seen.swept.without_words
    if wordless:
        what = "1 question holds" if wordless == 1 else f"{wordless} questions hold"
        yield f"{what} no search term, such as stop words alone: keywords find nothing there"
    yield "the intervals and p-values are of one comparison each, not of all in the tables together"
    if len(kinds(seen)) > 1:
        yield "kinds with few questions have wide intervals, and below about 20 questions they are still too narrow"
