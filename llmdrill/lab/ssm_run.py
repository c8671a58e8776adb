"""A state-space layer measured against its attention twin: seconds and bytes by length, state against cache in decode.

Shapes in comments: T tokens, C width.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch

from llmdrill.lab.allocations import peak_tensor_bytes
from llmdrill.lab.clock import timed_alternately
from llmdrill.lab.room import need_memory
from llmdrill.lab.ssm import AttentionTwin, SelectiveLayer, SsmShape

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmdrill.lab.clock import Timing

FP32_BYTES: Final = 4
VALUES_PER_CHANNEL: Final = 16  # of a token and inner channel, all tensors of the parallel form: measured 12
STEPS_AT_ONCE: Final = 16  # decode steps behind one reading: one alone is too short for the clock


@dataclass(frozen=True, slots=True)
class LengthReading:
    """Both layers reading a whole prompt.

    Attributes:
        state_space: Seconds of the parallel form.
        attention: Seconds of its twin.
        recurrent: Seconds of the token-by-token form; None where it was left out for its length.
        state_space_peak_bytes: Most bytes of tensors held at once.
        attention_peak_bytes: Likewise.
    """

    tokens: int
    state_space: Timing
    attention: Timing
    recurrent: Timing | None
    state_space_peak_bytes: int
    attention_peak_bytes: int


@dataclass(frozen=True, slots=True)
class DecodeReading:
    """Both layers generating one token after a context.

    Attributes:
        state_space: Seconds of one step.
        attention: Seconds of one step.
        state_bytes: Of the state's tensors.
        cache_bytes: Of the keys and values of the context.
    """

    context_tokens: int
    state_space: Timing
    attention: Timing
    state_bytes: int
    cache_bytes: int


@dataclass(frozen=True, slots=True)
class Pair:
    """A state-space layer and its attention twin, both with random weights."""

    state_space: SelectiveLayer
    attention: AttentionTwin

    @property
    def parameters(self) -> tuple[int, int]:
        """Return how many parameters each has."""
        counts = [sum(one.numel() for one in layer.parameters()) for layer in (self.state_space, self.attention)]
        return counts[0], counts[1]


def build_pair(shape: SsmShape, *, seed: int) -> Pair:
    """Return both layers with random weights."""
    return Pair(SelectiveLayer(shape, seed=seed), AttentionTwin(shape, seed=seed))


@torch.inference_mode()
def largest_difference(pair: Pair, *, tokens: int, seed: int) -> float:
    """Return how far the parallel and the recurrent form of the layer are apart, as a share of the largest output."""
    x = torch.randn(1, tokens, pair.state_space.shape.width, generator=torch.Generator().manual_seed(seed))
    at_once = pair.state_space(x, pair.state_space.start(sequences=1))  # (1, T, C)
    one_by_one = _recurrent(pair.state_space, x)
    return float((at_once - one_by_one).abs().max() / one_by_one.abs().max())


@torch.inference_mode()
def measure_lengths(
    pair: Pair,
    *,
    lengths: Sequence[int],
    longest_recurrent_tokens: int,
    repeats: int,
    seed: int,
    now: Callable[[], float] = time.perf_counter,
) -> tuple[LengthReading, ...]:
    """Time both layers on prompts of each length, alternately, and count the bytes they hold.

    Raises:
        UsageError: If the longest does not fit into the memory that is free.
    """
    layer, twin = pair.state_space, pair.attention
    needed = max(lengths) * layer.shape.inner * VALUES_PER_CHANNEL * FP32_BYTES
    need_memory(needed, what=f"a prompt of {max(lengths)} tokens")
    rng = torch.Generator().manual_seed(seed)
    readings = []
    for tokens in lengths:
        x = torch.randn(1, tokens, layer.shape.width, generator=rng)
        works: dict[str, Callable[[], object]] = {
            "state_space": lambda x=x: layer(x, layer.start(sequences=1)),  # type: ignore[misc]
            "attention": lambda x=x: twin(x),  # type: ignore[misc]
        }
        if tokens <= longest_recurrent_tokens:
            works["recurrent"] = lambda x=x: _recurrent(layer, x)  # type: ignore[misc]
        timings = timed_alternately(works, repeats=repeats, now=now)
        peaks = [peak_tensor_bytes(works[name]) for name in ("state_space", "attention")]
        readings.append(
            LengthReading(
                tokens, timings["state_space"], timings["attention"], timings.get("recurrent"), peaks[0], peaks[1]
            )
        )
    return tuple(readings)


@torch.inference_mode()
def measure_decoding(
    pair: Pair, *, contexts: Sequence[int], repeats: int, seed: int, now: Callable[[], float] = time.perf_counter
) -> tuple[DecodeReading, ...]:
    """Time one step of each layer after contexts of each length, alternately, and read the bytes each remembers.

    The cache is filled with random keys and values: what a step costs depends on how many there are, not on which.

    Raises:
        UsageError: If the longest cache does not fit into the memory that is free.
    """
    layer, twin = pair.state_space, pair.attention
    need_memory(2 * max(contexts) * layer.shape.width * FP32_BYTES, what=f"a cache of {max(contexts)} tokens")
    rng = torch.Generator().manual_seed(seed)
    readings = []
    for context in contexts:
        x = torch.randn(1, layer.shape.width, generator=rng)
        state, cache = layer.start(sequences=1), twin.cache(sequences=1, tokens=context + 1)
        cache.normal_(generator=rng)

        def steps(step: Callable[[], object]) -> None:
            for _ in range(STEPS_AT_ONCE):
                step()

        works: dict[str, Callable[[], object]] = {
            "state_space": lambda x=x, state=state: steps(lambda: layer.step(x, state)),  # type: ignore[misc]
            "attention": lambda x=x, cache=cache, at=context: steps(lambda: twin.step(x, cache, at=at)),  # type: ignore[misc]
        }
        timings = timed_alternately(works, repeats=repeats, now=now)
        state_space, attention = (timings[name].per(STEPS_AT_ONCE) for name in ("state_space", "attention"))
        held = cache[:, :, :, :context]
        readings.append(DecodeReading(context, state_space, attention, state.allocated_bytes, held.nbytes))
    return tuple(readings)


def _recurrent(layer: SelectiveLayer, x: torch.Tensor) -> torch.Tensor:
    """Return the outputs (1, T, C), one token after the other."""
    state = layer.start(sequences=1)
    return torch.stack([layer.step(x[:, at], state) for at in range(x.shape[1])], dim=1)
