"""The cycle of generation, step by step: tokens in, one forward pass, the likeliest token out and in again."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from llmdrill.lab.decoder import Decoder, Session


@dataclass(frozen=True, slots=True)
class CycleStep:
    """One forward pass and the choice after it.

    Attributes:
        read_ids: The tokens read: the whole prompt at first, then the one chosen before.
        chosen_id: The likeliest next token.
        probability: Of it, the softmax of the logits.
        runner_up_id: The second likeliest.
        runner_up_probability: Of that.
        seconds: Of forward pass and choice; the probabilities are worked out after the clock.
    """

    read_ids: tuple[int, ...]
    chosen_id: int
    probability: float
    runner_up_id: int
    runner_up_probability: float
    seconds: float


def first_step(session: Session, prompt: Sequence[int], *, now: Callable[[], float] = time.perf_counter) -> CycleStep:
    """Read a prompt (T,) into a session of one sequence, and choose the first token."""
    return _step(tuple(prompt), lambda: session.prefill([prompt]), now)


def next_steps(
    session: Session, first: CycleStep, *, steps: int, stop_id: int | None, now: Callable[[], float] = time.perf_counter
) -> Iterator[CycleStep]:
    """Yield up to ``steps`` further steps, each reading what the one before chose; a stop token ends them."""
    last = first
    for _ in range(steps):
        if last.chosen_id == stop_id:
            return
        ids = torch.tensor([last.chosen_id])  # (B,) with B = 1
        last = _step((last.chosen_id,), lambda ids=ids: session.decode(ids), now)  # type: ignore[misc]
        yield last


def hand_over(session: Session, decoder: Decoder) -> Session:
    """Return the session of another engine for the same weights that goes on where this one stands, on its cache."""
    other = decoder.start(sequences=len(session.cache.lengths), capacity_tokens=1)
    other.cache = session.cache
    return other


def _step(read: tuple[int, ...], forward: Callable[[], Tensor], now: Callable[[], float]) -> CycleStep:
    start = now()
    logits = forward()  # (1, V)
    chosen = int(logits.argmax(dim=-1))
    seconds = now() - start
    probabilities, ids = logits[0].float().softmax(dim=-1).topk(2)
    runner_up = 1 if int(ids[0]) == chosen else 0  # topk may order equals the other way
    return CycleStep(
        read_ids=read,
        chosen_id=chosen,
        probability=float(probabilities[1 - runner_up]),
        runner_up_id=int(ids[runner_up]),
        runner_up_probability=float(probabilities[runner_up]),
        seconds=seconds,
    )
