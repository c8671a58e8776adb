"""What `lab embed` shows of its readings: figures, tables, a picture, two sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from llmdrill.catalog.architecture import AttentionShape
from llmdrill.estimate.flops import attention_flops
from llmdrill.experiments.result import Finding
from llmdrill.picture import Picture, Series
from llmdrill.table import Table
from llmdrill.units import format_count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmdrill.lab.bert_shape import BertShape
    from llmdrill.lab.embed_run import EmbedReading, EmbedRun, EngineMemory

SPECIAL_TOKENS: Final = 2  # [CLS] and [SEP]
AS_FAST: Final = 1.05  # below it a ratio is no difference


def product_flops_per_token(shape: BertShape) -> float:
    """Return the operations of a token in the matrices of all layers.

    Formula:
        2 * layers * (4 * hidden^2 + 2 * hidden * intermediate)
    Source:
        Arithmetic: two per parameter of a matrix.
    """
    return 2.0 * shape.layers * (4 * shape.hidden**2 + 2 * shape.hidden * shape.intermediate)


def text_flops(shape: BertShape, *, tokens: int) -> float:
    """Return the operations of a text: the matrices, and attention in which every token sees every other."""
    heads = AttentionShape(
        layers=shape.layers, kv_heads=shape.heads, heads=shape.heads, head_dim=shape.hidden // shape.heads
    )
    return tokens * product_flops_per_token(shape) + attention_flops(heads, tokens=tokens, context_tokens=tokens)


def embed_findings(run: EmbedRun) -> tuple[Finding, ...]:
    """Return every quantity of the engine that was asked for, and the others beside it."""
    own, torch = _engines(run)[0], _torch_fp32(run)
    shape, tokens = run.embedder.shape, run.embedder.max_tokens + SPECIAL_TOKENS
    flops = text_flops(shape, tokens=tokens)
    limit = _limit_texts_per_s(run, own)
    formula = f"{run.embedder.engine.name} {run.embedder.precision} products: tokens/s / {tokens}"
    rate = _per_text(own)
    found = [
        Finding("passages_per_s", rate, limit, _lowest(own), _highest(own), own.texts, formula, note=SPREAD_NOTE),
        Finding("tokens_per_s", own.tokens / own.timing.median_s, n=own.tokens, note="of text, tokenising included"),
        Finding("share_of_product_limit", rate / limit, note="of what the matrix products alone would allow"),
        Finding("flops_per_passage", None, flops, formula=_flops_formula(shape, tokens)),
        Finding("flops_per_s", rate * flops, note="of the whole pass, attention included"),
        Finding("product_flops_per_s", limit * tokens * product_flops_per_token(shape), note="of the products alone"),
        Finding("short_tokens_per_s", _tokens_per_s(_part(run, "length")[0]), note="of the shortest texts"),
        *_order_findings(run),
        *_memory_findings(run),
    ]
    if torch is not None and torch is not own:
        found.insert(
            1, Finding("torch_fp32_passages_per_s", _per_text(torch), low=_lowest(torch), high=_highest(torch))
        )
        found.insert(2, Finding("times_torch_fp32", _times(own, torch), note="median over the rounds"))
    return tuple(found)


SPREAD_NOTE: Final = "low and high are the slowest and the fastest round"


def embed_tables(run: EmbedRun) -> tuple[Table, ...]:
    """Return one table a sweep, and one of memory."""
    rates = ("texts", "tokens", "texts_per_s", "tokens_per_s")
    engines = tuple(
        (one.engine, one.precision, *_rates(one), round(_limit_texts_per_s(run, one), 1), _share(run, one))
        for one in _engines(run)
    )
    lengths = tuple((one.text_tokens, *_rates(one)) for one in (*_part(run, "length"), _engines(run)[0]))
    batches = tuple((one.batch_tokens, *_rates(one)) for one in _part(run, "batch"))
    orders = tuple((one.engine, one.precision, one.order, *_rates(one)) for one in _part(run, "order"))
    memory = tuple((one.engine, one.precision, one.load_bytes, one.embed_bytes, one.texts) for one in run.memory)
    own = f"{run.embedder.engine.name} {run.embedder.precision}"
    return (
        Table("by engine", ("engine", "precision", *rates, "limit_texts_per_s", "share_of_limit"), engines, LIMIT_NOTE),
        Table("by length", ("tokens_per_text", *rates), lengths, f"{own}; every row has about as many tokens"),
        Table("by batch", ("batch_tokens", *rates), batches, f"{own}; tokens that are computed together"),
        Table("by order", ("engine", "precision", "order", *rates), orders, ORDER_NOTE),
        Table("memory", ("engine", "precision", "load_bytes", "embed_bytes", "texts"), memory, MEMORY_NOTE),
    )


LIMIT_NOTE: Final = "the limit is the engine's own matrix products of all layers, without anything between them"
ORDER_NOTE: Final = "texts of all lengths, in the largest batches: sorted by length, or as they come"
MEMORY_NOTE: Final = "growth of a fresh process: by loading, libraries included, and by embedding beyond that"


def embed_picture(run: EmbedRun) -> Picture:
    """Return tokens a second by the length of a text."""
    readings = (*_part(run, "length"), _engines(run)[0])
    x = tuple(float(one.text_tokens or 0) for one in readings)
    limit = run.product_tokens_per_s[_key(readings[-1])]
    series = (
        Series("measured", x, tuple(_tokens_per_s(one) for one in readings)),
        Series("matrix products alone", x, tuple(limit * at / (at + SPECIAL_TOKENS) for at in x)),
    )
    return Picture("Tokens embedded a second", "tokens of a text", "tokens/s", series, log_x=True)


def embed_meaning(run: EmbedRun) -> tuple[str, str]:
    """Return what came out: the pace, and what order and padding do."""
    own, torch = _engines(run)[0], _torch_fp32(run)
    share = _per_text(own) / _limit_texts_per_s(run, own)
    pace = (
        f"{own.text_tokens} tokens a text: {_per_text(own):.3g} texts/s, {share:.0%} of what the products alone allow"
    )
    if torch is None or torch is own:
        first = f"{pace}."
    else:
        times = _times(own, torch)
        beside = f"{times:.2g} times torch in fp32" if times > AS_FAST else "no faster than torch in fp32"
        first = f"{pace}, and {beside}."
    gains = [(one.engine, gain) for one, gain in _order_gains(run)]
    told = " and ".join(
        f"{engine} {f'{gain:.2g} times as fast' if gain > AS_FAST else 'no faster'}" for engine, gain in gains
    )
    faster = {engine for engine, gain in gains if gain > AS_FAST}
    why = "only an engine that pads pays for texts that differ" if faster == {"torch"} else "see the table of orders"
    return first, f"Sorting texts of all lengths made {told}: {why}."


def embed_notes(run: EmbedRun) -> tuple[str, ...]:
    """Return caveats: engines that cannot be had, and why the native one does not run."""
    reason = run.embedder.engine.reason
    notes = [f"left out, {one}" for one in run.left_out]
    return (*notes, *(() if reason is None else (f"torch embeds: {reason}",)))


def _flops_formula(shape: BertShape, tokens: int) -> str:
    matrices = f"{tokens} × 2 × {shape.layers} × (4 × {shape.hidden}² + 2 × {shape.hidden} × {shape.intermediate})"
    total = format_count(text_flops(shape, tokens=tokens))
    return f"{matrices} + 4 × {shape.layers} × {shape.hidden} × {tokens}² = {total}"


def _part(run: EmbedRun, part: str) -> list[EmbedReading]:
    return [one for one in run.readings if one.part == part]


def _engines(run: EmbedRun) -> list[EmbedReading]:
    return _part(run, "engine")


def _torch_fp32(run: EmbedRun) -> EmbedReading | None:
    return next((one for one in _engines(run) if (one.engine, one.precision) == ("torch", "fp32")), None)


def _key(reading: EmbedReading) -> tuple[str, str]:
    return reading.engine, reading.precision


def _per_text(reading: EmbedReading) -> float:
    return reading.texts / reading.timing.median_s


def _lowest(reading: EmbedReading) -> float:
    return reading.texts / max(reading.timing.seconds)


def _highest(reading: EmbedReading) -> float:
    return reading.texts / min(reading.timing.seconds)


def _tokens_per_s(reading: EmbedReading) -> float:
    return reading.tokens / reading.timing.median_s


def _rates(reading: EmbedReading) -> tuple[int, int, float, int]:
    return reading.texts, reading.tokens, round(_per_text(reading), 1), round(_tokens_per_s(reading))


def _times(own: EmbedReading, other: EmbedReading) -> float:
    ratios = sorted(other.timing.over(own.timing))
    return ratios[len(ratios) // 2]


def _limit_texts_per_s(run: EmbedRun, reading: EmbedReading) -> float:
    return run.product_tokens_per_s[_key(reading)] / (run.embedder.max_tokens + SPECIAL_TOKENS)


def _share(run: EmbedRun, reading: EmbedReading) -> float:
    return round(_per_text(reading) / _limit_texts_per_s(run, reading), 2)


def _order_gains(run: EmbedRun) -> Iterator[tuple[EmbedReading, float]]:
    """Yield the sorted reading of each engine with how many times as fast it is as the unsorted one."""
    orders = _part(run, "order")
    for one in orders:
        if one.order == "sorted":
            other = next(two for two in orders if _key(two) == _key(one) and two.order != "sorted")
            yield one, _times(one, other)


def _order_findings(run: EmbedRun) -> Iterator[Finding]:
    for one, gain in _order_gains(run):
        yield Finding(f"{one.engine}_sorted_times_unsorted", gain, note="texts of all lengths")


def _memory_findings(run: EmbedRun) -> Iterator[Finding]:
    own: EngineMemory = run.memory[0]
    yield Finding("load_bytes", own.load_bytes, note="growth of a fresh process by loading")
    yield Finding("embed_bytes", own.embed_bytes, n=own.texts, note="its further growth by embedding, at most")
