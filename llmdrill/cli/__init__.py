"""The command line. Modules here import only typer at the top; `main` is the error boundary."""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, Final

from llmdrill.errors import ContentError, InterruptedByPersonError, LlmdrillError, StoreError, UsageError

if TYPE_CHECKING:
    from types import FrameType

MOST_MISTAKES: Final = 25
LONGEST_LINE: Final = 500  # a message may quote what was typed, and that may be a book


def main() -> None:
    """Run the command line: every error a user can cause ends here as text and an exit status."""
    signal.signal(signal.SIGINT, _interrupted)
    # Modules, models and YAML trees are many objects that all live on: searching them for cycles took a tenth of the
    # time to the first prompt.
    gc.set_threshold(100_000, 20, 100)
    try:
        _take_streams()
        try:
            status = _run(sys.argv[1:])
        finally:
            sys.stdout.flush()  # here a full disk still becomes a message
        sys.exit(status)
    except LlmdrillError as error:
        tell(error)
        sys.exit(error.exit_status)


def _run(arguments: list[str]) -> int:
    """Run the command that the arguments name; a mistake in them is one line, without a page of usage."""
    import typer

    from llmdrill.cli.app import build_app

    try:
        return build_app(arguments)(arguments, prog_name="llmdrill", standalone_mode=False) or 0
    except typer.TyperException as error:
        said = error.format_message()
        if said.startswith("Usage:"):  # a group alone answers with its help
            print(said, file=sys.stderr)  # noqa: T201 - what typer itself does
            return error.exit_code
        context = getattr(error, "ctx", None)
        where = context.command_path if context else "llmdrill"
        raise UsageError(f"{said[0].lower()}{said[1:].rstrip('.')} (see {where} -h)") from error


def _take_streams() -> None:
    """Make both streams safe to write to: whatever the characters, and whether anybody reads or not."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the caller (`>&-`)
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123 - open to the end
        elif stream is getattr(sys, f"__{name}__") and not stream.isatty():
            raw = io.BufferedWriter(_Output(stream.fileno(), "wb", closefd=False))
            lines = stream.line_buffering
            setattr(sys, name, io.TextIOWrapper(raw, stream.encoding, errors="replace", line_buffering=lines))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # where the terminal's encoding lacks a character


class _Output(io.FileIO):
    """A stream of a pipe or a file: a reader that goes away changes no exit status, a full disk is told.

    Left to the framework a broken pipe is status 1, and `llmdrill check … | head` says that a limit is broken.
    """

    def write(self, data: Any, /) -> int:  # noqa: ANN401 - any buffer
        try:
            return super().write(data) or 0
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())  # keeps the interpreter's last flush quiet
            if isinstance(error, BrokenPipeError):
                return len(data)
            raise StoreError(f"the output cannot be written: {error.strerror}") from error


def _interrupted(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise InterruptedByPersonError("interrupted")


def tell(error: LlmdrillError) -> None:
    """Write an error to stderr as text."""
    from llmdrill.report.terminal import printable

    # What a file or a terminal holds may stand in a message; its escape codes must not reach the terminal.
    # A line each, whatever line breaks the names of files and keys hold: CI servers read commands at the start of one.
    parts = map(str, error.mistakes) if isinstance(error, ContentError) else [str(error) or type(error).__name__]
    lines = [_cut(printable(part.replace("\n", r"\n"))) for part in parts]
    if not isinstance(error, ContentError):
        lines[0] = f"llmdrill: {lines[0]}"
    elif len(lines) > MOST_MISTAKES:
        lines = [*lines[:MOST_MISTAKES], f"… and {len(lines) - MOST_MISTAKES} more mistakes"]
    print(*lines, sep="\n", file=sys.stderr)  # noqa: T201 - the one place errors become text


def _cut(line: str) -> str:
    return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}…"
