"""`llmdrill check`: hold design files to their requirements, in scripts and CI."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmdrill.cli import gate, options, tell
from llmdrill.cli.show import emit_json
from llmdrill.errors import ContentError, LlmdrillError, Mistake, UsageError

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator

    from llmdrill.measurement import Measurement
    from llmdrill.system.check import Verdict
    from llmdrill.system.gate import FileCheck, GateCheck
    from llmdrill.system.limits import Limit
    from llmdrill.system.side import Side

MaxPerRequest = Annotated[
    str | None,
    typer.Option("--max-usd-per-request", metavar="USD", help="Most that one request may cost: 0.002, 0.2c."),
]
MaxPerMonth = Annotated[
    str | None, typer.Option("--max-usd-per-month", metavar="USD", help="Most that a month may cost: 2500, $2.5k.")
]
Slo = Annotated[
    list[str] | None,
    typer.Option(
        "--slo",
        metavar="NAME=VALUE",
        help="One more limit, repeatable: ttft_p95_ms=800, memory_gb=80, success_share=99.9%, llm.tpot_p95_ms=25.",
    ),
]
Baseline = Annotated[
    Path | None, typer.Option("--baseline", metavar="OLD", help="A design whose figures --max-increase counts from.")
]
MaxIncrease = Annotated[
    str | None,
    typer.Option("--max-increase", metavar="SHARE", help="Most that cost, p95 and memory may rise: 10%."),
]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What every file of one call is held to."""

    scenario: str | None
    measured: dict[str, Measurement]
    estimated_only: bool
    limits: tuple[Limit, ...]
    baseline: Side | None
    max_increase_share: float
    seed: int
    draws: int
    date: dt.datetime | None


def check(
    designs: Annotated[list[Path], typer.Argument(metavar="DESIGN", help="Design files.")],
    max_usd_per_request: MaxPerRequest = None,
    max_usd_per_month: MaxPerMonth = None,
    slo: Slo = None,
    baseline: Baseline = None,
    max_increase: MaxIncrease = None,
    measured: gate.Measured = None,
    estimated_only: Annotated[
        bool, typer.Option("--estimated-only", help="Leave out what only a run can tell, and say so.")
    ] = False,
    scenario: gate.ScenarioOption = None,
    seed: options.Seed = 0,
    draws: options.Draws = 20_000,
    date: gate.Date = None,
    json_: options.Json = False,
    format_: gate.Format = "text",
    plain: options.Plain = False,
) -> None:
    """Hold designs to their scenario's requirements. Exit 0: all pass; 1: any fails or is unknown; 2: bad input."""
    wanted = gate.format_of(format_, json_=json_)
    limits = _limits(max_usd_per_request, max_usd_per_month, slo or [])
    _refuse_contradictions(limits, baseline, max_increase, measured, estimated_only=estimated_only)
    base = None
    if baseline:
        base, _ = gate.load_side(baseline, scenario, seed=seed, draws=draws, date=date, or_beside=designs[0])
    known = gate.measurements_of(measured)
    share = _share(max_increase)
    asked = _Asked(scenario, known, estimated_only, limits, base, share, seed, draws, date)
    done = _gate(designs, asked)
    for one in done.files:
        _tell(one)
    _show(done, wanted, plain=plain)
    if done.exit_status:
        raise typer.Exit(done.exit_status)


def _limits(per_request: str | None, per_month: str | None, slo: list[str]) -> tuple[Limit, ...]:
    if per_request is None and per_month is None and not slo:
        return ()
    from llmdrill.system.limits import money_limit, slo_limit

    limits = [] if per_request is None else [money_limit("request", per_request)]
    limits += [] if per_month is None else [money_limit("month", per_month)]
    limits += [slo_limit(text) for text in slo]
    names = [limit.name for limit in limits]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise UsageError(f"--slo {twice} is given twice; keep one")
    return tuple(limits)


def _share(max_increase: str | None) -> float:
    if max_increase is None:
        return 0.0
    from llmdrill.system.limits import max_increase as parsed

    return parsed(max_increase)


def _refuse_contradictions(
    limits: tuple[Limit, ...],
    baseline: Path | None,
    max_increase: str | None,
    measured: list[Path] | None,
    *,
    estimated_only: bool,
) -> None:
    if baseline and max_increase is None:
        raise UsageError("--baseline needs --max-increase SHARE: by how much may the figures rise? (10%)")
    if max_increase is not None and not baseline:
        raise UsageError("--max-increase needs --baseline OLD: the design to count from")
    if not estimated_only:
        return
    if measured:
        raise UsageError("--estimated-only leaves out what --measured tells: give one of them")
    run_only = next((one.name for one in limits if one.metric.source == "measurement"), None)
    if run_only:
        raise UsageError(f"--estimated-only leaves out --slo {run_only}, which only a run can tell: give one of them")


def _gate(designs: list[Path], asked: _Asked) -> GateCheck:
    from llmdrill.system.gate import GateCheck

    files = tuple(_file(path, asked) for path in dict.fromkeys(designs))
    return GateCheck(files, asked.seed, asked.draws, asked.date.date() if asked.date else None)


def _file(path: Path, asked: _Asked) -> FileCheck:
    """Judge one file; what keeps it from being judged is part of the result, so that the others still are."""
    from llmdrill.system.check import left_out
    from llmdrill.system.gate import FileCheck

    try:
        side, rows = _judge(path, asked)
        skipped = left_out(side.file, side.scenario) if asked.estimated_only else ()
        notes = tuple(_notes(side, asked.baseline))
    except ContentError as error:
        return FileCheck(str(path), mistakes=error.mistakes)
    except LlmdrillError as error:
        if error.exit_status != LlmdrillError.exit_status:
            raise  # Ctrl-C
        return FileCheck(str(path), mistakes=(Mistake(str(path), 1, 1, "", str(error)),))
    return FileCheck(str(path), rows, skipped, notes=notes)


def _notes(side: Side, baseline: Side | None) -> Iterator[str]:
    """Yield what the verdicts of a file hold for alone: this machine, if a stage of it or of the baseline runs here."""
    from llmdrill.system.local_stages import local_note

    for one in filter(None, (side, baseline)):
        note = local_note(one.file.design)
        if note:
            yield note if one is side else f"baseline {one.file.path}: {note}"


def _judge(path: Path, asked: _Asked) -> tuple[Side, tuple[Verdict, ...]]:
    from llmdrill.system.check import check_design

    side, about = gate.load_side(path, asked.scenario, seed=asked.seed, draws=asked.draws, date=asked.date, banded=True)
    key = gate.key_of(side, about, seed=asked.seed) if asked.measured else None
    # A measurement of something else is handed on all the same: the verdict then says that it is stale.
    measurement = asked.measured.get(key or "") or next(iter(asked.measured.values()), None)
    rows = check_design(
        side.file,
        side.scenario,
        side.estimate,
        measurement,
        expected_key=key,
        estimated_only=asked.estimated_only,
        limits=asked.limits,
        band=side.band,
    )
    return side, (*rows, *_increases(side, asked))


def _increases(side: Side, asked: _Asked) -> tuple[Verdict, ...]:
    if asked.baseline is None:
        return ()
    from llmdrill.system.increase import increase_verdicts

    base = asked.baseline
    share = asked.max_increase_share
    return increase_verdicts(side.file, side.estimate, base.file, base.estimate, max_increase_share=share)


def _tell(one: FileCheck) -> None:
    """Write a file's mistakes to stderr, as the one error boundary does for a single file."""
    if one.mistakes:
        tell(ContentError(one.mistakes))


def _show(done: GateCheck, format_: gate.FormatName, *, plain: bool) -> None:
    if format_ == "text" and all(one.mistakes for one in done.files):
        return  # there is nothing to show, and stderr has told why
    match format_:
        case "json":
            from llmdrill.system.gate import gate_json

            emit_json(gate_json(done))
        case "text":
            from llmdrill.report.verdict_views import gate_view

            gate.print_blocks(gate_view(done), plain=plain)
        case "markdown":
            from llmdrill.report.verdict_views import gate_markdown

            sys.stdout.write(gate_markdown(done))
        case "junit":
            from llmdrill.report.junit import check_suites, junit_xml

            sys.stdout.write(junit_xml("llmdrill check", check_suites(done)))
        case "github":
            from llmdrill.report.github_annotations import check_annotations, commands

            sys.stdout.write(commands(check_annotations(done)))
