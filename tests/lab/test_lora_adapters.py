"""Adapters: nothing at first, counted by the paper's formula, the same beside and within the matrices; and training."""

from __future__ import annotations

import dataclasses

import pytest

torch = pytest.importorskip("torch")

from llmdrill.errors import UsageError  # noqa: E402
from llmdrill.estimate.lora import lora_matrices, lora_parameters  # noqa: E402
from llmdrill.experiments.record import record_of  # noqa: E402
from llmdrill.lab.decoder import random_decoder  # noqa: E402
from llmdrill.lab.lora import Adapted, merged, new_adapters  # noqa: E402
from llmdrill.lab.lora_run import LoraConfig, window_loss  # noqa: E402
from llmdrill.lab.score import score_windows  # noqa: E402
from llmdrill.lab.shapes import NAMED_SHAPES  # noqa: E402
from llmdrill.lab.train_forward import leaves, trainable_copy  # noqa: E402

pytestmark = pytest.mark.lab

SHAPE = NAMED_SHAPES["tiny"]
TINY = random_decoder(SHAPE, seed=0)
IDS = torch.randint(0, 256, (2, 24), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("rank", [1, 4, 32])
def test_as_many_parameters_train_as_the_formula_says(rank: int) -> None:
    adapters = new_adapters(TINY, rank=rank, seed=0)
    counted = sum(one.numel() for one in adapters.parameters())
    assert counted == lora_parameters(lora_matrices(record_of(SHAPE)), rank=rank)


def test_new_adapters_add_nothing() -> None:
    adapters = new_adapters(TINY, rank=4, seed=0)
    with Adapted(TINY.weights, adapters):
        beside = TINY.logits(IDS)
    assert torch.equal(beside, TINY.logits(IDS))
    assert torch.equal(merged(TINY, adapters).logits(IDS), TINY.logits(IDS))


@pytest.mark.parametrize("shape", [SHAPE, dataclasses.replace(SHAPE, qkv_bias=True, kv_heads=4, tied=False)])
def test_adapters_within_the_matrices_give_the_logits_of_adapters_beside_them(shape: object) -> None:
    decoder = random_decoder(shape, seed=1)  # type: ignore[arg-type]
    adapters = new_adapters(decoder, rank=4, seed=0)
    with torch.no_grad():
        for one in adapters.parameters():
            one.normal_(std=0.2, generator=torch.Generator().manual_seed(one.numel()))
    with Adapted(decoder.weights, adapters):
        beside = decoder.logits(IDS)
    within = merged(decoder, adapters).logits(IDS)
    torch.testing.assert_close(beside, within, rtol=1e-4, atol=1e-4)
    assert (within - decoder.logits(IDS)).abs().max() > 0.01


def test_the_loss_that_autograd_follows_is_the_one_that_judging_finds() -> None:
    judged = score_windows(TINY, IDS).nats[:, 1:].mean()
    torch.testing.assert_close(window_loss(TINY, TINY.weights, IDS), judged, rtol=1e-5, atol=1e-5)


def test_only_adapters_get_gradients_and_a_step_down_them_lowers_the_loss() -> None:
    adapters = new_adapters(TINY, rank=4, seed=0)
    optimizer = torch.optim.AdamW(adapters.parameters(), lr=0.01)
    losses = []
    for _ in range(5):
        with Adapted(TINY.weights, adapters):
            loss = window_loss(TINY, TINY.weights, IDS)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses == sorted(losses, reverse=True)
    assert all(one.grad is None for one in leaves(TINY.weights))
    assert score_windows(merged(TINY, adapters), IDS).nats[:, 1:].mean() < losses[0]


def test_the_gradient_of_an_adapter_is_that_of_its_matrix_seen_through_it() -> None:
    adapters, weights = new_adapters(TINY, rank=4, seed=0), trainable_copy(TINY)
    with Adapted(TINY.weights, adapters):
        window_loss(TINY, TINY.weights, IDS).backward()
    window_loss(TINY, weights, IDS).backward()
    adapter, whole = adapters.of[0]["out"], weights.layers[0].out.grad
    assert adapter.up[0].grad is not None
    assert whole is not None
    torch.testing.assert_close(adapter.up[0].grad, adapter.scale * whole @ adapter.down[0].T, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("rank", [0, 33])
def test_a_rank_that_no_matrix_has_is_refused(rank: int) -> None:
    with pytest.raises(UsageError, match="1 to 32"):
        new_adapters(TINY, rank=rank, seed=0)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"ranks": ()}, {"rate": 0.0}, {"test_windows": 1}])
def test_settings_that_train_nothing_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        LoraConfig(**wrong)  # type: ignore[arg-type]
