"""`llmdrill lab moe`: a layer of experts against its dense twins, and its routing, beside the closed forms."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llmdrill.errors import UsageError
from llmdrill.estimate.flops import matmul_parameters
from llmdrill.experiments.growth import multiples
from llmdrill.experiments.moe_forms import Forms
from llmdrill.experiments.moe_parts import (
    flops_findings,
    load_table,
    pictures,
    read_table,
    routing_findings,
    time_findings,
    time_table,
    tokens_text,
    worst_pair,
)
from llmdrill.experiments.result import Experiment, Protocol
from llmdrill.measurement import RANDOM_WEIGHTS_NOTE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmdrill.lab.moe_run import LayerReading, TrainedLayers

BALANCE_WEIGHT: Final = 0.01  # Fedus et al. 2021 (Switch), arXiv:2101.03961, section 2.2
TRAINED_LAYERS: Final = 2
TRAINED_WIDTH: Final = 64
TRAINED_HIDDEN: Final = 64  # inner width of one expert of the trained model
HELD_OUT_PIECES: Final = 64
CLEARLY: Final = 0.95  # of the other load: under this the balancing loss is said to even the loads
CLEAR_NATS: Final = 0.03  # a smaller difference between two single runs is not called one


@dataclass(frozen=True, slots=True)
class MoeOptions:
    """What to run.

    Attributes:
        width: Of the timed layers.
        hidden: Inner width of one expert of the timed layer.
        experts: How many there are, timed and trained.
        per_token: How many a token goes to.
        most_tokens: Of the timed batches; they double from 1.
        steps: Of each training.
    """

    width: int = 512
    hidden: int = 1024
    experts: int = 8
    per_token: int = 2
    most_tokens: int = 256
    steps: int = 120
    repeats: int = 7

    def __post_init__(self) -> None:
        if self.per_token > self.experts:
            raise UsageError(f"--per-token {self.per_token}: there are only {self.experts} experts")


def measure_moe(
    options: MoeOptions,
    *,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
    now: Callable[[], float] = time.perf_counter,
) -> Experiment:
    """Time a layer of experts and its dense twins by number of tokens, then train four tiny models on real text.

    Raises:
        UsageError: If a token would go to more experts than there are, or no source is there to train on.

    Source:
        ``read_parameters``, ``matmul_parameters``; the balancing loss: Fedus et al. 2021, arXiv:2101.03961, eq. 4.
    """
    from llmdrill.lab.machine import this_machine
    from llmdrill.lab.moe_run import ExpertShape, measure_layers

    started, machine = now(), this_machine()
    batches = multiples(1, options.most_tokens)
    shape = ExpertShape(options.width, options.hidden, options.experts, options.per_token)
    say("timing the layers by number of tokens")
    readings = measure_layers(shape, batches=batches, repeats=options.repeats, seed=seed, now=now)
    trained = _train(options, batches, seed=seed, say=say)
    forms = Forms(shape)
    return Experiment(
        name="moe",
        title="A mixture-of-experts layer against its dense twins",
        inputs=_inputs(options, trained),
        findings=(
            *flops_findings(readings, forms),
            *time_findings(readings, forms),
            *routing_findings(trained, forms, pieces=HELD_OUT_PIECES),
        ),
        tables=(time_table(readings), read_table(readings, trained, forms), load_table(trained)),
        pictures=tuple(pictures(readings, trained, forms)),
        meaning=(_work_meaning(readings, forms), _routing_meaning(trained)),
        machine=machine,
        protocol=Protocol(seed, 2, options.repeats, machine.threads, now() - started),
        notes=(
            f"timed layers: {RANDOM_WEIGHTS_NOTE}; their tokens are independent, so routing is even",
            f"trained models: {TRAINED_LAYERS} layers, {TRAINED_WIDTH} wide, bytes of this Python's standard library",
            "one seed each, so small differences in loss mean nothing",
        ),
    )


def _train(options: MoeOptions, batches: Sequence[int], *, seed: int, say: Callable[[str], None]) -> TrainedLayers:
    from llmdrill.lab.byte_text import library_text
    from llmdrill.lab.moe_run import train_layers
    from llmdrill.lab.tiny_transformer import TinyShape, Training

    shape = TinyShape(
        layers=TRAINED_LAYERS,
        width=TRAINED_WIDTH,
        feed_forward=TRAINED_HIDDEN,
        experts=options.experts,
        per_token=options.per_token,
    )
    return train_layers(
        shape,
        library_text(),
        Training(steps=options.steps, sequences=16),
        weights=(0.0, BALANCE_WEIGHT),
        batches=[batch for batch in batches if batch <= HELD_OUT_PIECES],
        held_out_pieces=HELD_OUT_PIECES,
        seed=seed,
        say=say,
    )


def _work_meaning(readings: Sequence[LayerReading], forms: Forms) -> str:
    stored = forms.record("experts").parameters or 0
    active = matmul_parameters(forms.experts)
    experts, dense = worst_pair(readings)
    ratio = experts.timing.median_s / dense.timing.median_s
    if ratio <= 1:
        end = "and it is never slower than the dense layer of the same FLOPs"
    else:
        end = (
            f"but at {tokens_text(experts.tokens)} it reads {experts.read_bytes / dense.read_bytes:.2g} times the"
            f" weights of the dense layer and takes {ratio:.3g} times its time"
        )
    return (
        f"The layer stores {stored / active:.2g} times the parameters that a token uses, and does the FLOPs of a small"
        f" dense layer and of its router, {end}."
    )


def _routing_meaning(trained: TrainedLayers) -> str:
    unbalanced, balanced = trained.balances
    ratio = balanced.largest_over_mean / unbalanced.largest_over_mean
    better = "evens the loads" if ratio < CLEARLY else "does not clearly even the loads"
    change = balanced.held_out_nats - unbalanced.held_out_nats
    dense = trained.dense_nats["dense_same_flops"]
    gap = balanced.held_out_nats - dense
    against = "about as good as" if abs(gap) < CLEAR_NATS else "better than" if gap < 0 else "no better than"
    return (
        f"In this short training the balancing loss {better}: the fullest expert gets"
        f" {balanced.largest_over_mean:.2f} times its share against {unbalanced.largest_over_mean:.2f} without it, at"
        f" {change:+.3f} nats a byte, and the balanced experts are {against} the dense model of the same FLOPs"
        f" ({balanced.held_out_nats:.3f} against {dense:.3f})."
    )


def _inputs(options: MoeOptions, trained: TrainedLayers) -> dict[str, object]:
    return {
        "width": options.width,
        "expert_hidden": options.hidden,
        "experts": options.experts,
        "experts_per_token": options.per_token,
        "dtype": "fp32",
        "training_steps": options.steps,
        "balance_weight": BALANCE_WEIGHT,
        "trained_parameters": dict(trained.parameters),
    }
