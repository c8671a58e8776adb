"""What fits an accelerator beside the weights: the longest context, and the most sequences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llmdrill.estimate.explain import Explained, figure
from llmdrill.estimate.kv_cache import (
    cache_copies,
    index_cache_bytes,
    kv_cache_bytes,
    max_context_tokens,
    max_sequences,
)
from llmdrill.estimate.memory import USABLE_MEMORY_SHARE
from llmdrill.estimate.placement import Demand, Placement, place
from llmdrill.estimate.quantization import explain_checkpoint
from llmdrill.estimate.state import state_bytes

if TYPE_CHECKING:
    from llmdrill.catalog.records import Accelerator, ModelRecord

RELEASED: Final = "bf16"  # what a checkpoint holds that says nothing else


@dataclass(frozen=True, slots=True)
class Fit:
    """What is left beside the weights, and what it holds.

    Attributes:
        accelerator: Its name.
        weight_format: Of the weights.
        weights_bytes: Of the whole model.
        placement: What each device holds, caches and states left out.
        copies: How often the cache is stored.
        max_context_tokens: None if memory does not bound it.
        max_sequences: None if memory does not bound it, or if no context was named.
        figures: Each with its derivation; the two above only where they have a value.
    """

    accelerator: str
    weight_format: str
    weights_bytes: float
    placement: Placement
    copies: float
    max_context_tokens: int | None
    max_sequences: int | None
    figures: tuple[Explained, ...]


def released_bytes(model: ModelRecord, weight_format: str | None) -> tuple[str, float]:
    """Return a format and the bytes of the weights in it; without a name, the format the checkpoint was released in."""
    name, shown = explain_released(model, weight_format)
    return name, shown.value


def explain_released(model: ModelRecord, weight_format: str | None) -> tuple[str, Explained]:
    """Return a format, and the bytes of the weights in it with their derivation."""
    own = model.quantization
    name = (weight_format if weight_format is not None else own.format if own else RELEASED).lower()
    if own is None or name != own.format:
        return name, explain_checkpoint(model, weight_format=name)
    return name, explain_checkpoint(
        model, weight_format=name, group_values=own.group_values, experts_only=own.experts_only
    )


def fit_on(
    model: ModelRecord,
    *,
    accelerator: Accelerator,
    tensor_parallel: int = 1,
    weight_format: str | None = None,
    usable_share: float = USABLE_MEMORY_SHARE,
    context_tokens: int | None = None,
    sequences: float = 1,
    cache_bytes_per_value: float = 2.0,
    block_tokens: int = 1,
) -> Fit:
    """Return the longest context of ``sequences`` sequences, and the most sequences of ``context_tokens``.

    Formula:
        The largest context, and the largest number of sequences, whose cache and state fit into memory * usable_share -
        weights / t - activations on each of t devices.

    Args:
        model: A decoder whose parameters are known.
        accelerator: From the catalogue.
        tensor_parallel: Devices that the model is split over.
        weight_format: Of the weights; None: as the checkpoint was released.
        usable_share: Share of the memory that may be filled.
        context_tokens: Of each sequence, to ask how many fit; None leaves that open.
        sequences: Resident at once, to ask how long they may be.
        cache_bytes_per_value: Of the cache.
        block_tokens: Of a paged cache.

    Returns:
        The answers, and their figures with derivations.

    Raises:
        UsageError: If the model's parameters are unknown, or its heads do not split over so many devices.

    Error:
        usable_share is an assumption (0.9), activations a rule of thumb: 10 % either way is usual.
    Source:
        The inverse of kv_cache_bytes within place.

    >>> from llmdrill.catalog.load import find_accelerator, find_model
    >>> fit = fit_on(find_model("llama-3.1-8b"), accelerator=find_accelerator("h100"), context_tokens=8192)
    >>> [(one.name, one.value) for one in fit.figures[-2:]]
    [('max_context_tokens', 421152.0), ('max_sequences', 51.0)]
    """
    name, stored = explain_released(model, weight_format)
    weights = stored.value
    placed = place(
        model,
        Demand(weights),
        memory_bytes=accelerator.memory_bytes,
        tensor_parallel=tensor_parallel,
        usable_share=usable_share,
    )
    copies = cache_copies(model.attention, tensor_parallel=tensor_parallel)
    room = max(placed.cache_room_bytes or 0.0, 0.0) * tensor_parallel / copies
    state = state_bytes(model.state) / copies
    longest = max_context_tokens(
        model.attention,
        memory_bytes=max(room - state * sequences, 0.0),
        sequences=sequences,
        bytes_per_value=cache_bytes_per_value,
        block_tokens=block_tokens,
    )
    most = None
    if context_tokens is not None:
        most = max_sequences(
            model.attention,
            memory_bytes=room,
            context_tokens=context_tokens,
            bytes_per_value=cache_bytes_per_value,
            block_tokens=block_tokens,
            fixed_bytes=state,
        )
    question = _Question(model, room, state, sequences, context_tokens, cache_bytes_per_value, block_tokens)
    figures = [stored, _room_figure(accelerator, placed, usable_share)]
    figures += [] if longest is None else [question.longest(longest)]
    figures += [] if most is None else [question.most(most)]
    return Fit(accelerator.name, name, weights, placed, copies, longest, most, tuple(figures))


@dataclass(frozen=True, slots=True)
class _Question:
    """What was asked of a room, to show how the answers follow."""

    model: ModelRecord
    room: float
    state: float
    sequences: float
    context_tokens: int | None
    bytes_per_value: float
    block_tokens: int

    def held(self, context_tokens: int) -> float:
        """Return the cache and state of one sequence."""
        shape = self.model.attention
        cache = kv_cache_bytes(
            shape,
            context_tokens=context_tokens,
            bytes_per_value=self.bytes_per_value,
            block_tokens=self.block_tokens,
        )
        return cache + index_cache_bytes(shape, context_tokens=context_tokens) + self.state

    def longest(self, tokens: int) -> Explained:
        """Return the longest context with what it and one token more would take."""
        room, here, next_ = self.room, self.held(tokens) * self.sequences, self.held(tokens + 1) * self.sequences
        return Explained(
            name="max_context_tokens",
            value=float(tokens),
            unit="count",
            formula="the most tokens with (cache and state of a sequence) × sequences <= room",
            filled=f"{figure(tokens)}: {figure(here)} B <= {figure(room)} B < {figure(next_)} B of one token more",
            source="Arithmetic",
        )

    def most(self, count: int) -> Explained:
        """Return the number of sequences as a quotient."""
        each = self.held(self.context_tokens or 0)
        return Explained(
            name="max_sequences",
            value=float(count),
            unit="count",
            formula="⌊room / (cache and state of one sequence)⌋",
            filled=f"⌊{figure(self.room)} / {figure(each)}⌋ = {figure(count)}",
            source="Arithmetic",
        )


def _room_figure(accelerator: Accelerator, placed: Placement, usable_share: float) -> Explained:
    room = placed.cache_room_bytes or 0.0
    return Explained(
        name="cache_room_bytes_per_device",
        value=room,
        unit="bytes",
        formula="memory × usable_share - weights / devices - activations",
        filled=f"{figure(accelerator.memory_bytes)} × {usable_share:g} - {figure(placed.weights_bytes)} - "
        f"{figure(placed.activation_bytes)} = {figure(room)} B",
        source=accelerator.source,
    )
