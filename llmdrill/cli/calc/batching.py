"""`llmdrill calc batching`: static against continuous batching."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

import typer

from llmdrill.cli.calc.answer import Answer
from llmdrill.cli.calc.options import quantity, whole
from llmdrill.errors import UsageError
from llmdrill.units import format_count, format_share

if TYPE_CHECKING:
    from llmdrill.estimate.explain import Explained
    from llmdrill.table import Table

_BATCHES: Final = (1, 2, 4, 8, 16, 32, 64, 128)
_LARGEST_BATCH: Final = 100_000


@dataclass(frozen=True, slots=True)
class Lengths:
    """Answer lengths: a lognormal by two percentiles, or a list in order of arrival."""

    p50_tokens: float | None = None
    p95_tokens: float | None = None
    list_tokens: tuple[float, ...] = ()
    said: str = ""

    @property
    def mean_tokens(self) -> float:
        """The expected length."""
        from llmdrill.estimate.lognormal import lognormal

        if self.list_tokens:
            return sum(self.list_tokens) / len(self.list_tokens)
        return lognormal(p50=self.p50_tokens or 0, p95=self.p95_tokens or 0).mean

    def longest_tokens(self, batch: int) -> float:
        """The expected longest of a batch."""
        from llmdrill.estimate.batching import expected_longest, expected_longest_lognormal
        from llmdrill.estimate.lognormal import lognormal

        if self.list_tokens:
            return expected_longest(self.list_tokens, batch=batch)
        return expected_longest_lognormal(lognormal(p50=self.p50_tokens or 0, p95=self.p95_tokens or 0), batch=batch)


def batching(
    *,
    batch: Annotated[str, typer.Option(help="Sequences generated together.")],
    p50: Annotated[str | None, typer.Option(help="Median answer length in tokens, with --p95 (lognormal).")] = None,
    p95: Annotated[str | None, typer.Option(help="95th percentile of the answer length.")] = None,
    lengths: Annotated[str | None, typer.Option(help="Answer lengths, such as 20,150,800.")] = None,
    trace: Annotated[
        str | None, typer.Option(help="A CSV or JSONL trace with a column of output tokens; - for standard input.")
    ] = None,
    column: Annotated[str | None, typer.Option(help="The trace's column, where its name is not a usual one.")] = None,
) -> Answer:
    """What continuous batching gains over static batching."""
    from llmdrill.estimate.batching import explain_batching

    size = whole("batch", batch)
    if size > _LARGEST_BATCH:
        raise UsageError(f"--batch {batch} is too large to be meant; at most {_LARGEST_BATCH:,}")
    found = _lengths(p50, p95, lengths, trace, column)
    mean, longest = found.mean_tokens, found.longest_tokens(size)
    ratio, wasted = explain_batching(mean_tokens=mean, longest_tokens=longest, batch=size)
    return Answer(
        calculator="batching",
        lines=(
            f"continuous batching: {format_count(ratio.value)} times the throughput of static batching at batch {size}",
            f"a static batch wastes {format_share(wasted.value)} of its slots",
            f"answers have {mean:,.1f} tokens on average, the longest of {size} has {longest:,.1f}",
        ),
        figures=(ratio, wasted, *_length_figures(found, mean, longest, size)),
        inputs={
            "batch": size,
            "p50_tokens": found.p50_tokens,
            "p95_tokens": found.p95_tokens,
            "answers": len(found.list_tokens) or None,
            "lengths_source": found.said,
        },
        notes=_notes(found),
        unknown=() if found.list_tokens else ("throughput_ratio_in_order",),
        tables=(_by_batch(found),),
    )


def _lengths(p50: str | None, p95: str | None, lengths: str | None, trace: str | None, column: str | None) -> Lengths:
    ways = ((p50, p95) != (None, None), lengths is not None, trace is not None)
    if sum(ways) != 1 or (p50 is None) != (p95 is None):
        raise UsageError("how long are the answers? give --p50 with --p95, --lengths or --trace: one of the three")
    if column is not None and trace is None:
        raise UsageError("--column is for --trace")
    if p50 is not None and p95 is not None:
        low, high = quantity("p50", p50, "count"), quantity("p95", p95, "count")
        if high < low:
            raise UsageError(f"--p95 ({p95}) is below --p50 ({p50})")
        return Lengths(low, high, said="lognormal")
    if lengths is not None:
        return Lengths(
            list_tokens=tuple(quantity("lengths", one, "count") for one in lengths.split(",")), said="--lengths"
        )
    from llmdrill.cli.calc.trace import output_tokens

    return Lengths(list_tokens=output_tokens(str(trace), column), said=str(trace))


def _length_figures(found: Lengths, mean: float, longest: float, batch: int) -> list[Explained]:
    from llmdrill.estimate.batching import ratio_in_order
    from llmdrill.estimate.explain import Explained, figure
    from llmdrill.estimate.lognormal import lognormal

    order = "Order statistics"
    if not found.list_tokens:
        spread = lognormal(p50=found.p50_tokens or 0, p95=found.p95_tokens or 0)
        average = "exp(mu + sigma^2 / 2), mu = ln p50, sigma = ln(p95 / p50) / 1.6449"
        told = (
            f"exp({figure(spread.mu)} + {figure(spread.sigma)}^2 / 2) = {figure(mean)}",
            f"{figure(mean)} × {batch} × ∫ φ(y) Φ(y + {figure(spread.sigma)})^{batch - 1} dy = {figure(longest)}",
        )
        formula = "mean × batch × ∫ φ(y) Φ(y + sigma)^(batch − 1) dy"
    else:
        count = len(found.list_tokens)
        average = "Σ lengths / answers"
        told = (
            f"{figure(sum(found.list_tokens))} / {count} = {figure(mean)}",
            f"Σ x_i ((i / {count})^{batch} − ((i − 1) / {count})^{batch}) = {figure(longest)}",
        )
        formula = "Σ x_i ((i / n)^batch − ((i − 1) / n)^batch) over the sorted lengths"
    figures = [
        Explained("mean_tokens", mean, "count", average, told[0], "Arithmetic"),
        Explained("expected_longest_tokens", longest, "count", formula, told[1], order),
    ]
    if found.list_tokens:
        value = ratio_in_order(found.list_tokens, batch=batch)
        written = sum(found.list_tokens)
        filled = (
            f"{figure(value * written)} / {figure(written)} = {figure(value)}, {count} answers in batches of {batch}"
        )
        in_order = "Σ sequences × longest over batches in order of arrival / Σ lengths"
        figures.append(
            Explained("throughput_ratio_in_order", value, "count", in_order, filled, "Arithmetic on the list")
        )
    return figures


def _by_batch(found: Lengths) -> Table:
    from llmdrill.estimate.batching import throughput_ratio
    from llmdrill.table import Table

    mean = found.mean_tokens
    rows = []
    for batch in _BATCHES:
        ratio = throughput_ratio(mean_tokens=mean, longest_tokens=found.longest_tokens(batch))
        rows.append((batch, ratio * mean, 1 - 1 / ratio, ratio))
    columns = ("batch", "expected_longest_tokens", "wasted_slots_share", "throughput_ratio")
    return Table("by batch", columns, tuple(rows))


def _notes(found: Lengths) -> tuple[str, ...]:
    drawn = "drawn independently from the list" if found.list_tokens else "lognormal, without a limit on the length"
    return (
        f"assumed: lengths {drawn}; requests always wait; a step takes the same time however many sequences live",
        "left out: the time that newcomers' prefills take from a continuous batch; the wait for a static batch to fill",
    )
