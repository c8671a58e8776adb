"""Turn a function from options to an Experiment into a command: the options that every experiment takes are added."""

from __future__ import annotations

import inspect
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from llmdrill.cli import options
from llmdrill.cli.calc.command import SHOWN_OPTIONS, Assertions, shown_as
from llmdrill.cli.shared_options import with_options
from llmdrill.cli.show import emit_json, failing_assertions, leave_if_any, read_assertion
from llmdrill.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmdrill.cli.calc.answer import Shown
    from llmdrill.cli.show import Assertion
    from llmdrill.experiments.result import Experiment, Finding
    from llmdrill.units import Dimension

MOST_THREADS: Final = 1024
_SHARED: Final = {
    "seed": (options.Seed, 0),
    "threads": (
        Annotated[
            int | None,
            typer.Option("--threads", min=1, max=MOST_THREADS, help="Of the engines; default: one a core."),
        ],
        None,
    ),
    "svg": (
        Annotated[Path | None, typer.Option("--svg", metavar="FILE", help="Write the pictures to this SVG file.")],
        None,
    ),
    **SHOWN_OPTIONS,
    "assertions": (Assertions, None),
    "plain": (options.Plain, False),
}
_DIMENSIONS: Final[dict[str, Dimension]] = {
    **dict.fromkeys(("s", "ms"), "seconds"),
    "bytes": "bytes",
    **dict.fromkeys(("share", "mape", "ape"), "share"),
}


def as_command(experiment: Callable[..., Experiment], *, needs_torch: bool = True) -> Callable[..., None]:
    """Return the command of an experiment: its own options and the shared ones in, what it found shown.

    A function that has a parameter ``seed`` gets the seed, one that has ``say`` a way to tell how far it is, one that
    has ``tell`` a way to say what stays on stderr.

    Args:
        experiment: From options to what was found.
        needs_torch: Refuse to begin where torch is not installed.
    """
    wanted = set(inspect.signature(experiment).parameters)

    def run(own: dict[str, Any], shared: dict[str, Any]) -> None:
        shown = shown_as(shared["format_"], json=shared["json"])
        for assertion in shared["assertions"] or ():
            _require_limit(read_assertion(assertion))
        if shared["svg"] is not None:
            _require_plotting(shared["svg"])
        if needs_torch or shared["threads"]:
            use_threads(shared["threads"])
        given = {"seed": shared["seed"], "say": progress_line(), "tell": tell_once}
        found = experiment(**own, **{name: value for name, value in given.items() if name in wanted})
        say_nothing_more()
        _show(found, shown, svg=shared["svg"], assertions=shared["assertions"] or (), plain=shared["plain"])

    return with_options(experiment, _SHARED, run, given={"seed", "say", "tell"})


def use_threads(threads: int | None) -> None:
    """Let torch and the native step use so many threads; None leaves them what the system gives.

    Raises:
        MissingExtraError: If torch is not installed.
    """
    try:
        from llmdrill.lab.machine import use_threads as use

        use(threads)
    except ImportError as error:
        raise MissingExtraError("the lab", "lab") from error


def progress_line() -> Callable[[str], None]:
    """Return what writes one line over and over on stderr, where a person looks at it; else nothing."""
    if not sys.stderr.isatty():
        return lambda _: None

    def say(text: str) -> None:
        room = shutil.get_terminal_size().columns - 1  # in the last column some terminals begin a new line
        sys.stderr.write(f"\r\x1b[2K{text[:room]}")
        sys.stderr.flush()

    return say


def tell_once(text: str) -> None:
    """Write a line to stderr that stays, whoever reads it."""
    say_nothing_more()
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def say_nothing_more() -> None:
    """Clear the progress line."""
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[2K")
        sys.stderr.flush()


def _require_limit(assertion: Assertion) -> None:
    """Refuse a limit that is no quantity before anything runs; whether there is such a figure only the run tells."""
    assertion.limit_in(_dimension(assertion.name))


def _require_plotting(file: Path) -> None:
    """Refuse a picture that could not be drawn or written, before anything runs."""
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise MissingExtraError("drawing SVG", "plot")
    try:
        there = file.exists()
        file.open("ab").close()  # nothing else tells on every system whether it can be written
        if not there:
            file.unlink()
    except OSError as error:
        raise UsageError(f"--svg {file}: cannot be written: {error.strerror}") from error


def _show(found: Experiment, shown: Shown, *, svg: Path | None, assertions: list[str] | tuple[()], plain: bool) -> None:
    """Print first: whatever is wrong with the picture or an assertion, the run is not lost."""
    from llmdrill.report.experiment_view import experiment_view

    if shown == "json":
        from llmdrill.experiments.result import experiment_json

        emit_json(experiment_json(found))
    elif shown == "markdown":
        from llmdrill.report.markdown import to_markdown

        sys.stdout.write(to_markdown(experiment_view(found)))
    else:
        from llmdrill.cli.gate import print_blocks

        print_blocks(experiment_view(found), plain=plain)
    if svg is not None:
        from llmdrill.report.svg import write_svg

        write_svg(found.pictures, svg)
        if shown == "text":
            sys.stdout.write(f"Written: {svg}\n")
    known = {one.name: _in_si(one) for one in found.findings if one.measured is not None}
    unknown = [one.name for one in found.findings if one.measured is None]
    leave_if_any(failing_assertions(assertions, known, unknown=unknown))


def _in_si(one: Finding) -> tuple[float, Dimension]:
    """Return a finding as ``--assert`` compares it: its value in SI and its dimension."""
    value = one.measured or 0.0
    return value / 1000 if one.name.endswith("_ms") else value, _dimension(one.name)


def _dimension(name: str) -> Dimension:
    """Return the dimension that a finding's name ends in.

    >>> _dimension("tpot_ms"), _dimension("tg_tokens_per_s"), _dimension("hit_share"), _dimension("perplexity")
    ('seconds', 'count', 'share', 'count')
    >>> _dimension("mape"), _dimension("median_ape")
    ('share', 'share')
    """
    return "count" if name.endswith("_per_s") else _DIMENSIONS.get(name.rpartition("_")[2], "count")
