"""Bad input everywhere: one clear line on stderr, exit 2, nothing on stdout, never a traceback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llmdrill.folders import shipped_folder

REFERENCE = shipped_folder("scenarios") / "moderation" / "designs" / "reference.design.yaml"
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
FILES: dict[str, bytes] = {
    "empty": b"",
    "blank": b"\n\n  \n",
    "comment": b"# nothing\n",
    "binary": bytes(range(256)),
    "not-utf8": "title: café\n".encode("latin-1"),
    "utf16": "schema: x\n".encode("utf-16"),
    "nul": b"schema: a\x00b\n",
    "list": b"- 1\n- 2\n",
    "scalar": b"hello\n",
    "tab": b"a:\n\tb: 1\n",
    "huge-number": b"schema: 1e400\n",
    "huge-integer": b"schema: " + b"9" * 6000 + b"\n",
    "bomb": BOMB.encode(),
    "deep": b"[" * 5000,
    "tag": b"!!python/object/apply:os.system ['true']\n",
    "twice": b"schema: a\nschema: b\n",
    "alias-loop": b"a: &a [*a]\n",
    "unknown-anchor": b"a: *b\n",
    "json": b'{"schema": "llmdrill/measurement@1"}',
    "large": b"a: " + b"x" * 4_100_000,
}
COMMANDS: dict[str, tuple[str, ...]] = {
    "design": ("design", "FILE"),
    "answers": ("design", "moderation", "--answers", "FILE"),
    "estimate": ("estimate", "FILE"),
    "check": ("check", "FILE", "--estimated-only"),
    "check-scenario": ("check", str(REFERENCE), "--scenario", "FILE"),
    "measured": ("check", str(REFERENCE), "--measured", "FILE"),
    "measure": ("measure", "FILE"),
    "show": ("scenario", "show", "FILE"),
}


def _assert_refused(ran: Any, *, status: int = 2) -> None:
    assert ran.status == status, ran
    assert ran.out == ""
    assert "Traceback" not in ran.err
    lines = ran.err.rstrip("\n").split("\n")
    assert 1 <= len(lines) <= 26  # a line a mistake, 25 at most
    assert all(0 < len(line) < 600 for line in lines), ran.err[:2000]
    assert not any(ord(letter) < 32 and letter != "\n" for letter in ran.err)


@pytest.mark.parametrize("content", FILES)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_that_is_none_is_refused_in_a_line(call: Any, tmp_path: Path, command: str, content: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(FILES[content])
    ran = call(*(str(path) if part == "FILE" else part for part in COMMANDS[command]))
    _assert_refused(ran)
    assert str(path) in ran.err


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", ["no/such/file.yaml", "a-folder.yaml", "x" * 300 + ".yaml", "nul\x00.yaml"])
def test_what_is_no_file_is_refused_in_a_line(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, name: str
) -> None:
    if "\x00" in name and command not in {"design", "show"}:
        pytest.skip("a shell cannot pass it and the path type refuses it")
    monkeypatch.chdir(tmp_path)
    Path("a-folder.yaml").mkdir()
    _assert_refused(call(*(name if part == "FILE" else part for part in COMMANDS[command])))


@pytest.mark.parametrize("content", FILES)
def test_validate_finds_a_file_that_is_no_scenario(call: Any, tmp_path: Path, content: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(FILES[content])
    ran = call("scenario", "validate", path)
    assert ran.status == 1
    assert ran.out.startswith(str(path))
    assert len(ran.out) < 20_000


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("frobnicate",), "frobnicate"),
        (("design", "moderation", "--minutes", "0", "--demo"), "minutes"),
        (("design", "moderation", "--minutes", "nan", "--demo"), "minutes"),
        (("design", "moderation", "--seed", "-1", "--demo"), "seed"),
        (("design", "moderation", "--colour"), "colour"),
        (("calc", "cots"), "did you mean 'cost'"),
        (("calc", "cost"), "llmdrill calc cost -h"),
        (("calc", "kv", "--context"), "requires an argument"),
        (("estimate",), "DESIGN"),
        (("estimate", str(REFERENCE), "--draws", "1"), "draws"),
        (("estimate", str(REFERENCE), "--draws", "1e400"), "draws"),
        (("estimate", str(REFERENCE), "--format", "xml"), "xml"),
        (("check",), "DESIGN"),
        (("resume", "one"), "one"),
        (("schema", "drll"), "drll"),
        (("scenario", "new", "../up"), "is no id"),
        (("scenario", "new", "ok", "--out", "/dev/null/x"), "cannot write"),
        (("scenario", "show", "nothing"), "unknown scenario 'nothing'"),
        (("scenario", "validate", "nothing"), "unknown scenario 'nothing'"),
    ],
)
def test_words_that_are_off_are_told_and_exit_2(call: Any, arguments: tuple[str, ...], why: str) -> None:
    ran = call(*arguments)
    assert ran.status == 2, ran
    assert ran.out == ""
    assert why.lower() in ran.err.lower()
    assert len(ran.err.splitlines()) == 1  # no page of usage, and never a traceback


def test_an_empty_folder_has_nothing_to_validate(call: Any, tmp_path: Path) -> None:
    _assert_refused(call("scenario", "validate", tmp_path))


def test_a_key_with_escape_codes_is_told_without_them(call: Any, tmp_path: Path) -> None:
    path = tmp_path / "bad.design.yaml"
    path.write_text('"\\e[31mred\\e[0m": 1\n', encoding="utf-8")
    ran = call("estimate", path)
    assert ran.status == 2
    assert "\x1b" not in ran.err
    assert "red" in ran.err


@pytest.mark.parametrize("command", ["check", "estimate"])
def test_a_folder_that_cannot_be_the_home_stops_only_what_needs_it(
    call: Any, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("LLMDRILL_HOME", "/dev/null/home")
    rest = ["--estimated-only"] if command == "check" else []
    assert call(command, REFERENCE, "--draws", "500", *rest).status == 0
    _assert_refused(call("resume"))


def test_a_report_that_cannot_be_written_is_told_with_a_remedy(call: Any, tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("x", encoding="utf-8")
    answers = REFERENCE.parents[1] / "answers" / "demo.answers.yaml"
    ran = call("design", "moderation", "--answers", answers, "--embedder", tmp_path, "--out", blocker / "under")
    assert ran.status == 2
    assert "cannot write there" in ran.err
    assert "--out" in ran.err
    assert not ran.out  # told before anything was asked or run
