"""Where answers come from: a person at a terminal, a line at a time, or an answers file."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from llmdrill.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmdrill.report.terminal import Terminal
    from llmdrill.scale.answers import AnswersFile
    from llmdrill.scale.prompts import Prompt

COMMANDS: Final = {
    ":hint": "a hint for this step",
    ":back": "take the last answer back",
    ":skip": "take the default, or nothing",
    ":edit": "write the answer in $EDITOR",
    ":multi": "several lines; a line with only a dot ends them",
    ":time": "time spent and time left",
    ":pause": "stop the clock until Enter",
    ":note TEXT": "keep a note; it goes into the report",
    ":formulas": "every formula of the estimate, with the numbers put in",
    ":reveal": "what the reference says at this step",
    ":quit": "save and leave; `llmdrill resume` goes on",
}


@dataclass(frozen=True, slots=True)
class Typed:
    """What came in at a prompt.

    Attributes:
        text: The answer, or the words after a command.
        command: The command without its colon, or nothing.
        seconds: Time the person took.
    """

    text: str
    command: str = ""
    seconds: float = 0.0


class Source(Protocol):
    """Something that answers prompts."""

    interactive: bool

    def answer(self, prompt: Prompt, label: str) -> Typed:
        """Return what is typed at ``prompt``; ``label`` is what stands before the cursor."""

    def wait(self, label: str) -> None:
        """Wait for Enter."""


class Person:
    """A person at a terminal: `input()` with readline's editing and history."""

    interactive = True

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        import contextlib

        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 - input() then has editing and history
        self._now = now

    def answer(self, prompt: Prompt, label: str) -> Typed:
        """Read a line, or what a command brings."""
        began = self._now()
        typed = _line(label)
        command, _, rest = typed.strip().partition(" ")
        command = command.lower() if command.startswith(":") else ""
        if not command:
            return Typed(typed, seconds=self._now() - began)
        if command == ":multi":
            return Typed(_several_lines(), seconds=self._now() - began)
        if command == ":edit":
            return Typed(edit_text(prompt.default, about=prompt.text), seconds=self._now() - began)
        return Typed(rest.strip(), command.removeprefix(":"), self._now() - began)

    def wait(self, label: str) -> None:
        """Wait for Enter."""
        input(label)


def _line(label: str) -> str:
    """Read a line; bytes that are no UTF-8 become question marks instead of an end to the walk."""
    try:
        return input(label)
    except UnicodeDecodeError as error:
        return error.object.decode("utf-8", "replace").rstrip("\n")


def _several_lines() -> str:
    lines = []
    while (line := _line("  … ")) != ".":
        lines.append(line)
    return "\n".join(lines)


def edit_text(text: str, *, about: str) -> str:
    """Return what the person leaves in their editor; lines that start with ``#`` are dropped.

    Raises:
        UsageError: If there is no editor, or it fails.
    """
    import shlex
    import subprocess
    import tempfile

    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "answer.md")
        path.write_text(f"{text}\n# {about}\n# Lines that start with # are dropped.\n", encoding="utf-8")
        try:
            subprocess.run([*shlex.split(editor), str(path)], check=True)  # noqa: S603 - the person's own editor
            written = path.read_text(encoding="utf-8")
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            raise UsageError(f"the editor '{editor}' did not work ({error}); set EDITOR, or type :multi") from error
    return "\n".join(line for line in written.splitlines() if not line.startswith("#")).strip()


class Script:
    """An answers file; what it does not mention takes the default, or is skipped."""

    interactive = False

    def __init__(self, answers: AnswersFile, terminal: Terminal, *, reading_s: float = 0.0) -> None:
        """Take ``reading_s`` seconds in all, spread over the answers by their length."""
        self._answers, self._terminal = answers, terminal
        self._s_per_letter = reading_s / max(1, sum(map(len, answers.texts.values())))

    def answer(self, prompt: Prompt, label: str) -> Typed:
        """Return the file's answer, shown as if it were typed."""
        text = self._answers.text(prompt)
        if not text and prompt.kind == "choice":
            text = prompt.default or "none"
        import textwrap

        self._terminal.line(textwrap.fill(label + " ".join(text.split()), self._terminal.width, subsequent_indent="  "))
        if self._s_per_letter:
            time.sleep(self._s_per_letter * len(text))
        return Typed(text)

    def wait(self, label: str) -> None:
        """Do not wait."""
