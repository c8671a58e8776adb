"""The least that a lab model's prompt and decode step can take, under ceilings measured beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmdrill.estimate.explain import figure
from llmdrill.estimate.flops import matmul_parameters
from llmdrill.estimate.kv_cache import kv_cache_bytes
from llmdrill.estimate.memory import bytes_per_value, ideal_weights_bytes
from llmdrill.experiments.prompt_flops import prompt_flops

if TYPE_CHECKING:
    from llmdrill.catalog.architecture import ModelRecord


@dataclass(frozen=True, slots=True)
class Floors:
    """What closed forms say of a model, and the ceilings that were measured.

    Attributes:
        record: The model's architecture.
        precision: Of the weights that a decode step reads.
        cache_precision: Of keys and values.
        bandwidth_bytes_per_s: At the size of what a step reads.
        peak_flops_per_s: In the precision of prefill.

    Error:
        Times are floors: dispatch and the waiting of threads are not in them.
    Source:
        Roofline, Williams et al. 2009, doi:10.1145/1498765.1498785; the closed forms name their own.
    """

    record: ModelRecord
    precision: str
    cache_precision: str
    bandwidth_bytes_per_s: float
    peak_flops_per_s: float

    def step_bytes(self, *, context_tokens: float) -> float:
        """Return the bytes that a step has to read: the weights it multiplies with, keys and values."""
        bits, per_value = 8 * bytes_per_value(self.precision), bytes_per_value(self.cache_precision)
        weights = ideal_weights_bytes(parameters=matmul_parameters(self.record), bits=bits)
        cache = kv_cache_bytes(self.record.attention, context_tokens=context_tokens, bytes_per_value=per_value)
        return weights + cache

    def step_bytes_filled(self, *, context_tokens: float) -> str:
        """Return the formula of ``step_bytes`` with the numbers put in."""
        weights, shape = matmul_parameters(self.record), self.record.attention
        bits, per_value = 8 * bytes_per_value(self.precision), bytes_per_value(self.cache_precision)
        cache = f"2 × {shape.layers} × {shape.kv_heads} × {shape.head_dim} × {per_value:g}"
        value = self.step_bytes(context_tokens=context_tokens)
        return (
            f"parameters × bits / 8 + 2 × layers × kv_heads × head_dim × bytes × context = {figure(weights)} ×"
            f" {bits:g} / 8 + {cache} × {figure(context_tokens)} = {figure(value)} B"
        )

    def step_s(self, *, context_tokens: float) -> float:
        """Return the floor of a step: its bytes over the bandwidth."""
        return self.step_bytes(context_tokens=context_tokens) / self.bandwidth_bytes_per_s

    def prefill_s(self, *, tokens: float) -> float:
        """Return the floor of prefill: its operations over the peak."""
        return prompt_flops(self.record, tokens=tokens) / self.peak_flops_per_s

    def total_s(self, *, prompt_tokens: int, output_tokens: int) -> float:
        """Return the floor of a whole answer: the first token comes with the prompt, each further one is a step."""
        steps = output_tokens - 1
        middle = prompt_tokens + steps / 2  # the cache grows by a token a step
        return self.prefill_s(tokens=prompt_tokens) + steps * self.step_s(context_tokens=middle)
