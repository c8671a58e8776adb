"""`llmdrill calc`: the closed forms as commands."""

from __future__ import annotations

import datetime as dt  # noqa: TC003 - typer resolves annotations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from llmdrill.cli.show import check_assertions, count_option, show_result
from llmdrill.errors import ContentError, Mistake, UsageError
from llmdrill.units import format_bytes, format_count, format_usd

if TYPE_CHECKING:
    from llmdrill.catalog.records import AttentionShape, ModelRecord, Price
    from llmdrill.estimate.explain import Explained

app = typer.Typer(
    help="Calculators: each shows its formula with --explain and can gate a script with --assert.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

MAX_TEXT_BYTES: Final = 50_000_000

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Explain = Annotated[bool, typer.Option("--explain", help="Show the formula, the numbers put in, and the source.")]
Assert = Annotated[
    list[str] | None,
    typer.Option("--assert", metavar="'NAME <= LIMIT'", help="Exit 1 unless it holds; may be given several times."),
]


@app.command()
def kv(
    *,
    model: Annotated[str | None, typer.Option(help="A model of the catalogue.")] = None,
    config: Annotated[Path | None, typer.Option(help="A Hugging Face config.json.")] = None,
    layers: Annotated[str | None, typer.Option(help="Layers with a cache.")] = None,
    kv_heads: Annotated[str | None, typer.Option(help="Key-value heads of one layer.")] = None,
    head_dim: Annotated[str | None, typer.Option(help="Values of one head.")] = None,
    context: Annotated[str, typer.Option(help="Tokens of one sequence, such as 128k.")] = "",
    sequences: Annotated[str, typer.Option(help="Sequences resident at once.")] = "1",
    dtype: Annotated[str, typer.Option(help="fp16, bf16, fp8, int8, fp32 …")] = "fp16",
    json: Json = False,
    explain: Explain = False,
    assertions: Assert = None,
) -> None:
    """Size of the key-value cache."""
    from llmdrill.estimate.kv_cache import explain_kv_cache
    from llmdrill.estimate.memory import bytes_per_value

    record, shape = _shape(model, config, layers=layers, kv_heads=kv_heads, head_dim=head_dim)
    if not context:
        raise UsageError("--context is missing: tokens of one sequence, such as 128k")
    tokens = count_option("context", context, whole=True)
    resident = count_option("sequences", sequences)
    explained = explain_kv_cache(
        shape, context_tokens=tokens, sequences=resident, bytes_per_value=bytes_per_value(dtype)
    )
    value = explained.value
    result: dict[str, Any] = {
        "schema": "llmdrill/calc-kv@1",
        "kv_cache_bytes": value,
        "kv_cache_bytes_per_sequence": value / resident,
        "model": record.name if record else None,
        "layers": shape.layers,
        "kv_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "context_tokens": tokens,
        "sequences": resident,
        "dtype": dtype,
        "notes": _context_notes(record, tokens) + (record.guessed if record else ()),
    }
    each = f", {format_bytes(value / resident)} per sequence" if resident != 1 else ""
    lines = (f"KV cache: {format_bytes(value)}{each}", *result["notes"])
    show_result(result, lines, as_json=json, explained=explained if explain else None)
    bytes_figures = ("kv_cache_bytes", "kv_cache_bytes_per_sequence")
    check_assertions(assertions or (), {name: (result[name], "bytes") for name in bytes_figures})


@app.command()
def cost(
    *,
    model: Annotated[str, typer.Option(help="An API model of the catalogue.")],
    input_: Annotated[str, typer.Option("--input", help="Prompt tokens of one request.")],
    output: Annotated[str, typer.Option(help="Answer tokens of one request.")] = "0",
    requests: Annotated[str, typer.Option(help="How many requests, such as 1M.")] = "1",
    cached: Annotated[str, typer.Option(help="Prompt tokens read from the provider's cache.")] = "0",
    batch: Annotated[bool, typer.Option("--batch", help="Through the batch interface.")] = False,
    date: Annotated[
        dt.datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Price of that day; default the catalogue's.")
    ] = None,
    json: Json = False,
    explain: Explain = False,
    assertions: Assert = None,
) -> None:
    """Price of API requests."""
    from llmdrill.catalog.load import find_price
    from llmdrill.estimate.cost import explain_api_cost

    price = find_price(model, date=date.date() if date else None)
    input_tokens = count_option("input", input_)
    output_tokens = count_option("output", output, zero=True)
    many = count_option("requests", requests)
    explained = explain_api_cost(
        price,
        requests=many,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_input_tokens=count_option("cached", cached, zero=True),
        batch=batch,
    )
    total = explained.value
    result: dict[str, Any] = {
        "schema": "llmdrill/calc-cost@1",
        "usd_total": total,
        "usd_per_request": total / many,
        "model": price.name,
        "provider": price.provider,
        "requests": many,
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "batch": batch,
        "price_date": price.date.isoformat(),
        "price_since": price.since.isoformat() if price.since else None,
        "price_source": price.source,
        "notes": _price_notes(price, input_tokens + output_tokens),
    }
    first = f"{format_usd(total)} for {format_count(many)} requests, {format_usd(total / many)} each"
    lines = (first, f"{price.name}: list price known on {price.date}; source: {price.source}", *result["notes"])
    show_result(result, lines, as_json=json, explained=explained if explain else None)
    check_assertions(assertions or (), {"usd_total": (total, "usd"), "usd_per_request": (total / many, "usd")})


@app.command()
def tokens(
    *,
    file: Annotated[str | None, typer.Argument(help="A UTF-8 text file, or - for standard input.")] = None,
    text: Annotated[str | None, typer.Option(help="The text itself.")] = None,
    encoding: Annotated[str | None, typer.Option(help="Such as o200k_base or cl100k_base.")] = None,
    model: Annotated[str | None, typer.Option(help="An API model with a public tokenizer.")] = None,
    approximate: Annotated[bool, typer.Option("--approximate", help="Count roughly, from the bytes alone.")] = False,
    json: Json = False,
    explain: Explain = False,
    assertions: Assert = None,
) -> None:
    """Count the tokens of a text."""
    from llmdrill.estimate.tokens import approximate_tokens, count_tokens

    name = _encoding(encoding, model, approximate=approximate)
    read = _text(text, file)
    value = count_tokens(read, name) if name else approximate_tokens(read)
    explained = _explain_tokens(read, value, name)
    result: dict[str, Any] = {
        "schema": "llmdrill/calc-tokens@1",
        "tokens": value,
        "exact": name is not None,
        "encoding": name,
        "text_bytes": len(read.encode("utf-8", errors="surrogatepass")),
    }
    lines = (f"{value:,} tokens" if name else f"about {value:,} tokens",)
    show_result(result, lines, as_json=json, explained=explained if explain else None)
    check_assertions(assertions or (), {"tokens": (value, "count"), "text_bytes": (result["text_bytes"], "bytes")})


def _encoding(encoding: str | None, model: str | None, *, approximate: bool) -> str | None:
    """Return the encoding to count with; None for a rough count."""
    from llmdrill.estimate.tokens import encoding_of

    if encoding is not None and model is not None:
        raise UsageError("give --encoding or --model, not both")
    if approximate:
        return None
    if encoding is None and model is None:
        raise UsageError("which tokenizer? give --encoding (such as o200k_base), --model, or --approximate")
    return encoding if encoding is not None else encoding_of(str(model))


def _explain_tokens(text: str, value: int, encoding: str | None) -> Explained:
    from llmdrill.estimate.explain import Explained
    from llmdrill.estimate.tokens import BYTES_PER_TOKEN

    size = len(text.encode("utf-8", errors="surrogatepass"))
    if encoding is None:
        formula, filled = "ceil(bytes / bytes per token)", f"ceil({size} / {BYTES_PER_TOKEN:g}) = {value}"
        return Explained("tokens", value, "count", formula, filled, "measured ratio; see approximate_tokens")
    formula, filled = f"length of the {encoding} encoding", f"{size} B → {value}"
    return Explained("tokens", value, "count", formula, filled, "tiktoken, the published rank file")


def _shape(
    model: str | None, config: Path | None, *, layers: str | None, kv_heads: str | None, head_dim: str | None
) -> tuple[ModelRecord | None, AttentionShape]:
    """Return the shape that the options describe, and the record it came from if there is one."""
    from llmdrill.catalog.architecture import AttentionShape

    numbers = {"layers": layers, "kv-heads": kv_heads, "head-dim": head_dim}
    given = [name for name, value in numbers.items() if value is not None]
    if sum((model is not None, config is not None, bool(given))) > 1:
        raise UsageError("give --model, --config, or --layers with --kv-heads and --head-dim: one of the three")
    if model is not None or config is not None:
        record = _record(model, config)
        if record.kind == "encoder":
            raise UsageError(f"'{record.name}' is an encoder: it keeps no key-value cache")
        return record, record.attention
    missing = [f"--{name}" for name in numbers if name not in given]
    if missing:
        raise UsageError(f"{' and '.join(missing)} missing; or give --model or --config")
    counts = {name: int(count_option(name, str(value), whole=True)) for name, value in numbers.items()}
    return None, AttentionShape(layers=counts["layers"], kv_heads=counts["kv-heads"], head_dim=counts["head-dim"])


def _record(model: str | None, config: Path | None) -> ModelRecord:
    if config is not None:
        from llmdrill.catalog.hf_config import read_config

        return read_config(config)
    from llmdrill.catalog.load import find_model

    return find_model(str(model))


def _context_notes(record: ModelRecord | None, tokens: float) -> tuple[str, ...]:
    longest = record.max_context_tokens if record else None
    if record is None or longest is None or tokens <= longest:
        return ()
    return (f"{record.name} was built for at most {longest:,} tokens of context",)


def _price_notes(price: Price, tokens: float) -> tuple[str, ...]:
    longest = price.max_context_tokens
    return (f"{price.name} takes at most {longest:,} tokens of context",) if longest and tokens > longest else ()


def _text(text: str | None, file: str | None) -> str:
    """Return the text to count: given, from a file, or from standard input."""
    if (text is None) == (file is None):
        raise UsageError("give one text: --text TEXT, a FILE, or - for standard input")
    if text is not None:
        return text
    name = "standard input" if file == "-" else str(file)
    try:
        raw = typer.get_binary_stream("stdin").read(MAX_TEXT_BYTES + 1) if file == "-" else _read(Path(str(file)))
    except OSError as error:
        raise ContentError([Mistake(name, 1, 1, "", f"cannot be read: {error.strerror}")]) from error
    if len(raw) > MAX_TEXT_BYTES:
        raise ContentError([Mistake(name, 1, 1, "", f"is larger than {MAX_TEXT_BYTES // 1_000_000} MB")])
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ContentError([Mistake(name, line, 1, "", "is not UTF-8")]) from error


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_TEXT_BYTES + 1)
