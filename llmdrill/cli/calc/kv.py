"""`llmdrill calc kv`: the size of the key-value cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from llmdrill.cli.calc.answer import Answer
from llmdrill.cli.calc.options import Config, Model, model_record, whole
from llmdrill.cli.show import count_option
from llmdrill.errors import UsageError
from llmdrill.units import format_bytes

if TYPE_CHECKING:
    from llmdrill.catalog.records import AttentionShape, ModelRecord


def kv(
    *,
    model: Model = None,
    config: Config = None,
    layers: Annotated[str | None, typer.Option(help="Layers with a cache.")] = None,
    kv_heads: Annotated[str | None, typer.Option(help="Key-value heads of one layer.")] = None,
    head_dim: Annotated[str | None, typer.Option(help="Values of one head.")] = None,
    context: Annotated[str, typer.Option(help="Tokens of one sequence, such as 128k.")] = "",
    sequences: Annotated[str, typer.Option(help="Sequences resident at once.")] = "1",
    dtype: Annotated[str, typer.Option(help="fp16, bf16, fp8, int8, fp32 …")] = "fp16",
) -> Answer:
    """Size of the key-value cache."""
    from llmdrill.estimate.explain import Explained, figure
    from llmdrill.estimate.kv_cache import explain_kv_cache
    from llmdrill.estimate.memory import bytes_per_value

    record = model_record(model, config)
    shape = _shape(record, layers=layers, kv_heads=kv_heads, head_dim=head_dim)
    if not context:
        raise UsageError("--context is missing: tokens of one sequence, such as 128k")
    tokens = whole("context", context)
    resident = count_option("sequences", sequences)
    total = explain_kv_cache(shape, context_tokens=tokens, sequences=resident, bytes_per_value=bytes_per_value(dtype))
    each = Explained(
        name="kv_cache_bytes_per_sequence",
        value=total.value / resident,
        unit="bytes",
        formula="kv_cache_bytes / sequences",
        filled=f"{figure(total.value)} / {figure(resident)} = {figure(total.value / resident)} B",
        source="Arithmetic",
    )
    tail = f", {format_bytes(each.value)} per sequence" if resident != 1 else ""
    return Answer(
        calculator="kv",
        lines=(f"KV cache: {format_bytes(total.value)}{tail}",),
        figures=(total, each),
        inputs={
            "model": record.name if record else None,
            "layers": shape.layers,
            "kv_heads": shape.kv_heads,
            "head_dim": shape.head_dim,
            "context_tokens": tokens,
            "sequences": resident,
            "dtype": dtype,
        },
        notes=_context_notes(record, tokens) + (record.guessed if record else ()),
    )


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


def _context_notes(record: ModelRecord | None, tokens: float) -> tuple[str, ...]:
    longest = record.max_context_tokens if record else None
    if record is None or longest is None or tokens <= longest:
        return ()
    return (f"{record.name} was built for at most {longest:,} tokens of context",)
