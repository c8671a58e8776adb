"""Whether a model fits: what one device of a group holds, and the fewest devices that hold all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llmdrill.errors import UsageError
from llmdrill.estimate.checks import require_not_negative, require_positive
from llmdrill.estimate.kv_cache import cache_copies, index_cache_bytes, kv_cache_bytes
from llmdrill.estimate.memory import BATCHED_TOKENS, USABLE_MEMORY_SHARE, activation_bytes
from llmdrill.estimate.state import state_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmdrill.catalog.architecture import ModelRecord

WIDEST_SPLIT: Final = 8  # devices of one node: a layer is split no wider, more devices hold other layers
MOST_DEVICES: Final = 512


@dataclass(frozen=True, slots=True)
class Demand:
    """What has to be held at once.

    Attributes:
        weights_bytes: Of the whole model, as its checkpoint stores them.
        context_tokens: Prompt plus generated tokens of each sequence.
        sequences: Resident at once.
        cache_bytes_per_value: Of the key-value cache.
        block_tokens: Tokens of one block of a paged cache; 1 for no paging.
        batched_tokens: Tokens that one step runs through the model at most.
    """

    weights_bytes: float
    context_tokens: float = 0.0
    sequences: float = 0.0
    cache_bytes_per_value: float = 2.0
    block_tokens: int = 1
    batched_tokens: float = BATCHED_TOKENS

    def __post_init__(self) -> None:
        require_not_negative(
            weights_bytes=self.weights_bytes, context_tokens=self.context_tokens, sequences=self.sequences
        )
        require_positive(cache_bytes_per_value=self.cache_bytes_per_value, block_tokens=self.block_tokens)
        require_positive(batched_tokens=self.batched_tokens)


@dataclass(frozen=True, slots=True)
class Placement:
    """What one device holds when a model is split over ``tensor_parallel`` × ``pipeline_parallel`` devices.

    Attributes:
        tensor_parallel: Devices that each layer is split over.
        pipeline_parallel: Groups of devices that hold different layers.
        weights_bytes: On each device.
        cache_bytes: Key-value cache and indexer keys on each device.
        state_bytes: States of state-space layers on each device.
        activation_bytes: On each device.
        limit_bytes: What a device may hold; None if no device was named.
    """

    tensor_parallel: int
    pipeline_parallel: int
    weights_bytes: float
    cache_bytes: float
    state_bytes: float
    activation_bytes: float
    limit_bytes: float | None

    @property
    def devices(self) -> int:
        """All of them."""
        return self.tensor_parallel * self.pipeline_parallel

    @property
    def total_bytes(self) -> float:
        """What one device holds."""
        return self.weights_bytes + self.cache_bytes + self.state_bytes + self.activation_bytes

    @property
    def fits(self) -> bool | None:
        """Tell whether a device may hold that; None if no device was named."""
        return None if self.limit_bytes is None else self.total_bytes <= self.limit_bytes

    @property
    def cache_room_bytes(self) -> float | None:
        """What a device has left for cache and state beside weights and activations; None if none was named."""
        return None if self.limit_bytes is None else self.limit_bytes - self.weights_bytes - self.activation_bytes


def place(
    model: ModelRecord,
    demand: Demand,
    *,
    memory_bytes: float | None = None,
    tensor_parallel: int = 1,
    pipeline_parallel: int = 1,
    usable_share: float = USABLE_MEMORY_SHARE,
) -> Placement:
    """Return what one device of a group holds.

    Formula:
        weights / (t p) + cache * copies / (t p) + state / (t p) + activations(t) against memory_bytes * usable_share;
        t = tensor_parallel, p = pipeline_parallel, copies as cache_copies says.

    Args:
        model: A decoder or an encoder.
        demand: What has to be held.
        memory_bytes: Of one device; None to leave the limit open.
        tensor_parallel: Devices that each layer is split over.
        pipeline_parallel: Groups of devices that hold different layers.
        usable_share: Share of the memory that may be filled; the rest is left to the runtime.

    Returns:
        The bytes on each device.

    Raises:
        UsageError: If the heads cannot be split over so many devices, or the layers into so many groups.
        NumberError: If a number is not positive.

    Error:
        Layers that do not divide evenly make one group larger; norms and small projections are held by every device.
    Source:
        Arithmetic; vLLM counts weights, activations and cache against the same share of the memory.

    >>> from llmdrill.catalog.load import find_model
    >>> demand = Demand(weights_bytes=141e9, context_tokens=8192, sequences=16)
    >>> placed = place(find_model("llama-3.1-70b"), demand, memory_bytes=80e9, tensor_parallel=2)
    >>> placed.fits, round(placed.total_bytes / 1e9, 1)
    (False, 92.8)
    """
    require_positive(pipeline_parallel=pipeline_parallel, usable_share=usable_share)
    if pipeline_parallel > model.layers:
        raise UsageError(f"{model.layers} layers cannot be split into {pipeline_parallel} groups")
    if memory_bytes is not None:
        require_positive(memory_bytes=memory_bytes)
    copies = cache_copies(model.attention, tensor_parallel=tensor_parallel)
    devices = tensor_parallel * pipeline_parallel
    cache = kv_cache_bytes(
        model.attention,
        context_tokens=demand.context_tokens,
        sequences=demand.sequences,
        bytes_per_value=demand.cache_bytes_per_value,
        block_tokens=demand.block_tokens,
    ) + index_cache_bytes(model.attention, context_tokens=demand.context_tokens, sequences=demand.sequences)
    return Placement(
        tensor_parallel=tensor_parallel,
        pipeline_parallel=pipeline_parallel,
        weights_bytes=demand.weights_bytes / devices,
        cache_bytes=cache * copies / devices,
        state_bytes=state_bytes(model.state, sequences=demand.sequences) / devices,
        activation_bytes=activation_bytes(model, batched_tokens=demand.batched_tokens, tensor_parallel=tensor_parallel),
        limit_bytes=None if memory_bytes is None else memory_bytes * usable_share,
    )


def fewest_devices(
    model: ModelRecord, demand: Demand, *, memory_bytes: float, usable_share: float = USABLE_MEMORY_SHARE
) -> Placement | None:
    """Return the smallest group of devices that holds all.

    Formula:
        The first of 1 to 8 devices over which the heads split evenly, then of 2, 3, … groups of the widest such split,
        for which place(…).fits.

    Args:
        model: A decoder or an encoder.
        demand: What has to be held.
        memory_bytes: Of one device.
        usable_share: Share of the memory that may be filled.

    Returns:
        The placement; None if 512 devices do not hold it.

    Raises:
        NumberError: If a number is not positive.

    Error:
        As place. Experts spread over devices of their own (expert parallelism) are not tried.
    Source:
        Search over place.

    >>> from llmdrill.catalog.load import find_model
    >>> demand = Demand(weights_bytes=141e9, context_tokens=8192, sequences=16)
    >>> placed = fewest_devices(find_model("llama-3.1-70b"), demand, memory_bytes=80e9)
    >>> placed and placed.devices  # 64 heads do not split over 3
    4
    """
    for tensor_parallel, pipeline_parallel in _splits(model):
        placed = place(
            model,
            demand,
            memory_bytes=memory_bytes,
            tensor_parallel=tensor_parallel,
            pipeline_parallel=pipeline_parallel,
            usable_share=usable_share,
        )
        if placed.fits:
            return placed
    return None


def _splits(model: ModelRecord) -> Iterator[tuple[int, int]]:
    even = [devices for devices in range(1, WIDEST_SPLIT + 1) if _divides(model, devices)]
    yield from ((devices, 1) for devices in even)
    groups = min(model.layers, MOST_DEVICES // even[-1])
    yield from ((even[-1], count) for count in range(2, groups + 1))


def _divides(model: ModelRecord, devices: int) -> bool:
    try:
        cache_copies(model.attention, tensor_parallel=devices)
    except UsageError:
        return False
    return True
