"""Preference training with a verifier: DPO on pairs the model wrote itself, and REINFORCE on the verifier's reward.

Shapes in comments: N tokens of completions, M completions, V vocabulary.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch.nn import functional

from llmdrill.errors import UsageError
from llmdrill.lab.completion_cases import SourceText
from llmdrill.lab.dpo_lines import draw_tasks, trained_on
from llmdrill.lab.dpo_sample import Sampler, chosen_logprobs, judge
from llmdrill.lab.embedded import embedded_decoder
from llmdrill.lab.held_out import held_out_sums, held_out_texts
from llmdrill.lab.tokenizer import load_tokenizer
from llmdrill.lab.train_forward import leaves, pack, packed_logprobs, trainable_copy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from llmdrill.lab.decoder import DecoderWeights
    from llmdrill.lab.dpo_lines import Task, Verifier
    from llmdrill.lab.dpo_sample import Drawn, Judged
    from llmdrill.lab.shapes import DecoderShape

PAIRS_A_STEP: Final = 16
TRAINING_FILES: Final = 60
SPREAD_FLOOR: Final = 1e-4  # under a group's standard deviation, so that equal rewards give no advantage
CLIP_NORM: Final = 1.0


@dataclass(frozen=True, slots=True)
class DpoOptions:
    """What to train and how.

    Attributes:
        verifier: Who says which completion is right.
        prompts: To draw pairs from.
        held_out_prompts: To compare policies on.
        each: Completions drawn of a prompt, at least two.
        betas: Of DPO: how dear it is to leave the reference.
        epochs: Over the pairs.
        reward_steps: Of REINFORCE.
        reward_prompts: In each of them.
        reward_beta: Weight of the KL to the reference there.
        rate: Of AdamW.
        context_tokens: Of a prompt, at most.
        max_new_tokens: Of a completion, at most.
    """

    verifier: Verifier
    prompts: int
    held_out_prompts: int
    each: int
    betas: tuple[float, ...]
    epochs: int
    reward_steps: int
    reward_prompts: int
    reward_beta: float
    rate: float
    context_tokens: int
    max_new_tokens: int

    def __post_init__(self) -> None:
        if self.each < 2 or not self.betas or min(self.betas) <= 0:
            raise UsageError("pairs need two completions of a prompt, and DPO a beta above zero")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two completions of a prompt, one right and one wrong."""

    task: Task
    right: Drawn
    wrong: Drawn


@dataclass(frozen=True, slots=True)
class DpoStep:
    """One update: the loss, and how often the policy already prefers the right one more than the reference does."""

    loss: float
    preferred_share: float


@dataclass(frozen=True, slots=True)
class Tuned:
    """One DPO training."""

    beta: float
    steps: tuple[DpoStep, ...]
    judged: Judged
    seconds: float


@dataclass(frozen=True, slots=True)
class RewardStep:
    """One update by reward: the share of completions that were right, and the KL to the reference on them."""

    right_share: float
    kl_nats: float


@dataclass(frozen=True, slots=True)
class DpoRun:
    """Everything that one run saw.

    Attributes:
        drawn: Completions that pairs could be made of.
        pairs: One of each prompt that had a right and a wrong one.
        before: The reference against itself, drawn anew: wins near a half, no KL.
        tuned: One training a beta.
        reward_steps: Of REINFORCE.
        rewarded: After them.
        reward_seconds: Of them.
    """

    options: DpoOptions
    drawn: int
    pairs: int
    before: Judged
    tuned: tuple[Tuned, ...]
    reward_steps: tuple[RewardStep, ...]
    rewarded: Judged
    reward_seconds: float


def run_dpo(
    options: DpoOptions,
    *,
    seed: int,
    say: Callable[[str], None] = lambda _: None,
    now: Callable[[], float] = time.perf_counter,
) -> DpoRun:
    """Draw pairs from the embedded model, train on them, train on reward instead, and judge each on held-out prompts.

    Raises:
        MissingExtraError, ModelFileError: As ``load_decoder`` says.
        UsageError: If there are too few lines, or no prompt has a right and a wrong completion.

    Source:
        Rafailov et al. 2023, arXiv:2305.18290; Shao et al. 2024 (DeepSeekMath), arXiv:2402.03300, section 4.
    """
    bench, rng = _Bench(options, seed=seed), np.random.default_rng(seed)
    say("drawing pairs")
    pairs = tuple(pairs_of(bench.tasks, bench.drawn()))
    if not pairs:
        raise UsageError("no prompt has a right and a wrong completion: draw more prompts, or more of each")
    before = bench.judged(bench.reference)
    tuned = []
    for beta in options.betas:
        say(f"DPO, beta {beta:g}")
        weights, started = trainable_copy(bench.decoder), now()
        steps = tuple(tune(weights, bench.reference, pairs, options, beta=beta, shape=bench.decoder.shape, rng=rng))
        tuned.append(Tuned(beta, steps, bench.judged(weights), now() - started))
    weights, started = trainable_copy(bench.decoder), now()
    reward_steps = []
    for step in reward(weights, bench.reference, bench.tasks, bench.sampler, options, rng=bench.rng):
        reward_steps.append(step)
        say(f"reward step {len(reward_steps)} of {options.reward_steps}")
    seconds = now() - started
    return DpoRun(
        options=options,
        drawn=len(bench.tasks) * options.each,
        pairs=len(pairs),
        before=before,
        tuned=tuple(tuned),
        reward_steps=tuple(reward_steps),
        rewarded=bench.judged(weights),
        reward_seconds=seconds,
    )


class _Bench:
    """The embedded model, its prompts for training and for judging, and what it draws as it is."""

    def __init__(self, options: DpoOptions, *, seed: int) -> None:
        self.decoder, tokenizer = embedded_decoder(), load_tokenizer()
        self.reference, self.rng, self._each = self.decoder.weights, torch.Generator().manual_seed(seed), options.each
        rng = np.random.default_rng(seed)
        seen = trained_on(frozenset(held_out_sums()), files=TRAINING_FILES, rng=rng)
        unseen = tuple(SourceText(one.path, one.text) for one in held_out_texts())

        def tasks_of(texts: Sequence[SourceText], count: int) -> tuple[Task, ...]:
            context = options.context_tokens
            return draw_tasks(options.verifier, texts, tokenizer, tasks=count, context_tokens=context, rng=rng)

        self.tasks, self._trial = tasks_of(seen, options.prompts), tasks_of(unseen, options.held_out_prompts)
        shape, most = self.decoder.shape, options.max_new_tokens
        self.sampler = Sampler(shape, tokenizer, options.verifier, max_new_tokens=most)
        self._theirs = self.sampler.draw(self.reference, self._trial, each=self._each, rng=self.rng)

    def drawn(self) -> list[list[Drawn]]:
        """Return what the reference makes of the prompts for training."""
        return self.sampler.draw(self.reference, self.tasks, each=self._each, rng=self.rng)

    def judged(self, weights: DecoderWeights) -> Judged:
        """Return what a policy makes of the held-out prompts, against the reference."""
        return judge(weights, self.reference, self._theirs, self._trial, self.sampler, rng=self.rng)


def pairs_of(tasks: Sequence[Task], drawn: Sequence[Sequence[Drawn]]) -> Iterator[Pair]:
    """Yield one pair of every prompt that has a right and a wrong completion: the first of each."""
    for task, own in zip(tasks, drawn, strict=True):
        right, wrong = ([one for one in own if one.right is wanted] for wanted in (True, False))
        if right and wrong:
            yield Pair(task, right[0], wrong[0])


def dpo_loss(ours: Tensor, theirs: Tensor, *, beta: float) -> Tensor:
    """Return the DPO loss (pairs,) of log-probabilities (pairs, 2), the right completion first.

    Formula:
        -ln sigmoid(beta * ((ln π(right) - ln π_ref(right)) - (ln π(wrong) - ln π_ref(wrong))))
        ln 2 where the policy is the reference.

    Source:
        Rafailov et al. 2023, arXiv:2305.18290, equation 7; eric-mitchell/direct-preference-optimization@5815fab2,
        trainers.py, dpo_loss.

    >>> equal = torch.tensor([[-3.0, -5.0]])
    >>> round(float(dpo_loss(equal, equal, beta=0.1)), 4)
    0.6931
    """
    rewards = beta * (ours - theirs)
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
) -> Iterator[DpoStep]:
    """Train weights in place on the pairs, in a new order each epoch, and yield every step."""
    optimizer = _optimizer(weights, options)
    for _ in range(options.epochs):
        order = rng.permutation(len(pairs)).tolist()
        for first in range(0, len(order), PAIRS_A_STEP):
            batch = [pairs[at] for at in order[first : first + PAIRS_A_STEP]]
            packed = pack([one.task.ids for one in batch], [[one.right.ids, one.wrong.ids] for one in batch])
            with torch.no_grad():
                theirs = packed.sums(chosen_logprobs(packed_logprobs(shape, reference, packed), packed.targets))
            ours = packed.sums(chosen_logprobs(packed_logprobs(shape, weights, packed), packed.targets))  # (M,)
            ours, theirs = ours.view(-1, 2), theirs.view(-1, 2)
            loss = dpo_loss(ours, theirs, beta=beta).mean()
            _update(optimizer, weights, loss)
            moved = (ours - theirs).detach()
            yield DpoStep(float(loss.detach()), float((moved[:, 0] > moved[:, 1]).float().mean()))


def advantages(rewards: Tensor) -> Tensor:
    """Return how much better than its group each completion is, of rewards (prompts, completions of each).

    Formula:
        (r - mean of the group) / standard deviation of the group; 0 where all are alike
    Source:
        Shao et al. 2024, arXiv:2402.03300, section 4.1.2, outcome supervision.

    >>> advantages(torch.tensor([[1.0, 0.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0]])).tolist()[1]
    [0.0, 0.0, 0.0, 0.0]
    """
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    return centred / (rewards.std(dim=1, keepdim=True, correction=0) + SPREAD_FLOOR)


def reward(
    weights: DecoderWeights,
    reference: DecoderWeights,
    tasks: Sequence[Task],
    sampler: Sampler,
    options: DpoOptions,
    *,
    rng: torch.Generator,
) -> Iterator[RewardStep]:
    """Train weights in place on the verifier's reward, and yield every step.

    Each step draws from the policy as it is and updates once, so the ratio to the old policy is 1 and GRPO's clipped
    objective is REINFORCE with the group's mean as baseline:
        loss = -mean over tokens of (advantage * ln π - reward_beta * KL),  KL = π_ref / π - ln(π_ref / π) - 1.

    Source:
        Shao et al. 2024, arXiv:2402.03300, equations 3 and 4; huggingface/trl@010dd23f, docs/source/grpo_trainer.md,
        for the mean over all tokens.
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
        gain = advantages(rewards).flatten()[packed.owner] * ours  # (N,)
        apart = (theirs - ours).exp() - (theirs - ours) - 1
        _update(optimizer, weights, -(gain - options.reward_beta * apart).mean())
        yield RewardStep(float(rewards.mean()), float(apart.sum().detach()) / packed.continuations)


def _optimizer(weights: DecoderWeights, options: DpoOptions) -> torch.optim.Optimizer:
    return torch.optim.AdamW(leaves(weights), lr=options.rate, weight_decay=0.0)


def _update(optimizer: torch.optim.Optimizer, weights: DecoderWeights, loss: Tensor) -> None:
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    torch.nn.utils.clip_grad_norm_(leaves(weights), CLIP_NORM)
    optimizer.step()
