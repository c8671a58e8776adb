"""A layer of experts: its output against a plain sum, its balance, and its reading against the closed form."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from llmdrill.errors import UsageError  # noqa: E402
from llmdrill.estimate.flops import matmul_parameters  # noqa: E402
from llmdrill.experiments.moe_forms import Forms  # noqa: E402
from llmdrill.lab.byte_text import draw_pieces, library_text  # noqa: E402
from llmdrill.lab.moe import DenseFeedForward, ExpertFeedForward, Routing, balance_loss  # noqa: E402
from llmdrill.lab.moe_run import (  # noqa: E402
    LAYERS,
    Balance,
    ExpertShape,
    build_layers,
    counted_flops,
    measure_balance,
    measure_layers,
)
from llmdrill.lab.tiny_transformer import TinyShape, TinyTransformer, Training, train_tiny  # noqa: E402

pytestmark = pytest.mark.lab

SHAPE = ExpertShape(width=16, hidden=24, experts=8, per_token=2)


def experts(*, count: int = 4, per_token: int = 2, seed: int = 0) -> ExpertFeedForward:
    rng = torch.Generator().manual_seed(seed)
    return ExpertFeedForward(width=16, hidden=24, experts=count, per_token=per_token, rng=rng)


def tokens(count: int, *, seed: int = 1) -> torch.Tensor:
    return torch.randn(count, 16, generator=torch.Generator().manual_seed(seed))


def outputs_of_all(layer: ExpertFeedForward, x: torch.Tensor) -> torch.Tensor:
    """Return the output of every expert for every token (N, E, C)."""
    return torch.stack([(x @ up.T).relu() @ down.T for up, down in zip(layer.up, layer.down, strict=True)], dim=1)


@pytest.mark.parametrize("per_token", [1, 2, 4])
def test_the_output_is_the_gated_sum_of_the_chosen_experts(per_token: int) -> None:
    layer, x = experts(per_token=per_token), tokens(11)
    with torch.no_grad():
        every, routing = outputs_of_all(layer, x), layer.route(x)
        expected = sum(
            routing.gates[:, slot, None] * every[torch.arange(11), routing.chosen[:, slot]] for slot in range(per_token)
        )
        assert torch.allclose(layer(x), expected, atol=1e-5)
        assert torch.allclose(layer(x.view(1, 11, 16)).view(11, 16), expected, atol=1e-5)
    assert torch.allclose(routing.gates.sum(dim=-1), torch.ones(11))


def test_one_expert_is_a_dense_layer() -> None:
    layer = experts(count=1, per_token=1)
    dense = DenseFeedForward(width=16, hidden=24, rng=torch.Generator().manual_seed(5))
    dense.up, dense.down = layer.up[0], layer.down[0]
    with torch.no_grad():
        assert torch.allclose(layer(tokens(5)), dense(tokens(5)), atol=1e-6)


def test_a_token_to_more_experts_than_there_are_is_refused() -> None:
    with pytest.raises(UsageError, match="1 to 2 of 2 experts, not to 3"):
        experts(count=2, per_token=3)


def test_an_expert_without_tokens_gets_no_gradient_and_the_router_gets_one() -> None:
    layer, x = experts(count=4, per_token=1), tokens(1)
    torch.autograd.backward(layer(x).sum() + balance_loss(layer.route(x)))
    touched = [one.grad is not None for one in layer.up]
    assert sum(touched) == 1
    assert layer.routing is not None
    assert layer.routing.touched == 1
    assert float(layer.router.grad.norm()) > 0


def routing_of(probabilities: list[list[float]]) -> Routing:
    tensor = torch.tensor(probabilities, requires_grad=True)
    gates, chosen = tensor.topk(1, dim=-1)
    return Routing(tensor, chosen, gates)


def test_the_balancing_loss_is_one_where_even_and_the_number_of_experts_where_one_takes_all() -> None:
    even = routing_of([[0.7, 0.3], [0.3, 0.7]])
    assert balance_loss(even).item() == pytest.approx(1.0)
    all_to_one = routing_of([[1.0, 0.0], [1.0, 0.0]])
    assert balance_loss(all_to_one).item() == pytest.approx(2.0)


def test_the_balancing_loss_pushes_down_the_probability_of_the_fullest_expert() -> None:
    uneven = routing_of([[0.6, 0.4], [0.9, 0.1], [0.4, 0.6]])
    torch.autograd.backward(balance_loss(uneven))
    gradient = uneven.probabilities.grad
    assert bool((gradient[:, 0] > gradient[:, 1]).all())


def test_counted_operations_are_those_of_the_closed_form() -> None:
    layers, forms = build_layers(SHAPE, seed=0), Forms(SHAPE)
    with torch.inference_mode():
        for name in LAYERS:
            assert counted_flops(layers[name], tokens(7)) == forms.flops(name, tokens=7)
            assert sum(one.numel() for one in layers[name].parameters()) == forms.record(name).parameters
    router = SHAPE.width * SHAPE.experts
    assert matmul_parameters(forms.experts) - router == matmul_parameters(forms.record("dense_same_flops"))


def test_the_share_of_experts_read_is_that_of_the_closed_form() -> None:
    forms, rng = Forms(SHAPE), torch.Generator().manual_seed(0)
    for batch in (1, 3, 6):
        drawn = [torch.rand(batch, 8, generator=rng).topk(2).indices.unique().numel() / 8 for _ in range(400)]
        assert sum(drawn) / 400 == pytest.approx(forms.read_share(tokens=batch), abs=0.03)
    readings = measure_layers(SHAPE, batches=(1, 64), repeats=1, seed=0)
    one, many = (reading for reading in readings if reading.layer == "experts")
    assert one.read_bytes == forms.read_bytes("experts", tokens=1)
    assert many.read_bytes == pytest.approx(forms.read_bytes("experts", tokens=64))
    assert {reading.read_bytes for reading in readings if reading.layer == "dense_same_flops"} == {
        forms.read_bytes("dense_same_flops", tokens=1)
    }


def test_what_fixed_capacity_would_drop_is_what_lies_above_it() -> None:
    even, uneven = (0.25, 0.25, 0.25, 0.25), (0.7, 0.3, 0.0, 0.0)  # an expert has room for 1.25 / 4 = 0.3125
    assert Balance(0.0, (even,), (1,), (0.25,), 2.0).overflow_share == 0
    assert Balance(0.0, (even, uneven), (1,), (0.25,), 2.0).overflow_share == pytest.approx((0.7 - 0.3125) / 2)


def test_the_balancing_loss_evens_the_loads_of_a_real_training() -> None:
    text = library_text()
    pieces = draw_pieces(text.held_out, pieces=16, tokens=16, rng=torch.Generator().manual_seed(0))
    found = []
    for weight in (0.0, 1.0):
        model = TinyTransformer(TinyShape(layers=1, width=16, heads=2, feed_forward=16, experts=8), seed=0)
        plan = Training(steps=40, sequences=8, tokens=16, peak_rate=1e-2, warm_up_steps=0, balance_weight=weight)
        train_tiny(model, text.trained, plan, seed=0)
        found.append(measure_balance(model, pieces, batches=(1, 4), balance_weight=weight))
    plain, balanced = found
    assert balanced.largest_over_mean < 0.85 * plain.largest_over_mean
    assert all(sum(row) == pytest.approx(1) for one in found for row in one.load_shares)
    assert balanced.touched_shares[0] == 2 / 8
    assert balanced.idle_experts <= plain.idle_experts
