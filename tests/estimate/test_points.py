"""The formulas over arrays give what the same formulas give point by point."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.catalog.architecture import AttentionShape, LayerGroup
from llmdrill.errors import UsageError
from llmdrill.estimate.kv_cache import kv_cache_bytes
from llmdrill.estimate.points import kv_cache_points

SHAPES = (
    AttentionShape(layers=80, kv_heads=8, head_dim=128),
    AttentionShape(layers=26, kv_heads=1, head_dim=256, windows=(LayerGroup(20, 512), LayerGroup(2, 100))),
    AttentionShape(layers=61, kv_heads=128, head_dim=128, latent_values=576),
)


@given(
    points=st.lists(st.tuples(st.floats(0, 1e7), st.integers(0, 5000)), min_size=1, max_size=20),
    shape=st.sampled_from(SHAPES),
    bytes_per_value=st.sampled_from([0.5, 0.5625, 1.0, 2.0]),
    block_tokens=st.sampled_from([1, 16, 128]),
)
def test_each_point_is_what_the_formula_gives_for_it_alone(
    points: list[tuple[float, int]], shape: AttentionShape, bytes_per_value: float, block_tokens: int
) -> None:
    together = kv_cache_points(
        shape,
        context_tokens=np.array([context for context, _ in points]),
        sequences=np.array([sequences for _, sequences in points]),
        bytes_per_value=bytes_per_value,
        block_tokens=block_tokens,
    )
    assert together.tolist() == [
        kv_cache_bytes(
            shape,
            context_tokens=context,
            sequences=sequences,
            bytes_per_value=bytes_per_value,
            block_tokens=block_tokens,
        )
        for context, sequences in points
    ]


def test_one_number_of_sequences_holds_for_every_point_and_no_points_give_none() -> None:
    contexts = np.array([100_000, 1000])
    assert kv_cache_points(SHAPES[0], context_tokens=contexts).tolist() == [32_768_000_000, 327_680_000]
    assert kv_cache_points(SHAPES[0], context_tokens=contexts, sequences=3)[0] == 3 * 32_768_000_000
    assert kv_cache_points(SHAPES[0], context_tokens=np.array([])).tolist() == []


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf")])
def test_one_wrong_point_is_refused_with_the_name_of_its_number(wrong: float) -> None:
    with pytest.raises(UsageError, match="context_tokens"):
        kv_cache_points(SHAPES[0], context_tokens=np.array([1.0, wrong]))
    with pytest.raises(UsageError, match="sequences"):
        kv_cache_points(SHAPES[0], context_tokens=np.array([1.0, 2.0]), sequences=np.array([1.0, wrong]))
    with pytest.raises(UsageError, match="bytes_per_value"):
        kv_cache_points(SHAPES[0], context_tokens=np.array([1.0]), bytes_per_value=wrong)
