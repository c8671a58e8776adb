"""The shape of a design: which stages a request meets, in what order, and what stands by."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Final

from llmdrill.errors import did_you_mean, nearest_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from llmdrill.errors import Mistake
    from llmdrill.located import Located
    from llmdrill.system.kinds.base import StageBase

GIVE_UP: Final = frozenset({"skip", "apologise"})  # fallbacks that are no stage


@dataclass(frozen=True, slots=True)
class Plan:
    """The order of a design.

    Attributes:
        online: Stages a request can meet, each after all it waits for; stand-bys are not among them.
        standby: Stages that run only as the fallback of another: nothing waits for them.
        offline: Stages that run without a request.
        after: Stage → the online stages it waits for.
        detached: Stages the answer does not wait for: asynchronous, or behind an asynchronous stage.
    """

    online: tuple[str, ...]
    standby: tuple[str, ...]
    offline: tuple[str, ...]
    after: Mapping[str, tuple[str, ...]]
    detached: frozenset[str]

    def before(self, name: str) -> Iterator[str]:
        """Yield every online stage before ``name``, nearest first."""
        seen = {name}
        waiting = deque(self.after.get(name, ()))
        while waiting:
            current = waiting.popleft()
            if current not in seen:
                seen.add(current)
                yield current
                waiting.extend(self.after[current])


def plan_of(stages: Mapping[str, StageBase]) -> Plan:
    """Return the order in which the stages of a sound design run; equal designs give equal plans."""
    offline = tuple(name for name, stage in stages.items() if stage.offline)
    waited_for = {before for stage in stages.values() for before in stage.after}
    fallbacks = {stage.fallback for stage in stages.values() if stage.fallback and not stage.offline}
    standby = tuple(n for n in stages if n in fallbacks and n not in waited_for and n not in offline)
    online = [name for name in stages if name not in offline and name not in standby]
    after = {name: tuple(b for b in stages[name].after if b in online) for name in (*online, *standby)}
    order = tuple(TopologicalSorter({name: after[name] for name in online}).static_order())
    detached: set[str] = set()
    for name in order:
        if stages[name].asynchronous or any(before in detached for before in after[name]):
            detached.add(name)
    return Plan(order, standby, offline, _standing_in(stages, after, standby), frozenset(detached))


def _standing_in(
    stages: Mapping[str, StageBase], after: dict[str, tuple[str, ...]], standby: tuple[str, ...]
) -> dict[str, tuple[str, ...]]:
    """Let a stand-by see what the stage it stands in for sees: the same passages, the same caches."""
    inherited = dict(after)
    for _ in standby:  # a stand-by of a stand-by inherits in the next round
        for name, stage in stages.items():
            if stage.fallback in standby and not inherited[stage.fallback]:
                inherited[stage.fallback] = inherited.get(name, ())
    return inherited


def graph_mistakes(stages: Mapping[str, StageBase], located: Located) -> list[Mistake]:
    """Return what keeps the stages from being a graph that a request can run through."""
    mistakes = [*_unknown_names(stages, located), *_cycles(stages, located)]
    if not mistakes and all(stage.offline for stage in stages.values()):
        mistakes.append(located.mistake(("stages",), "no stage is online: nothing would answer a request"))
    return mistakes


def _unknown_names(stages: Mapping[str, StageBase], located: Located) -> Iterator[Mistake]:
    for name, stage in stages.items():
        for index, before in enumerate(stage.after):
            if before not in stages:
                yield located.mistake(("stages", name, "after", index), _no_such(before, stages))
        for way in stage.exits():
            if way.route in stages and name not in _all_before(way.route, stages):
                what = f"'{way.route}' is a route of '{name}' but does not wait for it: add it to its `after`"
                yield located.mistake(("stages", way.route), what)
        if stage.fallback is not None and stage.fallback not in {*stages, *GIVE_UP}:
            what = _no_such(stage.fallback, (*stages, *GIVE_UP))
            yield located.mistake(("stages", name, "fallback"), what)


def _all_before(name: str, stages: Mapping[str, StageBase]) -> set[str]:
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        fresh = [before for before in stages[waiting.pop()].after if before in stages and before not in seen]
        seen.update(fresh)
        waiting.extend(fresh)
    return seen


def _no_such(name: str, known: Mapping[str, StageBase] | tuple[str, ...]) -> str:
    hint = did_you_mean(nearest_names(name, known)) or f" (stages: {', '.join(known)})"
    return f"there is no stage '{name}'{hint}"


def _cycles(stages: Mapping[str, StageBase], located: Located) -> Iterator[Mistake]:
    waits = {name: [before for before in stage.after if before in stages] for name, stage in stages.items()}
    falls = {name: [stage.fallback] if stage.fallback in stages else [] for name, stage in stages.items()}
    for key, edges, what in (("after", waits, "waits for itself"), ("fallback", falls, "falls back on itself")):
        try:
            TopologicalSorter(edges).prepare()
        except CycleError as error:
            ring = list(reversed(error.args[1]))
            start = min(ring, key=list(stages).index)
            turned = ring[ring.index(start) : -1] + ring[: ring.index(start)] + [start]
            yield located.mistake(("stages", start, key), f"'{start}' {what}: {' -> '.join(turned)}")
