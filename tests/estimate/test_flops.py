"""FLOPs of prefill and decode with every kind of layer, intensity, ridge, MFU and MBU."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.catalog.architecture import AttentionShape, LayerGroup
from llmdrill.catalog.load import find_model, load_models
from llmdrill.errors import UsageError
from llmdrill.estimate.flops import (
    arithmetic_intensity,
    attention_flops,
    decode_flops,
    matmul_parameters,
    mbu_share,
    mfu_share,
    prefill_flops,
)

DECODERS = [model for model in load_models() if model.kind == "decoder"]
LATENT = AttentionShape(
    layers=1, kv_heads=128, head_dim=192, heads=128, latent_values=576, rope_values=64, value_dim=128
)


def test_latent_attention_works_on_192_and_128_values_unpacked_and_on_576_and_512_absorbed() -> None:
    unpacked = attention_flops(LATENT, tokens=1, context_tokens=1)
    absorbed = attention_flops(LATENT, tokens=1, context_tokens=1, absorbed=True)
    assert unpacked == 2 * 128 * (192 + 128)
    assert absorbed == 2 * 128 * (576 + 512)


def test_an_indexer_bounds_attention_and_costs_its_own_scores() -> None:
    shape = find_model("glm-5").attention
    short, long = (attention_flops(shape, tokens=1, context_tokens=tokens) for tokens in (2048, 4096))
    assert long - short == 2 * 32 * 128 * 78 * 2048  # attention itself sees 2048 tokens at either length


@given(tokens=st.integers(1, 3000), window=st.integers(1, 3000), cached=st.integers(0, 2000))
def test_a_windowed_prefill_is_the_sum_over_its_tokens(tokens: int, window: int, cached: int) -> None:
    model = find_model("mistral-7b")
    from dataclasses import replace

    shape = replace(model.attention, windows=(LayerGroup(32, window),))
    windowed = replace(model, attention=shape)
    linear = 2 * matmul_parameters(model) * tokens
    one_by_one = sum(attention_flops(shape, tokens=1, context_tokens=cached + place + 0.5) for place in range(tokens))
    attention = prefill_flops(windowed, input_tokens=tokens, cached_tokens=cached) - linear
    assert attention == pytest.approx(one_by_one, rel=1e-3, abs=4 * 32 * 4096)


@pytest.mark.parametrize("model", DECODERS, ids=lambda model: model.name)
def test_a_long_context_costs_more_and_a_token_never_less_than_its_matrices(model: object) -> None:
    from llmdrill.catalog.architecture import ModelRecord

    assert isinstance(model, ModelRecord)
    short, long = decode_flops(model, context_tokens=100), decode_flops(model, context_tokens=10_000)
    assert 2 * matmul_parameters(model) <= short <= long
    assert prefill_flops(model, input_tokens=100) <= prefill_flops(model, input_tokens=200) / 2 * 1.0001


def test_a_prefix_in_the_cache_saves_its_own_prefill() -> None:
    model = find_model("llama-3.1-8b")
    whole = prefill_flops(model, input_tokens=3000)
    parts = prefill_flops(model, input_tokens=1000) + prefill_flops(model, input_tokens=2000, cached_tokens=1000)
    assert parts == pytest.approx(whole)


def test_state_space_layers_cost_the_same_at_every_context() -> None:
    model = find_model("mamba-2.8b")
    assert decode_flops(model, context_tokens=10) == decode_flops(model, context_tokens=10**6)
    assert decode_flops(model, context_tokens=0) > 2 * matmul_parameters(model)


def test_a_mixture_multiplies_with_its_active_parameters() -> None:
    model = find_model("mixtral-8x7b")
    assert matmul_parameters(model) == 12_879_925_248 - 32_000 * 4096


def test_mfu_and_mbu_are_the_textbook_ratios() -> None:
    # Databricks 2023: 14 GB of weights in 14 ms is 1 TB/s, half of a device with 2 TB/s
    assert mbu_share(bytes_per_step=14e9, step_s=14e-3, bandwidth_bytes_per_s=2e12) == pytest.approx(0.5)
    assert mfu_share(flops_per_token=6e9, tokens_per_s=26_000, peak_flops_per_s=312e12) == pytest.approx(0.5)
    assert arithmetic_intensity(flops=295e9, moved_bytes=1e9) == 295


@given(devices=st.integers(1, 64), tokens=st.floats(0.1, 1e6))
def test_more_devices_for_the_same_work_are_used_less(devices: int, tokens: float) -> None:
    alone = mfu_share(flops_per_token=1e9, tokens_per_s=tokens, peak_flops_per_s=1e15)
    assert mfu_share(flops_per_token=1e9, tokens_per_s=tokens, peak_flops_per_s=1e15, devices=devices) == pytest.approx(
        alone / devices
    )


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_numbers_that_cannot_be_are_refused(bad: float) -> None:
    model = find_model("llama-3.1-8b")
    with pytest.raises(UsageError, match="input_tokens"):
        prefill_flops(model, input_tokens=bad)
    with pytest.raises(UsageError, match="step_s"):
        mbu_share(bytes_per_step=1, step_s=bad, bandwidth_bytes_per_s=1)
    with pytest.raises(UsageError, match="tokens_per_s"):
        mfu_share(flops_per_token=1, tokens_per_s=bad, peak_flops_per_s=1)
