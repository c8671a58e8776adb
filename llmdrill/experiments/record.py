"""A lab model's architecture as the estimate knows architectures, so that closed forms can predict it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdrill.catalog.architecture import AttentionShape, ModelRecord

if TYPE_CHECKING:
    from llmdrill.lab.shapes import DecoderShape


def record_of(shape: DecoderShape, *, name: str = "the lab's model") -> ModelRecord:
    """Return the architecture of a decoder that the lab runs.

    >>> from llmdrill.lab.shapes import named_shape
    >>> record = record_of(named_shape("smollm2-135m"))
    >>> record.parameters, record.linear_parameters
    (134515008, 106168320)
    """
    attention = AttentionShape(layers=shape.layers, kv_heads=shape.kv_heads, head_dim=shape.head_dim, heads=shape.heads)
    table = shape.vocab * shape.hidden
    q_and_out, k_and_v = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    linear = shape.layers * shape.hidden * (2 * (q_and_out + k_and_v) + 3 * shape.intermediate)
    return ModelRecord(
        name=name,
        kind="decoder",
        attention=attention,
        layers=shape.layers,
        hidden=shape.hidden,
        parameters=shape.parameters,
        active_parameters=shape.parameters,
        embedding_parameters=table,
        tied_embeddings=shape.tied,
        vocab_size=shape.vocab,
        max_context_tokens=shape.max_positions,
        source="the shape of its tensors",
        date=None,
        feed_forward=shape.intermediate,
        linear_parameters=linear,
    )
