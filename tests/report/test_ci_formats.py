"""What CI servers read: JUnit XML in the shape of its schema, GitHub's commands escaped, Markdown that folds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree as ET

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmdrill.errors import Mistake
from llmdrill.folders import shipped_folder
from llmdrill.report.github_annotations import (
    Annotation,
    check_annotations,
    commands,
    diff_annotations,
    estimate_annotations,
)
from llmdrill.report.junit import Case, Suite, check_suites, diff_suite, estimate_suite, junit_xml
from llmdrill.report.verdict_views import gate_markdown, gate_view, headline
from llmdrill.system.check import Result, Verdict
from llmdrill.system.design import DesignFile, load_design
from llmdrill.system.diff import Diff, diff_designs
from llmdrill.system.estimate import estimate_design
from llmdrill.system.gate import FileCheck, GateCheck
from llmdrill.system.scenario import load_scenario
from llmdrill.system.side import Side

RAG = shipped_folder("scenarios") / "rag" / "designs"
# Of jenkinsci/xunit-plugin, junit-10.xsd: attributes that an element may have, those it must have, and its children.
SCHEMA: dict[str, tuple[set[str], set[str], set[str]]] = {
    "testsuites": ({"name", "time", "tests", "failures", "errors"}, set(), {"testsuite"}),
    "testsuite": (
        {"name", "tests", "failures", "errors", "group", "time", "skipped", "timestamp", "hostname", "id", "file"},
        {"name", "tests", "failures", "errors"},
        {"properties", "testcase", "system-out", "system-err"},
    ),
    "properties": (set(), set(), {"property"}),
    "property": ({"name", "value"}, {"name", "value"}, set()),
    "testcase": (
        {"name", "time", "classname", "group"},
        {"name"},
        {"skipped", "error", "failure", "system-out", "system-err"},
    ),
    **dict.fromkeys(("failure", "error", "skipped"), ({"type", "message"}, set(), set())),
    "system-out": (set(), set(), set()),
}


def _verdict(result: Result, why: str = "because", name: str = "total_p95", **changes: Any) -> Verdict:
    plain = {"limit": 4.0, "estimated": 5.0, "measured": None, "metric": "total_p95_s", "dimension": "seconds"}
    told = {"file": "a.design.yaml", "requirement": name, "better": "lower", "line": 7, "column": 3}
    return Verdict(**{**plain, **told, "result": result, "why": why, **changes})


def _gate(*verdicts: Verdict, mistakes: tuple[Mistake, ...] = (), left_out: tuple[str, ...] = ()) -> GateCheck:
    files = (FileCheck("a.design.yaml", verdicts, left_out),) if verdicts else ()
    files += (FileCheck("b.design.yaml", mistakes=mistakes),) if mistakes else ()
    return GateCheck(files, seed=0, draws=1000)


MIXED = _gate(
    _verdict("pass"),
    _verdict("fail", name="money"),
    _verdict("unknown", name="recall", estimated=None),
    mistakes=(Mistake("b.design.yaml", 3, 5, "stages.llm", "unknown key 'modle'"),),
    left_out=("faithful",),
)


def _sound(text: str) -> ET.Element:
    """Return the document; assert that it has the shape of the schema and counts what it holds."""
    root = ET.fromstring(text.encode())  # noqa: S314 - written by ourselves
    assert root.tag == "testsuites"
    for element in root.iter():
        allowed, needed, children = SCHEMA[element.tag]
        assert needed <= set(element.attrib) <= allowed, element.tag
        assert {child.tag for child in element} <= children
    for suite in (root, *root):
        cases = [*suite.iter("testcase")]
        assert suite.get("tests") == str(len(cases))
        for plural, one in (("failures", "failure"), ("errors", "error")):
            assert suite.get(plural) == str(sum(case.find(one) is not None for case in cases))
    return root


@pytest.fixture(scope="module")
def reference() -> tuple[DesignFile, Any]:
    """Return a shipped design and its estimate."""
    file = load_design(RAG / "reference.design.yaml")
    return file, estimate_design(file.design, load_scenario("rag").scenario, draws=1000)


@pytest.fixture(scope="module")
def diff() -> Diff:
    """Return the difference of two shipped designs."""
    about = load_scenario("rag").scenario
    files = [load_design(RAG / f"{name}.design.yaml") for name in ("dense-big-chunks", "reference")]
    return diff_designs(*(Side(file, about, estimate_design(file.design, about, draws=1000)) for file in files))


# --- JUnit --------------------------------------------------------------------------------------------------------


def test_a_check_is_a_testsuite_a_file_and_unknown_is_a_failure() -> None:
    root = _sound(junit_xml("llmdrill check", check_suites(MIXED)))
    found = {
        case.get("name"): [child.tag for child in case if child.tag != "system-out"] for case in root.iter("testcase")
    }
    assert found == {
        "total_p95": [],
        "money": ["failure"],
        "recall": ["failure"],
        "faithful": ["skipped"],
        "design can be judged": ["error"],
    }
    assert [(suite.get("name"), suite.get("skipped")) for suite in root] == [
        ("a.design.yaml", "1"),
        ("b.design.yaml", "0"),
    ]
    assert root.find(".//testcase[@name='recall']/failure").get("type") == "unknown"  # type: ignore[union-attr]


def test_an_estimate_and_a_difference_carry_their_figures_and_fail_nothing(reference: Any, diff: Diff) -> None:
    for suite in (estimate_suite(*reference), diff_suite(diff)):
        root = _sound(junit_xml("llmdrill", [suite]))
        assert (root.get("failures"), root.get("errors")) == ("0", "0")
        assert {one.get("name") for one in root.iter("property")} >= {"cost per month", "whole answer p95"}
        outputs = [one.text or "" for one in root.iter("system-out")]
        assert any("$" in text for text in outputs)


@given(st.text())
def test_any_text_is_xml_and_comes_back_but_for_what_xml_cannot_hold(text: str) -> None:
    root = _sound(junit_xml("x", [Suite(text, (Case(text, "failure", "fail", text, text),))]))
    kept = re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\N{REPLACEMENT CHARACTER}", text)
    message = root.find(".//failure")
    assert message is not None
    assert message.get("message") == kept
    assert root.findtext(".//system-out", "") == kept.replace("\r\n", "\n").replace("\r", "\n")


# --- GitHub -------------------------------------------------------------------------------------------------------

COMMAND = re.compile(r"::(error|warning|notice) ((?:\w+=[^,:\n]*,?)*)::([^\n\r]*)")


def _read(line: str) -> tuple[str, dict[str, str], str]:
    """Return a command as GitHub's runner reads it."""
    match = COMMAND.fullmatch(line)
    assert match, line
    properties = dict(part.split("=", 1) for part in match[2].split(","))
    return match[1], {key: unquote(value) for key, value in properties.items()}, unquote(match[3])


@given(st.text(), st.text())
@example("50%3A", "%0A::error::")
def test_no_text_breaks_out_of_its_command(title: str, message: str) -> None:
    written = commands([Annotation("error", title, message, "a:b,c.yaml", 3, 5)])
    level, properties, told = _read(written.removesuffix("\n"))
    visible = {**dict.fromkeys([*range(9), *range(11, 13), *range(14, 32), *range(127, 160)])}
    assert (level, properties["file"], properties["line"], properties["col"]) == ("error", "a:b,c.yaml", "3", "5")
    assert properties["title"] == title.translate(visible)
    assert told == message.translate(visible)


def test_what_fails_is_an_error_what_is_unknown_a_warning_and_the_rest_a_notice() -> None:
    read = [_read(line) for line in commands(check_annotations(MIXED)).splitlines()]
    assert [level for level, _, _ in read] == ["error", "error", "warning", "notice", "notice"]
    assert [(p.get("file"), p.get("line"), p.get("title")) for _, p, _ in read] == [
        ("a.design.yaml", "7", "money fails"),
        ("b.design.yaml", "3", "design cannot be judged"),
        ("a.design.yaml", "7", "recall is unknown"),
        (None, None, "llmdrill check"),
        ("a.design.yaml", "1", "1 pass"),
    ]
    assert read[1][2] == "stages.llm: unknown key 'modle'"


def test_annotations_stand_at_their_stages(reference: Any, diff: Diff) -> None:
    file, estimate = reference
    lines = {name: file.located.places[("stages", name)][0] for name in file.design.stages}
    told = [one for one in estimate_annotations(file, estimate) if one.title == "llm takes most of the time"]
    assert [one.line for one in told] == [lines["llm"]]
    changed = {one.title.split(":")[0]: one.line for one in diff_annotations(diff) if ": " in one.title}
    assert changed
    assert all(lines[name] == line for name, line in changed.items())


# --- Markdown and text --------------------------------------------------------------------------------------------


def test_a_comment_says_the_result_first_and_folds_the_rest() -> None:
    text = gate_markdown(MIXED)
    assert text.startswith("### llmdrill check: FAIL: 1 fail, 1 unknown, 1 pass, 1 file could not be judged\n")
    assert text.count("<details>") == text.count("</details>") == 1
    assert "unknown key 'modle'" in text
    single = gate_markdown(_gate(_verdict("fail", why="a | b <script>")))
    assert "| total\\_p95 | FAIL | \\<= 4 s | 5 s |" in single
    assert "a \\| b \\<script\\>" in single


@given(st.text())
@example("</summary></details>\n\n# a")
def test_a_file_name_cannot_end_its_fold(name: str) -> None:
    rows = (_verdict("pass"),)
    text = gate_markdown(GateCheck((FileCheck("a", rows), FileCheck(name, rows)), 0, 1000))
    assert text.count("</details>") == text.count("</summary>") == 2


def test_the_terminal_tells_a_reason_once_and_no_reason_for_a_plain_pass() -> None:
    blocks = gate_view(
        _gate(_verdict("pass", "5 keeps 6; rests on luck"), _verdict("pass", "5 keeps 6; rests on luck", "b"))
    )
    shown = [item for block in blocks for item in getattr(block, "items", ())]
    assert shown == ["total_p95, b: rests on luck"]
    assert not [block for block in gate_view(_gate(_verdict("pass", "5 keeps 6"))) if hasattr(block, "items")]


@pytest.mark.parametrize(
    ("results", "said", "status"),
    [
        (("pass", "pass"), "PASS: 2 pass", 0),
        (("pass", "unknown"), "FAIL: 1 unknown, 1 pass", 1),
        (("fail", "unknown"), "FAIL: 1 fail, 1 unknown", 1),
    ],
)
def test_unknown_is_no_pass(results: tuple[Result, ...], said: str, status: int) -> None:
    gate = _gate(*(_verdict(result) for result in results))
    assert (headline(gate), gate.exit_status) == (said, status)


def test_a_file_that_cannot_be_judged_is_status_2_whatever_the_others_say() -> None:
    assert MIXED.exit_status == 2
    assert not MIXED.passed
    assert MIXED.files[0].outcome == "fail"
    assert MIXED.files[1].outcome == "error"


def test_paths_are_shown_as_they_were_given() -> None:
    assert str(Path("./a.design.yaml")) == "a.design.yaml"  # GitHub wants them so: no leading ./
