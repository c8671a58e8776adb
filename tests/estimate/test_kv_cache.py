"""The key-value cache: published numbers, laws, inverses, refusals."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.catalog.architecture import AttentionShape, LayerGroup
from llmdrill.catalog.load import find_model
from llmdrill.errors import UsageError
from llmdrill.estimate.kv_cache import explain_kv_cache, kv_cache_bytes, max_context_tokens, max_sequences

OPT_13B = AttentionShape(layers=40, kv_heads=40, head_dim=128)
COUNTS = st.integers(1, 100)
SHAPES = st.builds(
    lambda layers, windowed, window, kv_heads, head_dim: AttentionShape(
        layers=layers + windowed, kv_heads=kv_heads, head_dim=head_dim, windows=(LayerGroup(windowed, window),)
    ),
    layers=COUNTS,
    windowed=st.integers(0, 50),
    window=st.integers(1, 5000),
    kv_heads=COUNTS,
    head_dim=COUNTS,
)


def test_opt_13b_needs_800_kib_a_token_as_vllm_s_paper_says() -> None:
    assert kv_cache_bytes(find_model("opt-13b").attention, context_tokens=1) == 800 * 1024


def test_llama_3_1_70b_at_100k_tokens_needs_32_768_000_000_bytes() -> None:
    assert kv_cache_bytes(find_model("llama-3.1-70b").attention, context_tokens=100_000) == 32_768_000_000


@given(shape=SHAPES, context=st.integers(0, 10**6), factor=st.integers(2, 10))
def test_sequences_and_bytes_per_value_scale_the_cache(shape: AttentionShape, context: int, factor: int) -> None:
    one = kv_cache_bytes(shape, context_tokens=context)
    assert kv_cache_bytes(shape, context_tokens=context, sequences=factor) == factor * one
    assert kv_cache_bytes(shape, context_tokens=context, bytes_per_value=1) == one / 2


@given(context=st.integers(0, 10**6))
def test_doubling_the_context_doubles_the_cache_of_full_attention(context: int) -> None:
    assert kv_cache_bytes(OPT_13B, context_tokens=2 * context) == 2 * kv_cache_bytes(OPT_13B, context_tokens=context)


@given(shape=SHAPES, context=st.integers(0, 10**6))
def test_a_window_never_needs_more_and_nothing_more_once_it_is_full(shape: AttentionShape, context: int) -> None:
    full = AttentionShape(shape.layers, shape.kv_heads, shape.head_dim)
    assert kv_cache_bytes(shape, context_tokens=context) <= kv_cache_bytes(full, context_tokens=context)
    only_windows = AttentionShape(5, 1, 1, windows=(LayerGroup(5, 100),))
    assert kv_cache_bytes(only_windows, context_tokens=100 + context) == kv_cache_bytes(
        only_windows, context_tokens=100
    )


@given(shape=SHAPES, context=st.integers(0, 10**5), block=st.integers(2, 64))
def test_paging_adds_less_than_one_block_per_layer(shape: AttentionShape, context: int, block: int) -> None:
    plain = kv_cache_bytes(shape, context_tokens=context)
    paged = kv_cache_bytes(shape, context_tokens=context, block_tokens=block)
    assert 0 <= paged - plain < shape.layers * shape.values_per_token * 2 * block


@given(shape=SHAPES, memory=st.integers(0, 10**12))
def test_the_longest_context_fits_and_one_token_more_does_not(shape: AttentionShape, memory: int) -> None:
    longest = max_context_tokens(shape, memory_bytes=memory)
    assert longest is not None
    assert kv_cache_bytes(shape, context_tokens=longest) <= memory
    assert kv_cache_bytes(shape, context_tokens=longest + 1) > memory


@given(memory=st.integers(0, 10**13), context=st.integers(1, 10**6))
def test_the_most_sequences_fit_and_one_more_does_not(memory: int, context: int) -> None:
    most = max_sequences(OPT_13B, memory_bytes=memory, context_tokens=context)
    assert most is not None
    assert kv_cache_bytes(OPT_13B, context_tokens=context, sequences=most) <= memory
    assert kv_cache_bytes(OPT_13B, context_tokens=context, sequences=most + 1) > memory


def test_unbounded_is_none_not_infinity() -> None:
    windowed = AttentionShape(1, 1, 1, windows=(LayerGroup(1, 10),))
    assert max_context_tokens(windowed, memory_bytes=40) is None
    assert max_context_tokens(windowed, memory_bytes=39) == 9
    assert max_sequences(AttentionShape(0, 0, 0), memory_bytes=1, context_tokens=1) is None


def test_latent_attention_caches_576_values_a_token_and_layer() -> None:
    shape = find_model("deepseek-v2-lite").attention
    assert shape.kind == "MLA"
    assert kv_cache_bytes(shape, context_tokens=1) == 27 * 576 * 2


def test_the_explanation_s_numbers_give_its_value() -> None:
    explained = explain_kv_cache(find_model("gemma-2-9b").attention, context_tokens=8192, sequences=3)
    terms, result = explained.filled.split(" = ")
    computed = eval(terms.replace("×", "*").replace("8,192", "8192").replace("4,096", "4096"))  # noqa: S307 - our text
    assert computed == explained.value == float(result.removesuffix(" B").replace(",", ""))


@pytest.mark.parametrize("bad", [-1, math.inf, math.nan])
def test_a_number_that_cannot_be_is_refused_by_name(bad: float) -> None:
    with pytest.raises(ValueError, match="context_tokens must be zero or more"):
        kv_cache_bytes(OPT_13B, context_tokens=bad)
    with pytest.raises(UsageError, match="sequences"):
        kv_cache_bytes(OPT_13B, context_tokens=1, sequences=bad)


def test_a_shape_with_more_windows_than_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="hold more"):
        AttentionShape(1, 1, 1, windows=(LayerGroup(2, 5),))
