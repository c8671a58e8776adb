"""Ranking metrics of llmdrill against pytrec_eval-terrier (trec_eval in C): 1,000 queries of 100 documents.

Answers are checked first: all values must agree to 1e-9. Both sides take the same dicts and sort, judge and score; they
are timed in turn within one run, and the ratio is the median over the rounds.
"""

from __future__ import annotations

import json
import statistics
import time
from typing import TYPE_CHECKING

import numpy as np
import pytrec_eval

from llmdrill.retrieval.metrics import evaluate_run

if TYPE_CHECKING:
    from collections.abc import Callable

QUERIES, DOCUMENTS, ROUNDS, KS = 1_000, 100, 9, (5, 10, 20)
NAMES = {"map": "map", "recip_rank": "mrr", "Rprec": "r_precision", "ndcg": "ndcg"}
CUTS = {"P": "precision", "recall": "recall", "success": "hit", "ndcg_cut": "ndcg"}


def make_data(rng: np.random.Generator) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, float]]]:
    qrels, run = {}, {}
    for query in range(QUERIES):
        judged, retrieved = rng.choice(2_000, size=40, replace=False), rng.choice(2_000, size=DOCUMENTS, replace=False)
        judged[:15] = retrieved[:15]
        grades, scores = rng.integers(0, 3, len(judged)).tolist(), rng.random(DOCUMENTS).tolist()
        qrels[f"q{query}"] = dict(zip((f"d{document}" for document in judged), grades, strict=True))
        run[f"q{query}"] = dict(zip((f"d{document}" for document in retrieved), scores, strict=True))
    return qrels, run


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    qrels, run = make_data(np.random.default_rng(0))
    cuts = ",".join(map(str, KS))
    evaluator = pytrec_eval.RelevanceEvaluator(qrels, {*NAMES, *(f"{name}.{cuts}" for name in CUTS)})
    names = NAMES | {f"{theirs}_{k}": f"{ours}_at_{k}" for theirs, ours in CUTS.items() for k in KS}

    ours, theirs = evaluate_run(qrels, run, ks=KS, ties="trec"), evaluator.evaluate(run)
    for query, values in theirs.items():
        for their_name, our_name in names.items():
            np.testing.assert_allclose(ours.per_query[query][our_name], values[their_name], atol=1e-9)

    rounds = [
        (seconds(lambda: evaluate_run(qrels, run, ks=KS, ties="trec")), seconds(lambda: evaluator.evaluate(run)))
        for _ in range(ROUNDS)
    ]
    our_ms, their_ms = (statistics.median(column) * 1e3 for column in zip(*rounds, strict=True))
    ratio = statistics.median(our / their for our, their in rounds)
    print(f"{'':<20}{'llmdrill':>12}{'pytrec_eval':>14}{'ratio':>9}")
    print(f"{f'{len(names)} metrics':<20}{our_ms:>9.1f} ms{their_ms:>11.1f} ms{ratio:>9.2f}")
    result = {"benchmark": "metrics", "queries": QUERIES, "documents": DOCUMENTS, "rounds": ROUNDS}
    print(json.dumps(result | {"llmdrill_ms": our_ms, "pytrec_eval_ms": their_ms, "ratio": ratio}))


if __name__ == "__main__":
    main()
