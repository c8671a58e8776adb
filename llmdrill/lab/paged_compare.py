"""Paged against plain: the same requests, samples and steps with the contiguous cache, to compare what comes out."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

import torch

from llmdrill.lab.decoder import Sampling, Session
from llmdrill.lab.paged_cache import BlockPool, BlockTable, PagedCache
from llmdrill.lab.paged_run import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from llmdrill.lab.decoder import Decoder
    from llmdrill.lab.paged_run import Request


def answer_alone(decoder: Decoder, requests: Sequence[Request]) -> tuple[Answer, ...]:
    """Answer each request by itself with the contiguous cache: what paging must not change."""
    return tuple(_alone(decoder, request) for request in requests)


def _alone(decoder: Decoder, request: Request) -> Answer:
    session = decoder.start(sequences=1, capacity_tokens=request.cached_tokens)
    rows = [session.prefill([request.prompt])]
    while len(rows) < request.output_tokens:
        rows.append(session.decode(rows[-1].argmax(dim=-1)))
    logits = torch.cat(rows)
    return Answer(tuple(logits.argmax(dim=-1).tolist()), logits)


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two sets of answers agree.

    Attributes:
        equal_share: Of requests with the very same tokens.
        logit_difference: The largest, over all tokens up to and including the first that differs.
    """

    equal_share: float
    logit_difference: float


def agreement(ours: Sequence[Answer], theirs: Sequence[Answer]) -> Agreement:
    """Compare answers to the same requests."""
    pairs = list(zip(ours, theirs, strict=True))
    return Agreement(
        sum(one.tokens == other.tokens for one, other in pairs) / len(pairs),
        max(_difference(one, other) for one, other in pairs),
    )


def _difference(one: Answer, other: Answer) -> float:
    unequal = (at for at, (a, b) in enumerate(zip(one.tokens, other.tokens, strict=True)) if a != b)
    compared = next(unequal, len(one.tokens) - 1) + 1
    return float((one.logits[:compared] - other.logits[:compared]).abs().max())


@dataclass(frozen=True, slots=True)
class SampleRun:
    """Several samples of one prompt.

    Attributes:
        answers: One for each sample.
        used_bytes: Of the pool when all samples are whole.
        copied_blocks: On writing to a shared one.
    """

    answers: tuple[Answer, ...]
    used_bytes: int
    copied_blocks: int


def sample_from(
    decoder: Decoder,
    prompt: Sequence[int],
    *,
    samples: int,
    output_tokens: int,
    shared: bool,
    seed: int,
    block_tokens: int,
) -> SampleRun:
    """Draw several continuations of a prompt at temperature 1, the prompt's blocks shared or each with its own.

    Source:
        Kwon et al. 2023, arXiv:2309.06180, section 4.4, parallel sampling.
    """
    most = samples * math.ceil((len(prompt) + output_tokens) / block_tokens)
    pool = BlockPool(decoder.shape, blocks=most, block_tokens=block_tokens, dtype=decoder.dtype)
    tables = [BlockTable() for _ in range(1 if shared else samples)]
    logits = Session(decoder, PagedCache(pool, tables)).prefill([prompt] * len(tables))
    if shared:
        tables += [pool.fork(tables[0]) for _ in range(samples - 1)]
    session = Session(decoder, PagedCache(pool, tables))
    answers = _draw(session, logits.expand(samples, -1), output_tokens, seed)
    return SampleRun(answers, pool.used_bytes, pool.copied_blocks)


def sample_plainly(
    decoder: Decoder, prompt: Sequence[int], *, samples: int, output_tokens: int, seed: int
) -> tuple[Answer, ...]:
    """Draw the same continuations with the contiguous cache."""
    session = decoder.start(sequences=samples, capacity_tokens=len(prompt) + output_tokens - 1)
    return _draw(session, session.prefill([prompt] * samples), output_tokens, seed)


def _draw(session: Session, logits: Tensor, output_tokens: int, seed: int) -> tuple[Answer, ...]:
    rng, sampling = torch.Generator().manual_seed(seed), Sampling(temperature=1.0)
    rows, picked = [logits], [sampling.pick(logits, rng)]
    while len(picked) < output_tokens:
        rows.append(session.decode(picked[-1]))
        picked.append(sampling.pick(rows[-1], rng))
    tokens = torch.stack(picked, dim=1).tolist()  # (B, T)
    return tuple(Answer(tuple(row), torch.stack(rows, dim=1)[at]) for at, row in enumerate(tokens))


@dataclass(frozen=True, slots=True)
class StepRun:
    """The same decoding steps with either cache, in turn.

    Attributes:
        plain_s: Each step with the contiguous cache.
        paged_s: The same step with the paged one.
        logit_difference: The largest between the two, prefill included.
    """

    plain_s: tuple[float, ...]
    paged_s: tuple[float, ...]
    logit_difference: float

    @property
    def paged_ratio(self) -> float:
        """Return how much longer a step takes with the paged cache, median over steps."""
        return median(paged / plain for plain, paged in zip(self.plain_s, self.paged_s, strict=True))


def compare_steps(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    *,
    steps: int,
    block_tokens: int,
    now: Callable[[], float] = time.perf_counter,
) -> StepRun:
    """Decode one batch of equally long prompts with both caches, step by step in turn, after one step unread."""
    longest = len(prompts[0]) + steps + 1
    blocks = len(prompts) * math.ceil(longest / block_tokens)
    pool = BlockPool(decoder.shape, blocks=blocks, block_tokens=block_tokens, dtype=decoder.dtype)
    paged = Session(decoder, PagedCache(pool, [BlockTable() for _ in prompts]))
    plain = decoder.start(sequences=len(prompts), capacity_tokens=longest)
    ours, theirs = paged.prefill(prompts), plain.prefill(prompts)
    apart, seconds = [float((ours - theirs).abs().max())], []
    for _ in range(steps + 1):
        picked = theirs.argmax(dim=-1)
        start = now()
        theirs = plain.decode(picked)
        middle = now()
        ours = paged.decode(picked)
        seconds.append((middle - start, now() - middle))
        apart.append(float((ours - theirs).abs().max()))
    plain_s, paged_s = zip(*seconds[1:], strict=True)
    return StepRun(plain_s, paged_s, max(apart))
