"""Where requests go: which stages each one reaches, given what happens at every stage."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmdrill.system.graph import Plan
    from llmdrill.system.kinds.base import StageBase

Mask = npt.NDArray[np.bool_]
MOST_CASES: Final = 65_536


@dataclass(frozen=True, slots=True)
class Fate:
    """What happens at one stage if a request gets there, for m requests: skipped, died there, which exit, (m,)."""

    bypass: Mask
    dead: Mask
    exit: npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Visit:
    """What became of m requests at one stage, (m,).

    Attributes:
        reached: Those that came here.
        ran: Those that ran it.
        dead: Those that failed here for good.
        dropped: Those that turned out to be no requests here.
        stopped: Those that do not go on from here, or never came because they stopped before.
        exit: Index of the exit taken.
    """

    reached: Mask
    ran: Mask
    dead: Mask
    dropped: Mask
    stopped: Mask
    exit: npt.NDArray[np.intp]


def visit(name: str, plan: Plan, stages: Mapping[str, StageBase], fate: Fate, seen: Mapping[str, Visit]) -> Visit:
    """Return what becomes of the requests at ``name``, once all stages before it have been visited.

    A request gets here if nothing before it stopped it and at least one way leads here.
    """
    before = plan.after[name]
    reached = np.zeros_like(fate.bypass) if before else np.ones_like(fate.bypass)
    stopped = np.zeros_like(fate.bypass)
    for other in before:
        stopped |= seen[other].stopped
        reached |= seen[other].reached & _leads_to(name, stages[other], seen[other])
    reached &= ~stopped
    ran = reached & ~fate.bypass
    kinds = [way.kind for way in stages[name].exits()]
    answered, dropped = (ran & ~fate.dead & _took(fate.exit, kinds, kind) for kind in ("answered", "dropped"))
    dead = ran & fate.dead
    return Visit(reached, ran, dead, dropped, stopped | answered | dropped | dead, fate.exit)


def _took(taken: npt.NDArray[np.intp], kinds: Sequence[str], kind: str) -> Mask:
    """Tell which requests took an exit of this kind."""
    took = np.zeros(len(taken), dtype=bool)
    for index, has in enumerate(kinds):
        if has == kind:
            took |= taken == index
    return took


def _leads_to(name: str, other: StageBase, at_other: Visit) -> Mask:
    """Tell where the exit taken at ``other`` leads to ``name``: everywhere, unless ``name`` is one of its routes."""
    mine = [index for index, way in enumerate(other.exits()) if way.kind == "route" and way.route == name]
    if not mine:
        return np.ones_like(at_other.reached)
    return np.isin(at_other.exit, mine)


@dataclass(frozen=True, slots=True)
class Shares:
    """Exact shares of all that arrives, under independent decisions.

    Attributes:
        ran: Stage → share that runs it (stand-bys are not in it).
        dropped: Share that was no request after all.
        answered: Share that ends with an answer.
        person: Share that a person looks at.
    """

    ran: Mapping[str, float]
    dropped: float
    answered: float
    person: float


def shares_of(plan: Plan, stages: Mapping[str, StageBase], dead_share: Mapping[str, float]) -> Shares | None:
    """Return exact shares by going through every combination of decisions; None if there are too many."""
    cases = {name: _cases(stages[name], dead_share[name]) for name in plan.online}
    if math.prod(len(ways) for ways in cases.values()) > MOST_CASES:
        return None
    indexes = np.array(list(itertools.product(*(range(len(cases[name])) for name in plan.online))), dtype=np.intp)
    weight = np.ones(len(indexes))
    seen: dict[str, Visit] = {}
    for column, name in enumerate(plan.online):
        table = np.array(cases[name], dtype=np.float64)[indexes[:, column]]  # (m, 4)
        weight *= table[:, 3]
        fate = Fate(table[:, 0] > 0, table[:, 1] > 0, table[:, 2].astype(np.intp))
        seen[name] = visit(name, plan, stages, fate, seen)
    return totals(plan, stages, seen, weight)


def totals(
    plan: Plan, stages: Mapping[str, StageBase], seen: Mapping[str, Visit], weight: npt.NDArray[np.float64]
) -> Shares:
    """Return the shares of weighted cases (m,); the weights add up to one."""
    dropped, dead, person = (np.zeros(len(weight), dtype=bool) for _ in range(3))
    for name, at in seen.items():
        dropped |= at.dropped
        if name not in plan.detached:
            dead |= at.dead
        if stages[name].person:
            person |= at.ran
    ran = {name: _share(weight, at.ran) for name, at in seen.items()}
    return Shares(ran, _share(weight, dropped), _share(weight, ~dropped & ~dead), _share(weight, person))


def _share(weight: npt.NDArray[np.float64], mask: Mask) -> float:
    """Return the weight of a mask: 1 for all, whatever the order of the sum."""
    return 1.0 if mask.all() else min(1.0, math.fsum(weight[mask]))


def _cases(stage: StageBase, dead_share: float) -> list[tuple[float, float, float, float]]:
    """Return the ways a stage can go: (bypass, dead, exit, probability), those of probability 0 left out."""
    run = stage.probability
    cases = [(1.0, 0.0, 0.0, 1.0 - run), (0.0, 1.0, 0.0, run * dead_share)]
    cases += [(0.0, 0.0, float(index), run * (1.0 - dead_share) * way.share) for index, way in enumerate(stage.exits())]
    return [case for case in cases if case[3] > 0]
