"""Mouth-to-ear latency: against draws, laws, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.errors import UsageError
from llmdrill.estimate.lognormal import lognormal
from llmdrill.estimate.voice import Delay, chain_latency, clause_delay, delay

PARTS = st.builds(
    lambda p50, ratio: Delay("part", p50, p50 * ratio), st.floats(0.001, 2), st.one_of(st.just(1.0), st.floats(1.01, 6))
)
CHAINS = st.lists(PARTS, min_size=1, max_size=9)


def drawn(parts: list[Delay], n: int = 200_000) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    rng = np.random.default_rng(11)
    total = np.zeros(n)
    for part in parts:
        total += part.p50_s * np.exp(part.sigma * rng.standard_normal(n))
    return total


@pytest.mark.parametrize(
    "parts",
    [
        [Delay("a", 0.35, 0.9), Delay("b", 0.15, 0.3), Delay("c", 0.5, 0.5), Delay("d", 0.04, 0.09)],
        [Delay("a", 0.3, 1.8), Delay("b", 0.3, 1.8), Delay("c", 0.3, 1.8)],
        [Delay("a", 1.0, 1.2), Delay("b", 0.01, 0.06)],
    ],
)
def test_percentiles_of_a_chain_are_as_close_to_draws_as_the_docstring_says(parts: list[Delay]) -> None:
    draws, total = drawn(parts), chain_latency(parts)
    for share, low, high in ((0.5, -0.055, 0.01), (0.95, -0.01, 0.035)):
        assert low < total.quantile_s(share) / float(np.quantile(draws, share)) - 1 < high
    limit = float(np.quantile(draws, 0.9))
    assert total.share_above(limit) == pytest.approx(0.1, abs=0.01)


@given(p50=st.floats(0.001, 10), ratio=st.floats(1.001, 20), constant=st.floats(0, 5))
def test_one_part_and_a_constant_are_exact(p50: float, ratio: float, constant: float) -> None:
    total = chain_latency([Delay("a", p50, p50 * ratio), Delay("b", constant, constant)])
    one = lognormal(p50=p50, p95=p50 * ratio)
    assert total.quantile_s(0.5) == pytest.approx(one.p50 + constant, rel=1e-6)
    assert total.quantile_s(0.95) == pytest.approx(one.p95 + constant, rel=1e-6)


@given(parts=CHAINS)
def test_p50_never_exceeds_p95_and_the_share_above_a_quantile_is_the_rest(parts: list[Delay]) -> None:
    total = chain_latency(parts)
    p50, p95 = total.quantile_s(0.5), total.quantile_s(0.95)
    assert p50 <= p95
    assert sum(part.p50_s for part in parts) * 0.94 <= p50
    assert p95 <= sum(part.p95_s for part in parts) * 1.05
    if total.sigma:
        assert total.share_above(p95) == pytest.approx(0.05, abs=1e-6)


@given(parts=CHAINS, extra=st.floats(0.001, 3), scale=st.floats(0.01, 100))
def test_a_constant_shifts_the_chain_and_a_unit_scales_it(parts: list[Delay], extra: float, scale: float) -> None:
    total = chain_latency(parts)
    later = chain_latency([*parts, Delay("more", extra, extra)])
    scaled = chain_latency([Delay(one.name, one.p50_s * scale, one.p95_s * scale) for one in parts])
    for share in (0.5, 0.95):
        assert later.quantile_s(share) == pytest.approx(total.quantile_s(share) + extra, rel=1e-6)
        assert scaled.quantile_s(share) == pytest.approx(total.quantile_s(share) * scale, rel=1e-6, abs=1e-9)


def test_the_p95_of_a_sum_is_below_the_sum_of_the_p95() -> None:
    parts = [Delay("a", 0.3, 0.9)] * 5
    assert chain_latency(parts).quantile_s(0.95) < 0.75 * sum(part.p95_s for part in parts)


def test_the_first_token_of_a_clause_is_the_ttft_s() -> None:
    assert clause_delay("clause", tokens=1, tpot_p50_s=0.02, tpot_p95_s=0.05).p95_s == 0
    assert clause_delay("clause", tokens=13, tpot_p50_s=0.02, tpot_p95_s=0.05).p50_s == pytest.approx(0.24)


@pytest.mark.parametrize(
    ("p50", "p95", "word"), [(-0.1, 1, "p50_s"), (0.2, 0.1, "below"), (0, 0.1, "median"), (0.1, math.nan, "p95_s")]
)
def test_impossible_parts_are_refused(p50: float, p95: float, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        delay("asr", p50_s=p50, p95_s=p95)


def test_an_empty_chain_is_refused() -> None:
    with pytest.raises(UsageError, match="one part"):
        chain_latency([])
    with pytest.raises(UsageError, match="at least 1"):
        clause_delay("clause", tokens=0.5, tpot_p50_s=0.02, tpot_p95_s=0.05)
