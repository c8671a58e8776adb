"""The passes of the serving model: one decode step of a batch, one prefill, and the least that physics allows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llmdrill.errors import UsageError
from llmdrill.estimate.checks import require_positive
from llmdrill.estimate.flops import decode_flops, matmul_parameters, prefill_flops
from llmdrill.estimate.kv_cache import kv_cache_bytes
from llmdrill.estimate.memory import bytes_per_value, weights_bytes

if TYPE_CHECKING:
    from llmdrill.catalog.records import Accelerator, ModelRecord, ServingConstants

_ACTIVATION_BYTES: Final = 2.0  # hidden states travel in 16 bits whatever the weights have


@dataclass(frozen=True, slots=True)
class Load:
    """One point of operation of one replica.

    Attributes:
        batch: Sequences resident at once under continuous batching.
        input_tokens: Prompt tokens of a request that are prefilled (not read from a prefix cache).
        output_tokens: Tokens of its answer.
        tensor_parallel: Devices that one replica is split over.
        precision: Of the weights, and of the arithmetic where the device has it.
        cache_bytes_per_value: Of the key-value cache.
    """

    batch: float
    input_tokens: float
    output_tokens: float
    tensor_parallel: int = 1
    precision: str = "bf16"
    cache_bytes_per_value: float = 2.0

    def __post_init__(self) -> None:
        require_positive(batch=self.batch, output_tokens=self.output_tokens, tensor_parallel=self.tensor_parallel)
        require_positive(input_tokens=self.input_tokens, cache_bytes_per_value=self.cache_bytes_per_value)
        bytes_per_value(self.precision)

    @property
    def context_tokens(self) -> float:
        """Tokens in the cache of a sequence half-way through its answer."""
        return self.input_tokens + self.output_tokens / 2


def peak_flops_per_s(accelerator: Accelerator, precision: str) -> float:
    """Return the dense rate a device multiplies at, at this precision of the weights.

    Formula:
        The fp8 rate for fp8 weights where the device has one, else the fp16 rate (narrower weights are widened first).

    Args:
        accelerator: From the catalogue.
        precision: Of the weights.

    Returns:
        FLOP/s.

    Raises:
        UsageError: If no solid rate is known.

    Error:
        4-bit floating point on devices that multiply it directly is faster than this.
    Source:
        The accelerator's own source.

    >>> from llmdrill.catalog.load import find_accelerator
    >>> peak_flops_per_s(find_accelerator("h100"), "bf16")
    989000000000000.0
    """
    rate = accelerator.fp8_flops_per_s if precision == "fp8" else None
    rate = rate or accelerator.fp16_flops_per_s
    if rate is None:
        raise UsageError(f"no solid FLOP/s of '{accelerator.name}' is known: sources mix dense and sparse rates")
    return rate


def read_parameters(model: ModelRecord, *, tokens: float) -> float:
    """Return the parameters that one step reads which runs ``tokens`` tokens through the model.

    Formula:
        matmul_parameters of a dense model. Of routed experts, count * (1 - (1 - per_token / count)^tokens) of each
        layer's are expected to be touched, if tokens choose evenly and independently.

    Args:
        model: Its parameters must be known.
        tokens: Tokens of the step: the batch, in decode.

    Returns:
        Parameters.

    Raises:
        UsageError: If the model's parameters are unknown.

    Error:
        Real routing is uneven: fewer experts are touched than this.
    Source:
        Expectation over independent choices.

    >>> from llmdrill.catalog.load import find_model
    >>> read_parameters(find_model("llama-3.1-8b"), tokens=1) == read_parameters(find_model("llama-3.1-8b"), tokens=64)
    True
    """
    experts = model.experts
    active = matmul_parameters(model)
    if experts is None:
        return active
    share = experts.per_token / experts.count
    untouched: float = (1 - share) ** max(tokens, 1)
    return active + experts.parameters * (1 - untouched - share)


def decode_step_s(model: ModelRecord, accelerator: Accelerator, load: Load, constants: ServingConstants) -> float:
    """Return the time of one decode step of the whole batch, with no prefill in its way.

    Formula:
        max(bytes / (mbu * bandwidth), flops / (mfu * rate)) / t + layers * layer_overhead + step_overhead
        + 2 * layers * all_reduce, bytes = weights read + cache read of the batch at its middle length,
        all_reduce = log2(t) * latency + 2 (t - 1) / t * batch * hidden * 2 bytes / link bandwidth, t = tensor_parallel.

    Args:
        model: A decoder.
        accelerator: One of the replica's devices.
        load: Batch, lengths, precision, tensor_parallel.
        constants: Of the engine.

    Returns:
        Seconds.

    Raises:
        UsageError: If the model's parameters or the device's rate are unknown.

    Error:
        See the constants' own record: median error and 80 % band on measured runs.
    Source:
        Pope et al. 2022, arXiv:2211.05102, sections 2 and 3 for bytes, FLOPs and all-reduces of a decode step.

    >>> from llmdrill.catalog.load import find_accelerator, find_model, find_serving
    >>> model, device = find_model("llama-3.1-8b"), find_accelerator("h100")
    >>> step = decode_step_s(model, device, Load(1, 1024, 128), find_serving("continuous-batching"))
    >>> step > 15e9 / 3.35e12  # never faster than reading the weights once
    True
    """
    weights = weights_bytes(parameters=read_parameters(model, tokens=load.batch), precision=load.precision)
    cache = kv_cache_bytes(
        model.attention,
        context_tokens=load.context_tokens,
        sequences=load.batch,
        bytes_per_value=load.cache_bytes_per_value,
    )
    reading = (weights + cache) / (constants.mbu * accelerator.bandwidth_bytes_per_s)
    flops = load.batch * decode_flops(model, context_tokens=load.context_tokens)
    multiplying = flops / _reached_flops_per_s(accelerator, load, constants)
    return max(reading, multiplying) / load.tensor_parallel + _overhead_s(model, load, constants, tokens=load.batch)


def prefill_s(model: ModelRecord, accelerator: Accelerator, load: Load, constants: ServingConstants) -> float:
    """Return the time to prefill one prompt, alone on the replica.

    Formula:
        max(flops / (mfu * rate), weights / (mbu * bandwidth)) / t + layers * layer_overhead + step_overhead
        + 2 * layers * all_reduce (as in decode_step_s, with the prompt's tokens in place of the batch)

    Args:
        model: A decoder.
        accelerator: One of the replica's devices.
        load: Only input_tokens, precision and tensor_parallel count.
        constants: Of the engine.

    Returns:
        Seconds.

    Raises:
        UsageError: If the model's parameters or the device's rate are unknown.

    Error:
        See the constants' own record. Short prompts (under 200 tokens) reach a lower mfu than this.
    Source:
        Pope et al. 2022, arXiv:2211.05102, section 2.

    >>> from llmdrill.catalog.load import find_accelerator, find_model, find_serving
    >>> model, device, engine = find_model("llama-3.1-8b"), find_accelerator("h100"), find_serving("default")
    >>> short, long = (prefill_s(model, device, Load(1, n, 1), engine) for n in (2000, 4000))
    >>> 1.8 < long / short < 2.2
    True
    """
    flops = prefill_flops(model, input_tokens=load.input_tokens)
    multiplying = flops / _reached_flops_per_s(accelerator, load, constants)
    touched = read_parameters(model, tokens=load.input_tokens)
    reading = weights_bytes(parameters=touched, precision=load.precision)
    reading /= constants.mbu * accelerator.bandwidth_bytes_per_s
    overhead = _overhead_s(model, load, constants, tokens=load.input_tokens)
    return max(multiplying, reading) / load.tensor_parallel + overhead


def _reached_flops_per_s(accelerator: Accelerator, load: Load, constants: ServingConstants) -> float:
    in_fp8 = load.precision == "fp8" and accelerator.fp8_flops_per_s is not None
    return (constants.mfu_fp8 if in_fp8 else constants.mfu) * peak_flops_per_s(accelerator, load.precision)


def _overhead_s(model: ModelRecord, load: Load, constants: ServingConstants, *, tokens: float) -> float:
    """Return what a pass of ``tokens`` tokens takes beside bytes and FLOPs: launches and all-reduces."""
    fixed = model.layers * constants.layer_overhead_s + constants.step_overhead_s
    devices = load.tensor_parallel
    if devices == 1:
        return fixed
    travelling = 2 * (devices - 1) / devices * tokens * model.hidden * _ACTIVATION_BYTES
    all_reduce = math.log2(devices) * constants.all_reduce_s + travelling / constants.link_bytes_per_s
    return fixed + 2 * model.layers * all_reduce


def floor_step_s(model: ModelRecord, accelerator: Accelerator, load: Load) -> float:
    weights = weights_bytes(parameters=read_parameters(model, tokens=1), precision=load.precision)
    return weights / accelerator.bandwidth_bytes_per_s / load.tensor_parallel


def floor_prefill_s(model: ModelRecord, accelerator: Accelerator, load: Load) -> float:
    rate = peak_flops_per_s(accelerator, load.precision)
    return prefill_flops(model, input_tokens=load.input_tokens) / rate / load.tensor_parallel
