"""How long commands take to start, as ratios to ``python -c pass`` of the same run.

First checks that each command prints what it should, then times them in turn, round by round, and takes medians. The
first prompt of the walk is timed in a real pseudo-terminal, from the start of the process to the prompt on the screen.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "scenarios" / "rag" / "designs" / "reference.design.yaml"
LLMDRILL = [sys.executable, "-m", "llmdrill"]
KV = ["calc", "kv", "--layers", "80", "--kv-heads", "8", "--head-dim", "128", "--context", "100000", "--json"]
COST = ["calc", "cost", "--model", "gpt-4o-mini", "--input", "500", "--output", "200", "--requests", "1M", "--json"]
COMMANDS: dict[str, tuple[list[str], str, float | None]] = {
    "python -c pass": ([sys.executable, "-c", "pass"], "", None),
    "llmdrill --help": ([*LLMDRILL, "--help"], "design", 8),
    "calc kv": ([*LLMDRILL, *KV], "32768000000", 10),
    "calc cost": ([*LLMDRILL, *COST], "195", 10),
    "check": ([*LLMDRILL, "check", str(REFERENCE), "--estimated-only", "--json"], '"passed": true', 20),
}
FIRST_PROMPT = "first prompt of design rag"
PROMPT_TARGET = 15.0


def main() -> None:
    """Print a table of medians and ratios, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as home:
        environ = {**os.environ, "LLMDRILL_HOME": home, "TERM": "xterm-256color"}
        environ.pop("CI", None)
        for name, (command, expected, _) in COMMANDS.items():
            done = subprocess.run(command, capture_output=True, text=True, env=environ, check=False)
            if expected not in done.stdout:
                sys.exit(
                    f"{name}: expected {expected!r} in its output, got {done.stdout[:200]!r} {done.stderr[:200]!r}"
                )
        seconds: dict[str, list[float]] = {name: [] for name in (*COMMANDS, FIRST_PROMPT)}
        for _ in range(rounds):
            for name, (command, _, _) in COMMANDS.items():
                seconds[name].append(time_command(command, environ))
            seconds[FIRST_PROMPT].append(time_first_prompt(environ))
    report(seconds)


def time_command(command: list[str], environ: dict[str, str]) -> float:
    """Return the wall seconds of one run."""
    began = time.perf_counter()
    subprocess.run(command, capture_output=True, env=environ, check=False)
    return time.perf_counter() - began


def time_first_prompt(environ: dict[str, str]) -> float:
    """Return the seconds until the walk asks its first question on a pseudo-terminal."""
    master, slave = pty.openpty()
    began = time.perf_counter()
    process = subprocess.Popen([*LLMDRILL, "design", "rag"], stdin=slave, stdout=slave, stderr=slave, env=environ)
    os.close(slave)
    seen = b""
    while b"S 4" not in seen and b"> " not in seen.rsplit(b"\n", 1)[-1]:
        seen += os.read(master, 4096)
    taken = time.perf_counter() - began
    process.kill()
    process.wait()
    os.close(master)
    return taken


def report(seconds: dict[str, list[float]]) -> None:
    """Print medians and ratios to the bare interpreter."""
    base = statistics.median(seconds["python -c pass"])
    targets = {name: target for name, (_, _, target) in COMMANDS.items()} | {FIRST_PROMPT: PROMPT_TARGET}
    rows = {name: statistics.median(each) for name, each in seconds.items()}
    for name, median in rows.items():
        target = f"to reach {targets[name]:g}x" if targets[name] else ""
        print(f"{name:28} {1000 * median:8.1f} ms {median / base:7.1f}x  {target}")
    print(json.dumps({name: {"ms": round(1000 * m, 2), "ratio": round(m / base, 2)} for name, m in rows.items()}))


main()
