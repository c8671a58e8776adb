"""What changed between two designs of one scenario: settings, cost, latency, memory, quality and promises, by stage."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from llmdrill.errors import ContentError
from llmdrill.system.check import measured_figure
from llmdrill.system.figures import total_figure
from llmdrill.system.increase import increase_share
from llmdrill.system.local_stages import local_note
from llmdrill.system.metrics import METRICS
from llmdrill.system.scenario import parse_limit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from llmdrill.measurement import Measurement
    from llmdrill.system.estimate import StageEstimate
    from llmdrill.system.kinds.base import StageBase
    from llmdrill.system.metrics import Metric
    from llmdrill.system.scenario import Scenario
    from llmdrill.system.side import Side
    from llmdrill.units import Dimension

Status = Literal["added", "removed", "changed", "affected", "same"]
TOTALS: Final = (
    "usd_per_request",
    "usd_per_month",
    "ttft_p50_s",
    "ttft_p95_s",
    "total_p50_s",
    "total_p95_s",
    "total_p99_s",
    "memory_bytes",
    "success_share",
    "human_share",
)
_STAGE: Final[Mapping[str, Dimension]] = {
    "usd_per_request": "usd",
    "p50_s": "seconds",
    "p95_s": "seconds",
    "p99_s": "seconds",
    "ttft_p50_s": "seconds",
    "ttft_p95_s": "seconds",
    "tpot_p50_s": "seconds",
    "tpot_p95_s": "seconds",
    "memory_bytes": "bytes",
    "share_of_requests": "share",
}
# A stage that nobody touched is drawn with the same numbers, but over other requests where what comes before it passes
# on another share: its percentiles then move a little by chance.
NOISE_SHARE: Final = 0.02
_PROSE: Final = frozenset({"why"})


@dataclass(frozen=True, slots=True)
class Change:
    """One figure of both designs, in SI; None where it is unknown or not there."""

    name: str
    dimension: Dimension
    better: Literal["lower", "higher"] | None
    base: float | None
    head: float | None

    @property
    def change(self) -> float | None:
        """Head less base; None if either is not known."""
        return None if self.base is None or self.head is None else self.head - self.base

    @property
    def change_share(self) -> float | None:
        """The change over the base; None if there is no base to speak of."""
        return increase_share(self.base, self.head)

    @property
    def moved(self) -> bool:
        """Whether a stage's figure differs by more than the luck of the draw."""
        return self.differs(NOISE_SHARE if self.dimension == "seconds" else 1e-6)

    def differs(self, ratio: float = 1e-9) -> bool:
        """Tell whether the two are apart by more than a share of themselves."""
        if self.base is None or self.head is None:
            return self.base is not self.head
        return not math.isclose(self.base, self.head, rel_tol=ratio, abs_tol=1e-12)


@dataclass(frozen=True, slots=True)
class SettingChange:
    """One setting as each design has it; None where it does not."""

    name: str
    base: str | None
    head: str | None


@dataclass(frozen=True, slots=True)
class StageDiff:
    """One stage.

    Attributes:
        status: ``affected``: nobody touched its settings, but its figures moved.
        line: In the head's file; 1 for a stage that is gone.
    """

    name: str
    kind: str
    status: Status
    settings: tuple[SettingChange, ...]
    figures: tuple[Change, ...]
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Diff:
    """All that changed; ``quality`` holds what was measured, ``promises`` what the designs promise."""

    base_file: str
    head_file: str
    totals: tuple[Change, ...]
    stages: tuple[StageDiff, ...]
    quality: tuple[Change, ...]
    promises: tuple[Change, ...]
    scenario: tuple[SettingChange, ...]
    bottlenecks: tuple[str | None, str | None]
    seed: int
    draws: int
    notes: tuple[str, ...]

    def total(self, name: str) -> Change:
        """Return the change of one figure of the whole."""
        return next(one for one in self.totals if one.name == name)

    @property
    def different(self) -> bool:
        """Whether anything differs that a design decides."""
        parts = (*self.totals, *self.promises, *self.quality)
        touched = any(one.status != "same" for one in self.stages)
        return touched or bool(self.scenario) or any(one.differs() for one in parts)


def diff_designs(base: Side, head: Side) -> Diff:
    """Return what changed from ``base`` to ``head``, two designs that were found sound (``require_sound``).

    Raises:
        ContentError: If they answer different scenarios.
    """
    asked, other = head.file.design.scenario.id, base.file.design.scenario.id
    if asked != other:
        what = f"the design answers '{asked}', {base.file.path} '{other}': there is nothing to compare"
        raise ContentError([head.file.located.mistake(("scenario", "id"), what)])
    names = dict.fromkeys((*head.file.design.stages, *base.file.design.stages))
    return Diff(
        base_file=str(base.file.path),
        head_file=str(head.file.path),
        totals=tuple(_total(name, base, head) for name in TOTALS),
        stages=tuple(_stage(name, base, head) for name in names),
        quality=tuple(_quality(base, head)),
        promises=tuple(_promises(base, head)),
        scenario=_scenario(base.scenario, head.scenario),
        bottlenecks=(base.estimate.bottleneck, head.estimate.bottleneck),
        seed=head.estimate.seed,
        draws=head.estimate.draws,
        notes=tuple(_notes(base, head)),
    )


def _of(metric: Metric, base: float | None, head: float | None) -> Change:
    return Change(metric.name, metric.dimension, metric.better, base, head)


def _total(name: str, base: Side, head: Side) -> Change:
    return _of(METRICS[name], *(total_figure(name, side.estimate) for side in (base, head)))


# --- stages -------------------------------------------------------------------------------------------------------


def _stage(name: str, base: Side, head: Side) -> StageDiff:
    old, new = base.file.design.stages.get(name), head.file.design.stages.get(name)
    settings = _settings(name, base, head) if old and new else ()
    figures = tuple(_figures(name, base, head))
    stage = new or old
    place = head.file.located.mistake(("stages", name), "")
    return StageDiff(
        name=name,
        kind=stage.kind if stage else "",
        status=_status(old, new, settings, figures),
        settings=settings,
        figures=figures,
        line=place.line if new else 1,
        column=place.column if new else 1,
    )


def _status(
    old: StageBase | None, new: StageBase | None, settings: tuple[SettingChange, ...], figures: tuple[Change, ...]
) -> Status:
    if old is None or new is None:
        return "added" if old is None else "removed"
    if settings:
        return "changed"
    return "affected" if any(one.moved for one in figures) else "same"


def _figures(name: str, base: Side, head: Side) -> Iterator[Change]:
    """Yield the figures that either design has of a stage; the cost of a month is that of its requests."""
    old, new = base.estimate.stage(name), head.estimate.stage(name)
    for key, dimension in _STAGE.items():
        change = Change(key, dimension, None if dimension == "share" else "lower", _get(old, key), _get(new, key))
        if change.base or change.head:
            yield change
        if key == "usd_per_request" and (change.base or change.head):
            months = (_month(value, side) for value, side in ((change.base, base), (change.head, head)))
            yield Change("usd_per_month", "usd", "lower", *months)


def _get(stage: StageEstimate | None, key: str) -> float | None:
    value: float | None = getattr(stage, key, None)
    return value


def _month(usd_per_request: float | None, side: Side) -> float | None:
    return None if usd_per_request is None else usd_per_request * side.scenario.workload.requests_per_month


def _settings(name: str, base: Side, head: Side) -> tuple[SettingChange, ...]:
    """Return the settings that mean something else; ``2s`` and ``2000ms`` do not."""
    sides = (base, head)
    models = [side.file.design.stages[name] for side in sides]
    written = [side.file.located.data["stages"][name] for side in sides]
    same_kind = models[0].kind == models[1].kind
    keys = list(type(models[1]).model_fields) if same_kind else list(dict.fromkeys((*written[0], *written[1])))
    changes = []
    for key in keys:
        if key in _PROSE or getattr(models[0], key, None) == getattr(models[1], key, None):
            continue
        old, new = (_setting(key, model, raw) for model, raw in zip(models, written, strict=True))
        changes.append(SettingChange(key, old, new))
    return tuple(changes)


def _setting(key: str, model: StageBase, written: Mapping[str, Any]) -> str | None:
    """Return a setting as it is written; its default, said to be one, if it is not."""
    if key in written:
        return _plain(written[key])
    default = getattr(model, key, None)
    return None if default is None or default == () else f"{_plain(default)} (default)"


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_plain, value))}]"
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() else f"{value:g}"
    return str(value)


# --- quality, promises, scenario ----------------------------------------------------------------------------------


def _quality(base: Side, head: Side) -> Iterator[Change]:
    for metric in METRICS.values():
        if metric.source == "measurement":
            old, new = (_measured(metric.name, side.measurement) for side in (base, head))
            if old is not None or new is not None:
                yield _of(metric, old, new)


def _measured(name: str, measurement: Measurement | None) -> float | None:
    figure = measured_figure(name, measurement) if measurement else None
    return figure.value if figure else None


def _promises(base: Side, head: Side) -> Iterator[Change]:
    names = dict.fromkeys((*head.file.design.requirements, *base.file.design.requirements))
    for name in names:
        metric = _promised(name, (head.scenario, base.scenario))
        if metric is not None:
            limits = (_limit(metric, side.file.design.requirements.get(name)) for side in (base, head))
            yield Change(name, metric.dimension, metric.better, *limits)


def _promised(name: str, scenarios: Iterable[Scenario]) -> Metric | None:
    found = (scenario.requirement(name) for scenario in scenarios)
    requirement = next((one for one in found if one), None)
    return requirement.definition if requirement else METRICS.get(name)


def _limit(metric: Metric, written: str | float | None) -> float | None:
    return None if written is None else parse_limit(metric, written)


def _scenario(base: Scenario, head: Scenario) -> tuple[SettingChange, ...]:
    old, new = (dict(_conditions(one)) for one in (base, head))
    names = dict.fromkeys((*new, *old))
    return tuple(SettingChange(name, old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name))


def _conditions(scenario: Scenario) -> Iterator[tuple[str, str]]:
    """Yield what figures and verdicts of a scenario rest on: workload and limits."""
    for key, value in scenario.workload.model_dump().items():
        inner = value.items() if isinstance(value, dict) else (("", value),)
        for part, number in inner:
            yield ".".join(filter(None, ("workload", key, part))), _plain(number)
    for requirement in scenario.requirements:
        limit = requirement.at_most if requirement.at_most is not None else requirement.at_least
        yield f"requirements.{requirement.id}", _plain(limit)


def _notes(base: Side, head: Side) -> Iterator[str]:
    local = {which: local_note(side.file.design) for which, side in (("base", base), ("head", head))}
    yield from (f"the {which}'s {note}" for which, note in local.items() if note)
    for which, side in (("base", base), ("head", head)):
        if side.estimate.total.over_capacity:
            yield f"the {which} is over capacity: {side.estimate.total.over_capacity}"
        if side.measured_note:
            yield f"the {which}'s quality is unknown: {side.measured_note}"
    moved = head.estimate.total.p95_error_s
    change = _total("total_p95_s", base, head)
    if moved and change.change and abs(change.change) <= moved:
        yield "the 95th percentile moved by less than its sampling error: draw more to tell"
