"""`llmdrill calc flops`: FLOPs of prefill and decode, arithmetic intensity, the ridge, MFU and MBU of a measurement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

import typer

from llmdrill.cli.calc.answer import Answer
from llmdrill.cli.calc.options import Config, Model, On, quantity, required_model, whole
from llmdrill.errors import UsageError
from llmdrill.estimate.explain import Explained, figure
from llmdrill.units import format_bytes, format_quantity, format_share

if TYPE_CHECKING:
    from llmdrill.catalog.records import Accelerator, ModelRecord
    from llmdrill.units import Dimension

_KAPLAN: Final = "Kaplan et al. 2020, arXiv:2001.08361, section 2.1"
_MFU: Final = "karpathy/nanoGPT@0011cd44, model.py, estimate_mfu, after PaLM, arXiv:2204.02311, appendix B"
_MBU: Final = "Databricks 2023, LLM Inference Performance Engineering: Best Practices"
_ROOFLINE: Final = "Williams et al. 2009, Roofline, doi:10.1145/1498765.1498785"


@dataclass(frozen=True, slots=True)
class _Step:
    """One decode step of a batch: what it computes and what it reads."""

    flops: float
    weights_bytes: float
    cache_bytes: float

    @property
    def moved_bytes(self) -> float:
        return self.weights_bytes + self.cache_bytes


def flops(
    *,
    model: Model = None,
    config: Config = None,
    context: Annotated[str, typer.Option(help="Tokens of the prompt, and of the cache in decode.")] = "1k",
    cached: Annotated[str, typer.Option(help="Tokens of a prefix cache before the prompt.")] = "0",
    batch: Annotated[str, typer.Option(help="Sequences of one decode step.")] = "1",
    precision: Annotated[
        str | None, typer.Option(help="Of the weights: bf16, fp8, awq-4bit, q4_k_m …; default as released.")
    ] = None,
    kv_dtype: Annotated[str, typer.Option(help="Of the cache: fp16, fp8, int4, q8_0 …")] = "fp16",
    on: On = None,
    tp: Annotated[str, typer.Option(help="Devices that worked on it.")] = "1",
    measured_tokens_per_s: Annotated[
        str | None, typer.Option(help="Decode throughput that was measured, all sequences together.")
    ] = None,
    measured_prefill_tokens_per_s: Annotated[
        str | None, typer.Option(help="Prompt tokens per second that were measured.")
    ] = None,
) -> Answer:
    """FLOPs of prefill and decode, intensity, ridge, MFU and MBU."""
    record = required_model(model, config)
    tokens, before = whole("context", context), whole("cached", cached, zero=True)
    sequences, devices = whole("batch", batch), whole("tp", tp)
    measured = [measured_tokens_per_s, measured_prefill_tokens_per_s]
    if on is None and any(measured):
        raise UsageError("a measurement is held against a device: say which with --on")
    name, step = _step(record, tokens, sequences, precision, kv_dtype)
    figures = [*_prefill(record, tokens, before), *_decode(record, tokens, sequences, step)]
    lines = [
        f"prefill of {tokens:,} tokens: {_flop(figures[0].value)}, {_flop(figures[1].value)} a token",
        f"decode at {tokens:,} tokens: {_flop(_value(figures, 'decode_flops_per_token'))} a token",
        _step_line(sequences, step),
    ]
    if on is not None:
        from llmdrill.catalog.load import find_accelerator

        device = find_accelerator(on)
        roofline, told = _roofline(device, name, step)
        figures += roofline
        lines.append(told)
        rates = _measured(device, name, step, figures, devices, sequences, *measured)
        figures += rates
        lines += [f"{one.name.removesuffix('_share').replace('_', ' ')}: {format_share(one.value)}" for one in rates]
    return Answer(
        calculator="flops",
        lines=tuple(lines),
        figures=tuple(figures),
        inputs={
            "model": record.name,
            "context_tokens": tokens,
            "cached_tokens": before,
            "batch": sequences,
            "precision": name,
            "kv_dtype": kv_dtype.lower(),
            "accelerator": None if on is None else device.name,
            "devices": devices,
        },
        notes=_notes(record, figures) + record.guessed,
    )


def _step_line(sequences: int, step: _Step) -> str:
    moved = format_bytes(step.moved_bytes)
    return (
        f"a step of {sequences:,}: {_flop(step.flops)} and {moved}, {step.flops / step.moved_bytes:.3g} FLOP per byte"
    )


def _value(figures: list[Explained], name: str) -> float:
    return next(one.value for one in figures if one.name == name)


def _flop(value: float) -> str:
    return format_quantity(value, "flops").replace("/s", "")


def _one(name: str, value: float, formula: str, filled: str, source: str, unit: Dimension = "count") -> Explained:
    return Explained(name=name, value=value, unit=unit, formula=formula, filled=filled, source=source)


def _prefill(record: ModelRecord, tokens: int, cached: int) -> list[Explained]:
    from llmdrill.estimate.flops import matmul_parameters, prefill_flops
    from llmdrill.estimate.state import state_flops

    total = prefill_flops(record, input_tokens=tokens, cached_tokens=cached)
    linear, state = 2 * matmul_parameters(record) * tokens, state_flops(record.state, tokens=tokens)
    parts = f"{figure(linear)} + {figure(total - linear - state)}" + (f" + {figure(state)}" if state else "")
    formula = "2 × matmul_parameters × tokens + attention" + (" + state" if state else "")
    return [
        _one("prefill_flops", total, formula, f"{parts} = {figure(total)}", _KAPLAN),
        _one(
            "prefill_flops_per_token",
            total / tokens,
            "prefill_flops / tokens",
            f"{figure(total)} / {figure(tokens)} = {figure(total / tokens)}",
            "Arithmetic",
        ),
    ]


def _decode(record: ModelRecord, tokens: int, sequences: int, step: _Step) -> list[Explained]:
    from llmdrill.estimate.flops import attention_flops, matmul_parameters
    from llmdrill.estimate.state import state_flops

    linear = 2 * matmul_parameters(record)
    attention = attention_flops(record.attention, tokens=1, context_tokens=tokens, absorbed=True)
    state = state_flops(record.state, tokens=1)
    total = linear + attention + state
    parts = f"{figure(linear)} + {figure(attention)}" + (f" + {figure(state)}" if state else "")
    formula = "2 × matmul_parameters + attention" + (" + state" if state else "")
    figures = [
        _one("decode_flops_per_token", total, formula, f"{parts} = {figure(total)}", _KAPLAN),
        _one(
            "attention_flops_per_token",
            attention,
            "Σ layers × 2 × heads × (head_dim + value_dim) × min(context, window)",
            f"at {figure(tokens)} tokens: {figure(attention)}",
            "Kaplan et al. 2020, arXiv:2001.08361, table 1",
        ),
    ]
    if state:
        figures.append(
            _one("state_flops_per_token", state, "layers × operations per value", figure(state), "Arithmetic")
        )
    intensity = step.flops / step.moved_bytes
    figures += [
        _one(
            "step_flops",
            step.flops,
            "decode_flops_per_token × batch",
            f"{figure(total)} × {sequences} = {figure(step.flops)}",
            "Arithmetic",
        ),
        _one(
            "step_bytes",
            step.moved_bytes,
            "weights read + cache and state of the batch",
            f"{figure(step.weights_bytes)} + {figure(step.cache_bytes)} = {figure(step.moved_bytes)} B",
            "Arithmetic",
            "bytes",
        ),
        _one(
            "arithmetic_intensity_flops_per_byte",
            intensity,
            "step_flops / step_bytes",
            f"{figure(step.flops)} / {figure(step.moved_bytes)} = {intensity:.4g}",
            _ROOFLINE,
        ),
    ]
    return figures


def _step(record: ModelRecord, tokens: int, sequences: int, precision: str | None, kv_dtype: str) -> tuple[str, _Step]:
    """Return the format of the weights, and what one decode step computes and reads."""
    from llmdrill.estimate.fit import released_bytes
    from llmdrill.estimate.flops import decode_flops
    from llmdrill.estimate.kv_cache import cache_bytes_per_value, index_cache_bytes, kv_cache_bytes
    from llmdrill.estimate.serving_work import read_parameters
    from llmdrill.estimate.state import state_bytes

    if record.kind == "encoder":
        raise UsageError(f"'{record.name}' is an encoder: it writes no tokens")
    name, weights = released_bytes(record, precision)
    table = 0 if record.tied_embeddings else record.embedding_parameters or 0  # looked up, not read
    multiplied = (record.parameters or 0) - table
    lookup = table * (weights / (record.parameters or 1) if name in {"fp32", "fp16", "bf16"} else 2.0)
    read = (weights - lookup) * read_parameters(record, tokens=sequences) / multiplied
    cache = kv_cache_bytes(
        record.attention,
        context_tokens=tokens,
        sequences=sequences,
        bytes_per_value=cache_bytes_per_value(kv_dtype.lower()),
    )
    cache += index_cache_bytes(record.attention, context_tokens=tokens, sequences=sequences)
    cache += state_bytes(record.state, sequences=sequences)
    return name, _Step(sequences * decode_flops(record, context_tokens=tokens), read, cache)


def _rate(device: Accelerator, name: str) -> float:
    from llmdrill.estimate.serving_load import peak_flops_per_s

    multiplied = "fp8" if name.startswith("fp8") else "fp4" if name in {"fp4", "mxfp4", "nvfp4"} else "bf16"
    return peak_flops_per_s(device, multiplied)


def _tokens_per_s(name: str, text: str) -> float:
    """Return a throughput, written as a rate (``500 tok/s``) or as a count (``12k``)."""
    return quantity(name, text, "per_second" if "/" in text else "count")


def _roofline(device: Accelerator, name: str, step: _Step) -> tuple[list[Explained], str]:
    from llmdrill.estimate.flops import ridge_flops_per_byte

    rate = _rate(device, name)
    ridge = ridge_flops_per_byte(flops_per_s=rate, bandwidth_bytes_per_s=device.bandwidth_bytes_per_s)
    filled = f"{figure(rate)} / {figure(device.bandwidth_bytes_per_s)} = {ridge:.4g}"
    one = _one("ridge_flops_per_byte", ridge, "peak FLOP/s / bandwidth", filled, f"{_ROOFLINE}; peaks: {device.source}")
    bound = "memory" if step.flops / step.moved_bytes < ridge else "arithmetic"
    return [one], f"ridge of {device.name}: {ridge:.3g} FLOP per byte: the step is bound by {bound}"


def _measured(
    device: Accelerator,
    name: str,
    step: _Step,
    figures: list[Explained],
    devices: int,
    sequences: int,
    decoded: str | None,
    prefilled: str | None,
) -> list[Explained]:
    """Return MFU and MBU of the measurements that were given."""
    from llmdrill.estimate.flops import mbu_share, mfu_share

    rate, found = _rate(device, name), []
    if decoded is not None:
        per_s = _tokens_per_s("measured-tokens-per-s", decoded)
        each = _value(figures, "decode_flops_per_token")
        used = mfu_share(flops_per_token=each, tokens_per_s=per_s, peak_flops_per_s=rate, devices=devices)
        step_s = sequences / per_s
        read = mbu_share(
            bytes_per_step=step.moved_bytes,
            step_s=step_s,
            bandwidth_bytes_per_s=device.bandwidth_bytes_per_s,
            devices=devices,
        )
        filled = f"{figure(each)} × {per_s:g} / ({devices} × {figure(rate)}) = {used:.4g}"
        found.append(
            _one("mfu_share", used, "flops_per_token × tokens_per_s / (devices × peak)", filled, _MFU, "share")
        )
        width = figure(device.bandwidth_bytes_per_s)
        filled = f"{figure(step.moved_bytes)} / {step_s:.6g} s / ({devices} × {width}) = {read:.4g}"
        found.append(_one("mbu_share", read, "step_bytes / step_s / (devices × bandwidth)", filled, _MBU, "share"))
    if prefilled is not None:
        per_s = _tokens_per_s("measured-prefill-tokens-per-s", prefilled)
        each = _value(figures, "prefill_flops_per_token")
        used = mfu_share(flops_per_token=each, tokens_per_s=per_s, peak_flops_per_s=rate, devices=devices)
        filled = f"{figure(each)} × {per_s:g} / ({devices} × {figure(rate)}) = {used:.4g}"
        formula = "prefill_flops_per_token × tokens_per_s / (devices × peak)"
        found.append(_one("prefill_mfu_share", used, formula, filled, _MFU, "share"))
    return found


def _notes(record: ModelRecord, figures: list[Explained]) -> tuple[str, ...]:
    notes = []
    if any(one.unit == "share" and one.value > 1 for one in figures):
        notes.append("a share above 100%: more devices, another precision, or tokens that came from a cache?")
    if record.experts is not None:
        notes.append("weights read: the experts that a batch is expected to touch, if tokens choose evenly")
    return tuple(notes)
