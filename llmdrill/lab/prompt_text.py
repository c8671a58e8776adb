"""Prompts for experiments in which tokens only have to be what people send: cuts of held-out source, else random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llmdrill.errors import UsageError
from llmdrill.lab.held_out import held_out_texts
from llmdrill.lab.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from llmdrill.lab.decoder import Decoder

ENOUGH_TEXT: Final = 400_000  # characters to cut from: tokenized in a moment, and more than any context here


@dataclass(frozen=True, slots=True)
class Prompts:
    """Prompts and what they are.

    Attributes:
        ids: Each of the length that was asked for.
        what: ``held-out Python source`` or ``random tokens``.
    """

    ids: tuple[tuple[int, ...], ...]
    what: str


def draw_prompts(
    decoder: Decoder, lengths_tokens: Sequence[int], *, model: str | None, rng: np.random.Generator
) -> Prompts:
    """Return a prompt of each length: cut out of held-out source where the model has a tokenizer, else random tokens.

    Args:
        decoder: Whose vocabulary they come from.
        lengths_tokens: Of each.
        model: The folder or hub id that the decoder was loaded from; None for the embedded one or a shape.
        rng: Where the cuts lie.
    """
    source = None if decoder.random_weights else _source_ids(model)
    if source is None or len(source) <= max(lengths_tokens):
        drawn = (rng.integers(decoder.shape.vocab, size=length).tolist() for length in lengths_tokens)
        return Prompts(tuple(tuple(ids) for ids in drawn), "random tokens")
    starts = (int(rng.integers(len(source) - length)) for length in lengths_tokens)
    cuts = (source[start : start + length] for start, length in zip(starts, lengths_tokens, strict=True))
    return Prompts(tuple(tuple(ids) for ids in cuts), "held-out Python source")


def _source_ids(model: str | None) -> list[int] | None:
    """Return tokens of held-out source; None where there is no tokenizer or no source."""
    try:
        text = "".join(one.text for one in held_out_texts())[:ENOUGH_TEXT]
        return load_tokenizer(model).encode(text)
    except UsageError:
        return None
