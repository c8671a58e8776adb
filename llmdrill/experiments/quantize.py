"""`llmdrill lab quantize`: what weights of few bits save and cost, beside the bytes that the closed forms give."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from llmdrill.estimate.explain import figure
from llmdrill.estimate.memory import ideal_weights_bytes
from llmdrill.estimate.perplexity import perplexity
from llmdrill.estimate.quantization import WeightFormat, checkpoint_bytes, explain_checkpoint
from llmdrill.experiments.record import record_of
from llmdrill.experiments.result import Experiment, Finding, Protocol, over_rounds
from llmdrill.picture import Picture, Series
from llmdrill.table import Table
from llmdrill.units import MS_PER_S, format_share

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from llmdrill.catalog.architecture import ModelRecord
    from llmdrill.lab.quantize_run import Quality, QuantizeConfig, QuantizeRun, Variant

NOT_NOTICED_NATS: Final = 0.01  # a loss below it is called none: a hundredth of a nat is one percent of perplexity
KEPT_BYTES: Final = 2.0  # fp16, of what is not rounded
_NEAREST: Final = "nearest"


def measure_quantize(
    config: QuantizeConfig,
    *,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
    now: Callable[[], float] = time.perf_counter,
) -> Experiment:
    """Store a decoder's weights in int8 and int4, and say what that does to bytes, seconds and predictions.

    Raises:
        MissingExtraError, ModelFileError, UsageError: As ``run_quantize`` says.

    Error:
        Predicted bytes leave out the scales of int8 rows (under 2 %) and take every row for whole groups. The predicted
        ratio of steps is that of bytes, which holds only where reading weights is all that a step costs.
    Source:
        As ``run_quantize`` and ``gptq_matrix`` say.
    """
    from llmdrill.lab.machine import this_machine
    from llmdrill.lab.quantize_run import run_quantize

    started = now()
    run, machine = run_quantize(config, seed=seed, say=say, now=now), this_machine()
    return Experiment(
        name="quantize",
        title="Weights in 8 and 4 bits: what is saved, what is lost, and where",
        inputs={
            "model": config.model or "embedded",
            "windows": config.windows,
            "window_tokens": config.window_tokens,
            "calibration_windows": config.calibration_windows,
            "groups": list(config.groups),
            "decode_tokens": config.decode_tokens,
        },
        findings=(*_byte_findings(run), *_loss_findings(run), *_step_findings(run)),
        tables=(_variant_table(run), _matrix_table(run)),
        pictures=(_loss_picture(run), _matrix_picture(run)),
        meaning=_meaning(run),
        machine=machine,
        protocol=Protocol(seed, 1, config.repeats, machine.threads, now() - started),
        notes=tuple(_notes(run)),
    )


def predicted_bytes(record: ModelRecord, variant: Variant) -> float:
    """Return the bytes of a variant by the closed forms: those of a GPTQ or AWQ file for groups."""
    scheme, parameters = variant.scheme, float(record.parameters or 0)
    if scheme is None or scheme.group is None:
        return ideal_weights_bytes(parameters=parameters, bits=32 if scheme is None else scheme.bits)
    if scheme.zero_point:
        return checkpoint_bytes(record, weight_format=f"gptq-{scheme.bits}bit", group_values=scheme.group)
    layout = WeightFormat(scheme.bits / 8, 2.0, None)  # an fp16 scale a group, and no zero point
    rounded = record.linear_parameters or 0
    return rounded * layout.bytes_per_weight(scheme.group) + (parameters - rounded) * KEPT_BYTES


def _widest(run: QuantizeRun, method: str) -> Variant:
    """Return the int4 variant with zero points and the widest groups, made by that method."""
    found = [one for one in run.variants if one.method == method and one.scheme and one.scheme.bits == 4]
    return max((one for one in found if one.scheme and one.scheme.zero_point), key=_group)


def _group(variant: Variant) -> int:
    return (variant.scheme.group if variant.scheme else None) or 0


def _byte_findings(run: QuantizeRun) -> Iterator[Finding]:
    record = record_of(run.decoder.shape)
    parameters = figure(record.parameters or 0)
    fp32, int8, int4 = run.variants[0], run.variants[1], _widest(run, _NEAREST)
    filled = explain_checkpoint(record, weight_format="gptq-4bit", group_values=_group(int4))
    for name, variant, formula, note in (
        ("fp32_bytes", fp32, f"{parameters} × 32 / 8", ""),
        ("int8_bytes", int8, f"{parameters} × 8 / 8", "everything in int8, with an fp32 scale a row; norms in fp32"),
        ("int4_bytes", int4, filled.filled, "the layers' matrices; embedding, head and norms in fp16"),
    ):
        yield Finding(name, float(variant.weight_bytes), predicted_bytes(record, variant), formula=formula, note=note)


def _loss_findings(run: QuantizeRun) -> Iterator[Finding]:
    yield Finding("fp32_bits_per_byte", run.variants[0].quality.bits_per_byte, n=run.tokens, weights_matter=True)
    shown: dict[str, tuple[Variant | None, str]] = {
        "int8_loss_nats": (run.variants[1], _exact_note(run)),
        "int8_groups_loss_nats": (run.variant("int8 groups"), "on another grid than rows, so nothing is exact"),
        "int8_activations_loss_nats": (
            run.variant("int8 rows, int8 inputs"),
            "the native step: int8 weights, and activations rounded to int8 in groups of 64 at every product",
        ),
        "int4_loss_nats": (_widest(run, _NEAREST), "round to nearest"),
        "int4_gptq_loss_nats": (_widest(run, "gptq"), "GPTQ, same groups and bytes"),
    }
    interval = "; low and high: 95 % interval over windows"
    for name, (variant, note) in shown.items():
        if variant is None:
            yield Finding(name, None, weights_matter=True, note=run.native_reason or "not measured")
            continue
        loss, half = variant.quality.loss_nats, variant.quality.loss_half_width_nats
        yield Finding(name, loss, None, loss - half, loss + half, run.tokens, weights_matter=True, note=note + interval)


def _exact_note(run: QuantizeRun) -> str:
    if run.exact_int8:
        return "these weights are stored as int8 rows already, so rounding them again changes none of them"
    return "weight only, of weights that were never rounded before"


def _step_findings(run: QuantizeRun) -> Iterator[Finding]:
    steps = {one.engine: one for one in run.steps}
    for engine, step in steps.items():
        name = engine.replace(", ", "_").replace(" ", "_")
        note = "a decode step; low and high are the fastest and the slowest repeat"
        yield over_rounds(f"{name}_step_ms", [MS_PER_S * seconds for seconds in step.timing.seconds], note=note)
    fp32, int8 = steps.get("native, fp32"), steps.get("native, int8")
    if fp32 is not None and int8 is not None:
        ratio, predicted = fp32.timing.median_s / int8.timing.median_s, fp32.weight_bytes / int8.weight_bytes
        formula = f"{figure(fp32.weight_bytes)} / {figure(int8.weight_bytes)} bytes"
        yield Finding("int8_speed_ratio", ratio, predicted, formula=formula, note="native steps; bound by bytes alone")
    torch_fp32, torch_int4 = steps["torch, fp32"], steps["torch, int4 unpacked"]
    slower = torch_int4.timing.median_s / torch_fp32.timing.median_s
    note = "there is no product that reads int4: every step unpacks each matrix, which saves memory, not time"
    yield Finding("int4_unpacked_time_ratio", slower, note=note)


def _variant_table(run: QuantizeRun) -> Table:
    record = record_of(run.decoder.shape)
    columns = ("weights", "bits_per_weight", "bytes", "predicted_bytes", "loss_nats", "perplexity", "bits_per_byte")
    return Table(
        "ways to store the weights",
        (*columns, "next_token_share", "line_end_share", "made_in_s"),
        tuple(
            (
                one.name,
                round(8 * one.weight_bytes / run.decoder.shape.parameters, 2),
                one.weight_bytes,
                round(predicted_bytes(record, one)),
                round(one.quality.loss_nats, 5),
                _rounded(perplexity(one.quality.nats_per_token)),
                *_shares(one.quality),
                _rounded(one.seconds),
            )
            for one in run.variants
        ),
        f"{run.tokens:,} held-out tokens each; line_end_share: the rest of a line exactly, the cursor at a random token"
        f" of {run.variants[0].quality.line_ends.lines} lines",
    )


def _shares(quality: Quality) -> tuple[float, float, float | None]:
    share = quality.line_ends.share
    return (
        round(quality.bits_per_byte, 4),
        round(quality.next_token_share, 4),
        None if share is None else round(share, 4),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _matrix_table(run: QuantizeRun) -> Table:
    ordered = sorted(run.one_by_one, key=lambda one: -one.divergence_nats)
    rows = tuple((one.name, one.parameters, round(one.divergence_nats, 6), round(one.loss_nats, 6)) for one in ordered)
    note = (
        f"rounded to int4 in groups of {run.sweep_scheme.group}, all others as they were; divergence: Kullback-Leibler,"
        " of the next-token distributions from those of fp32"
    )
    return Table("one matrix at a time", ("matrix", "parameters", "divergence_nats", "loss_nats"), rows, note)


def _loss_picture(run: QuantizeRun) -> Picture:
    series = []
    for name, method, zero_point in (
        ("nearest", _NEAREST, False),
        ("nearest, zero point", _NEAREST, True),
        ("GPTQ, zero point", "gptq", True),
    ):
        found = [
            (8 * one.weight_bytes / run.decoder.shape.parameters, one.quality.loss_nats)
            for one in run.variants
            if one.method == method and one.scheme and one.scheme.bits == 4 and one.scheme.zero_point == zero_point
        ]
        series.append(Series(name, *(tuple(part) for part in zip(*sorted(found), strict=True))))
    return Picture("int4: loss by size", "bits per weight, all told", "nats more per token than fp32", tuple(series))


def _matrix_picture(run: QuantizeRun) -> Picture:
    by_kind: dict[str, list[tuple[float, float]]] = {}
    for one in run.one_by_one:
        layer, _, kind = one.name.rpartition(".")
        if layer:
            by_kind.setdefault(kind, []).append((float(layer), one.divergence_nats))
    series = tuple(
        Series(kind, tuple(x for x, _ in points), tuple(y for _, y in points)) for kind, points in by_kind.items()
    )
    return Picture("Which layers hurt: one matrix in int4", "layer", "divergence from fp32, nats", series)


def _meaning(run: QuantizeRun) -> tuple[str, str]:
    fp32, int8, groups = run.variants[0], run.variants[1], run.variant("int8 groups")
    judged = groups if run.exact_int8 and groups is not None else int8
    saved = format_share(1 - judged.weight_bytes / fp32.weight_bytes)
    loss = judged.quality.loss_nats
    cost = "costs nothing that shows" if loss <= NOT_NOTICED_NATS else "can be seen"
    grid = "int8 on a new grid, in groups," if judged is not int8 else "int8"
    first = f"{grid} saves {saved} of the bytes of fp32 and {cost}: {loss:+.4f} nats a token."
    nearest, gptq = _widest(run, _NEAREST), _widest(run, "gptq")
    worst = max(run.one_by_one, key=lambda one: one.divergence_nats)
    second = (
        f"int4 in groups of {_group(nearest)} costs {nearest.quality.loss_nats:+.4f} nats rounded to nearest and"
        f" {gptq.quality.loss_nats:+.4f} by GPTQ, in the same bytes; {worst.name} alone moves the predictions most."
    )
    return first, second


def _notes(run: QuantizeRun) -> Iterator[str]:
    yield "GPTQ is calibrated on modules of the standard library that are not held out; the embedded model knows them"
    yield "windows are drawn from inside held-out modules and read each for itself: `lab perplexity` gives whole texts"
    if run.native_reason is not None:
        yield f"no native engine: {run.native_reason}"
    if run.exact_int8:
        yield "give the fp32 checkpoint with --model to see what the first rounding to int8 lost"
