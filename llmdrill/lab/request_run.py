"""Clocks around decoding, as llama-bench and vLLM's benchmark define their figures, read in turn round by round."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from llmdrill.errors import UsageError
from llmdrill.lab.bandwidth import Reader, peak_flops

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmdrill.lab.decoder import Decoder, Session


@dataclass(frozen=True, slots=True)
class RequestPlan:
    """What every round runs.

    Attributes:
        prompt: Gives the tokens of the request; tokenizing is part of its time.
        output_tokens: That the request is answered with, at least two; no token ends it early.
        prompt_test_tokens: Of llama-bench's pp test: read at once into an empty cache.
        generation_test_tokens: Of its tg test: decoded one by one from an empty cache.
        working_set_bytes: That a decode step reads, for the bandwidth beside it.
    """

    prompt: Callable[[], Sequence[int]]
    output_tokens: int
    prompt_test_tokens: int
    generation_test_tokens: int
    working_set_bytes: int

    def __post_init__(self) -> None:
        if self.output_tokens < 2:
            raise UsageError("a time per output token needs at least two output tokens")


@dataclass(frozen=True, slots=True)
class TimedRequest:
    """One request: when each output token was chosen, counted from when the prompt was handed over.

    TTFT, TPOT and ITL are those of vLLM's serving benchmark, without network and queue.

    Attributes:
        arrivals_s: (output tokens,).

    Source:
        vllm-project/vllm@0049e29c, benchmarks/benchmark_serving.py, calculate_metrics: TPOT = (latency - TTFT) /
        (output tokens - 1) of each request; ITL = every gap between two tokens, those of all requests pooled.
    """

    arrivals_s: tuple[float, ...]

    @property
    def ttft_s(self) -> float:
        """Return the time to the first token."""
        return self.arrivals_s[0]

    @property
    def tpot_s(self) -> float:
        """Return (end-to-end - TTFT) / (output tokens - 1).

        >>> TimedRequest((1.0, 1.5, 3.0)).tpot_s
        1.0
        """
        return (self.arrivals_s[-1] - self.arrivals_s[0]) / (len(self.arrivals_s) - 1)

    @property
    def gaps_s(self) -> tuple[float, ...]:
        """Return the time between every two tokens (ITL)."""
        return tuple(later - earlier for earlier, later in zip(self.arrivals_s, self.arrivals_s[1:], strict=False))


@dataclass(frozen=True, slots=True)
class Rounds:
    """A reading of everything a round; each tuple is as long as there were rounds.

    Attributes:
        requests: Answered greedily.
        prompt_test_s: Of llama-bench's pp test.
        generation_test_s: Of its tg test.
        bandwidth_bytes_per_s: Plain reading of as many bytes as a step reads.
        peak_flops_per_s: A large matrix product in the precision of prefill.
    """

    requests: tuple[TimedRequest, ...]
    prompt_test_s: tuple[float, ...]
    generation_test_s: tuple[float, ...]
    bandwidth_bytes_per_s: tuple[float, ...]
    peak_flops_per_s: tuple[float, ...]


def time_rounds(
    decoder: Decoder,
    plan: RequestPlan,
    *,
    warm_up: int,
    repeats: int,
    seed: int,
    say: Callable[[str], None] = lambda _: None,
    now: Callable[[], float] = time.perf_counter,
) -> Rounds:
    """Run the request, both tests, the reading and the matrix product in turn, round by round.

    Every round meets the same minutes of the machine, so that ratios between them hold where the machine drifts.

    Raises:
        UsageError: If a test does not fit the model's context.

    Source:
        ggml-org/llama.cpp@0104b151, tools/llama-bench/llama-bench.cpp, test_prompt and test_gen: random tokens, an
        empty cache, neither tokenizing nor sampling in the clock. It gives the mean of the repeats; here the rounds
        are kept, and the caller takes the median.
    """
    rng = torch.Generator().manual_seed(seed)
    longest = max(plan.prompt_test_tokens, plan.generation_test_tokens)
    ids = torch.randint(decoder.shape.vocab, (longest,), generator=rng)  # (longest,)
    request = decoder.start(sequences=1, capacity_tokens=len(plan.prompt()) + plan.output_tokens)
    tests, reader = decoder.start(sequences=1, capacity_tokens=longest), Reader(size_bytes=plan.working_set_bytes)
    read = []
    for number in range(warm_up + repeats):
        say(f"round {number + 1} of {warm_up + repeats}")
        read.append(
            (
                time_request(request, plan.prompt, output_tokens=plan.output_tokens, now=now),
                _time_prompt(tests, ids[: plan.prompt_test_tokens].tolist(), now),
                reader.bytes_per_s(now=now),
                _time_generation(tests, ids[: plan.generation_test_tokens], now),
                peak_flops(decoder.dtype, repeats=1, now=now),
            )
        )
    requests, prompt_s, bandwidths, generation_s, peaks = zip(*read[warm_up:], strict=True)
    return Rounds(requests, prompt_s, generation_s, bandwidths, peaks)


def time_request(
    session: Session,
    prompt: Callable[[], Sequence[int]],
    *,
    output_tokens: int,
    now: Callable[[], float] = time.perf_counter,
) -> TimedRequest:
    """Answer one request from an empty cache, the likeliest token each time, and note when each token was chosen."""
    session.cache.keep(0)
    start = now()
    chosen = session.prefill([prompt()]).argmax(dim=-1)  # (1,)
    arrivals = [now() - start]
    for _ in range(output_tokens - 1):
        chosen = session.decode(chosen).argmax(dim=-1)
        arrivals.append(now() - start)
    return TimedRequest(tuple(arrivals))


def _time_prompt(session: Session, ids: Sequence[int], now: Callable[[], float]) -> float:
    session.cache.keep(0)
    start = now()
    session.prefill([ids])
    return now() - start


def _time_generation(session: Session, ids: torch.Tensor, now: Callable[[], float]) -> float:
    session.cache.keep(0)
    start = now()
    for at in range(len(ids)):
        session.decode(ids[at : at + 1])
    return now() - start
