"""`llmdrill lab all`: every experiment as one report."""

from __future__ import annotations

import functools
import inspect
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from llmdrill.cli import options  # noqa: TC001
from llmdrill.cli.calc.answer import Shown  # noqa: TC001 - typer reads the annotations
from llmdrill.cli.calc.command import shown_as
from llmdrill.cli.lab import EXPERIMENTS
from llmdrill.cli.lab.command import MOST_THREADS, progress_line, say_nothing_more, use_threads
from llmdrill.cli.lab.options import QuickOption  # noqa: TC001
from llmdrill.errors import EXIT_NO, InterruptedByPersonError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from llmdrill.experiments.all_runs import Ran
    from llmdrill.experiments.result import Experiment
    from llmdrill.report.blocks import Blocks

TITLE: Final = "The lab on this machine"
FOLDER: Final = Path("llmdrill-lab")


def all_(
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder of what was found; the same one again goes on.")
    ] = FOLDER,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="NAMES", help="Experiments, with commas; default: all of them."),
    ] = None,
    quick: QuickOption = False,
    seed: options.Seed = 0,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, max=MOST_THREADS, help="Of the engines; default: one a core.")
    ] = None,
    format_: Annotated[Shown, typer.Option("--format", help="How to print the summary.")] = "text",
    json: options.Json = False,
    plain: options.Plain = False,
) -> None:
    """Every experiment as one report that can be resumed."""
    shown, names = shown_as(format_, json=json), _names(only)
    use_threads(threads)
    from llmdrill.experiments.all_runs import kept_runs, run_all, write_report
    from llmdrill.lab.machine import this_machine

    say = progress_line()
    ran: list[Ran] = []
    runs = {name: functools.partial(_run, name, quick=quick, seed=seed, say=say) for name in names}
    under: dict[str, Any] = {"conditions": {"quick": quick, "seed": seed}, "machine": this_machine()}
    before = kept_runs(_names(None), folder=out, **under)
    try:
        for one in run_all(runs, folder=out, render=_section, say=say, **under):
            ran.append(one)
            write_report(_in_order((*ran, *_others(before, ran))), folder=out, title=TITLE)
    except InterruptedByPersonError as error:
        say_nothing_more()
        again = f"the same command goes on after the {len(ran)} of {len(names)} that {out} holds"
        raise InterruptedByPersonError(f"interrupted: {again}") from error
    say_nothing_more()
    _show(ran, _others(before, ran), out, shown, plain=plain)
    if any(one.failed for one in ran):
        raise typer.Exit(EXIT_NO)


def _names(only: Iterable[str] | None) -> tuple[str, ...]:
    """Return the experiments asked for, in the order of the lab.

    Raises:
        UnknownNameError: If there is no such experiment.
        UsageError: If none is named.
    """
    known = [name for name in EXPERIMENTS if name != "all"]
    if only is None:
        return tuple(known)
    asked = [name.strip() for text in only for name in text.split(",") if name.strip()]
    for name in asked:
        if name not in known:
            raise UnknownNameError("experiment", name, known)
    if not asked:
        raise UsageError("--only names no experiment: such as --only decode,kv")
    return tuple(name for name in known if name in asked)


def _others(before: Iterable[Ran], ran: Iterable[Ran]) -> tuple[Ran, ...]:
    """Return what earlier runs left of experiments that this one has not come to: the report keeps them."""
    done = {one.name for one in ran}
    return tuple(one for one in before if one.name not in done)


def _in_order(ran: Iterable[Ran]) -> tuple[Ran, ...]:
    return tuple(sorted(ran, key=lambda one: list(EXPERIMENTS).index(one.name)))


def _run(name: str, *, quick: bool, seed: int, say: Callable[[str], None]) -> Experiment:
    """Run one experiment with its defaults, quickly where it can be."""
    function = name.replace("-", "_")
    experiment = getattr(import_module(f"llmdrill.cli.lab.{function}"), function)
    told = {"seed": seed, "quick": quick, **dict.fromkeys(("say", "tell"), lambda text: say(f"{name}: {text}"))}
    wanted = inspect.signature(experiment).parameters
    found: Experiment = experiment(**{key: value for key, value in told.items() if key in wanted})
    return found


def _section(found: Experiment) -> str:
    from llmdrill.report.experiment_view import experiment_view
    from llmdrill.report.markdown import to_markdown

    return to_markdown(experiment_view(found, level=2))


def _show(ran: list[Ran], others: tuple[Ran, ...], out: Path, shown: Shown, *, plain: bool) -> None:
    from llmdrill.cli.gate import print_blocks
    from llmdrill.cli.show import emit_json
    from llmdrill.experiments.all_runs import REPORT
    from llmdrill.report.markdown import to_markdown

    report = out / REPORT
    if shown == "json":
        emit_json(_json(ran, report))
    elif shown == "markdown":
        sys.stdout.write(to_markdown(_view(ran, others, report)))
    else:
        print_blocks(_view(ran, others, report), plain=plain)


def _json(ran: list[Ran], report: Path) -> dict[str, Any]:
    return {
        "schema": "llmdrill/lab-all@1",
        "report": str(report),
        "experiments": {one.name: one.document for one in ran if one.document is not None},
        "seconds": {one.name: one.seconds for one in ran},
        "kept": [one.name for one in ran if one.kept],
        "failed": [{"name": one.name, "why": one.failed} for one in ran if one.failed],
    }


def _view(ran: list[Ran], others: tuple[Ran, ...], report: Path) -> Blocks:
    from llmdrill.report.blocks import Bullets, Grid, Heading, Text

    failed = sum(bool(one.failed) for one in ran)
    rows = tuple((one.name, one.state, f"{one.seconds:.1f}") for one in ran)
    count = f"{len(ran) - failed} of {len(ran)} experiments are in {report}"
    count += f", beside {len(others)} that were there before" if others else ""
    again = f"; {failed} failed: the same command tries them again" if failed else ""
    grid = Grid(("experiment", "state", ">seconds"), rows, "Experiments")
    found = Bullets(tuple(f"{one.name}: {one.meaning}" for one in ran))
    return Heading(TITLE, 1), grid, found, Text(f"{count}{again}.")
