"""`llmdrill calc memory`: weights as checkpoints store them, cache, state and activations; and on how many devices."""

from __future__ import annotations

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
        return _bare(params, bits, precision, group)
    if params is not None or bits is not None:
        raise UsageError("give --model, --config, or --params with --bits or --precision: one of the three")
    from llmdrill.estimate.kv_cache import cache_bytes_per_value
    from llmdrill.estimate.placement import Demand

    name, weights = _weights(record, precision, None if group is None else whole("group", group))
    tokens = whole("context", context, zero=True)
    if tokens and record.kind == "encoder":
        raise UsageError(f"'{record.name}' is an encoder: it keeps no key-value cache, so --context means nothing")
    demand = Demand(
        weights_bytes=weights,
        context_tokens=tokens,
        sequences=whole("sequences", sequences) if tokens or record.state else 0,
        cache_bytes_per_value=cache_bytes_per_value(kv_dtype.lower()),
        batched_tokens=whole("batched-tokens", batched_tokens),
    )
    figures = _weight_figures(record, name, weights)
    placed, device_figures, lines = _place(record, demand, on, tp, share("usable", usable, zero=False))
    figures += _demand_figures(record, demand, placed) + device_figures
    return Answer(
        calculator="memory",
        lines=(*_lines(record, figures, name), *lines),
        figures=tuple(figures),
        inputs={
            "model": record.name,
            "precision": name,
            "tied_embeddings": record.tied_embeddings,
            "context_tokens": tokens,
            "sequences": int(demand.sequences),
            "kv_dtype": kv_dtype.lower(),
            "accelerator": None if on is None else _accelerator(on).name,
            "tensor_parallel": placed.tensor_parallel,
            "pipeline_parallel": placed.pipeline_parallel,
            "fits": placed.fits,
        },
        notes=_notes(record, name, placed) + record.guessed,
    )


def _accelerator(name: str) -> Accelerator:
    from llmdrill.catalog.load import find_accelerator

    return find_accelerator(name)


def _bare(params: str | None, bits: str | None, precision: str | None, group: str | None) -> Answer:
    """Answer for a number of parameters alone: what is in 16 bits beside a 4-bit format cannot be known then."""
    from llmdrill.estimate.memory import GROUP_VALUES, ideal_weights_bytes, weights_bytes

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
        name = "bf16" if precision is None else precision
        size, told = weights_bytes(parameters=parameters, precision=name, group_values=values), f"bytes of {name}"
    one = Explained(
        name="weights_bytes",
        value=size,
        unit="bytes",
        formula="parameters × bits / 8" if bits is not None else "parameters × bytes, and scales of 4-bit groups",
        filled=f"{figure(parameters)} × {told} = {figure(size)} B",
        source="Arithmetic",
    )
    return Answer(
        calculator="memory",
        lines=(f"weights: {format_bytes(size)}",),
        figures=(_count("parameters", parameters, "given", "Arithmetic"), one),
        inputs={"model": None, "precision": precision, "bits": None if bits is None else wide},
        notes=("what a checkpoint keeps in 16 bits beside these is not known without a model",),
    )


def _weights(record: ModelRecord, precision: str | None, group: int | None) -> tuple[str, float]:
    from llmdrill.estimate.fit import released_bytes
    from llmdrill.estimate.quantization import checkpoint_bytes

    if group is None:
        return released_bytes(record, precision)
    name = ("gptq-4bit" if precision is None else precision).lower()
    return name, checkpoint_bytes(record, weight_format=name, group_values=group)


def _count(name: str, value: float, filled: str, source: str) -> Explained:
    return Explained(name=name, value=value, unit="count", formula=name.replace("_", " "), filled=filled, source=source)


def _weight_figures(record: ModelRecord, name: str, weights: float) -> list[Explained]:
    parameters, active = float(record.parameters or 0), float(record.active_parameters or 0)
    figures = [
        _count("parameters", parameters, figure(parameters), record.source),
        _count("active_parameters", active, f"all less idle experts: {figure(active)}", record.source),
    ]
    linear = record.linear_parameters
    rest = "" if linear is None else f", {figure(linear)} of them in the layers' matrices"
    figures.append(
        Explained(
            name="weights_bytes",
            value=weights,
            unit="bytes",
            formula="quantised × bytes_per_weight + rest × 2",
            filled=f"{figure(parameters)} parameters{rest}, in {name} = {figure(weights)} B",
            source=_format_source(name),
        )
    )
    wide = weights * 8 / parameters
    filled = f"{figure(weights)} × 8 / {figure(parameters)} = {wide:.4g}"
    return [*figures, _count("bits_per_weight", wide, filled, "Arithmetic")]


def _format_source(name: str) -> str:
    from llmdrill.estimate.quantization import FORMATS

    if name in FORMATS:
        return FORMATS[name].source
    return "ggml-org/llama.cpp@007dbbf3, src/llama-quant.cpp; ggml/src/ggml-common.h"


def _demand_figures(record: ModelRecord, demand: Demand, placed: Placement) -> list[Explained]:
    from llmdrill.estimate.kv_cache import explain_kv_cache
    from llmdrill.estimate.state import explain_state

    cache = explain_kv_cache(
        record.attention,
        context_tokens=demand.context_tokens,
        sequences=demand.sequences,
        bytes_per_value=demand.cache_bytes_per_value,
    )
    figures = [cache]
    if record.state is not None:
        figures.append(explain_state(record.state, sequences=demand.sequences))
    filled = f"{figure(demand.batched_tokens)} tokens × {record.hidden} wide"
    figures.append(
        Explained(
            name="activation_bytes_per_device",
            value=placed.activation_bytes,
            unit="bytes",
            formula="max(70 MiB, 2 × batched_tokens × hidden × factor)",
            filled=f"{filled} on {placed.tensor_parallel} = {figure(placed.activation_bytes)} B",
            source="ai-dynamo/aiconfigurator@00ae653b, src/aiconfigurator/sdk/backends/trtllm_backend.py",
        )
    )
    parts = (placed.weights_bytes, placed.cache_bytes, placed.state_bytes, placed.activation_bytes)
    total = placed.total_bytes * placed.devices
    filled = f"({' + '.join(map(figure, parts))}) × {placed.devices} = {figure(total)} B"
    figures.append(
        Explained(
            name="total_bytes",
            value=total,
            unit="bytes",
            formula="(weights + cache + state + activations on a device) × devices",
            filled=filled,
            source="Arithmetic",
        )
    )
    return figures


def _place(
    record: ModelRecord, demand: Demand, on: str | None, tp: str | None, usable_share: float
) -> tuple[Placement, list[Explained], list[str]]:
    """Return the split that was asked for, or the smallest that holds all."""
    from llmdrill.estimate.placement import MOST_DEVICES, fewest_devices, place

    devices = None if tp is None else whole("tp", tp)
    if on is None:
        return place(record, demand, tensor_parallel=devices or 1), [], []
    device = _accelerator(on)
    least = fewest_devices(record, demand, memory_bytes=device.memory_bytes, usable_share=usable_share)
    if devices is None and least is None:
        raise UsageError(f"not even {MOST_DEVICES} × {device.name} hold that: ask for less context or fewer sequences")
    asked = least
    if devices is not None or asked is None:
        asked = place(
            record,
            demand,
            memory_bytes=device.memory_bytes,
            tensor_parallel=devices or 1,
            usable_share=usable_share,
        )
    limit = asked.limit_bytes or 0.0
    figures = [
        Explained(
            name="device_bytes",
            value=asked.total_bytes,
            unit="bytes",
            formula="weights / devices + cache × copies / devices + state / devices + activations",
            filled=f"{figure(asked.total_bytes)} B of {figure(device.memory_bytes)} × {usable_share:g} = "
            f"{figure(limit)} B",
            source=device.source,
        )
    ]
    if least is not None:
        filled = f"{least.tensor_parallel} × {least.pipeline_parallel} (layers split × groups of layers)"
        figures.append(_count("devices_needed", float(least.devices), filled, "Search over splits that divide evenly"))
    return asked, figures, _device_lines(device, asked, least)


def _device_lines(device: Accelerator, asked: Placement, least: Placement | None) -> list[str]:
    verdict = "fits" if asked.fits else "does not fit"
    held = f"{format_bytes(asked.total_bytes)} of {format_bytes(asked.limit_bytes or 0.0)} on each"
    lines = [f"{asked.devices} × {device.name}: {verdict}, {held}"]
    if least is not None and not asked.fits:
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


def _notes(record: ModelRecord, name: str, placed: Placement) -> tuple[str, ...]:
    from llmdrill.estimate.kv_cache import cache_copies
    from llmdrill.estimate.quantization import FORMATS

    notes = []
    if name in FORMATS and FORMATS[name].scope != "all":
        head = "embeddings" if record.tied_embeddings else "embeddings, head"
        notes.append(f"{head}, norms and biases stay in 16 bits")
    copies = cache_copies(record.attention, tensor_parallel=placed.tensor_parallel)
    if copies > 1 and placed.cache_bytes:
        notes.append(f"the cache is stored {copies:g} times, as its heads do not split over the devices")
    return tuple(notes)
