"""Sample size, power and peeking: published figures, oracles, laws, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.errors import UsageError
from llmdrill.estimate.abtest import (
    Variance,
    detectable_difference,
    detectable_proportion,
    means_power,
    means_sample_size,
    proportions_power,
    proportions_sample_size,
)
from llmdrill.estimate.paired_test import discordant_range, paired_power, paired_sample_size
from llmdrill.estimate.peeking import (
    crossing_share,
    obrien_fleming_z,
    peeking_false_positive_share,
    pocock_z,
    tail_share,
)

RATES = st.floats(0.01, 0.99)


def test_published_sample_sizes_come_out() -> None:
    # R, power.prop.test, examples
    assert proportions_sample_size(baseline_share=0.5, changed_share=0.75, power_share=0.9) == pytest.approx(
        76.7, abs=0.05
    )
    # Chow, Shao and Wang 2008, page 89 (as powerandsamplesize.com computes it)
    chow = proportions_sample_size(baseline_share=0.65, changed_share=0.85, variance="unpooled")
    assert math.ceil(chow) == 70
    # Connor 1987, page 209: discordant 0.05 and 0.45
    assert math.ceil(paired_sample_size(baseline_share=0.3, changed_share=0.7, discordant_share=0.5)) == 23


@pytest.mark.parametrize(
    ("baseline", "changed", "cases", "power"),
    [(0.1, 0.12, 3841, 0.8000165286), (0.05, 0.06, 8000, 0.7922931261), (0.5, 0.75, 50, 0.7401671935)],
)
def test_power_is_what_statsmodels_computes(baseline: float, changed: float, cases: int, power: float) -> None:
    """Statsmodels 0.15.0, power_proportions_2indep; it counts findings in the wrong direction too, 1e-6 here."""
    ours = proportions_power(baseline_share=baseline, changed_share=changed, cases_per_arm=cases)
    assert ours == pytest.approx(power, abs=3e-6)


def test_means_are_what_statsmodels_computes() -> None:
    """Statsmodels 0.15.0, NormalIndPower: effect size 0.2, power 0.8."""
    assert means_sample_size(difference=0.2, deviation=1) == pytest.approx(392.443026, rel=1e-5)


def test_simulated_experiments_find_the_effect_as_often_as_the_power_says() -> None:
    rng, cases = np.random.default_rng(7), 3841
    one, other = rng.binomial(cases, 0.10, 40_000) / cases, rng.binomial(cases, 0.12, 40_000) / cases
    mean = (one + other) / 2
    z = (other - one) / np.sqrt(2 * mean * (1 - mean) / cases)
    assert np.mean(np.abs(z) > 1.959964) == pytest.approx(0.8, abs=0.008)


@given(baseline=RATES, changed=RATES, variance=st.sampled_from(["pooled", "unpooled"]), power=st.floats(0.5, 0.99))
def test_the_power_of_the_sample_size_is_the_power_asked_for(
    baseline: float, changed: float, variance: Variance, power: float
) -> None:
    if abs(baseline - changed) < 0.005:
        return
    rates = {"baseline_share": baseline, "changed_share": changed}
    n = proportions_sample_size(**rates, variance=variance, power_share=power)
    assert proportions_power(**rates, variance=variance, cases_per_arm=n) == pytest.approx(power, abs=1e-9)
    assert n == pytest.approx(
        proportions_sample_size(
            baseline_share=1 - baseline, changed_share=1 - changed, variance=variance, power_share=power
        )
    )


@given(baseline=st.floats(0.01, 0.8), cases=st.integers(50, 100_000))
def test_the_smallest_effect_needs_just_this_sample(baseline: float, cases: int) -> None:
    found = detectable_proportion(baseline_share=baseline, cases_per_arm=cases)
    if found is not None and found - baseline > 1e-6:
        again = proportions_sample_size(baseline_share=baseline, changed_share=found)
        assert again == pytest.approx(cases, rel=1e-3)


@given(gap=st.floats(0.01, 10), spread=st.floats(0.01, 10), scale=st.floats(0.1, 100))
def test_the_unit_of_a_mean_does_not_matter_and_half_the_effect_needs_four_times_the_cases(
    gap: float, spread: float, scale: float
) -> None:
    n = means_sample_size(difference=gap, deviation=spread)
    assert means_sample_size(difference=gap * scale, deviation=spread * scale) == pytest.approx(n)
    assert means_sample_size(difference=gap / 2, deviation=spread) == pytest.approx(4 * n)
    assert means_power(difference=gap, deviation=spread, cases_per_arm=n) == pytest.approx(0.8)
    assert detectable_difference(deviation=spread, cases_per_arm=n) == pytest.approx(gap)


@given(baseline=RATES, changed=RATES, at=st.floats(0, 1))
def test_versions_that_agree_more_need_fewer_paired_cases(baseline: float, changed: float, at: float) -> None:
    if abs(baseline - changed) < 0.01:
        return
    fewest, most = discordant_range(baseline, changed)
    differ = fewest + at * (most - fewest)
    rates = {"baseline_share": baseline, "changed_share": changed}
    n = paired_sample_size(**rates, discordant_share=differ)
    assert n <= paired_sample_size(**rates, discordant_share=most) * (1 + 1e-9)
    if differ > fewest + 0.01:
        assert paired_power(**rates, discordant_share=differ, cases=n) == pytest.approx(0.8, abs=1e-6)


def test_five_looks_make_fourteen_per_cent_and_the_published_thresholds_come_out() -> None:
    assert peeking_false_positive_share(looks=1) == pytest.approx(0.05)
    assert peeking_false_positive_share(looks=5) == pytest.approx(0.142, abs=0.0005)
    assert pocock_z(looks=5) == pytest.approx(2.413, abs=0.0005)
    assert tail_share(pocock_z(looks=5)) == pytest.approx(0.0158, abs=0.00005)
    assert tail_share(pocock_z(looks=2)) == pytest.approx(0.0294, abs=0.00005)


def test_simulated_peeking_goes_wrong_as_often_as_computed() -> None:
    rng = np.random.default_rng(5)
    sums = np.cumsum(rng.standard_normal((400_000, 5)), axis=1) / np.sqrt(np.arange(1, 6))
    assert np.mean((np.abs(sums) > 1.959964).any(axis=1)) == pytest.approx(0.141689, abs=0.002)


@given(looks=st.integers(2, 12), level=st.floats(0.001, 0.3))
def test_thresholds_give_back_the_level_they_were_made_for(looks: int, level: float) -> None:
    even, last = (rule(looks=looks, significance_share=level) for rule in (pocock_z, obrien_fleming_z))
    assert crossing_share([even] * looks) == pytest.approx(level, rel=1e-6)
    assert crossing_share([last * math.sqrt(looks / look) for look in range(1, looks + 1)]) == pytest.approx(
        level, rel=1e-6
    )
    more, fewer = (peeking_false_positive_share(looks=many, significance_share=level) for many in (looks, looks - 1))
    assert level <= fewer * (1 + 1e-9) < more < min(1, looks * level)


@pytest.mark.parametrize(
    ("numbers", "word"),
    [
        ({"baseline_share": 0.5, "changed_share": 0.5}, "the same"),
        ({"baseline_share": -0.1, "changed_share": 0.5}, "baseline_share"),
        ({"baseline_share": 0.1, "changed_share": math.nan}, "changed_share"),
        ({"baseline_share": 0.1, "changed_share": 0.2, "significance_share": 0}, "significance_share"),
        ({"baseline_share": 0.1, "changed_share": 0.2, "power_share": 1}, "power_share"),
    ],
)
def test_impossible_tests_are_refused(numbers: dict[str, float], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        proportions_sample_size(**numbers)  # type: ignore[arg-type]


def test_a_discordant_share_that_the_rates_rule_out_is_refused() -> None:
    with pytest.raises(UsageError, match=r"from 0\.05 to 0\.55"):
        paired_sample_size(baseline_share=0.7, changed_share=0.75, discordant_share=0.01)
    with pytest.raises(UsageError, match="from 1 to 100"):
        peeking_false_positive_share(looks=0)


@pytest.mark.parametrize(("looks", "significance"), [(20, 1e-9), (30, 1e-6), (5, 0.5), (30, 0.5)])
def test_strict_and_lax_thresholds_keep_the_false_positives_too(looks: int, significance: float) -> None:
    """Small shares lost their digits once: 1e-9 over 20 looks gave a negative threshold."""
    many = peeking_false_positive_share(looks=looks, significance_share=significance)
    assert significance < many < min(1, looks * significance)
    even = pocock_z(looks=looks, significance_share=significance)
    last = obrien_fleming_z(looks=looks, significance_share=significance)
    falling = [last * math.sqrt(looks / look) for look in range(1, looks + 1)]
    for thresholds in ([even] * looks, falling):
        assert thresholds[-1] > 0
        assert crossing_share(thresholds) == pytest.approx(significance, rel=1e-6)


@pytest.mark.parametrize("significance", [1e-12, 0.99])
def test_a_significance_that_nobody_means_is_refused(significance: float) -> None:
    with pytest.raises(UsageError, match="significance must be"):
        peeking_false_positive_share(looks=5, significance_share=significance)


def test_rare_crossings_are_as_an_independent_integration_finds() -> None:
    """30 looks at 1e-6 each, by a 400-node integration in numpy with scipy's normal tail."""
    assert peeking_false_positive_share(looks=30, significance_share=1e-6) == pytest.approx(1.4272967e-5, rel=1e-6)
