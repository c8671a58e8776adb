"""Tune a decoder to another style of code, by adapters, in full, or by a prompt: what `llmdrill lab lora` measures.

The new style is a rewriting of held-out modules: two spaces, camelCase, double quotes. Some modules are trained on,
the others judged, in the new style (learning) and as they are (forgetting).

Shapes in comments: B windows, T tokens of a window.
"""

from __future__ import annotations

import random
import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch

from llmdrill.errors import UsageError
from llmdrill.lab.clock import Timing
from llmdrill.lab.code_style import restyle
from llmdrill.lab.decoder import Decoder
from llmdrill.lab.held_out import held_out_texts
from llmdrill.lab.interval import half_width
from llmdrill.lab.load_decoder import load_decoder
from llmdrill.lab.lora import Adapted, merged, new_adapters
from llmdrill.lab.score import draw_windows, score_windows
from llmdrill.lab.tokenizer import load_tokenizer
from llmdrill.lab.train_forward import leaves, pack, packed_logprobs, trainable_copy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from torch import Tensor

    from llmdrill.lab.decoder import DecoderWeights
    from llmdrill.lab.lora import Adapters

TRAIN_SHARE: Final = 0.7  # of the modules
CLIP_NORM: Final = 1.0


@dataclass(frozen=True, slots=True)
class LoraConfig:
    """What to run.

    Attributes:
        model: A folder or hub id; None for the embedded decoder.
        ranks: Each is trained.
        steps: Of every training, on the same batches.
        batch_windows: Of a step.
        window_tokens: Of training and of judging.
        test_windows: Judged, of the new style and of the old.
        prompt_tokens: Of examples before a window, where nothing is trained.
        rate: Of AdamW for adapters; it falls to 0 along a straight line.
        full_rate: The same for full fine-tuning.
    """

    model: str | None = None
    ranks: tuple[int, ...] = (2, 8, 32)
    steps: int = 30
    batch_windows: int = 4
    window_tokens: int = 256
    test_windows: int = 12
    prompt_tokens: int = 512
    rate: float = 5e-3
    full_rate: float = 1e-3

    def __post_init__(self) -> None:
        least = {"steps": 1, "batch_windows": 1, "window_tokens": 16, "test_windows": 2, "prompt_tokens": 1}
        for name, fewest in least.items():
            if getattr(self, name) < fewest:
                raise UsageError(f"{name} is {getattr(self, name)}: it must be at least {fewest}")
        if not self.ranks or min(self.rate, self.full_rate) <= 0:
            raise UsageError("LoRA needs at least one rank and rates above 0")


@dataclass(frozen=True, slots=True)
class Loss:
    """Nats per token on the test windows, and by how much that is more than before, with half its 95 % interval."""

    nats_per_token: float
    change_nats: float
    change_half_width_nats: float


@dataclass(frozen=True, slots=True)
class Judged:
    """One way to adapt the model, judged on modules that it was not adapted on.

    Attributes:
        name: ``before``, ``rank 8``, ``full`` …
        new_style: Loss in the style that was to be learned.
        old_style: Loss on the same modules as they are; None where the question does not arise.
    """

    name: str
    new_style: Loss
    old_style: Loss | None


@dataclass(frozen=True, slots=True)
class Trained:
    """One training.

    Attributes:
        rank: None for full fine-tuning.
        judged: After it.
        trainable_parameters: Counted on the tensors that train.
        gradient_bytes: Of their gradients.
        optimizer_bytes: Of the optimizer's state, its step counters included.
        step_timing: Of each step but the first, forward to update.
        losses: Of each step's batch, before its update.
        merge_difference: Largest difference of a logit between the adapters beside and within the matrices; None for
            full fine-tuning.
    """

    rank: int | None
    judged: Judged
    trainable_parameters: int
    gradient_bytes: int
    optimizer_bytes: int
    step_timing: Timing
    losses: tuple[float, ...]
    merge_difference: float | None


@dataclass(frozen=True, slots=True)
class LoraRun:
    """All that was seen; ``prompted`` holds examples of the new style, then as many tokens of the old one."""

    decoder: Decoder
    before: Judged
    trained: tuple[Trained, ...]
    prompted: tuple[Judged, ...]
    train_files: int
    test_files: int
    trained_tokens: int
    test_tokens: int


@dataclass(frozen=True, slots=True)
class StyleTexts:
    """Modules in both styles, those to train on and those to judge: tokens of each module."""

    train_new: tuple[list[int], ...]
    train_old: tuple[list[int], ...]
    test_new: tuple[list[int], ...]
    test_old: tuple[list[int], ...]


def run_lora(
    config: LoraConfig,
    *,
    seed: int,
    say: Callable[[str], None] = lambda _: None,
    now: Callable[[], float] = time.perf_counter,
) -> LoraRun:
    """Train adapters of each rank and, on the same batches, all weights; judge them, and prompts, on other modules.

    The trainings take turns step by step, so that a machine that slows down slows all of them.

    Raises:
        MissingExtraError, ModelFileError: As ``load_decoder`` and ``load_tokenizer`` say.
        UsageError: If windows, prompt or ranks do not fit the model or the text.

    Source:
        Hu et al. 2021, LoRA, arXiv:2106.09685; learning beside forgetting: Biderman et al. 2024, arXiv:2405.09673.
    """
    decoder = load_decoder(config.model)
    if config.window_tokens + config.prompt_tokens > decoder.shape.max_positions:
        longest = decoder.shape.max_positions
        raise UsageError(
            f"prompts of {config.prompt_tokens} and windows of {config.window_tokens} tokens: this model has {longest}"
        )
    texts = style_texts(config.model, seed=seed)
    test = _Test(decoder, texts, config, seed=seed)
    rows = config.steps * config.batch_windows
    windows = draw_windows(texts.train_new, windows=rows, tokens=config.window_tokens, seed=seed)
    batches = windows[torch.arange(rows) % len(windows)].view(config.steps, config.batch_windows, -1)  # few come again
    trainings = [_Training(decoder, config, rank=rank, seed=seed) for rank in (*config.ranks, None)]
    for step, batch in enumerate(batches, start=1):
        say(f"step {step} of {len(batches)}: {len(config.ranks)} ranks and all weights in turn")
        for training in trainings:
            training.step(batch, now)
    trained = []
    for training in trainings:
        say(f"{training.name}: judging")
        trained.append(training.result(test))
    return LoraRun(
        decoder=decoder,
        before=test.judge("before", decoder),
        trained=tuple(trained),
        prompted=test.prompted(texts, config, seed=seed),
        train_files=len(texts.train_new),
        test_files=len(texts.test_new),
        trained_tokens=batches.numel(),
        test_tokens=test.new[:, 1:].numel(),
    )


def style_texts(model: str | None, *, seed: int) -> StyleTexts:
    """Return the held-out modules in both styles, split at random into those to train on and those to judge."""
    tokenizer = load_tokenizer(model)
    both = [(one.text, restyled) for one in held_out_texts() if (restyled := restyle(one.text)) is not None]
    random.Random(seed).shuffle(both)  # noqa: S311 - a split, not a secret
    old, new = ([tokenizer.encode(text) for text in style] for style in zip(*both, strict=True))
    cut = round(TRAIN_SHARE * len(both))
    return StyleTexts(tuple(new[:cut]), tuple(old[:cut]), tuple(new[cut:]), tuple(old[cut:]))


class _Test:
    """The windows that every way is judged on, and what the untouched model makes of them."""

    def __init__(self, decoder: Decoder, texts: StyleTexts, config: LoraConfig, *, seed: int) -> None:
        size = {"windows": config.test_windows, "tokens": config.window_tokens, "seed": seed}
        self.new, self.old = draw_windows(texts.test_new, **size), draw_windows(texts.test_old, **size)
        self._decoder = decoder
        self._before = {id(rows): score_windows(decoder, rows).nats[:, 1:].double() for rows in (self.new, self.old)}

    def judge(self, name: str, decoder: Decoder) -> Judged:
        """Judge a decoder on both styles."""
        new, old = (self._loss(rows, score_windows(decoder, rows).nats[:, 1:]) for rows in (self.new, self.old))
        return Judged(name, new, old)

    def prompted(self, texts: StyleTexts, config: LoraConfig, *, seed: int) -> tuple[Judged, ...]:
        """Judge the untouched model on the new style, with examples of the new and then of the old style in front."""
        found = []
        for name, some in (("prompt", texts.train_new), ("prompt in the old style", texts.train_old)):
            examples = draw_windows(some, windows=len(self.new), tokens=config.prompt_tokens, seed=seed)
            front = examples[torch.arange(len(self.new)) % len(examples)]  # (B, prompt tokens)
            nats = score_windows(self._decoder, torch.cat((front, self.new), dim=1)).nats
            found.append(Judged(name, self._loss(self.new, nats[:, config.prompt_tokens + 1 :]), None))
        return tuple(found)

    def _loss(self, rows: Tensor, nats: Tensor) -> Loss:
        change = (nats.double() - self._before[id(rows)]).mean(dim=1)  # (B,)
        return Loss(float(nats.double().mean()), float(change.mean()), half_width(change))


class _Training:
    """One training under way: adapters of a rank, or all weights."""

    def __init__(self, decoder: Decoder, config: LoraConfig, *, rank: int | None, seed: int) -> None:
        self.rank, self.name = rank, "full" if rank is None else f"rank {rank}"
        self._decoder, self._steps = decoder, config.steps
        self._adapters: Adapters | None = None
        self._weights: DecoderWeights = decoder.weights
        if rank is None:
            self._weights = trainable_copy(decoder)
            self._parameters = leaves(self._weights)
        else:
            self._adapters = new_adapters(decoder, rank=rank, seed=seed)
            self._parameters = self._adapters.parameters()
        rate = config.full_rate if rank is None else config.rate
        self._optimizer = torch.optim.AdamW(self._parameters, lr=rate, weight_decay=0.0)
        self._schedule = torch.optim.lr_scheduler.LinearLR(self._optimizer, 1.0, 0.0, total_iters=config.steps)
        self._seconds: list[float] = []
        self._losses: list[float] = []

    def step(self, batch: Tensor, now: Callable[[], float]) -> None:
        """Learn from one batch of windows (B, T)."""
        started = now()
        with self._beside():
            loss = window_loss(self._decoder, self._weights, batch)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._parameters, CLIP_NORM)
        self._optimizer.step()
        self._schedule.step()
        self._losses.append(float(loss.detach()))
        self._seconds.append(now() - started)

    def result(self, test: _Test) -> Trained:
        """Judge what came out, merged, and count what training it held."""
        states = [value for state in self._optimizer.state.values() for value in state.values()]
        decoder, difference = self._decoder, None
        if self._adapters is None:
            frozen = Decoder(decoder.shape, self._weights, random_weights=decoder.random_weights)
        else:
            frozen = merged(decoder, self._adapters)
            with self._beside():
                unmerged = decoder.logits(test.new[:1])
            difference = float((unmerged - frozen.logits(test.new[:1])).abs().max())
        return Trained(
            rank=self.rank,
            judged=test.judge(self.name, frozen),
            trainable_parameters=sum(one.numel() for one in self._parameters),
            gradient_bytes=sum(one.grad.nbytes for one in self._parameters if one.grad is not None),
            optimizer_bytes=sum(value.nbytes for value in states if isinstance(value, torch.Tensor)),
            step_timing=Timing(tuple(self._seconds[1:] or self._seconds)),
            losses=tuple(self._losses),
            merge_difference=difference,
        )

    def _beside(self) -> AbstractContextManager[object]:
        return nullcontext() if self._adapters is None else Adapted(self._weights, self._adapters)


def window_loss(decoder: Decoder, weights: DecoderWeights, windows: Tensor) -> Tensor:
    """Return the mean nats of all tokens of windows (B, T) but their first, for autograd to follow."""
    rows: Sequence[list[int]] = windows.tolist()
    packed = pack([row[:1] for row in rows], [[row[1:]] for row in rows])
    logprobs = packed_logprobs(decoder.shape, weights, packed)  # (B * (T - 1), V)
    return -logprobs.gather(1, packed.targets[:, None]).mean()
