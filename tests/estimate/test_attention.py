"""Attention by hand: torch as the oracle, laws, and what the scaling is for."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.catalog.architecture import AttentionShape
from llmdrill.errors import UsageError
from llmdrill.estimate.attention import (
    EXAMPLE_KEYS,
    EXAMPLE_QUERIES,
    EXAMPLE_VALUES,
    Matrix,
    attend,
    attention_matrix_flops,
    draw_dot_products,
    projection_flops,
    saturation,
    softmax,
    split_heads,
)
from llmdrill.estimate.flops import attention_flops

EXAMPLE = (EXAMPLE_QUERIES, EXAMPLE_KEYS, EXAMPLE_VALUES)
NUMBER = st.floats(-20, 20)


def matrices(rows: int, columns: int) -> st.SearchStrategy[Matrix]:
    return st.tuples(*[st.tuples(*[NUMBER] * columns)] * rows)


def close(ours: Matrix, theirs: object) -> bool:
    flat = [one for row in ours for one in row]
    return flat == pytest.approx([one for row in theirs for one in row], abs=1e-9)  # type: ignore[attr-defined]


@pytest.mark.lab
@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("causal", [False, True])
def test_torch_computes_the_same_output(heads: int, causal: bool) -> None:
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    rng = random.Random(5)  # noqa: S311 - an example
    drawn = tuple(tuple(tuple(rng.gauss(0, 2) for _ in range(8)) for _ in range(6)) for _ in range(3))
    for matrices_ in (EXAMPLE, drawn):
        q, k, v = (split_heads(one, heads=heads) for one in matrices_)
        theirs = scaled_dot_product_attention(
            *(torch.tensor(one, dtype=torch.float64) for one in (q, k, v)), is_causal=causal
        )
        for head in range(heads):
            assert close(attend(q[head], k[head], v[head], causal=causal).output, theirs[head].tolist())


def test_the_first_row_of_the_example_is_what_a_pencil_gives() -> None:
    worked = attend(*EXAMPLE)
    assert worked.scores[0] == (5, 2, 4, 1)
    assert worked.scaled[0] == (2.5, 1, 2, 0.5)
    e = [math.exp(one) for one in worked.scaled[0]]
    assert worked.weights[0] == pytest.approx([one / sum(e) for one in e])
    assert worked.output[0][3] == pytest.approx((2 * e[0] + 4 * e[1] + 6 * e[2] + 8 * e[3]) / sum(e))


@given(q=matrices(3, 4), k=matrices(5, 4), v=matrices(5, 2))
def test_weights_add_up_to_one_and_the_output_stays_within_the_values(q: Matrix, k: Matrix, v: Matrix) -> None:
    worked = attend(q, k, v)
    for row, out in zip(worked.weights, worked.output, strict=True):
        assert math.fsum(row) == pytest.approx(1)
        for column, one in zip(zip(*v, strict=True), out, strict=True):
            assert min(column) - 1e-9 <= one <= max(column) + 1e-9


@given(scores=st.lists(NUMBER, min_size=1, max_size=20), shift=NUMBER)
def test_softmax_ignores_a_shift_and_keeps_the_order(scores: list[float], shift: float) -> None:
    weights = softmax(scores)
    assert softmax([one + shift for one in scores]) == pytest.approx(weights, abs=1e-9)
    assert weights[scores.index(max(scores))] == max(weights)


@given(q=matrices(4, 4), k=matrices(4, 4))
def test_scaling_never_sharpens_a_row(q: Matrix, k: Matrix) -> None:
    scaled, plain = (attend(q, k, EXAMPLE_VALUES, scale=scale) for scale in (None, 1.0))
    for soft, sharp in zip(scaled.weights, plain.weights, strict=True):
        assert saturation(soft).most <= saturation(sharp).most + 1e-9
        assert saturation(soft).entropy_bits >= saturation(sharp).entropy_bits - 1e-9


@given(q=matrices(4, 4), k=matrices(4, 4), v=matrices(4, 3), later=matrices(3, 4))
def test_under_the_causal_mask_the_first_token_does_not_see_the_later_ones(
    q: Matrix, k: Matrix, v: Matrix, later: Matrix
) -> None:
    first = attend(q, k, v, causal=True).output[0]
    assert first == pytest.approx(v[0])
    assert attend(q, (k[0], *later), v, causal=True).output[0] == first


def test_without_scaling_longer_vectors_saturate_the_softmax_and_with_it_they_do_not() -> None:
    rng = random.Random(3)  # noqa: S311 - an illustration
    short, long = (draw_dot_products(d_k=d_k, rows=400, keys=8, rng=rng) for d_k in (4, 64))
    assert short.variance == pytest.approx(4, rel=0.15)
    assert long.variance == pytest.approx(64, rel=0.15)
    assert long.scaled_variance == pytest.approx(1, rel=0.15)
    assert long.plain.gradient < 0.3 * long.scaled.gradient
    assert long.scaled.gradient == pytest.approx(short.scaled.gradient, rel=0.1)


@given(tokens=st.integers(1, 10**6), width=st.integers(1, 20_000))
def test_twice_the_tokens_are_four_times_the_work_and_projections_twice(tokens: int, width: int) -> None:
    once, twice = (attention_matrix_flops(tokens=n, width=width) for n in (tokens, 2 * tokens))
    assert twice == 4 * once
    assert projection_flops(tokens=2 * tokens, width=width) == 2 * projection_flops(tokens=tokens, width=width)
    shape = AttentionShape(1, 1, width, heads=1)
    assert attention_flops(shape, tokens=tokens, context_tokens=tokens) == pytest.approx(once)


@pytest.mark.parametrize(
    ("q", "k", "v"),
    [
        ((), EXAMPLE_KEYS, EXAMPLE_VALUES),
        (((),), EXAMPLE_KEYS, EXAMPLE_VALUES),
        (((1, 2), (3,)), EXAMPLE_KEYS, EXAMPLE_VALUES),
        (((1.0, 2.0),), EXAMPLE_KEYS, EXAMPLE_VALUES),
        (EXAMPLE_QUERIES, EXAMPLE_KEYS, EXAMPLE_VALUES[:2]),
        (((math.nan, 0, 0, 0),), EXAMPLE_KEYS, EXAMPLE_VALUES),
        (((math.inf, 0, 0, 0),), EXAMPLE_KEYS, EXAMPLE_VALUES),
    ],
)
def test_matrices_that_do_not_fit_are_refused(q: Matrix, k: Matrix, v: Matrix) -> None:
    with pytest.raises(UsageError):
        attend(q, k, v)


@pytest.mark.parametrize("heads", [0, 3, 5, -1])
def test_heads_that_do_not_divide_the_width_are_refused(heads: int) -> None:
    with pytest.raises(UsageError, match="divide"):
        split_heads(EXAMPLE_QUERIES, heads=heads)


@pytest.mark.parametrize("scores", [[], [-math.inf], [math.nan, 1], [math.inf, 1]])
def test_a_row_without_a_finite_score_is_refused(scores: list[float]) -> None:
    with pytest.raises(UsageError):
        softmax(scores)
