"""Train on preferences: DPO on pairs of a right and a wrong completion, and REINFORCE on a verifier's reward.

Shapes in comments: N tokens of completions, M completions, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
from torch.nn import functional

from llmdrill.errors import UsageError
from llmdrill.lab.dpo_sample import DIVERGED, chosen_logprobs
from llmdrill.lab.train_forward import leaves, pack, packed_logprobs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from torch import Tensor

    from llmdrill.lab.decoder import DecoderWeights
    from llmdrill.lab.dpo import DpoOptions
    from llmdrill.lab.dpo_lines import Task
    from llmdrill.lab.dpo_sample import Drawn, Sampler
    from llmdrill.lab.shapes import DecoderShape

PAIRS_A_STEP: Final = 16
SPREAD_FLOOR: Final = 1e-4  # under a group's standard deviation, so that equal rewards give no advantage
CLIP_NORM: Final = 1.0


@dataclass(frozen=True, slots=True)
class Pair:
    """Two completions of a prompt, one right and one wrong."""

    task: Task
    right: Drawn
    wrong: Drawn


@dataclass(frozen=True, slots=True)
class Preferences:
    """How a policy stands to pairs, by the reward that DPO finds implicit in it: beta * ln(π / π_ref) of a completion.

    Attributes:
        loss_nats: Mean DPO loss.
        preferred_share: Of the pairs, those whose right completion has the larger implicit reward.
        pairs: How many.
    """

    loss_nats: float
    preferred_share: float
    pairs: int


@dataclass(frozen=True, slots=True)
class RewardStep:
    """One update by reward: the share of completions that were right, and the KL to the reference on them."""

    right_share: float
    kl_nats: float


def pairs_of(tasks: Sequence[Task], drawn: Sequence[Sequence[Drawn]]) -> Iterator[Pair]:
    """Yield one pair of every prompt that has a right and a wrong completion: the first of each."""
    for task, own in zip(tasks, drawn, strict=True):
        right, wrong = ([one for one in own if one.right is wanted] for wanted in (True, False))
        if right and wrong:
            yield Pair(task, right[0], wrong[0])


def dpo_loss(log_ratios: Tensor, *, beta: float) -> Tensor:
    """Return the DPO loss (pairs,) of ln(π / π_ref) (pairs, 2) of whole completions, the right one first.

    Formula:
        -ln sigmoid(beta * (ln(π(right) / π_ref(right)) - ln(π(wrong) / π_ref(wrong))))
        ln 2 where the policy is the reference.

    Source:
        Rafailov et al. 2023, arXiv:2305.18290, equation 7; eric-mitchell/direct-preference-optimization@5815fab2,
        trainers.py, dpo_loss, and _get_batch_logps for the sum over a completion's tokens.

    >>> round(float(dpo_loss(torch.tensor([[0.0, 0.0]]), beta=0.1)), 4)
    0.6931
    """
    rewards = beta * log_ratios
    return -functional.logsigmoid(rewards[:, 0] - rewards[:, 1])


def tune(
    weights: DecoderWeights,
    reference: DecoderWeights,
    pairs: Sequence[Pair],
    options: DpoOptions,
    *,
    beta: float,
    shape: DecoderShape,
    rng: np.random.Generator,
) -> Iterator[Preferences]:
    """Train weights in place on the pairs, in a new order each epoch, and yield every batch as it was before its step.

    Raises:
        UsageError: If the loss is no number any more.
    """
    optimizer = _optimizer(weights, options)
    for _ in range(options.epochs):
        order = rng.permutation(len(pairs)).tolist()
        for first in range(0, len(order), PAIRS_A_STEP):
            batch = [pairs[at] for at in order[first : first + PAIRS_A_STEP]]
            moved = log_ratios(weights, reference, batch, shape=shape)
            loss = dpo_loss(moved, beta=beta).mean()
            _update(optimizer, weights, loss)
            yield _preferences(moved.detach(), beta=beta)


def preferences(
    weights: DecoderWeights, reference: DecoderWeights, pairs: Sequence[Pair], *, beta: float, shape: DecoderShape
) -> Preferences:
    """Return how a policy stands to pairs, at least one."""
    batches = [pairs[first : first + PAIRS_A_STEP] for first in range(0, len(pairs), PAIRS_A_STEP)]
    with torch.no_grad():
        moved = torch.cat([log_ratios(weights, reference, batch, shape=shape) for batch in batches])
    return _preferences(moved, beta=beta)


def log_ratios(
    weights: DecoderWeights, reference: DecoderWeights, pairs: Sequence[Pair], *, shape: DecoderShape
) -> Tensor:
    """Return ln(π / π_ref) (pairs, 2) of whole completions, the right one first, for autograd to follow."""
    packed = pack([one.task.ids for one in pairs], [[one.right.ids, one.wrong.ids] for one in pairs])
    with torch.no_grad():
        theirs = packed.sums(chosen_logprobs(packed_logprobs(shape, reference, packed), packed.targets))  # (M,)
    ours = packed.sums(chosen_logprobs(packed_logprobs(shape, weights, packed), packed.targets))
    return (ours - theirs).view(-1, 2)


def _preferences(moved: Tensor, *, beta: float) -> Preferences:
    """Return what log-ratios (pairs, 2) come to."""
    loss = dpo_loss(moved, beta=beta).mean()
    return Preferences(float(loss), float((moved[:, 0] > moved[:, 1]).float().mean()), len(moved))


def advantages(rewards: Tensor) -> Tensor:
    """Return how much better than its group each completion is, of rewards (prompts, completions of each).

    Formula:
        (r - mean of the group) / standard deviation of the group (of the group itself: divided by its size); 0 where
        all are alike
    Source:
        Shao et al. 2024, arXiv:2402.03300, section 4.1.2, outcome supervision.

    >>> advantages(torch.tensor([[1.0, 0.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0]])).tolist()[1]
    [0.0, 0.0, 0.0, 0.0]
    """
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    return centred / (rewards.std(dim=1, keepdim=True, correction=0) + SPREAD_FLOOR)


def reward_loss(ours: Tensor, theirs: Tensor, advantage: Tensor, *, beta: float) -> Tensor:
    """Return the loss of tokens (N,) that were drawn from the policy itself.

    Formula:
        -mean over tokens of (advantage * ln π - beta * KL),  KL = π_ref / π - ln(π_ref / π) - 1
        Drawn from the policy as it is, the ratio to the old policy is 1 and nothing is clipped: the gradient of GRPO's
        first term is that of REINFORCE with the group's mean as baseline. KL is never negative, and unbiased for
        KL(π || π_ref); its gradient is that of KL(π_ref || π).

    Source:
        Shao et al. 2024, arXiv:2402.03300, equations 3 and 4, but with the mean over all tokens at once and not first
        within each completion: huggingface/trl@010dd23f, docs/source/grpo_trainer.md, loss type "dapo".

    >>> float(reward_loss(torch.tensor([-1.0, -3.0]), torch.tensor([-1.0, -3.0]), torch.tensor([1.0, -1.0]), beta=0.1))
    -1.0
    """
    return -(advantage * ours - beta * kl_terms(ours, theirs)).mean()


def kl_terms(ours: Tensor, theirs: Tensor) -> Tensor:
    """Return a term (N,) of each token drawn from the policy: their mean is the KL of the policy from the reference."""
    return (theirs - ours).exp() - (theirs - ours) - 1


def reward(
    weights: DecoderWeights,
    reference: DecoderWeights,
    tasks: Sequence[Task],
    sampler: Sampler,
    options: DpoOptions,
    *,
    rng: torch.Generator,
) -> Iterator[RewardStep]:
    """Train weights in place on the verifier's reward and yield every step: draw from the policy as it is, update once.

    Raises:
        UsageError: If the loss is no number any more.
    """
    optimizer = _optimizer(weights, options)
    for _ in range(options.reward_steps):
        picked = torch.randperm(len(tasks), generator=rng)[: options.reward_prompts].tolist()
        own = [tasks[at] for at in picked]
        drawn = sampler.draw(weights, own, each=options.each, rng=rng)
        rewards = torch.tensor([[float(one.right) for one in row] for row in drawn])
        packed = pack([task.ids for task in own], [[one.ids for one in row] for row in drawn])
        with torch.no_grad():
            theirs = chosen_logprobs(packed_logprobs(sampler.shape, reference, packed), packed.targets)  # (N,)
        ours = chosen_logprobs(packed_logprobs(sampler.shape, weights, packed), packed.targets)
        advantage = advantages(rewards).flatten()[packed.owner]  # (N,): every token has its completion's
        _update(optimizer, weights, reward_loss(ours, theirs, advantage, beta=options.reward_beta))
        apart = kl_terms(ours.detach(), theirs)
        yield RewardStep(float(rewards.mean()), float(apart.sum()) / packed.continuations)


def _optimizer(weights: DecoderWeights, options: DpoOptions) -> torch.optim.Optimizer:
    return torch.optim.AdamW(leaves(weights), lr=options.rate, weight_decay=0.0)


def _update(optimizer: torch.optim.Optimizer, weights: DecoderWeights, loss: Tensor) -> None:
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    norm = torch.nn.utils.clip_grad_norm_(leaves(weights), CLIP_NORM)
    if not (loss.isfinite() and norm.isfinite()):
        raise UsageError(DIVERGED)
    optimizer.step()
