"""`llmdrill estimate`, `llmdrill measure` and `llmdrill check`: a design file in scripts and CI."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmdrill.cli import options  # noqa: TC001 - typer reads the annotations
from llmdrill.cli.show import emit_json
from llmdrill.errors import EXIT_NO, ContentError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from llmdrill.measurement import Measurement
    from llmdrill.report.blocks import Blocks
    from llmdrill.system.check import Verdict
    from llmdrill.system.design import DesignFile
    from llmdrill.system.scenario import ScenarioFile

Design = Annotated[Path, typer.Argument(help="A design file.")]
ScenarioOption = Annotated[
    str | None, typer.Option("--scenario", help="File of the scenario, if it is neither shipped nor beside the design.")
]


def scenario_of(file: DesignFile, named: str | None) -> ScenarioFile:
    """Return the scenario a design answers: the one named, one beside the design, or the one of that id."""
    from llmdrill.system.scenario import load_scenario

    if named:
        return load_scenario(named)
    scenario_id = file.design.scenario.id
    for folder in list(file.path.resolve().parents)[:3]:
        beside = folder / f"{scenario_id}.yaml"
        if beside.is_file():
            return load_scenario(str(beside))
    try:
        return load_scenario(scenario_id)
    except UnknownNameError as error:
        what = f"{error}; give its file with --scenario FILE"
        raise ContentError([file.located.mistake(("scenario", "id"), what)]) from error


def estimate(
    design: Design,
    scenario: ScenarioOption = None,
    seed: options.Seed = 0,
    draws: options.Draws = 20_000,
    formulas: Annotated[bool, typer.Option("--explain", help="Show every formula with the numbers put in.")] = False,
    json_: options.Json = False,
    format_: options.Format = "text",
    plain: options.Plain = False,
) -> None:
    """Estimate a design: latency per stage, cost, memory, critical path, bottleneck."""
    from llmdrill.report.estimate_views import estimate_view, formulas_view
    from llmdrill.system.check import require_same_scenario
    from llmdrill.system.design import load_design
    from llmdrill.system.estimate import estimate_design
    from llmdrill.system.estimate_json import estimate_json

    file = load_design(design)
    about = scenario_of(file, scenario).scenario
    require_same_scenario(file, about)
    found = estimate_design(file.design, about, seed=seed, draws=draws)
    if json_ or format_ == "json":
        emit_json(estimate_json(found))
        return
    _print((*estimate_view(found), *(formulas_view(found) if formulas else ())), format_, plain=plain)


def measure(
    design: Design,
    scenario: ScenarioOption = None,
    out: Annotated[Path | None, typer.Option("--out", help="File to write; default beside the design.")] = None,
    seed: options.Seed = 0,
    embedder: options.Embedder = None,
    json_: options.Json = False,
    plain: options.Plain = False,
) -> None:
    """Run the scenario's evaluation on a design, on this machine, and write the measurement file for `check`."""
    from llmdrill.cli.design import embedder_loader
    from llmdrill.content import cache_folder
    from llmdrill.experiments.evaluate import run_evaluation
    from llmdrill.measurement import measurements_json
    from llmdrill.report.measurement_views import measurement_view
    from llmdrill.retrieval.embedding_cache import DiskEmbeddingCache
    from llmdrill.system.check import require_same_scenario
    from llmdrill.system.design import load_design

    file = load_design(design)
    about = scenario_of(file, scenario)
    require_same_scenario(file, about.scenario)
    target = out or design.with_name(design.name.removesuffix(".yaml").removesuffix(".design") + ".measured.json")
    cache = DiskEmbeddingCache(cache_folder() / "embeddings")
    measured = run_evaluation(about, file.design, load_embedder=embedder_loader(embedder), seed=seed, cache=cache)
    document = measurements_json([measured])
    try:
        target.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{target}: cannot be written ({error.strerror}); choose another with --out") from error
    if json_:
        emit_json({"schema": document["schema"], "file": str(target), "measurements": document["measurements"]})
        return
    _print(measurement_view(measured), "text", plain=plain)
    typer.echo(f"Written: {target}\nCheck:   llmdrill check {design} --measured {target}")


def check(
    designs: Annotated[list[Path], typer.Argument(help="Design files.")],
    measured: Annotated[list[Path] | None, typer.Option("--measured", help="Measurement file; repeatable.")] = None,
    estimated_only: Annotated[
        bool, typer.Option("--estimated-only", help="Leave out what only a run can tell, and say so.")
    ] = False,
    scenario: ScenarioOption = None,
    seed: options.Seed = 0,
    draws: options.Draws = 20_000,
    json_: options.Json = False,
    format_: options.Format = "text",
    plain: options.Plain = False,
) -> None:
    """Hold designs to their scenario's requirements. Exit 0: all pass; 1: any fails or is unknown; 2: bad input."""
    from llmdrill.measurement import read_measurements
    from llmdrill.scale.result import verdict_json

    known = {one.key: one for path in measured or [] for one in read_measurements(path)}
    verdicts: list[Verdict] = []
    left_out: list[str] = []
    for path in designs:
        rows, skipped = _check_one(path, known, scenario, estimated_only=estimated_only, seed=seed, draws=draws)
        verdicts += rows
        left_out += [f"{path}: {name}" for name in skipped]
    passed = all(verdict.result == "pass" for verdict in verdicts)
    if json_ or format_ == "json":
        emit_json(
            {
                "schema": "llmdrill/check@1",
                "passed": passed,
                "verdicts": [verdict_json(verdict) for verdict in verdicts],
                "left_out": left_out,
                "seed": seed,
            }
        )
    else:
        _print(_check_view(verdicts, left_out, designs, passed=passed), format_, plain=plain)
    if not passed:
        raise typer.Exit(EXIT_NO)


def _check_one(
    path: Path, known: dict[str, Measurement], scenario: str | None, *, estimated_only: bool, seed: int, draws: int
) -> tuple[tuple[Verdict, ...], tuple[str, ...]]:
    from llmdrill.experiments.evaluate import evaluation_key
    from llmdrill.system.check import check_design, left_out, require_same_scenario
    from llmdrill.system.design import load_design
    from llmdrill.system.estimate import estimate_design

    file = load_design(path)
    about = scenario_of(file, scenario)
    require_same_scenario(file, about.scenario)
    found = estimate_design(file.design, about.scenario, seed=seed, draws=draws)
    key = None if estimated_only else evaluation_key(about, file.design, seed=seed)
    # A measurement of something else is handed on all the same: the verdict then says that it is stale.
    measurement = known.get(key or "") or next(iter(known.values()), None)
    rows = check_design(file, about.scenario, found, measurement, expected_key=key, estimated_only=estimated_only)
    return rows, left_out(file, about.scenario) if estimated_only else ()


def _check_view(verdicts: list[Verdict], left_out: list[str], designs: list[Path], *, passed: bool) -> Blocks:
    from llmdrill.report.blocks import Text
    from llmdrill.report.estimate_views import verdict_view

    blocks: list[object] = []
    for path in designs:
        blocks += verdict_view([row for row in verdicts if row.file == str(path)], title=str(path))
    if left_out:
        blocks.append(Text("Left out (--estimated-only): " + "; ".join(left_out), "dim"))
    counts = {result: sum(row.result == result for row in verdicts) for result in ("pass", "fail", "unknown")}
    said = ", ".join(f"{count} {result}" for result, count in counts.items() if count)
    blocks.append(Text(f"{'PASS' if passed else 'FAIL'}: {said}", "good" if passed else "bad"))
    return tuple(blocks)  # type: ignore[arg-type] # blocks all


def _print(blocks: Blocks, format_: str, *, plain: bool) -> None:
    if format_ == "markdown":
        from llmdrill.report.markdown import to_markdown

        sys.stdout.write(to_markdown(blocks))
        return
    from llmdrill.report.terminal import Terminal

    Terminal(sys.stdout, plain=True if plain else None).write(blocks)
