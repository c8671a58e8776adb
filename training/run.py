"""The one command: data, tokenizer, both decoders, their folders and their figures. Run it again to go on.

python -m training.run --out build/training [--source Python-3.13.5.tar.xz] [--minutes 360] [--draft-minutes 60]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from training.prepare import FACTS_FILE

LONG_SEQUENCE = 1024  # the last phase reads longer, as the models will


def call(module: str, *arguments: str | float | Path) -> None:
    """Run one step as its own process, so that each can also be run, and stopped, by hand."""
    command = [sys.executable, "-m", f"training.{module}", *map(str, arguments)]
    print("+", " ".join(command[1:]), flush=True)
    if subprocess.run(command, check=False).returncode:
        raise SystemExit(1)


def train_preset(preset: str, out: Path, *, minutes: float, more: list[str]) -> None:
    """Train at the full rate, then decay at the longer sequence; export and evaluate."""
    stable, final = out / preset, out / f"{preset}-decay"
    call("train", "--preset", preset, "--data", out, "--minutes", 0.8 * minutes, "--decay-share", 0, *more)
    start = ("--start", stable / "checkpoint.pt", "--out", final, "--sequence", LONG_SEQUENCE)
    call("train", "--preset", preset, "--data", out, "--minutes", 0.2 * minutes, "--decay-share", 1, *start, *more)
    call("export", final / "checkpoint.pt", "--data", out, "--out", final / "model")
    call("evaluate", final / "model", "--data", out, "--length", LONG_SEQUENCE)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Data, tokenizer, both decoders; unknown options go to training.train."
    )
    parser.add_argument("--out", type=Path, default=Path("build/training"))
    parser.add_argument("--source", type=Path, help="tarball or folder of the release; else it is downloaded")
    parser.add_argument("--minutes", type=float, default=360, help="for the decoder")
    parser.add_argument("--draft-minutes", type=float, default=60, help="for the draft model")
    options, more = parser.parse_known_args()
    if not (options.out / FACTS_FILE).exists():
        call("prepare", "--out", options.out, *(("--source", options.source) if options.source else ()))
    train_preset("8m", options.out, minutes=options.minutes, more=more)
    train_preset("1m", options.out, minutes=options.draft_minutes, more=more)


if __name__ == "__main__":
    main()
