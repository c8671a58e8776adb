"""Paged against contiguous reservation of the key-value cache: what each wastes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdrill.estimate.checks import NumberError, require_not_negative, require_positive
from llmdrill.estimate.explain import Explained, figure
from llmdrill.estimate.kv_cache import BLOCK_TOKENS, kv_cache_bytes

if TYPE_CHECKING:
    from llmdrill.catalog.architecture import AttentionShape


def paged_waste_bytes(
    shape: AttentionShape, *, sequences: float = 1, bytes_per_value: float = 2.0, block_tokens: int = BLOCK_TOKENS
) -> float:
    """Return the expected memory that the half-filled last blocks of a paged cache waste.

    Formula:
        layers * values_per_token * bytes_per_value * (block_tokens - 1) / 2 * sequences: half a block per sequence and
        layer, as lengths end anywhere in a block with the same chance.

    Args:
        shape: As for kv_cache_bytes.
        sequences: Sequences resident at once.
        bytes_per_value: 2 for fp16 and bf16, 1 for fp8.
        block_tokens: Tokens of one block.

    Returns:
        Bytes.

    Raises:
        NumberError: If a number is not positive.

    Error:
        A full window wastes nothing, so it is too high for windowed layers; blocks shared between sequences save more.
    Source:
        Kwon et al. 2023, arXiv:2309.06180, section 4: "limits all the memory wastes for a request within one block".

    >>> from llmdrill.catalog.architecture import AttentionShape
    >>> paged_waste_bytes(AttentionShape(layers=40, kv_heads=40, head_dim=128)) / 819_200
    7.5
    """
    require_not_negative(sequences=sequences)
    require_positive(bytes_per_value=bytes_per_value, block_tokens=block_tokens)
    return float(shape.layers * shape.values_per_token * bytes_per_value * (block_tokens - 1) / 2 * sequences)


def explain_paged_waste(
    shape: AttentionShape, *, sequences: float = 1, bytes_per_value: float = 2.0, block_tokens: int = BLOCK_TOKENS
) -> Explained:
    """Return paged_waste_bytes with its formula and the numbers put in."""
    waste = paged_waste_bytes(shape, sequences=sequences, bytes_per_value=bytes_per_value, block_tokens=block_tokens)
    values = f"{shape.layers} × {shape.values_per_token} × {bytes_per_value:g}"
    return Explained(
        name="paged_waste_bytes",
        value=waste,
        unit="bytes",
        formula="layers × values_per_token × bytes_per_value × (block_tokens - 1) / 2 × sequences",
        filled=f"{values} × ({block_tokens} - 1) / 2 × {figure(sequences)} = {figure(waste)} B",
        source="Kwon et al. 2023, arXiv:2309.06180, section 4; expected over lengths",
    )


def contiguous_waste_bytes(
    shape: AttentionShape,
    *,
    context_tokens: float,
    reserved_tokens: float,
    sequences: float = 1,
    bytes_per_value: float = 2.0,
) -> float:
    """Return the memory that reserving ``reserved_tokens`` ahead for each sequence leaves empty.

    Formula:
        kv_cache_bytes(reserved_tokens) - kv_cache_bytes(context_tokens)

    Args:
        shape: As for kv_cache_bytes.
        context_tokens: Tokens that a sequence really has.
        reserved_tokens: Tokens reserved for it: the longest it may have.
        sequences: Sequences resident at once.
        bytes_per_value: 2 for fp16 and bf16, 1 for fp8.

    Returns:
        Bytes.

    Raises:
        NumberError: If a number is negative, or less is reserved than is used.

    Error:
        Exact for one length; allocators that round up to powers of two waste more.
    Source:
        Kwon et al. 2023, arXiv:2309.06180, section 3.

    >>> from llmdrill.catalog.architecture import AttentionShape
    >>> shape = AttentionShape(layers=40, kv_heads=40, head_dim=128)
    >>> contiguous_waste_bytes(shape, context_tokens=1024, reserved_tokens=2048)
    838860800.0
    """
    if reserved_tokens < context_tokens:
        raise NumberError(f"reserved_tokens {reserved_tokens:g} is less than context_tokens {context_tokens:g}")
    reserved = kv_cache_bytes(
        shape, context_tokens=reserved_tokens, sequences=sequences, bytes_per_value=bytes_per_value
    )
    used = kv_cache_bytes(shape, context_tokens=context_tokens, sequences=sequences, bytes_per_value=bytes_per_value)
    return reserved - used


def explain_contiguous_waste(
    shape: AttentionShape,
    *,
    context_tokens: float,
    reserved_tokens: float,
    sequences: float = 1,
    bytes_per_value: float = 2.0,
) -> Explained:
    """Return contiguous_waste_bytes with its formula and the numbers put in."""
    reserved, used = (
        kv_cache_bytes(shape, context_tokens=tokens, sequences=sequences, bytes_per_value=bytes_per_value)
        for tokens in (reserved_tokens, context_tokens)
    )
    waste = contiguous_waste_bytes(
        shape,
        context_tokens=context_tokens,
        reserved_tokens=reserved_tokens,
        sequences=sequences,
        bytes_per_value=bytes_per_value,
    )
    return Explained(
        name="contiguous_waste_bytes",
        value=waste,
        unit="bytes",
        formula=f"cache of {figure(reserved_tokens)} tokens reserved - cache of {figure(context_tokens)} used",
        filled=f"{figure(reserved)} - {figure(used)} = {figure(waste)} B",
        source="Kwon et al. 2023, arXiv:2309.06180, section 3",
    )
