"""Tiny models trained on real text: positions, causality, schedule, text; Pre-LN and Post-LN beside the theory."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

torch = pytest.importorskip("torch")

from llmdrill.errors import UsageError  # noqa: E402
from llmdrill.lab.allocations import peak_tensor_bytes  # noqa: E402
from llmdrill.lab.attention_positions import measure_positions  # noqa: E402
from llmdrill.lab.byte_text import ByteText, byte_entropy_nats, draw_pieces, library_text  # noqa: E402
from llmdrill.lab.norm_run import Trained, at_initialisation, gradient_norms, train_norms  # noqa: E402
from llmdrill.lab.tiny_transformer import (  # noqa: E402
    TinyShape,
    TinyTransformer,
    Training,
    alibi_mask,
    mean_loss,
    piece_losses,
    rotate_by_position,
    sinusoids,
    train_tiny,
)

if TYPE_CHECKING:
    from pathlib import Path

    from llmdrill.lab.tiny_transformer import Norm, Positions

pytestmark = pytest.mark.lab

SMALL = {"layers": 2, "width": 16, "heads": 2, "feed_forward": 16}


@pytest.fixture(scope="module")
def text() -> ByteText:
    return library_text()


def pieces(text: ByteText, *, count: int = 4, tokens: int = 12) -> torch.Tensor:
    return draw_pieces(text.trained, pieces=count, tokens=tokens, rng=torch.Generator().manual_seed(0))


def test_alibi_slopes_are_those_of_the_paper() -> None:
    mask = alibi_mask(8, 3)  # 8 heads: 1/2, 1/4 … 1/256 (Press et al. 2022, section 3)
    assert (-mask[:, 1, 0]).tolist() == [2.0**-power for power in range(1, 9)]
    assert mask[0].tolist() == [[0, -math.inf, -math.inf], [-0.5, 0, -math.inf], [-1.0, -0.5, 0]]


def test_sinusoids_are_those_of_the_paper() -> None:
    vectors = sinusoids(6, 8)  # PE(pos, 2i) = sin(pos / 10000^(2i / d)), PE(pos, 2i + 1) = cos of the same
    for position, pair in ((0, 0), (3, 1), (5, 3)):
        angle = position / 10_000 ** (2 * pair / 8)
        assert vectors[position, 2 * pair : 2 * pair + 2].tolist() == pytest.approx([math.sin(angle), math.cos(angle)])


def test_rotated_queries_and_keys_know_only_their_distance() -> None:
    rng = torch.Generator().manual_seed(1)
    q, k = (torch.randn(8, generator=rng).expand(1, 1, 20, 8) for _ in range(2))
    scores = rotate_by_position(q)[0, 0] @ rotate_by_position(k)[0, 0].T
    assert torch.allclose(scores[5, 2], scores[17, 14], atol=1e-5)
    assert not torch.allclose(scores[5, 2], scores[5, 3], atol=1e-3)


@pytest.mark.parametrize("positions", ["sinusoidal", "rope", "alibi"])
def test_no_byte_sees_those_after_it_and_order_counts(positions: Positions) -> None:
    model = TinyTransformer(TinyShape(**SMALL, positions=positions), seed=0)
    ids = torch.tensor([[1, 2, 3, 4, 5]])
    with torch.no_grad():
        changed = torch.tensor([[1, 2, 3, 4, 9]])
        assert torch.allclose(model(ids)[:, :4], model(changed)[:, :4], atol=1e-6)
        swapped = torch.tensor([[2, 1, 3, 4, 5]])
        assert not torch.allclose(model(ids)[:, 4], model(swapped)[:, 4], atol=1e-4)


def test_held_out_modules_are_not_in_what_is_trained_on(text: ByteText) -> None:
    trained = bytes(text.trained.to(torch.uint8).tolist())
    held_out = bytes(text.held_out.to(torch.uint8).tolist())
    assert min(len(trained), len(held_out)) > 100_000
    assert held_out[:2000] not in trained


def test_a_folder_without_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="too little source"):
        library_text(tmp_path)


def test_a_piece_is_followed_by_its_next_bytes(text: ByteText) -> None:
    piece = pieces(text, count=1, tokens=20)[0].tolist()
    assert len(piece) == 21
    assert bytes(piece) in bytes(text.trained.to(torch.uint8).tolist())
    with pytest.raises(UsageError, match="no piece"):
        draw_pieces(text.trained[:5], pieces=1, tokens=5, rng=torch.Generator())


def test_the_entropy_of_bytes_is_that_of_their_shares() -> None:
    assert byte_entropy_nats(torch.tensor([7, 7, 9, 9])) == pytest.approx(math.log(2))
    assert byte_entropy_nats(torch.tensor([7, 7, 7])) == 0


def test_training_lowers_the_loss_and_repeats_exactly(text: ByteText) -> None:
    plan = Training(steps=15, sequences=8, tokens=16, peak_rate=1e-2, warm_up_steps=3)
    runs = [train_tiny(TinyTransformer(TinyShape(**SMALL), seed=0), text.trained, plan, seed=0) for _ in range(2)]
    assert runs[0] == runs[1]
    assert sum(runs[0][-5:]) < 0.85 * sum(runs[0][:5])


def test_the_rate_rises_over_the_warm_up_and_falls_after_it() -> None:
    plan = Training(steps=100, peak_rate=1.0, warm_up_steps=10)
    rates = [plan.rate(step) for step in range(100)]
    assert max(rates) == rates[9] == 1.0
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert Training(steps=100, peak_rate=1.0, warm_up_steps=0).rate(0) > 0.99


def test_the_loss_of_the_last_bytes_is_scored_on_them_alone(text: ByteText) -> None:
    model, drawn = TinyTransformer(TinyShape(**SMALL), seed=0), pieces(text)
    with torch.no_grad():
        logits = model(drawn[:, :-1])[:, -3:]
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), drawn[:, -3:].flatten())
    assert mean_loss(model, drawn, last=3) == pytest.approx(float(expected), rel=1e-5)
    each = piece_losses(model, drawn, last=3, at_once=3)
    assert each.tolist() == pytest.approx([mean_loss(model, piece[None], last=3) for piece in drawn], rel=1e-5)


def test_every_length_scores_the_same_bytes(text: ByteText) -> None:
    plan = Training(steps=1, sequences=2, tokens=8, warm_up_steps=0)
    found = measure_positions(text, TinyShape(**SMALL), plan, lengths=(8, 16), pieces=3, seed=0)
    assert [one.positions for one in found] == ["sinusoidal", "rope", "alibi"]
    assert all(one.scored_bytes == 3 * 4 and len(one.nats) == 2 for one in found)
    model = TinyTransformer(TinyShape(**SMALL, positions="alibi"), seed=0)
    train_tiny(model, text.trained, plan, seed=0)
    drawn = draw_pieces(text.held_out, pieces=3, tokens=16, rng=torch.Generator().manual_seed(0))
    expected = [mean_loss(model, drawn[:, -(length + 1) :], last=4) for length in (8, 16)]
    assert found[2].nats == pytest.approx(expected, rel=1e-6)


def test_fresh_models_have_the_sizes_of_the_lemma_and_the_gradients_of_the_theorem(text: ByteText) -> None:
    shape = TinyShape(layers=1, width=32, heads=4, feed_forward=32)
    fresh = at_initialisation(shape, text.trained, depths=(4, 16), tokens=24, pieces=16, seeds=2, seed=0)
    for depth in fresh["pre"]:
        for layer, square in enumerate(depth.squared_norms, start=1):
            assert 1 + layer / 2 < 1.1 * square < 1.3 * (1 + 3 * layer / 2)  # Xiong et al. 2020, lemma 2
    assert sum(fresh["post"][1].squared_norms) / 16 == pytest.approx(1.5, rel=0.15)
    falls = {norm: deep.last_gradient / shallow.last_gradient for norm, (shallow, deep) in fresh.items()}
    assert falls["pre"] < 0.75 < falls["post"] * 1.2  # theorem 1: 1 / 2 in Pre-LN, 1 in Post-LN


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_gradient_norms_are_those_of_a_finite_difference(text: ByteText, norm: Norm) -> None:
    model = TinyTransformer(TinyShape(**SMALL, norm=norm), seed=0).double()
    drawn = pieces(text, count=2, tokens=6)
    matrix = model.tiny_layers()[1].feed_forward.down
    found = gradient_norms(model, drawn)
    direction = torch.autograd.grad(model.loss(drawn), matrix)[0]
    assert found[1] == pytest.approx(float(direction.norm()), rel=1e-5)
    step = 1e-4 * direction / direction.norm()
    with torch.no_grad():
        losses = []
        for sign in (1, -2):
            matrix.add_(sign * step)
            losses.append(float(model.loss(drawn)))
    assert (losses[0] - losses[1]) / 2e-4 == pytest.approx(found[1], rel=1e-2)


def test_post_ln_hands_on_normed_states_and_pre_ln_growing_ones() -> None:
    ids = torch.arange(10)[None]
    for norm in ("pre", "post"):
        model = TinyTransformer(TinyShape(layers=6, width=16, heads=2, feed_forward=16, norm=norm), seed=0)
        with torch.no_grad():
            x = model.embed(ids)
            for layer in model.layers:
                x = layer(x)
        assert (abs(float(x.square().mean()) - 1) < 1e-3) is (norm == "post")


def test_four_trainings_differ_in_norm_and_warm_up_alone(text: ByteText) -> None:
    plan = Training(steps=2, sequences=2, tokens=8, warm_up_steps=2)
    runs = train_norms(TinyShape(**SMALL), text, plan, held_out_pieces=2, seed=0)
    assert [(one.norm, one.warm_up_steps) for one in runs] == [("pre", 0), ("pre", 2), ("post", 0), ("post", 2)]
    assert runs[0].losses[0] == runs[1].losses[0] != runs[2].losses[0]
    assert all(len(one.gradient_norms) == 2 for one in runs)


def test_a_curve_keeps_every_step() -> None:
    run = Trained("pre", 0, tuple(float(at) for at in range(7)), 1.0, ())
    curve = run.smoothed(3)
    assert curve.steps == (3, 6, 7)
    assert curve.losses == (1.0, 4.0, 6.0)


def test_peak_bytes_are_those_held_at_once() -> None:
    def work() -> torch.Tensor:
        first = torch.empty(1000)
        second = torch.empty(3000)
        del first
        return torch.cat((second, torch.empty(500)))

    work()
    assert peak_tensor_bytes(work) == 4 * (3000 + 500 + 3500)
