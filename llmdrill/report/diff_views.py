"""What changed between two designs: for the terminal, for a pull-request comment, and a line at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from llmdrill.report.blocks import Bullets, Grid, Heading, Text
from llmdrill.report.estimate_views import one_line
from llmdrill.report.markdown import details, to_markdown
from llmdrill.system.diff import NOISE_SHARE
from llmdrill.units import format_bytes, format_quantity, format_seconds, format_share, format_usd

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from llmdrill.report.blocks import Block, Blocks, Tone
    from llmdrill.system.diff import Change, Diff, SettingChange, StageDiff

NAMES: Final[Mapping[str, str]] = {
    "usd_per_request": "cost per request",
    "usd_per_month": "cost per month",
    "ttft_p50_s": "time to first token p50",
    "ttft_p95_s": "time to first token p95",
    "total_p50_s": "whole answer p50",
    "total_p95_s": "whole answer p95",
    "total_p99_s": "whole answer p99",
    "p50_s": "time p50",
    "p95_s": "time p95",
    "p99_s": "time p99",
    "tpot_p50_s": "time per token p50",
    "tpot_p95_s": "time per token p95",
    "memory_bytes": "memory held",
    "success_share": "requests answered",
    "human_share": "reach a person",
    "share_of_requests": "runs for",
}
BRIEF: Final = frozenset({"usd_per_month", "p50_s", "p95_s", "memory_bytes", "share_of_requests"})
ABSENT: Final = "–"
_UNTONED: Final[Tone] = "plain"
SMALL: Final = 0.0005  # a share below half a tenth of a per cent reads as no change


def headline(diff: Diff) -> str:
    """Return the whole difference in a line: what a month costs, and how long slow requests take."""
    if not diff.different:
        return "nothing differs"
    return f"{_moved(diff.total('usd_per_month'))} a month; {_moved(diff.total('total_p95_s'))} at p95"


def _moved(one: Change) -> str:
    if one.base is None and one.head is None:
        return "unknown"
    if one.base is None or one.head is None:
        return f"{_value(one, one.base)} -> {_value(one, one.head)}"
    if not one.differs():
        return f"{_value(one, one.head)} as before"
    return f"{_value(one, one.base)} -> {_value(one, one.head)} ({_percent(one)})"


def diff_view(diff: Diff) -> Blocks:
    """Show totals, each stage that changed with its settings, quality, promises and notes."""
    blocks: list[Block] = [Text(f"{one_line(diff.base_file)} -> {one_line(diff.head_file)}: {headline(diff)}")]
    blocks.append(_totals(diff))
    blocks += _scenario_view(diff.scenario)
    blocks += [_stage_grid(one) for one in diff.stages if one.status not in {"same", "affected"}]
    blocks += [_stage_grid(one) for one in diff.stages if one.status == "affected"]
    blocks += [*_same(diff), *_quality(diff), *_promises(diff)]
    blocks += [Bullets(diff.notes, "warn")] if diff.notes else []
    return tuple(blocks)


def _totals(diff: Diff) -> Grid:
    shown = [one for one in diff.totals if one.base or one.head or one.differs()]
    rows = tuple((NAMES[one.name], _value(one, one.base), _value(one, one.head), _changed(one)) for one in shown)
    base, head = (name or "unknown" for name in diff.bottlenecks)
    bottleneck = f"Bottleneck: {head}." if base == head else f"Bottleneck: {base} -> {head}."
    least = f"A stage's times are shown from {format_share(NOISE_SHARE)} on: less is the luck of the draw."
    note = f"{bottleneck} {diff.draws:,} requests drawn, seed {diff.seed}. {least}"
    return Grid(("total", ">base", ">head", ">change"), rows, "", note, tuple(_tone(one) for one in shown))


def _tone(one: Change) -> Tone:
    change = one.change
    if not change or not one.differs() or one.better is None:
        return "plain"
    return "good" if (change < 0) == (one.better == "lower") else "bad"


def _stage_grid(stage: StageDiff) -> Grid:
    rows = [(one.name, one.base or ABSENT, one.head or ABSENT, "setting") for one in stage.settings]
    shown = _figures(stage)
    rows += [(NAMES[one.name], *_ends(one, stage), _delta(one, stage)) for one in shown]
    tones = [_UNTONED] * len(stage.settings) + [_tone(one) for one in shown]
    note = "Its own settings are the same." if stage.status == "affected" else ""
    title = f"{stage.status}: {stage.name} ({stage.kind})"
    return Grid((stage.name, ">base", ">head", ">change"), tuple(rows), title, note, tuple(tones))


def _figures(stage: StageDiff) -> list[Change]:
    """Return the figures to show: those that changed; of a stage that came or went the most telling."""
    if stage.status in {"added", "removed"}:
        return [one for one in stage.figures if one.name in BRIEF]
    return [one for one in stage.figures if one.moved]


def _ends(one: Change, stage: StageDiff) -> tuple[str, str]:
    base = ABSENT if stage.status == "added" else _value(one, one.base)
    return base, ABSENT if stage.status == "removed" else _value(one, one.head)


def _delta(one: Change, stage: StageDiff) -> str:
    if stage.status == "added":
        return "new"
    return "gone" if stage.status == "removed" else _changed(one)


def _value(one: Change, value: float | None) -> str:
    """Return a figure; bytes in GB alone, as in the table of an estimate."""
    if value is None:
        return "unknown"
    return format_bytes(value).split(" (")[0] if one.dimension == "bytes" else format_quantity(value, one.dimension)


def _changed(one: Change) -> str:
    """Return the change with its sign, absolute and as a share of the base."""
    change = one.change
    if change is None:
        return "" if one.base is one.head else "unknown"
    if not one.differs():
        return "none"
    shown = {"seconds": format_seconds, "usd": format_usd, "bytes": format_bytes, "share": format_share}
    size = shown.get(one.dimension, format_share)(abs(change)).split(" (")[0]
    size = size.replace("%", " points") if one.dimension == "share" else size
    percent = f" ({_percent(one)})" if one.dimension != "share" else ""
    return f"{'+' if change > 0 else '-'}{size}{percent}"


def _percent(one: Change) -> str:
    share = one.change_share
    if share is None:
        return "from nothing"
    return f"{'+' if share > 0 else '-'}{format_share(abs(share))}" if abs(share) >= SMALL else "under 0.1%"


def _same(diff: Diff) -> tuple[Block, ...]:
    names = [one.name for one in diff.stages if one.status == "same"]
    return (Text(f"Unchanged: {', '.join(names)}", "dim"),) if names else ()


def _scenario_view(changes: Iterable[SettingChange]) -> tuple[Block, ...]:
    rows = tuple((one.name, one.base or ABSENT, one.head or ABSENT) for one in changes)
    return (Grid(("scenario", ">base", ">head"), rows, "The scenario itself changed"),) if rows else ()


def _quality(diff: Diff) -> tuple[Block, ...]:
    if not diff.quality:
        return (Text("Quality: not measured (give --measured-base and --measured-head).", "dim"),)
    rows = tuple((one.name, *(_value(one, end) for end in (one.base, one.head)), _changed(one)) for one in diff.quality)
    tones = tuple(_tone(one) for one in diff.quality)
    return (Grid(("measured quality", ">base", ">head", ">change"), rows, "", "", tones),)


def _promises(diff: Diff) -> tuple[Block, ...]:
    changed = [one for one in diff.promises if one.differs()]
    rows = tuple((one.name, *_promise_ends(one), _promise_word(one)) for one in changed)
    return (Grid(("promise", ">base", ">head", "which is"), rows),) if rows else ()


def _promise_ends(one: Change) -> tuple[str, str]:
    base, head = (ABSENT if end is None else format_quantity(end, one.dimension) for end in (one.base, one.head))
    return base, head


def _promise_word(one: Change) -> str:
    if one.base is None or one.head is None:
        return "new" if one.base is None else "gone"
    return "stricter" if (one.head < one.base) == (one.better == "lower") else "laxer"


# --- a line at a time ---------------------------------------------------------------------------------------------


def total_lines(diff: Diff) -> tuple[tuple[str, str], ...]:
    """Return the totals as names and what became of them."""
    shown = (one for one in diff.totals if one.base or one.head or one.differs())
    return tuple((NAMES[one.name], _from_to(one)) for one in shown)


def stage_lines(stage: StageDiff) -> tuple[str, ...]:
    """Return a stage's changed settings and figures, a line each."""
    settings = (f"{one.name}: {one.base or ABSENT} -> {one.head or ABSENT}" for one in stage.settings)
    figures = []
    for one in _figures(stage):
        base, head = _ends(one, stage)
        one_side = {"added": head, "removed": base}.get(stage.status)
        figures.append(f"{NAMES[one.name]}: {one_side or _from_to(one)}")
    return (*settings, *figures)


def _from_to(one: Change) -> str:
    base, head = _value(one, one.base), _value(one, one.head)
    return f"{head} (unchanged)" if not one.differs() else f"{base} -> {head}, {_changed(one)}"


# --- Markdown -----------------------------------------------------------------------------------------------------


def diff_markdown(diff: Diff) -> str:
    """Return the difference as a pull-request comment: headline, totals, stages in a table, the rest folded away."""
    parts = [to_markdown([Heading(f"llmdrill diff: {headline(diff)}", 3), _totals(diff)])]
    touched = [one for one in diff.stages if one.status != "same"]
    if touched:
        parts.append(to_markdown([_stage_table(touched)]))
    grids = (_stage_grid(one) for one in touched)
    parts += [details(grid.title, to_markdown([replace(grid, title="")])) for grid in grids if grid.rows]
    rest = (*_scenario_view(diff.scenario), *_quality(diff), *_promises(diff), *_same(diff))
    parts.append(to_markdown([*rest, *([Bullets(diff.notes)] if diff.notes else [])]))
    parts.append(to_markdown([Text(one_line(f"From {diff.base_file} to {diff.head_file}."))]))
    return "\n".join(parts)


def _stage_table(stages: Iterable[StageDiff]) -> Grid:
    rows = []
    for stage in stages:
        by_name = {one.name: one for one in stage.figures}
        cells = (_cell(by_name.get(name), stage) for name in ("usd_per_month", "p95_s", "memory_bytes"))
        settings = ", ".join(f"{one.name}: {one.base or ABSENT} -> {one.head or ABSENT}" for one in stage.settings)
        rows.append((stage.status, f"{stage.name} ({stage.kind})", *cells, settings))
    return Grid(("", "stage", ">cost per month", ">time p95", ">memory", "settings"), tuple(rows))


def _cell(one: Change | None, stage: StageDiff) -> str:
    if one is None:
        return ""
    base, head = _ends(one, stage)
    if stage.status in {"added", "removed"}:
        return f"{'+' if stage.status == 'added' else '-'}{head if stage.status == 'added' else base}"
    return head if not one.moved else f"{base} -> {head} ({_percent(one)})"
