"""Bytes of weights by precision, and whether a model fits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from llmdrill.errors import UsageError, did_you_mean, nearest_names
from llmdrill.estimate.checks import require_not_negative, require_positive

if TYPE_CHECKING:
    from collections.abc import Mapping

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
USABLE_MEMORY_SHARE: Final = 0.9  # assumed: the rest is for activations, the runtime and fragmentation


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
