"""The bytes of weights that one step reads, as a checkpoint of some format stores them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from llmdrill.estimate.checks import require_positive
from llmdrill.estimate.fit import released_bytes
from llmdrill.estimate.gguf import BLOCKS, FILE_TYPES
from llmdrill.estimate.quantization import FORMATS

if TYPE_CHECKING:
    from llmdrill.catalog.architecture import ModelRecord

_WIDE_BYTES: Final = 2.0


def weights_read_bytes(model: ModelRecord, *, weight_format: str | None = None, tokens: float = 1.0) -> float:
    """Return the bytes of weights that a step reads which runs ``tokens`` tokens through the model.

    Formula:
        checkpoint_bytes - the input embedding where it is not also the head (rows are looked up, not read) - the routed
        experts' bytes * (1 - per_token / count)^tokens: the experts that no token is expected to touch.

    Args:
        model: Its parameters must be known.
        weight_format: A name that checkpoint_bytes knows; None: as the checkpoint was released.
        tokens: Tokens of the step: the batch, in decode.

    Returns:
        Bytes.

    Raises:
        NumberError: If tokens is not positive.
        UsageError: If the format is unknown, or the model's parameters are.

    Error:
        Real routing is uneven: fewer experts are touched than this. The experts of a GGUF file are taken to have its
        mean width.
    Source:
        Expectation over independent choices; layouts as in checkpoint_bytes.

    >>> from llmdrill.catalog.load import find_model
    >>> weights_read_bytes(find_model("llama-3.1-8b"))
    15009849344.0
    """
    require_positive(tokens=tokens)
    name, stored = released_bytes(model, weight_format)
    looked_up = 0 if model.tied_embeddings else model.embedding_parameters or 0
    read = stored - looked_up * _table_bytes(name)
    experts = model.experts
    if experts is None:
        return read
    untouched: float = (1 - experts.per_token / experts.count) ** max(tokens, 1.0)
    return read - experts.parameters * _expert_bytes(model, name, stored) * untouched


def _table_bytes(name: str) -> float:
    """Return the bytes of one value of the embedding table."""
    if name in FORMATS:
        return FORMATS[name].value_bytes if FORMATS[name].scope == "all" else _WIDE_BYTES
    values, size = BLOCKS[FILE_TYPES[name]]
    return size / values


def _expert_bytes(model: ModelRecord, name: str, stored: float) -> float:
    """Return the bytes of one weight of a routed expert."""
    if name not in FORMATS:
        return stored / (model.parameters or 1)
    own = model.quantization
    return FORMATS[name].bytes_per_weight(own.group_values if own and own.format == name else None)
