"""Packed weights: bytes by the closed form, errors within half a step, GPTQ against rounding, and engines on top."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from llmdrill.estimate.quantization import checkpoint_bytes  # noqa: E402
from llmdrill.experiments.record import record_of  # noqa: E402
from llmdrill.lab.decoder import random_decoder  # noqa: E402
from llmdrill.lab.gptq import gptq_matrix, input_products, quantize_gptq  # noqa: E402
from llmdrill.lab.quantize import (  # noqa: E402
    PackedMatrix,
    Scheme,
    fit_grid,
    is_layer_matrix,
    named_tensors,
    quantize,
    round_alone,
    round_everything,
    round_layers,
    round_matrix,
    unpacking,
)
from llmdrill.lab.shapes import NAMED_SHAPES  # noqa: E402

pytestmark = pytest.mark.lab

SHAPE = NAMED_SHAPES["tiny"]
TINY = random_decoder(SHAPE, seed=0)
IDS = torch.arange(24)[None] * 7 % 256
SCHEMES = st.builds(Scheme, st.sampled_from([4, 8]), st.sampled_from([None, 2, 5, 32, 1000]), st.booleans())


def drawn(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("group", [32, 64])
@pytest.mark.parametrize("bits", [4, 8])
def test_bytes_of_layers_in_groups_are_those_of_a_gptq_file_by_the_closed_form(bits: int, group: int) -> None:
    made = round_layers(TINY, Scheme(bits, group, zero_point=True))
    predicted = checkpoint_bytes(record_of(SHAPE), weight_format=f"gptq-{bits}bit", group_values=group)
    assert made.weight_bytes == predicted


def test_everything_in_int8_is_a_byte_a_weight_and_a_scale_a_row() -> None:
    made = round_everything(TINY, Scheme(8))
    matrices = [one for one in named_tensors(TINY).values() if one.ndim == 2]
    vectors = sum(one.numel() for one in named_tensors(TINY).values() if one.ndim == 1)
    assert made.weight_bytes == sum(one.numel() + 4 * len(one) for one in matrices) + 4 * vectors


@given(scheme=SCHEMES, rows=st.integers(1, 5), columns=st.integers(1, 70), seed=st.integers(0, 20))
@settings(max_examples=80, deadline=None)
def test_no_weight_moves_by_more_than_half_a_step_of_its_group(
    scheme: Scheme, rows: int, columns: int, seed: int
) -> None:
    weight = drawn(rows, columns, seed)
    packed = round_matrix(weight, scheme)
    step = packed.scales.float().repeat_interleave(packed.columns, dim=1)[:, :columns]
    slack = 1.02 if scheme.bits == 4 else 1.3  # fp16 rounds the scale, and the ends of the range move with it
    assert ((packed.restore() - weight).abs() <= 0.5 * slack * step).all()


@given(scheme=SCHEMES, columns=st.integers(1, 70))
@settings(max_examples=30, deadline=None)
def test_zero_stays_zero(scheme: Scheme, columns: int) -> None:
    weight = drawn(3, columns)
    weight[:, ::3] = 0
    restored = round_matrix(weight, scheme).restore()
    assert (restored[:, ::3] == 0).all()
    assert (round_matrix(torch.zeros(3, columns), scheme).restore() == 0).all()


def test_a_zero_point_halves_the_error_of_weights_of_one_sign() -> None:
    weight = drawn(8, 64).abs()
    plain, shifted = (round_matrix(weight, Scheme(4, 32, zero)).restore() for zero in (False, True))
    assert (shifted - weight).abs().mean() < 0.6 * (plain - weight).abs().mean()


def test_rounding_int8_rows_again_changes_nothing() -> None:
    once = round_everything(TINY, Scheme(8)).decoder
    twice = round_everything(once, Scheme(8)).decoder
    for name, tensor in named_tensors(once).items():
        torch.testing.assert_close(named_tensors(twice)[name], tensor, rtol=1e-6, atol=0)


def test_one_matrix_alone_leaves_all_others_as_they_are() -> None:
    changed = named_tensors(round_alone(TINY, "1.down", Scheme(4, 32)).decoder)
    different = [name for name, one in named_tensors(TINY).items() if not torch.equal(one, changed[name])]
    assert different == ["1.down"]


def test_layers_are_rounded_and_the_rest_is_kept_in_fp16() -> None:
    stored = round_layers(TINY, Scheme(4, 32)).stored
    for name, one in stored.items():
        assert isinstance(one, PackedMatrix) == is_layer_matrix(name)
        assert isinstance(one, PackedMatrix) or one.dtype == torch.float16


def test_unpacking_at_every_step_gives_the_logits_of_the_restored_weights() -> None:
    made = round_layers(TINY, Scheme(4, 32, zero_point=True))
    with unpacking(made):
        unpacked = made.decoder.logits(IDS)
    torch.testing.assert_close(unpacked, made.decoder.logits(IDS))
    assert not torch.allclose(unpacked, TINY.logits(IDS), atol=1e-3)


@pytest.mark.parametrize("scheme", [Scheme(4, 16, zero_point=True), Scheme(4, 16), Scheme(8), Scheme(4, 24)])
def test_gptq_with_inputs_that_have_nothing_in_common_is_rounding_to_the_nearest(scheme: Scheme) -> None:
    weight = drawn(6, 64)
    ours = gptq_matrix(weight, torch.eye(64, dtype=torch.float64), scheme)
    torch.testing.assert_close(ours.restore(), round_matrix(weight, scheme).restore(), rtol=1e-5, atol=1e-6)
    assert ours.nbytes == round_matrix(weight, scheme).nbytes


def column_by_column(weight: torch.Tensor, products: torch.Tensor, scheme: Scheme) -> torch.Tensor:
    """Round as the paper's section 3 has it: after each column the inverse Hessian loses its row and column."""
    work, columns = weight.double().clone(), scheme.columns(weight)
    inverse = torch.linalg.inv(products + 0.01 * products.diagonal().mean() * torch.eye(len(products)))
    rounded = torch.zeros_like(work)
    for at in range(work.shape[1]):
        if at % columns == 0:
            grid = fit_grid(work[:, None, at : at + columns].float(), scheme)
        rounded[:, at : at + 1] = (grid.codes(work[:, at : at + 1].float()) - grid.zero) * grid.scale
        work -= torch.outer(work[:, at] - rounded[:, at], inverse[at]) / inverse[at, at]
        inverse = inverse - torch.outer(inverse[:, at], inverse[at]) / inverse[at, at]
    return rounded.float()


@pytest.mark.parametrize("group", [None, 32, 150, 192])
def test_gptq_in_blocks_by_cholesky_is_the_update_one_column_after_the_other(group: int | None) -> None:
    inputs = (drawn(500, 12, 1) @ drawn(12, 210, 2) + 0.3 * drawn(500, 210, 3)).double()
    weight, scheme = drawn(4, 210), Scheme(4, group, zero_point=group is not None)
    found = gptq_matrix(weight, inputs.T @ inputs, scheme).restore()
    expected = column_by_column(weight, inputs.T @ inputs, scheme)
    assert ((found - expected).abs() < 1e-5).float().mean() > 0.98  # a tie that rounds otherwise shifts what follows


@pytest.mark.parametrize("group", [None, 16, 64])
def test_gptq_changes_the_products_with_correlated_inputs_less_than_rounding_does(group: int | None) -> None:
    weight, inputs = drawn(32, 64), (drawn(400, 8, 1) @ drawn(8, 64, 2) + 0.2 * drawn(400, 64, 3)).double()
    scheme = Scheme(4, group, zero_point=True)
    errors = [
        float(((packed.restore() - weight).double() @ inputs.T).square().mean())
        for packed in (gptq_matrix(weight, inputs.T @ inputs, scheme), round_matrix(weight, scheme))
    ]
    assert errors[0] < 0.5 * errors[1]


def test_an_input_that_is_always_zero_stops_nothing() -> None:
    inputs = drawn(50, 32).double()
    inputs[:, 3] = 0
    restored = gptq_matrix(drawn(4, 32), inputs.T @ inputs, Scheme(4, 16)).restore()
    assert restored.isfinite().all()
    assert (restored[:, 3] == 0).all()


def test_input_products_are_those_of_the_inputs_that_the_forward_pass_has() -> None:
    found = input_products(TINY, 0, IDS)
    first = torch.nn.functional.rms_norm(TINY.weights.embedding[IDS[0]], (SHAPE.hidden,), None, SHAPE.norm_eps)
    torch.testing.assert_close(found["qkv"].float(), first.T @ first, rtol=1e-4, atol=1e-4)
    sizes = {"qkv": 64, "out": 64, "gate_up": 64, "down": 128}
    assert {name: len(one) for name, one in found.items()} == sizes
    assert set(input_products(TINY, 1, IDS)) == set(sizes)


def test_a_whole_decoder_by_gptq_is_as_large_as_by_rounding_and_nearer_in_its_logits() -> None:
    windows = torch.randint(0, 256, (4, 64), generator=torch.Generator().manual_seed(0))
    scheme = Scheme(4, 32, zero_point=True)
    ours, nearest = quantize_gptq(TINY, scheme, windows), round_layers(TINY, scheme)
    half = quantize(TINY, lambda *_: None).decoder  # both keep embedding and norms in fp16
    errors = [float((made.decoder.logits(windows) - half.logits(windows)).square().mean()) for made in (ours, nearest)]
    assert ours.weight_bytes == nearest.weight_bytes
    assert errors[0] < errors[1]
