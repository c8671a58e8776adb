"""Run the examples of lab.md and retrieval.md again, and put in what they print: figures and meaning, or all of it.

    python docs/run_lab.py [NAME ...]

Times are those of the machine it runs on, so no test holds the pages against it. Run it on a quiet one.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Final

PAGES: Final = tuple(Path(__file__).with_name(name) for name in ("lab.md", "retrieval.md"))
EXAMPLE: Final = re.compile(
    r"```console\n\$ (?P<call>llmdrill lab (?P<name>[\w-]+)[^\n]*)\n(?P<shown>.*?)```", re.DOTALL
)
WHOLE: Final = ("decode",)
AXIS: Final = re.compile(r"^ *\+-+$|  #+ ", re.MULTILINE)  # the lower edge of a picture, or a bar
COLUMNS: Final = "100"
MEANING: Final = "-- What it means"
NOTES: Final = {"-- What the figures are", "-- How they were predicted", "-- Read with care", "-- How it was run"}


def main() -> int:
    """Run the examples of the names given, or all but `all`, whose report is as long as the others together."""
    wanted = set(sys.argv[1:])

    def fresh(example: re.Match[str]) -> str:
        name, call = example["name"], example["call"]
        if name not in wanted if wanted else name == "all":
            return example[0]
        print(f"$ {call}", file=sys.stderr)
        return f"```console\n$ {call}\n{shortened(printed(call), whole=name in WHOLE)}```"

    for page in PAGES:
        page.write_text(EXAMPLE.sub(fresh, page.read_text("utf-8")), "utf-8")
    return 0


def printed(call: str) -> str:
    """Return what a command prints, without trailing spaces; stop if it fails."""
    command = [sys.executable, "-m", *shlex.split(call)]
    environment = os.environ | {"COLUMNS": COLUMNS, "NO_COLOR": "1"}
    text = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout  # noqa: S603
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def shortened(text: str, *, whole: bool) -> str:
    """Return figures, meaning and first picture of a report, or all that stands before its notes; others whole."""
    parts = text.strip("\n").split("\n\n")
    if MEANING not in parts:
        return text
    ends = next((at for at, part in enumerate(parts) if part in NOTES), len(parts))
    figures = [part for part in parts[:ends] if re.match(r"(Predicted and m|M)easured\n", part)]
    pictures = [part for part in parts[:ends] if AXIS.search(part)][:1]
    kept = parts[1:ends] if whole else [*figures, parts[parts.index(MEANING) + 1], *pictures]
    return "\n\n".join(kept) + "\n"


if __name__ == "__main__":
    sys.exit(main())
