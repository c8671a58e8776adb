"""Results as JUnit XML, which CI servers read: one testsuite a file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from llmdrill.report.diff_views import stage_lines, total_lines
from llmdrill.report.estimate_views import figure_texts, one_line, stage_text, total_texts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from xml.etree.ElementTree import Element

    from llmdrill.system.check import Verdict
    from llmdrill.system.design import DesignFile
    from llmdrill.system.diff import Diff
    from llmdrill.system.estimate import Estimate
    from llmdrill.system.gate import FileCheck, GateCheck

Outcome = Literal["passed", "failure", "error", "skipped"]
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2


@dataclass(frozen=True, slots=True)
class Case:
    """One testcase; ``kind`` and ``message`` say why it did not pass, ``output`` holds its figures."""

    name: str
    outcome: Outcome = "passed"
    kind: str = ""
    message: str = ""
    output: str = ""


@dataclass(frozen=True, slots=True)
class Suite:
    """The testcases of one file."""

    file: str
    cases: tuple[Case, ...]
    properties: tuple[tuple[str, str], ...] = ()

    def count(self, outcome: Outcome) -> int:
        """Return how many cases ended so."""
        return sum(case.outcome == outcome for case in self.cases)


def junit_xml(name: str, suites: Sequence[Suite]) -> str:
    """Return the XML document; no times and no host, so that equal results are equal bytes."""
    from xml.etree.ElementTree import Element, indent, tostring

    counts = {key: count for key, count in _counts(suites).items() if key != "skipped"}  # not an attribute of the root
    root = Element("testsuites", {"name": name, **counts})
    root.extend(_suite(suite) for suite in suites)
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def _counts(suites: Iterable[Suite]) -> dict[str, str]:
    found = list(suites)
    named: tuple[tuple[str, Outcome], ...] = (("failures", "failure"), ("errors", "error"), ("skipped", "skipped"))
    counts = {name: str(sum(suite.count(outcome) for suite in found)) for name, outcome in named}
    return {"tests": str(sum(len(suite.cases) for suite in found)), **counts}


def _suite(suite: Suite) -> Element:
    from xml.etree.ElementTree import Element, SubElement

    element = Element("testsuite", {"name": _text(suite.file), **_counts([suite]), "time": "0"})
    if suite.properties:
        properties = SubElement(element, "properties")
        for name, value in suite.properties:
            SubElement(properties, "property", {"name": _text(name), "value": _text(value)})
    for case in suite.cases:
        told = SubElement(element, "testcase", {"classname": _text(suite.file), "name": _text(case.name), "time": "0"})
        _outcome(told, case)
        if case.output:
            SubElement(told, "system-out").text = _text(case.output)
    return element


def _outcome(element: Element, case: Case) -> None:
    from xml.etree.ElementTree import SubElement

    if case.outcome == "passed":
        return
    kind = {"type": case.kind} if case.kind else {}  # `skipped` has no type
    told = SubElement(element, case.outcome, {"message": _text(case.message), **kind})
    if case.outcome != "skipped":
        told.text = _text(case.message)


def _text(text: str) -> str:
    """Return text without the characters that XML cannot hold."""
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def check_suites(gate: GateCheck) -> list[Suite]:
    """Return a testsuite a design: a testcase per requirement; unknown is a failure, an unreadable file an error."""
    properties = (("seed", str(gate.seed)), ("draws", str(gate.draws)))
    return [Suite(one.file, tuple(_check_cases(one)), (*properties, *_notes(one.notes))) for one in gate.files]


def _notes(notes: Iterable[str]) -> Iterator[tuple[str, str]]:
    return (("note", note) for note in notes)


def _check_cases(one: FileCheck) -> Iterable[Case]:
    for mistake in one.mistakes:
        yield Case("design can be judged", "error", "bad input", one_line(mistake))
    for verdict in one.verdicts:
        outcome: Outcome = "passed" if verdict.result == "pass" else "failure"
        kind = "" if verdict.result == "pass" else verdict.result
        yield Case(verdict.requirement, outcome, kind, "" if outcome == "passed" else verdict.why, _figures(verdict))
    for name in one.left_out:
        yield Case(name, "skipped", message="left out by --estimated-only")


def _figures(verdict: Verdict) -> str:
    limit, *figures = figure_texts(verdict)
    told = [f"{name} {text}" for name, text in zip(("estimated", "measured"), figures, strict=True) if text]
    return "\n".join([f"limit {limit}", *told, *([verdict.why] if verdict.result == "pass" else [])])


def estimate_suite(file: DesignFile, found: Estimate, *, notes: Iterable[str] = ()) -> Suite:
    """Return the estimate: totals as properties, a testcase per stage; one whose figures are unknown is skipped."""
    cases = []
    for stage in found.stages:
        unknown = stage.over_capacity or ("; ".join(stage.notes) if stage.usd_per_request is None else "")
        outcome: Outcome = "skipped" if unknown else "passed"
        cases.append(Case(f"{stage.name} ({stage.kind})", outcome, message=unknown, output=stage_text(stage)))
    return Suite(str(file.path), tuple(cases), (*total_texts(found), *_notes(notes)))


def diff_suite(diff: Diff) -> Suite:
    """Return the difference: totals as properties, a testcase per stage that changed."""
    cases = (Case(f"{one.name}: {one.status}", output="\n".join(stage_lines(one))) for one in diff.stages)
    return Suite(f"{diff.base_file} -> {diff.head_file}", tuple(cases), (*total_lines(diff), *_notes(diff.notes)))
