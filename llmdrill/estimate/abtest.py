"""Sample size and power of a comparison of two versions: two proportions or two means."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Literal

from llmdrill.estimate.checks import NumberError, require_not_negative, require_positive, require_share

if TYPE_CHECKING:
    from collections.abc import Callable

Variance = Literal["pooled", "unpooled"]
_MOST_STEPS: Final = 1000


def normal_quantile(share: float) -> float:
    """Return the value that a standard normal variable stays below with this probability.

    >>> round(normal_quantile(0.975), 6), round(normal_quantile(1e-9), 6)
    (1.959964, -5.997807)
    """
    if not 0 < share < 1:
        raise NumberError(f"a probability between 0 and 1 is needed, got {share:g}")
    if share > 0.5:
        return -normal_quantile(1 - share)
    value = 0.0  # Newton's method comes down from here without overshooting: the distribution is convex on this side
    for _ in range(_MOST_STEPS):
        step = (normal_share(value) - share) * math.sqrt(2 * math.pi) * math.exp(value * value / 2)
        value -= step
        if abs(step) < 1e-12:
            break
    return value


def normal_share(value: float) -> float:
    """Return the probability that a standard normal variable is below ``value``."""
    return math.erfc(-value / math.sqrt(2)) / 2


def two_sided_z(significance_share: float) -> float:
    """Return the |z| that a two-sided test must pass.

    >>> round(two_sided_z(0.05), 3)
    1.96
    """
    require_open_share(significance_share=significance_share)
    return -normal_quantile(significance_share / 2)


def require_open_share(**numbers: float) -> None:
    """Refuse the first number that is not strictly between 0 and 1.

    Raises:
        NumberError: Naming it.
    """
    for name, value in numbers.items():
        if not 0 < value < 1:
            raise NumberError(f"{name} must be above 0 and below 1, got {value:g}")


def spreads(baseline: float, changed: float, variance: Variance) -> tuple[float, float]:
    """Return the standard deviations of sqrt(n) × difference under no effect and under the effect."""
    require_share(baseline_share=baseline, changed_share=changed)
    under_effect = math.sqrt(baseline * (1 - baseline) + changed * (1 - changed))
    mean = (baseline + changed) / 2
    return (math.sqrt(2 * mean * (1 - mean)) if variance == "pooled" else under_effect), under_effect


def proportions_sample_size(
    *,
    baseline_share: float,
    changed_share: float,
    significance_share: float = 0.05,
    power_share: float = 0.8,
    variance: Variance = "pooled",
) -> float:
    """Return how many cases each of two arms needs to tell two proportions apart in a two-sided z test.

    Formula:
        (z_(1 - significance/2) * s0 + z_power * s1)^2 / (changed - baseline)^2, with
        s1^2 = p1 (1 - p1) + p2 (1 - p2) and s0^2 = 2 p (1 - p), p = (p1 + p2) / 2, if pooled, else s0 = s1.

    Args:
        baseline_share: Proportion of the old version.
        changed_share: Proportion of the new version that must not be missed.
        significance_share: False positives allowed if there is no difference.
        power_share: Probability to find the difference if it is there.
        variance: ``pooled`` for a test that estimates one proportion under no effect (the usual z or chi-square test),
            ``unpooled`` for one that keeps them apart (a Wald test).

    Returns:
        Cases per arm, not rounded: round up.

    Raises:
        NumberError: If a share is out of range or both proportions are the same.

    Error:
        Normal approximation: too low by a few cases where an arm expects under about 5 events; a
        continuity correction adds about 2 / |p1 - p2| per arm (statpages.org, proppowr).
    Source:
        Pooled: R, power.prop.test, examples: p1 0.50, p2 0.75, power 0.90 need 76.7.
        Unpooled: Chow, Shao and Wang 2008, page 89: 0.65 against 0.85 at power 0.8 need 70.

    >>> n = proportions_sample_size(baseline_share=0.5, changed_share=0.75, power_share=0.9)
    >>> round(n, 1)
    76.7
    """
    require_open_share(power_share=power_share)
    if baseline_share == changed_share:
        raise NumberError("the two proportions are the same: no sample is large enough to find a difference")
    none, effect = spreads(baseline_share, changed_share, variance)
    reach = two_sided_z(significance_share) * none + normal_quantile(power_share) * effect
    return max(0.0, reach / abs(changed_share - baseline_share)) ** 2


def proportions_power(
    *,
    baseline_share: float,
    changed_share: float,
    cases_per_arm: float,
    significance_share: float = 0.05,
    variance: Variance = "pooled",
) -> float:
    """Return the probability that a two-sided z test finds the difference of two proportions.

    Formula:
        Phi((|changed - baseline| * sqrt(cases_per_arm) - z_(1 - significance/2) * s0) / s1), s0 and s1 as in
        proportions_sample_size.

    Args:
        baseline_share: Proportion of the old version.
        changed_share: Proportion of the new version.
        cases_per_arm: Cases in each arm.
        significance_share: False positives allowed.
        variance: As in proportions_sample_size.

    Returns:
        A share.

    Raises:
        NumberError: If a number is out of range.

    Error:
        Normal approximation; findings in the wrong direction are not counted (at most half the significance).
    Source:
        R, power.prop.test, examples: n 50, p1 0.50, p2 0.75 give 0.740.

    >>> round(proportions_power(baseline_share=0.5, changed_share=0.75, cases_per_arm=50), 3)
    0.74
    """
    require_positive(cases_per_arm=cases_per_arm)
    none, effect = spreads(baseline_share, changed_share, variance)
    reach = abs(changed_share - baseline_share) * math.sqrt(cases_per_arm) - two_sided_z(significance_share) * none
    return normal_share(reach / effect) if effect else float(reach > 0)


def detectable_proportion(
    *,
    baseline_share: float,
    cases_per_arm: float,
    significance_share: float = 0.05,
    power_share: float = 0.8,
    variance: Variance = "pooled",
) -> float | None:
    """Return the smallest proportion above the baseline that a test of this size finds with this power.

    Formula:
        The changed_share > baseline_share at which proportions_power equals power_share, found by bisection.

    Args:
        baseline_share: Proportion of the old version.
        cases_per_arm: Cases in each arm.
        significance_share: False positives allowed.
        power_share: Probability to find the difference.
        variance: As in proportions_sample_size.

    Returns:
        A share; None if even 1 is not found with that power.

    Raises:
        NumberError: If a number is out of range.

    Error:
        As proportions_power; the smallest fall that is found is not the same unless the baseline is one half.
    Source:
        Arithmetic: the inverse of proportions_power. R's example reads backwards: n 76.7 and power 0.9 give 0.75.

    >>> found = detectable_proportion(baseline_share=0.5, cases_per_arm=76.65, power_share=0.9)
    >>> round(found, 3)
    0.75
    """
    require_share(baseline_share=baseline_share)
    require_open_share(power_share=power_share)

    def power(changed: float) -> float:
        return proportions_power(
            baseline_share=baseline_share,
            changed_share=changed,
            cases_per_arm=cases_per_arm,
            significance_share=significance_share,
            variance=variance,
        )

    if baseline_share == 1 or power(1.0) < power_share:
        return None
    return _bisect(lambda changed: power(changed) >= power_share, baseline_share, 1.0)


def _bisect(holds: Callable[[float], bool], low: float, high: float) -> float:
    """Return where a condition begins to hold."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def means_sample_size(
    *, difference: float, deviation: float, significance_share: float = 0.05, power_share: float = 0.8
) -> float:
    """Return how many cases each of two arms needs to tell two means apart in a two-sided z test.

    Formula:
        2 * ((z_(1 - significance/2) + z_power) * deviation / difference)^2

    Args:
        difference: Of the means, in any unit: the smallest that must not be missed.
        deviation: Standard deviation of one case, in the same unit, the same in both arms.
        significance_share: False positives allowed.
        power_share: Probability to find the difference.

    Returns:
        Cases per arm, not rounded: round up.

    Raises:
        NumberError: If a number is out of range.

    Error:
        A t test needs about z^2 / 4, so one more per arm at 5 % (22.02, not 21.01, at power 0.9 and one
        deviation); skewed values (latency, cost) need more: use their logarithms.
    Source:
        Arithmetic of the normal distribution; same as statsmodels 0.15.0, NormalIndPower (z) and TTestIndPower (t).

    >>> round(means_sample_size(difference=1, deviation=1, power_share=0.9), 2)
    21.01
    """
    require_positive(difference=abs(difference), deviation=deviation)
    require_open_share(power_share=power_share)
    reach = max(0.0, two_sided_z(significance_share) + normal_quantile(power_share))
    return 2 * (reach * deviation / difference) ** 2


def means_power(
    *, difference: float, deviation: float, cases_per_arm: float, significance_share: float = 0.05
) -> float:
    """Return the probability that a two-sided z test finds the difference of two means.

    Formula:
        Phi(|difference| / deviation * sqrt(cases_per_arm / 2) - z_(1 - significance/2))

    Args:
        difference: Of the means, in any unit.
        deviation: Standard deviation of one case, in the same unit.
        cases_per_arm: Cases in each arm.
        significance_share: False positives allowed.

    Returns:
        A share.

    Raises:
        NumberError: If a number is out of range.

    Error:
        As means_sample_size; findings in the wrong direction are not counted.
    Source:
        Arithmetic: the inverse of means_sample_size.

    >>> round(means_power(difference=1, deviation=1, cases_per_arm=21.0148), 3)
    0.9
    """
    require_positive(deviation=deviation, cases_per_arm=cases_per_arm)
    require_not_negative(difference=abs(difference))
    reach = abs(difference) / deviation * math.sqrt(cases_per_arm / 2)
    return normal_share(reach - two_sided_z(significance_share))


def detectable_difference(
    *, deviation: float, cases_per_arm: float, significance_share: float = 0.05, power_share: float = 0.8
) -> float:
    """Return the smallest difference of two means that a test of this size finds with this power.

    Formula:
        (z_(1 - significance/2) + z_power) * deviation * sqrt(2 / cases_per_arm)

    Args:
        deviation: Standard deviation of one case.
        cases_per_arm: Cases in each arm.
        significance_share: False positives allowed.
        power_share: Probability to find the difference.

    Returns:
        A difference in the deviation's unit.

    Raises:
        NumberError: If a number is out of range.

    Error:
        As means_sample_size.
    Source:
        Arithmetic: the inverse of means_sample_size.

    >>> round(detectable_difference(deviation=1, cases_per_arm=21.0148, power_share=0.9), 3)
    1.0
    """
    require_positive(deviation=deviation, cases_per_arm=cases_per_arm)
    require_open_share(power_share=power_share)
    reach = max(0.0, two_sided_z(significance_share) + normal_quantile(power_share))
    return reach * deviation * math.sqrt(2 / cases_per_arm)
