"""What a decoder makes of held-out text: bits and the likeliest token at every position, bits per byte of it all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch.nn import functional

if TYPE_CHECKING:
    from training.model import Decoder
    from training.prepare import Part

BATCH_TOKENS: Final = 4096


@dataclass(frozen=True, slots=True)
class TokenScores:
    """What was said of each of the N tokens of a part.

    Attributes:
        bits: (N,) that the token cost; NaN where it was not looked at.
        likeliest: (N,) the token that was held likeliest; -1 where it was not looked at.
    """

    bits: torch.Tensor
    likeliest: torch.Tensor


@torch.no_grad()
def score_tokens(model: Decoder, part: Part, *, length: int, stride: int, windows: int | None = None) -> TokenScores:
    """Read the part in windows of ``length`` tokens, ``stride`` apart.

    Every token but those of the first window sees ``length - stride`` tokens before it, or more; the very first is
    never predicted. With ``windows``, only so many are read, evenly spread.
    """
    ids = torch.from_numpy(part.tokens.astype(np.int64))
    begins = list(range(0, max(1, len(ids) - 1 - (length - stride)), stride))
    if windows is not None and windows < len(begins):
        begins = [begins[at * len(begins) // windows] for at in range(windows)]
    scores = TokenScores(torch.full((len(ids),), math.nan), torch.full((len(ids),), -1))
    full = [begin for begin in begins if begin + length < len(ids)]
    short = [begin for begin in begins if begin + length >= len(ids)]  # at most one that is not within its neighbour
    per_batch = max(1, BATCH_TOKENS // length)
    for some in [*(full[at : at + per_batch] for at in range(0, len(full), per_batch)), *([one] for one in short)]:
        _score(model, ids, some, scores, length=min(length, len(ids) - 1 - some[0]), skip=length - stride)
    return scores


def _score(
    model: Decoder, ids: torch.Tensor, begins: list[int], scores: TokenScores, *, length: int, skip: int
) -> None:
    """Fill in the scores of windows of one length, but for the tokens that an earlier window has seen better."""
    rows = torch.stack([ids[begin : begin + length + 1] for begin in begins]).to(model.embed_tokens.weight.device)
    logits = model(rows[:, :-1]).float()  # (B, T, V)
    nats = functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten(), reduction="none").view(len(begins), -1)
    best = logits.argmax(dim=-1)
    for begin, row, tokens in zip(begins, nats.cpu(), best.cpu(), strict=True):
        first = 0 if begin == 0 else skip
        scores.bits[begin + 1 + first : begin + 1 + length] = row[first:] / math.log(2)
        scores.likeliest[begin + 1 + first : begin + 1 + length] = tokens[first:]


def bits_per_byte(bits: torch.Tensor, part: Part) -> float:
    """Return the bits per byte of the text looked at; the end-of-text tokens cost bits and are no bytes."""
    seen = ~bits.isnan()
    sizes = torch.from_numpy(part.token_bytes[part.tokens].astype(np.int64))
    return float(bits[seen].double().sum() / sizes[seen].sum())


@dataclass(frozen=True, slots=True)
class Completion:
    """How often the likeliest tokens are right.

    Attributes:
        next_token_share: Of all tokens.
        line_end_share: Of lines, cursor at a random token of each: that the rest of the line comes out exactly.
        lines: Looked at.
    """

    next_token_share: float
    line_end_share: float
    lines: int


def completion(scores: TokenScores, part: Part, *, line_breaks: np.ndarray, seed: int) -> Completion:
    """Judge greedy completion from the likeliest tokens: the rest of a line comes out if each of its tokens does.

    A line ends with a token that begins with a line break; any such token will do, whatever indentation it brings.

    Args:
        scores: Of the part's tokens.
        part: The tokens.
        line_breaks: (V,) whether a token ends a line.
        seed: Of the cursor's place.
    """
    truth, said = part.tokens.astype(np.int64), scores.likeliest.numpy()
    looked_at = said >= 0
    right = (said == truth) | (line_breaks[truth] & line_breaks[said])
    ends = np.flatnonzero(line_breaks[truth])
    rng = np.random.default_rng(seed)
    results = []
    for before, end in pairwise(ends):
        if end - before > 2 and looked_at[before + 1 : end + 1].all():  # at least two tokens and the break
            cursor = int(rng.integers(before + 2, end))  # at least one token of the line stands, one is to come
            results.append(bool(right[cursor : end + 1].all()))
    exact = float((said == truth)[looked_at].mean())
    return Completion(exact, float(np.mean(results)) if results else math.nan, len(results))
