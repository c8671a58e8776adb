"""`llmdrill lab attention`: why scores are scaled, what tiling saves, how work grows, positions beyond training."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llmdrill.catalog.architecture import AttentionShape
from llmdrill.estimate.attention import EXAMPLE_KEYS, EXAMPLE_QUERIES, EXAMPLE_VALUES
from llmdrill.experiments.attention_parts import NAMES, example_part, growth_part, positions_part, scaling_part
from llmdrill.experiments.growth import lengths_up_to
from llmdrill.experiments.result import Experiment, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmdrill.lab.attention_positions import Extrapolation
    from llmdrill.lab.attention_scaling import Scaling, Steps
    from llmdrill.lab.attention_tiling import GrowthReading

SCALED_WIDTHS: Final = (4, 16, 64, 256)  # d_k
SCALED_ROWS: Final = 2000
SCALED_KEYS: Final = 16
TRAINED_TOKENS: Final = 64
LENGTHS: Final = (64, 80, 96, 128, 256, 512)  # bytes read by the trained models: the trained length and beyond
SCORED_PIECES: Final = 64
FLAT_NATS: Final = 0.05  # a smaller rise beyond the trained length is called none
TOLERANCE: Final = 1e-4  # of the largest output: fp32 sums in another order


@dataclass(frozen=True, slots=True)
class AttentionOptions:
    """What to run.

    Attributes:
        heads: Of the timed attention.
        head_dim: Likewise.
        longest_tokens: Of the timed sequences; they double from 128.
        steps: Of each of the three trainings.
        width: Of the trained models.
        pieces: Of held-out text that they are scored on.
    """

    heads: int = 4
    head_dim: int = 64
    longest_tokens: int = 2048
    steps: int = 200
    width: int = 64
    pieces: int = SCORED_PIECES
    repeats: int = 3


def measure_attention(
    options: AttentionOptions,
    *,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
    now: Callable[[], float] = time.perf_counter,
) -> Experiment:
    """Run the worked example, random rows, long sequences and three trainings, each beside its closed form.

    Raises:
        UsageError: If the longest length is below the shortest, or no source is there to train on.

    Source:
        Vaswani et al. 2017, arXiv:1706.03762; Dao et al. 2022, arXiv:2205.14135; Press et al. 2022, arXiv:2108.12409.
    """
    from llmdrill.lab.attention_tiling import TILE_TOKENS
    from llmdrill.lab.machine import this_machine

    started, machine = now(), this_machine()
    seen = _run(options, seed=seed, say=say, now=now)
    heads, head_dim = options.heads, options.head_dim
    shape = AttentionShape(layers=1, kv_heads=heads, heads=heads, head_dim=head_dim)
    parts = (
        example_part(seen.example),
        scaling_part(seen.scaling, rows=SCALED_ROWS, keys=SCALED_KEYS, seed=seed),
        growth_part(seen.growth, shape, tile_tokens=TILE_TOKENS),
        positions_part(seen.positions, trained_tokens=TRAINED_TOKENS, pieces=options.pieces),
    )
    return Experiment(
        name="attention",
        title="Attention: why scores are scaled, what tiling saves, positions beyond training",
        inputs=_inputs(options, tile_tokens=TILE_TOKENS),
        findings=tuple(one for part in parts for one in part.findings),
        tables=tuple(one for part in parts for one in part.tables),
        pictures=tuple(one for part in parts for one in part.pictures),
        meaning=(_work_meaning(seen.scaling, seen.growth), _positions_meaning(seen.positions)),
        machine=machine,
        protocol=Protocol(seed, 1, options.repeats, machine.threads, now() - started),
        notes=(
            "time and memory: random values, which change neither; scaling: queries and keys of variance 1",
            "trained models: 2 layers on bytes of this Python's standard library; one seed each, and short training",
        ),
    )


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the lab measured."""

    example: Steps
    scaling: tuple[Scaling, ...]
    growth: tuple[GrowthReading, ...]
    positions: tuple[Extrapolation, ...]


def _run(options: AttentionOptions, *, seed: int, say: Callable[[str], None], now: Callable[[], float]) -> _Seen:
    from llmdrill.lab.attention_positions import measure_positions
    from llmdrill.lab.attention_scaling import measure_scaling, worked_example
    from llmdrill.lab.attention_tiling import measure_growth
    from llmdrill.lab.byte_text import library_text
    from llmdrill.lab.tiny_transformer import TinyShape, Training

    lengths, text = lengths_up_to(options.longest_tokens, option="longest"), library_text()
    tiny = TinyShape(width=options.width, feed_forward=4 * options.width)
    say("time and memory by length")
    return _Seen(
        example=worked_example(EXAMPLE_QUERIES, EXAMPLE_KEYS, EXAMPLE_VALUES),
        scaling=measure_scaling(widths=SCALED_WIDTHS, rows=SCALED_ROWS, keys=SCALED_KEYS, seed=seed),
        growth=measure_growth(
            lengths=lengths,
            heads=options.heads,
            head_dim=options.head_dim,
            repeats=options.repeats,
            seed=seed,
            now=now,
        ),
        positions=measure_positions(
            text,
            tiny,
            Training(steps=options.steps, sequences=16, tokens=TRAINED_TOKENS),
            lengths=LENGTHS,
            pieces=options.pieces,
            seed=seed,
            say=say,
        ),
    )


def _work_meaning(scaling: Sequence[Scaling], growth: Sequence[GrowthReading]) -> str:
    wide, last = scaling[-1], growth[-1]
    equal = "the same output" if max(one.difference_ratio for one in growth) < TOLERANCE else "another output"
    less = last.full_peak_bytes / last.tiled_peak_bytes
    saves = f"in {less:.3g} times less memory" if less > 1 else "in no less memory"
    slower = last.tiled.median_s / last.full.median_s
    pace = f"in {slower:.2g} times the time" if slower > 1 else f"{1 / slower:.2g} times as fast"
    return (
        f"At d_k = {wide.d_k} the softmax has {wide.scaled.entropy_bits:.2f} bits of entropy with 1 / √d_k and"
        f" {wide.plain.entropy_bits:.2f} without it, and its gradient a trace of {wide.scaled.gradient:.2f} against"
        f" {wide.plain.gradient:.2f}; at {last.tokens} tokens the online softmax over tiles gives {equal} {saves}, here"
        f" {pace}."
    )


def _positions_meaning(found: Sequence[Extrapolation]) -> str:
    rises = {NAMES[one.positions]: one.nats[-1] - one.nats[one.lengths.index(TRAINED_TOKENS)] for one in found}
    flat = [name for name, rise in rises.items() if rise < FLAT_NATS]
    lost = [f"{name} ({rise:+.2f} nats)" for name, rise in rises.items() if name not in flat]
    times = f"At {found[0].lengths[-1] // TRAINED_TOKENS} times the trained length the same bytes cost"
    if not lost:
        return f"{times} no model {FLAT_NATS} nats more than at the trained length, after this training."
    if not flat:
        return f"{times} more with all three kinds of positions: {_listed(lost)}."
    return f"{times} more with {_listed(lost)}, and not {FLAT_NATS} nats more with {_listed(flat)}."


def _listed(names: Sequence[str]) -> str:
    """Return names as a sentence lists them.

    >>> _listed(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else names[0]


def _inputs(options: AttentionOptions, *, tile_tokens: int) -> dict[str, object]:
    return {
        "heads": options.heads,
        "head_dim": options.head_dim,
        "tile_tokens": tile_tokens,
        "dtype": "fp32",
        "training_steps": options.steps,
        "trained_width": options.width,
        "trained_tokens": TRAINED_TOKENS,
        "scored_pieces": options.pieces,
    }
