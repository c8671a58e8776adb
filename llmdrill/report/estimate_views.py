"""An estimate, its verdicts and its numbers as blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from llmdrill.report.blocks import Bullets, Drawing, Grid, Heading, Text
from llmdrill.system.figures import texts_apart
from llmdrill.units import format_bytes, format_quantity, format_seconds, format_share, format_usd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from llmdrill.grading.numbers import NumberGrade
    from llmdrill.report.blocks import Block, Blocks, Tone
    from llmdrill.system.band import EstimateBand
    from llmdrill.system.check import Verdict
    from llmdrill.system.estimate import Estimate, StageEstimate
    from llmdrill.system.path import PathStep
    from llmdrill.system.scenario import Scenario

UNKNOWN: Final = "unknown"
TONES: Final[dict[str, Tone]] = {"pass": "good", "fail": "bad", "unknown": "warn"}
WATERFALL_WIDTH: Final = 40


def estimate_view(estimate: Estimate, *, width: int = 100, band: EstimateBand | None = None) -> Blocks:
    """Show stages, totals, the waterfall of the critical path, the bottleneck, the band and every note."""
    total = estimate.total
    blocks: list[Block] = [_stage_grid(estimate), _total_grid(estimate)]
    if estimate.critical_path:
        blocks.append(Drawing(waterfall(estimate.critical_path, width=min(WATERFALL_WIDTH, max(10, width - 45)))))
    if total.over_capacity:
        blocks.append(Text(f"Over capacity: {total.over_capacity}", "bad"))
    if estimate.bottleneck:
        share = f" ({format_share(estimate.bottleneck_share)} of it)" if estimate.bottleneck_share is not None else ""
        blocks.append(Text(f"Bottleneck: {estimate.bottleneck} takes most of the time of slow requests{share}."))
    blocks += _band_text(band) if band else ()
    if estimate.notes:
        blocks.append(Bullets(estimate.notes, "dim"))
    return tuple(blocks)


def _band_text(band: EstimateBand) -> tuple[Block, ...]:
    """Return the totals at both ends of the band; nothing where there is no latency to state."""
    low, high = band.low.total, band.high.total
    ends = (
        ("first token p95", low.ttft_p95_s, high.ttft_p95_s),
        ("p50", low.p50_s, high.p50_s),
        ("p95", low.p95_s, high.p95_s),
        ("p99", low.p99_s, high.p99_s),
    )
    told = [
        f"{name} {format_seconds(least)} to {format_seconds(most)}"
        for name, least, most in ends
        if least is not None and most is not None
    ]
    where = f"At the ends of the 80 % band of {', '.join(band.stages)} (TTFT and TPOT both)"
    return (Text(f"{where}: {', '.join(told)}."),) if told else ()


def _stage_grid(estimate: Estimate) -> Grid:
    columns = ("stage", "kind", ">p50", ">p95", ">p99", ">$/request", ">memory", ">runs for", "latency is")
    rows = tuple(_stage_row(stage) for stage in estimate.stages)
    note = f"{estimate.draws:,} requests drawn, seed {estimate.seed}. Latency over the requests that run a stage."
    return Grid(columns, rows, "Estimate by stage", note)


def _stage_row(stage: StageEstimate) -> tuple[str, ...]:
    times = (
        ("offline",) * 3
        if _offline(stage)
        else tuple(cell(v, format_seconds) for v in (stage.p50_s, stage.p95_s, stage.p99_s))
    )
    memory = _gigabytes(stage.memory_bytes)
    basis = "" if _offline(stage) else stage.basis
    return (
        stage.name,
        stage.kind,
        *times,
        cell(stage.usd_per_request, format_usd),
        memory,
        format_share(stage.share_of_requests),
        basis,
    )


def _offline(stage: StageEstimate) -> bool:
    return not stage.on_request_path and stage.p50_s is None and stage.over_capacity is None


def _gigabytes(value: float | None) -> str:
    if value is None:
        return UNKNOWN
    return format_bytes(value).split(" (")[0] if value else ""


def one_line(text: object) -> str:
    r"""Return text with its line breaks written out: names of files hold some, and a CI server reads commands in lines.

    >>> one_line("a\n::error::b.yaml")
    'a\\n::error::b.yaml'
    """
    return r"\n".join(str(text).splitlines())


def cell(value: float | None, shown: Callable[[float], str]) -> str:
    """Return a figure as a cell; None is unknown."""
    return UNKNOWN if value is None else shown(value)


def _total_grid(estimate: Estimate) -> Grid:
    total = estimate.total
    rows = (
        (
            "time to first token",
            cell(total.ttft_p50_s, format_seconds),
            _with_error(total.ttft_p95_s, total.ttft_p95_error_s),
            "",
        ),
        (
            "time to the whole answer",
            _with_error(total.p50_s, total.p50_error_s),
            _with_error(total.p95_s, total.p95_error_s),
            _with_error(total.p99_s, total.p99_error_s),
        ),
    )
    money = f"{cell(total.usd_per_request, format_usd)} a request, {cell(total.usd_per_month, format_usd)} a month"
    shares = f"{format_share(total.success_share)} of requests end with an answer"
    people = f", {format_share(total.human_share)} reach a person" if total.human_share else ""
    memory = "" if total.memory_bytes == 0 else f"; {cell(total.memory_bytes, format_bytes)} held"
    memory = "; memory held is unknown" if total.memory_bytes is None else memory
    return Grid(("total", ">p50", ">p95", ">p99"), rows, "", f"{money}; {shares}{people}{memory}.")


def _with_error(value: float | None, error: float | None) -> str:
    if value is None:
        return UNKNOWN
    return format_seconds(value) + (f" ± {format_seconds(error)}" if error else "")


def waterfall(path: Sequence[PathStep], *, width: int = WATERFALL_WIDTH) -> str:
    """Return the critical path as bars on one time axis."""
    end = max(step.end_s for step in path) or 1.0
    name_width = max(len(step.name) for step in path)
    lines = ["critical path of median requests"]
    for step in path:
        left = round(step.start_s / end * width)
        length = max(1, round((step.end_s - step.start_s) / end * width))
        bar = (" " * min(left, width - 1) + "#" * length)[: width + 1]
        lines.append(
            f"{step.name.ljust(name_width)} |{bar.ljust(width + 1)}| {format_seconds(step.end_s - step.start_s)}"
        )
    return "\n".join(lines)


def formulas_view(estimate: Estimate, stage: str | None = None) -> Blocks:
    """Show every formula of the estimate, the numbers put in, and the source."""
    shown = [one for one in estimate.stages if stage in (None, one.name) and one.explained]
    if not shown:
        return (
            Text(f"There is no formula to show for '{stage}'." if stage else "No stage has a formula to show.", "dim"),
        )
    blocks: list[Block] = []
    for one in shown:
        lines = [f"{e.name} = {e.formula}\n  = {e.filled}\n  source: {e.source}" for e in one.explained]
        blocks += [Heading(f"{one.name} ({one.kind})", 3), Drawing("\n".join(lines))]
    return tuple(blocks)


def total_texts(estimate: Estimate) -> tuple[tuple[str, str], ...]:
    """Return the totals as names and figures for people."""
    total = estimate.total
    memory = () if total.memory_bytes == 0 else (("memory held", cell(total.memory_bytes, format_bytes)),)
    people = (("reach a person", format_share(total.human_share)),) if total.human_share else ()
    return (
        ("cost per request", cell(total.usd_per_request, format_usd)),
        ("cost per month", cell(total.usd_per_month, format_usd)),
        ("time to first token p50", cell(total.ttft_p50_s, format_seconds)),
        ("time to first token p95", cell(total.ttft_p95_s, format_seconds)),
        ("whole answer p50", cell(total.p50_s, format_seconds)),
        ("whole answer p95", cell(total.p95_s, format_seconds)),
        ("whole answer p99", cell(total.p99_s, format_seconds)),
        ("requests answered", format_share(total.success_share)),
        *people,
        *memory,
    )


def stage_text(stage: StageEstimate) -> str:
    """Return a stage's figures in a line."""
    names = ("p50", "p95", "p99", "$/request", "memory", "runs for", "latency is")
    told = zip(names, _stage_row(stage)[2:], strict=True)
    return ", ".join(f"{name} {value}" for name, value in told if value)


def estimate_markdown(
    file: str, estimate: Estimate, *, formulas: bool = False, band: EstimateBand | None = None
) -> str:
    """Return the estimate as a pull-request comment: headline, totals, and the rest folded away."""
    from llmdrill.report.markdown import details, to_markdown

    total = estimate.total
    money = UNKNOWN if total.usd_per_month is None else format_usd(total.usd_per_month)
    headline = f"llmdrill estimate: {money} a month, p95 {cell(total.p95_s, format_seconds)}"
    totals = Grid(("figure", ">estimate"), total_texts(estimate), file)
    _, _, *rest = estimate_view(estimate, band=band)
    parts = [
        to_markdown([Heading(headline, 3), totals]),
        details("Stage by stage", to_markdown([_stage_grid(estimate)])),
        details("Critical path, bottleneck and what it rests on", to_markdown(rest)),
    ]
    parts += [details("Formulas", to_markdown(formulas_view(estimate)))] if formulas else []
    return "\n".join(parts)


def verdict_view(verdicts: Iterable[Verdict], *, title: str = "Requirement by requirement") -> Blocks:
    """Show one row per requirement: limit, estimated, measured, verdict and why."""
    rows, tones = [], []
    for verdict in verdicts:
        rows.append((verdict.requirement, *figure_texts(verdict), verdict.result.upper(), verdict.why))
        tones.append(TONES[verdict.result])
    return (
        Grid(
            ("requirement", ">limit", ">estimated", ">measured", "result", "why"), tuple(rows), title, "", tuple(tones)
        ),
    )


def figure_texts(verdict: Verdict) -> tuple[str, str, str]:
    """Return limit with its sign, estimated and measured; empty where there is none."""
    limit, estimated, measured = texts_apart(verdict.dimension, verdict.limit, verdict.estimated, verdict.measured)
    return f"{'<=' if verdict.better == 'lower' else '>='} {limit}", estimated, measured


def numbers_view(scenario: Scenario, grades: Sequence[NumberGrade]) -> Blocks:
    """Show the person's numbers beside the computed ones."""
    asked = {question.id: question for question in scenario.numbers}
    rows, tones = [], []
    for grade in grades:
        question = asked[grade.id]
        ratio = "" if grade.ratio is None else f"{grade.ratio:.3g}x"
        verdict = {True: "within", False: "off", None: "skipped" if grade.stated is None else UNKNOWN}[grade.within]
        shown = [_number(value, question.dimension) for value in (grade.stated, grade.computed)]
        tolerance = "" if question.dimension == "stage" else f"{grade.tolerance_ratio:g}x"
        rows.append((grade.id, *shown, ratio, tolerance, verdict))
        tones.append({True: "good", False: "bad", None: "dim"}[grade.within])
    columns = ("number", ">you said", ">computed", ">ratio", ">tolerance", "verdict")
    return (Grid(columns, tuple(rows), "Your numbers", "", tuple(tones)),)  # type: ignore[arg-type] # tones are literals


def _number(value: float | str | None, dimension: str) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else format_quantity(value, dimension)  # type: ignore[arg-type] # of the model


def side_by_side_view(mine: Estimate, reference: Estimate) -> Blocks:
    """Show the totals of two designs beside each other."""
    a, b = mine.total, reference.total
    rows = (
        ("time to first token p95", cell(a.ttft_p95_s, format_seconds), cell(b.ttft_p95_s, format_seconds)),
        ("whole answer p50", cell(a.p50_s, format_seconds), cell(b.p50_s, format_seconds)),
        ("whole answer p95", cell(a.p95_s, format_seconds), cell(b.p95_s, format_seconds)),
        ("cost per request", cell(a.usd_per_request, format_usd), cell(b.usd_per_request, format_usd)),
        ("cost per month", cell(a.usd_per_month, format_usd), cell(b.usd_per_month, format_usd)),
        ("memory held", cell(a.memory_bytes, format_bytes), cell(b.memory_bytes, format_bytes)),
        ("requests answered", format_share(a.success_share), format_share(b.success_share)),
        ("reach a person", format_share(a.human_share), format_share(b.human_share)),
        ("bottleneck", mine.bottleneck or UNKNOWN, reference.bottleneck or UNKNOWN),
    )
    return (Grid(("what", ">yours", ">reference"), rows, "Your design beside the reference"),)
