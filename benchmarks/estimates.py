"""How fast estimates are: a thousand serving estimates, and a million points of the cache and of cost.

Checks the answers first, against published numbers and against the same formula point by point, then times.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from llmdrill.catalog.architecture import AttentionShape
from llmdrill.catalog.load import find_accelerator, find_model, find_price
from llmdrill.estimate.cost import api_request_usd, api_usd_points
from llmdrill.estimate.kv_cache import kv_cache_bytes
from llmdrill.estimate.points import kv_cache_points
from llmdrill.estimate.serving import serving_estimate

if TYPE_CHECKING:
    from collections.abc import Callable

MODELS = ("llama-3.1-8b", "llama-3.1-70b", "mistral-7b", "qwen3-32b")
DEVICES = ("h100", "h200", "a100-80gb")
ESTIMATES = 1000
POINTS = 1_000_000
CHECKED = 1000
LLAMA_70B = AttentionShape(layers=80, kv_heads=8, head_dim=128)


class Case(NamedTuple):
    """What is timed: its name, how many it does in one call, and the limit it should keep."""

    name: str
    run: Callable[[], object]
    count: int
    most_s: float


def main() -> None:
    """Print a table of medians, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    rng = np.random.default_rng(0)
    contexts = rng.integers(1, 200_000, POINTS).astype(float)
    prompts, answers = rng.integers(1, 8000, POINTS).astype(float), rng.integers(1, 2000, POINTS).astype(float)
    price = find_price("gpt-4o")
    check_cache(contexts)
    check_cost(prompts, answers)
    check_serving()
    cases = (
        Case("serving estimates", run_serving, ESTIMATES, 0.3),
        Case("KV-cache points", lambda: kv_cache_points(LLAMA_70B, context_tokens=contexts), POINTS, POINTS / 20e6),
        Case(
            "cost points",
            lambda: api_usd_points(price, input_tokens=prompts, output_tokens=answers),
            POINTS,
            POINTS / 20e6,
        ),
    )
    report(cases, {case.name: [time_once(case.run) for _ in range(rounds)] for case in cases})


def check_cache(contexts: np.ndarray) -> None:
    """Stop unless the cache of 100,000 tokens is 32.768 GB and points equal the formula."""
    expect("KV cache", kv_cache_points(LLAMA_70B, context_tokens=np.array([100_000]))[0], 32_768_000_000)
    points = kv_cache_points(LLAMA_70B, context_tokens=contexts[:CHECKED])
    one_by_one = [kv_cache_bytes(LLAMA_70B, context_tokens=float(context)) for context in contexts[:CHECKED]]
    expect("KV-cache points", points.tolist(), one_by_one)


def check_cost(prompts: np.ndarray, answers: np.ndarray) -> None:
    """Stop unless a million requests of 500 and 200 tokens cost $3,250 and points equal the formula."""
    price = find_price("gpt-4o")
    expect("cost", round(1e6 * api_request_usd(price, input_tokens=500, output_tokens=200), 6), 3250)
    points = api_usd_points(price, input_tokens=prompts[:CHECKED], output_tokens=answers[:CHECKED])
    one_by_one = [
        api_request_usd(price, input_tokens=float(sent), output_tokens=float(written))
        for sent, written in zip(prompts[:CHECKED], answers[:CHECKED], strict=True)
    ]
    if not np.allclose(points, one_by_one, rtol=1e-12, atol=0):
        sys.exit("cost points: not what the formula gives one by one")


def check_serving() -> None:
    """Stop unless every estimate lies in its band and above its floor."""
    for estimate in run_serving():
        for one in (estimate.ttft_s, estimate.tpot_s):
            if not 0 < one.floor_s <= one.value_s or not one.low_s < one.high_s:
                sys.exit(f"serving estimate: floor, value and band are out of order: {one}")


def expect(what: str, found: object, wanted: object) -> None:
    """Stop unless the two are equal."""
    if found != wanted:
        sys.exit(f"{what}: expected {str(wanted)[:100]}, got {str(found)[:100]}")


def run_serving() -> list:
    """Return a thousand serving estimates, each at a load of its own."""
    pairs = [(find_model(model), find_accelerator(device)) for model in MODELS for device in DEVICES]
    return [
        serving_estimate(
            *pairs[at % len(pairs)],
            batch=1 + at % 64,
            input_tokens=128 + 16 * (at % 200),
            output_tokens=64 + at % 400,
            tensor_parallel=4,
        )
        for at in range(ESTIMATES)
    ]


def time_once(run: Callable[[], object]) -> float:
    """Return the processor seconds of one call."""
    began = time.process_time()
    run()
    return time.process_time() - began


def report(cases: tuple[Case, ...], seconds: dict[str, list[float]]) -> None:
    """Print medians and rates."""
    found = {}
    for case in cases:
        median = statistics.median(seconds[case.name])
        verdict = "reached" if median <= case.most_s else "NOT reached"
        print(
            f"{case.count:>9,} {case.name:20} {1000 * median:9.2f} ms {case.count / median:>14,.0f} a second"
            f"  to reach {1000 * case.most_s:g} ms: {verdict}"
        )
        found[case.name] = {"n": case.count, "s": round(median, 5), "per_s": round(case.count / median)}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
