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
class _Asked:
    """Which model, at which context and batch, stored how, on what."""

    record: ModelRecord
    tokens: int
    cached: int
    sequences: int
    precision: str
    kv_dtype: str
    device: Accelerator | None
    devices: int


@dataclass(frozen=True, slots=True)
class _Step:
    """One decode step of a batch: what it computes and what it reads."""

    flops: float
    weights_bytes: float
    cache_bytes: float

    @property
    def moved_bytes(self) -> float:
        return self.weights_bytes + self.cache_bytes

    @property
    def intensity(self) -> float:
        """FLOP per byte."""
        from llmdrill.estimate.flops import arithmetic_intensity

        return arithmetic_intensity(flops=self.flops, moved_bytes=self.moved_bytes)


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
    from llmdrill.estimate.fit import released_bytes

    record = required_model(model, config)
    if record.kind == "encoder":
        raise UsageError(f"'{record.name}' is an encoder: it writes no tokens")
    measured = [measured_tokens_per_s, measured_prefill_tokens_per_s]
    if on is None and (any(measured) or tp != "1"):
        raise UsageError("a measurement and --tp are of a device: say which with --on")
    asked = _Asked(
        record=record,
        tokens=whole("context", context),
        cached=whole("cached", cached, zero=True),
        sequences=whole("batch", batch),
        precision=released_bytes(record, precision)[0],
        kv_dtype=kv_dtype.lower(),
        device=None if on is None else _accelerator(on),
        devices=whole("tp", tp),
    )
    return _answer(asked, *measured)


def _accelerator(name: str) -> Accelerator:
    from llmdrill.catalog.load import find_accelerator

    return find_accelerator(name)


def _answer(asked: _Asked, decoded: str | None, prefilled: str | None) -> Answer:
    step = _step(asked)
    figures = [*_prefill(asked), *_decode(asked, step)]
    rates: list[Explained] = []
    if asked.device is not None:
        figures.append(_ridge(asked.device, asked.precision))
        rates = [*_decode_use(asked, asked.device, step, decoded), *_prefill_use(asked, asked.device, prefilled)]
    return Answer(
        calculator="flops",
        lines=tuple(_lines(asked, step, {one.name: one.value for one in figures}, rates)),
        figures=(*figures, *rates),
        inputs={
            "model": asked.record.name,
            "context_tokens": asked.tokens,
            "cached_tokens": asked.cached,
            "batch": asked.sequences,
            "precision": asked.precision,
            "kv_dtype": asked.kv_dtype,
            "accelerator": asked.device.name if asked.device else None,
            "devices": asked.devices,
        },
        notes=_notes(asked, rates) + asked.record.guessed,
    )


def _lines(asked: _Asked, step: _Step, value: dict[str, float], rates: list[Explained]) -> list[str]:
    """Return what a person reads: prefill, decode, a step, and what holds it up."""
    each, moved = _flop(value["prefill_flops_per_token"]), format_bytes(step.moved_bytes)
    lines = [
        f"prefill of {asked.tokens:,} tokens: {_flop(value['prefill_flops'])}, {each} a token",
        f"decode at {asked.tokens:,} tokens: {_flop(value['decode_flops_per_token'])} a token",
        f"a step of {asked.sequences:,}: {_flop(step.flops)} and {moved}, {step.intensity:.3g} FLOP per byte",
    ]
    if asked.device is not None:
        ridge = value["ridge_flops_per_byte"]
        bound = "memory" if step.intensity < ridge else "arithmetic"
        lines.append(f"ridge of {asked.device.name}: {ridge:.3g} FLOP per byte: the step is bound by {bound}")
    return lines + [f"{one.name.removesuffix('_share').replace('_', ' ')}: {format_share(one.value)}" for one in rates]


def _flop(value: float) -> str:
    return format_quantity(value, "flops").replace("/s", "")


def _one(name: str, value: float, formula: str, filled: str, source: str, unit: Dimension = "count") -> Explained:
    return Explained(name=name, value=value, unit=unit, formula=formula, filled=filled, source=source)


def _prefill(asked: _Asked) -> list[Explained]:
    from llmdrill.estimate.flops import matmul_parameters, prefill_flops
    from llmdrill.estimate.state import state_flops

    tokens, multiplied = asked.tokens, matmul_parameters(asked.record)
    total = prefill_flops(asked.record, input_tokens=tokens, cached_tokens=asked.cached)
    state = state_flops(asked.record.state, tokens=tokens)
    parts = f"2 × {figure(multiplied)} × {figure(tokens)} + {figure(total - 2 * multiplied * tokens - state)}"
    formula = "2 × matmul_parameters × tokens + attention under a causal mask"
    if state:
        parts, formula = f"{parts} + {figure(state)}", f"{formula} + state"
    each = total / tokens
    filled = f"{figure(total)} / {figure(tokens)} = {figure(each)}"
    return [
        _one("prefill_flops", total, formula, f"{parts} = {figure(total)}", _KAPLAN),
        _one("prefill_flops_per_token", each, "prefill_flops / tokens", filled, "Arithmetic"),
    ]


def _decode(asked: _Asked, step: _Step) -> list[Explained]:
    from llmdrill.estimate.flops import explain_attention, matmul_parameters
    from llmdrill.estimate.state import explain_state_flops

    parts = [explain_attention(asked.record.attention, context_tokens=asked.tokens)]
    formula = "2 × matmul_parameters + attention"
    if asked.record.state is not None:
        parts.append(explain_state_flops(asked.record.state))
        formula += " + state"
    multiplied, total = matmul_parameters(asked.record), step.flops / asked.sequences
    filled = " + ".join((f"2 × {figure(multiplied)}", *(figure(one.value) for one in parts)))
    token = _one("decode_flops_per_token", total, formula, f"{filled} = {figure(total)}", _KAPLAN)
    return [token, *parts, *_step_figures(asked, step, total)]


def _step_figures(asked: _Asked, step: _Step, each: float) -> list[Explained]:
    all_flops, moved = figure(step.flops), figure(step.moved_bytes)
    read = f"{figure(step.weights_bytes)} + {figure(step.cache_bytes)} = {moved} B"
    return [
        _one(
            "step_flops",
            step.flops,
            "decode_flops_per_token × batch",
            f"{figure(each)} × {asked.sequences} = {all_flops}",
            "Arithmetic",
        ),
        _one(
            "step_bytes", step.moved_bytes, "weights read + cache and state of the batch", read, "Arithmetic", "bytes"
        ),
        _one(
            "arithmetic_intensity_flops_per_byte",
            step.intensity,
            "step_flops / step_bytes",
            f"{all_flops} / {moved} = {step.intensity:.4g}",
            _ROOFLINE,
        ),
    ]


def _step(asked: _Asked) -> _Step:
    """Return what one decode step computes and reads."""
    from llmdrill.estimate.flops import decode_flops
    from llmdrill.estimate.kv_cache import cache_bytes_per_value, index_cache_bytes, kv_cache_bytes
    from llmdrill.estimate.state import state_bytes
    from llmdrill.estimate.weights_read import weights_read_bytes

    record, tokens, sequences = asked.record, asked.tokens, asked.sequences
    few = record.attention.index_tokens
    cache = kv_cache_bytes(
        record.attention,
        context_tokens=tokens if few is None else min(tokens, few),
        sequences=sequences,
        bytes_per_value=cache_bytes_per_value(asked.kv_dtype),
    )
    cache += index_cache_bytes(record.attention, context_tokens=tokens, sequences=sequences)
    cache += state_bytes(record.state, sequences=sequences)
    weights = weights_read_bytes(record, weight_format=asked.precision, tokens=sequences)
    return _Step(sequences * decode_flops(record, context_tokens=tokens), weights, cache)


def _rate(device: Accelerator, name: str) -> float:
    """Return the peak of the width that weights of a format are multiplied in: 16 bits where they are only stored."""
    from llmdrill.estimate.memory import BYTES_PER_VALUE
    from llmdrill.estimate.serving_load import peak_flops_per_s

    width = {"fp8-block": "fp8", "mxfp4": "fp4", "nvfp4": "fp4"}.get(name, name)
    return peak_flops_per_s(device, width if width in BYTES_PER_VALUE else "bf16")


def _tokens_per_s(name: str, text: str) -> float:
    """Return a throughput, written as a rate (``500 tok/s``) or as a count (``12k``)."""
    return quantity(name, text, "per_second" if "/" in text else "count")


def _ridge(device: Accelerator, name: str) -> Explained:
    from llmdrill.estimate.flops import ridge_flops_per_byte

    rate, width = _rate(device, name), device.bandwidth_bytes_per_s
    ridge = ridge_flops_per_byte(flops_per_s=rate, bandwidth_bytes_per_s=width)
    filled = f"{figure(rate)} / {figure(width)} = {ridge:.4g}"
    source = f"{_ROOFLINE}; peaks: {device.source}"
    return _one("ridge_flops_per_byte", ridge, "peak FLOP/s / bandwidth", filled, source)


def _decode_use(asked: _Asked, device: Accelerator, step: _Step, measured: str | None) -> list[Explained]:
    """Return MFU and MBU of a decode throughput that was measured."""
    from llmdrill.estimate.flops import mbu_share

    if measured is None:
        return []
    per_s, width = _tokens_per_s("measured-tokens-per-s", measured), device.bandwidth_bytes_per_s
    step_s = asked.sequences / per_s
    read = mbu_share(bytes_per_step=step.moved_bytes, step_s=step_s, bandwidth_bytes_per_s=width, devices=asked.devices)
    filled = f"{figure(step.moved_bytes)} / {step_s:.9g} / ({asked.devices} × {figure(width)}) = {read:.4g}"
    formula = "step_bytes / step_s / (devices × bandwidth)"
    return [
        _mfu("mfu_share", asked, device, step.flops / asked.sequences, per_s),
        _one("mbu_share", read, formula, filled, _MBU, "share"),
    ]


def _prefill_use(asked: _Asked, device: Accelerator, measured: str | None) -> list[Explained]:
    """Return MFU of a prefill throughput that was measured."""
    from llmdrill.estimate.flops import prefill_flops

    if measured is None:
        return []
    per_s = _tokens_per_s("measured-prefill-tokens-per-s", measured)
    total = prefill_flops(asked.record, input_tokens=asked.tokens, cached_tokens=asked.cached)
    return [_mfu("prefill_mfu_share", asked, device, total / asked.tokens, per_s)]


def _mfu(name: str, asked: _Asked, device: Accelerator, each: float, per_s: float) -> Explained:
    from llmdrill.estimate.flops import mfu_share

    rate = _rate(device, asked.precision)
    used = mfu_share(flops_per_token=each, tokens_per_s=per_s, peak_flops_per_s=rate, devices=asked.devices)
    filled = f"{figure(each)} × {per_s:g} / ({asked.devices} × {figure(rate)}) = {used:.4g}"
    return _one(name, used, "flops_per_token × tokens_per_s / (devices × peak)", filled, _MFU, "share")


def _notes(asked: _Asked, rates: list[Explained]) -> tuple[str, ...]:
    record, longest, notes = asked.record, asked.record.max_context_tokens, []
    if longest is not None and asked.tokens + asked.cached > longest:
        notes.append(f"{record.name} was built for at most {longest:,} tokens of context")
    if any(one.value > 1 for one in rates):
        notes.append("a share above 100%: more devices, another precision, or tokens that came from a cache?")
    if record.experts is not None:
        notes.append("weights read: the experts that a batch is expected to touch, if tokens choose evenly")
    return tuple(notes)
