"""Sample size and power where both versions answer the same cases: McNemar's test, as evaluation sets allow it."""

from __future__ import annotations

import math
from typing import Final

from llmdrill.estimate.abtest import normal_quantile, normal_share, require_open_share, two_sided_z
from llmdrill.estimate.abtest_derivation import power_figure, whole_cases
from llmdrill.estimate.checks import NumberError, require_positive, require_share
from llmdrill.estimate.explain import Explained, figure

_CONNOR: Final = "Connor 1987, Biometrics 43(1), 207-211, page 209"
_WHERE: Final = "d discordant share, e = |p2 − p1|"


def paired_sample_size(
    *,
    baseline_share: float,
    changed_share: float,
    discordant_share: float,
    significance_share: float = 0.05,
    power_share: float = 0.8,
) -> float:
    """Return how many cases both versions must answer to tell their success rates apart in McNemar's test.

    Formula:
        ((z_(1 - significance/2) * sqrt(d) + z_power * sqrt(d - e^2)) / e)^2, d = discordant_share and
        e = changed_share - baseline_share.

    Args:
        baseline_share: Success rate of the old version.
        changed_share: Success rate of the new version on the same cases.
        discordant_share: Share of cases on which exactly one of the two succeeds.
        significance_share: False positives allowed.
        power_share: Probability to find the difference.

    Returns:
        Cases, not rounded: round up.

    Raises:
        NumberError: If the shares contradict each other.

    Error:
        Normal approximation; the exact test needs a few more where under about 10 cases are discordant.
    Source:
        Connor 1987, Biometrics 43(1), 207-211, page 209: 0.05 against 0.45 discordant, power 0.8, need 23.

    >>> n = paired_sample_size(baseline_share=0.3, changed_share=0.7, discordant_share=0.5)
    >>> math.ceil(n)
    23
    """
    require_open_share(power_share=power_share)
    effect = changed_share - baseline_share
    if not effect:
        raise NumberError("the two success rates are the same: no sample is large enough to find a difference")
    spread = _spread(baseline_share, changed_share, discordant_share)
    reach = two_sided_z(significance_share) * math.sqrt(discordant_share) + normal_quantile(power_share) * spread
    return max(0.0, reach / abs(effect)) ** 2


def paired_power(
    *,
    baseline_share: float,
    changed_share: float,
    discordant_share: float,
    cases: float,
    significance_share: float = 0.05,
) -> float:
    """Return the probability that McNemar's test finds the difference of two versions on the same cases.

    Formula:
        Phi((|e| * sqrt(cases) - z_(1 - significance/2) * sqrt(d)) / sqrt(d - e^2)), d and e as in paired_sample_size.

    Args:
        baseline_share: Success rate of the old version.
        changed_share: Success rate of the new version on the same cases.
        discordant_share: Share of cases on which exactly one of the two succeeds.
        cases: Cases that both answer.
        significance_share: False positives allowed.

    Returns:
        A share.

    Raises:
        NumberError: If the shares contradict each other.

    Error:
        As paired_sample_size; findings in the wrong direction are not counted.
    Source:
        Connor 1987, Biometrics 43(1), 207-211, page 209: the inverse of the sample size.

    >>> power = paired_power(baseline_share=0.3, changed_share=0.7, discordant_share=0.5, cases=23)
    >>> power > 0.8
    True
    """
    require_positive(cases=cases)
    spread = _spread(baseline_share, changed_share, discordant_share)
    effect = abs(changed_share - baseline_share)
    reach = effect * math.sqrt(cases) - two_sided_z(significance_share) * math.sqrt(discordant_share)
    return normal_share(reach / spread) if spread else float(reach > 0)


def _spread(baseline: float, changed: float, discordant: float) -> float:
    """Return the standard deviation of one case's difference."""
    fewest, most = discordant_range(baseline, changed)
    if not fewest - 1e-12 <= discordant <= most + 1e-12:
        raise NumberError(
            f"discordant_share must be from {fewest:g} to {most:g} with these success rates, got {discordant:g}"
        )
    return math.sqrt(max(0.0, discordant - (changed - baseline) ** 2))


def discordant_range(baseline_share: float, changed_share: float) -> tuple[float, float]:
    """Return the fewest and the most discordant cases that two success rates allow, as shares."""
    require_share(baseline_share=baseline_share, changed_share=changed_share)
    return abs(changed_share - baseline_share), min(baseline_share + changed_share, 2 - baseline_share - changed_share)


def independent_discordant_share(baseline_share: float, changed_share: float) -> float:
    """Return the discordant share of two versions whose successes have nothing to do with each other."""
    return baseline_share * (1 - changed_share) + changed_share * (1 - baseline_share)


def explain_paired_size(
    *,
    baseline_share: float,
    changed_share: float,
    discordant_share: float,
    significance_share: float = 0.05,
    power_share: float = 0.8,
) -> Explained:
    """Return paired_sample_size, rounded up to whole cases, with its formula and the numbers put in."""
    value = paired_sample_size(
        baseline_share=baseline_share,
        changed_share=changed_share,
        discordant_share=discordant_share,
        significance_share=significance_share,
        power_share=power_share,
    )
    z, zp = figure(two_sided_z(significance_share)), figure(normal_quantile(power_share))
    d, e = figure(discordant_share), figure(abs(changed_share - baseline_share))
    return whole_cases(
        value,
        name="sample_size_cases",
        formula=f"((z_significance × sqrt(d) + z_power × sqrt(d − e²)) / e)², {_WHERE}",
        filled=f"(({z} × sqrt({d}) + {zp} × sqrt({d} − {e}²)) / {e})²",
        source=_CONNOR,
    )


def explain_paired_power(
    *,
    baseline_share: float,
    changed_share: float,
    discordant_share: float,
    cases: float,
    significance_share: float = 0.05,
) -> Explained:
    """Return paired_power with its formula and the numbers put in."""
    value = paired_power(
        baseline_share=baseline_share,
        changed_share=changed_share,
        discordant_share=discordant_share,
        cases=cases,
        significance_share=significance_share,
    )
    z, n = figure(two_sided_z(significance_share)), figure(cases)
    d, e = figure(discordant_share), figure(abs(changed_share - baseline_share))
    return power_figure(
        value,
        formula=f"Φ((e × sqrt(n) − z_significance × sqrt(d)) / sqrt(d − e²)), {_WHERE}",
        filled=f"Φ(({e} × sqrt({n}) − {z} × sqrt({d})) / sqrt({d} − {e}²))",
        source=_CONNOR,
    )
