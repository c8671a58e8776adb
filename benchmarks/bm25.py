"""BM25 of llmdrill against bm25s: time of one query over 5,000 and over 20,000 documents.

Answers are checked first: all scores must agree to 1e-4, and the best ten must have bm25s's scores. Both sides tokenize
the query and return the scores of all documents, or the best ten; they are timed in turn within one run, and the ratio
is the median over the rounds.
"""

from __future__ import annotations

import json
import statistics
import time
from typing import TYPE_CHECKING

import bm25s
import numpy as np

from llmdrill.retrieval.dense import top_k
from llmdrill.retrieval.sparse import K1, B, build_bm25

if TYPE_CHECKING:
    from collections.abc import Callable

SIZES, WORDS, QUERIES, ROUNDS, K = (5_000, 20_000), 20_000, 200, 9, 10


def make_texts(rng: np.random.Generator, *, n: int, low: int, high: int) -> list[str]:
    """Draw texts whose words follow Zipf's law, as words do."""
    weights = 1 / np.arange(1, WORDS + 1)
    weights /= weights.sum()
    return [" ".join(f"w{i}x" for i in rng.choice(WORDS, size=rng.integers(low, high), p=weights)) for _ in range(n)]


def seconds_per_query(ask: Callable[[str], object], queries: list[str]) -> float:
    start = time.perf_counter()
    for query in queries:
        ask(query)
    return (time.perf_counter() - start) / len(queries)


def compare(texts: list[str], queries: list[str]) -> dict[str, float]:
    """Check answers, then time both sides; print a table."""
    start = time.perf_counter()
    ours = build_bm25(texts)
    our_build_s = time.perf_counter() - start
    start = time.perf_counter()
    oracle = bm25s.BM25(method="lucene", k1=K1, b=B)
    oracle.index(bm25s.tokenize(texts, stopwords="en", show_progress=False), show_progress=False)
    their_build_s = time.perf_counter() - start

    def their_scores(query: str) -> np.ndarray:
        return oracle.get_scores(bm25s.tokenize(query, stopwords="en", return_ids=False, show_progress=False)[0])

    def their_top_k(query: str) -> np.ndarray:
        tokens = bm25s.tokenize(query, stopwords="en", show_progress=False)
        return oracle.retrieve(tokens, k=K, show_progress=False).scores[0]

    def our_top_k(query: str) -> np.ndarray:
        return top_k(ours.scores(query), k=K).scores

    pairs = {"scores": (ours.scores, their_scores), f"top_{K}": (our_top_k, their_top_k)}
    for query in queries:
        for our_way, their_way in pairs.values():
            np.testing.assert_allclose(our_way(query), their_way(query), atol=1e-4)

    result = {"documents": len(texts), "build_llmdrill_s": our_build_s, "build_bm25s_s": their_build_s}
    print(f"{len(texts):<12,}{'llmdrill':>12}{'bm25s':>12}{'ratio':>9}")
    print(f"{'build':<12}{our_build_s:>10.2f} s{their_build_s:>10.2f} s{our_build_s / their_build_s:>9.2f}")
    for name, (our_way, their_way) in pairs.items():
        rounds = [(seconds_per_query(our_way, queries), seconds_per_query(their_way, queries)) for _ in range(ROUNDS)]
        our_us, their_us = (statistics.median(column) * 1e6 for column in zip(*rounds, strict=True))
        ratio = statistics.median(our / their for our, their in rounds)
        print(f"{name:<12}{our_us:>9.1f} us{their_us:>9.1f} us{ratio:>9.2f}")
        result |= {f"{name}_llmdrill_us": our_us, f"{name}_bm25s_us": their_us, f"{name}_ratio": ratio}
    return result


def main() -> None:
    rng = np.random.default_rng(0)
    texts, queries = make_texts(rng, n=max(SIZES), low=50, high=300), make_texts(rng, n=QUERIES, low=3, high=15)
    sizes = [compare(texts[:size], queries) for size in SIZES]
    print(json.dumps({"benchmark": "bm25", "queries": QUERIES, "rounds": ROUNDS, "sizes": sizes}))


if __name__ == "__main__":
    main()
