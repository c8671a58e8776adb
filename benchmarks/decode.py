"""Tokens per second of our engines, and of the peers that are installed, on one set of random weights.

Checks the answers first, then times all engines in turn, round by round, so that a slow minute of the machine hits
every one of them; ratios are of medians. Each engine has a process of its own and waits in it while another is timed:
in one process the threads of one library still spin when the next begins. MBU is held against the bandwidth that plain
reading reaches in the same round, with as many bytes as a step reads. Never a gate. Our engines also decode 16
sequences at once.

    python benchmarks/decode.py [--shape smollm2-135m] [--tokens 32] [--rounds 5] [--threads N] [--no-peers] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch
from decode_apart import start_apart
from decode_ours import OUR_ENGINES, our_engine, weights
from decode_peers import peer_engine, write_peers

from llmdrill.lab import SPIN_TURNS
from llmdrill.lab.machine import this_machine
from llmdrill.lab.shapes import named_shape

if TYPE_CHECKING:
    from collections.abc import Callable

    from decode_answer import Engine
    from decode_apart import Apart

    from llmdrill.lab.shapes import DecoderShape

BITS_A_WEIGHT = {"fp32": 32, "bf16": 16, "int8": 8, "q8_0": 8.5, "q4_0": 4.5}
LEAST_SAME = {"fp32": 0.9, "bf16": 0.3, "int8": 0.3, "q8_0": 0.3, "q4_0": 0.0}  # random weights have many near ties
OURS = {name for name, _ in OUR_ENGINES}
PREFILL_TOKENS, PROMPT_TOKENS, CHECKED_PROMPTS = 512, 16, 8
BATCH, BATCH_STEPS = 16, 8


@dataclass
class Readings:
    """What was read of one engine, a value a round."""

    prefill_s: list[float] = field(default_factory=list)
    step_s: list[float] = field(default_factory=list)
    batch_step_s: list[float] = field(default_factory=list)
    bandwidth_bytes_per_s: list[float] = field(default_factory=list)


def main() -> None:
    options = parse()
    shape = named_shape(options.shape)
    with tempfile.TemporaryDirectory() as name, ExitStack() as running:
        folder = Path(name)
        builds: dict[tuple[str, str], Callable[[], Engine]] = {
            (engine, precision): partial(our_engine, engine, precision, options.shape, options.threads)
            for engine, precision in OUR_ENGINES
        }
        absent: dict[str, str] = {}
        if not options.no_peers:
            written, absent = write_peers(weights(shape), folder)
            context = PREFILL_TOKENS + 2 * options.tokens
            for one in written:
                builds[one] = partial(peer_engine, *one, folder, threads=options.threads, context=context)
        engines, died = start_apart(builds, running, threads=options.threads, spins=dict.fromkeys(OURS, SPIN_TURNS))
        same = check(engines, shape.vocab)
        readings = time_in_turn(engines, shape, tokens=options.tokens, rounds=options.rounds)
    rows = [row(engine, readings[index], same[index], shape, options) for index, engine in enumerate(engines)]
    torch.set_num_threads(options.threads)
    result = {
        "schema": "llmdrill/benchmark-decode@1",
        "shape": options.shape,
        "weights": "random: latency and memory only",
        "threads": options.threads,
        "rounds": options.rounds,
        "tokens": options.tokens,
        "machine": asdict(this_machine()),
        "engines": rows,
        "ratios": ratios(rows),
        "absent": absent | died,
    }
    print(json.dumps(result, indent=1) if options.json else table(result))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--shape", default="smollm2-135m")
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def check(engines: list[Apart], vocab: int) -> list[float]:
    """Return how often each engine's first and second tokens are those of the first engine; stop if one is wrong."""
    rng = random.Random(0)  # noqa: S311 - the same prompts every time
    prompts = [rng.choices(range(3, vocab), k=PROMPT_TOKENS) for _ in range(CHECKED_PROMPTS)]
    expected = [engines[0].answer(prompt, tokens=2).tokens for prompt in prompts]
    shares = []
    for engine in engines:
        answers = [engine.answer(prompt, tokens=2).tokens for prompt in prompts]
        # the second token is compared where the first is the same: it is the one that a decoding step chose
        pairs = [(got[0] == want[0], got == want) for got, want in zip(answers, expected, strict=True)]
        same = sum(first + both for first, both in pairs) / sum(1 + first for first, _ in pairs)
        if same < LEAST_SAME[engine.precision]:
            raise SystemExit(f"answers differ: {engine.name} {engine.precision} has {same:.0%} of the tokens")
        shares.append(same)
    return shares


def time_in_turn(engines: list[Apart], shape: DecoderShape, *, tokens: int, rounds: int) -> list[Readings]:
    rng = random.Random(1)  # noqa: S311
    long, short = (rng.choices(range(3, shape.vocab), k=count) for count in (PREFILL_TOKENS, PROMPT_TOKENS))
    reader = next((one for one in engines if one.name == "native"), None)
    readings = [Readings() for _ in engines]
    for _ in range(rounds):
        for engine, kept in zip(engines, readings, strict=True):
            answer = engine.answer(short, tokens=tokens)
            kept.step_s.append(answer.step_s or float("nan"))
            if reader is not None:
                size = int(step_bytes(shape, engine.precision, tokens))
                kept.bandwidth_bytes_per_s.append(reader.bandwidth_bytes_per_s(size))
            kept.prefill_s.append(engine.answer(long, tokens=1).prefill_s)
            if engine.name in OURS:
                kept.batch_step_s.append(engine.batch_step_s(short, sequences=BATCH, steps=BATCH_STEPS))
    return readings


def step_bytes(shape: DecoderShape, precision: str, tokens: int) -> float:
    """Return what a step reads: every weight once, and the cache at the middle of the answer (fp32, or two bytes)."""
    context = PROMPT_TOKENS + tokens / 2
    matrix_weights = shape.parameters - (0 if shape.tied else shape.vocab * shape.hidden)
    cache = context * shape.kv_bytes_per_token * (1 if precision == "fp32" else 0.5)
    return matrix_weights * BITS_A_WEIGHT[precision] / 8 + cache


def row(engine: Apart, read: Readings, same: float, shape: DecoderShape, options: argparse.Namespace) -> dict[str, Any]:
    per_s = 1 / statistics.median(read.step_s)
    reachable = statistics.median(read.bandwidth_bytes_per_s) if read.bandwidth_bytes_per_s else None
    needed = step_bytes(shape, engine.precision, options.tokens)
    batch_per_s = BATCH / statistics.median(read.batch_step_s) if read.batch_step_s else None
    return {
        "engine": engine.name,
        "precision": engine.precision,
        "tg_tokens_per_s": per_s,
        "pp512_tokens_per_s": PREFILL_TOKENS / statistics.median(read.prefill_s),
        "tg_batch16_tokens_per_s": batch_per_s,
        "batch16_over_batch1": None if batch_per_s is None else batch_per_s / per_s,
        "mbu": None if reachable is None else per_s * needed / reachable,
        "bandwidth_bytes_per_s": reachable,
        "same_tokens_share": same,
        "tg_rounds": [1 / seconds for seconds in read.step_s],
    }


def ratios(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each of our engines over each peer, in decoding and in prefill."""
    ours = [one for one in rows if one["engine"] in OURS]
    return [
        {
            "of": f"{mine['engine']} {mine['precision']}",
            "to": f"{peer['engine']} {peer['precision']}",
            "tg": mine["tg_tokens_per_s"] / peer["tg_tokens_per_s"],
            "pp512": mine["pp512_tokens_per_s"] / peer["pp512_tokens_per_s"],
        }
        for mine in ours
        for peer in rows
        if peer is not mine and (peer not in ours or peer["engine"] == "torch" != mine["engine"])
    ]


def table(result: dict[str, Any]) -> str:
    lines = [
        f"{result['shape']}, random weights, {result['threads']} threads, {result['rounds']} rounds",
        f"{'engine':<14}{'precision':<11}{'tg /s':>8}{'pp512 /s':>10}{'tg x16 /s':>11}{'MBU':>7}{'GB/s':>7}{'same':>6}",
    ]
    for one in result["engines"]:
        mbu = "-" if one["mbu"] is None else f"{one['mbu']:.0%}"
        reachable = "-" if one["mbu"] is None else f"{one['bandwidth_bytes_per_s'] / 1e9:.1f}"
        batch = one["tg_batch16_tokens_per_s"]
        together = f"{'-' if batch is None else f'{batch:.0f}':>11}"
        speeds = f"{one['tg_tokens_per_s']:>8.1f}{one['pp512_tokens_per_s']:>10.0f}{together}{mbu:>7}{reachable:>7}"
        lines.append(f"{one['engine']:<14}{one['precision']:<11}{speeds}{one['same_tokens_share']:>6.0%}")
    lines += [f"{one['of']} / {one['to']}: tg {one['tg']:.2f}x, pp512 {one['pp512']:.2f}x" for one in result["ratios"]]
    lines += [f"left out: {name}: {reason}" for name, reason in result["absent"].items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
