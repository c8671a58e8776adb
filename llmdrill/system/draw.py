"""Draw n requests through a design at once: who reaches what, when, and for how long."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from llmdrill.system.flow import Fate, Visit, visit
from llmdrill.system.kinds.base import (
    Array,
    Corpus,
    Latency,
    Situation,
    Timing,
    draw_lognormal,
    explain,
    spread,
    stage_rng,
)

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    import numpy.typing as npt

    from llmdrill.estimate.explain import Explained
    from llmdrill.system.flow import Mask
    from llmdrill.system.graph import Plan
    from llmdrill.system.kinds.base import StageBase
    from llmdrill.system.kinds.serving_band import BandEnd
    from llmdrill.system.scenario import Workload


@dataclass(frozen=True, slots=True)
class Tries:
    """What running one stage takes for n requests, its retries and stand-bys included, (n,).

    Attributes:
        spent_s: From its start to its end, failed tries and waits between them included.
        first_s: From its start to the first token, if it streams.
        failed: Those whose last try failed.
        dead: Those that nothing rescued: no fallback, or it failed too.
        mean_tries: Expected tries of one run.
        failed_share: Probability that a run's last try fails; exact without a timeout.
        dead_share: Probability that nothing rescues a run.
    """

    spent_s: Array
    first_s: Array | None
    failed: Mask
    dead: Mask
    mean_tries: float
    failed_share: float
    dead_share: float


@dataclass(frozen=True, slots=True)
class StageDraw:
    """One stage of the drawing: its situation, latency model, tries, visit and clock (seconds since the request)."""

    at: Situation
    latency: Latency
    tries: Tries
    visit: Visit
    start_s: Array
    end_s: Array
    over_capacity: str | None


@dataclass(slots=True)
class Drawing:
    """n requests drawn through a design; stand-bys are in ``standby`` with the share of requests that need them.

    ``band_end``: at which end of its 80 % band every self-hosted model's prediction is taken; None: the prediction.
    """

    plan: Plan
    stages: Mapping[str, StageBase]
    workload: Workload
    corpus: Corpus
    seed: int
    n: int
    date: dt.date | None
    input_tokens: Array
    output_tokens: Array
    online: dict[str, StageDraw] = field(default_factory=dict)
    standby: dict[str, StageDraw] = field(default_factory=dict)
    band_end: BandEnd | None = None

    def situation(self, name: str, reach_share: float) -> Situation:
        """Return what the stage sees."""
        before = tuple(self.plan.before(name))
        return Situation(
            name,
            self.stages,
            before,
            self.plan.after,
            self.workload,
            self.input_tokens,
            self.output_tokens,
            reach_share,
            self.corpus,
            self.date,
        )


def draw(
    plan: Plan,
    stages: Mapping[str, StageBase],
    workload: Workload,
    *,
    corpus: Corpus,
    seed: int,
    n: int,
    date: dt.date | None,
    band_end: BandEnd | None = None,
) -> Drawing:
    """Return n requests drawn through the design. Equal arguments give equal draws."""
    tokens = stage_rng(seed, "tokens")
    sent, written = workload.input_tokens, workload.output_tokens
    drawing = Drawing(
        plan,
        stages,
        workload,
        corpus,
        seed,
        n,
        date,
        draw_lognormal(tokens, n, p50=sent.p50, p95=sent.p95),
        draw_lognormal(tokens, n, p50=written.p50, p95=written.p95),
        band_end=band_end,
    )
    for name in plan.online:
        drawing.online[name] = _draw_stage(name, drawing)
    return drawing


def _draw_stage(name: str, drawing: Drawing) -> StageDraw:
    stage, n = drawing.stages[name], drawing.n
    bypass, taken = _decisions(name, drawing)
    seen = {before: drawing.online[before].visit for before in drawing.plan.after[name]}
    alive = Fate(bypass, np.zeros(n, dtype=bool), taken)
    ran = visit(name, drawing.plan, drawing.stages, alive, seen).ran
    at = drawing.situation(name, float(ran.mean()))
    latency = latency_of(stage, at, drawing.band_end)
    tries = _tries(name, drawing, at, latency)
    came = visit(name, drawing.plan, drawing.stages, Fate(bypass, tries.dead, taken), seen)
    start = np.zeros(n)
    for before in drawing.plan.after[name]:
        start = np.maximum(start, drawing.online[before].end_s)
    start = np.where(came.reached, start, 0.0)
    end = np.where(came.ran, start + tries.spent_s, start)
    return StageDraw(at, latency, tries, came, start, end, _over_capacity(stage, at, latency))


def _decisions(name: str, drawing: Drawing) -> tuple[Mask, npt.NDArray[np.intp]]:
    """Draw who skips a stage and which exit the others take; a stage that decides nothing draws nothing."""
    stage, n = drawing.stages[name], drawing.n
    bypass, taken = np.zeros(n, dtype=bool), np.zeros(n, dtype=np.intp)
    ways = stage.exits()
    if stage.probability == 1 and len(ways) == 1:
        return bypass, taken
    rng = stage_rng(drawing.seed, name, "decisions")
    bypass = rng.random(n) >= stage.probability
    if len(ways) > 1:
        taken = np.searchsorted(np.cumsum([way.share for way in ways])[:-1], rng.random(n), side="right")
    return bypass, taken


def latency_of(stage: StageBase, at: Situation, band_end: BandEnd | None = None) -> Latency:
    """Return the stage's latency model: the person's own figures before the kind's."""
    if stage.latency_p50 is None or stage.latency_p95 is None:
        latency = stage.latency(at)
        if band_end is None:
            return latency
        from llmdrill.system.kinds.serving_band import at_band_end

        return at_band_end(stage, latency, band_end)
    return spread(p50_s=stage.latency_p50, p95_s=stage.latency_p95, basis="yours")


def _over_capacity(stage: StageBase, at: Situation, latency: Latency) -> str | None:
    limit = stage.rate_limit_per_s
    if limit is not None and at.peak_per_s > limit:
        return f"{at.peak_per_s:.3g} requests/s in the busy hour are over the rate limit of {limit:g}/s"
    return latency.over_capacity


def _tries(name: str, drawing: Drawing, at: Situation, latency: Latency) -> Tries:
    """Return what all tries take: after each failed one comes a wait, twice as long each time."""
    stage, n = drawing.stages[name], drawing.n
    rng = stage_rng(drawing.seed, name, "latency")
    once = latency.sample(rng, n)
    if stage.timeout is None and stage.failure_share == 0:
        never = np.zeros(n, dtype=bool)
        return Tries(once.total_s, once.first_s, never, never, 1.0, 0.0, 0.0)
    spent, first, failed, mean_tries = _repeat(stage, latency, once, rng, n)
    failed_share = float(failed.mean()) if stage.timeout is not None else stage.failure_share ** (stage.retries + 1)
    if stage.timeout is None:
        mean_tries = sum(stage.failure_share**attempt for attempt in range(stage.retries + 1))
    tries = Tries(spent, first, failed, failed, mean_tries, failed_share, failed_share)
    return _rescued(name, drawing, at, tries)


def _repeat(
    stage: StageBase, latency: Latency, once: Timing, rng: np.random.Generator, n: int
) -> tuple[Array, Array | None, Mask, float]:
    spent, first, mean_tries = np.zeros(n), once.first_s, 0.0
    pending = np.ones(n, dtype=bool)
    limit = np.inf if stage.timeout is None else stage.timeout
    for attempt in range(stage.retries + 1):
        timing = once if attempt == 0 else latency.sample(rng, n)
        wait = stage.backoff * 2 ** (attempt - 1) if attempt else 0.0
        bad = (timing.total_s > limit) | (rng.random(n) < stage.failure_share)
        mean_tries += float(pending.mean())
        if first is not None and timing.first_s is not None:
            first = np.where(pending, spent + wait + np.minimum(timing.first_s, limit), first)
        spent = np.where(pending, spent + wait + np.minimum(timing.total_s, limit), spent)
        pending = pending & bad
    return spent, first, pending, mean_tries


def _rescued(name: str, drawing: Drawing, at: Situation, tries: Tries) -> Tries:
    """Let the fallback take over the failed runs: a stand-by runs now; a stage of the flow has run or will anyway."""
    fallback = drawing.stages[name].fallback
    if fallback is None or fallback == "apologise":
        return tries
    if fallback not in drawing.plan.standby:
        nobody = np.zeros(drawing.n, dtype=bool)
        return Tries(tries.spent_s, tries.first_s, tries.failed, nobody, tries.mean_tries, tries.failed_share, 0.0)
    other = _draw_standby(fallback, drawing, at.reach_share * tries.failed_share).tries
    first = tries.first_s
    if first is not None:
        more = other.spent_s if other.first_s is None else other.first_s
        first = np.where(tries.failed, tries.spent_s + more, first)
    return Tries(
        np.where(tries.failed, tries.spent_s + other.spent_s, tries.spent_s),
        first,
        tries.failed,
        tries.failed & other.dead,
        tries.mean_tries,
        tries.failed_share,
        tries.failed_share * other.dead_share,
    )


def _draw_standby(name: str, drawing: Drawing, share: float) -> StageDraw:
    """Draw a stand-by and keep it; one that several stages fall back on is drawn for the sum of their shares."""
    earlier = drawing.standby.get(name)
    at = drawing.situation(name, share + (earlier.at.reach_share if earlier else 0.0))
    latency = latency_of(drawing.stages[name], at, drawing.band_end)
    tries = _tries(name, drawing, at, latency)
    nobody, everyone = np.zeros(drawing.n, dtype=bool), np.ones(drawing.n, dtype=bool)
    runs = Visit(everyone, everyone, tries.dead, nobody, nobody, np.zeros(drawing.n, dtype=np.intp))
    over = _over_capacity(drawing.stages[name], at, latency)
    zero = np.zeros(drawing.n)
    drawing.standby[name] = StageDraw(at, latency, tries, runs, zero, tries.spent_s, over)
    return drawing.standby[name]


def explain_tries(stage: StageBase, tries: Tries) -> tuple[Explained, ...]:
    """Return the expected tries of a stage that can fail, with the formula."""
    if tries.mean_tries == 1.0:
        return ()
    formula = "1 + f + f² + … over the retries, f = probability that a try fails"
    filled = f"f = {stage.failure_share:g}, retries = {stage.retries}, timeout = {stage.timeout or 'none'}"
    return (explain("tries_per_run", tries.mean_tries, "count", formula, filled, "every try is billed"),)
