"""`llmdrill calc kv`: the size of the key-value cache, and what fits an accelerator beside the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmdrill.cli.calc.answer import Answer
from llmdrill.cli.calc.options import Config, Model, On, model_record, share, whole
from llmdrill.cli.show import count_option
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
    from llmdrill.estimate.kv_cache import cache_bytes_per_value

    record = model_record(model, config)
    shape = _shape(record, layers=layers, kv_heads=kv_heads, head_dim=head_dim)
    if not context and on is None:
        raise UsageError("--context is missing: tokens of one sequence, such as 128k; or ask what fits with --on")
    tokens = whole("context", context) if context else None
    resident = count_option("sequences", sequences)
    value_bytes, block_tokens = cache_bytes_per_value(dtype.lower()), whole("block", block)
    reserved = _reserved(record, reserve, tokens)
    figures: list[Explained] = []
    if tokens is not None:
        figures += _sizes(shape, tokens, resident, value_bytes)
        figures += _paging(shape, tokens, resident, value_bytes, block_tokens, reserved)
    if record is not None and record.state is not None:
        from llmdrill.estimate.state import explain_state

        figures.append(explain_state(record.state, sequences=resident))
    fit = None
    if on is not None:
        from llmdrill.estimate.fit import fit_on

        fit = fit_on(
            _required(record),
            accelerator=_accelerator(on),
            tensor_parallel=whole("tp", tp),
            weight_format=precision,
            usable_share=share("usable", usable, zero=False),
            context_tokens=tokens,
            sequences=resident,
            cache_bytes_per_value=value_bytes,
            block_tokens=block_tokens,
        )
        figures += fit.figures
    inputs = _inputs(record, shape, tokens, resident, dtype, block_tokens)
    if fit is not None:
        inputs |= {"accelerator": fit.accelerator, "tensor_parallel": fit.placement.tensor_parallel}
    return Answer(
        calculator="kv",
        lines=(*_lines(figures, resident, block_tokens), *_fit_lines(fit, resident, tokens)),
        figures=tuple(figures),
        inputs=inputs,
        notes=_notes(record, shape, tokens) + _fit_notes(fit, record) + (record.guessed if record else ()),
        unknown=_unknown(fit),
    )


def _required(record: ModelRecord | None) -> ModelRecord:
    if record is None:
        raise UsageError("--on needs the weights too: give --model or --config")
    return record


def _accelerator(name: str) -> Any:  # noqa: ANN401 - a record; importing its type costs every start
    from llmdrill.catalog.load import find_accelerator

    return find_accelerator(name)


def _reserved(record: ModelRecord | None, reserve: str | None, tokens: int | None) -> int | None:
    """Return the tokens that contiguous reservation keeps for a sequence."""
    if reserve is not None:
        reserved = whole("reserve", reserve)
        if tokens is not None and reserved < tokens:
            raise UsageError(f"--reserve {reserved:,} is less than --context {tokens:,}")
        return reserved
    longest = record.max_context_tokens if record else None
    return longest if longest is not None and tokens is not None and longest >= tokens else None


def _sizes(shape: AttentionShape, tokens: int, resident: float, value_bytes: float) -> list[Explained]:
    from llmdrill.estimate.explain import Explained, figure
    from llmdrill.estimate.kv_cache import explain_kv_cache, index_cache_bytes

    total = explain_kv_cache(shape, context_tokens=tokens, sequences=resident, bytes_per_value=value_bytes)
    each = total.value / resident
    figures = [
        total,
        Explained(
            name="kv_cache_bytes_per_sequence",
            value=each,
            unit="bytes",
            formula="kv_cache_bytes / sequences",
            filled=f"{figure(total.value)} / {figure(resident)} = {figure(each)} B",
            source="Arithmetic",
        ),
        explain_kv_cache(shape, context_tokens=1, bytes_per_value=value_bytes, name="kv_cache_bytes_per_token"),
    ]
    if shape.index_values:
        index = index_cache_bytes(shape, context_tokens=tokens, sequences=resident)
        filled = f"{shape.layers} × {shape.index_values} × (1 + 4/128) × {figure(tokens)} × {figure(resident)}"
        figures.append(
            Explained(
                name="index_cache_bytes",
                value=index,
                unit="bytes",
                formula="layers × index_values × (1 + 4/128) × context_tokens × sequences",
                filled=f"{filled} = {figure(index)} B",
                source="vLLM, vllm/model_executor/models/deepseek_v2.py, DeepseekV32IndexerCache",
            )
        )
    return figures


def _paging(
    shape: AttentionShape, tokens: int, resident: float, value_bytes: float, block: int, reserved: int | None
) -> list[Explained]:
    """Return what a paged cache takes and wastes, and what contiguous reservation would waste."""
    from llmdrill.estimate.explain import Explained, figure
    from llmdrill.estimate.kv_cache import explain_kv_cache
    from llmdrill.estimate.paging import contiguous_waste_bytes, paged_waste_bytes

    if not shape.layers:
        return []
    waste = paged_waste_bytes(shape, sequences=resident, bytes_per_value=value_bytes, block_tokens=block)
    filled = f"{shape.layers} × {shape.values_per_token} × {value_bytes:g} × ({block} - 1) / 2 × {figure(resident)}"
    figures = [
        explain_kv_cache(
            shape,
            context_tokens=tokens,
            sequences=resident,
            bytes_per_value=value_bytes,
            block_tokens=block,
            name="paged_kv_cache_bytes",
        ),
        Explained(
            name="paged_waste_bytes",
            value=waste,
            unit="bytes",
            formula="layers × values_per_token × bytes_per_value × (block_tokens - 1) / 2 × sequences",
            filled=f"{filled} = {figure(waste)} B",
            source="Kwon et al. 2023, arXiv:2309.06180, section 4; expected over lengths",
        ),
    ]
    if reserved is not None:
        empty = contiguous_waste_bytes(
            shape,
            context_tokens=tokens,
            reserved_tokens=reserved,
            sequences=resident,
            bytes_per_value=value_bytes,
        )
        figures.append(
            Explained(
                name="contiguous_waste_bytes",
                value=empty,
                unit="bytes",
                formula="kv_cache_bytes(reserved_tokens) - kv_cache_bytes(context_tokens)",
                filled=f"{figure(reserved)} tokens reserved, {figure(tokens)} used: {figure(empty)} B",
                source="Kwon et al. 2023, arXiv:2309.06180, section 3",
            )
        )
    return figures


def _lines(figures: list[Explained], resident: float, block: int) -> tuple[str, ...]:
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


def _inputs(
    record: ModelRecord | None, shape: AttentionShape, tokens: int | None, resident: float, dtype: str, block: int
) -> dict[str, Any]:
    return {
        "model": record.name if record else None,
        "attention": shape.kind,
        "layers": shape.layers,
        "kv_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "context_tokens": tokens,
        "sequences": resident,
        "dtype": dtype.lower(),
        "block_tokens": block,
    }


def _shape(
    record: ModelRecord | None, *, layers: str | None, kv_heads: str | None, head_dim: str | None
) -> AttentionShape:
    """Return the shape that the model or the options describe."""
    from llmdrill.catalog.architecture import AttentionShape

    numbers = {"layers": layers, "kv-heads": kv_heads, "head-dim": head_dim}
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
