"""Dense, keyword and hybrid retrieval with two chunkings on the shipped support-desk corpus, with paired intervals.

Both chunkings may send about the same number of tokens (12 x 250 or 6 x 500). The split is test; nothing is tuned here.
Prints recall with its bootstrap interval, then the paired difference of hybrid to each of the others: intervals over
questions (10,000 resamples) and a permutation p-value. A null or reversed result is printed like any other.
"""

from __future__ import annotations

import argparse
import json

from llmdrill.folders import cache_folder, shipped_folder
from llmdrill.lab.embed import load_minilm
from llmdrill.retrieval.embedding_cache import DiskEmbeddingCache
from llmdrill.retrieval.index import RETRIEVERS, RetrievalConfig
from llmdrill.retrieval.labelled import load_labelled_corpus
from llmdrill.retrieval.pipeline import RetrievalResult, compare_retrieval, evaluate_retrieval

CHUNKINGS = (("structural", 250, 30, 12), ("fixed", 500, 0, 6))


def main() -> None:
    """Print both tables, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", choices=("dev", "test", "all"), default="test")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    corpus, embedder = load_labelled_corpus(shipped_folder("scenarios") / "rag"), load_minilm()
    cache = DiskEmbeddingCache(cache_folder() / "embeddings")
    results: dict[tuple[str, str], RetrievalResult] = {}
    for chunker, size, overlap, k in CHUNKINGS:
        for retriever in RETRIEVERS:
            config = RetrievalConfig(
                retriever=retriever, chunker=chunker, chunk_tokens=size, overlap_tokens=overlap, k=k, codes=True
            )
            results[chunker, retriever] = evaluate_retrieval(
                corpus, config, embedder, split=chosen.split, seed=chosen.seed, cache=cache
            )
    rows = [row(key, result) for key, result in results.items()]
    print(
        f"{'chunks':22} {'retriever':10} {'recall':>7} {'95 % interval':>16} {'MRR':>6} {'nDCG':>6} {'tokens sent':>12}"
    )
    for one in rows:
        interval = f"{one['recall_low']:.3f} – {one['recall_high']:.3f}"
        scores = f"{one['recall']:>7.3f} {interval:>16} {one['mrr']:>6.3f} {one['ndcg']:>6.3f}"
        print(f"{one['chunks']:22} {one['retriever']:10} {scores} {one['sent_tokens']:>12,.0f}")
    differences = list(compare_all(results, chosen.seed))
    print(f"\n{'difference in recall':44} {'mean':>7} {'95 % interval':>17} {'p':>7} {'wins':>5} {'losses':>6}")
    for one in differences:
        interval = f"{one['low']:+.3f} – {one['high']:+.3f}"
        print(f"{one['what']:44} {one['mean']:+7.3f} {interval:>17} {one['p']:7.4f} {one['wins']:5} {one['losses']:6}")
    print(json.dumps({"split": chosen.split, "seed": chosen.seed, "rows": rows, "differences": differences}))


def row(key: tuple[str, str], result: RetrievalResult) -> dict[str, float | str]:
    """Return one line of the first table."""
    config, recall = result.config, result.mean("evidence_recall")
    mrr, ndcg = result.mean("mrr"), result.mean("ndcg")
    if recall is None or mrr is None or ndcg is None:
        raise SystemExit("the split has no answerable question")
    return {
        "chunks": f"{key[0]} {config.chunk_tokens}/{config.overlap_tokens}, k {config.k}",
        "retriever": key[1],
        "recall": round(recall.mean, 4),
        "recall_low": round(recall.low, 4),
        "recall_high": round(recall.high, 4),
        "mrr": round(mrr.mean, 4),
        "ndcg": round(ndcg.mean, 4),
        "sent_tokens": round(result.sent_tokens or 0.0, 1),
        "n": result.n,
    }


def compare_all(results: dict[tuple[str, str], RetrievalResult], seed: int) -> list[dict[str, float | str]]:
    """Return the paired differences worth knowing."""
    pairs = [((c, "hybrid"), (c, other)) for c, *_ in CHUNKINGS for other in ("dense", "keyword")]
    pairs += [((CHUNKINGS[0][0], r), (CHUNKINGS[1][0], r)) for r in RETRIEVERS]
    return [difference(a, b, results, seed) for a, b in pairs]


def difference(
    a: tuple[str, str], b: tuple[str, str], results: dict[tuple[str, str], RetrievalResult], seed: int
) -> dict[str, float | str]:
    """Return one paired difference, first minus second."""
    found = compare_retrieval(results[a], results[b], seed=seed)
    return {
        "what": f"{' '.join(a)} – {' '.join(b)}",
        "mean": round(found.difference.mean, 4),
        "low": round(found.difference.low, 4),
        "high": round(found.difference.high, 4),
        "p": round(found.p_value, 4),
        "wins": found.wins,
        "losses": found.losses,
    }


main()
