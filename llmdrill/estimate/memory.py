"""Bytes of weights by precision, activations, and what is left for the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from llmdrill.errors import UsageError, did_you_mean, nearest_names
from llmdrill.estimate.checks import require_not_negative, require_positive
from llmdrill.estimate.explain import Explained, figure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmdrill.catalog.architecture import ModelRecord

BYTES_PER_VALUE: Final[Mapping[str, float]] = {
    "fp32": 4.0,
    "fp16": 2.0,
    "bf16": 2.0,
    "fp8": 1.0,
    "int8": 1.0,
    "int4": 0.5,
    "fp4": 0.5,
}
GROUP_VALUES: Final = 128  # weights that share one scale and one zero point in a 4-bit format
_GROUP_BYTES: Final = 2.0 + 0.5  # an fp16 scale and a 4-bit zero point
USABLE_MEMORY_SHARE: Final = 0.9  # assumed: the rest is for the runtime and fragmentation; vLLM's default setting
BATCHED_TOKENS: Final = 8192  # that one step runs through the model at most: TensorRT-LLM's default
# 16-bit values per token and hidden value that are alive at once, by devices: dense models, mixtures of experts.
_ACTIVATION_FACTORS: Final[Mapping[int, tuple[float, float]]] = {1: (11.0, 22.0), 2: (6.5, 13.0), 4: (5.0, 10.0)}
_LEAST_ACTIVATION_BYTES: Final = 70 * 2**20


def bytes_per_value(precision: str) -> float:
    """Return the bytes of one stored value, group scales not counted.

    Raises:
        UsageError: If the precision is unknown.

    >>> bytes_per_value("bf16")
    2.0
    """
    if precision not in BYTES_PER_VALUE:
        hint = did_you_mean(nearest_names(precision, BYTES_PER_VALUE))
        raise UsageError(f"unknown precision '{precision}'{hint}; one of {', '.join(BYTES_PER_VALUE)}")
    return BYTES_PER_VALUE[precision]


def weights_bytes(*, parameters: float, precision: str = "fp16", group_values: int = GROUP_VALUES) -> float:
    """Return the size of a model's weights.

    Formula:
        parameters * bytes_per_value; in 4 bits plus 2.5 bytes (an fp16 scale and a 4-bit zero point) per group.

    Args:
        parameters: All of them, idle experts included.
        precision: fp32, fp16, bf16, fp8, int8, int4 or fp4.
        group_values: Weights that share a scale in a 4-bit format.

    Returns:
        Bytes.

    Raises:
        NumberError: If parameters is negative or the group is not positive.
        UsageError: If the precision is unknown.

    Error:
        Exact where all weights have one precision. Published 4-bit checkpoints keep the embeddings and the head in
        16 bits: add 1.5 bytes for each of those parameters.
    Source:
        Arithmetic of the layout; group size 128: Frantar et al. 2023, arXiv:2210.17323.

    >>> weights_bytes(parameters=8_030_261_248, precision="bf16")
    16060522496.0
    """
    require_not_negative(parameters=parameters)
    require_positive(group_values=group_values)
    scales = parameters / group_values * _GROUP_BYTES if bytes_per_value(precision) < 1 else 0.0
    return parameters * bytes_per_value(precision) + scales


def ideal_weights_bytes(*, parameters: float, bits: float) -> float:
    """Return the size of weights of ``bits`` bits each, with no scales and nothing in another precision.

    Formula:
        parameters * bits / 8
    Args:
        parameters: All of them.
        bits: Of one weight.

    Returns:
        Bytes.

    Raises:
        NumberError: If a number is negative.

    Error:
        No 4-bit checkpoint is this small: scales and 16-bit embeddings add 6 % to 40 %. See checkpoint_bytes.
    Source:
        Arithmetic.

    >>> ideal_weights_bytes(parameters=7e9, bits=32), ideal_weights_bytes(parameters=7e9, bits=4)
    (28000000000.0, 3500000000.0)
    """
    require_not_negative(parameters=parameters, bits=bits)
    return parameters * bits / 8


def activation_bytes(model: ModelRecord, *, batched_tokens: float = BATCHED_TOKENS, tensor_parallel: int = 1) -> float:
    """Return the memory of the activations of one step on one device.

    Formula:
        max(70 MiB, 2 * batched_tokens * hidden * c), c = 11, 6.5, 5 on 1, 2, 4 or more devices for a dense model and
        22, 13, 10 for a mixture of experts.

    Args:
        model: hidden counts, and whether it has experts.
        batched_tokens: Tokens that one step runs through the model at most (max_num_batched_tokens, max_num_tokens).
        tensor_parallel: Devices that each layer is split over.

    Returns:
        Bytes on each device.

    Raises:
        NumberError: If a number is not positive.

    Error:
        Factors measured for TensorRT-LLM; the same source takes 30 % to 50 % more for SGLang. An engine with many fine
        experts needs workspace beyond this: look at what it reports when it starts.
    Source:
        ai-dynamo/aiconfigurator@00ae653b, src/aiconfigurator/sdk/backends/trtllm_backend.py, _get_memory_usage.

    >>> from llmdrill.catalog.load import find_model
    >>> activation_bytes(find_model("llama-3.1-8b"))
    738197504.0
    """
    require_positive(batched_tokens=batched_tokens, tensor_parallel=tensor_parallel)
    factor = _activation_factor(model, tensor_parallel)
    return max(float(_LEAST_ACTIVATION_BYTES), 2.0 * batched_tokens * model.hidden * factor)


def explain_activations(model: ModelRecord, *, batched_tokens: float, tensor_parallel: int) -> Explained:
    """Return activation_bytes with its formula and the numbers put in."""
    value = activation_bytes(model, batched_tokens=batched_tokens, tensor_parallel=tensor_parallel)
    factor = _activation_factor(model, tensor_parallel)
    filled = f"max(70 × 1,048,576, 2 × {figure(batched_tokens)} × {figure(model.hidden)} × {factor:g})"
    return Explained(
        name="activation_bytes_per_device",
        value=value,
        unit="bytes",
        formula="max(70 MiB, 2 × batched_tokens × hidden × factor)",
        filled=f"{filled} = {figure(value)} B",
        source="ai-dynamo/aiconfigurator@00ae653b, src/aiconfigurator/sdk/backends/trtllm_backend.py",
    )


def _activation_factor(model: ModelRecord, tensor_parallel: int) -> float:
    factors = _ACTIVATION_FACTORS[max(devices for devices in _ACTIVATION_FACTORS if devices <= tensor_parallel)]
    return factors[0] if model.experts is None else factors[1]


def cache_room_bytes(
    *,
    weights_bytes: float,
    memory_bytes: float,
    devices: int = 1,
    usable_share: float = USABLE_MEMORY_SHARE,
) -> float:
    """Return what is left for the key-value cache beside the weights; negative if the weights do not fit.

    Formula:
        devices * memory_bytes * usable_share - weights_bytes
    Args:
        weights_bytes: Of the whole model.
        memory_bytes: Of one device.
        devices: Devices the model is split over.
        usable_share: Share of the memory that weights and cache may take.

    Returns:
        Bytes over all devices.

    Raises:
        NumberError: If a number is negative or there is no device.

    Error:
        usable_share is an assumption (0.9). Activations grow with the batch of prefill; check with a real run.
    Source:
        Arithmetic.

    >>> cache_room_bytes(weights_bytes=16e9, memory_bytes=24e9, usable_share=0.9)
    5600000000.0
    """
    require_not_negative(weights_bytes=weights_bytes, usable_share=usable_share)
    require_positive(memory_bytes=memory_bytes, devices=devices)
    return devices * memory_bytes * usable_share - weights_bytes
