"""How long commands take to start, as ratios to ``python -c pass`` of the same run.

First checks that each command prints what it should. Then all run in turn, round by round, and the least processor
time of each (user and system, all threads) is compared: that is what other work on the machine moves least. Wall time
stands beside it. The first prompt of the walk is timed in a real pseudo-terminal, from the start of the process to the
prompt on the screen. What other price libraries take to import is a ratio to the bare interpreter they are installed
for.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from llmdrill.cli.calc import CALCULATORS

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "scenarios" / "rag" / "designs" / "reference.design.yaml"
LLMDRILL = (sys.executable, "-m", "llmdrill")
BARE = "python -c pass"
FIRST_PROMPT = "first prompt of design rag"
OTHERS = ("litellm", "tokencost")


class Timed(NamedTuple):
    """A command, what its output must hold, the ratio to reach, and what the ratio is to."""

    command: tuple[str, ...]
    expected: str = ""
    to_reach: float | None = None
    unit: str = BARE


class Taken(NamedTuple):
    """What one run took."""

    cpu_s: float
    wall_s: float


def our_commands() -> dict[str, Timed]:
    """Return what is timed of llmdrill, and the bare interpreter."""
    kv = "calc kv --layers 80 --kv-heads 8 --head-dim 128 --context 100000 --json"
    cost = "calc cost --model gpt-4o-mini --input 500 --output 200 --requests 1M --json"
    latency = "calc latency --model llama-3.1-8b --on h100 --batch 32 --input 1024 --output 128 --json"
    timed = {
        BARE: Timed((sys.executable, "-c", "pass")),
        "llmdrill --help": Timed((*LLMDRILL, "--help"), "design", 8),
        "calc kv": Timed((*LLMDRILL, *kv.split()), '"kv_cache_bytes": 32768000000', 10),
        "calc cost": Timed((*LLMDRILL, *cost.split()), '"usd_total": 195', 10),
        "calc latency": Timed((*LLMDRILL, *latency.split()), '"tpot_ms"', 10),
        "check": Timed((*LLMDRILL, "check", str(REFERENCE), "--estimated-only", "--json"), '"passed": true', 20),
    }
    if "latency" not in CALCULATORS:
        del timed["calc latency"]
    return timed


def other_imports(pythons: dict[str, str]) -> dict[str, Timed]:
    """Return what is timed of the other libraries; says which are not installed."""
    timed = {}
    for name, python in pythons.items():
        look = subprocess.run([python, "-c", f"import {name}"], capture_output=True, check=False)
        if look.returncode:
            print(f"import {name}: not installed for {python}", file=sys.stderr)
            continue
        unit = f"{BARE} beside {name}"
        timed[unit] = Timed((python, "-c", "pass"), unit=unit)
        timed[f"import {name}"] = Timed((python, "-c", f"import {name}"), unit=unit)
    return timed


def main() -> None:
    """Print a table of times and ratios, then one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    for name in OTHERS:
        parser.add_argument(
            f"--{name}-python", default=sys.executable, help=f"interpreter that {name} is installed for"
        )
    asked = parser.parse_args()
    commands = our_commands() | other_imports({name: getattr(asked, f"{name}_python") for name in OTHERS})
    with tempfile.TemporaryDirectory() as home:
        environ = {**os.environ, "LLMDRILL_HOME": home, "TERM": "xterm-256color", "PYTHONPYCACHEPREFIX": home}
        for name in ("CI", "PYTHONDONTWRITEBYTECODE"):  # installers write bytecode: compiling is no part of a start
            environ.pop(name, None)
        for name, timed in commands.items():
            check_output(name, timed, environ)
        taken: dict[str, list[Taken]] = {name: [] for name in (*commands, FIRST_PROMPT)}
        for _ in range(asked.rounds):
            for name, timed in commands.items():
                taken[name].append(time_command(timed.command, environ))
            taken[FIRST_PROMPT].append(time_first_prompt(environ))
    commands[FIRST_PROMPT] = Timed((), to_reach=15)
    report(commands, taken)


def check_output(name: str, timed: Timed, environ: dict[str, str]) -> None:
    """Stop unless the command prints what it should."""
    done = subprocess.run(timed.command, capture_output=True, text=True, env=environ, check=False)
    if done.returncode or timed.expected not in done.stdout:
        said = f"{done.stdout[:200]!r} {done.stderr[-200:]!r}"
        sys.exit(f"{name}: expected exit 0 and {timed.expected!r} in its output, got {done.returncode}, {said}")


def time_command(command: tuple[str, ...], environ: dict[str, str]) -> Taken:
    """Return what one run takes."""
    began = time.perf_counter()
    quiet = [(os.POSIX_SPAWN_OPEN, stream, os.devnull, os.O_WRONLY, 0) for stream in (1, 2)]
    return waited(os.posix_spawn(command[0], command, environ, file_actions=quiet), began)


def time_first_prompt(environ: dict[str, str]) -> Taken:
    """Return what the walk takes until it asks its first question on a pseudo-terminal."""
    master, slave = pty.openpty()
    began = time.perf_counter()
    process = subprocess.Popen([*LLMDRILL, "design", "rag"], stdin=slave, stdout=slave, stderr=slave, env=environ)
    os.close(slave)
    seen = b""
    while b"S 4" not in seen and b"> " not in seen.rsplit(b"\n", 1)[-1]:
        seen += os.read(master, 4096)
    wall_s = time.perf_counter() - began
    process.kill()
    taken = waited(process.pid, began)
    process.returncode = -9
    os.close(master)
    return taken._replace(wall_s=wall_s)


def waited(pid: int, began: float) -> Taken:
    """Wait for a process and return what it took."""
    _, _, used = os.wait4(pid, 0)
    return Taken(used.ru_utime + used.ru_stime, time.perf_counter() - began)


def report(commands: dict[str, Timed], taken: dict[str, list[Taken]]) -> None:
    """Print the least times and their ratios to the bare interpreter."""
    least = {name: Taken(*map(min, zip(*runs, strict=True))) for name, runs in taken.items()}
    found = {}
    print(f"{'':28} {'processor':>12} {'ratio':>7} {'wall':>12} {'ratio':>7}")
    for name, (cpu_s, wall_s) in least.items():
        timed, unit = commands[name], least[commands[name].unit]
        ratio, wall_ratio = cpu_s / unit.cpu_s, wall_s / unit.wall_s
        verdict = "" if timed.to_reach is None else "reached" if ratio <= timed.to_reach else "NOT reached"
        target = f"to reach {timed.to_reach:g}x: {verdict}" if timed.to_reach else ""
        times = f"{1000 * cpu_s:9.1f} ms {ratio:6.1f}x {1000 * wall_s:9.1f} ms {wall_ratio:6.1f}x"
        print(f"{name:28} {times}  {target}".rstrip())
        found[name] = {"cpu_ms": round(1000 * cpu_s, 2), "ratio": round(ratio, 2), "wall_ratio": round(wall_ratio, 2)}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
