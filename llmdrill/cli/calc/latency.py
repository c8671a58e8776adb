"""`llmdrill calc latency`: time to first token, time per token and total of a model on accelerators of one's own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from llmdrill.cli.calc.answer import Answer, Span
from llmdrill.cli.calc.options import Config, Model, required_model, share, whole
from llmdrill.errors import UsageError
from llmdrill.units import format_bytes, format_quantity

if TYPE_CHECKING:
    from llmdrill.catalog.records import Accelerator, ModelRecord
    from llmdrill.estimate.explain import Explained
    from llmdrill.estimate.serving import Predicted, ServingEstimate
    from llmdrill.estimate.serving_point import Speculation

_Engine = Annotated[str, typer.Option(help="trtllm, vllm or sglang; default: all of them together.")]
_Batch = Annotated[str, typer.Option(help="Clients with one request in flight each; of a static batch its sequences.")]


def latency(
    *,
    model: Model = None,
    config: Config = None,
    on: Annotated[str, typer.Option("--on", help="An accelerator of the catalogue, such as h100.")],
    input_: Annotated[str, typer.Option("--input", help="Tokens of a prompt, such as 1024 or 8k.")],
    output: Annotated[str, typer.Option(help="Tokens of its answer.")],
    batch: _Batch = "1",
    batching: Annotated[
        Literal["continuous", "static"], typer.Option(help="Newcomers join at every step, or a batch ends together.")
    ] = "continuous",
    tp: Annotated[str, typer.Option(help="Devices that attention is split over.")] = "1",
    dp: Annotated[str, typer.Option(help="Groups of them that share out the sequences but not the experts.")] = "1",
    ep: Annotated[str, typer.Option(help="Devices that whole experts are spread over.")] = "1",
    precision: Annotated[
        str | None, typer.Option(help="Of the weights: bf16, fp8, fp4, int8, int4, awq-4bit …; default as released.")
    ] = None,
    kv_dtype: Annotated[
        str | None, typer.Option(help="Of the cache: fp16, fp8, int4 …; default fp16, on local what its engine keeps.")
    ] = None,
    prefix: Annotated[str, typer.Option(help="Share of a prompt read from a prefix cache: 0.5, 50%.")] = "0",
    accept: Annotated[str | None, typer.Option(help="Speculative decoding: share of drafts accepted.")] = None,
    draft: Annotated[str, typer.Option(help="Tokens drafted before each pass.")] = "4",
    draft_cost: Annotated[str, typer.Option(help="One draft pass as a share of one step of the model.")] = "0.05",
    engine: _Engine = "default",
) -> Answer:
    """Time to first token and per token of a self-hosted model."""
    record = required_model(model, config)
    accelerator = _accelerator(on)
    _check_experts(record, whole("ep", ep), whole("tp", tp) * whole("dp", dp))
    from llmdrill.estimate.kv_cache import cache_bytes_per_value
    from llmdrill.estimate.serving import serving_estimate
    from llmdrill.estimate.serving_load import served_precision

    found = serving_estimate(
        record,
        accelerator,
        batch=whole("batch", batch),
        input_tokens=whole("input", input_),
        output_tokens=whole("output", output),
        tensor_parallel=whole("tp", tp),
        data_parallel=whole("dp", dp),
        expert_parallel=whole("ep", ep),
        precision=served_precision(record, precision),
        cache_bytes_per_value=None if kv_dtype is None else cache_bytes_per_value(kv_dtype.lower()),
        engine=engine,
        batching=batching,
        prefix_share=share("prefix", prefix),
        speculation=_speculation(accept, draft, draft_cost),
    )
    return _answer(record, accelerator, found)


def _accelerator(name: str) -> Accelerator:
    from llmdrill.catalog.load import find_accelerator

    return find_accelerator(name)


def _check_experts(record: ModelRecord, spread: int, devices: int) -> None:
    if spread > 1 and record.experts is None:
        raise UsageError(f"--ep spreads experts, and '{record.name}' has none")
    if devices % spread:
        raise UsageError(f"--ep {spread} does not divide the {devices} devices of --tp × --dp")


def _speculation(accept: str | None, draft: str, draft_cost: str) -> Speculation | None:
    if accept is None and (draft, draft_cost) != ("4", "0.05"):
        raise UsageError("--draft and --draft-cost are of speculative decoding: say with --accept what it accepts")
    if accept is None:
        return None
    from llmdrill.estimate.serving_point import Speculation

    return Speculation(share("accept", accept), whole("draft", draft), share("draft-cost", draft_cost))


def _answer(record: ModelRecord, accelerator: Accelerator, found: ServingEstimate) -> Answer:
    tpot, ttft, total = found.formulas
    predicted = {"ttft_ms": found.ttft_s, "tpot_ms": found.tpot_s, "total_ms": found.total_s}
    figures = [*map(_in_ms, (ttft, tpot, total, _wait(found), *found.floors)), *_rates(found)]
    memory = _memory(found, accelerator)
    load, unknown = found.load, [one.name for one in figures if not found.fits]
    return Answer(
        calculator="latency",
        lines=_lines(record, accelerator, found, predicted),
        figures=(*(figures if found.fits else ()), *memory),
        spans={name: Span(one.low_s, one.high_s, one.floor_s) for name, one in predicted.items()},
        inputs={
            "model": record.name,
            "accelerator": accelerator.name,
            "devices": load.devices,
            "batch": load.batch,
            "batching": found.batching,
            "input_tokens": load.input_tokens,
            "output_tokens": load.output_tokens,
            "tensor_parallel": load.tensor_parallel,
            "precision": load.precision,
            "engine": found.constants.name,
            "fits": found.fits,
            "queues": found.queues,
        },
        notes=_notes(record, accelerator, found),
        unknown=tuple(unknown),
    )


def _in_ms(one: Explained) -> Explained:
    return replace(one, name=f"{one.name.removesuffix('_s')}_ms")


def _wait(found: ServingEstimate) -> Explained:
    """Return the mean wait for a free slot, or for the waves of a static batch before one's own."""
    from llmdrill.estimate.explain import Explained, figure

    point, clients, resident = found.point, figure(found.load.batch), figure(found.resident)
    formula, filled = "0: every sequence is resident", "0"
    if found.wait_s and found.batching == "static":
        formula = "mean over the sequences of the waves before one's own × seconds of a wave"
        service = found.total_s.value_s - found.wait_s
        filled = f"{point.waves} waves of {resident}: {figure(found.wait_s / service)} × {figure(service)}"
    elif found.wait_s:
        service = found.wait_s * found.resident / (found.load.batch - found.resident)
        formula = "(clients - resident) / resident × service"
        filled = f"({clients} - {resident}) / {resident} × {figure(service)}"
    source = "Little 1961, doi:10.1287/opre.9.3.383"
    return Explained("wait_s", found.wait_s, "seconds", formula, f"{filled} = {figure(found.wait_s)} s", source)


def _rates(found: ServingEstimate) -> tuple[Explained, ...]:
    """Return the rate of writing now, and while more requests wait than the replica holds."""
    from llmdrill.estimate.explain import Explained, figure
    from llmdrill.estimate.serving_point import MOST_SEQUENCES

    load, now, most = found.load, found.output_tokens_per_s, found.max_output_tokens_per_s
    tokens = f"{figure(load.batch)} × {figure(load.output_tokens)}"
    together = min(float(found.max_sequences), MOST_SEQUENCES)
    each = together / most if most else 0.0
    return (
        Explained(
            "output_tokens_per_s",
            now,
            "per_second",
            "batch × output_tokens / seconds until each has its answer",
            f"{tokens} / {figure(load.batch * load.output_tokens / now)} = {figure(now)} / s",
            "Arithmetic",
        ),
        Explained(
            "max_output_tokens_per_s",
            most,
            "per_second",
            "b / (decode_step(b) + b / output_tokens × stall), b: as many sequences as the memory holds",
            f"{figure(together)} / {figure(each)} = {figure(most)} / s",
            f"{found.constants.source}; nothing was fitted to such runs",
        ),
    )


def _memory(found: ServingEstimate, accelerator: Accelerator) -> tuple[Explained, ...]:
    """Return what the replica holds at this load, and how many sequences it could."""
    from llmdrill.estimate.explain import Explained, figure
    from llmdrill.estimate.memory import USABLE_MEMORY_SHARE

    load = found.load
    fixed, each = found.fixed_bytes, found.sequence_bytes
    whole = accelerator.memory_bytes * load.devices
    room = f"{USABLE_MEMORY_SHARE:g} × ({figure(whole)} - {figure(fixed)}) / {figure(each)}"
    return (
        Explained(
            "memory_bytes",
            found.memory_bytes,
            "bytes",
            "weights and activations + cache and state of a full-length sequence × resident, over all devices",
            f"{figure(fixed)} + {figure(each)} × {figure(found.resident)} = {figure(found.memory_bytes)} B",
            "Arithmetic",
        ),
        Explained(
            "max_sequences",
            found.max_sequences,
            "count",
            "⌊0.9 × (memory - weights and activations) / cache and state of a full-length sequence⌋, over all devices",
            f"⌊{room}⌋ = {figure(found.max_sequences)}",
            "0.9 of what is free beside them: TensorRT-LLM's free_gpu_memory_fraction",
        ),
    )


def _lines(
    record: ModelRecord, accelerator: Accelerator, found: ServingEstimate, predicted: dict[str, Predicted]
) -> tuple[str, ...]:
    load, what = found.load, "client" if found.batching == "continuous" else "sequence"
    what += "" if found.load.batch == 1 else "s"
    devices = f"{load.devices} × {accelerator.name}"
    lines = [f"{record.name} in {load.precision} on {devices}, {found.batching} batching, {load.batch:g} {what}:"]
    if not found.fits:
        return (*lines, "  out of memory: not one sequence fits, so no time is estimated")
    for name, one in predicted.items():
        value, low, high, floor = (_time(each) for each in (one.value_s, one.low_s, one.high_s, one.floor_s))
        lines.append(f"  {name.removesuffix('_ms'):<6}{value}  (80 % band {low} to {high}, floor {floor})")
    if found.queues:
        lines.append(f"  queues: {_time(found.wait_s)} of the TTFT is the wait for a free slot")
    rate = f"{_rate(found.output_tokens_per_s)} output tokens/s now, {_rate(found.max_output_tokens_per_s)}/s at most"
    return (*lines, f"  {rate}; {format_bytes(found.memory_bytes)} of memory")


def _shortage(record: ModelRecord, accelerator: Accelerator, found: ServingEstimate) -> str:
    """Return what one sequence needs and what would hold it."""
    from llmdrill.catalog.load import LOCAL
    from llmdrill.estimate.memory import USABLE_MEMORY_SHARE
    from llmdrill.estimate.placement import Demand, fewest_devices

    load = found.load
    held = format_bytes(accelerator.memory_bytes * load.devices)
    needed = format_bytes(found.fixed_bytes + found.sequence_bytes / USABLE_MEMORY_SHARE)
    demand = Demand(found.weights_bytes, load.input_tokens + load.output_tokens, 1.0, load.cache_bytes_per_value)
    least = fewest_devices(record, demand, memory_bytes=accelerator.memory_bytes)
    remedy = "" if least is None else f"; the fewest that hold one: {least.devices} × {accelerator.name}"
    if accelerator.name == LOCAL:
        remedy = f": '{LOCAL}' is one machine"
    return f"does not fit: weights, activations and the room for one sequence take {needed} of {held}{remedy}"


def _rate(per_s: float) -> str:
    return f"{per_s:,.0f}" if per_s >= 100 else f"{per_s:.3g}"


def _time(seconds: float) -> str:
    return format_quantity(seconds, "seconds")


def _notes(record: ModelRecord, accelerator: Accelerator, found: ServingEstimate) -> tuple[str, ...]:
    notes = list(record.guessed)
    load = found.load
    longest, asked = record.max_context_tokens, load.input_tokens + load.output_tokens
    if longest is not None and asked > longest:
        notes.append(f"{record.name} was built for at most {longest:,} tokens of context")
    if found.queues:
        notes.append(_why_queued(found))
    if accelerator.note and found.constants.name == accelerator.name:
        cache = f"its cache takes {load.cache_bytes_per_value:g} bytes a value"
        notes.append(f"'{accelerator.name}' is this machine: {accelerator.note}; {cache}")
    if load.devices > 1 and accelerator.link_bytes_per_s is None:
        notes.append(f"no link of '{accelerator.name}' is known: PCIe 4 x16 is taken")
    if not found.fits:
        notes.append(_shortage(record, accelerator, found))
    elif found.batching == "continuous":
        notes.append("TTFT is the mean over ten requests a client, all clients starting at once")
    else:
        notes.append("TTFT is that of all sequences of the batch, inside the engine; forming the batch is not counted")
    return tuple(notes)


def _why_queued(found: ServingEstimate) -> str:
    """Say what keeps sequences waiting: the memory, or an engine that admits fewer than there are clients."""
    load, wait = found.load, _time(found.wait_s)
    if found.batching == "static":
        waves = f"{found.point.waves} waves of at most {found.resident:g}"
        return f"queues: the memory does not hold {load.batch:g} sequences at once: {waves}, a mean wait of {wait}"
    admits = f"the memory holds {found.resident:.3g} sequences"
    if found.max_sequences >= load.batch:
        admits = f"{found.constants.name} admits {found.resident:.3g} sequences"
    return f"queues: {load.batch:g} clients, but {admits}: the others wait {wait} for a slot, which is in the TTFT"
