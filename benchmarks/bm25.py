"""BM25 of llmdrill against bm25s: time of one query over 5,000 documents.

Answers are checked first: all scores must agree to 1e-4. Both sides tokenize the query and return the scores of all
documents; they are timed in turn within one run, and the ratio is the median over the rounds.
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

DOCUMENTS, WORDS, QUERIES, ROUNDS, K = 5_000, 20_000, 500, 9, 10


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


def main() -> None:
    rng = np.random.default_rng(0)
    texts, queries = make_texts(rng, n=DOCUMENTS, low=50, high=300), make_texts(rng, n=QUERIES, low=3, high=15)
    start = time.perf_counter()
    ours = build_bm25(texts)
    our_build_s = time.perf_counter() - start
    start = time.perf_counter()
    oracle = bm25s.BM25(method="lucene", k1=K1, b=B)
    oracle.index(bm25s.tokenize(texts, stopwords="en", show_progress=False), show_progress=False)
    their_build_s = time.perf_counter() - start

    def their_scores(query: str) -> np.ndarray:
        return oracle.get_scores(bm25s.tokenize(query, stopwords="en", return_ids=False, show_progress=False)[0])

    def their_top_k(query: str) -> object:
        return oracle.retrieve(bm25s.tokenize(query, stopwords="en", show_progress=False), k=K, show_progress=False)

    for query in queries:
        np.testing.assert_allclose(ours.scores(query), their_scores(query), atol=1e-4)

    pairs: dict[str, tuple[Callable[[str], object], Callable[[str], object]]] = {
        "scores": (ours.scores, their_scores),
        "top_10": (lambda query: top_k(ours.scores(query), k=K), their_top_k),
    }
    result: dict[str, object] = {"benchmark": "bm25", "documents": DOCUMENTS, "queries": QUERIES, "rounds": ROUNDS}
    print(f"{'':<12}{'llmdrill':>12}{'bm25s':>12}{'ratio':>9}")
    print(f"{'build':<12}{our_build_s:>10.2f} s{their_build_s:>10.2f} s{our_build_s / their_build_s:>9.2f}")
    for name, (our_way, their_way) in pairs.items():
        rounds = [(seconds_per_query(our_way, queries), seconds_per_query(their_way, queries)) for _ in range(ROUNDS)]
        our_us, their_us = (statistics.median(column) * 1e6 for column in zip(*rounds, strict=True))
        ratio = statistics.median(our / their for our, their in rounds)
        print(f"{name:<12}{our_us:>9.1f} us{their_us:>9.1f} us{ratio:>9.2f}")
        result |= {f"{name}_llmdrill_us": our_us, f"{name}_bm25s_us": their_us, f"{name}_ratio": ratio}
    result |= {"build_llmdrill_s": our_build_s, "build_bm25s_s": their_build_s}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
