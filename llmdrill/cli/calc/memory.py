"""`llmdrill calc memory`: weights as checkpoints store them, cache, state and activations; and on how many devices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from llmdrill.cli.calc.answer import Answer
from llmdrill.cli.calc.options import Config, Model, On, model_record, quantity, share, whole
from llmdrill.errors import UsageError
from llmdrill.estimate.explain import Explained, figure
from llmdrill.units import format_bytes, format_count

if TYPE_CHECKING:
    from llmdrill.catalog.records import Accelerator, ModelRecord
    from llmdrill.estimate.placement import Demand, Placement


def memory(
    *,
    model: Model = None,
    config: Config = None,
    params: Annotated[str | None, typer.Option(help="Parameters, such as 7B, in place of a model.")] = None,
    bits: Annotated[str | None, typer.Option(help="With --params: bits of every weight, scales left out.")] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="fp32, bf16, fp8, int4, gptq-4bit, awq-4bit, nf4, mxfp4, q4_k_m …; default as released."),
    ] = None,
    group: Annotated[str | None, typer.Option(help="Weights that share a scale in GPTQ and AWQ; default 128.")] = None,
    context: Annotated[str, typer.Option(help="Tokens of each resident sequence; 0 for weights alone.")] = "0",
    sequences: Annotated[str, typer.Option(help="Sequences resident at once.")] = "1",
    kv_dtype: Annotated[str, typer.Option(help="Of the cache: fp16, fp8, int4, q8_0 …")] = "fp16",
    batched_tokens: Annotated[str, typer.Option(help="Tokens that one step runs through the model at most.")] = "8192",
    on: On = None,
    tp: Annotated[str | None, typer.Option(help="Devices that the model is split over; default the fewest.")] = None,
    usable: Annotated[str, typer.Option(help="Share of the memory that may be filled.")] = "90%",
) -> Answer:
    """Memory of a model: weights, cache, state, activations."""
    record = model_record(model, config)
    if record is None:
        if on is not None or tp is not None or context != "0":
            raise UsageError("--on, --tp and --context need the layers too: give --model or --config")
        return _bare(params, bits, precision, group)
    if params is not None or bits is not None:
        raise UsageError("give --model, --config, or --params with --bits or --precision: one of the three")
    name, weights = _weights(record, precision, None if group is None else whole("group", group))
    demand = _demand(record, weights.value, context, sequences, kv_dtype, batched_tokens)
    placed = _place(record, demand, on, tp, share("usable", usable, zero=False))
    return _answer(_Asked(record, name, weights, demand, kv_dtype.lower()), placed)


@dataclass(frozen=True, slots=True)
class _Asked:
    """Which model, its weights in which format, and what it has to hold."""

    record: ModelRecord
    weight_format: str
    weights: Explained
    demand: Demand
    kv_dtype: str


@dataclass(frozen=True, slots=True)
class _Placed:
    """The split that was asked for, or the smallest that holds all; ``device`` and ``least`` where one was named."""

    split: Placement
    device: Accelerator | None = None
    usable_share: float = 1.0
    least: Placement | None = None


def _answer(asked: _Asked, placed: _Placed) -> Answer:
    record, split = asked.record, placed.split
    figures = [*_weight_figures(asked), *_demand_figures(asked, split), *_device_figures(placed)]
    return Answer(
        calculator="memory",
        lines=(*_lines(record, figures, asked.weight_format), *_device_lines(placed)),
        figures=tuple(figures),
        inputs={
            "model": record.name,
            "precision": asked.weight_format,
            "tied_embeddings": record.tied_embeddings,
            "context_tokens": int(asked.demand.context_tokens),
            "sequences": int(asked.demand.sequences),
            "kv_dtype": asked.kv_dtype,
            "accelerator": placed.device.name if placed.device else None,
            "tensor_parallel": split.tensor_parallel,
            "pipeline_parallel": split.pipeline_parallel,
            "fits": split.fits,
        },
        notes=_notes(asked, split) + record.guessed,
    )


def _demand(
    record: ModelRecord, weights: float, context: str, sequences: str, kv_dtype: str, batched_tokens: str
) -> Demand:
    from llmdrill.estimate.kv_cache import cache_bytes_per_value
    from llmdrill.estimate.placement import Demand

    tokens, together = whole("context", context, zero=True), whole("sequences", sequences)
    if tokens and record.kind == "encoder":
        raise UsageError(f"'{record.name}' is an encoder: it keeps no key-value cache, so --context means nothing")
    if together > 1 and not tokens and record.state is None:
        raise UsageError("--sequences says how many are resident: say how long each is with --context")
    return Demand(
        weights_bytes=weights,
        context_tokens=tokens,
        sequences=together if tokens or record.state else 0,
        cache_bytes_per_value=cache_bytes_per_value(kv_dtype.lower()),
        batched_tokens=whole("batched-tokens", batched_tokens),
    )


def _bare(params: str | None, bits: str | None, precision: str | None, group: str | None) -> Answer:
    """Answer for a number of parameters alone: what is in 16 bits beside a 4-bit format cannot be known then."""
    from llmdrill.estimate.memory import GROUP_VALUES, bytes_per_value, ideal_weights_bytes, weights_bytes

    if params is None:
        raise UsageError("which model? give --model NAME, --config PATH, or --params 7B with --bits or --precision")
    if bits is not None and precision is not None:
        raise UsageError("give --bits or --precision, not both")
    parameters = quantity("params", params, "count")
    values = GROUP_VALUES if group is None else whole("group", group)
    if bits is not None:
        wide = quantity("bits", bits, "count")
        size, told = ideal_weights_bytes(parameters=parameters, bits=wide), f"{wide:g} / 8"
    else:
        name = "bf16" if precision is None else precision.lower()
        size = weights_bytes(parameters=parameters, precision=name, group_values=values)
        told = f"{bytes_per_value(name):g}" if size >= parameters else f"(0.5 + 2.5 / {values})"
    one = Explained(
        name="weights_bytes",
        value=size,
        unit="bytes",
        formula="parameters × bits / 8" if bits is not None else "parameters × bytes of one, scales of 4-bit groups in",
        filled=f"{figure(parameters)} × {told} = {figure(size)} B",
        source="Arithmetic",
    )
    return Answer(
        calculator="memory",
        lines=(f"weights: {format_bytes(size)}",),
        figures=(_count("parameters", parameters, figure(parameters), "given"), one),
        inputs={"model": None, "precision": precision, "bits": None if bits is None else wide},
        notes=("what a checkpoint keeps in 16 bits beside these is not known without a model",),
    )


def _weights(record: ModelRecord, precision: str | None, group: int | None) -> tuple[str, Explained]:
    from llmdrill.estimate.fit import explain_released
    from llmdrill.estimate.quantization import FORMATS, explain_checkpoint

    if group is None:
        return explain_released(record, precision)
    name = ("gptq-4bit" if precision is None else precision).lower()
    shown = explain_checkpoint(record, weight_format=name, group_values=group)
    if name not in FORMATS or FORMATS[name].group_values is not None:
        raise UsageError(f"--group is of GPTQ and AWQ: {name} leaves no choice of it")
    return name, shown


def _count(name: str, value: float, filled: str, source: str) -> Explained:
    return Explained(name=name, value=value, unit="count", formula=name.replace("_", " "), filled=filled, source=source)


def _weight_figures(asked: _Asked) -> list[Explained]:
    record, weights = asked.record, asked.weights
    parameters, active = float(record.parameters or 0), float(record.active_parameters or 0)
    told = figure(active)
    if record.experts is not None:
        each, idle = record.experts, record.experts.count - record.experts.per_token
        told = f"{figure(parameters)} - {figure(each.parameters)} × {idle} / {each.count} = {figure(active)}"
    wide = weights.value * 8 / parameters
    filled = f"{figure(weights.value)} × 8 / {figure(parameters)} = {wide:.4g}"
    return [
        _count("parameters", parameters, figure(parameters), record.source),
        Explained(
            "active_parameters", active, "count", "parameters - routed experts × idle / all", told, record.source
        ),
        weights,
        Explained("bits_per_weight", wide, "count", "weights_bytes × 8 / parameters", filled, "Arithmetic"),
    ]


def _demand_figures(asked: _Asked, split: Placement) -> list[Explained]:
    from llmdrill.estimate.kv_cache import explain_index_cache, explain_kv_cache
    from llmdrill.estimate.memory import explain_activations
    from llmdrill.estimate.state import explain_state

    record, demand = asked.record, asked.demand
    shape, tokens, sequences = record.attention, demand.context_tokens, demand.sequences
    figures = [
        explain_kv_cache(
            shape, context_tokens=tokens, sequences=sequences, bytes_per_value=demand.cache_bytes_per_value
        )
    ]
    if shape.index_values:
        figures.append(explain_index_cache(shape, context_tokens=tokens, sequences=sequences))
    if record.state is not None:
        figures.append(explain_state(record.state, sequences=sequences))
    figures.append(
        explain_activations(record, batched_tokens=demand.batched_tokens, tensor_parallel=split.tensor_parallel)
    )
    total = split.total_bytes * split.devices
    return [
        *figures,
        Explained(
            name="total_bytes",
            value=total,
            unit="bytes",
            formula="(weights + cache + state + activations on a device) × devices",
            filled=f"({_parts(split)}) × {split.devices} = {figure(total)} B",
            source="Arithmetic",
        ),
    ]


def _parts(split: Placement) -> str:
    held = (split.weights_bytes, split.cache_bytes, split.state_bytes, split.activation_bytes)
    return " + ".join(map(figure, held))


def _place(record: ModelRecord, demand: Demand, on: str | None, tp: str | None, usable_share: float) -> _Placed:
    """Return the split that was asked for, or the smallest that holds all."""
    from llmdrill.catalog.load import find_accelerator
    from llmdrill.estimate.placement import MOST_DEVICES, fewest_devices, place

    asked = None if tp is None else whole("tp", tp)
    if on is None:
        return _Placed(place(record, demand, tensor_parallel=asked or 1))
    device = find_accelerator(on)
    memory = device.memory_bytes
    least = fewest_devices(record, demand, memory_bytes=memory, usable_share=usable_share)
    if asked is not None:
        split = place(record, demand, memory_bytes=memory, tensor_parallel=asked, usable_share=usable_share)
    elif least is not None:
        split = least
    else:
        raise UsageError(f"not even {MOST_DEVICES} × {device.name} hold that: ask for less context or fewer sequences")
    return _Placed(split, device, usable_share, least)


def _device_figures(placed: _Placed) -> list[Explained]:
    split, device, least = placed.split, placed.device, placed.least
    if device is None:
        return []
    of = f"of {figure(device.memory_bytes)} × {placed.usable_share:g} = {figure(split.limit_bytes or 0.0)} B"
    held = Explained(
        name="device_bytes",
        value=split.total_bytes,
        unit="bytes",
        formula="weights / devices + cache × copies / devices + state / devices + activations",
        filled=f"{_parts(split)} = {figure(split.total_bytes)} B {of}",
        source=device.source,
    )
    if least is None:
        return [held]
    filled = f"{least.tensor_parallel} × {least.pipeline_parallel} (layers split × groups of layers)"
    return [held, _count("devices_needed", float(least.devices), filled, "Search over splits that divide evenly")]


def _device_lines(placed: _Placed) -> list[str]:
    split, device, least = placed.split, placed.device, placed.least
    if device is None:
        return []
    verdict = "fits" if split.fits else "does not fit"
    held = f"{format_bytes(split.total_bytes)} of {format_bytes(split.limit_bytes or 0.0)} on each"
    lines = [f"{split.devices} × {device.name}: {verdict}, {held}"]
    if least is not None and not split.fits:
        lines.append(f"fewest that hold it: {least.devices} × {device.name}")
    return lines


def _lines(record: ModelRecord, figures: list[Explained], name: str) -> list[str]:
    value = {one.name: one.value for one in figures}
    active = ""
    if record.experts is not None:
        active = f", {format_count(value['active_parameters'])} active for a token"
    size = f"{format_bytes(value['weights_bytes'])} in {name}, {value['bits_per_weight']:.3g} bits per weight"
    lines = [f"{format_count(value['parameters'])} parameters{active}", f"weights: {size}"]
    if value["kv_cache_bytes"]:
        lines.append(f"KV cache: {format_bytes(value['kv_cache_bytes'])}")
    if value.get("state_bytes"):
        lines.append(f"state: {format_bytes(value['state_bytes'])}")
    activations = format_bytes(value["activation_bytes_per_device"])
    return [*lines, f"activations: {activations} on each device", f"in all: {format_bytes(value['total_bytes'])}"]


def _notes(asked: _Asked, placed: Placement) -> tuple[str, ...]:
    from llmdrill.estimate.kv_cache import cache_copies
    from llmdrill.estimate.quantization import FORMATS

    record, name, longest = asked.record, asked.weight_format, asked.record.max_context_tokens
    notes = []
    if longest is not None and asked.demand.context_tokens > longest:
        notes.append(f"{record.name} was built for at most {longest:,} tokens of context")
    if name in FORMATS and FORMATS[name].scope != "all":
        own = record.quantization
        head = "embeddings" if record.tied_embeddings else "embeddings, head"
        kept = f"{head}, norms and biases stay"
        if own and own.experts_only and own.format == name:
            kept = "all but the routed experts stays"
        notes.append(f"{kept} in 16 bits")
    copies = cache_copies(record.attention, tensor_parallel=placed.tensor_parallel)
    if copies > 1 and placed.cache_bytes:
        notes.append(f"the cache is stored {copies:g} times, as its heads do not split over the devices")
    return tuple(notes)
