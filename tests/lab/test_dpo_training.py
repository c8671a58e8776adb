"""DPO and reward training: the losses' own numbers, one forward pass for all continuations, gains that are real."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.errors import UsageError

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.lab

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdrill.lab.decoder import Decoder
    from llmdrill.lab.dpo import DpoOptions
    from llmdrill.lab.dpo_lines import Task
    from llmdrill.lab.dpo_sample import Sampler
    from llmdrill.lab.dpo_train import Pair

PROMPTS = ((5, 6, 7), (9, 8, 7, 6, 5))
OWN = (((1, 2), (3, 4, 5, 6)), ((7,), (8, 9)))


class Letters:
    """A tokenizer of 256 bytes."""

    vocabulary, end_of_text_id = 256, None

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(ids).decode("latin-1")

    def token_bytes(self, token: int) -> bytes | None:
        return bytes([token])


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    from llmdrill.lab.decoder import random_decoder
    from llmdrill.lab.shapes import named_shape

    return random_decoder(named_shape("tiny"), seed=0)


def task(typed: str = "x = ") -> Task:
    from llmdrill.lab.dpo_lines import Task

    return Task(tuple(typed.encode()), typed, "1", frozenset())


def a_pair(typed: str) -> Pair:
    from llmdrill.lab.dpo_sample import Drawn
    from llmdrill.lab.dpo_train import Pair

    return Pair(task(typed), Drawn((49, 10), "1", right=True), Drawn((40, 41, 10), "()", right=False))


def sampler(decoder: Decoder) -> Sampler:
    from llmdrill.lab.dpo_sample import Sampler

    return Sampler(decoder.shape, Letters(), "parses", max_new_tokens=6)


def options(**changes: object) -> DpoOptions:
    from llmdrill.lab.dpo import DpoOptions

    base = DpoOptions("parses", 2, 2, 4, (0.1,), 1, 2, 2, 0.0, 1e-2, 16, 6)
    return replace(base, **changes)


def test_packed_continuations_have_the_logits_of_texts_read_one_by_one(decoder: Decoder) -> None:
    from llmdrill.lab.train_forward import pack, packed_logprobs

    packed = pack(PROMPTS, OWN)
    found = packed_logprobs(decoder.shape, decoder.weights, packed)
    assert packed.targets.tolist() == [token for own in OWN for tokens in own for token in tokens]
    expected = []
    for prompt, own in zip(PROMPTS, OWN, strict=True):
        for tokens in own:
            logits = decoder.logits(torch.tensor([[*prompt, *tokens]]))[0]
            expected += logits[len(prompt) - 1 : -1].log_softmax(dim=-1)
    assert torch.allclose(found, torch.stack(expected), atol=1e-5)
    assert packed.sums(torch.ones(9)).tolist() == [2, 4, 1, 2]


def test_gradients_of_packed_rows_are_those_of_single_texts(decoder: Decoder) -> None:
    from llmdrill.lab.train_forward import leaves, pack, packed_logprobs, trainable_copy

    together, apart = trainable_copy(decoder), trainable_copy(decoder)
    packed_logprobs(decoder.shape, together, pack(PROMPTS, OWN))[:, 3].sum().backward()
    for prompt, own in zip(PROMPTS, OWN, strict=True):
        for tokens in own:
            packed_logprobs(decoder.shape, apart, pack([prompt], [[tokens]]))[:, 3].sum().backward()
    for ours, theirs in zip(leaves(together), leaves(apart), strict=True):
        assert ours.grad is not None
        assert torch.allclose(ours.grad, theirs.grad, atol=1e-4)


def test_a_copy_can_be_trained_and_leaves_the_decoder_as_it_is(decoder: Decoder) -> None:
    from llmdrill.lab.train_forward import leaves, trainable_copy

    copy = trainable_copy(decoder)
    assert copy.head is copy.embedding
    assert sum(tensor.numel() for tensor in leaves(copy)) == decoder.shape.parameters
    before = decoder.weights.embedding.clone()
    with torch.no_grad():
        copy.embedding.zero_()
    assert torch.equal(decoder.weights.embedding, before)


@given(st.floats(-5, 5), st.floats(-5, 5), st.floats(0.01, 2))
def test_the_dpo_loss_is_equation_7(right: float, wrong: float, beta: float) -> None:
    from llmdrill.lab.dpo_train import dpo_loss

    moved = torch.tensor([[right, wrong]], dtype=torch.float64)
    expected = -math.log(1 / (1 + math.exp(-beta * (right - wrong))))
    assert float(dpo_loss(moved, beta=beta)) == pytest.approx(expected, rel=1e-9)
    assert float(dpo_loss(0 * moved, beta=beta)) == pytest.approx(math.log(2))


def test_log_ratios_are_sums_over_whole_completions_of_two_models_read_one_by_one(decoder: Decoder) -> None:
    from llmdrill.lab.decoder import random_decoder
    from llmdrill.lab.dpo_train import log_ratios, preferences

    other = random_decoder(decoder.shape, seed=1)
    pairs = [a_pair("x = "), a_pair("return ")]

    def logprob(model: Decoder, one: Pair, ids: tuple[int, ...]) -> float:
        text = [*one.task.ids, *ids]
        rows = model.logits(torch.tensor([text]))[0].double().numpy()
        rows = rows - np.log(np.exp(rows).sum(axis=1, keepdims=True))
        return float(sum(rows[at - 1, text[at]] for at in range(len(one.task.ids), len(text))))

    expected = [
        [logprob(other, one, own.ids) - logprob(decoder, one, own.ids) for own in (one.right, one.wrong)]
        for one in pairs
    ]
    found = log_ratios(other.weights, decoder.weights, pairs, shape=decoder.shape)
    assert found.tolist() == [pytest.approx(row, abs=1e-4) for row in expected]
    stands = preferences(other.weights, decoder.weights, pairs, beta=0.3, shape=decoder.shape)
    losses = [math.log(1 + math.exp(-0.3 * (right - wrong))) for right, wrong in expected]
    assert stands.loss_nats == pytest.approx(sum(losses) / 2, abs=1e-4)
    assert stands.preferred_share == sum(right > wrong for right, wrong in expected) / 2
    assert stands.pairs == 2


@given(st.lists(st.lists(st.sampled_from([0.0, 1.0]), min_size=4, max_size=4), min_size=1, max_size=5))
def test_advantages_have_mean_zero_and_spread_one_in_every_mixed_group(rewards: list[list[float]]) -> None:
    from llmdrill.lab.dpo_train import advantages

    for group, own in zip(rewards, advantages(torch.tensor(rewards)), strict=True):
        assert float(own.mean()) == pytest.approx(0, abs=1e-5)
        assert float(own.std(correction=0)) == pytest.approx(1 if len(set(group)) > 1 else 0, abs=1e-3)


def test_dpo_learns_to_tell_its_pairs_apart_and_begins_at_ln_2(decoder: Decoder) -> None:
    from llmdrill.lab.dpo_train import tune
    from llmdrill.lab.train_forward import trainable_copy

    weights, rng = trainable_copy(decoder), np.random.default_rng(0)
    pairs, plan = [a_pair("x = ")], options(epochs=8)
    steps = list(tune(weights, decoder.weights, pairs, plan, beta=0.1, shape=decoder.shape, rng=rng))
    assert steps[0].loss_nats == pytest.approx(math.log(2), abs=1e-5)
    assert steps[-1].loss_nats < steps[0].loss_nats - 0.1
    assert steps[-1].preferred_share == 1.0


def test_a_training_that_diverges_says_so(decoder: Decoder) -> None:
    from llmdrill.lab.dpo_train import tune
    from llmdrill.lab.train_forward import trainable_copy

    weights, rng, plan = trainable_copy(decoder), np.random.default_rng(0), options(epochs=3)
    with torch.no_grad():
        weights.norm[0] = torch.nan
    with pytest.raises(UsageError, match=r"diverged .* smaller --learning-rate"):
        list(tune(weights, decoder.weights, [a_pair("x = ")], plan, beta=0.1, shape=decoder.shape, rng=rng))
    with pytest.raises(UsageError, match="diverged"):
        sampler(decoder).draw(weights, [task()], each=2, rng=torch.Generator().manual_seed(0))


def test_reward_training_raises_the_share_that_is_right(decoder: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    from llmdrill.lab.dpo_sample import Drawn, Sampler
    from llmdrill.lab.dpo_train import reward
    from llmdrill.lab.train_forward import trainable_copy

    def high_is_right(_: Sampler, task: Task, row: list[int]) -> Drawn:
        """Call every first token of the upper half right: half of them are, before any training."""
        return Drawn(tuple(row), "", right=row[0] >= 128)

    monkeypatch.setattr(Sampler, "_judge", high_is_right)
    one = Sampler(decoder.shape, Letters(), "parses", max_new_tokens=1)
    rng, plan = torch.Generator().manual_seed(0), options(each=16, reward_steps=12, rate=1e-2)
    steps = list(reward(trainable_copy(decoder), decoder.weights, [task(), task("y = ")], one, plan, rng=rng))
    assert 0.2 < steps[0].right_share < 0.8
    assert sum(step.right_share for step in steps[-3:]) / 3 > 0.85
    assert steps[0].kl_nats == pytest.approx(0, abs=1e-5)
    assert steps[-1].kl_nats > 0.05


def test_a_policy_against_itself_moves_nothing_and_draws_to_a_tie(decoder: Decoder) -> None:
    from llmdrill.lab.dpo_sample import judge

    one, tasks, rng = sampler(decoder), [task(), task("return ")], torch.Generator().manual_seed(0)
    drawn = one.draw(decoder.weights, tasks, each=3, rng=rng)
    assert [len(row) for row in drawn] == [3, 3]
    same = judge(decoder.weights, decoder.weights, drawn, tasks, one, rng=rng)
    assert same.kl_nats == pytest.approx(0, abs=1e-6)
    assert all(0 <= win <= 1 for win in same.wins)


def test_a_prompt_read_once_stands_in_the_cache_of_each_of_its_completions(decoder: Decoder) -> None:
    one, tasks = sampler(decoder), [task(), task("return ")]
    fanned = one._fan_out(decoder.weights, tasks, 2).cache
    own = [one._fan_out(decoder.weights, [each], 1).cache for each in (tasks[0], tasks[0], tasks[1], tasks[1])]
    assert fanned.lengths.tolist() == [4, 4, 7, 7]
    for row, cache in enumerate(own):
        tokens = int(cache.lengths[0])
        ours = fanned.keys_values[:, :, row, :, :tokens]
        assert torch.allclose(ours, cache.keys_values[:, :, 0, :, :tokens], atol=1e-5)


def test_a_line_that_never_ends_is_wrong(decoder: Decoder) -> None:
    one = sampler(decoder)
    assert not one._judge(task(), [49] * 6).right
    assert one._judge(task(), [49, 10, -1, -1]).right
    assert one._judge(task(), [49, 10, -1, -1]).ids == (49, 10)


def test_a_token_that_ends_the_line_behind_other_characters_keeps_those(decoder: Decoder) -> None:
    from llmdrill.lab.dpo_sample import Sampler

    class Merged(Letters):
        def token_bytes(self, token: int) -> bytes | None:
            return {10: b")\n", 255: None}.get(token, bytes([token]))

        def decode(self, ids: Sequence[int]) -> str:
            return b"".join(self.token_bytes(one) or b"<|end|>" for one in ids).decode("latin-1")

    one = Sampler(decoder.shape, Merged(), "parses", max_new_tokens=6)
    assert (one._judge(task("f("), [49, 10]).text, one._judge(task("f("), [49, 10]).right) == ("1)", True)
    assert (one._judge(task(), [49, 255]).text, one._judge(task(), [49, 255]).right) == ("1", True)


def test_a_tokenizer_that_does_not_tell_its_bytes_is_refused(decoder: Decoder) -> None:
    from llmdrill.lab.dpo_sample import Sampler

    class Silent(Letters):
        def token_bytes(self, token: int) -> bytes | None:
            del token
            return None

    with pytest.raises(UsageError, match="does not tell the bytes of its tokens"):
        Sampler(decoder.shape, Silent(), "parses", max_new_tokens=6)


def test_the_kl_of_one_token_is_exact_whatever_was_drawn(decoder: Decoder) -> None:
    from llmdrill.lab.decoder import random_decoder
    from llmdrill.lab.dpo_sample import Drawn, kl_by_prompt

    other, tasks = random_decoder(decoder.shape, seed=1), [task("x = "), task("return ")]
    drawn = [[Drawn((49,), "1", right=True), Drawn((10,), "", right=True)]] * 2
    found = list(kl_by_prompt(decoder.shape, other.weights, decoder.weights, tasks, drawn))
    for one, nats in zip(tasks, found, strict=True):
        rows = [model.logits(torch.tensor([one.ids]))[0, -1].double().numpy() for model in (other, decoder)]
        ours, theirs = (np.exp(row) / np.exp(row).sum() for row in rows)
        assert nats == pytest.approx(float((ours * np.log(ours / theirs)).sum()), rel=1e-3, abs=1e-6)
        assert nats > 0


@given(st.integers(0, 1000))
def test_the_kl_term_of_reward_training_has_the_exact_kl_as_its_mean(seed: int) -> None:
    from llmdrill.lab.dpo_train import kl_terms

    ours, theirs = torch.randn(2, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).log_softmax(1)
    mean = (ours.exp() * kl_terms(ours, theirs)).sum()  # over what the policy draws
    assert float(mean) == pytest.approx(float((ours.exp() * (ours - theirs)).sum()), abs=1e-9)
    assert bool((kl_terms(ours, theirs) >= 0).all())


@given(st.integers(0, 1000))
def test_the_gradient_of_the_kl_term_is_that_of_the_other_direction(seed: int) -> None:
    from llmdrill.lab.dpo_train import kl_terms

    logits, theirs = torch.randn(2, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    logits.requires_grad_()
    ours, theirs = logits.log_softmax(0), theirs.log_softmax(0)
    (ours.detach().exp() * kl_terms(ours, theirs)).sum().backward()  # over draws, which no gradient flows through
    assert logits.grad is not None
    assert torch.allclose(logits.grad, ours.detach().exp() - theirs.exp())  # of KL(reference || policy)


def test_the_gradient_of_the_reward_loss_is_reinforce_and_the_penalty() -> None:
    from llmdrill.lab.dpo_train import reward_loss

    ours = torch.tensor([-1.0, -2.0, -0.5], requires_grad=True)
    theirs, advantage, beta = torch.tensor([-1.5, -1.0, -0.5]), torch.tensor([1.0, -1.0, 0.5]), 0.1
    reward_loss(ours, theirs, advantage, beta=beta).backward()
    rows = zip(advantage.tolist(), theirs.tolist(), ours.detach().tolist(), strict=True)
    expected = [-(a - beta * (1 - math.exp(t - o))) / 3 for a, t, o in rows]
    assert ours.grad is not None
    assert ours.grad.tolist() == pytest.approx(expected, abs=1e-6)


def test_pairs_come_from_prompts_with_a_right_and_a_wrong_completion() -> None:
    from llmdrill.lab.dpo_sample import Drawn
    from llmdrill.lab.dpo_train import pairs_of

    good, bad = Drawn((1,), "a", right=True), Drawn((2,), "b", right=False)
    found = list(pairs_of([task(), task(), task()], [[bad, good, good], [good, good], [bad, bad]]))
    assert [(one.right, one.wrong) for one in found] == [(good, bad)]


@pytest.mark.parametrize("wrong", [{"each": 1}, {"betas": ()}, {"betas": (0.0,)}])
def test_options_that_train_nothing_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="pairs need two completions"):
        options(**wrong)
