"""Cache types, copies under tensor parallelism, indexers, states, pages: published numbers, laws, refusals."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.catalog.architecture import AttentionShape, LayerGroup, StateLayers
from llmdrill.catalog.load import find_model
from llmdrill.errors import UsageError
from llmdrill.estimate.kv_cache import (
    cache_bytes_per_value,
    cache_copies,
    explain_kv_cache,
    index_cache_bytes,
    kv_cache_bytes,
    max_context_tokens,
    max_sequences,
)
from llmdrill.estimate.paging import contiguous_waste_bytes, paged_waste_bytes
from llmdrill.estimate.state import explain_state, state_bytes, state_flops

LLAMA_70B = find_model("llama-3.1-70b").attention


def test_80_layers_8_heads_of_128_hold_30_5_gib_at_100000_tokens() -> None:
    shape = AttentionShape(layers=80, kv_heads=8, head_dim=128)
    total = kv_cache_bytes(shape, context_tokens=100_000)
    assert total == 32_768_000_000
    assert round(total / 2**30, 1) == 30.5


@pytest.mark.parametrize(
    ("dtype", "bits"),
    [("fp32", 32), ("fp16", 16), ("bf16", 16), ("fp8", 8), ("int8", 8), ("int4", 4), ("q8_0", 8.5), ("q4_0", 4.5)],
)
def test_a_cache_type_has_its_bits(dtype: str, bits: float) -> None:
    assert cache_bytes_per_value(dtype) * 8 == bits


def test_an_unknown_cache_type_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown cache type 'fp61' \\(did you mean fp16"):
        cache_bytes_per_value("fp61")


def test_a_value_head_of_its_own_size_counts_once() -> None:
    shape = AttentionShape(layers=1, kv_heads=2, head_dim=192, value_dim=128)
    assert kv_cache_bytes(shape, context_tokens=1, bytes_per_value=1) == 2 * (192 + 128)


@pytest.mark.parametrize(
    ("model", "tensor_parallel", "copies"),
    [
        ("llama-3.1-70b", 8, 1),
        ("llama-3.1-70b", 32, 4),
        ("falcon-7b", 71, 71),
        ("deepseek-v3", 4, 4),
        ("mamba-130m", 3, 1),
    ],
)
def test_heads_that_do_not_split_are_stored_on_every_device(model: str, tensor_parallel: int, copies: float) -> None:
    assert cache_copies(find_model(model).attention, tensor_parallel=tensor_parallel) == copies


@pytest.mark.parametrize(("heads", "kv_heads", "devices"), [(64, 8, 3), (12, 4, 6)])
def test_a_split_that_leaves_a_rest_is_refused(heads: int, kv_heads: int, devices: int) -> None:
    shape = AttentionShape(layers=1, kv_heads=kv_heads, head_dim=8, heads=heads)
    with pytest.raises(UsageError, match="cannot be split evenly"):
        cache_copies(shape, tensor_parallel=devices)


def test_an_indexer_keeps_132_bytes_a_token_and_layer_as_vllm_does() -> None:
    shape = find_model("glm-5").attention
    assert index_cache_bytes(shape, context_tokens=1000, sequences=2) == 132 * 78 * 2000
    assert index_cache_bytes(LLAMA_70B, context_tokens=1000) == 0


@given(context=st.integers(1, 10**5), block=st.integers(1, 64))
def test_blocks_waste_half_a_block_on_average_and_never_a_whole_one(context: int, block: int) -> None:
    waste = [
        kv_cache_bytes(LLAMA_70B, context_tokens=tokens, block_tokens=block)
        - kv_cache_bytes(LLAMA_70B, context_tokens=tokens)
        for tokens in range(context, context + block)
    ]
    assert sum(waste) / block == pytest.approx(paged_waste_bytes(LLAMA_70B, block_tokens=block))
    assert max(waste) < block * kv_cache_bytes(LLAMA_70B, context_tokens=1)


def test_contiguous_reservation_wastes_what_is_not_used() -> None:
    wasted = contiguous_waste_bytes(LLAMA_70B, context_tokens=1000, reserved_tokens=4000, sequences=2)
    assert wasted == kv_cache_bytes(LLAMA_70B, context_tokens=3000, sequences=2)
    with pytest.raises(UsageError, match="less than"):
        contiguous_waste_bytes(LLAMA_70B, context_tokens=2, reserved_tokens=1)


@given(memory=st.integers(0, 10**12), context=st.integers(1, 10**6), fixed=st.integers(0, 10**9))
def test_the_most_sequences_fit_with_their_states_and_one_more_does_not(memory: int, context: int, fixed: int) -> None:
    shape = find_model("glm-5").attention
    most = max_sequences(shape, memory_bytes=memory, context_tokens=context, fixed_bytes=fixed, block_tokens=16)
    assert most is not None
    one = kv_cache_bytes(shape, context_tokens=context, block_tokens=16) + fixed
    one += index_cache_bytes(shape, context_tokens=context)
    assert most * one <= memory < (most + 1) * one


def test_the_longest_paged_context_ends_with_a_block() -> None:
    longest = max_context_tokens(LLAMA_70B, memory_bytes=10e9, block_tokens=16)
    assert longest is not None
    assert longest % 16 == 0


def test_a_state_is_a_window_of_the_convolution_and_a_matrix_per_channel() -> None:
    # mamba-2.8b: 64 layers of 5120 channels, 16 values each; a window of 3 columns; 16 bits
    assert state_bytes(find_model("mamba-2.8b").state) == 64 * (3 * 5120 + 5120 * 16) * 2
    state = find_model("nemotron-h-8b").state
    assert state is not None
    assert state_bytes(state) == 24 * (3 * (8192 + 2 * 8 * 128) * 2 + 8192 * 128 * 4)
    assert state_bytes(state, recurrent_bytes_per_value=2) == 24 * (3 * 10240 + 8192 * 128) * 2


@pytest.mark.parametrize(("kind", "operations"), [("mamba", 6), ("mamba2", 5), ("gated_delta_net", 7)])
def test_a_state_s_work_is_its_operations_per_value_and_its_convolution(kind: Any, operations: int) -> None:
    state = StateLayers(kind, layers=2, conv_values=3 * 10, recurrent_values=100, conv_kernel=4)
    assert state_flops(state, tokens=1) == 2 * (operations * 100 + 2 * 4 * 10)


@given(sequences=st.integers(0, 1000), factor=st.integers(1, 10))
def test_states_and_their_work_are_linear(sequences: int, factor: int) -> None:
    state = StateLayers("mamba2", 3, 6, 8, 4)
    assert state_bytes(state, sequences=factor * sequences) == factor * state_bytes(state, sequences=sequences)
    assert state_flops(state, tokens=factor * sequences) == pytest.approx(factor * state_flops(state, tokens=sequences))
    assert state_bytes(None) == state_flops(None, tokens=sequences) == 0


@pytest.mark.parametrize("model", ["deepseek-v3", "gemma-3-27b", "llama-4-scout", "jamba-v0.1", "falcon-7b"])
def test_an_explanation_s_numbers_give_its_value(model: str) -> None:
    record = find_model(model)
    explained = [explain_kv_cache(record.attention, context_tokens=9001, sequences=3, block_tokens=16)]
    if record.state:
        explained.append(explain_state(record.state, sequences=3))
    for one in explained:
        terms, result = one.filled.split(" = ")
        computed = eval(_python(terms))  # noqa: S307 - our own text
        assert computed == one.value == float(result.removesuffix(" B").replace(",", ""))


def _python(terms: str) -> str:
    import re

    return re.sub(r"(?<=\d),(?=\d{3})", "", terms.replace("×", "*"))


def test_shapes_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="part of latent_values"):
        AttentionShape(1, 1, 1, latent_values=4, rope_values=5)
    with pytest.raises(ValueError, match="no negative"):
        StateLayers("mamba", 1, -1, 1, 4)
    assert AttentionShape(0, 0, 0).kind == "none"
    assert AttentionShape(2, 1, 1, heads=4, windows=(LayerGroup(1, 8),)).kind == "MQA"
