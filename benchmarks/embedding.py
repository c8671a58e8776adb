"""Passages of 256 tokens per second: our forward pass against sentence-transformers' defaults.

Checks the answers first (cosine >= 0.9999), then times both alternately in one run, and puts the result beside the
bound that the matrix products alone would set on this machine. Never a gate.

    python benchmarks/embedding.py [--passages 64] [--rounds 5] [--engine auto|native|torch]
        [--precision auto|fp32|bf16|int16]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import time
from functools import partial
from typing import TYPE_CHECKING, Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmdrill.lab.embed import MiniLm

PASSAGE_TOKENS = 256
LOWEST_COSINE = {"fp32": 0.9999, "int16": 0.9999, "bf16": 0.999}
BOUND_TOKENS = 32 * PASSAGE_TOKENS


def main() -> None:
    options = parse()
    import numpy as np
    import torch
    from sentence_transformers import SentenceTransformer

    from llmdrill.lab.embed import find_minilm, load_minilm

    ours = load_minilm(precision=options.precision, engine=options.engine)
    theirs = SentenceTransformer(str(find_minilm()), device="cpu")
    full = passages(options.passages, vocabulary=theirs.tokenizer.get_vocab(), words=PASSAGE_TOKENS)
    mixed = passages(4 * options.passages, vocabulary=theirs.tokenizer.get_vocab(), words=None)
    lowest = min(float((ours.embed(texts) * theirs.encode(texts)).sum(1).min()) for texts in (full, mixed))
    if lowest < LOWEST_COSINE[ours.precision]:
        raise SystemExit(f"answers differ: lowest cosine {lowest:.6f}")
    what = {"engine": ours.engine.name, "precision": ours.precision, "threads": torch.get_num_threads()}
    result: dict[str, Any] = {**what, "lowest_cosine": lowest}
    print(f"{ours.engine.name}, {ours.precision}, {torch.get_num_threads()} threads, lowest cosine {lowest:.7f}")
    print(f"{'texts':<24}{'ours /s':>10}{'theirs /s':>12}{'ratio':>8}   ratio of each round")
    for name, texts in ((f"{PASSAGE_TOKENS}-token passages", full), ("4 to 200 words", mixed)):
        mine, other = alternate(partial(ours.embed, texts), partial(theirs.encode, texts), rounds=options.rounds)
        ratios = sorted(slow / fast for fast, slow in zip(mine, other, strict=True))
        ours_per_s, theirs_per_s = len(texts) / statistics.median(mine), len(texts) / statistics.median(other)
        rounds = " ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"{name:<24}{ours_per_s:>10.1f}{theirs_per_s:>12.1f}{np.median(ratios):>8.2f}   {rounds}")
        result[name] = {"ours_per_s": ours_per_s, "theirs_per_s": theirs_per_s, "ratio": float(np.median(ratios))}
    bound = matmul_bound_per_s(ours)
    share = result[f"{PASSAGE_TOKENS}-token passages"]["ours_per_s"] / bound
    print(f"matmul bound in {ours.precision} {bound:.1f} passages/s: ours is {share:.0%} of it")
    print(json.dumps(result | {"matmul_bound_per_s": bound, "share_of_bound": share}))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--passages", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16", "int16"), default="auto")
    parser.add_argument("--engine", choices=("auto", "native", "torch"), default="auto")
    return parser.parse_args()


def passages(count: int, *, vocabulary: dict[str, int], words: int | None) -> list[str]:
    """Return texts of whole-word tokens: more than the model sees, or 4 to 200 words where ``words`` is None."""
    rng = random.Random(0)  # noqa: S311 - the same texts every time
    whole = sorted(word for word in vocabulary if word.isalpha() and len(word) > 3)
    return [" ".join(rng.choices(whole, k=words or rng.randint(4, 200))) for _ in range(count)]


def alternate(first: Callable[[], Any], second: Callable[[], Any], *, rounds: int) -> tuple[list[float], list[float]]:
    """Time two calls in turn, so that a slow minute of the machine hits both."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for work, seconds in zip((first, second), times, strict=True):
            start = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - start)
    return times


def matmul_bound_per_s(model: MiniLm) -> float:
    """Return passages per second if the layers' matrix products, as measured here, were all there is to do."""
    done = model.products(tokens=BOUND_TOKENS)
    times = alternate(partial(model.products, tokens=BOUND_TOKENS), lambda: None, rounds=6)[0]
    return done / PASSAGE_TOKENS / statistics.median(times[1:])


if __name__ == "__main__":
    main()
