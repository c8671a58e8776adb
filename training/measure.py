"""Held-out bits per byte of a decoder, in windows that overlap so that every token sees some context."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

if TYPE_CHECKING:
    from training.model import Decoder
    from training.prepare import Part

BATCH_TOKENS = 4096


@torch.no_grad()
def token_bits(model: Decoder, part: Part, *, length: int, stride: int, windows: int | None = None) -> torch.Tensor:
    """Return the bits (N,) that each token of the part costs, NaN where it was not looked at.

    Args:
        model: The decoder.
        part: Its N tokens; the first is never predicted.
        length: Tokens of a window.
        stride: How far windows are apart; every token but those of the first window sees ``length - stride`` before it.
        windows: Look at so many windows only, evenly spread.
    """
    model.eval()
    device = model.embed_tokens.weight.device
    ids = torch.from_numpy(part.tokens.astype(np.int64))
    begins = list(range(0, max(1, len(ids) - 1 - (length - stride)), stride))
    if windows is not None and windows < len(begins):
        begins = [begins[at * len(begins) // windows] for at in range(windows)]
    bits = torch.full((len(ids),), math.nan)
    per_batch = max(1, BATCH_TOKENS // length)
    for at in range(0, len(begins), per_batch):
        some = [begin for begin in begins[at : at + per_batch] if begin + length < len(ids)]
        if some:
            _score(model, ids, some, bits, length=length, skip=length - stride, device=device)
    if begins[-1] + length >= len(ids):  # the shorter one at the end
        _score(model, ids, [begins[-1]], bits, length=len(ids) - 1 - begins[-1], skip=length - stride, device=device)
    model.train()
    return bits


def _score(
    model: Decoder,
    ids: torch.Tensor,
    begins: list[int],
    bits: torch.Tensor,
    *,
    length: int,
    skip: int,
    device: torch.device,
) -> None:
    """Fill in the bits of windows of one length, leaving out the tokens that an earlier window has scored."""
    rows = torch.stack([ids[begin : begin + length + 1] for begin in begins]).to(device)
    logits = model(rows[:, :-1]).float()
    nats = functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten(), reduction="none").view(len(begins), -1)
    for begin, row in zip(begins, nats.cpu(), strict=True):
        first = 0 if begin == 0 else skip
        bits[begin + 1 + first : begin + 1 + length] = row[first:] / math.log(2)


def bits_per_byte(
    model: Decoder, part: Part, *, length: int, stride: int | None = None, windows: int | None = None
) -> float:
    """Return the bits per byte of text; the end-of-text tokens cost bits and are no bytes."""
    bits = token_bits(model, part, length=length, stride=stride or length, windows=windows)
    seen = ~bits.isnan()
    sizes = torch.from_numpy(part.token_bytes[part.tokens].astype(np.int64))
    return float(bits[seen].sum() / sizes[seen].sum())
