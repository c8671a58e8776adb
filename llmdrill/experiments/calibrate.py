"""`llmdrill lab calibrate`: time probes on this machine, solve its constants, and predict shapes that were not run."""

from __future__ import annotations

import datetime as dt
import textwrap
import time
from dataclasses import dataclass, replace
from statistics import fmean, median
from typing import TYPE_CHECKING, Final

from llmdrill.catalog.load import LOCAL
from llmdrill.catalog.local import EngineCosts, MachineProfile, Tier, keep_profile, stored_profile
from llmdrill.estimate.local_fit import TimedPass, band_of, fit_costs, left_out_ratios
from llmdrill.estimate.local_serving import LocalPass, pass_s
from llmdrill.experiments.calibrate_shown import held_out_table, meaning_of, pictures_of, profile_tables
from llmdrill.experiments.record import record_of
from llmdrill.experiments.result import Experiment, Finding, Protocol
from llmdrill.measurement import RANDOM_WEIGHTS_NOTE
from llmdrill.units import format_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmdrill.catalog.serving_constants import Band
    from llmdrill.estimate.explain import Explained
    from llmdrill.lab.calibrate import Bandwidth, Calibration, HeldOut
    from llmdrill.measurement import Machine

PROMPT_ROWS: Final = 16  # shorter prefills are rows of the cost curve, but no prompts whose TTFT anybody asks for
SPREAD_NOTE: Final = (
    "between the quartiles of one and the same time over the rounds, of its median; median of all times"
)
INTERVAL_SHARE: Final = 0.8
QUICK_ROUNDS: Final = 2
QUICK_HELD_OUT: Final = 4


@dataclass(frozen=True, slots=True)
class Confronted:
    """One quantity of a held-out request: predicted, with its interval, and measured."""

    asked: HeldOut
    quantity: str
    predicted: Explained
    low_s: float
    high_s: float
    measured_s: float

    @property
    def error(self) -> float:
        """Return (predicted - measured) / measured."""
        return self.predicted.value / self.measured_s - 1.0

    @property
    def covered(self) -> bool:
        """Whether the interval holds what was measured."""
        return self.low_s <= self.measured_s <= self.high_s


@dataclass(frozen=True, slots=True)
class CalibrateOptions:
    """What to run.

    Attributes:
        rounds: Readings of every probe and every request.
        again: Measure no probes: hold the stored profile against the same requests.
        quick: Fewer rounds and requests; such a profile is not kept.
    """

    rounds: int = 4
    again: bool = False
    quick: bool = False


def measure_calibrate(
    options: CalibrateOptions,
    *,
    seed: int = 0,
    say: Callable[[str], None] = lambda _: None,
    now: Callable[[], float] = time.perf_counter,
    today: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
) -> Experiment:
    """Calibrate this machine, keep its profile as accelerator ``local``, and confront it with shapes it has not seen.

    Raises:
        UsageError: If the stored profile is asked for and there is none.
        StoreError: If the profile cannot be kept.

    Error:
        Of the predictions: ``mape`` and ``median_ape`` of what it returns; on another day the machine may be faster or
        slower as a whole, which ``--again`` shows.
    Source:
        As ``pass_terms``, ``fit_costs`` and ``band_of`` say.
    """
    from llmdrill.lab import calibrate_shapes as shapes
    from llmdrill.lab.calibrate import calibrate
    from llmdrill.lab.machine import this_machine
    from llmdrill.lab.native.binding import native_status

    started, machine, status = now(), this_machine(), native_status()
    profile = stored_profile() if options.again else None
    native, rounds = status.library is not None, QUICK_ROUNDS if options.quick else options.rounds
    asked = shapes.held_out(native=native)[: QUICK_HELD_OUT if options.quick else None]
    timed = () if options.again else shapes.probes(native=native)
    run = calibrate(timed, asked, rounds=rounds, set_bytes=shapes.SET_BYTES, seed=seed, now=now, say=say)
    if profile is None:
        profile = profile_of(run, machine=machine, date=today().isoformat(timespec="seconds"), rounds=rounds)
        if not options.quick:
            keep_profile(profile)
    confronted, speed = confront(run, profile), speed_of(run, profile)
    return Experiment(
        name="calibrate",
        title="This machine as an accelerator, held against shapes that were not run",
        inputs={"profile": profile.label, "kept": not (options.quick or options.again), "engine": _engine(native)},
        findings=(
            *_error_findings(confronted, profile),
            Finding("round_spread_share", run.spread_share, n=rounds, note=SPREAD_NOTE),
            *(_again_findings(confronted, speed) if options.again else ()),
            *_machine_findings(run, rounds),
        ),
        tables=(held_out_table(confronted), *profile_tables(profile)),
        pictures=pictures_of(confronted, profile),
        meaning=meaning_of(confronted, spread=run.spread_share, speed=speed if options.again else None),
        machine=machine,
        protocol=Protocol(seed, 1, rounds, machine.threads, now() - started),
        notes=_notes(options, machine, profile, status.reason),
        lines=_lines(confronted),
    )


def profile_of(run: Calibration, *, machine: Machine, date: str, rounds: int) -> MachineProfile:
    """Return the profile that a calibration yields: bandwidths, constants by engine and precision, and bands."""
    tiers = _tiers(run.bandwidths)

    def profile(costs: tuple[EngineCosts, ...], bands: tuple[Band, ...]) -> MachineProfile:
        peaks = run.fp32_flops_per_s, run.bf16_flops_per_s
        return MachineProfile(date, machine, tiers, *peaks, costs, bands, rounds)

    bare = profile((), ())
    timed: dict[tuple[str, str], list[TimedPass]] = {}
    for reading in run.readings:
        probe = reading.probe
        one = LocalPass(reading.timed.kind, reading.timed.tokens, reading.timed.sequences)
        made = TimedPass(probe.name, record_of(probe.shape), one, probe.engine, probe.precision, reading.median_s)
        timed.setdefault((probe.engine, probe.precision), []).append(made)
    costs = tuple(fit_costs(group, bare) for group in timed.values())
    ratios = [pair for group in timed.values() for pair in left_out_ratios(group, bare)]
    tpot = band_of("tpot", [ratio for one, ratio in ratios if one.kind == "decode"])
    ttft = band_of("ttft", [ratio for one, ratio in ratios if one.kind == "prefill" and one.rows >= PROMPT_ROWS])
    return profile(costs, (tpot, ttft, _throughput(tpot)))


def _tiers(bandwidths: Sequence[Bandwidth]) -> tuple[Tier, ...]:
    """Return the bandwidths as tiers: a set is read at least as fast as every larger one, so noise is lifted."""
    tiers: list[Tier] = []
    for one in reversed(bandwidths):
        slower = tiers[-1] if tiers else Tier(0.0, 0.0, 0.0)
        lifted = max(one.bytes_per_s, slower.bytes_per_s), max(one.best_bytes_per_s, slower.best_bytes_per_s)
        tiers.append(Tier(float(one.set_bytes), *lifted))
    return tuple(reversed(tiers))


def _throughput(tpot: Band) -> Band:
    return replace(tpot, metric="throughput", low=1.0 / tpot.high, high=1.0 / tpot.low)


def confront(run: Calibration, profile: MachineProfile) -> tuple[Confronted, ...]:
    """Return TTFT and TPOT of every held-out request beside what the profile predicts."""
    found = []
    for one in run.answered:
        asked, model = one.asked, record_of(one.asked.shape, name=one.asked.name)
        halfway = asked.prompt_tokens + (asked.output_tokens - 2) / 2  # the context of the mean step
        passes = {
            "ttft": (LocalPass("prefill", asked.prompt_tokens, asked.sequences), one.ttft_s),
            "tpot": (LocalPass("decode", halfway, asked.sequences), one.tpot_s),
        }
        for quantity, (timed, seconds) in passes.items():
            costs = _costs(profile, asked, decodes=quantity == "tpot")
            predicted = pass_s(model, timed, costs=costs, profile=profile)
            band = next(band for band in profile.bands if band.metric == quantity)
            low_s, high_s = predicted.value * band.low, predicted.value * band.high
            found.append(Confronted(asked, quantity, predicted, low_s, high_s, median(seconds)))
    return tuple(found)


def _costs(profile: MachineProfile, asked: HeldOut, *, decodes: bool) -> EngineCosts:
    """Return the constants of the very engine that ran; a profile without it answers for its own."""
    costs = profile.engine_costs(asked.precision, decodes=decodes)
    own = [one for one in profile.costs if (one.engine, one.precision) == (asked.engine, asked.precision)]
    return own[0] if decodes and own else costs


def _error_findings(confronted: Sequence[Confronted], profile: MachineProfile) -> tuple[Finding, ...]:
    off = [abs(one.error) for one in confronted]
    covered = fmean(one.covered for one in confronted)
    bands = {band.metric: band for band in profile.bands}
    n, held = len(off), "of held-out shapes: |predicted - measured| / measured"
    return (
        Finding(
            "mape", fmean(off), n=n, low=min(off), high=max(off), note=f"mean {held}; low and high: best and worst"
        ),
        Finding("median_ape", median(off), n=n, note=f"median {held}"),
        Finding(
            "interval_coverage_share",
            covered,
            predicted=INTERVAL_SHARE,
            n=n,
            formula="what the intervals were made for: 80 % of probes left out of the fit lay within theirs",
            note="share of held-out times inside the 80 % interval of their prediction",
        ),
        *(_interval(bands[metric]) for metric in ("ttft", "tpot")),
    )


def _interval(band: Band) -> Finding:
    note = f"80 % of {band.rows} passes of probes left out of the fit lay within prediction / and × this"
    return Finding(f"{band.metric}_interval_ratio", band.high, n=band.rows, note=note)


def speed_of(run: Calibration, profile: MachineProfile) -> float:
    """Return how fast the machine is now, 1 being when it was calibrated: the median over bandwidths and both peaks."""
    now_and_then = [(one.bytes_per_s, profile.bandwidth_bytes_per_s(one.set_bytes)) for one in run.bandwidths]
    now_and_then.append((run.fp32_flops_per_s, profile.fp32_flops_per_s))
    now_and_then.append((run.bf16_flops_per_s, profile.bf16_flops_per_s))
    return median(now / then for now, then in now_and_then)


def _again_findings(confronted: Sequence[Confronted], speed: float) -> tuple[Finding, ...]:
    off = [abs(one.predicted.value / speed / one.measured_s - 1.0) for one in confronted]
    what = "bandwidth and matrix products now / when calibrated, median; nothing held out is in it"
    rescaled = "mape if every prediction is divided by speed_ratio; low and high: best and worst"
    return (
        Finding("speed_ratio", speed, predicted=1.0, n=1, formula="a machine that is as it was", note=what),
        Finding("rescaled_mape", fmean(off), n=len(off), low=min(off), high=max(off), note=rescaled),
    )


def _machine_findings(run: Calibration, rounds: int) -> tuple[Finding, ...]:
    return (
        Finding("memory_bandwidth_bytes_per_s", round(run.bandwidths[-1].bytes_per_s), n=rounds, note="read only"),
        Finding("fp32_flops_per_s", float(f"{run.fp32_flops_per_s:.3g}"), n=rounds, note="best of a matrix product"),
        Finding("bf16_flops_per_s", float(f"{run.bf16_flops_per_s:.3g}"), n=rounds, note="likewise"),
    )


def _lines(confronted: Sequence[Confronted]) -> tuple[str, ...]:
    """Show the sum behind both predictions of the first request."""
    first = [one for one in confronted if one.asked == confronted[0].asked]
    sums = [
        f"{one.quantity.upper()} = {one.predicted.filled}; measured {format_seconds(one.measured_s)}" for one in first
    ]
    wrapped = [line for text in sums for line in textwrap.wrap(text, 74, initial_indent="  ", subsequent_indent="    ")]
    return (f"{first[0].asked.name}, {first[0].asked.precision}, {first[0].asked.request} tokens:", *wrapped)


def _notes(options: CalibrateOptions, machine: Machine, profile: MachineProfile, reason: str | None) -> tuple[str, ...]:
    use = f"`--on {LOCAL}` and `on: {LOCAL}` in a design use this profile"
    notes = [RANDOM_WEIGHTS_NOTE, use if not options.quick else "--quick: the profile is not kept"]
    if machine.threads != profile.machine.threads:
        notes.append(f"the profile is of {profile.machine.threads} threads, this run of {machine.threads}")
    if machine.cpu != profile.machine.cpu:
        notes.append(f"the profile is of another processor: {profile.machine.cpu}")
    if reason:
        notes.append(f"torch decodes: {reason}")
    notes.append("int8 weights are read by the native step; their prompts are read by torch in fp32")
    return tuple(notes)


def _engine(native: bool) -> str:
    return "native" if native else "torch"
