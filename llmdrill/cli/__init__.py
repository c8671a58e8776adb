"""The command line. Modules here import only typer at the top; `main` is the error boundary."""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
from typing import TYPE_CHECKING, Final

from llmdrill.errors import ContentError, InterruptedByPersonError, LlmdrillError

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
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # where the terminal's encoding lacks a character
    from llmdrill.cli.app import build_app

    try:
        build_app(sys.argv[1:])()
    except LlmdrillError as error:
        tell(error)
        sys.exit(error.exit_status)
    except BrokenPipeError:
        # The reader went away (`llmdrill … | head`): say nothing, and keep the interpreter's last flush quiet.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _interrupted(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise InterruptedByPersonError("interrupted")


def tell(error: LlmdrillError) -> None:
    """Write an error to stderr as text."""
    from llmdrill.report.terminal import printable

    # What a file or a terminal holds may stand in a message; its escape codes must not reach the terminal.
    lines = [_cut(printable(line)) for line in str(error).splitlines()] or [type(error).__name__]
    if not isinstance(error, ContentError):
        lines[0] = f"llmdrill: {lines[0]}"
    elif len(lines) > MOST_MISTAKES:
        lines = [*lines[:MOST_MISTAKES], f"… and {len(lines) - MOST_MISTAKES} more mistakes"]
    print(*lines, sep="\n", file=sys.stderr)  # noqa: T201 - the one place errors become text


def _cut(line: str) -> str:
    return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}…"
