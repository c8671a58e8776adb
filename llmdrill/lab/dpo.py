"""What `llmdrill lab dpo` measures: a model before and after DPO on pairs that it wrote, and after reward training."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from llmdrill.errors import UsageError
from llmdrill.lab.completion_cases import SourceText
from llmdrill.lab.dpo_lines import draw_sums, draw_tasks, trained_on
from llmdrill.lab.dpo_sample import Sampler, judge
from llmdrill.lab.dpo_train import pairs_of, preferences, reward, tune
from llmdrill.lab.held_out import held_out_sums, held_out_texts
from llmdrill.lab.load_decoder import load_decoder
from llmdrill.lab.room import need_memory
from llmdrill.lab.tokenizer import load_tokenizer
from llmdrill.lab.train_forward import trainable_copy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmdrill.lab.decoder import DecoderWeights
    from llmdrill.lab.dpo_lines import Task, Verifier
    from llmdrill.lab.dpo_sample import Drawn, Judged
    from llmdrill.lab.dpo_train import Pair, Preferences, RewardStep
    from llmdrill.lab.tokenizer import Tokenizer

TRAINING_FILES: Final = 60
TRAINING_COPIES: Final = 4  # of the weights: the policy, its gradients and AdamW's two moments


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
        model: A folder or hub id; None for the embedded model.
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
    model: str | None = None

    def __post_init__(self) -> None:
        if self.each < 2 or not self.betas or min(self.betas) <= 0:
            raise UsageError("pairs need two completions of a prompt, and DPO a beta above zero")


@dataclass(frozen=True, slots=True)
class Tuned:
    """One DPO training.

    Attributes:
        first: On the pairs of the first step, before it.
        trained_on: On all pairs that it was trained on, after it.
        held_out: On pairs of held-out prompts, after it; None if the reference made none there.
        seconds: Of the training, without judging.
    """

    beta: float
    first: Preferences
    trained_on: Preferences
    held_out: Preferences | None
    judged: Judged
    seconds: float


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
    """Draw pairs from a model, train on them, train on reward instead, and judge each on held-out prompts.

    Raises:
        MissingExtraError, ModelFileError: As ``load_decoder`` and ``load_tokenizer`` say.
        UsageError: If there are too few lines, no prompt has a right and a wrong completion, the tokenizer does not
            tell its tokens' bytes, memory is short, or a training diverges.

    Source:
        Rafailov et al. 2023, arXiv:2305.18290, section 4; Shao et al. 2024 (DeepSeekMath), arXiv:2402.03300, section
        4.1.
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
        tuned.append(bench.tuned(pairs, beta=beta, rng=rng, now=now))
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
    """A model, its prompts for training and for judging, and what it draws as it is."""

    def __init__(self, options: DpoOptions, *, seed: int) -> None:
        self._options = options
        self.decoder, tokenizer = load_decoder(options.model), load_tokenizer(options.model)
        need_memory(TRAINING_COPIES * self.decoder.weight_bytes, what="training all weights of this model")
        self.reference, self.rng, self._each = self.decoder.weights, torch.Generator().manual_seed(seed), options.each
        self.sampler = Sampler(self.decoder.shape, tokenizer, options.verifier, max_new_tokens=options.max_new_tokens)
        self.tasks, self._trial = tasks_apart(options, tokenizer, rng=np.random.default_rng(seed))
        self._theirs = self.sampler.draw(self.reference, self._trial, each=self._each, rng=self.rng)
        self._held_out_pairs = tuple(pairs_of(self._trial, self._theirs))

    def drawn(self) -> list[list[Drawn]]:
        """Return what the reference makes of the prompts for training."""
        return self.sampler.draw(self.reference, self.tasks, each=self._each, rng=self.rng)

    def tuned(self, pairs: Sequence[Pair], *, beta: float, rng: np.random.Generator, now: Callable[[], float]) -> Tuned:
        """Train on pairs from the start, and hold the result to both kinds of pairs and to held-out prompts."""
        weights, reference, shape, started = trainable_copy(self.decoder), self.reference, self.decoder.shape, now()
        steps = tuple(tune(weights, reference, pairs, self._options, beta=beta, shape=shape, rng=rng))
        seconds, held_out = now() - started, self._held_out_pairs
        return Tuned(
            beta=beta,
            first=steps[0],
            trained_on=preferences(weights, reference, pairs, beta=beta, shape=shape),
            held_out=preferences(weights, reference, held_out, beta=beta, shape=shape) if held_out else None,
            judged=self.judged(weights),
            seconds=seconds,
        )

    def judged(self, weights: DecoderWeights) -> Judged:
        """Return what a policy makes of the held-out prompts, against the reference."""
        return judge(weights, self.reference, self._theirs, self._trial, self.sampler, rng=self.rng)


def tasks_apart(
    options: DpoOptions, tokenizer: Tokenizer, *, rng: np.random.Generator
) -> tuple[tuple[Task, ...], tuple[Task, ...]]:
    """Return prompts to train on and prompts to judge on: of modules that are not held out and of such as are, or sums.

    Raises:
        UsageError: If there are too few.
    """
    context, counts = options.context_tokens, (options.prompts, options.held_out_prompts)
    if options.verifier == "sums":
        return draw_sums(tokenizer, tasks=counts[0], held_out_tasks=counts[1], rng=rng)
    seen = trained_on(frozenset(held_out_sums()), files=TRAINING_FILES, rng=rng)
    unseen = tuple(SourceText(one.path, one.text) for one in held_out_texts())
    own, theirs = (
        draw_tasks(options.verifier, texts, tokenizer, tasks=count, context_tokens=context, rng=rng)
        for texts, count in zip((seen, unseen), counts, strict=True)
    )
    return own, theirs
