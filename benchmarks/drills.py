"""Time what a person waits for: listing 2,000 drills with a kept index, and posing and grading 1,000 numeric drills.

python benchmarks/drills.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from llmdrill.practice.drill import NumericDrill
from llmdrill.practice.grade import grade
from llmdrill.practice.library import load_drill, load_library
from llmdrill.practice.posed import pose, reference_answers
from llmdrill.practice.template import drill_template

FILES, DRILLS_PER_FILE, POSED, REPEATS = 50, 40, 1000, 5


def write_pack(folder: Path) -> None:
    """Write 2,000 numeric drills in 50 files."""
    head, _, body = drill_template("numeric", "drill-0")["drill-0.yaml"].partition("  - id: drill-0")
    folder.mkdir(parents=True)
    for number in range(FILES):
        drills = "".join(f"  - id: f{number}-d{at}{body}" for at in range(DRILLS_PER_FILE))
        text = head.replace("topic: drill-0", f"topic: file-{number}") + drills
        (folder / f"file-{number}.yaml").write_text(text, encoding="utf-8")


def listing_s(environ: dict[str, str]) -> tuple[float, int]:
    """Return how long the command takes from start to end, and the drills it listed."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "llmdrill", "drill", "list", "--json"],
        capture_output=True,
        check=True,
        env=environ,
    )
    return time.perf_counter() - began, len(json.loads(done.stdout)["drills"])


def grading_per_s() -> float:
    """Return how many draws of the shipped numeric drills are posed and graded in a second; all get full marks."""
    listed = load_library().select(kind="numeric")
    drills = [drill for one in listed if isinstance(drill := load_drill(one), NumericDrill)]
    began = time.perf_counter()
    for seed in range(POSED):
        posed = pose(drills[seed % len(drills)], seed=seed)
        if not grade(posed, reference_answers(posed)).correct:
            raise SystemExit(f"{posed.drill.id}: its reference answer is not right")
    return POSED / (time.perf_counter() - began)


def main() -> None:
    """Print a table, then a JSON line."""
    with tempfile.TemporaryDirectory() as home:
        write_pack(Path(home) / "drills")
        environ = {**os.environ, "LLMDRILL_HOME": home}
        first_s, listed = listing_s(environ)
        again_s = min(listing_s(environ)[0] for _ in range(REPEATS))
    if listed < FILES * DRILLS_PER_FILE:
        raise SystemExit(f"{listed} drills were listed, not {FILES * DRILLS_PER_FILE}")
    per_s = grading_per_s()
    print(f"list {listed} drills, nothing kept   {first_s:8.2f} s")
    print(f"list {listed} drills, index kept     {again_s:8.2f} s")
    print(f"numeric drills posed and graded   {per_s:8.0f} per s")
    print(json.dumps({"drills": listed, "list_first_s": first_s, "list_s": again_s, "graded_per_s": per_s}))


if __name__ == "__main__":
    main()
