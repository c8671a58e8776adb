"""`llmdrill lab moe`: a layer of experts against its dense twins, and its routing, beside the closed forms."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from llmdrill.catalog.architecture import AttentionShape, Experts, ModelRecord
from llmdrill.errors import UsageError
from llmdrill.estimate.explain import figure
from llmdrill.estimate.flops import matmul_parameters
from llmdrill.estimate.serving_work import read_parameters
from llmdrill.experiments.result import Experiment, Finding, Protocol
from llmdrill.picture import Picture, Series
from llmdrill.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from llmdrill.lab.moe_run import Balance, ExpertShape, Layer, LayerReading, TrainedLayers

BYTES_PER_VALUE: Final = 4  # fp32
BALANCE_WEIGHT: Final = 0.01  # Fedus et al. 2021 (Switch), arXiv:2101.03961, section 2.2
TRAINED_LAYERS: Final = 2
TRAINED_WIDTH: Final = 64
TRAINED_HIDDEN: Final = 64  # inner width of one expert of the trained model
HELD_OUT_PIECES: Final = 64
CLEARLY: Final = 0.95  # of the other load: under this the balancing loss is said to even the loads
TEXT_BATCH_TOKENS: Final = 8  # consecutive bytes whose experts are set beside the closed form
NAMES: Final[dict[Layer, str]] = {
    "experts": "experts",
    "dense_same_flops": "dense, same FLOPs",
    "dense_same_parameters": "dense, same parameters",
}


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
    batches = _powers(options.most_tokens)
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
            *_work_findings(readings, forms),
            *_time_findings(readings, forms),
            *_routing_findings(trained, forms),
        ),
        tables=(_time_table(readings), _read_table(readings, trained, forms), _load_table(trained)),
        pictures=tuple(_pictures(readings, trained, forms)),
        meaning=(_work_meaning(readings, forms), _routing_meaning(trained)),
        machine=machine,
        protocol=Protocol(seed, 2, options.repeats, machine.threads, now() - started),
        notes=(
            "timed layers: random weights: latency and memory only; their tokens are independent, so routing is even",
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


class Forms:
    """What closed forms say of the layer of experts and its dense twins."""

    def __init__(self, shape: ExpertShape) -> None:
        self.shape = shape
        expert, router = 2 * shape.width * shape.hidden, shape.experts * shape.width
        stored = router + shape.experts * expert
        self.experts = ModelRecord(
            name="the layer of experts",
            kind="decoder",
            attention=AttentionShape(layers=0, kv_heads=0, head_dim=0),
            layers=1,
            hidden=shape.width,
            parameters=stored,
            active_parameters=router + shape.per_token * expert,
            embedding_parameters=0,
            tied_embeddings=True,
            vocab_size=0,
            max_context_tokens=None,
            source="the shape of its tensors",
            date=None,
            experts=Experts(count=shape.experts, per_token=shape.per_token, parameters=shape.experts * expert),
        )

    def record(self, layer: Layer) -> ModelRecord:
        """Return the layer as the estimate knows architectures."""
        if layer == "experts":
            return self.experts
        count = 2 * self.shape.width * self.shape.hidden_of(layer)
        return replace(self.experts, name=layer, parameters=count, active_parameters=count, experts=None)

    def flops(self, layer: Layer, *, tokens: int = 1) -> float:
        return 2 * matmul_parameters(self.record(layer)) * tokens

    def read_bytes(self, layer: Layer, *, tokens: int) -> float:
        return BYTES_PER_VALUE * read_parameters(self.record(layer), tokens=tokens)

    def read_share(self, *, tokens: int) -> float:
        """Return the share of the experts that so many independent tokens are expected to touch."""
        router = self.shape.experts * self.shape.width
        experts = self.experts.experts
        return (read_parameters(self.experts, tokens=tokens) - router) / experts.parameters if experts else 0.0

    def read_filled(self, *, tokens: int) -> str:
        count, chosen = self.shape.experts, self.shape.per_token
        share = figure(self.read_share(tokens=tokens))
        return f"1 - (1 - {chosen} / {count})^{tokens} = {share} of the experts are touched"


def _powers(most: int) -> list[int]:
    """Return 1 and its doublings up to ``most``.

    >>> _powers(9)
    [1, 2, 4, 8]
    """
    return [2**power for power in range(most.bit_length())]


def _of(readings: Sequence[LayerReading], layer: Layer) -> list[LayerReading]:
    return [one for one in readings if one.layer == layer]


def _work_findings(readings: Sequence[LayerReading], forms: Forms) -> Iterator[Finding]:
    for layer in NAMES:
        last = _of(readings, layer)[-1]
        parameters = figure(matmul_parameters(forms.record(layer)))
        formula = f"2 × {parameters} = {figure(forms.flops(layer))} FLOP"
        note = "of one token, counted from the matrix products that torch ran"
        yield Finding(f"{layer}_flops", last.flops / last.tokens, forms.flops(layer), n=1, formula=formula, note=note)
    for name, at in (("one_token", 0), ("most_tokens", -1)):
        one = _of(readings, "experts")[at]
        predicted, formula = forms.read_bytes("experts", tokens=one.tokens), forms.read_filled(tokens=one.tokens)
        note = f"of weights, by the experts that {_tokens(one.tokens)} touched, mean of the repeats"
        n = len(one.timing.seconds)
        yield Finding(f"{name}_read_bytes", one.read_bytes, predicted, n=n, formula=formula, note=note)


def _time_findings(readings: Sequence[LayerReading], forms: Forms) -> Iterator[Finding]:
    """Compare times: where weights must be read, bytes should decide; with many tokens, FLOPs."""
    experts = _of(readings, "experts")
    for layer in ("dense_same_flops", "dense_same_parameters"):
        dense = _of(readings, layer)
        for name, at in (("one_token", 0), ("most_tokens", -1)):
            tokens = experts[at].tokens
            ratio = experts[at].timing.median_s / dense[at].timing.median_s
            work = forms.flops if at else forms.read_bytes
            predicted = work("experts", tokens=tokens) / work(layer, tokens=tokens)
            what = "FLOPs" if at else "bytes"
            formula = f"{what}: {_ratio(work('experts', tokens=tokens), work(layer, tokens=tokens))}"
            note = f"seconds of experts / {NAMES[layer]}, {_tokens(tokens)}"
            yield Finding(
                f"{name}_over_{layer}_ratio",
                ratio,
                predicted,
                n=len(dense[at].timing.seconds),
                formula=formula,
                note=note,
            )
    worst, tokens = _worst(readings)
    yield Finding("worst_over_dense_same_flops_ratio", worst, n=len(experts), note=f"at {_tokens(tokens)}")


def _worst(readings: Sequence[LayerReading]) -> tuple[float, int]:
    """Return the largest ratio of seconds to the dense twin of the same FLOPs, and at how many tokens it is."""
    pairs = zip(_of(readings, "experts"), _of(readings, "dense_same_flops"), strict=True)
    return max((one.timing.median_s / other.timing.median_s, one.tokens) for one, other in pairs)


def _routing_findings(trained: TrainedLayers, forms: Forms) -> Iterator[Finding]:
    for balance in trained.balances:
        name = _name(balance)
        note = "load of the fullest expert / an even load, mean over layers, held-out text"
        yield Finding(
            f"{name}_load_ratio", balance.largest_over_mean, 1.0 if balance.balance_weight else None,
            n=len(balance.load_shares), weights_matter=True, note=note,
        )  # fmt: skip
        note = "experts with under a tenth of an even load, over all layers"
        yield Finding(
            f"{name}_idle_experts", balance.idle_experts, n=len(balance.load_shares), weights_matter=True, note=note
        )
        yield Finding(f"{name}_held_out_nats", balance.held_out_nats, n=HELD_OUT_PIECES, weights_matter=True)
        at = min(TEXT_BATCH_TOKENS, balance.batches[-1])
        note = f"of the experts, touched by {_tokens(at)} in a row of held-out text; predicted for independent ones"
        yield Finding(
            f"{name}_text_read_share", _touched(balance, at), forms.read_share(tokens=at),
            n=HELD_OUT_PIECES, formula=forms.read_filled(tokens=at), weights_matter=True, note=note,
        )  # fmt: skip
    for layer, nats in trained.dense_nats.items():
        note = f"a byte; {trained.parameters[layer]} parameters, the model of experts {trained.parameters['experts']}"
        yield Finding(f"{layer}_held_out_nats", nats, n=HELD_OUT_PIECES, weights_matter=True, note=note)


def _time_table(readings: Sequence[LayerReading]) -> Table:
    columns = ("tokens", *(f"{layer}_ms" for layer in NAMES), "over_same_flops_ratio", "over_same_parameters_ratio")
    rows = []
    for experts, flops, parameters in zip(*(_of(readings, layer) for layer in NAMES), strict=True):
        times = [one.timing.median_s for one in (experts, flops, parameters)]
        ratios = [round(times[0] / one, 3) for one in times[1:]]
        rows.append((experts.tokens, *(round(1000 * one, 4) for one in times), *ratios))
    return Table(
        "time", columns, tuple(rows), "one layer, medians of repeats taken in turn; ratios are experts / dense"
    )


def _read_table(readings: Sequence[LayerReading], trained: TrainedLayers, forms: Forms) -> Table:
    names = [f"text_{_name(one)}_share" for one in trained.balances]
    columns = ("tokens", "predicted_share", "independent_share", *names, "read_bytes", "predicted_bytes")
    rows = []
    for one in _of(readings, "experts"):
        share = (one.touched_experts or 0) / forms.shape.experts
        texts = [_touched(balance, one.tokens) for balance in trained.balances]
        rows.append(
            (
                one.tokens,
                round(forms.read_share(tokens=one.tokens), 4),
                round(share, 4),
                *texts,
                round(one.read_bytes),
                round(forms.read_bytes("experts", tokens=one.tokens)),
            )
        )
    note = (
        "share of experts touched: independent tokens in the timed layer, and consecutive bytes of text in the trained"
    )
    return Table("experts read", columns, tuple(rows), note)


def _touched(balance: Balance, tokens: int) -> float | None:
    found = dict(zip(balance.batches, balance.touched_shares, strict=True))
    return round(found[tokens], 4) if tokens in found else None


def _load_table(trained: TrainedLayers) -> Table:
    columns = ("layer", "expert", *(f"{_name(one)}_share" for one in trained.balances))
    loads = [one.load_shares for one in trained.balances]
    rows = tuple(
        (layer, expert, *(round(load[layer - 1][expert - 1], 4) for load in loads))
        for layer in range(1, len(loads[0]) + 1)
        for expert in range(1, len(loads[0][0]) + 1)
    )
    return Table("loads", columns, rows, f"share of assignments on held-out text; even is {1 / len(loads[0][0]):.4g}")


def _pictures(readings: Sequence[LayerReading], trained: TrainedLayers, forms: Forms) -> Iterator[Picture]:
    series = tuple(
        Series(
            name,
            tuple(float(one.tokens) for one in _of(readings, layer)),
            tuple(1000 * one.timing.median_s for one in _of(readings, layer)),
        )
        for layer, name in NAMES.items()
    )
    yield Picture("One layer by number of tokens", "tokens", "milliseconds", series, log_x=True, log_y=True)
    x = tuple(float(one.tokens) for one in _of(readings, "experts"))
    shares = [
        Series("closed form", x, tuple(forms.read_share(tokens=round(one)) for one in x)),
        *(
            Series(f"text, {_name(one)}", tuple(float(at) for at in one.batches), one.touched_shares)
            for one in trained.balances
        ),
    ]
    yield Picture("Experts read by a batch", "tokens", "share of the experts", tuple(shares), log_x=True)


def _name(balance: Balance) -> str:
    return "balanced" if balance.balance_weight else "unbalanced"


def _tokens(count: int) -> str:
    return "1 token" if count == 1 else f"{count} tokens"


def _ratio(one: float, other: float) -> str:
    return f"{figure(one)} / {figure(other)} = {figure(one / other)}"


def _work_meaning(readings: Sequence[LayerReading], forms: Forms) -> str:
    stored = forms.record("experts").parameters or 0
    active = matmul_parameters(forms.experts)
    worst, tokens = _worst(readings)
    share = forms.read_share(tokens=tokens)
    if worst <= 1:
        end = "and it is never slower than the dense layer of the same FLOPs"
    elif share > 0.5:
        end = (
            f"but at {_tokens(tokens)}, which touch {share:.0%} of the experts, it takes {worst:.3g} times the dense"
            " layer's time"
        )
    else:
        end = (
            f"but at {_tokens(tokens)}, which touch no more than {share:.0%} of the experts, routing makes it take"
            f" {worst:.3g} times the dense layer's time"
        )
    return (
        f"The layer stores {stored / active:.2g} times the parameters that a token uses and does the FLOPs of the small"
        f" dense layer, {end}."
    )


def _routing_meaning(trained: TrainedLayers) -> str:
    unbalanced, balanced = trained.balances
    ratio = balanced.largest_over_mean / unbalanced.largest_over_mean
    better = "evens the loads" if ratio < CLEARLY else "does not clearly even the loads"
    change = balanced.held_out_nats - unbalanced.held_out_nats
    dense = trained.dense_nats["dense_same_flops"]
    against = "better than" if balanced.held_out_nats < dense else "no better than"
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
