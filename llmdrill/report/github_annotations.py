"""Results as GitHub workflow commands: annotations on the lines of a design file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from llmdrill.report.diff_views import headline as diff_headline
from llmdrill.report.diff_views import stage_lines
from llmdrill.report.estimate_views import stage_text, total_texts
from llmdrill.report.terminal import printable
from llmdrill.report.verdict_views import headline

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from llmdrill.system.design import DesignFile
    from llmdrill.system.diff import Diff
    from llmdrill.system.estimate import Estimate
    from llmdrill.system.gate import FileCheck, GateCheck

Level = Literal["error", "warning", "notice"]


@dataclass(frozen=True, slots=True)
class Annotation:
    """One remark on a file; line and column from 1, None where it is about the whole."""

    level: Level
    title: str
    message: str
    file: str | None = None
    line: int | None = None
    column: int | None = None


def commands(annotations: Iterable[Annotation]) -> str:
    """Return one workflow command a line, errors first: GitHub shows only the first ten of a level and step."""
    ordered = sorted(annotations, key=lambda one: ("error", "warning", "notice").index(one.level))
    return "".join(_command(one) + "\n" for one in ordered)


def _command(one: Annotation) -> str:
    r"""Return the command.

    >>> _command(Annotation("error", "50%, or so", "a\nb", "a,b.yaml", 3, 5))
    '::error file=a%2Cb.yaml,line=3,col=5,title=50%25%2C or so::a%0Ab'
    """
    said = (("file", one.file), ("line", one.line), ("col", one.column), ("title", one.title))
    properties = ",".join(f"{key}={_property(str(value))}" for key, value in said if value is not None)
    return f"::{one.level} {properties}::{_data(one.message)}"


def _data(text: str) -> str:
    return printable(text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A"))


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def check_annotations(gate: GateCheck) -> Iterator[Annotation]:
    """Yield an error for what fails or cannot be read, a warning for what is unknown, a notice for what passes."""
    yield Annotation("notice", "llmdrill check", headline(gate))
    for one in gate.files:
        yield from _file(one)


def _file(one: FileCheck) -> Iterator[Annotation]:
    for mistake in one.mistakes:
        where = f"{mistake.where}: " if mistake.where else ""
        told = f"{where}{mistake.what}"
        yield Annotation("error", "design cannot be judged", told, mistake.file, mistake.line, mistake.column)
    for verdict in one.verdicts:
        if verdict.result != "pass":
            level: Level = "error" if verdict.result == "fail" else "warning"
            title = f"{verdict.requirement} {'fails' if verdict.result == 'fail' else 'is unknown'}"
            yield Annotation(level, title, verdict.why, one.file, verdict.line, verdict.column)
    for note in one.notes:
        yield Annotation("warning", "llmdrill check", note, one.file, 1, 1)
    passed = [verdict.requirement for verdict in one.verdicts if verdict.result == "pass"]
    if passed:
        yield Annotation("notice", f"{len(passed)} pass", ", ".join(passed), one.file, 1, 1)


def estimate_annotations(file: DesignFile, found: Estimate, *, notes: Iterable[str] = ()) -> Iterator[Annotation]:
    """Yield the totals, the bottleneck, and a warning for each note and each stage that cannot be estimated."""
    path = str(file.path)
    totals = "\n".join(f"{name}: {value}" for name, value in total_texts(found))
    top = file.located.mistake(("stages",), "")
    yield Annotation("notice", "llmdrill estimate", totals, path, top.line, top.column)
    for note in notes:
        yield Annotation("warning", "llmdrill estimate", note, path, top.line, top.column)
    for stage in found.stages:
        place = file.located.mistake(("stages", stage.name), "")
        if stage.over_capacity or stage.usd_per_request is None:
            title = f"{stage.name} {'is over capacity' if stage.over_capacity else 'has no known cost'}"
            told = stage.over_capacity or "; ".join(stage.notes)
            yield Annotation("warning", title, told, path, place.line, place.column)
        elif stage.name == found.bottleneck:
            title = f"{stage.name} takes most of the time"
            yield Annotation("notice", title, stage_text(stage), path, place.line, place.column)


def diff_annotations(diff: Diff) -> Iterator[Annotation]:
    """Yield a notice with the whole, one at each stage that changed, and a warning for what cannot be told."""
    yield Annotation("notice", "llmdrill diff", diff_headline(diff), diff.head_file, 1, 1)
    for one in diff.stages:
        if one.status != "same":
            told = "\n".join(stage_lines(one)) or one.status
            yield Annotation("notice", f"{one.name}: {one.status}", told, diff.head_file, one.line, one.column)
    for note in diff.notes:
        yield Annotation("warning", "llmdrill diff", note, diff.head_file, 1, 1)
