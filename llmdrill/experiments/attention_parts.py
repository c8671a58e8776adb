"""The parts of `llmdrill lab attention`: what each found, as findings, tables and pictures."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llmdrill.estimate.attention import (
    EXAMPLE_KEYS,
    EXAMPLE_QUERIES,
    EXAMPLE_VALUES,
    attend,
    attention_matrix_flops,
    dot_product_variance,
    draw_dot_products,
    projection_flops,
)
from llmdrill.estimate.attention_memory import score_matrix_bytes, tiled_attention_bytes
from llmdrill.estimate.explain import figure
from llmdrill.experiments.growth import fitted_exponent, why_no_exponent
from llmdrill.experiments.result import Finding, over_rounds
from llmdrill.picture import Picture, Series
from llmdrill.table import Table
from llmdrill.units import MS_PER_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmdrill.catalog.architecture import AttentionShape
    from llmdrill.estimate.attention import Drawn, Matrix
    from llmdrill.lab.attention_positions import Extrapolation
    from llmdrill.lab.attention_scaling import Scaling, Steps
    from llmdrill.lab.attention_tiling import GrowthReading
    from llmdrill.lab.clock import Timing
    from llmdrill.lab.tiny_transformer import Positions

DRAWN_ROWS: Final = 60  # of the calculator's draws, in plain Python
BYTES_PER_VALUE: Final = 4  # fp32
SHORTEST_FITTED_TOKENS: Final = 512  # below, dispatch hides how the work grows
NAMES: Final[dict[Positions, str]] = {"sinusoidal": "sinusoidal", "rope": "RoPE", "alibi": "ALiBi"}


@dataclass(frozen=True, slots=True)
class Part:
    """What one part of the experiment found."""

    findings: tuple[Finding, ...]
    tables: tuple[Table, ...]
    pictures: tuple[Picture, ...] = ()


def example_part(steps: Steps) -> Part:
    """Set torch's numbers of the worked example beside those of `llmdrill calc attention`."""
    by_hand = attend(EXAMPLE_QUERIES, EXAMPLE_KEYS, EXAMPLE_VALUES)
    pairs = [(steps.scores, by_hand.scores), (steps.weights, by_hand.weights), (steps.output, by_hand.output)]
    largest = max(_gap(one, other) for one, other in pairs)
    note = "largest gap between torch and the numbers by hand: scores, weights, output of the 4 × 4 example"
    finding = Finding("example_difference_ratio", largest, n=sum(len(one) * len(one[0]) for one, _ in pairs), note=note)
    columns = ("token", *(f"weight_{at}" for at in range(1, 5)), *(f"output_{at}" for at in range(1, 5)))
    rows = tuple(
        (token, *(round(one, 4) for one in (*weights, *output)))
        for token, (weights, output) in enumerate(zip(steps.weights, steps.output, strict=True), start=1)
    )
    return Part((finding,), (Table("example", columns, rows, "softmax(Q Kᵀ / √4) V by torch"),))


def _gap(one: Matrix, other: Matrix) -> float:
    pairs = ((a, b) for row, twin in zip(one, other, strict=True) for a, b in zip(row, twin, strict=True))
    return max(abs(a - b) for a, b in pairs)


def scaling_part(found: Sequence[Scaling], *, rows: int, keys: int, seed: int) -> Part:
    """Set torch's variance and entropy beside the law and the calculator's own draws."""
    rng = random.Random(seed)  # noqa: S311 - an illustration
    drawn = [draw_dot_products(d_k=one.d_k, rows=DRAWN_ROWS, keys=keys, rng=rng) for one in found]
    last, calculated = found[-1], drawn[-1]
    mean = sum(one.variance / one.d_k for one in found) / len(found)
    note = "variance of q·k / d_k, mean over d_k"
    formula = f"variance of q·k = d_k: {figure(dot_product_variance(d_k=last.d_k))} at d_k = {last.d_k}"
    findings = [Finding("variance_over_d_ratio", mean, 1.0, n=rows * keys * len(found), formula=formula, note=note)]
    for name, soft, form in (("plain", last.plain, calculated.plain), ("scaled", last.scaled, calculated.scaled)):
        note = f"softmax over {keys} keys {'without' if name == 'plain' else 'with'} 1 / √d_k, d_k = {last.d_k}"
        for what, seen, said, told in (
            ("entropy_bits", soft.entropy_bits, form.entropy_bits, note),
            ("gradient_ratio", soft.gradient, form.gradient, "trace of that softmax's Jacobian"),
        ):
            formula = f"mean of {DRAWN_ROWS} rows that the calculator draws"
            findings.append(Finding(f"{name}_{what}", seen, said, n=rows, formula=formula, note=told))
    return Part(tuple(findings), (_scaling_table(found, drawn),), (_entropy_picture(found), _gradient_picture(found)))


def _scaling_table(found: Sequence[Scaling], drawn: Sequence[Drawn]) -> Table:
    columns = (
        "d_k",
        "variance",
        "theory_variance",
        "entropy_bits",
        "scaled_entropy_bits",
        "calculated_scaled_entropy_bits",
        "gradient",
        "scaled_gradient",
    )
    rows = tuple(
        (
            one.d_k,
            round(one.variance, 2),
            dot_product_variance(d_k=one.d_k),
            round(one.plain.entropy_bits, 3),
            round(one.scaled.entropy_bits, 3),
            round(form.scaled.entropy_bits, 3),
            round(one.plain.gradient, 4),
            round(one.scaled.gradient, 4),
        )
        for one, form in zip(found, drawn, strict=True)
    )
    return Table(
        "scaling", columns, rows, "scaled: divided by √d_k before the softmax; gradient: trace of the Jacobian"
    )


def _entropy_picture(found: Sequence[Scaling]) -> Picture:
    x = tuple(float(one.d_k) for one in found)
    series = (
        Series("without 1 / √d_k", x, tuple(one.plain.entropy_bits for one in found)),
        Series("with", x, tuple(one.scaled.entropy_bits for one in found)),
    )
    return Picture("Entropy of the softmax", "d_k", "bits", series, log_x=True)


def _gradient_picture(found: Sequence[Scaling]) -> Picture:
    x = tuple(float(one.d_k) for one in found)
    series = (
        Series("without 1 / √d_k", x, tuple(one.plain.gradient for one in found)),
        Series("with", x, tuple(one.scaled.gradient for one in found)),
    )
    return Picture("Gradient through the softmax", "d_k", "trace of the Jacobian", series, log_x=True)


def growth_part(found: Sequence[GrowthReading], shape: AttentionShape, *, tile_tokens: int) -> Part:
    """Set bytes and growth of time beside n²."""
    last = found[-1]
    full, tiled = _full_bytes(last.tokens, shape), _tiled_bytes(last.tokens, shape, tile_tokens)
    note = f"held at once at {last.tokens} tokens: inputs left out, output counted"
    formula = f"2 × {shape.heads} × {last.tokens}² × {BYTES_PER_VALUE} + {figure(_output(last.tokens, shape))} = "
    difference = max(one.difference_ratio for one in found)
    findings = (
        Finding("tiled_difference_ratio", difference, n=len(found), note="full against tiled, of the largest output"),
        Finding("full_peak_bytes", last.full_peak_bytes, full, n=1, formula=f"{formula}{figure(full)}", note=note),
        Finding("tiled_peak_bytes", last.tiled_peak_bytes, tiled, n=1, formula=_tiled_filled(last, shape, tile_tokens)),
        Finding("fused_peak_bytes", last.fused_peak_bytes, n=1, note="torch's own kernel"),
        *_exponents(found, shape),
        _over_full("tiled", last.tiled, last),
        _over_full("fused", last.fused, last),
    )
    x = tuple(float(one.tokens) for one in found)
    held = tuple(
        Series(name, x, tuple(float(getattr(one, f"{way}_peak_bytes")) for one in found)) for way, name in _WAYS.items()
    )
    took = tuple(
        Series(name, x, tuple(MS_PER_S * getattr(one, way).median_s for one in found)) for way, name in _WAYS.items()
    )
    return Part(
        findings,
        (_growth_table(found, shape, tile_tokens),),
        (
            Picture("Memory of attention", "tokens", "bytes", held, log_x=True, log_y=True),
            Picture("Time of attention", "tokens", "milliseconds", took, log_x=True, log_y=True),
        ),
    )


_WAYS: Final = {"full": "all scores", "tiled": "tiled", "fused": "torch's kernel"}


def _output(tokens: int, shape: AttentionShape) -> float:
    return float(tokens * (shape.heads or 0) * shape.head_dim * BYTES_PER_VALUE)


def _full_bytes(tokens: int, shape: AttentionShape) -> float:
    scores = score_matrix_bytes(tokens=tokens, heads=shape.heads or 0, bytes_per_value=BYTES_PER_VALUE)
    return scores + _output(tokens, shape)


def _tiled_bytes(tokens: int, shape: AttentionShape, tile_tokens: int) -> float:
    return tiled_attention_bytes(
        tokens=tokens, heads=shape.heads or 0, head_dim=shape.head_dim, tile_tokens=tile_tokens
    )


def _tiled_filled(last: GrowthReading, shape: AttentionShape, tile_tokens: int) -> str:
    tile = min(last.tokens, tile_tokens)
    value = figure(_tiled_bytes(last.tokens, shape, tile_tokens))
    size = shape.head_dim
    held = f"{last.tokens} × {size} + {tile}² + 3 × {tile} × {size}"
    return f"{shape.heads} × {BYTES_PER_VALUE} × ({held}) = {value}"


def _exponents(found: Sequence[GrowthReading], shape: AttentionShape) -> Iterator[Finding]:
    fitted = [one for one in found if one.tokens >= SHORTEST_FITTED_TOKENS]
    sizes = [one.tokens for one in fitted]
    width = (shape.heads or 0) * shape.head_dim
    pairs = [attention_matrix_flops(tokens=one, width=width) for one in sizes]
    layer = [one + projection_flops(tokens=size, width=width) for size, one in zip(sizes, pairs, strict=True)]
    for way, work in (("full", pairs), ("fused", pairs), ("layer", layer)):
        seconds = [getattr(one, way).median_s for one in fitted]
        what = "a whole layer, its projections linear" if way == "layer" else _WAYS[way]
        note = f"{what}: power of the length with which seconds grow from {SHORTEST_FITTED_TOKENS} tokens on"
        note = f"{note}; predicted: operations{why_no_exponent(sizes, SHORTEST_FITTED_TOKENS)}"
        measured, predicted = fitted_exponent(sizes, seconds), fitted_exponent(sizes, work)
        formula = "" if predicted is None else f"slope of log FLOP by log tokens, {sizes[0]} to {sizes[-1]} tokens"
        yield Finding(f"{way}_exponent_ratio", measured, predicted, n=len(sizes), formula=formula, note=note)


def _over_full(way: str, timing: Timing, last: GrowthReading) -> Finding:
    ratio, rounds = timing.median_s / last.full.median_s, timing.over(last.full)
    note = f"seconds of {_WAYS[way]} / with all scores, {last.tokens} tokens; low and high: of single rounds"
    return over_rounds(f"{way}_over_full_ratio", rounds, measured=ratio, note=note)


def _growth_table(found: Sequence[GrowthReading], shape: AttentionShape, tile_tokens: int) -> Table:
    columns = ("tokens", "full_ms", "tiled_ms", "fused_ms", "layer_ms", "full_bytes", "full_formula_bytes")
    rows = tuple(
        (
            one.tokens,
            *(round(MS_PER_S * timing.median_s, 4) for timing in (one.full, one.tiled, one.fused, one.layer)),
            one.full_peak_bytes,
            _full_bytes(one.tokens, shape),
            one.tiled_peak_bytes,
            _tiled_bytes(one.tokens, shape, tile_tokens),
            one.fused_peak_bytes,
        )
        for one in found
    )
    more = ("tiled_bytes", "tiled_formula_bytes", "fused_bytes")
    note = "every token sees every token; layer: projections and torch's kernel; bytes: peak of tensors"
    return Table("growth", (*columns, *more), rows, note)


def positions_part(found: Sequence[Extrapolation], *, trained_tokens: int, pieces: int) -> Part:
    """Show the loss inside and beyond the trained length."""
    findings = []
    for one in found:
        name, inside = NAMES[one.positions], one.nats[one.lengths.index(trained_tokens)]
        note = f"{name}: loss a byte at the trained length, {trained_tokens} bytes"
        findings.append(
            Finding(f"{one.positions}_inside_nats", inside, n=one.scored_bytes, weights_matter=True, note=note)
        )
        note = f"{name}: what the same bytes cost more with {one.lengths[-1]} bytes before them"
        note = f"{note}; low and high: 95 % interval over {pieces} pieces of text"
        beyond, half = one.nats[-1] - inside, one.rise_half_width_nats
        rise = (beyond, None, beyond - half, beyond + half, one.scored_bytes)
        findings.append(Finding(f"{one.positions}_beyond_more_nats", *rise, weights_matter=True, note=note))
    rows = tuple((length, *(round(one.nats[at], 4) for one in found)) for at, length in enumerate(found[0].lengths))
    note = f"trained on {trained_tokens} bytes; every row scores the same bytes and differs in what stands before them"
    table = Table("positions", ("length_bytes", *(f"{one.positions}_nats" for one in found)), rows, note)
    series = tuple(Series(NAMES[one.positions], tuple(map(float, one.lengths)), one.nats) for one in found)
    picture = Picture(f"Trained on {trained_tokens} bytes", "bytes read", "nats a byte", series, log_x=True)
    return Part(tuple(findings), (table,), (picture,))
