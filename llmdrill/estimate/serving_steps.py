"""The passes of the serving model: one decode step of a batch, one prefill, and the least that physics allows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmdrill.catalog.load import LOCAL
from llmdrill.estimate.explain import figure
from llmdrill.estimate.flops import decode_flops, prefill_flops
from llmdrill.estimate.kv_cache import kv_cache_bytes
from llmdrill.estimate.memory import BATCHED_TOKENS, weights_bytes
from llmdrill.estimate.serving_load import expert_arithmetic, peak_flops_per_s
from llmdrill.estimate.serving_work import Replica, expert_weight_bytes, pass_s, read_parameters, replica_of

if TYPE_CHECKING:
    from llmdrill.catalog.architecture import ModelRecord
    from llmdrill.catalog.records import Accelerator, ServingConstants
    from llmdrill.estimate.serving_load import Load


@dataclass(frozen=True, slots=True)
class Passes:
    """The passes of one replica at one point of operation, as functions of how many sequences decode."""

    replica: Replica
    load: Load
    constants: ServingConstants

    def step_s(self, sequences: float, *, tokens_per_sequence: float = 1.0) -> float:
        """Return the time of one decode step."""
        return pass_s(
            self.replica,
            self.constants,
            sequences=sequences,
            context_tokens=self.load.context_tokens,
            tokens_per_sequence=tokens_per_sequence,
        )

    def prefill_s(self, *, prompts: float = 1.0, sequences: float = 0.0) -> float:
        """Return the time of prefilling prompts of every group, in chunks, beside sequences that decode."""
        fresh = self.load.fresh_tokens
        chunks = math.ceil(prompts * fresh / BATCHED_TOKENS)
        return chunks * pass_s(
            self.replica,
            self.constants,
            fresh_tokens=prompts * fresh * self.replica.groups / chunks,
            fresh_context_tokens=self.load.input_tokens - fresh / 2,
            prompts=prompts * self.replica.groups / chunks,
            sequences=sequences,
            context_tokens=self.load.context_tokens,
        )

    def stall_s(self, sequences: float, *, prompts: float = 1.0) -> float:
        """Return how long one newcomer's prefill holds up the sequences that decode, ``prompts`` going together.

        Where engines mix, its pass is a decode step of the others too; where groups share out the sequences, each
        prefills newcomers in the same pass.
        """
        mixes = self.constants.mixes_prefill
        took = self.prefill_s(prompts=prompts, sequences=sequences if mixes else 0.0)
        if mixes:
            took -= math.ceil(prompts * self.load.fresh_tokens / BATCHED_TOKENS) * self.step_s(sequences)
        return max(took, 0.0) / (prompts * self.replica.groups)

    def filled_stall_s(self, sequences: float) -> float:
        """Return the same where enough newcomers wait to fill every chunk with their prompts."""
        return self.stall_s(sequences, prompts=max(BATCHED_TOKENS / self.load.fresh_tokens, 1.0))

    def first_token_overhead_s(self) -> float:
        """Return what a first token takes beside the passes."""
        return self.replica.first_token_operators * self.constants.first_token_kernel_s


def passes(model: ModelRecord, accelerator: Accelerator, load: Load, constants: ServingConstants) -> Passes:
    """Return the passes of a model on a replica.

    Raises:
        UsageError: If the model's parameters or the device's rate are unknown.
    """
    found = Passes(replica_of(model, accelerator, load), load, constants)
    if accelerator.name != LOCAL:
        return found
    from llmdrill.estimate.local_serving import local_passes

    return local_passes(model, found, accelerator)  # type: ignore[arg-type] # of that name there is one kind


def decode_step_s(model: ModelRecord, accelerator: Accelerator, load: Load, constants: ServingConstants) -> float:
    """Return the time of one decode step of the whole batch, with no prefill in its way.

    Formula:
        pass_s with load.batch sequences, each in the middle of its answer, and no prompt.

    Args:
        model: A decoder.
        accelerator: One of the replica's devices.
        load: Batch, lengths, precision, parallelism.
        constants: Of the engine.

    Returns:
        Seconds.

    Raises:
        UsageError: If the model's parameters or the device's rate are unknown.

    Error:
        See the constants' own record: held-out median error and 80 % band on published runs.
    Source:
        Pope et al. 2022, arXiv:2211.05102, sections 2 and 3 for bytes, FLOPs and all-reduces of a decode step.

    >>> from llmdrill.catalog.load import find_accelerator, find_model, find_serving
    >>> from llmdrill.estimate.serving_load import Load
    >>> model, device = find_model("llama-3.1-8b"), find_accelerator("h100")
    >>> step = decode_step_s(model, device, Load(1, 1024, 128), find_serving("default"))
    >>> step > 15e9 / 3.35e12  # never faster than reading the weights once
    True
    """
    return passes(model, accelerator, load, constants).step_s(load.batch)


def prefill_s(model: ModelRecord, accelerator: Accelerator, load: Load, constants: ServingConstants) -> float:
    """Return the time to prefill one prompt, alone on the replica.

    Formula:
        ceil(fresh tokens / 8192) * pass_s with an equal part of them and no sequence that decodes.

    Args:
        model: A decoder.
        accelerator: One of the replica's devices.
        load: Only input_tokens, prefix_share, precision and parallelism count.
        constants: Of the engine.

    Returns:
        Seconds.

    Raises:
        UsageError: If the model's parameters or the device's rate are unknown.

    Error:
        See the constants' own record. What a request takes outside the passes is not in it.
    Source:
        Pope et al. 2022, arXiv:2211.05102, section 2; chunks of 8,192 tokens: TensorRT-LLM's default max_num_tokens.

    >>> from llmdrill.catalog.load import find_accelerator, find_model, find_serving
    >>> from llmdrill.estimate.serving_load import Load
    >>> model, device, engine = find_model("llama-3.1-8b"), find_accelerator("h100"), find_serving("default")
    >>> short, long = (prefill_s(model, device, Load(1, n, 1), engine) for n in (2000, 4000))
    >>> 1.8 < long / short < 2.2
    True
    """
    return passes(model, accelerator, load, constants).prefill_s()


def floor_step_s(model: ModelRecord, accelerator: Accelerator, load: Load, *, cache: bool = True) -> float:
    """Return the least time of one decode step that bandwidth and rate allow.

    Formula:
        max(weights and cache read / bandwidth, FLOPs / peak rate) / devices: weights of read_parameters, cache of
        load.batch sequences in the middle of their answers.

    Args:
        model: A decoder.
        accelerator: One of the replica's devices.
        load: Batch, lengths, precision, parallelism.
        cache: Whether the cache is read, or the weights alone.

    Returns:
        Seconds.

    Raises:
        UsageError: If the model's parameters or the device's rate are unknown.

    Error:
        A lower bound: no engine reaches it. Uneven routing can read fewer experts than it counts.
    Source:
        Williams et al. 2009, doi:10.1145/1498765.1498785.

    >>> from llmdrill.catalog.load import find_accelerator, find_model
    >>> from llmdrill.estimate.serving_load import Load
    >>> round(1e3 * floor_step_s(find_model("llama-3.1-8b"), find_accelerator("h100"), Load(1, 1, 1)), 2)
    4.48
    """
    return step_floor(model, accelerator, load, cache=cache).seconds


@dataclass(frozen=True, slots=True)
class Floor:
    """The least that a pass reads and multiplies, and what the devices can do of both."""

    read_bytes: float
    flops: float
    bandwidth_bytes_per_s: float
    flops_per_s: float
    devices: int

    @property
    def seconds(self) -> float:
        """The longer of the two, all devices at work."""
        return max(self.read_bytes / self.bandwidth_bytes_per_s, self.flops / self.flops_per_s) / self.devices

    @property
    def filled(self) -> str:
        """The same with the numbers put in."""
        reading = f"{figure(self.read_bytes)} / {figure(self.bandwidth_bytes_per_s)}"
        return f"max({reading}, {figure(self.flops)} / {figure(self.flops_per_s)}) / {self.devices}"


def step_floor(model: ModelRecord, accelerator: Accelerator, load: Load, *, cache: bool = True) -> Floor:
    """Return what floor_step_s is made of."""
    experts = model.experts
    rest = read_parameters(model, tokens=load.batch)
    routed = 0.0
    if experts is not None:
        touched = 1 - (1 - experts.per_token / experts.count) ** max(load.batch, 1)
        routed = experts.parameters * touched
        rest -= routed
    read = weights_bytes(parameters=max(rest, 0.0), precision=load.precision)
    read += routed * (expert_weight_bytes(model, load.precision) if routed else 0.0)
    seen = _seen(model, load.context_tokens)
    if cache:
        read += kv_cache_bytes(
            model.attention, context_tokens=seen, sequences=load.batch, bytes_per_value=load.cache_bytes_per_value
        )
    multiplying = load.batch * decode_flops(model, context_tokens=seen)
    rate = _fastest_flops_per_s(model, accelerator, load)
    return Floor(read, multiplying, accelerator.bandwidth_at(read), rate, load.devices)


def floor_prefill_s(model: ModelRecord, accelerator: Accelerator, load: Load) -> float:
    """Return the least time of prefilling one prompt that the devices' rate allows.

    Formula:
        FLOPs of the fresh tokens / (peak rate * devices)

    Args:
        model: A decoder.
        accelerator: One of the replica's devices.
        load: Prompt, prefix share, precision, parallelism.

    Returns:
        Seconds.

    Raises:
        UsageError: If the model's parameters or the device's rate are unknown.

    Error:
        A lower bound: no engine reaches it. The attention of fresh tokens to a cached prefix is left out.
    Source:
        Williams et al. 2009, doi:10.1145/1498765.1498785.

    >>> from llmdrill.catalog.load import find_accelerator, find_model
    >>> from llmdrill.estimate.serving_load import Load
    >>> round(1e3 * floor_prefill_s(find_model("llama-3.1-8b"), find_accelerator("h100"), Load(1, 1024, 1)), 1)
    15.8
    """
    return prefill_floor(model, accelerator, load).seconds


def prefill_floor(model: ModelRecord, accelerator: Accelerator, load: Load) -> Floor:
    """Return what floor_prefill_s is made of: nothing has to be read but what stays on the chip."""
    flops = prefill_flops(model, input_tokens=load.fresh_tokens)
    rate = _fastest_flops_per_s(model, accelerator, load)
    return Floor(0.0, flops, accelerator.bandwidth_bytes_per_s, rate, load.devices)


def _fastest_flops_per_s(model: ModelRecord, accelerator: Accelerator, load: Load) -> float:
    """Return the fastest rate that any part of the model may use."""
    routed = expert_arithmetic(model, accelerator, load.precision)
    return max(peak_flops_per_s(accelerator, precision) for precision in {load.precision, routed})


def _seen(model: ModelRecord, context_tokens: float) -> float:
    few = model.attention.index_tokens
    return context_tokens if few is None else min(context_tokens, few)
