"""Laws that every estimate obeys, whatever the model: more is not less, twice is twice, parts add up to the whole."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmdrill.catalog.architecture import AttentionShape, LayerGroup
from llmdrill.catalog.load import find_accelerator, find_model, load_models, load_prices
from llmdrill.errors import UsageError
from llmdrill.estimate.agents import Call, call_latency_s, call_usd, chain_success_share, loop_calls, loop_input_tokens
from llmdrill.estimate.caching import cached_latency_quantile_s, cached_latency_s, cached_request_usd
from llmdrill.estimate.cost import api_request_cost, api_request_usd, api_usd_per_month, billed_rates, expected_attempts
from llmdrill.estimate.flops import decode_flops, prefill_flops
from llmdrill.estimate.kv_cache import kv_cache_bytes, max_context_tokens, max_sequences
from llmdrill.estimate.lognormal import lognormal
from llmdrill.estimate.memory import cache_room_bytes, ideal_weights_bytes, weights_bytes
from llmdrill.estimate.serving import serving_estimate

if TYPE_CHECKING:
    from llmdrill.catalog.price import Price

ALL_PRICES = [one for one in load_prices() if one.output_usd_per_mtok]
PRICES = st.sampled_from([one for one in ALL_PRICES if not one.tiers])  # without tiers cost is linear
DECODERS = [one for one in load_models() if one.kind != "encoder"]
MODELS = st.sampled_from([one for one in DECODERS if one.active_parameters and one.embedding_parameters])
SHAPES = st.builds(
    AttentionShape,
    layers=st.integers(2, 100),
    kv_heads=st.integers(1, 16),
    head_dim=st.sampled_from([64, 128, 256]),
    windows=st.sampled_from([(), (LayerGroup(1, 512),), (LayerGroup(2, 4096),)]),
)
TOKENS = st.integers(1, 200_000)
SHARES = st.floats(0, 1)
SERVED = st.sampled_from(["llama-3.1-8b", "qwen3-32b", "mixtral-8x7b"])
BATCHES = st.integers(1, 128)


def close(value: float, other: float) -> bool:
    return value == pytest.approx(other, rel=1e-9, abs=1e-15)


# --- cost ---------------------------------------------------------------------------------------------------------


@given(price=st.sampled_from(ALL_PRICES), first=st.tuples(TOKENS, TOKENS), second=st.tuples(TOKENS, TOKENS))
def test_the_cost_of_two_requests_is_the_sum_of_theirs_and_one_long_one_is_never_cheaper(
    price: Price, first: tuple[int, int], second: tuple[int, int]
) -> None:
    def usd(tokens: tuple[int, int]) -> float:
        return api_request_usd(price, input_tokens=tokens[0], output_tokens=tokens[1])

    together, apart = usd((first[0] + second[0], first[1] + second[1])), usd(first) + usd(second)
    assert together > apart or close(together, apart)
    if not price.tiers:  # a long prompt may be dearer per token
        assert close(together, apart)


@given(price=PRICES, tokens=TOKENS, more=TOKENS)
def test_more_tokens_never_cost_less_and_the_parts_of_a_request_are_its_whole(
    price: object, tokens: int, more: int
) -> None:
    cost = api_request_cost(price, input_tokens=tokens, output_tokens=more)  # type: ignore[arg-type]
    whole = api_request_usd(price, input_tokens=tokens, output_tokens=more)  # type: ignore[arg-type]
    assert close(cost.usd, whole)
    for larger in (
        {"input_tokens": tokens + more, "output_tokens": more},
        {"input_tokens": tokens, "output_tokens": 2 * more},
    ):
        assert api_request_usd(price, **larger) >= whole  # type: ignore[arg-type]


@given(price=PRICES, tokens=TOKENS, share=SHARES)
def test_a_cached_token_never_costs_more_than_a_fresh_one(price: object, tokens: int, share: float) -> None:
    cached = int(tokens * share)
    try:
        usd = api_request_usd(price, input_tokens=tokens, cached_input_tokens=cached)  # type: ignore[arg-type]
    except UsageError:
        return  # this provider has no price for cached tokens
    assert usd <= api_request_usd(price, input_tokens=tokens) * (1 + 1e-12)  # type: ignore[arg-type]


@given(usd=st.floats(0, 10), requests=st.floats(1, 1e9), failing=st.floats(0, 0.9), retries=st.integers(0, 10))
def test_a_month_is_linear_in_requests_and_retries_only_add(
    usd: float, requests: float, failing: float, retries: int
) -> None:
    month = api_usd_per_month(usd_per_request=usd, requests_per_month=requests)
    assert close(api_usd_per_month(usd_per_request=usd, requests_per_month=2 * requests), 2 * month)
    attempts = expected_attempts(failure_share=failing, retries=retries)
    assert 1 <= attempts <= retries + 1
    assert expected_attempts(failure_share=failing, retries=retries + 1) >= attempts


# --- memory and the cache -----------------------------------------------------------------------------------------


@given(shape=SHAPES, tokens=TOKENS, sequences=st.integers(1, 1000), block=st.sampled_from([1, 16, 32]))
def test_the_cache_is_linear_in_sequences_and_bytes_and_monotone_in_context(
    shape: AttentionShape, tokens: int, sequences: int, block: int
) -> None:
    one = kv_cache_bytes(shape, context_tokens=tokens, block_tokens=block)
    assert close(kv_cache_bytes(shape, context_tokens=tokens, sequences=sequences, block_tokens=block), one * sequences)
    assert close(kv_cache_bytes(shape, context_tokens=tokens, bytes_per_value=1, block_tokens=block), one / 2)
    assert kv_cache_bytes(shape, context_tokens=tokens + 1, block_tokens=block) >= one
    assert one >= kv_cache_bytes(shape, context_tokens=tokens)  # blocks only waste


@given(shape=SHAPES, tokens=TOKENS)
def test_the_caches_of_two_groups_of_layers_add_up_to_that_of_all(shape: AttentionShape, tokens: int) -> None:
    full = AttentionShape(shape.layers, shape.kv_heads, shape.head_dim)
    half = AttentionShape(shape.layers // 2, shape.kv_heads, shape.head_dim)
    rest = AttentionShape(shape.layers - shape.layers // 2, shape.kv_heads, shape.head_dim)
    parts = sum(kv_cache_bytes(one, context_tokens=tokens) for one in (half, rest))
    assert close(kv_cache_bytes(full, context_tokens=tokens), parts)
    assert kv_cache_bytes(shape, context_tokens=tokens) <= kv_cache_bytes(full, context_tokens=tokens)


@given(shape=SHAPES, memory_gb=st.floats(0.01, 200), tokens=TOKENS)
def test_what_is_said_to_fit_fits_and_one_more_does_not(shape: AttentionShape, memory_gb: float, tokens: int) -> None:
    memory = memory_gb * 1e9
    longest = max_context_tokens(shape, memory_bytes=memory)
    if longest is not None:
        assert kv_cache_bytes(shape, context_tokens=longest) <= memory
        assert kv_cache_bytes(shape, context_tokens=longest + 1) > memory
    most = max_sequences(shape, memory_bytes=memory, context_tokens=tokens)
    assert most is not None
    assert kv_cache_bytes(shape, context_tokens=tokens, sequences=most) <= memory * (1 + 1e-12)
    assert kv_cache_bytes(shape, context_tokens=tokens, sequences=most + 1) > memory * (1 - 1e-12)


@given(parameters=st.floats(1e6, 1e12), devices=st.integers(1, 16))
def test_weights_are_linear_never_below_their_ideal_and_room_grows_with_devices(
    parameters: float, devices: int
) -> None:
    sizes = [weights_bytes(parameters=parameters, precision=one) for one in ("fp32", "bf16", "fp8", "int4")]
    assert all(larger > smaller for larger, smaller in pairwise(sizes))
    assert close(weights_bytes(parameters=2 * parameters, precision="bf16"), 2 * sizes[1])
    assert sizes[3] >= ideal_weights_bytes(parameters=parameters, bits=4)
    room = cache_room_bytes(weights_bytes=sizes[1], memory_bytes=80e9, devices=devices)
    assert cache_room_bytes(weights_bytes=sizes[1], memory_bytes=80e9, devices=devices + 1) > room


@given(model=MODELS, tokens=st.integers(1, 30_000), more=st.integers(1, 30_000))
def test_work_grows_with_the_prompt_and_a_cached_prefix_is_work_saved(model: object, tokens: int, more: int) -> None:
    whole = prefill_flops(model, input_tokens=tokens + more)  # type: ignore[arg-type]
    first = prefill_flops(model, input_tokens=tokens)  # type: ignore[arg-type]
    rest = prefill_flops(model, input_tokens=more, cached_tokens=tokens)  # type: ignore[arg-type]
    assert 0 < first < whole
    assert close(first + rest, whole)
    later, now = (decode_flops(model, context_tokens=one) for one in (tokens + more, tokens))  # type: ignore[arg-type]
    assert later >= now


# --- serving ------------------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(name=SERVED, batch=BATCHES, prompt=st.integers(16, 8000), answer=st.integers(2, 2000))
def test_no_served_figure_is_below_its_floor_or_outside_its_band(
    name: str, batch: int, prompt: int, answer: int
) -> None:
    found = serving_estimate(
        find_model(name),
        find_accelerator("h200"),
        batch=batch,
        input_tokens=prompt,
        output_tokens=answer,
        tensor_parallel=2,
    )
    for figure in (found.ttft_s, found.tpot_s):
        assert 0 < figure.floor_s <= figure.value_s
        assert figure.low_s <= figure.value_s <= figure.high_s


@settings(max_examples=25)
@given(name=SERVED, batch=st.integers(1, 64), prompt=st.integers(16, 4000))
def test_a_larger_batch_or_a_longer_prompt_never_serves_faster(name: str, batch: int, prompt: int) -> None:
    def tpot(sequences: int, tokens: int) -> float:
        found = serving_estimate(
            find_model(name),
            find_accelerator("h200"),
            batch=sequences,
            input_tokens=tokens,
            output_tokens=200,
            tensor_parallel=2,
        )
        return float(found.tpot_s.value_s)

    now = tpot(batch, prompt)
    assert tpot(2 * batch, prompt) >= now * (1 - 1e-9)
    assert tpot(batch, 2 * prompt) >= now * (1 - 1e-9)


# --- caches of answers --------------------------------------------------------------------------------------------


@given(hit=SHARES, request=st.floats(0, 10), lookup=st.floats(0, 1), miss=st.floats(0.01, 60))
def test_without_lookups_and_wrong_hits_a_cache_only_saves_and_costs_are_linear_in_its_hits(
    hit: float, request: float, lookup: float, miss: float
) -> None:
    free = cached_request_usd(hit_share=hit, request_usd=request)
    assert free <= request
    assert close(free, request * (1 - hit))
    assert close(cached_request_usd(hit_share=hit, request_usd=request, lookup_usd=lookup), free + lookup)
    assert cached_latency_s(hit_share=hit, lookup_s=lookup, request_mean_s=miss) <= lookup + miss * (1 + 1e-12)


@given(hit=st.floats(0, 0.99), lookup=st.floats(0, 1), p50=st.floats(0.05, 10), ratio=st.floats(1.01, 20))
def test_p50_is_not_above_p95_and_p95_not_above_p99(hit: float, lookup: float, p50: float, ratio: float) -> None:
    request = lognormal(p50=p50, p95=p50 * ratio)
    quantiles = [
        cached_latency_quantile_s(share, hit_share=hit, lookup_s=lookup, request=request) for share in (0.5, 0.95, 0.99)
    ]
    assert all(lower <= upper + 1e-12 for lower, upper in pairwise(quantiles))
    assert quantiles[0] >= lookup


# --- agents -------------------------------------------------------------------------------------------------------


@given(steps=st.integers(1, 60), base=st.integers(1, 20_000), output=st.integers(1, 2000), seen=st.integers(0, 5000))
def test_the_calls_of_a_loop_add_up_to_its_closed_form_and_caching_sends_no_other_tokens(
    steps: int, base: int, output: int, seen: int
) -> None:
    words = {"steps": steps, "base_tokens": base, "output_tokens": output, "observation_tokens": seen}
    plain, cached = (loop_calls(**words, cached=one) for one in (False, True))
    closed = loop_input_tokens(steps=steps, base_tokens=base, growth_tokens=output + seen)
    assert close(math.fsum(one.input_tokens for one in plain), closed)
    assert [one.input_tokens for one in cached] == [one.input_tokens for one in plain]
    rates = billed_rates(next(one for one in load_prices() if one.name == "gpt-4o-mini"), prompt_tokens=1000)
    assert (
        math.fsum(call_usd(rates, one) for one in cached) <= math.fsum(call_usd(rates, one) for one in plain) * 1.0001
    )
    assert len(loop_calls(**{**words, "steps": steps + 1})) == steps + 1


@given(ttft=st.floats(0, 5), tpot=st.floats(0, 1), tool=st.floats(0, 10), output=st.integers(1, 2000))
def test_a_call_takes_at_least_its_first_token_and_its_tool(ttft: float, tpot: float, tool: float, output: int) -> None:
    call = Call("step", input_tokens=1000, output_tokens=output)
    took = call_latency_s(call, ttft_s=ttft, tpot_s=tpot, tool_s=tool)
    assert took >= ttft + tool - 1e-12
    longer = Call("step", input_tokens=1000, output_tokens=2 * output)
    assert call_latency_s(longer, ttft_s=ttft, tpot_s=tpot, tool_s=tool) >= took


@given(step=st.floats(0, 1), first=st.integers(1, 20), second=st.integers(1, 20), retries=st.integers(0, 5))
def test_a_chain_succeeds_as_often_as_its_parts_do_together(step: float, first: int, second: int, retries: int) -> None:
    def share(steps: int, retries: int = retries) -> float:
        return chain_success_share(step_share=step, steps=steps, retries=retries)

    assert close(share(first + second), share(first) * share(second))
    assert share(first + second) <= share(first) + 1e-12
    assert share(first, retries + 1) >= share(first) - 1e-12
