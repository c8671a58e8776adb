"""What a decoder makes of text: the nats and the likeliest token at every position, for perplexity and accuracy.

A text is read in windows that slide over it (``score_text``), or windows are drawn from many texts and read each for
itself (``draw_windows``, ``score_windows``): cheaper where only the difference between two models counts.

Shapes in comments: B windows, T tokens of a window, V vocabulary, N tokens of a text.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import torch
from torch.nn import functional

from llmdrill.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from torch import Tensor

    from llmdrill.lab.decoder import Decoder
    from llmdrill.lab.tokenizer import Tokenizer

LOGIT_BYTES: Final = 64 << 20  # of one batch of windows


@dataclass(frozen=True, slots=True)
class Score:
    """Sums over all scored tokens.

    Attributes:
        tokens: That were predicted.
        bytes: UTF-8 length of exactly their text.
        nats: That they cost in all.
        correct: How many of them were the likeliest.
    """

    tokens: int
    bytes: int
    nats: float
    correct: int

    @property
    def nats_per_token(self) -> float:
        return self.nats / self.tokens

    @property
    def perplexity(self) -> float:
        return math.exp(self.nats_per_token)

    @property
    def bits_per_byte(self) -> float:
        return self.nats / math.log(2) / self.bytes

    @property
    def next_token_share(self) -> float:
        return self.correct / self.tokens


@dataclass(frozen=True, slots=True)
class TokenScores:
    """What was said of each token of one text (N,) or of windows (B, T).

    Attributes:
        ids: The tokens.
        nats: That each token cost; NaN for the first, which nothing stands before.
        likeliest: The token held likeliest in its place; -1 for the first.
    """

    ids: Tensor
    nats: Tensor
    likeliest: Tensor

    @classmethod
    def empty(cls, ids: Tensor) -> TokenScores:
        """Return scores that say nothing of these tokens yet."""
        return cls(ids, torch.full(ids.shape, math.nan), torch.full(ids.shape, -1))


def total_score(scores: Sequence[Score]) -> Score:
    """Return the sums over several texts."""
    return Score(
        tokens=sum(one.tokens for one in scores),
        bytes=sum(one.bytes for one in scores),
        nats=math.fsum(one.nats for one in scores),
        correct=sum(one.correct for one in scores),
    )


@dataclass(frozen=True, slots=True)
class TextScore:
    """One text, scored: each of its tokens, and their sums."""

    each: TokenScores
    sums: Score


def score_text(
    decoder: Decoder,
    tokenizer: Tokenizer,
    text: str,
    *,
    context_tokens: int,
    stride_tokens: int,
    start_id: int | None = None,
) -> TextScore | None:
    """Score every token of a text in windows that slide over it; None if it has no token to predict.

    Args:
        decoder: Any decoder; its weights decide, so random ones say nothing.
        tokenizer: Of the decoder.
        text: It alone is seen.
        context_tokens: Length of a window, at most the model's longest context.
        stride_tokens: From one window to the next; at half a window every token but those of the first window sees half
            a window before it, or more.
        start_id: A token that stands before the text, as the embedded model's end-of-text did in training; without one
            the first token is not predicted, and its bytes do not count.

    Raises:
        UsageError: If window or stride do not fit.

    Source:
        Hugging Face, transformers documentation, "Perplexity of fixed-length models"
        (huggingface/transformers@052b1dcd, docs/source/en/perplexity.md): GPT-2 large has 19.44 in disjoint chunks of
        1024 tokens and 16.44 with a stride of 512.
    """
    ids = [*([] if start_id is None else [start_id]), *tokenizer.encode(text)]
    if len(ids) < 2:
        return None
    said = score_ids(decoder, ids, context_tokens=context_tokens, stride_tokens=stride_tokens)
    unscored_bytes = 0 if start_id is not None else size_bytes(tokenizer, ids[0])
    correct = int((said.likeliest == said.ids)[1:].sum())
    nats = float(said.nats[1:].double().sum())
    return TextScore(said, Score(len(ids) - 1, len(text.encode()) - unscored_bytes, nats, correct))


def size_bytes(tokenizer: Tokenizer, token: int) -> int:
    """Return how many bytes of text a token stands for; a special token for those of its name."""
    own = tokenizer.token_bytes(token)
    return len(tokenizer.decode([token]).encode() if own is None else own)


def score_ids(
    decoder: Decoder,
    ids: Sequence[int],
    *,
    context_tokens: int,
    stride_tokens: int,
    logits: Callable[[Tensor], Tensor] | None = None,
) -> TokenScores:
    """Return what is said of every token of one text (N,) but the first.

    Args:
        decoder: Gives the shape, and the logits.
        ids: At least two tokens.
        context_tokens: Length of a window.
        stride_tokens: From one window to the next; a whole one makes disjoint chunks.
        logits: Of windows (B, T) → (B, T, V), where another engine than ``decoder.logits`` is to be scored.

    Raises:
        UsageError: If window or stride do not fit.
    """
    longest, stride = decoder.shape.max_positions, stride_tokens
    if not 1 <= stride <= context_tokens <= longest:
        asked = f"windows of {context_tokens} tokens, {stride} apart"
        raise UsageError(f"{asked}: this model has 1 to {longest}, and a stride is 1 to a whole window")
    text = torch.tensor(ids)
    found = TokenScores.empty(text)
    for begins, length in _windows(len(ids) - 1, context_tokens, stride, _room(decoder, context_tokens)):
        rows = torch.stack([text[begin : begin + length + 1] for begin in begins])  # (B, T + 1)
        nats, likeliest = _said(logits or decoder.logits, rows)
        for begin, cost, best in zip(begins, nats, likeliest, strict=True):
            new = slice(0 if begin == 0 else context_tokens - stride, None)  # an earlier window saw the others better
            found.nats[begin + 1 : begin + 1 + length][new] = cost[new]
            found.likeliest[begin + 1 : begin + 1 + length][new] = best[new]
    return found


def score_windows(
    decoder: Decoder, windows: Tensor, *, logits: Callable[[Tensor], Tensor] | None = None
) -> TokenScores:
    """Return what is said of every token of windows (B, T) but their first, each window read for itself.

    Args:
        decoder: Gives the shape, and the logits.
        windows: (B, T) tokens.
        logits: Of rows (B, T) → (B, T, V), where another engine than ``decoder.logits`` is to be scored.
    """
    found, room = TokenScores.empty(windows), _room(decoder, windows.shape[1])
    for at in range(0, len(windows), room):
        rows = slice(at, at + room)
        found.nats[rows, 1:], found.likeliest[rows, 1:] = _said(logits or decoder.logits, windows[rows])
    return found


def draw_windows(texts: Sequence[Sequence[int]], *, windows: int, tokens: int, seed: int) -> Tensor:
    """Return at most so many windows (B, T) of encoded texts, drawn at random; no two overlap.

    Raises:
        UsageError: If no text is as long as a window.
    """
    rng = torch.Generator().manual_seed(seed)
    places = [
        (text, begin)
        for text in texts
        if len(text) >= tokens
        for offset in [int(torch.randint(0, len(text) % tokens + 1, (), generator=rng))]
        for begin in range(offset, len(text) - tokens + 1, tokens)
    ]
    if not places:
        raise UsageError(f"no text is as long as a window of {tokens} tokens: take shorter windows")
    drawn = [places[at] for at in torch.randperm(len(places), generator=rng)[:windows].tolist()]
    return torch.tensor([list(text[begin : begin + tokens]) for text, begin in drawn])


@dataclass(frozen=True, slots=True)
class LineEnds:
    """How often the rest of a line came out exactly, the cursor at a random token of each line."""

    right: int
    lines: int

    @property
    def share(self) -> float | None:
        return self.right / self.lines if self.lines else None


def line_ends(scores: TokenScores, tokenizer: Tokenizer, *, seed: int) -> LineEnds:
    """Judge greedy completion of lines from the likeliest tokens: the rest comes out if each of its tokens does.

    A line ends with a token that holds a line break; any such token will do, whatever indentation it brings. Lines
    of fewer than three tokens are left out: one must stand before the cursor, one must be to come.

    Args:
        scores: Of windows (B, T) or of one text (N,).
        tokenizer: Tells which tokens break lines.
        seed: Of the cursor's places; the same seed puts it at the same tokens whatever the scores.
    """
    rng = torch.Generator().manual_seed(seed)
    breaks = torch.tensor([b"\n" in (tokenizer.token_bytes(token) or b"\n") for token in range(tokenizer.vocabulary)])
    length = scores.ids.shape[-1]
    ids, said = scores.ids.view(-1, length), scores.likeliest.view(-1, length)
    right = (ids == said) | (breaks[ids] & breaks[said.clamp(min=0)] & (said >= 0))
    judged = []
    for row, good in zip(breaks[ids], right, strict=True):
        for before, end in pairwise(row.nonzero()[:, 0].tolist()):
            if end - before > 2:
                cursor = int(torch.randint(before + 2, end, (), generator=rng))
                judged.append(bool(good[cursor : end + 1].all()))
    return LineEnds(sum(judged), len(judged))


def _room(decoder: Decoder, tokens: int) -> int:
    """Return how many windows are read at once."""
    return max(1, LOGIT_BYTES // (4 * tokens * decoder.shape.vocab))


def _said(logits: Callable[[Tensor], Tensor], rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the nats of all tokens of rows (B, T + 1) but the first, and the likeliest in their places (B, T)."""
    said = logits(rows[:, :-1]).float()  # (B, T, V)
    nats = functional.cross_entropy(said.flatten(0, 1), rows[:, 1:].flatten(), reduction="none")
    return nats.view(len(rows), -1), said.argmax(dim=-1)


def _windows(tokens: int, context: int, stride: int, room: int) -> Iterable[tuple[list[int], int]]:
    """Yield batches of windows of one length: where they begin, and how long they are."""
    begins = list(range(0, max(1, tokens - (context - stride)), stride))
    full = [begin for begin in begins if begin + context <= tokens]
    for at in range(0, len(full), room):
        yield full[at : at + room], context
    for begin in begins[len(full) :]:  # at most one: the rest of the text
        yield [begin], tokens - begin
