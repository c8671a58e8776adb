"""The files a finished walk leaves: the design, the report, the measurement."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmdrill.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from llmdrill.scale.result import WalkResult


@dataclass(frozen=True, slots=True)
class Written:
    """Where the files are; ``measured`` is None if nothing was measured."""

    design: Path
    report: Path
    measured: Path | None


def write_walk(result: WalkResult, design_text: str, folder: Path, *, overwrite: bool) -> Written:
    """Write the files of a walk; existing ones are kept beside them unless ``overwrite``.

    Raises:
        UsageError: If the folder cannot be written.
    """
    from llmdrill.measurement import measurements_json
    from llmdrill.report.markdown import to_markdown
    from llmdrill.report.walk_report import walk_report

    measurement = result.mine.run.measurement
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stem = result.scenario.id if overwrite else _free_stem(folder, result.scenario.id)
        design, report = folder / f"{stem}.design.yaml", folder / f"{stem}.report.md"
        design.write_text(design_text, encoding="utf-8")
        report.write_text(to_markdown(walk_report(result)), encoding="utf-8")
        measured = folder / f"{stem}.measured.json" if measurement else None
        if measured and measurement:
            measured.write_text(json.dumps(measurements_json([measurement]), indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        what = f"{folder}: cannot write the report there ({error.strerror})"
        raise UsageError(
            f"{what}; `llmdrill resume` finishes a walk that was typed; else give --out another"
        ) from error
    return Written(design, report, measured)


def _free_stem(folder: Path, name: str) -> str:
    """Return ``rag``, or ``rag-2``, ``rag-3`` … if there is such a design or report already."""
    number = 1
    while True:
        stem = name if number == 1 else f"{name}-{number}"
        if not any(
            (folder / f"{stem}{ending}").exists() for ending in (".design.yaml", ".report.md", ".measured.json")
        ):
            return stem
        number += 1
