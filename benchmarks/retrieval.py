"""Retrieval on a set in BEIR layout: BM25, BM25 with stems, MiniLM, and both fusions, scored as BEIR scores them.

    python benchmarks/retrieval.py --beir FOLDER --json

A document is its title and its text, whole: the embedder sees its first 256 tokens, [CLS] and [SEP] among them. BM25 is
Lucene's variant with k1 1.2 and b 0.75, English stop words left out, and Snowball stems in ``bm25_stem``. Both fusions
are of ``dense`` and ``bm25_stem``, of the 1,000 best of each: ``rrf`` with k = 60, ``linear`` with weights of one half
over min-max scaled scores. Runs are evaluated as pytrec_eval does, ties included; means are over all judged queries.
``seconds`` are those of cutting, indexing and embedding what a method needs, and of all searches.

On SciFact (5,183 documents, 300 queries) nDCG@10 is known: 0.6625 by BM25, 0.6791 with stems, 0.6451 by MiniLM; the
benchmark of github.com/cognica-io/bayesian-bm25 (release 0.6.0), which fuses the same way, gives 0.7143 for reciprocal
ranks and 0.7338 for the convex combination.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from llmdrill.errors import LlmdrillError
from llmdrill.lab.embed import load_minilm
from llmdrill.retrieval.beir import load_beir
from llmdrill.retrieval.embed import embed_texts
from llmdrill.retrieval.index import Index, RetrievalConfig, build_index, search_one
from llmdrill.retrieval.metrics import evaluate_run
from llmdrill.retrieval.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from llmdrill.retrieval.corpora import LabelledCorpus
    from llmdrill.retrieval.embed import Embedder

DEPTH = 1000  # candidates of each side of a fusion, and documents of a run
WHOLE = 10_000_000  # tokens of a chunk: documents are not cut
METRICS = ("ndcg_at_10", "recall_at_10", "mrr_at_10")
KEYWORDS = RetrievalConfig(
    retriever="keyword", chunker="fixed", chunk_tokens=WHOLE, overlap_tokens=0, k=DEPTH, candidates=DEPTH, truncate=True
)


def benchmark(corpus: LabelledCorpus, embedder: Embedder, progress: Progress) -> dict[str, dict[str, float]]:
    """Return the metrics and seconds of every method."""
    queries = [question.text for question in corpus.questions]
    plain, plain_s = built(corpus, KEYWORDS, None, progress)
    stemmed, stemmed_s = built(corpus, replace(KEYWORDS, stem=True), None, progress)
    dense, dense_s = built(corpus, replace(KEYWORDS, retriever="dense"), embedder, progress)
    began = time.perf_counter()
    vectors = list(embed_texts(queries, embedder, truncate=True).vectors)
    dense_s += time.perf_counter() - began
    none: list[np.ndarray | None] = [None] * len(queries)
    hybrid = replace(dense, bm25=stemmed.bm25, config=replace(KEYWORDS, retriever="hybrid"))
    linear = replace(hybrid, config=replace(hybrid.config, fusion="linear", dense_weight=0.5))
    both_s = stemmed_s + dense_s
    return {
        "bm25": scored(corpus, plain, none, plain_s),
        "bm25_stem": scored(corpus, stemmed, none, stemmed_s),
        "dense": scored(corpus, dense, vectors, dense_s),
        "rrf": scored(corpus, hybrid, vectors, both_s),
        "linear": scored(corpus, linear, vectors, both_s),
    }


def built(
    corpus: LabelledCorpus, config: RetrievalConfig, embedder: Embedder | None, progress: Progress
) -> tuple[Index, float]:
    """Return an index and the seconds it took."""
    began = time.perf_counter()
    index = build_index(corpus, config, embedder, progress=progress)
    return index, time.perf_counter() - began


def scored(
    corpus: LabelledCorpus, index: Index, vectors: Sequence[np.ndarray | None], built_s: float
) -> dict[str, float]:
    """Search for every query and return the metrics of the run."""
    began = time.perf_counter()
    run = {}
    for question, vector in zip(corpus.questions, vectors, strict=True):
        hits = search_one(index, question.text, vector).hits
        run[question.id] = {hit.chunk.document: hit.score for hit in hits}
        # Where the query is itself a document (ArguAna, Quora), BEIR takes it out of its own run.
        if question.text in index.texts.get(question.id, ""):
            run[question.id].pop(question.id, None)
    seconds = built_s + time.perf_counter() - began
    qrels = {question.id: question.grades for question in corpus.questions}
    means = evaluate_run(qrels, run, ks=[10], ties="trec").means
    return {name: round(means[name], 6) for name in METRICS} | {"seconds": round(seconds, 3)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--beir", type=Path, required=True, metavar="FOLDER", help="corpus.jsonl, queries.jsonl, qrels/"
    )
    parser.add_argument("--json", action="store_true", help="print the JSON line alone")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of the embedder's matrices")
    parser.add_argument("--qrels", help="a file of qrels/ without its ending; default: test")
    parser.add_argument("--allow-missing", action="store_true", help="accept judgements of what is not there")
    options = parser.parse_args()
    try:
        corpus = load_beir(options.beir, qrels=options.qrels, allow_missing=options.allow_missing)
        embedder = load_minilm(precision=options.precision)
        progress = Progress(tell=lambda line: print(line, file=sys.stderr))
        methods = benchmark(corpus, embedder, progress)
    except LlmdrillError as error:
        print(f"benchmarks/retrieval.py: {error}", file=sys.stderr)
        return error.exit_status
    if not options.json:
        print(f"{'':<10}" + "".join(f"{name:>14}" for name in (*METRICS, "seconds")))
        for name, values in methods.items():
            print(f"{name:<10}" + "".join(f"{value:>14.4f}" for value in values.values()))
    about = {"benchmark": "retrieval", "folder": str(options.beir), "documents": len(corpus.documents)}
    about |= {"queries": len(corpus.questions), "embedder": embedder.name, "precision": options.precision}
    print(json.dumps(about | methods))
    return 0


if __name__ == "__main__":
    sys.exit(main())
