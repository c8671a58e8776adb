"""`llmdrill measure`: run a scenario's evaluation on a design."""

from __future__ import annotations

import json
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from llmdrill.cli import gate, options
from llmdrill.cli.show import emit_json
from llmdrill.errors import UsageError


def measure(
    design: gate.Design,
    scenario: gate.ScenarioOption = None,
    out: Annotated[Path | None, typer.Option("--out", help="File to write; default beside the design.")] = None,
    seed: options.Seed = 0,
    embedder: options.Embedder = None,
    json_: options.Json = False,
    plain: options.Plain = False,
) -> None:
    """Run the scenario's evaluation on a design, on this machine, and write the measurement file for `check`."""
    from llmdrill.cli.design import embedder_loader
    from llmdrill.experiments.evaluate import run_evaluation
    from llmdrill.folders import cache_folder
    from llmdrill.measurement import measurements_json
    from llmdrill.report.measurement_views import measurement_view
    from llmdrill.retrieval.embedding_cache import DiskEmbeddingCache
    from llmdrill.system.check import require_same_scenario
    from llmdrill.system.design import load_design

    file = load_design(design)
    about = gate.scenario_of(file, scenario)
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
    gate.print_blocks(measurement_view(measured), plain=plain)
    typer.echo(f"Written: {target}\nCheck:   llmdrill check {design} --measured {target}")
