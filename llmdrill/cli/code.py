"""`llmdrill code start|check|watch|solution`: code drills, written in your own editor."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from llmdrill.cli import options  # noqa: TC001 - typer reads the annotations
from llmdrill.cli.consent import AgreeOption  # noqa: TC001
from llmdrill.cli.show import emit_json
from llmdrill.errors import EXIT_NO, UsageError

if TYPE_CHECKING:
    from llmdrill.practice.code import CodeResult
    from llmdrill.practice.drill import CodeDrill
    from llmdrill.practice.library import Listed

LOOK_S: Final = 0.3  # between two looks at a file that is watched

DrillId = Annotated[str, typer.Argument(metavar="ID", help="A code drill's id.")]
Latest = Annotated[str | None, typer.Argument(metavar="[ID]", help="Default: the one you wrote to last.")]
Into = Annotated[
    Path | None, typer.Option("--into", metavar="FOLDER", help="Where you write; default a folder of llmdrill's home.")
]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Code drills: start one, write it in your editor, check it.",
)


@app.command()
def start(drill: DrillId, into: Into = None, json_: options.Json = False) -> None:
    """Write a drill's file to begin with; a file that is there already is never touched."""
    from llmdrill.practice.library import load_library
    from llmdrill.practice.workspace import start_file

    listed = load_library().find(drill)
    folder = _folder(into)
    path = start_file(listed, folder)
    if json_:
        emit_json({"schema": "llmdrill/code-start@1", "drill": drill, "file": str(path)})
        return
    where = "" if into is None else f" --into {into}"
    typer.echo(f"{path}\nTask:  llmdrill drill show {drill}\nCheck: llmdrill code check {drill}{where}")


@app.command()
def check(drill: Latest = None, into: Into = None, agree: AgreeOption = False, json_: options.Json = False) -> None:
    """Run a drill's checks on your file. Exit 1 if one fails."""
    listed, file = _started(drill, into, agree=agree)
    result = _run(listed, file)
    if json_:
        rows = [{"check": one.check, "problem": one.problem} for one in result.checks]
        body = {"schema": "llmdrill/code@1", "drill": listed.entry.id, "file": str(file), "passed": result.passed}
        emit_json({**body, "stopped": result.stopped, "checks": rows})
    else:
        _tell(result)
    if not result.passed:
        raise typer.Exit(EXIT_NO)


@app.command()
def watch(drill: Latest = None, into: Into = None, agree: AgreeOption = False) -> None:
    """Run the checks each time you save, until all hold; Ctrl-C ends it."""
    listed, file = _started(drill, into, agree=agree)
    typer.echo(f"Watching {file}; Ctrl-C ends it.", err=True)
    seen = -1
    while True:
        saved = _saved(file)
        if saved == seen:
            time.sleep(LOOK_S)
            continue
        seen = saved
        result = _run(listed, file)
        _tell(result)
        if result.passed:
            return


@app.command()
def solution(drill: DrillId, json_: options.Json = False) -> None:
    """Show a drill's solution and how it works."""
    from llmdrill.files import read_text
    from llmdrill.practice.code import SOLUTION
    from llmdrill.practice.library import code_folder, load_library
    from llmdrill.practice.workspace import workspace_file

    listed = load_library().find(drill)
    workspace_file(listed, Path())  # refuses what is no code drill
    text = read_text(code_folder(listed) / SOLUTION)
    worked = _code_drill(listed).worked
    if json_:
        emit_json({"schema": "llmdrill/code-solution@1", "drill": drill, "solution": text, "worked": worked})
    else:
        typer.echo(f"{text}\n{worked}")


def _folder(into: Path | None) -> Path:
    from llmdrill.practice.workspace import workspace_folder

    return workspace_folder() if into is None else into.expanduser()


def _started(drill: str | None, into: Path | None, *, agree: bool) -> tuple[Listed, Path]:
    """Return a drill and the person's file of it, once its pack's code may run."""
    from llmdrill.cli.consent import require_agreement
    from llmdrill.practice.library import load_library
    from llmdrill.practice.workspace import latest_started, workspace_file

    library, folder = load_library(), _folder(into)
    listed = library.find(drill) if drill else latest_started(library.drills, folder)
    file = workspace_file(listed, folder)
    if not file.is_file():
        raise UsageError(f"{file}: there is no such file; llmdrill code start {listed.entry.id} writes it")
    require_agreement(listed.pack, agree=agree, otherwise="no other drill needs it")
    return listed, file


def _run(listed: Listed, file: Path) -> CodeResult:
    from llmdrill.practice.code import run_checks
    from llmdrill.practice.library import code_folder

    return run_checks(_code_drill(listed), code_folder(listed), file)


def _code_drill(listed: Listed) -> CodeDrill:
    from llmdrill.practice.drill import CodeDrill
    from llmdrill.practice.library import load_drill

    drill = load_drill(listed)
    if not isinstance(drill, CodeDrill):
        raise UsageError(f"'{listed.entry.id}' has become another kind of drill; try again")
    return drill


def _tell(result: CodeResult) -> None:
    for one in result.checks:
        typer.echo(f"holds  {one.check}" if one.problem is None else f"fails  {one.check}\n       {one.problem}")
    typer.echo(result.grade().lines[0] + (f"; {result.stopped}" if result.stopped else ""))


def _saved(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:  # an editor that is just replacing it
        return -1
