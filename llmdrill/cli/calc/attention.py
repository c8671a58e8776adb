"""`llmdrill calc attention`: attention worked by hand."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer

from llmdrill.cli.calc.answer import Answer
from llmdrill.cli.calc.options import whole
from llmdrill.errors import ContentError, Mistake
from llmdrill.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmdrill.estimate.attention import Attended, Drawn, Matrix, Saturation
    from llmdrill.estimate.explain import Explained

MOST_TOKENS: Final = 64  # a table that a person can still read
MOST_WIDTH: Final = 256
MOST_VALUE: Final = 1e6
MAX_FILE_BYTES: Final = 2_000_000
DRAWN_WIDTHS: Final = (4, 16, 64)
DRAWN_ROWS: Final = 60
DRAWN_KEYS: Final = 4
DOUBLINGS: Final = 8


def attention(
    *,
    file: Annotated[
        str | None, typer.Argument(help="JSON object with matrices q, k, v; - for stdin; default a 4×4 example.")
    ] = None,
    heads: Annotated[str, typer.Option(help="Cut the columns into that many heads.")] = "1",
    causal: Annotated[bool, typer.Option("--causal", help="Each token sees itself and those before it.")] = False,
    context: Annotated[str, typer.Option(help="Shortest sequence of the table of growth.")] = "1k",
    width: Annotated[str, typer.Option(help="Width of the model in that table, all heads together.")] = "4096",
    seed: Annotated[str, typer.Option(help="Of the random queries and keys.")] = "0",
) -> Answer:
    """Attention worked by hand: scores, scaling, softmax, output, growth."""
    import random

    from llmdrill.estimate.attention import attend, draw_dot_products, explain_attention_flops, split_heads

    queries, keys, values = _matrices(file)
    head_count = whole("heads", heads)
    cut = [split_heads(one, heads=head_count) for one in (queries, keys, values)]
    worked = [attend(q, k, v, causal=causal) for q, k, v in zip(*cut, strict=True)]
    plain = [attend(q, k, v, scale=1.0, causal=causal) for q, k, v in zip(*cut, strict=True)]
    d_k = len(keys[0]) // head_count
    start = whole("seed", seed, zero=True)
    rng = random.Random(start)  # noqa: S311 - an illustration
    drawn = [draw_dot_products(d_k=one, rows=DRAWN_ROWS, keys=DRAWN_KEYS, rng=rng) for one in DRAWN_WIDTHS]
    tokens, model_width = whole("context", context), whole("width", width)
    figures = (*_saturation_figures(worked, plain, d_k), explain_attention_flops(tokens=tokens, width=model_width))
    return Answer(
        calculator="attention",
        lines=_lines(worked, figures, d_k),
        figures=figures,
        inputs={
            "d_k": d_k,
            "heads": head_count,
            "causal": causal,
            "growth_tokens": tokens,
            "growth_width": model_width,
            "draws": DRAWN_ROWS * DRAWN_KEYS,
            "seed": start,
        },
        tables=(*_steps(worked, plain), _why(drawn), _growth(tokens, model_width)),
    )


def _lines(worked: list[Attended], figures: tuple[Explained, ...], d_k: int) -> tuple[str, ...]:
    found = {one.name: one.value for one in figures}
    many = f", {len(worked)} heads" if len(worked) > 1 else ""
    with_scale, without = (
        f"largest weight {found[f'{of}mean_max_weight']:.3f}, entropy {found[f'{of}mean_entropy_bits']:.3f} bits"
        for of in ("", "unscaled_")
    )
    return (
        f"softmax(Q Kᵀ / √{d_k}) V: {len(worked[0].scores)} queries, {len(worked[0].scores[0])} keys{many}",
        f"with scaling, mean over rows: {with_scale}; without: {without}",
        "q·k of random vectors has variance d_k: without √d_k the softmax saturates as d_k grows; the work is n²·d",
    )


def _saturation_figures(worked: list[Attended], plain: list[Attended], d_k: int) -> tuple[Explained, ...]:
    from llmdrill.estimate.attention import PAPER, dot_product_variance, mean_saturation
    from llmdrill.estimate.explain import Explained, figure

    def both(prefix: str, found: Saturation, weights: str) -> tuple[Explained, ...]:
        rows = f"mean over the rows of {weights}"
        return (
            Explained(
                f"{prefix}mean_max_weight", found.most, "share", f"max w, {rows}", figure(found.most), "Arithmetic"
            ),
            Explained(
                f"{prefix}mean_entropy_bits",
                found.entropy_bits,
                "count",
                f"-Σ w × log2(w), {rows}",
                f"{figure(found.entropy_bits)} bits",
                "Arithmetic",
            ),
            Explained(
                f"{prefix}mean_gradient", found.gradient, "share", f"1 - Σ w², {rows}", figure(found.gradient), PAPER
            ),
        )

    scaled, unscaled = (mean_saturation([row for one in each for row in one.weights]) for each in (worked, plain))
    variance = dot_product_variance(d_k=d_k)
    return (
        *both("", scaled, f"softmax(Q Kᵀ / √{d_k})"),
        *both("unscaled_", unscaled, "softmax(Q Kᵀ)"),
        Explained(
            "dot_product_variance",
            variance,
            "count",
            "d_k × 1 × 1: a sum of d_k products of independent numbers of variance 1",
            f"{d_k} × 1 × 1 = {d_k}; divided by √{d_k} = {math.sqrt(d_k):.4g} it is 1",
            PAPER,
        ),
    )


def _steps(worked: list[Attended], plain: list[Attended]) -> Iterable[Table]:
    for head, (one, other) in enumerate(zip(worked, plain, strict=True), start=1):
        of = f" of head {head}" if len(worked) > 1 else ""
        yield _matrix_table(f"scores{of}", "key", one.scores)
        yield _matrix_table(f"scaled scores{of}", "key", one.scaled)
        yield _matrix_table(f"weights{of}", "key", one.weights)
        yield _matrix_table(f"weights without scaling{of}", "key", other.weights)
        yield _matrix_table(f"output{of}", "value", one.output)


def _matrix_table(title: str, column: str, matrix: Matrix) -> Table:
    names = ("token", *(f"{column}_{at}" for at in range(1, len(matrix[0]) + 1)))
    rows = tuple(
        (token, *(None if one == -math.inf else round(one, 4) for one in row))
        for token, row in enumerate(matrix, start=1)
    )
    return Table(title, names, rows)


def _why(drawn: list[Drawn]) -> Table:
    columns = ("d_k", "variance", "scaled_variance", "max_weight", "scaled_max_weight", "gradient", "scaled_gradient")
    rows = tuple(
        (
            one.d_k,
            *(
                round(value, 3)
                for value in (
                    one.variance,
                    one.scaled_variance,
                    one.plain.most,
                    one.scaled.most,
                    one.plain.gradient,
                    one.scaled.gradient,
                )
            ),
        )
        for one in drawn
    )
    return Table("why scale", columns, rows)


def _growth(tokens: int, width: int) -> Table:
    from llmdrill.estimate.attention import attention_matrix_flops, projection_flops

    first = attention_matrix_flops(tokens=tokens, width=width)
    rows = []
    for doubling in range(DOUBLINGS):
        n = tokens * 2**doubling
        flops = attention_matrix_flops(tokens=n, width=width)
        rows.append((n, flops, flops / first, projection_flops(tokens=n, width=width)))
    columns = ("tokens", "attention_flops", "times", "projection_flops")
    return Table("growth", columns, tuple(rows))


def _matrices(file: str | None) -> tuple[Matrix, Matrix, Matrix]:
    """Return Q, K and V: the example's, or those of a file."""
    from llmdrill.estimate.attention import EXAMPLE_KEYS, EXAMPLE_QUERIES, EXAMPLE_VALUES

    if file is None:
        return EXAMPLE_QUERIES, EXAMPLE_KEYS, EXAMPLE_VALUES
    from llmdrill.cli.calc.files import json_value, name_of, text_of

    name = name_of(file)
    found = json_value(text_of(file, most_bytes=MAX_FILE_BYTES), name)
    if not isinstance(found, dict) or not {"q", "k", "v"} <= found.keys():
        _refuse(name, "", "must be an object with the matrices q, k and v")
    queries, keys, values = (_matrix(found[one], name, one) for one in "qkv")
    if len(queries[0]) != len(keys[0]):
        _refuse(name, "k", f"must be as wide as q: {len(queries[0])} numbers a row, got {len(keys[0])}")
    if len(values) != len(keys):
        _refuse(name, "v", f"must have a row for each of the {len(keys)} keys, got {len(values)}")
    return queries, keys, values


def _matrix(found: Any, name: str, where: str) -> Matrix:  # noqa: ANN401 - any JSON value
    rows = found if isinstance(found, list) else []
    if not 1 <= len(rows) <= MOST_TOKENS or not all(isinstance(row, list) for row in rows):
        _refuse(name, where, f"must be a list of 1 to {MOST_TOKENS} rows")
    if not 1 <= len(rows[0]) <= MOST_WIDTH or any(len(row) != len(rows[0]) for row in rows):
        _refuse(name, where, f"rows must be equally long, 1 to {MOST_WIDTH} numbers")
    for at, row in enumerate(rows):
        for one in row:
            if isinstance(one, bool) or not isinstance(one, int | float) or not abs(one) <= MOST_VALUE:
                _refuse(name, f"{where}[{at}]", f"must hold numbers of at most {MOST_VALUE:g}, got {one!r:.40}")
    return tuple(tuple(float(one) for one in row) for row in rows)


def _refuse(name: str, where: str, what: str) -> NoReturn:
    raise ContentError([Mistake(name, 1, 1, where, what)])
