"""`llmdrill calc latency`: time to first token, time per token and total of a model on accelerators of one's own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from llmdrill.cli.calc.answer import Answer, Span
from llmdrill.cli.calc.options import Config, Model, required_model, share, whole
from llmdrill.errors import UnknownNameError, UsageError
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
    precision: Annotated[str, typer.Option(help="Of the weights: bf16, fp8, fp4, int8, int4, fp32.")] = "bf16",
    kv_dtype: Annotated[str, typer.Option(help="Of the cache: fp16, fp8, int4 …")] = "fp16",
    prefix: Annotated[str, typer.Option(help="Share of a prompt read from a prefix cache: 0.5, 50%.")] = "0",
    accept: Annotated[str | None, typer.Option(help="Speculative decoding: share of drafts accepted.")] = None,
    draft: Annotated[str, typer.Option(help="Tokens drafted before each pass.")] = "4",
    draft_cost: Annotated[str, typer.Option(help="One draft pass as a share of one step of the model.")] = "0.05",
    engine: _Engine = "default",
) -> Answer:
    """Time to first token and per token of a self-hosted model."""
    record = required_model(model, config)
    accelerator = _accelerator(on)
    _check_engine(engine)
    from llmdrill.estimate.kv_cache import cache_bytes_per_value
    from llmdrill.estimate.serving import serving_estimate

    found = serving_estimate(
        record,
        accelerator,
        batch=whole("batch", batch),
        input_tokens=whole("input", input_),
        output_tokens=whole("output", output),
        tensor_parallel=whole("tp", tp),
        data_parallel=whole("dp", dp),
        expert_parallel=whole("ep", ep),
        precision=precision.lower(),
        cache_bytes_per_value=cache_bytes_per_value(kv_dtype.lower()),
        engine=engine,
        batching=batching,
        prefix_share=share("prefix", prefix),
        speculation=_speculation(accept, draft, draft_cost),
    )
    return _answer(record, accelerator, found)


def _accelerator(name: str) -> Accelerator:
    from llmdrill.catalog.load import find_accelerator

    return find_accelerator(name)


def _check_engine(name: str) -> None:
    from llmdrill.catalog.load import find_serving, load_serving

    try:
        find_serving(name)
    except UnknownNameError as unknown:
        known = ", ".join(engine.name for engine in load_serving())
        raise UsageError(f"{unknown}; one of {known}") from None


def _speculation(accept: str | None, draft: str, draft_cost: str) -> Speculation | None:
    if accept is None:
        return None
    from llmdrill.estimate.serving_point import Speculation

    return Speculation(share("accept", accept), whole("draft", draft), share("draft-cost", draft_cost))


def _answer(record: ModelRecord, accelerator: Accelerator, found: ServingEstimate) -> Answer:
    tpot, ttft, total = found.formulas
    predicted = {"ttft_ms": found.ttft_s, "tpot_ms": found.tpot_s, "total_ms": found.total_s}
    figures = [replace(one, name=f"{one.name.removesuffix('_s')}_ms") for one in (ttft, tpot, total)]
    load = found.load
    return Answer(
        calculator="latency",
        lines=_lines(record, accelerator, found, predicted),
        figures=(*figures, *_more(found)),
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
    )


def _more(found: ServingEstimate) -> tuple[Explained, ...]:
    from llmdrill.estimate.explain import Explained, figure

    load, resident = found.load, found.resident
    memory = f"{figure(found.weights_bytes)} B of weights + {figure(found.memory_bytes - found.weights_bytes)} B of "
    return (
        Explained(
            "output_tokens_per_s",
            found.output_tokens_per_s,
            "per_second",
            "batch × output_tokens / total",
            f"{figure(load.batch)} × {figure(load.output_tokens)} / {figure(found.total_s.value_s)} s = "
            f"{figure(found.output_tokens_per_s)} / s",
            "Arithmetic",
        ),
        Explained(
            "max_output_tokens_per_s",
            found.max_output_tokens_per_s,
            "per_second",
            "b / (decode_step(b) + b / output_tokens × stall), b: as many sequences as the memory holds",
            f"b = {figure(found.max_sequences)}: {figure(found.max_output_tokens_per_s)} / s",
            f"{found.constants.source}; nothing was fitted to such runs",
        ),
        Explained(
            "memory_bytes",
            found.memory_bytes,
            "bytes",
            "weights + cache of the resident sequences at full length, over all devices",
            f"{memory}{figure(resident)} sequences = {figure(found.memory_bytes)} B",
            "Arithmetic",
        ),
        Explained(
            "max_sequences",
            found.max_sequences,
            "count",
            "0.9 × (memory − weights) / cache of one full-length sequence, on each device",
            f"{figure(found.max_sequences)} sequences of {figure(load.input_tokens + load.output_tokens)} tokens",
            "0.9: TensorRT-LLM's free_gpu_memory_fraction",
        ),
    )


def _lines(
    record: ModelRecord, accelerator: Accelerator, found: ServingEstimate, predicted: dict[str, Predicted]
) -> tuple[str, ...]:
    load, what = found.load, "clients" if found.batching == "continuous" else "sequences"
    devices = f"{load.devices} × {accelerator.name}"
    head = f"{record.name} in {load.precision} on {devices}, {found.batching} batching, {load.batch:g} {what}:"
    lines = [head]
    for name, one in predicted.items():
        value, low, high, floor = (_time(each) for each in (one.value_s, one.low_s, one.high_s, one.floor_s))
        lines.append(f"  {name.removesuffix('_ms'):<6}{value}  (80 % band {low} to {high}, floor {floor})")
    most = f", {found.max_output_tokens_per_s:,.0f}/s at most" if found.fits else ""
    lines.append(
        f"  {found.output_tokens_per_s:,.0f} output tokens/s now{most}; {format_bytes(found.memory_bytes)} of memory"
    )
    return tuple(lines)


def _time(seconds: float) -> str:
    return format_quantity(seconds, "seconds")


def _notes(record: ModelRecord, accelerator: Accelerator, found: ServingEstimate) -> tuple[str, ...]:
    notes = list(record.guessed)
    load = found.load
    if not found.fits:
        held = format_bytes(accelerator.memory_bytes * load.devices)
        weights = format_bytes(found.weights_bytes)
        notes.append(f"does not fit: weights of {weights} and the cache beside them on {held}; times are as if it did")
    elif found.queues:
        notes.append(
            f"{load.batch:g} clients, but the memory holds {found.resident:.3g} sequences: the others wait "
            f"{_time(found.wait_s)} for a slot, which is in the TTFT"
        )
    if load.devices > 1 and accelerator.link_bytes_per_s is None:
        notes.append(f"no link of '{accelerator.name}' is known: PCIe 4 x16 is taken")
    if found.batching == "continuous":
        notes.append("TTFT is the mean over ten requests a client, all clients starting at once")
    else:
        notes.append("TTFT is that of all sequences of the batch, inside the engine; forming the batch is not counted")
    return tuple(notes)
