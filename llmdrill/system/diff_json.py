"""The difference of two designs as JSON: unit-bearing names, milliseconds, six significant digits."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from llmdrill.units import six_digits

if TYPE_CHECKING:
    from llmdrill.system.diff import Change, Diff, StageDiff

SCHEMA: Final = "llmdrill/diff@1"


def diff_json(diff: Diff) -> dict[str, Any]:
    """Return the one object that ``diff --json`` prints."""
    return {
        "schema": SCHEMA,
        "base": diff.base_file,
        "head": diff.head_file,
        "different": diff.different,
        "totals": dict(map(_figure, diff.totals)),
        "stages": [_stage_json(one) for one in diff.stages],
        "quality": dict(map(_figure, diff.quality)),
        "promises": {one.name: _values(one, 1.0) for one in diff.promises},
        "scenario": [asdict(one) for one in diff.scenario],
        "bottleneck": {"base": diff.bottlenecks[0], "head": diff.bottlenecks[1]},
        "seed": diff.seed,
        "draws": diff.draws,
        "notes": list(diff.notes),
    }


def _stage_json(stage: StageDiff) -> dict[str, Any]:
    return {
        "name": stage.name,
        "kind": stage.kind,
        "status": stage.status,
        "settings": [asdict(one) for one in stage.settings],
        "figures": dict(map(_figure, stage.figures)),
    }


def _figure(one: Change) -> tuple[str, dict[str, float | None]]:
    """Return a figure and its name; seconds as milliseconds, which the name then says."""
    in_ms = one.name.endswith("_s")
    name = one.name.removesuffix("_s") + "_ms" if in_ms else one.name
    return name, _values(one, 1000.0 if in_ms else 1.0)


def _values(one: Change, factor: float) -> dict[str, float | None]:
    values = {"base": one.base, "head": one.head, "change": one.change}
    scaled = {key: None if value is None else six_digits(factor * value) for key, value in values.items()}
    share = one.change_share
    return {**scaled, "change_share": None if share is None else six_digits(share)}
