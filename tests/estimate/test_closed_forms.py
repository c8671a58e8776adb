"""Weights, FLOPs, indexes, queues, lognormals, agreement."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.catalog.architecture import AttentionShape, LayerGroup
from llmdrill.catalog.load import find_model
from llmdrill.errors import UsageError
from llmdrill.estimate.agreement import cohens_kappa
from llmdrill.estimate.chunks import chunk_count
from llmdrill.estimate.flops import attention_flops, decode_flops, matmul_parameters, prefill_flops
from llmdrill.estimate.lognormal import lognormal
from llmdrill.estimate.memory import cache_room_bytes, weights_bytes
from llmdrill.estimate.queueing import mean_wait_s, resident_batch, utilisation, wait_probability, wait_quantile_s


def test_llama_3_1_8b_takes_16_06_gb_in_bf16_and_a_quarter_and_scales_in_4_bits() -> None:
    parameters = 8_030_261_248
    assert weights_bytes(parameters=parameters, precision="bf16") == 16_060_522_496
    four_bits = weights_bytes(parameters=parameters, precision="int4")
    assert four_bits * 8 / parameters == pytest.approx(4 + 20 / 128)
    assert weights_bytes(parameters=parameters, precision="fp8") == parameters
    assert cache_room_bytes(weights_bytes=16e9, memory_bytes=16e9) < 0


def test_the_input_embedding_is_multiplied_only_where_it_is_the_head() -> None:
    untied, tied = find_model("llama-3.1-8b"), find_model("smollm2-135m")
    assert matmul_parameters(untied) == 8_030_261_248 - 128_256 * 4096
    assert matmul_parameters(tied) == tied.parameters


def test_prefill_costs_what_writing_the_same_tokens_one_by_one_costs() -> None:
    model, n = find_model("smollm2-135m"), 400
    one_by_one = sum(decode_flops(model, context_tokens=position + 0.5) for position in range(n))
    assert prefill_flops(model, input_tokens=n) == pytest.approx(one_by_one)


def test_a_window_caps_the_attention_work() -> None:
    full = AttentionShape(2, 1, 8, heads=4)
    half = AttentionShape(2, 1, 8, heads=4, windows=(LayerGroup(1, 10),))
    assert attention_flops(full, tokens=1, context_tokens=10) == attention_flops(half, tokens=1, context_tokens=10)
    assert attention_flops(half, tokens=1, context_tokens=30) == attention_flops(full, tokens=1, context_tokens=20)


def brute_force_chunks(tokens: int, size: int, overlap: int) -> int:
    count, start = 0, 0
    while True:
        count += 1
        if start + size >= tokens:
            return count
        start += size - overlap


@given(tokens=st.integers(1, 3000), size=st.integers(1, 500), share=st.floats(0, 0.99))
def test_chunks_are_as_many_as_a_window_really_cuts(tokens: int, size: int, share: float) -> None:
    overlap = int(size * share)
    assert chunk_count([tokens], size_tokens=size, overlap_tokens=overlap) == brute_force_chunks(tokens, size, overlap)


def test_an_overlap_as_large_as_the_chunk_is_refused() -> None:
    with pytest.raises(UsageError, match="overlap_tokens"):
        chunk_count([10], size_tokens=5, overlap_tokens=5)
    with pytest.raises(ValueError, match="documents_tokens"):
        chunk_count([10, -1], size_tokens=5)


@given(rho=st.floats(0.01, 0.99))
def test_one_server_waits_as_the_textbook_says(rho: float) -> None:
    assert wait_probability(arrivals_per_s=rho, service_s=1) == pytest.approx(rho)
    assert mean_wait_s(arrivals_per_s=rho, service_s=1) == pytest.approx(rho / (1 - rho))


@given(load=st.floats(0.1, 0.95), servers=st.integers(1, 20))
def test_one_shared_queue_never_waits_longer_than_separate_ones(load: float, servers: int) -> None:
    shared = mean_wait_s(arrivals_per_s=load * servers, service_s=1, servers=servers)
    alone = mean_wait_s(arrivals_per_s=load, service_s=1)
    assert shared is not None
    assert alone is not None
    assert shared <= alone + 1e-12


def test_the_wait_s_quantile_agrees_with_simulated_waits() -> None:
    rng = np.random.default_rng(3)
    gaps, services = rng.exponential(1 / 0.7, 200_000), rng.exponential(1, 200_000)
    waits, wait = [], 0.0
    for gap, service in zip(gaps, services, strict=True):
        wait = max(0.0, wait - gap)
        waits.append(wait)
        wait += service
    expected = wait_quantile_s(0.95, arrivals_per_s=0.7, service_s=1)
    assert float(np.quantile(waits, 0.95)) == pytest.approx(expected, rel=0.1)


def test_overload_is_none_and_a_probability_of_one() -> None:
    assert utilisation(arrivals_per_s=2, service_s=1) == 2
    assert wait_probability(arrivals_per_s=2, service_s=1) == 1
    assert mean_wait_s(arrivals_per_s=1, service_s=1) is None
    assert wait_quantile_s(0.95, arrivals_per_s=1, service_s=1) is None
    assert wait_quantile_s(0.5, arrivals_per_s=0.1, service_s=1) == 0
    assert resident_batch(lambda batch: 1 + batch, arrivals_per_s=2, max_batch=100) is None


@given(rate=st.floats(0.01, 9), slope=st.floats(0, 0.1))
def test_the_resident_batch_is_a_fixed_point_of_little_s_law(rate: float, slope: float) -> None:
    batch = resident_batch(lambda resident: 2 + slope * resident, arrivals_per_s=rate, max_batch=1000)
    assert batch is not None
    assert batch == pytest.approx(rate * (2 + slope * batch), rel=1e-6)


@given(p50=st.floats(1, 1e5), ratio=st.floats(1, 20))
def test_a_lognormal_has_its_two_percentiles_and_a_mean_above_the_median(p50: float, ratio: float) -> None:
    distribution = lognormal(p50=p50, p95=p50 * ratio)
    assert distribution.p50 == pytest.approx(p50)
    assert distribution.p95 == pytest.approx(p50 * ratio)
    assert distribution.mean >= distribution.p50 * (1 - 1e-12)


def test_draws_follow_the_distribution() -> None:
    distribution = lognormal(p50=500, p95=2000)
    draws = distribution.draw(np.random.default_rng(1), 100_000)
    assert draws.shape == (100_000,)
    assert float(np.quantile(draws, 0.95)) == pytest.approx(2000, rel=0.03)
    assert float(draws.mean()) == pytest.approx(distribution.mean, rel=0.03)


def test_a_p95_below_the_median_is_refused() -> None:
    with pytest.raises(ValueError, match="must not be below"):
        lognormal(p50=2, p95=1)


@given(labels=st.lists(st.sampled_from("abc"), min_size=2).filter(lambda labels: len(set(labels)) > 1))
def test_kappa_is_one_for_the_same_labels_and_symmetric(labels: list[str]) -> None:
    assert cohens_kappa(labels, labels) == pytest.approx(1)
    turned = labels[1:] + labels[:1]
    assert cohens_kappa(labels, turned) == pytest.approx(cohens_kappa(turned, labels))


def test_kappa_is_none_where_it_is_undefined() -> None:
    assert cohens_kappa([], []) is None
    assert cohens_kappa("aaa", "aaa") is None
    assert cohens_kappa("ab", "ba") == -1
    with pytest.raises(UsageError, match="same items"):
        cohens_kappa("a", "ab")
    assert math.isclose(cohens_kappa("aabb", "abab") or 0, 0)
