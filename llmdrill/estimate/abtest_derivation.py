"""Sample sizes and powers of a comparison of two versions, with their formulas and the numbers put in."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from llmdrill.estimate.abtest import (
    Variance,
    means_power,
    means_sample_size,
    normal_quantile,
    proportions_power,
    proportions_sample_size,
    spreads,
    two_sided_z,
)
from llmdrill.estimate.explain import Explained, figure

if TYPE_CHECKING:
    from collections.abc import Mapping

_CHOW: Final = "Chow, Shao and Wang 2008, Sample Size Calculations in Clinical Research"
_SOURCES: Final[Mapping[Variance, str]] = {"pooled": "R, power.prop.test", "unpooled": f"{_CHOW}, page 89"}
_NORMAL: Final = "Arithmetic of the normal distribution, as statsmodels 0.15.0, NormalIndPower"


def explain_proportions_size(
    *,
    baseline_share: float,
    changed_share: float,
    significance_share: float = 0.05,
    power_share: float = 0.8,
    variance: Variance = "pooled",
) -> Explained:
    """Return proportions_sample_size, rounded up to whole cases, with its formula and the numbers put in."""
    value = proportions_sample_size(
        baseline_share=baseline_share,
        changed_share=changed_share,
        significance_share=significance_share,
        power_share=power_share,
        variance=variance,
    )
    s0, s1 = map(figure, spreads(baseline_share, changed_share, variance))
    z, zp = figure(two_sided_z(significance_share)), figure(normal_quantile(power_share))
    return whole_cases(
        value,
        name="sample_size_per_arm",
        formula=f"((z_significance × s0 + z_power × s1) / (p2 − p1))², {_spread_words(variance)}",
        filled=f"(({z} × {s0} + {zp} × {s1}) / {figure(abs(changed_share - baseline_share))})²",
        source=_SOURCES[variance],
    )


def explain_proportions_power(
    *,
    baseline_share: float,
    changed_share: float,
    cases_per_arm: float,
    significance_share: float = 0.05,
    variance: Variance = "pooled",
) -> Explained:
    """Return proportions_power with its formula and the numbers put in."""
    value = proportions_power(
        baseline_share=baseline_share,
        changed_share=changed_share,
        cases_per_arm=cases_per_arm,
        significance_share=significance_share,
        variance=variance,
    )
    s0, s1 = map(figure, spreads(baseline_share, changed_share, variance))
    effect, z = figure(abs(changed_share - baseline_share)), figure(two_sided_z(significance_share))
    return power_figure(
        value,
        formula=f"Φ((|p2 − p1| × sqrt(n) − z_significance × s0) / s1), {_spread_words(variance)}",
        filled=f"Φ(({effect} × sqrt({figure(cases_per_arm)}) − {z} × {s0}) / {s1})",
        source=_SOURCES[variance],
    )


def explain_means_size(
    *, difference: float, deviation: float, significance_share: float = 0.05, power_share: float = 0.8
) -> Explained:
    """Return means_sample_size, rounded up to whole cases, with its formula and the numbers put in."""
    value = means_sample_size(
        difference=difference, deviation=deviation, significance_share=significance_share, power_share=power_share
    )
    z, zp = figure(two_sided_z(significance_share)), figure(normal_quantile(power_share))
    return whole_cases(
        value,
        name="sample_size_per_arm",
        formula="2 × ((z_significance + z_power) × deviation / difference)²",
        filled=f"2 × (({z} + {zp}) × {figure(deviation)} / {figure(difference)})²",
        source=_NORMAL,
    )


def explain_means_power(
    *, difference: float, deviation: float, cases_per_arm: float, significance_share: float = 0.05
) -> Explained:
    """Return means_power with its formula and the numbers put in."""
    value = means_power(
        difference=difference, deviation=deviation, cases_per_arm=cases_per_arm, significance_share=significance_share
    )
    z, effect = figure(two_sided_z(significance_share)), f"{figure(difference)} / {figure(deviation)}"
    return power_figure(
        value,
        formula="Φ(difference / deviation × sqrt(n / 2) − z_significance)",
        filled=f"Φ({effect} × sqrt({figure(cases_per_arm)} / 2) − {z})",
        source=_NORMAL,
    )


def whole_cases(value: float, *, name: str, formula: str, filled: str, source: str) -> Explained:
    """Return a sample size, rounded up to whole cases, with its formula and the numbers put in."""
    cases = max(1, math.ceil(value - 1e-9))
    shown = f"round up({filled}) = round up({figure(value)}) = {cases:,}"
    return Explained(name, cases, "count", f"round up({formula})", shown, source)


def power_figure(value: float, *, formula: str, filled: str, source: str) -> Explained:
    """Return a power with its formula and the numbers put in."""
    return Explained("power_share", value, "share", formula, f"{filled} = {figure(value)}", source)


def _spread_words(variance: Variance) -> str:
    s0 = "sqrt(2 × p × (1 − p)), p = (p1 + p2) / 2" if variance == "pooled" else "s1"
    return f"s1 = sqrt(p1 × (1 − p1) + p2 × (1 − p2)), s0 = {s0}"
