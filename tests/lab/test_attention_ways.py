"""Attention three ways gives one output; its memory is the closed form's; scaling follows the law."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from torch.nn import functional  # noqa: E402

from llmdrill.errors import UsageError  # noqa: E402
from llmdrill.estimate.attention import EXAMPLE_KEYS, EXAMPLE_QUERIES, EXAMPLE_VALUES, attend, softmax  # noqa: E402
from llmdrill.estimate.attention_memory import score_matrix_bytes, tiled_attention_bytes  # noqa: E402
from llmdrill.lab.attention_scaling import measure_scaling, worked_example  # noqa: E402
from llmdrill.lab.attention_tiling import full_attention, measure_growth, tiled_attention  # noqa: E402
from llmdrill.lab.moe_run import ExpertShape, build_layers  # noqa: E402
from llmdrill.lab.ssm import SsmShape  # noqa: E402
from llmdrill.lab.ssm_run import build_pair, measure_decoding  # noqa: E402
from llmdrill.lab.tiny_transformer import TinyShape, TinyTransformer  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.lab


def drawn(tokens: int, *, seed: int = 0, size: int = 8, scale: float = 1.0) -> tuple[torch.Tensor, ...]:
    rng = torch.Generator().manual_seed(seed)
    return tuple(scale * torch.randn(1, 2, tokens, size, generator=rng) for _ in range(3))


@given(tokens=st.integers(1, 70), tile=st.integers(1, 40), seed=st.integers(0, 99))
@settings(max_examples=20)
def test_tiles_of_any_size_give_full_attention(tokens: int, tile: int, seed: int) -> None:
    q, k, v = drawn(tokens, seed=seed)
    tiled = tiled_attention(q, k, v, tile_tokens=tile)
    assert torch.allclose(tiled, full_attention(q, k, v), atol=1e-5)
    assert torch.allclose(tiled, functional.scaled_dot_product_attention(q, k, v), atol=1e-5)


def test_scores_that_would_overflow_a_plain_exponential_do_not_here() -> None:
    q, k, v = drawn(40, scale=30.0)
    tiled = tiled_attention(q, k, v, tile_tokens=16)
    assert torch.isfinite(tiled).all()
    assert torch.allclose(tiled, full_attention(q, k, v), atol=1e-3)


def test_measured_memory_is_that_of_the_closed_forms() -> None:
    found = measure_growth(lengths=(128, 512), heads=2, head_dim=16, repeats=1, seed=0)
    for one in found:
        output = one.tokens * 2 * 16 * 4
        assert one.full_peak_bytes == score_matrix_bytes(tokens=one.tokens, heads=2) + output
        assert one.difference_ratio < 1e-4
    tiled = tiled_attention_bytes(tokens=512, heads=2, head_dim=16, tile_tokens=128)
    assert found[1].tiled_peak_bytes == pytest.approx(tiled, rel=0.1)
    assert found[1].tiled_peak_bytes < found[1].full_peak_bytes / 4


@pytest.mark.parametrize(
    "run",
    [
        lambda: measure_growth(lengths=(4096,), heads=1, head_dim=4, repeats=1, seed=0),
        lambda: build_layers(ExpertShape(width=1024, hidden=1024, experts=8, per_token=2), seed=0),
        lambda: measure_decoding(build_pair(SsmShape(), seed=0), contexts=(1 << 20,), repeats=1, seed=0),
        lambda: TinyTransformer(TinyShape(layers=64, width=512, feed_forward=512), seed=0),
    ],
)
def test_what_does_not_fit_into_memory_is_refused_before_it_is_taken(
    run: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmdrill.lab.room.available_bytes", lambda: 60 << 20)
    with pytest.raises(UsageError, match=r"of memory, and 62\.9 MB"):
        run()


def test_torch_gives_the_numbers_of_the_worked_example() -> None:
    by_torch = worked_example(EXAMPLE_QUERIES, EXAMPLE_KEYS, EXAMPLE_VALUES)
    by_hand = attend(EXAMPLE_QUERIES, EXAMPLE_KEYS, EXAMPLE_VALUES)
    for one, other in ((by_torch.weights, by_hand.weights), (by_torch.output, by_hand.output)):
        for row, twin in zip(one, other, strict=True):
            assert row == pytest.approx(twin, abs=1e-12)
    assert by_torch.scores == by_hand.scores


def test_variance_is_d_and_only_scaled_scores_keep_entropy_and_gradient() -> None:
    small, large = measure_scaling(widths=(4, 256), rows=600, keys=8, seed=0)
    assert small.variance == pytest.approx(4, rel=0.25)
    assert large.variance == pytest.approx(256, rel=0.25)
    assert large.scaled.entropy_bits == pytest.approx(small.scaled.entropy_bits, abs=0.2)
    assert large.plain.entropy_bits < 0.5 < large.scaled.entropy_bits < math.log2(8)
    assert large.plain.gradient < 0.3 < large.scaled.gradient < 7 / 8


def test_the_gradient_read_from_autograd_is_the_trace_of_the_jacobian() -> None:
    from llmdrill.lab.attention_scaling import _softened

    scores = torch.tensor([[0.3, -1.0, 2.0]]).expand(8, 3)
    signs = torch.tensor([[1.0 if at >> bit & 1 else -1.0 for bit in range(3)] for at in range(8)])  # every sign once
    weights = softmax([0.3, -1.0, 2.0])
    found = _softened(scores, signs)
    assert found.gradient == pytest.approx(1 - sum(one * one for one in weights), rel=1e-5)
    assert found.entropy_bits == pytest.approx(-sum(one * math.log2(one) for one in weights), rel=1e-5)
