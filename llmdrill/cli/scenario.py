"""`llmdrill scenario list|show|validate|new`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmdrill.cli import options  # noqa: TC001 - typer reads the annotations
from llmdrill.cli.show import emit_json, show_mistakes
from llmdrill.errors import ContentError, LlmdrillError, Mistake, UsageError

if TYPE_CHECKING:
    from llmdrill.system.scenario import ScenarioFile

app = typer.Typer(no_args_is_help=True, help="The scenarios: list them, read one, check one, start your own.")


@app.command("list")
def list_(json_: options.Json = False) -> None:
    """List the shipped scenarios and your own."""
    print_scenarios(json_=json_)


def print_scenarios(*, json_: bool) -> None:
    """Print id, minutes and title of every scenario; a broken one is said in a line."""
    from llmdrill.folders import content_files

    rows = [_listed(name, path) for name, path in content_files("scenarios").items()]
    if json_:
        emit_json({"schema": "llmdrill/scenarios@1", "scenarios": rows})
        return
    width = max((len(str(row["id"])) for row in rows), default=0)
    for row in rows:
        minutes = f"{row['minutes']} min" if row["minutes"] else "  ?   "
        typer.echo(f"{str(row['id']).ljust(width)}  {minutes:>6}  {row['title']}")
    typer.echo("\nllmdrill design NAME starts one; llmdrill design NAME --demo shows one finished.")


def _listed(name: str, path: Path) -> dict[str, object]:
    from llmdrill.system.scenario import load_scenario

    try:
        scenario = load_scenario(str(path)).scenario
    except LlmdrillError as error:
        return {"id": name, "minutes": None, "title": f"(broken: {str(error).splitlines()[0]})", "file": str(path)}
    return {"id": scenario.id, "minutes": scenario.minutes, "title": scenario.title, "file": str(path)}


@app.command()
def show(
    scenario: Annotated[str, typer.Argument(help="A scenario's name, or a file.")],
    json_: options.Json = False,
    plain: options.Plain = False,
) -> None:
    """Show a scenario's brief, topics, roles and requirements (this spoils the walk)."""
    import sys

    from llmdrill.report.scenario_view import scenario_view
    from llmdrill.report.terminal import Terminal
    from llmdrill.system.scenario import load_scenario

    file = load_scenario(scenario)
    if json_:
        body = file.scenario.model_dump(mode="json", by_alias=True, exclude_none=True)
        body.pop("$schema", None)
        emit_json({"schema": "llmdrill/scenario@1", "sha256": file.scenario.sha256, **body})
        return
    Terminal(sys.stdout, plain=True if plain else None).write(scenario_view(file.scenario))


@app.command()
def validate(
    targets: Annotated[
        list[str] | None, typer.Argument(help="Names, files or folders; none: everything that is shipped.")
    ] = None,
    json_: options.Json = False,
) -> None:
    """Check scenarios: every key, every name, every worked number, every design. Exit 1 if there are mistakes."""
    from llmdrill.scale.validate import validate_walk
    from llmdrill.system.validate import validate_scenario

    mistakes: list[Mistake] = []
    paths = _paths(targets or [])
    for path in paths:
        try:
            file = _load(path)
            mistakes += [*validate_scenario(file), *validate_walk(file)]
        except ContentError as error:
            mistakes += error.mistakes
    show_mistakes(mistakes, paths, what="scenario", json=json_)


def _load(path: Path) -> ScenarioFile:
    from llmdrill.system.scenario import load_scenario

    return load_scenario(str(path))


def _paths(targets: list[str]) -> list[Path]:
    from llmdrill.folders import content_files, find_content

    if not targets:
        return list(content_files("scenarios").values())
    paths: list[Path] = []
    for target in targets:
        folder = Path(target).expanduser()
        if folder.is_dir():
            found = sorted(folder.glob("*.yaml"))
            if not found:
                raise UsageError(f"{target}: no scenario (*.yaml) in this folder")
            paths += found
        else:
            paths.append(find_content("scenarios", target))
    return paths


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Id of the new scenario: lower case, digits, hyphens.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write it to.")] = Path(),
) -> None:
    """Write a small complete scenario of your own to start from; it validates as it is."""
    import re

    from llmdrill.scale.template import scenario_template

    if not re.fullmatch(r"[a-z][a-z0-9-]{1,40}", name):
        raise UsageError(f"'{name}' is no id: lower case letters, digits and hyphens, a letter first")
    path = out / f"{name}.yaml"
    if path.exists():
        raise UsageError(f"{path} exists already; choose another name or --out")
    try:
        for relative, text in scenario_template(name).items():
            target = out / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{out}: cannot write there ({error.strerror})") from error
    typer.echo(f"{path}\nCheck it: llmdrill scenario validate {path}\nWalk it:  llmdrill design {path}")
