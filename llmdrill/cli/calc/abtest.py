"""`llmdrill calc abtest`: how many cases a comparison of two versions needs, and what looking early costs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from llmdrill.cli.calc.abtest_looks import explain_peeking, looks_table, peeked_test, warning
from llmdrill.cli.calc.answer import Answer
from llmdrill.cli.calc.options import quantity, share, whole
from llmdrill.errors import UsageError
from llmdrill.units import format_count, format_share

if TYPE_CHECKING:
    from llmdrill.estimate.explain import Explained

Variance_ = Literal["pooled", "unpooled"]
_FEWEST_EVENTS: Final = 5  # below, a normal curve is no picture of a proportion


@dataclass(frozen=True, slots=True)
class _Test:
    """What a design of the test found: its figures, and those it leaves open."""

    figures: tuple[Explained, ...]
    cases: float
    arms: int
    line: str
    inputs: dict[str, object]
    notes: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Wanted:
    significance_share: float
    power_share: float
    cases: int | None


def abtest(
    *,
    baseline: Annotated[str | None, typer.Option(help="Success rate of the old version: 10%.")] = None,
    target: Annotated[str | None, typer.Option(help="Success rate of the new version not to be missed: 12%.")] = None,
    lift: Annotated[str | None, typer.Option(help="The same as a relative change of the baseline: 20%, -5%.")] = None,
    difference: Annotated[str | None, typer.Option(help="Means instead: the difference not to be missed.")] = None,
    deviation: Annotated[str | None, typer.Option(help="Standard deviation of one case, in the same unit.")] = None,
    paired: Annotated[
        bool, typer.Option("--paired", help="Both versions answer the same cases (an evaluation set): McNemar's test.")
    ] = False,
    discordant: Annotated[
        str | None, typer.Option(help="With --paired: share of cases on which exactly one of the two succeeds.")
    ] = None,
    n: Annotated[
        str | None, typer.Option("--n", help="Cases per arm at hand: gives power and smallest effect.")
    ] = None,
    significance: Annotated[str, typer.Option(help="False positives allowed, two-sided.")] = "5%",
    power: Annotated[str, typer.Option(help="Probability to find the effect if it is there.")] = "80%",
    variance: Annotated[Variance_, typer.Option(help="Of the test of two proportions.")] = "pooled",
    traffic: Annotated[str | None, typer.Option(help="Cases a day that enter the test, both arms together.")] = None,
    looks: Annotated[
        str | None, typer.Option(help="How often the running test is looked at, the end included.")
    ] = None,
) -> Answer:
    """Sample size and power of an A/B test, and the price of peeking."""
    wanted = _Wanted(
        _open_share("significance", significance),
        _open_share("power", power),
        None if n is None else whole("n", n),
    )
    if wanted.power_share <= wanted.significance_share:
        raise UsageError(f"--power {power} must be above --significance {significance}: chance alone finds that often")
    if difference is not None or deviation is not None:
        if baseline or target or lift or paired or discordant:
            raise UsageError("give --baseline for proportions, or --difference and --deviation for means, not both")
        test = _means(difference, deviation, wanted)
    else:
        before, after = _rates(baseline, target, lift, wanted)
        if discordant is not None and not paired:
            raise UsageError("--discordant goes with --paired")
        test = _paired(before, after, discordant, wanted) if paired else _proportions(before, after, variance, wanted)
    per_day = None if traffic is None else quantity("traffic", traffic, "count")
    return _answer(test, wanted, per_day, whole("looks", looks) if looks is not None else 1)


def _answer(test: _Test, wanted: _Wanted, per_day: float | None, looks: int) -> Answer:
    duration = () if per_day is None else (_duration(test, per_day),)
    peeked = peeked_test(looks, wanted.significance_share)
    return Answer(
        calculator="abtest",
        lines=(test.line, *(f"{format_count(one.value)} days at that traffic" for one in duration)),
        figures=(*test.figures, *duration, *explain_peeking(peeked)),
        inputs={
            **test.inputs,
            "significance_share": wanted.significance_share,
            "target_power_share": wanted.power_share,
            "looks": looks,
        },
        notes=(*test.notes, warning(peeked)),
        unknown=(*test.unknown, *(() if duration else ("duration_days",))),
        tables=(looks_table(peeked),) if looks > 1 else (),
    )


def _open_share(name: str, text: str) -> float:
    value = share(name, text, zero=False)
    if value >= 1:
        raise UsageError(f"--{name} must be below 100%, got {text}")
    return value


def _rates(baseline: str | None, target: str | None, lift: str | None, wanted: _Wanted) -> tuple[float, float | None]:
    """Return the success rates of the old and the new version; None if only the size is given."""
    if baseline is None:
        raise UsageError("--baseline is missing: the old version's success rate; or give --difference and --deviation")
    before = share("baseline", baseline)
    if target is not None and lift is not None:
        raise UsageError("give --target or --lift, not both")
    if target is None and lift is None:
        if wanted.cases is None:
            raise UsageError(
                "which effect must not be missed? give --target 12% or --lift 20%; or --n for what n finds"
            )
        return before, None
    after = share("target", target) if target is not None else before * (1 + _signed_share(str(lift)))
    if not 0 <= after <= 1:
        raise UsageError(f"--lift {lift} leads from {format_share(before)} to {format_share(after)}: no success rate")
    if after == before:
        raise UsageError("the new version's success rate is the old one's: no sample finds no difference")
    return before, after


def _signed_share(text: str) -> float:
    value = quantity("lift", text.strip().removeprefix("-"), "share", zero=True)
    return -value if text.strip().startswith("-") else value


def _proportions(before: float, after: float | None, variance: Variance_, wanted: _Wanted) -> _Test:
    from llmdrill.estimate.abtest import detectable_proportion
    from llmdrill.estimate.abtest_derivation import explain_proportions_power, explain_proportions_size

    figures: list[Explained] = []
    if after is not None:
        figures.append(
            explain_proportions_size(
                baseline_share=before,
                changed_share=after,
                significance_share=wanted.significance_share,
                power_share=wanted.power_share,
                variance=variance,
            )
        )
    cases = float(wanted.cases or figures[0].value)
    if after is not None:
        figures.append(
            explain_proportions_power(
                baseline_share=before,
                changed_share=after,
                cases_per_arm=cases,
                significance_share=wanted.significance_share,
                variance=variance,
            )
        )
    found = detectable_proportion(
        baseline_share=before,
        cases_per_arm=cases,
        significance_share=wanted.significance_share,
        power_share=wanted.power_share,
        variance=variance,
    )
    if found is not None:
        figures.append(_effect_figure(before, found, cases))
    aim = "" if after is None else f" to tell {format_share(after)} from {format_share(before)}"
    return _Test(
        figures=(*figures, _total(cases, 2)),
        cases=cases,
        arms=2,
        line=_line(figures, aim, wanted, cases, found, before),
        inputs={"baseline_share": before, "changed_share": after, "variance": variance, "cases_per_arm": cases},
        notes=(
            f"assumed: independent cases, a two-sided z test with {variance} variance",
            *_rare(cases, before, after),
        ),
        unknown=_open(figures, "sample_size_per_arm", "power_share", "minimum_detectable_effect_share"),
    )


def _line(figures: list[Explained], aim: str, wanted: _Wanted, cases: float, found: float | None, before: float) -> str:
    if wanted.cases is None:
        return f"{cases:,.0f} cases per arm, {2 * cases:,.0f} in all{aim} with {format_share(wanted.power_share)} power"
    reached = next((one.value for one in figures if one.name == "power_share"), None)
    power = "" if reached is None else f"{format_share(reached)} power{aim} with {cases:,.0f} cases per arm; "
    smallest = (
        "no rise is found" if found is None else f"the smallest rise found is {100 * (found - before):.3g} points"
    )
    return f"{power}{smallest} with {format_share(wanted.power_share)} power at {cases:,.0f} cases per arm"


def _rare(cases: float, *rates: float | None) -> tuple[str, ...]:
    """Return the warning that the normal approximation does not hold here, if so."""
    fewest = min(cases * min(rate, 1 - rate) for rate in rates if rate is not None)
    if fewest >= _FEWEST_EVENTS:
        return ()
    return (f"only {fewest:.3g} events or failures are expected in an arm: too few for a z test; use an exact test",)


def _open(figures: list[Explained], *names: str) -> tuple[str, ...]:
    known = {one.name for one in figures}
    return tuple(name for name in names if name not in known)


def _paired(before: float, after: float | None, discordant: str | None, wanted: _Wanted) -> _Test:
    from llmdrill.estimate.paired_test import (
        explain_paired_power,
        explain_paired_size,
        independent_discordant_share,
    )

    if after is None:
        raise UsageError("--paired needs the effect: give --target or --lift")
    differ = independent_discordant_share(before, after) if discordant is None else share("discordant", discordant)
    size = explain_paired_size(
        baseline_share=before,
        changed_share=after,
        discordant_share=differ,
        significance_share=wanted.significance_share,
        power_share=wanted.power_share,
    )
    cases = float(wanted.cases or size.value)
    power = explain_paired_power(
        baseline_share=before,
        changed_share=after,
        discordant_share=differ,
        cases=cases,
        significance_share=wanted.significance_share,
    )
    aim = f"to tell {format_share(after)} from {format_share(before)} on the same cases"
    line = (
        f"{cases:,.0f} cases {aim} with {format_share(wanted.power_share)} power"
        if wanted.cases is None
        else f"{format_share(power.value)} power {aim} with {cases:,.0f} cases"
    )
    note = (
        "assumed: successes of the two versions are independent, which needs the most cases; --discordant says better"
    )
    return _Test(
        figures=(size, power),
        cases=cases,
        arms=1,
        line=line,
        inputs={"baseline_share": before, "changed_share": after, "discordant_share": differ, "cases": cases},
        notes=(note,) if discordant is None else (),
    )


def _means(difference: str | None, deviation: str | None, wanted: _Wanted) -> _Test:
    from llmdrill.estimate.abtest import detectable_difference, normal_quantile, two_sided_z
    from llmdrill.estimate.abtest_derivation import explain_means_power, explain_means_size
    from llmdrill.estimate.explain import Explained, figure

    if deviation is None:
        raise UsageError("--deviation is missing: the standard deviation of one case")
    if difference is None and wanted.cases is None:
        raise UsageError("--difference is missing: which must not be missed? or give --n for what n finds")
    spread = quantity("deviation", deviation, "count")
    gap = None if difference is None else quantity("difference", difference, "count")
    levels = {"significance_share": wanted.significance_share, "power_share": wanted.power_share}
    figures = [] if gap is None else [explain_means_size(difference=gap, deviation=spread, **levels)]
    cases = float(wanted.cases or figures[0].value)
    if gap is not None:
        figures.append(
            explain_means_power(
                difference=gap, deviation=spread, cases_per_arm=cases, significance_share=wanted.significance_share
            )
        )
    least = detectable_difference(deviation=spread, cases_per_arm=cases, **levels)
    formula = "(z_significance + z_power) × deviation × sqrt(2 / n)"
    z, zp = figure(two_sided_z(wanted.significance_share)), figure(normal_quantile(wanted.power_share))
    filled = f"({z} + {zp}) × {figure(spread)} × sqrt(2 / {figure(cases)}) = {figure(least)}"
    figures.append(Explained("minimum_detectable_difference", least, "count", formula, filled, "Arithmetic"))
    finds = f"{cases:,.0f} cases per arm find a difference of {least:.4g} with {format_share(wanted.power_share)} power"
    line = (
        finds
        if gap is None or wanted.cases is None
        else f"{format_share(figures[1].value)} power to find {gap:.4g}; {finds}"
    )
    return _Test(
        figures=(*figures, _total(cases, 2)),
        cases=cases,
        arms=2,
        line=line,
        inputs={"difference": gap, "deviation": spread, "cases_per_arm": cases},
        notes=("assumed: independent cases, the same deviation in both arms, a two-sided z test",),
        unknown=_open(figures, "sample_size_per_arm", "power_share"),
    )


def _effect_figure(before: float, found: float, cases: float) -> Explained:
    from llmdrill.estimate.explain import Explained, figure

    formula = f"least changed_share above the baseline whose power_share with n = {cases:,.0f} is the target − baseline"
    filled = f"{figure(found)} − {figure(before)} = {figure(found - before)}"
    return Explained(
        "minimum_detectable_effect_share", found - before, "share", formula, filled, "inverse of the power"
    )


def _total(cases: float, arms: int) -> Explained:
    from llmdrill.estimate.explain import Explained

    total = cases * arms
    filled = f"{arms} × {cases:,.0f} = {total:,.0f}"
    return Explained("sample_size_total", total, "count", "arms × cases per arm", filled, "Arithmetic")


def _duration(test: _Test, per_day: float) -> Explained:
    from llmdrill.estimate.explain import Explained, figure

    total = test.cases * test.arms
    days = math.ceil(total / per_day - 1e-9)
    filled = f"round up({total:,.0f} / {figure(per_day)}) = {days:,}"
    return Explained("duration_days", days, "count", "round up(cases / traffic a day)", filled, "Arithmetic")
