"""Serve a queue of requests with one engine: in static batches, continuously, or each alone.

All requests wait from the start, every one is answered greedily with as many tokens as it asks for, and the clock is
read where a token becomes known.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from llmdrill.errors import UsageError
from llmdrill.lab.decoder import KvCache, Session
from llmdrill.lab.likeliest import likeliest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmdrill.lab.decoder import Decoder


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt, and how many tokens answer it."""

    prompt: tuple[int, ...]
    output_tokens: int

    def __post_init__(self) -> None:
        if not self.prompt or self.output_tokens < 1:
            raise UsageError("a request has at least one token of prompt and one of output")


@dataclass(slots=True)
class Answer:
    """One request's tokens, with the time of each since the queue began to be served."""

    tokens: list[int] = field(default_factory=list)
    arrivals_s: list[float] = field(default_factory=list)

    def add(self, token: int, at_s: float) -> None:
        self.tokens.append(token)
        self.arrivals_s.append(at_s)

    @property
    def ttft_s(self) -> float:
        """Return the time to the first token, waiting in the queue included."""
        return self.arrivals_s[0]

    @property
    def tpot_s(self) -> float | None:
        """Return (last token - first token) / (tokens - 1); None for a single token."""
        later = len(self.arrivals_s) - 1
        return (self.arrivals_s[-1] - self.arrivals_s[0]) / later if later else None


@dataclass(frozen=True, slots=True)
class QueueRun:
    """A queue served.

    Attributes:
        answers: In the order of the requests.
        seconds: From the first prefill to the last token.
        prefill_s: Of them spent on prompts.
        steps: Decode steps.
        computed_tokens: What these computed, whether or not anybody wanted it: a token a slot and step.
    """

    answers: tuple[Answer, ...]
    seconds: float
    prefill_s: float
    steps: int
    computed_tokens: int

    @property
    def output_tokens(self) -> int:
        """Return the tokens of all answers."""
        return sum(len(one.tokens) for one in self.answers)

    @property
    def tokens_per_s(self) -> float:
        """Return output tokens per second of the whole run, prefills included."""
        return self.output_tokens / self.seconds

    @property
    def wasted_slots_share(self) -> float:
        """Return the share of computed slots whose token nobody wanted; prefill gives each answer its first token."""
        wanted = self.output_tokens - len(self.answers)
        return 1 - wanted / self.computed_tokens if self.computed_tokens else 0.0


class RowOfCache(KvCache):
    """One sequence of a larger cache, on the same memory: what is written here is seen there."""

    def __init__(self, cache: KvCache, row: int) -> None:
        self.keys_values = cache.keys_values[:, :, row : row + 1]  # (layers, 2, 1, K, S, D)
        self.lengths = cache.lengths[row : row + 1]  # (1,)


def read_prompt(decoder: Decoder, cache: KvCache, row: int, prompt: tuple[int, ...]) -> int:
    """Read a prompt into one sequence of a cache, in place of what was there, and return the first token after it."""
    only = RowOfCache(cache, row)
    only.keep(0)
    (token,) = likeliest(Session(decoder, only).prefill([prompt]))
    return token


def serve_static(
    decoder: Decoder, requests: Sequence[Request], *, slots: int, now: Callable[[], float] = time.perf_counter
) -> QueueRun:
    """Serve batch after batch in order of arrival: nobody leaves, and nobody comes, before the longest answer is done.

    Prompts are read one by one, as in the continuous schedule: as one batch, the shorter ones would be padded to the
    longest, and the padding computed too.

    Raises:
        UsageError: If a prompt with the longest answer of the queue does not fit the model's context.

    Source:
        Yu et al. 2022, Orca, OSDI 2022, section 3: request-level scheduling, as serving systems did before.
    """
    answers = tuple(Answer() for _ in requests)
    room = capacity_tokens(requests)
    start, prefill_s, steps, computed = now(), 0.0, 0, 0
    for first in range(0, len(requests), slots):
        batch = requests[first : first + slots]
        session = decoder.start(sequences=len(batch), capacity_tokens=room)
        began, tokens = now(), []
        for row, request in enumerate(batch):
            tokens.append(read_prompt(decoder, session.cache, row, request.prompt))
            answers[first + row].add(tokens[-1], now() - start)
        prefill_s += now() - began
        longest = max(one.output_tokens for one in batch)
        for step in range(1, longest):
            tokens = likeliest(session.decode(torch.tensor(tokens)))
            at_s = now() - start
            for answer, request, token in zip(answers[first:], batch, tokens, strict=False):
                if step < request.output_tokens:
                    answer.add(token, at_s)
        steps += longest - 1
        computed += (longest - 1) * len(batch)
    return QueueRun(answers, now() - start, prefill_s, steps, computed)


def serve_continuously(
    decoder: Decoder, requests: Sequence[Request], *, slots: int, now: Callable[[], float] = time.perf_counter
) -> QueueRun:
    """Serve with a schedule made anew at every step: an answer that is complete leaves its slot to the next prompt.

    A newcomer's prompt is read as a whole while the others wait.

    Raises:
        UsageError: If a prompt with the longest answer of the queue does not fit the model's context.

    Source:
        Yu et al. 2022, Orca, OSDI 2022, section 3: iteration-level scheduling.
    """
    running = _Slots(decoder, slots=min(slots, len(requests)), capacity_tokens=capacity_tokens(requests))
    answers = tuple(Answer() for _ in requests)
    start, prefill_s, steps, waiting = now(), 0.0, 0, 0
    while waiting < len(requests) or running.busy:
        for slot in running.idle:
            while waiting < len(requests) and slot not in running.busy:  # one token of answer: free again at once
                began = now()
                token = running.admit(slot, waiting, requests[waiting])
                ended = now()
                answers[waiting].add(token, ended - start)
                prefill_s, waiting = prefill_s + ended - began, waiting + 1
        if running.busy:
            tokens = running.step()
            at_s = now() - start
            for slot, number in running.busy.items():
                answers[number].add(tokens[slot], at_s)
            running.count_down()
            steps += 1
    return QueueRun(answers, now() - start, prefill_s, steps, steps * running.slots)


def serve_alone(
    decoder: Decoder, requests: Sequence[Request], *, now: Callable[[], float] = time.perf_counter
) -> QueueRun:
    """Serve one request after the other, each as if there were no other."""
    return serve_continuously(decoder, requests, slots=1, now=now)


def capacity_tokens(requests: Sequence[Request]) -> int:
    """Return the room a slot needs: in a static batch the longest prompt may stand beside the longest answer."""
    return max(len(one.prompt) for one in requests) + max(one.output_tokens for one in requests)


class _Slots:
    """Sequences decoded together, each at its own position and replaced on its own."""

    def __init__(self, decoder: Decoder, *, slots: int, capacity_tokens: int) -> None:
        self.slots, self._decoder = slots, decoder
        self._session = decoder.start(sequences=slots, capacity_tokens=capacity_tokens)
        self._last = [0] * slots  # what each reads next
        self._left = [0] * slots  # tokens that each still has to give
        self.busy: dict[int, int] = {}  # slot → number of its request

    @property
    def idle(self) -> list[int]:
        return [slot for slot in range(self.slots) if slot not in self.busy]

    def admit(self, slot: int, number: int, request: Request) -> int:
        """Read a prompt into a slot, and return the first token of its answer."""
        token = read_prompt(self._decoder, self._session.cache, slot, request.prompt)
        self._last[slot], self._left[slot] = token, request.output_tokens - 1
        if self._left[slot]:
            self.busy[slot] = number
        return token

    def step(self) -> list[int]:
        """Decode a token in every slot; an idle one repeats its first position, and nobody reads what it says."""
        for slot in self.idle:
            self._session.cache.lengths[slot] = 0
        self._last = likeliest(self._session.decode(torch.tensor(self._last)))
        return self._last

    def count_down(self) -> None:
        """Free the slots whose answers are complete."""
        for slot in tuple(self.busy):
            self._left[slot] -= 1
            if not self._left[slot]:
                del self.busy[slot]


def same_answers_share(run: QueueRun, reference: QueueRun) -> float:
    """Return the share of answers that are those of the other run, token for token."""
    pairs = zip(run.answers, reference.answers, strict=True)
    return sum(one.tokens == other.tokens for one, other in pairs) / len(run.answers)
