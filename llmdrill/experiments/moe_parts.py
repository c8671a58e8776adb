"""The parts of `llmdrill lab moe`: what was found, as findings, tables and pictures."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from llmdrill.estimate.explain import figure
from llmdrill.estimate.flops import matmul_parameters
from llmdrill.experiments.result import Finding, over_rounds
from llmdrill.picture import Picture, Series
from llmdrill.table import Table
from llmdrill.units import MS_PER_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmdrill.experiments.moe_forms import Forms
    from llmdrill.lab.moe_run import Balance, Layer, LayerReading, TrainedLayers

TEXT_BATCH_TOKENS: Final = 8  # consecutive bytes whose experts are set beside the closed form
OVERFLOW_NOTE: Final = "of assignments beyond 1.25 times an even load, which Switch would drop; here none is dropped"
NAMES: Final[dict[Layer, str]] = {
    "experts": "experts",
    "dense_same_flops": "dense, same FLOPs",
    "dense_same_parameters": "dense, same parameters",
}
WORK: Final[dict[Layer, str]] = {  # what the figure of its operations is called
    "experts": "experts_flops",
    "dense_same_flops": "narrow_dense_flops",
    "dense_same_parameters": "wide_dense_flops",
}


def _of(readings: Sequence[LayerReading], layer: Layer) -> list[LayerReading]:
    return [one for one in readings if one.layer == layer]


def flops_findings(readings: Sequence[LayerReading], forms: Forms) -> Iterator[Finding]:
    """Set the operations that torch counted and the bytes that were read beside the closed forms."""
    for layer in NAMES:
        last = _of(readings, layer)[-1]
        parameters = figure(matmul_parameters(forms.record(layer)))
        formula = f"2 × {parameters} = {figure(forms.flops(layer))} FLOP"
        note = f"of one token, {NAMES[layer]}, counted from the matrix products that torch ran"
        note = f"{note}, the router's too" if layer == "experts" else note
        yield Finding(WORK[layer], last.flops / last.tokens, forms.flops(layer), n=1, formula=formula, note=note)
    for name, at in (("one_token", 0), ("most_tokens", -1)):
        one = _of(readings, "experts")[at]
        predicted, formula = forms.read_bytes("experts", tokens=one.tokens), forms.read_filled(tokens=one.tokens)
        note = f"of weights, by the experts that {tokens_text(one.tokens)} touched, mean of the repeats"
        n = len(one.timing.seconds)
        yield Finding(f"{name}_read_bytes", one.read_bytes, predicted, n=n, formula=formula, note=note)


def time_findings(readings: Sequence[LayerReading], forms: Forms) -> Iterator[Finding]:
    """Compare times: where weights must be read, bytes should decide; with many tokens, FLOPs."""
    experts = _of(readings, "experts")
    for layer in ("dense_same_flops", "dense_same_parameters"):
        dense = _of(readings, layer)
        for name, at in (("one_token", 0), ("most_tokens", -1)):
            tokens = experts[at].tokens
            work = forms.flops if at else forms.read_bytes
            predicted = work("experts", tokens=tokens) / work(layer, tokens=tokens)
            what = "FLOPs" if at else "bytes"
            formula = f"{what}: {_ratio(work('experts', tokens=tokens), work(layer, tokens=tokens))}"
            note = f"seconds of experts / {NAMES[layer]}, {tokens_text(tokens)}; low and high: of single rounds"
            measured, rounds = _slower(experts[at], dense[at]), experts[at].timing.over(dense[at].timing)
            ratio = over_rounds(f"{name}_over_{layer}_ratio", rounds, measured=measured, formula=formula, note=note)
            yield replace(ratio, predicted=predicted)
    one, other = worst_pair(readings)
    note = f"at {tokens_text(one.tokens)}"
    yield Finding("worst_over_dense_same_flops_ratio", _slower(one, other), n=len(experts), note=note)


def _slower(one: LayerReading, other: LayerReading) -> float:
    return one.timing.median_s / other.timing.median_s


def worst_pair(readings: Sequence[LayerReading]) -> tuple[LayerReading, LayerReading]:
    """Return the experts and their dense twin of the same FLOPs at the number of tokens where they are slowest."""
    pairs = zip(_of(readings, "experts"), _of(readings, "dense_same_flops"), strict=True)
    return max(pairs, key=lambda pair: _slower(*pair))


def routing_findings(trained: TrainedLayers, forms: Forms, *, pieces: int) -> Iterator[Finding]:
    """Tell how even the routing of held-out text is, and what each model makes of it."""
    for balance in trained.balances:
        name = _name(balance)
        for quantity, measured, note in (
            ("load_ratio", balance.largest_over_mean, "load of the fullest expert / an even load, held-out text"),
            ("idle_experts", balance.idle_experts, "experts with under a tenth of an even load, over all layers"),
            ("overflow_share", balance.overflow_share, OVERFLOW_NOTE),
        ):
            n = len(balance.load_shares)
            yield Finding(f"{name}_{quantity}", measured, n=n, weights_matter=True, note=note)
        note = (
            f"loss a byte of held-out text, experts trained {'with' if balance.balance_weight else 'without'} balancing"
        )
        yield Finding(f"{name}_held_out_nats", balance.held_out_nats, n=pieces, weights_matter=True, note=note)
        at = min(TEXT_BATCH_TOKENS, balance.batches[-1])
        note = f"of the experts, touched by {tokens_text(at)} in a row of held-out text; predicted for independent ones"
        yield Finding(
            f"{name}_text_read_share", _touched(balance, at), forms.read_share(tokens=at),
            n=pieces, formula=forms.read_filled(tokens=at), weights_matter=True, note=note,
        )  # fmt: skip
    for layer, nats in trained.dense_nats.items():
        note = f"a byte; {trained.parameters[layer]} parameters, the model of experts {trained.parameters['experts']}"
        yield Finding(f"{layer}_held_out_nats", nats, n=pieces, weights_matter=True, note=note)


def time_table(readings: Sequence[LayerReading]) -> Table:
    """Show seconds by number of tokens."""
    columns = ("tokens", *(f"{layer}_ms" for layer in NAMES), "over_same_flops_ratio", "over_same_parameters_ratio")
    rows = []
    for experts, flops, parameters in zip(*(_of(readings, layer) for layer in NAMES), strict=True):
        times = [one.timing.median_s for one in (experts, flops, parameters)]
        ratios = [round(times[0] / one, 3) for one in times[1:]]
        rows.append((experts.tokens, *(round(MS_PER_S * one, 4) for one in times), *ratios))
    return Table(
        "time", columns, tuple(rows), "one layer, medians of repeats taken in turn; ratios are experts / dense"
    )


def read_table(readings: Sequence[LayerReading], trained: TrainedLayers, forms: Forms) -> Table:
    """Show how many experts a batch reads."""
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


def load_table(trained: TrainedLayers) -> Table:
    """Show what each expert gets."""
    columns = ("layer", "expert", *(f"{_name(one)}_share" for one in trained.balances))
    loads = [one.load_shares for one in trained.balances]
    rows = tuple(
        (layer, expert, *(round(load[layer - 1][expert - 1], 4) for load in loads))
        for layer in range(1, len(loads[0]) + 1)
        for expert in range(1, len(loads[0][0]) + 1)
    )
    return Table("loads", columns, rows, f"share of assignments on held-out text; even is {1 / len(loads[0][0]):.4g}")


def pictures(readings: Sequence[LayerReading], trained: TrainedLayers, forms: Forms) -> Iterator[Picture]:
    """Draw time and experts read, by number of tokens."""
    series = tuple(
        Series(
            name,
            tuple(float(one.tokens) for one in _of(readings, layer)),
            tuple(MS_PER_S * one.timing.median_s for one in _of(readings, layer)),
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


def tokens_text(count: int) -> str:
    """Return a number of tokens in words."""
    return "1 token" if count == 1 else f"{count} tokens"


def _ratio(one: float, other: float) -> str:
    return f"{figure(one)} / {figure(other)} = {figure(one / other)}"
