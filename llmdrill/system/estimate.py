"""What a design does at its scenario's load: latency percentiles, cost, memory, success, and where the time goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from llmdrill.system.draw import Drawing, StageDraw, draw, explain_tries
from llmdrill.system.flow import Shares, shares_of, totals
from llmdrill.system.graph import plan_of
from llmdrill.system.kinds.base import Basis, Corpus, Cost, of_kind, stage_rng, weakest
from llmdrill.system.kinds.model_call import ModelCall
from llmdrill.system.kinds.passages import NO_CHUNKING, passages_before
from llmdrill.system.path import PathStep, bottleneck_of, critical_path

if TYPE_CHECKING:
    import datetime as dt

    import numpy.typing as npt

    from llmdrill.estimate.explain import Explained
    from llmdrill.system.design import Design
    from llmdrill.system.kinds.base import Array, StageBase
    from llmdrill.system.kinds.serving_band import BandEnd
    from llmdrill.system.scenario import Scenario

DRAWS: Final = 20_000
Z975: Final = 1.959963984540054  # 97.5th percentile of the standard normal distribution


@dataclass(frozen=True, slots=True)
class StageEstimate:
    """One stage. Latency is over the requests that run it; a figure that is not known is None, and a note says why.

    Attributes:
        usd_per_request: Expected cost of this stage for one request that arrives, whether it gets here or not.
        share_of_requests: Share of all that arrives which runs it.
        over_capacity: Why there is no latency: more arrives than can be served.
    """

    name: str
    kind: str
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None
    ttft_p50_s: float | None
    ttft_p95_s: float | None
    tpot_p50_s: float | None
    tpot_p95_s: float | None
    usd_per_request: float | None
    memory_bytes: float | None
    share_of_requests: float
    basis: Basis
    on_request_path: bool
    explained: tuple[Explained, ...] = ()
    over_capacity: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TotalEstimate:
    """The whole system. Latency is over the requests that end with an answer.

    Attributes:
        p50_error_s: Half the width of the 95 % interval of p50_s that comes from drawing; likewise the others.
        success_share: Share of requests that end with an answer.
        human_share: Share of what arrives that a person looks at.
        over_capacity: Why there is no latency.
    """

    p50_s: float | None
    p95_s: float | None
    p99_s: float | None
    ttft_p50_s: float | None
    ttft_p95_s: float | None
    p50_error_s: float | None
    p95_error_s: float | None
    p99_error_s: float | None
    ttft_p95_error_s: float | None
    usd_per_request: float | None
    usd_per_month: float | None
    memory_bytes: float | None
    share_of_requests: float
    success_share: float
    human_share: float
    basis: Basis
    over_capacity: str | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """A design's estimate.

    Attributes:
        critical_path: Stages of the longest path of median requests, with start and end: a waterfall.
        bottleneck: The stage that takes most of the time on the longest path of requests near the 95th percentile.
        bottleneck_share: Its share of that time.
        notes: Assumptions, bands, and why a figure is missing.
    """

    stages: tuple[StageEstimate, ...]
    total: TotalEstimate
    critical_path: tuple[PathStep, ...]
    bottleneck: str | None
    bottleneck_share: float | None
    seed: int
    draws: int
    notes: tuple[str, ...]

    def stage(self, name: str) -> StageEstimate | None:
        """Return the stage of that name, or None."""
        return next((stage for stage in self.stages if stage.name == name), None)


def estimate_design(
    design: Design,
    scenario: Scenario,
    *,
    seed: int = 0,
    draws: int = DRAWS,
    date: dt.date | None = None,
    corpus_tokens: float | None = None,
    documents: float | None = None,
    chunks: float | None = None,
    band_end: BandEnd | None = None,
) -> Estimate:
    """Return the estimate of a design at its scenario's load. Equal arguments give equal estimates.

    Raises:
        UnknownNameError: If a self-hosted model or its accelerator is not in the catalogue.
    """
    stages = design.stages
    index = of_kind(stages, "index")
    if documents is None and index is not None:
        documents = index.documents
    said = scenario.evaluation.settings
    corpus = Corpus(
        corpus_tokens if corpus_tokens is not None else _number(said.get("corpus_tokens")),
        documents if documents is not None else _number(said.get("documents")),
        chunks if chunks is not None else _number(said.get("chunks")),
    )
    plan = plan_of(stages)
    drawing = draw(plan, stages, scenario.workload, corpus=corpus, seed=seed, n=draws, date=date, band_end=band_end)
    dead = {name: one.tries.dead_share for name, one in drawing.online.items()}
    shares = shares_of(plan, stages, dead) or _drawn_shares(drawing)
    each = tuple(_stage_estimate(name, drawing, shares) for name in stages)
    total, answered = _total(drawing, shares, each), _answered(drawing)
    measurable = total.p50_s is not None
    path = critical_path(drawing, answered) if measurable else ()
    most, share = bottleneck_of(drawing, answered) if measurable else (_jammed(each), None)
    notes = [f"{one.name}: {note}" for one in each for note in _all_notes(one)]
    notes += _total_notes(drawing, shares, int(answered.sum()))
    return Estimate(each, total, path, most, share, seed, draws, tuple(dict.fromkeys(notes)))


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _all_notes(one: StageEstimate) -> tuple[str, ...]:
    return (*((f"over capacity: {one.over_capacity}",) if one.over_capacity else ()), *one.notes)


def _jammed(each: tuple[StageEstimate, ...]) -> str | None:
    return next((one.name for one in each if one.over_capacity), None)


def _drawn_shares(drawing: Drawing) -> Shares:
    """Return the shares of the drawn requests: where there are too many combinations to go through."""
    seen = {name: one.visit for name, one in drawing.online.items()}
    return totals(drawing.plan, drawing.stages, seen, np.full(drawing.n, 1.0 / drawing.n))


def _stage_estimate(name: str, drawing: Drawing, shares: Shares) -> StageEstimate:
    stage = drawing.stages[name]
    drawn = drawing.online.get(name) or drawing.standby.get(name)
    share = _run_share(name, drawing, shares)
    at = drawn.at if drawn else drawing.situation(name, 0.0)
    cost, memory = stage.cost(at), stage.memory(at)
    over = drawn.over_capacity if drawn and share > 0 else None
    times = _times(name, drawn, drawing) if drawn and share > 0 and over is None else _NO_TIMES
    latency = (*drawn.latency.shown, *explain_tries(stage, drawn.tries)) if drawn else ()
    return StageEstimate(
        name=name,
        kind=stage.kind,
        p50_s=times.spent[0],
        p95_s=times.spent[1],
        p99_s=times.spent[2],
        ttft_p50_s=times.ttft[0],
        ttft_p95_s=times.ttft[1],
        tpot_p50_s=times.tpot[0],
        tpot_p95_s=times.tpot[1],
        usd_per_request=_usd_per_request(stage, cost, share, drawn, drawing),
        memory_bytes=memory.held_bytes,
        share_of_requests=share,
        basis=drawn.latency.basis if drawn else "formula",
        on_request_path=name in drawing.plan.online and name not in drawing.plan.detached,
        explained=(*latency, *cost.shown, *memory.shown),
        over_capacity=over,
        notes=(*_latency_notes(stage, drawn), *cost.notes, *memory.notes, *_offline_notes(stage, cost)),
    )


def _run_share(name: str, drawing: Drawing, shares: Shares) -> float:
    """Return the exact share that runs a stage; a stand-by runs where what it stands in for failed."""
    if name in drawing.plan.standby:
        return sum(
            _run_share(other, drawing, shares) * _failed_share(other, drawing)
            for other, stage in drawing.stages.items()
            if stage.fallback == name and other != name
        )
    return shares.ran.get(name, 0.0)


def _failed_share(name: str, drawing: Drawing) -> float:
    drawn = drawing.online.get(name) or drawing.standby.get(name)
    return drawn.tries.failed_share if drawn else 0.0


def _latency_notes(stage: StageBase, drawn: StageDraw | None) -> tuple[str, ...]:
    if drawn is None:
        return ()
    if not isinstance(stage, ModelCall) or of_kind(drawn.at.stages, "chunking") or not passages_before(drawn.at):
        return drawn.latency.notes
    return (*drawn.latency.notes, NO_CHUNKING)


def _offline_notes(stage: StageBase, cost: Cost) -> tuple[str, ...]:
    uncounted = stage.offline and cost.run_usd != 0.0
    return ("runs offline, how often is not stated: the cost of its runs is not counted",) if uncounted else ()


def _usd_per_request(
    stage: StageBase, cost: Cost, share: float, drawn: StageDraw | None, drawing: Drawing
) -> float | None:
    if cost.month_usd is None or (cost.run_usd is None and share > 0):
        return None
    tries = drawn.tries.mean_tries if drawn else 0.0
    run = cost.run_usd or 0.0
    capped = run if stage.usd_cap_per_request is None else min(run, stage.usd_cap_per_request)
    return share * tries * capped + cost.month_usd / drawing.workload.requests_per_month


@dataclass(frozen=True, slots=True)
class _Times:
    """Quantiles of one stage: time spent at 50, 95 and 99 %, TTFT and TPOT at 50 and 95 %."""

    spent: tuple[float | None, ...]
    ttft: tuple[float | None, ...] = (None, None)
    tpot: tuple[float | None, ...] = (None, None)


_NO_TIMES: Final = _Times((None, None, None))


def _times(name: str, drawn: StageDraw, drawing: Drawing) -> _Times:
    ran, first = drawn.visit.ran, drawn.tries.first_s
    tpot = drawn.latency.tpot
    return _Times(
        _quantiles(drawn.tries.spent_s[ran], (0.5, 0.95, 0.99)),
        (None, None) if first is None else _quantiles(first[ran], (0.5, 0.95)),
        (None, None)
        if tpot is None
        else _quantiles(tpot(stage_rng(drawing.seed, name, "tpot"), drawing.n), (0.5, 0.95)),
    )


def _quantiles(values: Array, at: tuple[float, ...]) -> tuple[float | None, ...]:
    if len(values) == 0:
        return (None,) * len(at)
    return tuple(float(quantile) for quantile in np.interp(at, np.linspace(0.0, 1.0, len(values)), np.sort(values)))


def _answered(drawing: Drawing) -> npt.NDArray[np.bool_]:
    lost = np.zeros(drawing.n, dtype=bool)
    for name, one in drawing.online.items():
        lost |= one.visit.dropped
        if name not in drawing.plan.detached:
            lost |= one.visit.dead
    return ~lost


def _total(drawing: Drawing, shares: Shares, each: tuple[StageEstimate, ...]) -> TotalEstimate:
    answered = _answered(drawing)
    done, first = (np.sort(clock[answered]) for clock in _clock(drawing))
    over = _over_capacity(each)
    known = over is None and len(done) > 0
    p50, p95, p99 = _quantiles(done, (0.5, 0.95, 0.99)) if known else (None,) * 3
    ttft_p50, ttft_p95 = _quantiles(first, (0.5, 0.95)) if known else (None,) * 2
    usd = _sum([one.usd_per_request for one in each])
    requests = 1.0 - shares.dropped
    return TotalEstimate(
        p50_s=p50,
        p95_s=p95,
        p99_s=p99,
        ttft_p50_s=ttft_p50,
        ttft_p95_s=ttft_p95,
        p50_error_s=_error(done, 0.5) if known else None,
        p95_error_s=_error(done, 0.95) if known else None,
        p99_error_s=_error(done, 0.99) if known else None,
        ttft_p95_error_s=_error(first, 0.95) if known else None,
        usd_per_request=usd,
        usd_per_month=None if usd is None else usd * drawing.workload.requests_per_month,
        memory_bytes=_sum([one.memory_bytes for one in each]),
        share_of_requests=1.0,
        success_share=min(1.0, shares.answered / requests) if requests > 0 else 0.0,
        human_share=shares.person,
        basis=weakest(one.basis for one in each if one.on_request_path and one.share_of_requests > 0),
        over_capacity=over,
    )


def _over_capacity(each: tuple[StageEstimate, ...]) -> str | None:
    jammed = sorted((one for one in each if one.over_capacity), key=lambda one: not one.on_request_path)
    return f"{jammed[0].name}: {jammed[0].over_capacity}" if jammed else None


def _total_notes(drawing: Drawing, shares: Shares, answers: int) -> tuple[str, ...]:
    notes = [f"{name}: {drawing.stages[name].sentence}" for name in drawing.plan.online if _drops(drawing.stages[name])]
    if answers == 0:
        notes.append("no drawn request ends with an answer: there is no latency to state")
    elif shares.answered < 1.0 - shares.dropped:
        notes.append("latency is over the requests that end with an answer")
    return tuple(notes)


def _drops(stage: StageBase) -> bool:
    return any(way.kind == "dropped" for way in stage.exits())


def _clock(drawing: Drawing) -> tuple[Array, Array]:
    """Return when each request is done and when its first token can be shown, (n,) both.

    A request is done when every stage is that it meets and waits for. Its first token shows when a language model
    streams it that nothing on the request's path waits for: a later stage's end would be the later of the two.
    """
    done, first = np.zeros(drawing.n), np.zeros(drawing.n)
    for name, one in drawing.online.items():
        if name in drawing.plan.detached:
            continue
        done = np.maximum(done, one.end_s)
        shown, stage = one.end_s, drawing.stages[name]
        if one.tries.first_s is not None and getattr(stage, "streams", False):
            shown = np.where(one.visit.ran, one.start_s + one.tries.first_s, one.end_s)
        first = np.maximum(first, shown)
    return done, first


def _error(ordered: Array, quantile: float) -> float:
    """Return half the width of the 95 % interval of a quantile: the order statistics its rank's spread reaches."""
    n = len(ordered)
    spread = Z975 * float(np.sqrt(n * quantile * (1.0 - quantile)))
    low, high = max(0, int(n * quantile - spread)), min(n - 1, int(np.ceil(n * quantile + spread)))
    return float(ordered[high] - ordered[low]) / 2.0


def _sum(parts: list[float | None]) -> float | None:
    """Return the sum; None if a part is not known."""
    return None if any(part is None for part in parts) else float(sum(part or 0.0 for part in parts))
