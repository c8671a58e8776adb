"""Tokens per second of our engines, and of the peers that are installed, on one set of random weights.

Checks the answers first, then times all engines in turn, round by round, so that a slow minute of the machine hits
every one of them; ratios are of medians. MBU is held against the bandwidth that plain reading reaches in the same
round, with as many bytes as a step reads. Never a gate. Our engines also decode 16 sequences at once.

    python benchmarks/decode.py [--shape smollm2-135m] [--tokens 32] [--rounds 5] [--threads N] [--no-peers] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

import torch
from decode_peers import OurEngine, start_peers

from llmdrill.lab.decoder import Decoder, DecoderWeights, LayerWeights, random_decoder
from llmdrill.lab.machine import this_machine
from llmdrill.lab.native.engine import HugePages, NativeDecoder, native_or_torch
from llmdrill.lab.shapes import named_shape

if TYPE_CHECKING:
    from decode_peers import Engine

    from llmdrill.lab.shapes import DecoderShape

BITS_A_WEIGHT = {"fp32": 32, "bf16": 16, "int8": 8, "q8_0": 8.5, "q4_0": 4.5}
LEAST_SAME = {"fp32": 0.9, "bf16": 0.3, "int8": 0.3, "q8_0": 0.3, "q4_0": 0.0}  # random weights have many near ties
LOUDER = 2.5  # so that the layers, not the embedding of the last token, decide what comes next
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
    torch.set_num_threads(options.threads)
    shape = named_shape(options.shape)
    engines, absent = our_engines(louder(random_decoder(shape, seed=0)), options.threads)
    with tempfile.TemporaryDirectory() as folder:
        if not options.no_peers:
            decoder = next(one.decoder for one in engines if isinstance(one, OurEngine))
            context = PREFILL_TOKENS + 2 * options.tokens
            peers, missing = start_peers(decoder, Path(folder), threads=options.threads, context=context)
            engines, absent = [*engines, *peers], absent | missing
        same = check(engines, shape.vocab)
        readings = time_in_turn(engines, shape, tokens=options.tokens, rounds=options.rounds)
    rows = [row(engine, readings[index], same[index], shape, options) for index, engine in enumerate(engines)]
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
        "absent": absent,
    }
    print(json.dumps(result, indent=1) if options.json else table(result))
    sys.stdout.flush()
    os._exit(0)  # the server of llama.cpp may wait for its threads for ever


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--shape", default="smollm2-135m")
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def louder(decoder: Decoder) -> Decoder:
    """Return a decoder whose next token is not simply the last one again, as tied random weights would have it."""
    layers = tuple(
        LayerWeights(
            *(layer.attention_norm, layer.qkv * LOUDER, layer.qkv_bias, layer.out * LOUDER),
            *(layer.mlp_norm, layer.gate_up * LOUDER, layer.down * LOUDER),
        )
        for layer in decoder.weights.layers
    )
    old = decoder.weights
    return Decoder(decoder.shape, DecoderWeights(old.embedding, layers, old.norm, old.head), random_weights=True)


def in_bf16(decoder: Decoder) -> Decoder:
    def cast(one: torch.Tensor) -> torch.Tensor:
        return one.to(torch.bfloat16)

    old = decoder.weights
    layers = tuple(
        LayerWeights(
            *(cast(layer.attention_norm), cast(layer.qkv), None if layer.qkv_bias is None else cast(layer.qkv_bias)),
            *(cast(layer.out), cast(layer.mlp_norm), cast(layer.gate_up), cast(layer.down)),
        )
        for layer in old.layers
    )
    embedding = cast(old.embedding)
    head = embedding if decoder.shape.tied else cast(old.head)
    return Decoder(decoder.shape, DecoderWeights(embedding, layers, cast(old.norm), head), random_weights=True)


def our_engines(decoder: Decoder, threads: int) -> tuple[list[Engine], dict[str, str]]:
    """Return torch in two precisions and the native step in three; the latter keep their cache in bf16 as prefill."""
    half = in_bf16(decoder)
    engines: list[Engine] = [OurEngine("torch", "fp32", decoder), OurEngine("torch", "bf16", half)]
    absent: dict[str, str] = {}
    for precision, base in (("fp32", decoder), ("bf16", half), ("int8", half)):
        chosen = native_or_torch(base, precision=precision, threads=threads)  # type: ignore[arg-type]
        if chosen.reason is None:
            engines.append(OurEngine("native", precision, chosen.decoder))
        else:
            absent[f"native {precision}"] = chosen.reason
    return engines, absent


def check(engines: list[Engine], vocab: int) -> list[float]:
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


def time_in_turn(engines: list[Engine], shape: DecoderShape, *, tokens: int, rounds: int) -> list[Readings]:
    rng = random.Random(1)  # noqa: S311
    long, short = (rng.choices(range(3, shape.vocab), k=count) for count in (PREFILL_TOKENS, PROMPT_TOKENS))
    reader = next((one.decoder for one in engines if isinstance(getattr(one, "decoder", None), NativeDecoder)), None)
    readings = [Readings() for _ in engines]
    for _ in range(rounds):
        for engine, kept in zip(engines, readings, strict=True):
            answer = engine.answer(short, tokens=tokens)
            kept.step_s.append(answer.step_s or float("nan"))
            if reader is not None:
                size = int(step_bytes(shape, engine.precision, tokens))
                kept.bandwidth_bytes_per_s.append(bandwidth(reader, size))
            kept.prefill_s.append(engine.answer(long, tokens=1).prefill_s)
            if isinstance(engine, OurEngine):
                kept.batch_step_s.append(engine.batch_step_s(short, sequences=BATCH, steps=BATCH_STEPS))
    return readings


def step_bytes(shape: DecoderShape, precision: str, tokens: int) -> float:
    """Return what a step reads: every weight once, and the cache at the middle of the answer (fp32, or two bytes)."""
    context = PROMPT_TOKENS + tokens / 2
    matrix_weights = shape.parameters - (0 if shape.tied else shape.vocab * shape.hidden)
    cache = context * shape.kv_bytes_per_token * (1 if precision == "fp32" else 0.5)
    return matrix_weights * BITS_A_WEIGHT[precision] / 8 + cache


def bandwidth(reader: Decoder, size_bytes: int) -> float:
    """Return the median of a few plain readings of so many bytes."""
    if not isinstance(reader, NativeDecoder):
        raise TypeError
    memory = HugePages(size_bytes + 8).zeros(size_bytes // 8, dtype=torch.int64).fill_(1)
    seconds = []
    for _ in range(6):
        start = time.perf_counter()
        reader.read(memory)
        seconds.append(time.perf_counter() - start)
    return memory.nbytes / statistics.median(seconds[1:])


def row(
    engine: Engine, read: Readings, same: float, shape: DecoderShape, options: argparse.Namespace
) -> dict[str, Any]:
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
    ours = [one for one in rows if one["engine"] in {"torch", "native"}]
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
