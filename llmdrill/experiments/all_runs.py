"""`llmdrill lab all`: run experiments in turn, keep what each found, and go on where an earlier run stopped."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from llmdrill import __version__
from llmdrill.errors import InterruptedByPersonError, LlmdrillError, UsageError
from llmdrill.experiments.result import experiment_json
from llmdrill.measurement import measurement_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from llmdrill.experiments.result import Experiment
    from llmdrill.measurement import Machine

SCHEMA: Final = "llmdrill/lab-run@1"
REPORT: Final = "report.md"
LONGEST_REASON: Final = 300


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of one experiment.

    Attributes:
        seconds: It took, when it ran.
        kept: It was finished by an earlier run under the same conditions.
        older: It was finished by an earlier run, under other options, or another version or machine.
        document: Its JSON; None if it failed.
        markdown: Its section of the report.
        failed: Why there is no document, in one line; empty if there is one.
    """

    name: str
    seconds: float
    kept: bool = False
    older: bool = False
    document: Mapping[str, Any] | None = None
    markdown: str = ""
    failed: str = ""

    @property
    def meaning(self) -> str:
        """Return its sentences, or why there are none."""
        return self.failed or " ".join((self.document or {}).get("meaning", ()))

    @property
    def state(self) -> str:
        """Return ``done``, ``kept``, ``older`` or ``failed``."""
        return next((name for name in ("failed", "older", "kept") if getattr(self, name)), "done")


def run_all(
    experiments: Mapping[str, Callable[[], Experiment]],
    *,
    folder: Path,
    conditions: Mapping[str, object],
    machine: Machine,
    render: Callable[[Experiment], str],
    say: Callable[[str], None] = lambda _: None,
    now: Callable[[], float] = time.perf_counter,
) -> Iterator[Ran]:
    """Yield what came of each experiment, run now or kept by an earlier run in the same folder.

    One that was finished under another version, machine or option runs anew; one that fails is told of in a line, and
    the others go on. Each file is written whole, so an interruption loses the running experiment alone.

    Args:
        experiments: Name → what runs it.
        folder: Where finished ones are kept, one file each; made if need be.
        conditions: Options that every result depends on, such as the seed.
        machine: Where this runs.
        render: Makes an experiment's section of the report.
        say: Told which one runs.
        now: The clock.

    Raises:
        UsageError: If the folder cannot be written.
        InterruptedByPersonError: On Ctrl-C.
    """
    _make(folder)
    for number, (name, run) in enumerate(experiments.items(), start=1):
        path, key = folder / f"{name}.json", _key(name, conditions, machine)
        kept = _kept(path, key, name)
        if kept is not None and kept.kept:
            yield kept
            continue
        say(f"{number} of {len(experiments)}: {name}")
        ran = _run(name, run, render, now)
        if not ran.failed:
            kept_fields = {"seconds": ran.seconds, "markdown": ran.markdown, "experiment": ran.document}
            _write(path, json.dumps({"schema": SCHEMA, "key": key, **kept_fields}, ensure_ascii=False))
        yield ran


def kept_runs(
    names: Iterable[str], *, folder: Path, conditions: Mapping[str, object], machine: Machine
) -> tuple[Ran, ...]:
    """Return what earlier runs left in the folder of these experiments, under the same conditions or ``older``."""
    found = (_kept(folder / f"{name}.json", _key(name, conditions, machine), name) for name in names)
    return tuple(one for one in found if one is not None)


def _key(name: str, conditions: Mapping[str, object], machine: Machine) -> str:
    return measurement_key({"version": __version__, "machine": asdict(machine), "name": name, **conditions})


def write_report(ran: tuple[Ran, ...], *, folder: Path, title: str) -> Path:
    """Write every section so far as one Markdown file, with a summary first, and return its path."""
    rows = [f"| {one.name} | {one.state} | {one.seconds:.1f} | {_cell(one.meaning)} |" for one in ran]
    head = [f"# {title}", "", "| experiment | state | seconds | what came out |", "|---|---|---|---|", *rows]
    sections = [one.markdown for one in ran if one.markdown]
    path = folder / REPORT
    _write(path, "\n".join(head) + "\n\n" + "\n".join(sections))
    return path


def _run(
    name: str, run: Callable[[], Experiment], render: Callable[[Experiment], str], now: Callable[[], float]
) -> Ran:
    started = now()
    try:
        found = run()
        document = json.loads(json.dumps(experiment_json(found), allow_nan=False))
        return Ran(name, now() - started, document=document, markdown=render(found))
    except InterruptedByPersonError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever one experiment runs into, the others go on
        what = str(error) if isinstance(error, LlmdrillError) else f"{type(error).__name__}: {error}"
        return Ran(name, now() - started, failed=" ".join(what.split())[:LONGEST_REASON] or type(error).__name__)


def _kept(path: Path, key: str, name: str) -> Ran | None:
    """Return what an earlier run kept, under this key or another; None for no file, or one that is not ours."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["schema"] != SCHEMA:
            return None
        same = data["key"] == key
        kept = {"document": data["experiment"], "markdown": data["markdown"]}
        return Ran(name, float(data["seconds"]), kept=same, older=not same, **kept)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: no folder can be made there: {error.strerror}; name another with --out") from error


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all: under another name first."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}; name another folder with --out") from error


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
