"""`llmdrill calc kv`: the size of the key-value cache, and what fits an accelerator beside the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmdrill.cli.calc.answer import Answer
from llmdrill.cli.calc.options import Config, Model, On, model_record, share, whole
from llmdrill.errors import UsageError
from llmdrill.units import format_bytes

if TYPE_CHECKING:
    from llmdrill.catalog.records import AttentionShape, ModelRecord
    from llmdrill.estimate.explain import Explained
    from llmdrill.estimate.fit import Fit


def kv(
    *,
    model: Model = None,
    config: Config = None,
    layers: Annotated[str | None, typer.Option(help="Layers with a cache.")] = None,
    kv_heads: Annotated[str | None, typer.Option(help="Key-value heads of one layer.")] = None,
    head_dim: Annotated[str | None, typer.Option(help="Values of one head.")] = None,
    context: Annotated[
        str, typer.Option(help="Tokens of one sequence, such as 128k; with --on it may be left out.")
    ] = "",
    sequences: Annotated[str, typer.Option(help="Sequences resident at once.")] = "1",
    dtype: Annotated[str, typer.Option(help="fp16, bf16, fp8, int8, int4, q8_0, q4_0, nvfp4, fp32.")] = "fp16",
    block: Annotated[str, typer.Option(help="Tokens of one block of a paged cache; 1 for none.")] = "16",
    reserve: Annotated[
        str | None, typer.Option(help="Tokens that contiguous reservation keeps per sequence; default the longest.")
    ] = None,
    on: On = None,
    tp: Annotated[str, typer.Option(help="Devices that the model is split over.")] = "1",
    precision: Annotated[
        str | None, typer.Option(help="Of the weights beside it: bf16, fp8, awq-4bit, q4_k_m …; default as released.")
    ] = None,
    usable: Annotated[str, typer.Option(help="Share of the memory that may be filled.")] = "90%",
) -> Answer:
    """Size of the key-value cache."""
    if on is None and (tp, precision, usable) != ("1", None, "90%"):
        raise UsageError("--tp, --precision and --usable ask what fits a device: name it with --on")
    record = model_record(model, config)
    shape = _shape(record, {"layers": layers, "kv-heads": kv_heads, "head-dim": head_dim})
    if not context and on is None:
        raise UsageError("--context is missing: tokens of one sequence, such as 128k; or ask what fits with --on")
    tokens = whole("context", context) if context else None
    asked = _Asked(
        record=record,
        shape=shape,
        tokens=tokens,
        sequences=whole("sequences", sequences),
        dtype=dtype.lower(),
        block=whole("block", block),
        reserved=_reserved(record, reserve, tokens),
    )
    fit = None if on is None else _fit(asked, on, whole("tp", tp), precision, share("usable", usable, zero=False))
    return _answer(asked, fit)


@dataclass(frozen=True, slots=True)
class _Asked:
    """Whose cache was asked for, how long, how many, in what layout."""

    record: ModelRecord | None
    shape: AttentionShape
    tokens: int | None
    sequences: int
    dtype: str
    block: int
    reserved: int | None

    @property
    def value_bytes(self) -> float:
        from llmdrill.estimate.kv_cache import cache_bytes_per_value

        return cache_bytes_per_value(self.dtype)


def _answer(asked: _Asked, fit: Fit | None) -> Answer:
    figures = [*_sizes(asked), *_paging(asked), *_state(asked), *(fit.figures if fit else ())]
    guessed = asked.record.guessed if asked.record else ()
    return Answer(
        calculator="kv",
        lines=(*_lines(figures, asked), *_fit_lines(fit, asked.sequences, asked.tokens)),
        figures=tuple(figures),
        inputs=_inputs(asked, fit),
        notes=_notes(asked.record, asked.shape, asked.tokens) + _fit_notes(fit, asked.record) + guessed,
        unknown=_unknown(fit),
    )


def _fit(asked: _Asked, on: str, tensor_parallel: int, precision: str | None, usable_share: float) -> Fit:
    from llmdrill.catalog.load import find_accelerator
    from llmdrill.estimate.fit import fit_on

    return fit_on(
        _required(asked.record),
        accelerator=find_accelerator(on),
        tensor_parallel=tensor_parallel,
        weight_format=precision,
        usable_share=usable_share,
        context_tokens=asked.tokens,
        sequences=asked.sequences,
        cache_bytes_per_value=asked.value_bytes,
        block_tokens=asked.block,
    )


def _state(asked: _Asked) -> list[Explained]:
    """Return the state of the layers that keep no cache, if there are such."""
    from llmdrill.estimate.state import explain_state

    state = asked.record.state if asked.record else None
    return [] if state is None else [explain_state(state, sequences=asked.sequences)]


def _required(record: ModelRecord | None) -> ModelRecord:
    if record is None:
        raise UsageError("--on needs the weights too: give --model or --config")
    return record


def _reserved(record: ModelRecord | None, reserve: str | None, tokens: int | None) -> int | None:
    """Return the tokens that contiguous reservation keeps for a sequence."""
    if reserve is not None:
        reserved = whole("reserve", reserve)
        if tokens is not None and reserved < tokens:
            raise UsageError(f"--reserve {reserved:,} is less than --context {tokens:,}")
        return reserved
    longest = record.max_context_tokens if record else None
    return longest if longest is not None and tokens is not None and longest >= tokens else None


def _sizes(asked: _Asked) -> list[Explained]:
    """Return the cache of all sequences, of one, and of a token of it."""
    from llmdrill.estimate.explain import Explained, figure
    from llmdrill.estimate.kv_cache import explain_index_cache, explain_kv_cache

    if asked.tokens is None:
        return []
    shape, sequences, value_bytes = asked.shape, asked.sequences, asked.value_bytes
    total = explain_kv_cache(shape, context_tokens=asked.tokens, sequences=sequences, bytes_per_value=value_bytes)
    each = total.value / sequences
    figures = [
        total,
        Explained(
            name="kv_cache_bytes_per_sequence",
            value=each,
            unit="bytes",
            formula="kv_cache_bytes / sequences",
            filled=f"{figure(total.value)} / {figure(sequences)} = {figure(each)} B",
            source="Arithmetic",
        ),
        explain_kv_cache(shape, context_tokens=1, bytes_per_value=value_bytes, name="kv_cache_bytes_per_token"),
    ]
    if shape.index_values:
        figures.append(explain_index_cache(shape, context_tokens=asked.tokens, sequences=sequences))
    return figures


def _paging(asked: _Asked) -> list[Explained]:
    """Return what a paged cache takes and wastes, and what contiguous reservation would waste."""
    from llmdrill.estimate.kv_cache import explain_kv_cache
    from llmdrill.estimate.paging import explain_contiguous_waste, explain_paged_waste

    if asked.tokens is None or not asked.shape.layers:
        return []
    sequences, value_bytes = asked.sequences, asked.value_bytes
    figures = [
        explain_kv_cache(
            asked.shape,
            context_tokens=asked.tokens,
            sequences=sequences,
            bytes_per_value=value_bytes,
            block_tokens=asked.block,
            name="paged_kv_cache_bytes",
        ),
        explain_paged_waste(asked.shape, sequences=sequences, bytes_per_value=value_bytes, block_tokens=asked.block),
    ]
    if asked.reserved is not None:
        figures.append(
            explain_contiguous_waste(
                asked.shape,
                context_tokens=asked.tokens,
                reserved_tokens=asked.reserved,
                sequences=sequences,
                bytes_per_value=value_bytes,
            )
        )
    return figures


def _lines(figures: list[Explained], asked: _Asked) -> tuple[str, ...]:
    resident, block = asked.sequences, asked.block
    value = {one.name: one.value for one in figures}
    lines = []
    if "kv_cache_bytes" in value:
        tail = f", {format_bytes(value['kv_cache_bytes_per_sequence'])} per sequence" if resident != 1 else ""
        lines.append(f"KV cache: {format_bytes(value['kv_cache_bytes'])}{tail}")
        lines.append(f"per token of a short sequence: {format_bytes(value['kv_cache_bytes_per_token'])}")
    if "index_cache_bytes" in value:
        lines.append(f"keys of the sparse-attention indexer on top: {format_bytes(value['index_cache_bytes'])}")
    if "state_bytes" in value:
        lines.append(f"state of the layers without a cache, whatever the context: {format_bytes(value['state_bytes'])}")
    if "paged_kv_cache_bytes" in value and block > 1:
        wasted = f"half-filled last blocks waste {format_bytes(value['paged_waste_bytes'])} on average"
        lines.append(f"in blocks of {block} tokens: {format_bytes(value['paged_kv_cache_bytes'])}; {wasted}")
    if "contiguous_waste_bytes" in value:
        lines.append(f"reserved in one piece it would waste {format_bytes(value['contiguous_waste_bytes'])}")
    return tuple(lines)


def _fit_lines(fit: Fit | None, resident: float, tokens: int | None) -> list[str]:
    if fit is None:
        return []
    room = fit.placement.cache_room_bytes or 0.0
    split = f"{fit.placement.tensor_parallel} × " if fit.placement.tensor_parallel > 1 else ""
    lines = [f"on {split}{fit.accelerator}: weights {format_bytes(fit.weights_bytes)} in {fit.weight_format}"]
    if room <= 0:
        return [*lines, f"the weights do not fit: {format_bytes(fit.placement.weights_bytes)} on each device"]
    lines.append(f"room for cache and state: {format_bytes(room)} on each device")
    each = f"{resident:,.0f} sequences" if resident != 1 else "one sequence"
    if fit.max_context_tokens is not None:
        lines.append(f"longest context of {each}: {fit.max_context_tokens:,} tokens")
    if fit.max_sequences is not None:
        lines.append(f"most sequences of {tokens:,} tokens: {fit.max_sequences:,}")
    return lines


def _fit_notes(fit: Fit | None, record: ModelRecord | None) -> tuple[str, ...]:
    if fit is None or record is None:
        return ()
    notes = []
    if fit.copies > 1:
        notes.append(f"its heads do not split over the devices: the cache is stored {fit.copies:g} times")
    if fit.max_context_tokens is None:
        notes.append("the context is not bounded by memory: the cache stops growing (windows, or state alone)")
    elif record.max_context_tokens is not None and fit.max_context_tokens > record.max_context_tokens:
        notes.append(f"memory would hold more than the {record.max_context_tokens:,} tokens it was built for")
    return tuple(notes)


def _unknown(fit: Fit | None) -> tuple[str, ...]:
    answers = {} if fit is None else {"max_context_tokens": fit.max_context_tokens, "max_sequences": fit.max_sequences}
    return tuple(name for name, value in answers.items() if value is None)


def _inputs(asked: _Asked, fit: Fit | None) -> dict[str, Any]:
    shape = asked.shape
    placed = {} if fit is None else {"accelerator": fit.accelerator, "tensor_parallel": fit.placement.tensor_parallel}
    return {
        "model": asked.record.name if asked.record else None,
        "attention": shape.kind,
        "layers": shape.layers,
        "kv_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "context_tokens": asked.tokens,
        "sequences": asked.sequences,
        "dtype": asked.dtype,
        "block_tokens": asked.block,
        **placed,
    }


def _shape(record: ModelRecord | None, numbers: dict[str, str | None]) -> AttentionShape:
    """Return the shape that the model or the options describe."""
    from llmdrill.catalog.architecture import AttentionShape

    given = [name for name, value in numbers.items() if value is not None]
    if record is not None:
        if given:
            raise UsageError("give --model, --config, or --layers with --kv-heads and --head-dim: one of the three")
        if record.kind == "encoder":
            raise UsageError(f"'{record.name}' is an encoder: it keeps no key-value cache")
        return record.attention
    missing = [f"--{name}" for name in numbers if name not in given]
    if missing:
        raise UsageError(f"{' and '.join(missing)} missing; or give --model or --config")
    counts = {name: whole(name, str(value)) for name, value in numbers.items()}
    return AttentionShape(layers=counts["layers"], kv_heads=counts["kv-heads"], head_dim=counts["head-dim"])


def _notes(record: ModelRecord | None, shape: AttentionShape, tokens: int | None) -> tuple[str, ...]:
    notes = []
    longest = record.max_context_tokens if record else None
    if record is not None and longest is not None and tokens is not None and tokens > longest:
        notes.append(f"{record.name} was built for at most {longest:,} tokens of context")
    if shape.windows:
        notes.append("windowed layers keep their window only; an engine without that feature needs the whole context")
    if record is not None and not shape.layers:
        notes.append(f"{record.name} has no attention: it keeps a state and no cache")
    return tuple(notes)
