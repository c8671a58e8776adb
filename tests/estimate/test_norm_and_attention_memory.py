"""Laws of the closed forms behind `lab norm` and `lab attention`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.estimate.attention_memory import score_matrix_bytes, tiled_attention_bytes
from llmdrill.estimate.checks import NumberError
from llmdrill.estimate.layer_norm import hidden_square, last_gradient_ratio

counts = st.integers(1, 10_000)


@given(tokens=counts, heads=st.integers(1, 64))
def test_twice_the_tokens_are_four_times_the_scores(tokens: int, heads: int) -> None:
    one, twice = (score_matrix_bytes(tokens=count, heads=heads) for count in (tokens, 2 * tokens))
    assert twice == 4 * one


@given(tokens=st.integers(512, 10_000), size=st.integers(1, 128))
def test_tiled_memory_grows_by_the_output_alone(tokens: int, size: int) -> None:
    one, more = (
        tiled_attention_bytes(tokens=count, heads=2, head_dim=size, tile_tokens=128) for count in (tokens, tokens + 10)
    )
    assert more - one == 10 * size * 2 * 4


@given(layers=st.integers(0, 200), share=st.floats(0, 1))
def test_hidden_states_lie_between_the_bounds_of_the_lemma(layers: int, share: float) -> None:
    assert 1 + layers / 2 <= hidden_square(layers=layers, attention_share=share) <= 1 + 3 * layers / 2


@given(layers=counts, than=counts)
def test_four_times_the_layers_halve_the_gradient_of_pre_ln_and_leave_that_of_post_ln(layers: int, than: int) -> None:
    one, other = (last_gradient_ratio("pre", layers=count, than_layers=than) for count in (layers, 4 * layers))
    assert other == pytest.approx(one / 2)
    assert last_gradient_ratio("post", layers=layers, than_layers=than) == 1


def test_shares_outside_zero_to_one_are_refused() -> None:
    with pytest.raises(NumberError):
        hidden_square(layers=1, attention_share=1.5)
    with pytest.raises(NumberError):
        score_matrix_bytes(tokens=0, heads=1)
