"""`llmdrill lab norm`: Pre-LN against Post-LN, at initialisation beside the theory and in a small real training."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llmdrill.estimate.layer_norm import POST_LN_SQUARE, hidden_square, last_gradient_ratio
from llmdrill.experiments.growth import fitted_exponent
from llmdrill.experiments.result import Experiment, Finding, Protocol
from llmdrill.picture import Picture, Series
from llmdrill.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from llmdrill.lab.norm_run import Initial, Trained
    from llmdrill.lab.tiny_transformer import Norm

DEPTHS: Final = (4, 8, 16, 32)  # whose gradients at initialisation are compared
HEADS: Final = 4
INITIAL_PIECES: Final = 32
HELD_OUT_PIECES: Final = 128
STUCK_SHARE: Final = 0.97  # of the bytes' own entropy: a model with more loss than this has learnt frequencies alone
CURVE_POINTS: Final = 25  # of the picture
CURVE_ROWS: Final = 10
NEAR: Final = 0.2  # of an exponent of the theory
CLEAR_NATS: Final = 0.03  # a smaller difference between two single runs is not called one
NAMES: Final[dict[Norm, str]] = {"pre": "Pre-LN", "post": "Post-LN"}


@dataclass(frozen=True, slots=True)
class NormOptions:
    """What to run.

    Attributes:
        layers: Of the trained models.
        width: Of all models, and of their feed-forward: the setting of the theory.
        steps: Of each of the four trainings.
        peak_rate: Highest learning rate.
        warm_up_steps: Of the two trainings that have a warm-up.
        tokens: Of a piece of text.
        sequences: Pieces in a step.
        seeds: Models drawn for each figure at initialisation.
        depths: Layers of those; that of the trained models is read, too.
    """

    layers: int = 6
    width: int = 64
    steps: int = 150
    peak_rate: float = 6e-3
    warm_up_steps: int = 50
    tokens: int = 32
    sequences: int = 16
    seeds: int = 3
    depths: tuple[int, ...] = DEPTHS


def measure_norm(
    options: NormOptions,
    *,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
    now: Callable[[], float] = time.perf_counter,
) -> Experiment:
    """Read gradients and sizes of fresh models by depth, then train Pre-LN and Post-LN with and without a warm-up.

    Raises:
        UsageError: If no source is there to train on.

    Source:
        ``hidden_square``, ``last_gradient_ratio``: Xiong et al. 2020, arXiv:2002.04745, lemma 2 and theorem 1.
    """
    from llmdrill.lab.byte_text import byte_entropy_nats, library_text
    from llmdrill.lab.machine import this_machine
    from llmdrill.lab.norm_run import at_initialisation, train_norms
    from llmdrill.lab.tiny_transformer import TinyShape, Training

    started, machine = now(), this_machine()
    text = library_text()
    shape = TinyShape(layers=options.layers, width=options.width, heads=HEADS, feed_forward=options.width)
    say("gradients of fresh models by depth")
    drawn = {"tokens": options.tokens, "pieces": INITIAL_PIECES, "seeds": options.seeds, "seed": seed}
    initial = at_initialisation(shape, text.trained, depths=sorted({*options.depths, options.layers}), **drawn)
    plan = Training(
        steps=options.steps,
        sequences=options.sequences,
        tokens=options.tokens,
        peak_rate=options.peak_rate,
        warm_up_steps=options.warm_up_steps,
    )
    trained = train_norms(shape, text, plan, held_out_pieces=HELD_OUT_PIECES, seed=seed, say=say)
    entropy = byte_entropy_nats(text.held_out)
    return Experiment(
        name="norm",
        title="Layer normalisation before or after the residual sum",
        inputs=_inputs(options, text.modules),
        findings=(*_initial_findings(initial, options), *_training_findings(trained, entropy)),
        tables=(
            _depth_table(initial),
            _layer_table(initial, layers=options.layers),
            _trained_table(trained),
            _curve_table(trained),
        ),
        pictures=tuple(_pictures(initial, trained, options)),
        meaning=(_initial_meaning(initial), _training_meaning(trained, entropy)),
        machine=machine,
        protocol=Protocol(seed, 0, 1, machine.threads, now() - started),
        notes=(
            f"bytes of this Python's standard library; {STUCK_SHARE:.0%} of their entropy or more counts as stuck",
            f"one seed and {options.tokens * options.sequences} bytes a step: the order of near losses means nothing",
        ),
    )


def _initial_findings(initial: Mapping[Norm, Sequence[Initial]], options: NormOptions) -> Iterator[Finding]:
    depths = [one.layers for one in initial["pre"]]
    for norm, name in NAMES.items():
        gradients = [one.last_gradient for one in initial[norm]]
        ratios = [last_gradient_ratio(norm, layers=depth, than_layers=depths[0]) for depth in depths]
        note = (
            f"power of the depth with which the last layer's gradient changes from {depths[0]} to {depths[-1]} layers"
        )
        formula = f"{name}: gradient ∝ {'1 / √layers' if norm == 'pre' else '1, whatever the depth'}"
        yield Finding(
            f"{norm}_gradient_exponent_ratio",
            fitted_exponent(depths, gradients),
            fitted_exponent(depths, ratios),
            n=len(depths) * options.seeds,
            formula=formula,
            note=note,
        )
    for norm in NAMES:
        deepest = initial[norm][-1]
        note = f"gradient of the last layer / of the first, {deepest.layers} layers"
        ratio = deepest.last_gradient / deepest.gradient_norms[0]
        yield Finding(f"{norm}_last_over_first_ratio", ratio, n=options.seeds, note=note)
    pre, post = initial["pre"][-1], initial["post"][-1]
    within = [_within_lemma(layer, square) for layer, square in enumerate(pre.squared_norms, start=1)]
    low, high = (hidden_square(layers=pre.layers, attention_share=share) for share in (0, 1))
    yield Finding(
        "pre_sizes_within_lemma_share",
        sum(within) / len(within),
        1.0,
        n=len(within),
        formula=f"mean square after {pre.layers} layers between {low:g} and {high:g}",
        note=f"of layers; measured after the last: {pre.squared_norms[-1]:.3g}",
    )
    mean = sum(post.squared_norms) / len(post.squared_norms)
    formula, note = "1 + 1/2: normed input and feed-forward", "mean square before each second normalisation"
    yield Finding("post_square_ratio", mean, POST_LN_SQUARE, n=post.layers, formula=formula, note=note)


def _within_lemma(layer: int, square: float) -> bool:
    low, high = (hidden_square(layers=layer, attention_share=share) for share in (0, 1))
    return low <= square <= high


def _training_findings(trained: Sequence[Trained], entropy: float) -> Iterator[Finding]:
    note = "a byte: the loss of knowing how often each byte occurs, and nothing else"
    yield Finding("byte_entropy_nats", entropy, n=1, note=note)
    for one in trained:
        note = f"held-out loss a byte after {len(one.losses)} steps, {_warm_up(one)}"
        note = f"{note}{'; no more than the frequencies of bytes' if _stuck(one, entropy) else ''}"
        yield Finding(f"{_key(one)}_nats", one.held_out_nats, n=HELD_OUT_PIECES, weights_matter=True, note=note)


def _stuck(one: Trained, entropy: float) -> bool:
    return not one.held_out_nats < STUCK_SHARE * entropy  # NaN of a run that diverged is stuck, too


def _key(one: Trained) -> str:
    return f"{one.norm}_{'warm_up' if one.warm_up_steps else 'no_warm_up'}"


def _warm_up(one: Trained) -> str:
    return f"{one.warm_up_steps} of them warm-up" if one.warm_up_steps else "no warm-up"


def _depth_table(initial: Mapping[Norm, Sequence[Initial]]) -> Table:
    columns = ("layers", "pre_gradient", "pre_theory_gradient", "post_gradient", "post_theory_gradient")
    first = {norm: initial[norm][0] for norm in NAMES}
    rows = []
    for at, depth in enumerate(one.layers for one in initial["pre"]):
        row: list[float] = [depth]
        for norm in NAMES:
            ratio = last_gradient_ratio(norm, layers=depth, than_layers=first[norm].layers)
            row += [round(initial[norm][at].last_gradient, 4), round(first[norm].last_gradient * ratio, 4)]
        rows.append(tuple(row))
    note = "Frobenius norm of the last layer's second feed-forward matrix; the theory starts from the first row"
    return Table("gradient by depth", columns, tuple(rows), note)


def _layer_table(initial: Mapping[Norm, Sequence[Initial]], *, layers: int) -> Table:
    pre, post = (next(one for one in initial[norm] if one.layers == layers) for norm in ("pre", "post"))
    columns = ("layer", "lemma_low", "pre_square", "lemma_high", "post_square", "pre_gradient", "post_gradient")
    rows = []
    for layer in range(1, layers + 1):
        low, high = (hidden_square(layers=layer, attention_share=share) for share in (0, 1))
        squares = _at(pre.squared_norms, layer), high, _at(post.squared_norms, layer)
        rows.append((layer, low, *squares, *(_at(one.gradient_norms, layer) for one in (pre, post))))
    return Table("layers", columns, tuple(rows), "fresh models as deep as the trained ones, layer 1 at the input")


def _trained_table(trained: Sequence[Trained]) -> Table:
    rows = tuple(
        (layer, *(_at(one.gradient_norms, layer) for one in trained))
        for layer in range(1, len(trained[0].gradient_norms) + 1)
    )
    columns = ("layer", *(_key(one) for one in trained))
    return Table("gradients after training", columns, rows, "norm by layer, on held-out text")


def _at(values: Sequence[float], layer: int) -> float:
    return round(values[layer - 1], 4)


def _curve_table(trained: Sequence[Trained]) -> Table:
    curves = [one.smoothed(CURVE_ROWS) for one in trained]
    rows = tuple((step, *(round(curve.losses[at], 4) for curve in curves)) for at, step in enumerate(curves[0].steps))
    return Table("loss", ("step", *(f"{_key(one)}_nats" for one in trained)), rows, "means over the steps up to each")


def _pictures(
    initial: Mapping[Norm, Sequence[Initial]], trained: Sequence[Trained], options: NormOptions
) -> Iterator[Picture]:
    deepest = [(name, initial[norm][-1]) for norm, name in NAMES.items()]
    gradients = tuple(
        Series(name, tuple(float(layer) for layer in range(1, one.layers + 1)), one.gradient_norms)
        for name, one in deepest
    )
    title = f"Gradient by layer at initialisation, {deepest[0][1].layers} layers"
    yield Picture(title, "layer, 1 at the input", "norm", gradients)
    curves = tuple(
        Series(f"{NAMES[one.norm]}, {'warm-up' if one.warm_up_steps else 'none'}", curve.at, curve.losses)
        for one in trained
        for curve in (one.smoothed(CURVE_POINTS),)
    )
    yield Picture(f"Loss at a peak rate of {options.peak_rate:g}", "step", "nats a byte", curves)


def _initial_meaning(initial: Mapping[Norm, Sequence[Initial]]) -> str:
    depths = [one.layers for one in initial["pre"]]
    falls, holds = (
        fitted_exponent(depths, [one.last_gradient for one in initial[norm]]) or 0.0 for norm in ("pre", "post")
    )
    if abs(falls + 0.5) < NEAR and abs(holds) < NEAR:
        agreed = "near what the theorem says"
    else:
        agreed = "in the theorem's direction" if falls < holds else "not as the theorem says"
    return (
        f"At initialisation the last layer's gradient goes with depth to the power {falls:.2f} in Pre-LN (theory -0.5)"
        f" and {holds:.2f} in Post-LN (theory 0), {agreed}: Post-LN gives the layer at the output"
        f" {initial['post'][-1].last_gradient / initial['pre'][-1].last_gradient:.2g} times the gradient at"
        f" {depths[-1]} layers."
    )


def _training_meaning(trained: Sequence[Trained], entropy: float) -> str:
    found = {_key(one): one for one in trained}
    pre, plain, warm = found["pre_no_warm_up"], found["post_no_warm_up"], found["post_warm_up"]
    helped = ""
    if not _stuck(plain, entropy) and not _stuck(warm, entropy):
        gap = plain.held_out_nats - warm.held_out_nats
        helps = "helped" if gap > CLEAR_NATS else "cost" if gap < -CLEAR_NATS else "made no clear difference to"
        helped = f", where a warm-up {helps} it"
    return (
        f"At a peak rate that all four runs shared, Pre-LN without a warm-up {_reached(pre, entropy)}; Post-LN"
        f" {_reached(plain, entropy)} without one and {_reached(warm, entropy)} with it{helped}."
    )


def _reached(one: Trained, entropy: float) -> str:
    if _stuck(one, entropy):
        return f"learnt no more than byte frequencies ({entropy:.2f})"
    return f"reached {one.held_out_nats:.2f} nats a byte"


def _inputs(options: NormOptions, modules: int) -> dict[str, object]:
    return {
        "layers": options.layers,
        "width": options.width,
        "heads": HEADS,
        "training_steps": options.steps,
        "peak_rate": options.peak_rate,
        "warm_up_steps": options.warm_up_steps,
        "step_tokens": options.tokens * options.sequences,
        "models_per_depth": options.seeds,
        "depths_layers": list(options.depths),
        "text_modules": modules,
    }
