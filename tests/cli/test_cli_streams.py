"""Where the output goes: a reader that leaves, a full disk, a closed stream; none of them changes what was found."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_cases import COMMAND

from llmdrill.folders import shipped_folder

REFERENCE = shipped_folder("scenarios") / "moderation" / "designs" / "reference.design.yaml"
CHECK = ("check", str(REFERENCE), "--estimated-only", "--draws", "500")
FAILS = (*CHECK, "--max-usd-per-month", "1")
FULL = Path("/dev/full")
ENVIRON = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def _unread(arguments: tuple[str, ...], *, stream: str = "stdout") -> tuple[int, bytes]:
    """Return the exit status where nobody reads one stream, and what stands on the other."""
    reader, writer = os.pipe()
    os.close(reader)
    other = "stderr" if stream == "stdout" else "stdout"
    streams = {stream: writer, other: subprocess.PIPE}
    try:
        process = subprocess.Popen([*COMMAND, *arguments], env=ENVIRON, **streams)  # type: ignore[call-overload]
        out, err = process.communicate(timeout=240)
    finally:
        os.close(writer)
    return process.returncode, out or err or b""


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (CHECK, 0),
        (FAILS, 1),
        ((*FAILS, "--format", "junit"), 1),
        (("estimate", str(REFERENCE), "--json"), 0),
        (("--help",), 0),
    ],
)
def test_a_reader_that_leaves_changes_no_verdict(arguments: tuple[str, ...], status: int) -> None:
    assert _unread(arguments) == (status, b"")


@pytest.mark.parametrize("arguments", [("check", "absent.yaml"), ("check", str(REFERENCE), "--bogus")])
def test_a_message_that_nobody_reads_is_still_bad_input(arguments: tuple[str, ...]) -> None:
    assert _unread(arguments, stream="stderr") == (2, b"")


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("format_", ["text", "json", "junit"])
def test_a_full_disk_is_told_in_a_line_and_is_no_broken_limit(format_: str) -> None:
    with FULL.open("w") as full:
        command = [*COMMAND, *CHECK, "--format", format_]
        ran = subprocess.run(command, env=ENVIRON, stdout=full, stderr=subprocess.PIPE, check=False)
    assert ran.returncode == 2
    assert ran.stderr.decode() == "llmdrill: the output cannot be written: No space left on device\n"


@pytest.mark.parametrize(("arguments", "status"), [(CHECK, 0), (FAILS, 1)])
def test_a_closed_stream_takes_nothing_and_leaves_the_verdict(arguments: tuple[str, ...], status: int) -> None:
    shell = ["sh", "-c", 'exec "$@" >&-', "sh", *COMMAND, *arguments]
    ran = subprocess.run(shell, env=ENVIRON, capture_output=True, check=False)
    assert (ran.returncode, ran.stderr) == (status, b"")


def test_a_line_break_in_a_name_starts_no_line_of_its_own(tmp_path: Path) -> None:
    bad = tmp_path / "a\n::error::b.yaml"
    bad.write_text('"k\\n::warning::x": 1\n', encoding="utf-8")
    for format_ in ("text", "json", "markdown", "junit", "github"):
        command = [*COMMAND, *CHECK, str(bad), "--slo", "p95_ms=9000", "--format", format_]
        ran = subprocess.run(command, env=ENVIRON, capture_output=True, check=False)
        assert ran.returncode == 2
        lines = [*ran.stderr.decode().splitlines(), *(ran.stdout.decode().splitlines() if format_ != "github" else [])]
        assert not [line for line in lines if line.lstrip().startswith("::")]
    typed = subprocess.run(
        [*COMMAND, *CHECK, "--slo", "x\n::error::y=1"], env=ENVIRON, capture_output=True, check=False
    )
    assert (typed.returncode, typed.stderr.count(b"\n")) == (2, 1)
