"""The walk in a real terminal: what is typed is kept, through Ctrl-C, Ctrl-D and kill."""

from __future__ import annotations

import codecs
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "scale"))  # the small scenario of the walk's own tests
from walk_cases import write_case

from llmdrill.folders import home_folder
from llmdrill.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

pty = pytest.importorskip("pty")
WAIT_S = 60.0
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]")


class Screen:
    """A process in a pseudo-terminal, and everything it has written."""

    def __init__(self, *arguments: str, environ: dict[str, str] | None = None) -> None:
        self.text, self._seen = "", 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        pid, self._fd = pty.fork()
        if pid == 0:  # pragma: no cover - the child
            env = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "CI": "", **(environ or {})}
            os.execve(sys.executable, [sys.executable, "-m", "llmdrill", *arguments], env)  # noqa: S606 - the point
        self.pid = pid
        self.status: int | None = None

    def read(self, seconds: float) -> bool:
        """Take what comes within ``seconds``; False once the process has closed the terminal."""
        if not select.select([self._fd], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self._fd, 65536)
        except OSError:
            return False
        self.text += ESCAPES.sub("", self._decoder.decode(data)).replace("\r\n", "\n")
        return bool(data)

    def until(self, words: str) -> str:
        """Return what was written since the last call, once ``words`` are in it."""
        deadline = time.monotonic() + WAIT_S
        while words not in self.text[self._seen :]:
            assert time.monotonic() < deadline, f"no {words!r} in {self.text[self._seen :][-2000:]!r}"
            if not self.read(0.2):
                assert words in self.text[self._seen :], f"ended without {words!r}: {self.text[-2000:]!r}"
        start = self._seen
        self._seen = self.text.index(words, start) + len(words)
        return self.text[start : self._seen]

    def type(self, text: str | bytes) -> None:
        """Type keys."""
        os.write(self._fd, text.encode() if isinstance(text, str) else text)

    def answer(self, prompt: str, text: str) -> None:
        """Wait for a prompt, then type a line."""
        self.until(prompt)
        self.until("> ")
        self.type(text + "\n")

    def end(self, *, interrupted: bool = False) -> int:
        """Return the exit status, once the process has ended by itself."""
        deadline = time.monotonic() + WAIT_S
        again = time.monotonic() + 3.0 if interrupted else deadline
        while self.status is None:
            if (
                time.monotonic() > again
            ):  # readline may miss a Ctrl-C in the instant it begins to wait: people press twice
                self.type(b"\x03")
                again = deadline
            assert time.monotonic() < deadline, f"still runs: {self.text[-2000:]!r}"
            self.read(0.05)
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                while self.read(0.1) and select.select([self._fd], [], [], 0.1)[0]:
                    pass
                self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def close(self) -> None:
        """End the process if it still runs."""
        if self.status is None:
            with suppress(ProcessLookupError, ChildProcessError):
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
        os.close(self._fd)


@pytest.fixture
def screens(tmp_path: Path) -> Iterator[list[Screen]]:
    """Return a list whose processes are ended with the test."""
    opened: list[Screen] = []
    yield opened
    for screen in opened:
        screen.close()


def _start(screens: list[Screen], folder: Path, **environ: str) -> Screen:
    """Start the walk of the small scenario; no embedding model is looked for, so nothing heavy is loaded."""
    if not (folder / "case.yaml").exists():
        write_case(folder)
    arguments = ("design", str(folder / "case.yaml"), "--embedder", str(folder / "none"), "--out", str(folder / "out"))
    screens.append(Screen(*arguments, "--no-timer", environ=environ))
    return screens[-1]


def _resume(screens: list[Screen], *arguments: str) -> Screen:
    screens.append(Screen("resume", *arguments))
    return screens[-1]


def _saved() -> list[tuple[str, str, str]]:
    with Store(home_folder()) as store:
        return [(one.kind, one.item, one.text) for one in store.events(1)]


def test_ctrl_c_keeps_everything_and_resume_goes_on_at_the_same_prompt(screens: list[Screen], tmp_path: Path) -> None:
    walk = _start(screens, tmp_path)
    walk.answer("What do you ask", "how-fast")
    walk.answer("What else?", "")
    walk.until("You promise total_p95_s at most")
    walk.until("[4s] > ")
    walk.type("3")
    walk.until("3")
    walk.type(b"\x03")
    assert walk.end(interrupted=True) == 130
    assert "everything typed so far is saved; `llmdrill resume 1` goes on" in walk.text
    assert "Traceback" not in walk.text
    again = _resume(screens)
    again.until("Going on with walk 1")
    again.until("You promise total_p95_s at most")
    again.until("[4s] > ")
    again.type("3s\n")
    again.until("You promise usd_per_month")
    assert ("answer", "ask.1", "how-fast") in _saved()
    assert ("answer", "promise.total_p95", "3s") in _saved()


def test_a_kill_loses_at_most_the_line_being_typed(screens: list[Screen], tmp_path: Path) -> None:
    walk = _start(screens, tmp_path)
    walk.answer("What do you ask", "money")
    walk.answer("What else?", "")
    walk.answer("You promise total_p95_s", "2s")
    walk.until("You promise usd_per_month")
    walk.until("> ")
    walk.type("$3k and")
    os.kill(walk.pid, signal.SIGKILL)
    assert walk.end() == -signal.SIGKILL
    assert [text for kind, item, text in _saved() if kind == "answer"] == ["money", "", "2s"]
    again = _resume(screens)
    again.until("You promise usd_per_month")


def test_back_hint_note_and_unknown_commands_then_quit(screens: list[Screen], tmp_path: Path) -> None:
    walk = _start(screens, tmp_path)
    walk.answer("What do you ask", ":hint")
    walk.until("Hint: Think.")
    walk.answer("", ":HINT")
    walk.until("Hint (the last one): Think again.")
    walk.answer("", ":back")
    walk.until("nothing to take back")
    walk.answer("", ":frobnicate")
    walk.until("':frobnicate' is no command")
    walk.answer("", ":note mind the gap")
    walk.until("Noted.")
    walk.answer("", "3")
    walk.answer("What else?", ":back")
    walk.until("What do you ask")
    walk.until("[languages] > ")  # what was taken back is what Enter takes
    walk.type("1\n")
    walk.until("Interviewer: Four seconds.")
    walk.answer("What else?", ":quit")
    assert walk.end() == 0
    assert "Left at Scenario: everything typed so far is saved; `llmdrill resume 1` goes on." in walk.text
    kinds = [kind for kind, _, _ in _saved() if kind not in {"answer", "seen"}]
    assert kinds == ["hint", "hint", "note", "back"]


def test_ctrl_d_leaves_and_a_second_walk_is_another_session(screens: list[Screen], tmp_path: Path) -> None:
    walk = _start(screens, tmp_path)
    walk.answer("What do you ask", "money")
    walk.until("What else?")
    walk.until("> ")
    walk.type(b"\x04")
    assert walk.end() == 0
    assert "`llmdrill resume 1` goes on" in walk.text
    listing = _resume(screens, "--list")
    assert listing.end() == 0
    assert "(llmdrill resume 1)" in listing.text


def test_an_editor_and_several_lines(screens: list[Screen], tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nprintf "What is\\nthe budget?\\n# gone\\n" > "$1"\n', encoding="utf-8")
    editor.chmod(0o755)
    walk = _start(screens, tmp_path, EDITOR=str(editor), VISUAL="")
    walk.answer("What do you ask", ":edit")
    walk.until("I take that as: What is the budget?")
    walk.answer("", "yes")
    walk.answer("What else?", ":multi")
    walk.until("… ")
    walk.type("which languages\n")
    walk.until("… ")
    walk.type("do they write\n")
    walk.until("… ")
    walk.type(".\n")
    walk.until("I take that as: Which languages")
    assert ("answer", "ask.1", "What is\nthe budget?") in _saved()


def test_an_editor_that_fails_is_told_and_the_prompt_stays(screens: list[Screen], tmp_path: Path) -> None:
    walk = _start(screens, tmp_path, EDITOR="false", VISUAL="")
    walk.answer("What do you ask", ":edit")
    walk.until("the editor 'false' did not work")
    walk.answer("", "money")
    walk.until("Interviewer: Little.")


def test_bytes_that_are_no_text_do_not_end_the_walk(screens: list[Screen], tmp_path: Path) -> None:
    walk = _start(screens, tmp_path)
    walk.until("What do you ask")
    walk.until("> ")
    walk.type(b"\xff\xfe budget\n")
    walk.until("I take that as: What is the budget?")


def test_a_flow_that_is_none_is_shown_with_a_caret_under_its_place(screens: list[Screen], tmp_path: Path) -> None:
    walk = _start(screens, tmp_path)
    walk.answer("What do you ask", "")
    for _ in range(3):
        walk.answer("You promise", "")
    walk.answer("What stands at the door?", "")
    walk.until("Note on guard: Everything comes in")
    walk.answer("Why none", "")
    walk.answer("How are passages found?", "")
    walk.answer("Why none", "")
    walk.answer("Which model writes?", "2")
    walk.until("Note on llm: A large model for small talk.")
    walk.answer("Why large", "")
    walk.answer("How are documents cut?", "")
    walk.answer("Why none", "")
    walk.answer("Draw the request's path", "   request -> lm -> respond")
    shown = walk.until("is none of your parts (did you mean llm?)").split("\n")
    line = next(index for index, text in enumerate(shown) if text == "  request -> lm -> respond")
    assert shown[line + 1].index("^") == shown[line].index("lm")
    walk.answer("", "request -> llm -> respond")
    walk.until("┌")


def test_two_processes_on_one_session_the_second_gets_a_clear_line(screens: list[Screen], tmp_path: Path) -> None:
    first = _start(screens, tmp_path)
    first.answer("What do you ask", "money")
    first.until("What else?")
    second = _resume(screens, "1")
    second.answer("What else?", "how-fast")
    second.until("Interviewer: Four seconds.")
    first.until("> ")
    first.type("languages\n")
    assert first.end() == 2
    assert "session 1 was continued in another terminal" in first.text
    assert "Traceback" not in first.text


def test_a_whole_walk_from_the_keyboard_writes_its_files_and_closes_the_session(
    screens: list[Screen], tmp_path: Path
) -> None:
    walk = _start(screens, tmp_path)
    walk.answer("What do you ask", "")
    for _ in range(3):
        walk.answer("You promise", "")
    walk.answer("What stands at the door?", "rules")
    walk.answer("Settings of guard", "")
    walk.answer("Why rules", "")
    walk.answer("How are passages found?", "")
    walk.answer("Why none", "")
    walk.answer("Which model writes?", "small")
    walk.answer("Settings of llm", "")
    walk.answer("Why small", "It is cheap.")
    walk.answer("How are documents cut?", "")
    walk.answer("Why none", "")
    walk.answer("Draw the request's path", "")
    walk.until("keeps every rule")
    for words in ("What would you say", "Requests per second", "Which stage", "Where does the time go"):
        walk.answer(words, "")
    for words in (
        "Which metrics",
        "Who or what",
        "How many cases",
        "Which agreement",
        "Which regression",
        "What happens",
    ):
        walk.answer(words, "")
    walk.answer("Traffic doubles.", ":skip")
    for letter in "SCALE":
        walk.answer(f"[{letter}] The thing", "partly")
    walk.until("In CI:")
    assert walk.end() == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["case.design.yaml", "case.report.md"]
    listing = _resume(screens, "--list")
    assert listing.end() == 0
    assert "No open walk" in listing.text


@pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not on this machine")
def test_in_a_window_of_60_columns_no_line_is_longer_than_the_window(tmp_path: Path, home: Path) -> None:
    write_case(tmp_path)
    socket = f"llmdrill-{os.getpid()}-{tmp_path.name[-20:]}"

    def tmux(*arguments: str) -> str:
        return subprocess.run(["tmux", "-L", socket, *arguments], capture_output=True, text=True, check=True).stdout

    def pane(words: str) -> list[str]:
        deadline = time.monotonic() + WAIT_S
        while True:
            lines = tmux("capture-pane", "-p", "-J", "-S", "-").rstrip("\n").split("\n")  # -J: wrapped lines joined
            if any(words in line for line in lines) and lines[-1].rstrip().endswith(">"):
                return lines
            assert time.monotonic() < deadline, lines
            time.sleep(0.1)

    command = f"'{sys.executable}' -m llmdrill design '{tmp_path / 'case.yaml'}' --embedder '{tmp_path / 'none'}'"
    env = f"-u COLUMNS CI= LLMDRILL_HOME='{home}'"
    try:
        tmux("-f", "/dev/null", "new-session", "-d", "-x", "60", "-y", "40", f"cd '{tmp_path}'; env {env} {command}")
        pane("What do you ask")
        tmux("send-keys", "1", "Enter")
        pane("Interviewer: Four seconds.")
        tmux("send-keys", "What is the budget?", "Enter")
        lines = pane("Is that what")
        assert max(len(line.rstrip()) for line in lines) <= 60, [line for line in lines if len(line.rstrip()) > 60]
        assert lines[-1].startswith("S ")
    finally:
        with suppress(subprocess.CalledProcessError):
            tmux("kill-server")
