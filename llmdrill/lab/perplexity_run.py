"""Score passages with a decoder, and compress the same bytes: what `llmdrill lab perplexity` measures."""

from __future__ import annotations

import gzip
import lzma
import random
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from llmdrill.errors import UsageError
from llmdrill.lab.held_out import TRAINED_ON, held_out_texts
from llmdrill.lab.load_decoder import load_decoder
from llmdrill.lab.score import score_text, total_score
from llmdrill.lab.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmdrill.lab.score import Score, TextScore, TokenScores

SAMPLE_BYTES: Final = 300_000  # of held-out text, where not all of it is asked for
QUICK_SAMPLE_BYTES: Final = 40_000
WINDOW_TOKENS: Final = 1024
BANDS: Final = (0, 16, 64, 256, 1024, 4096, 16_384)  # tokens seen before the one that is predicted


@dataclass(frozen=True, slots=True)
class Passage:
    """A text and what it is called."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class PassageScore:
    """One passage, scored."""

    name: str
    score: TextScore


@dataclass(frozen=True, slots=True)
class Band:
    """Tokens that were predicted from ``least_seen`` to ``most_seen`` tokens before them."""

    least_seen: int
    most_seen: int
    tokens: int
    nats_per_token: float


@dataclass(frozen=True, slots=True)
class PerplexityRun:
    """All that was seen.

    Attributes:
        total: Over all passages.
        passages: Each, in the order given; those without a token to predict are left out.
        bands: How much context helps, over the first window of every passage; empty bands are left out.
        context_tokens: Length of a window.
        stride_tokens: From one window to the next.
        starts: Whether a token stood before every text, so that its first token was predicted too.
        text_bytes: Of the passages.
        gzip_bytes: Of all of them together, by gzip -9.
        xz_bytes: By xz -9e.
    """

    total: Score
    passages: tuple[PassageScore, ...]
    bands: tuple[Band, ...]
    context_tokens: int
    stride_tokens: int
    starts: bool
    text_bytes: int
    gzip_bytes: int
    xz_bytes: int


def held_out_passages(*, most_bytes: int | None, seed: int) -> tuple[Passage, ...]:
    """Return the held-out modules, or as many of them, in an order drawn at random, as fit ``most_bytes``."""
    found = [Passage(one.path, one.text) for one in held_out_texts()]
    if most_bytes is None:
        return tuple(found)
    random.Random(seed).shuffle(found)  # noqa: S311 - a sample, not a secret
    passages, room = [], most_bytes
    for one in found:
        size = len(one.text.encode())
        if size <= room:
            room -= size
            passages.append(one)
    return tuple(passages)


def held_out_note() -> str:
    """Return how far the held-out modules here are those of the version that the model was trained on."""
    found = held_out_texts()
    same = sum(one.of_trained_version for one in found)
    return f"{same} of the {len(found)} held-out modules here are byte for byte those of {TRAINED_ON}"


def score_passages(
    passages: Sequence[Passage],
    *,
    model: str | None = None,
    context_tokens: int | None = None,
    stride_tokens: int | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> PerplexityRun:
    """Score every passage by itself in sliding windows, and compress all of them together.

    Args:
        passages: None sees another.
        model: A folder or hub id; None for the embedded decoder.
        context_tokens: Length of a window; by default ``WINDOW_TOKENS``, or the model's longest context if shorter.
        stride_tokens: From one window to the next, by default half a window; a whole one makes disjoint chunks.
        say: Told how far it is.

    Raises:
        MissingExtraError, ModelFileError: As ``load_decoder`` and ``load_tokenizer`` say.
        UsageError: If window or stride do not fit, or no passage has a token to predict.

    Source:
        As ``score_text`` says.
    """
    decoder, tokenizer = load_decoder(model), load_tokenizer(model)
    context = min(WINDOW_TOKENS, decoder.shape.max_positions) if context_tokens is None else context_tokens
    stride = max(1, context // 2) if stride_tokens is None else stride_tokens
    start_id = tokenizer.end_of_text_id if model is None else None
    scored = []
    for number, one in enumerate(passages, start=1):
        say(f"text {number} of {len(passages)}: {one.name}")
        found = score_text(
            decoder, tokenizer, one.text, context_tokens=context, stride_tokens=stride, start_id=start_id
        )
        if found is not None:
            scored.append(PassageScore(one.name, found))
    if not scored:
        raise UsageError("the text has no token to predict: give a longer one")
    say("gzip -9 and xz -9e of the same bytes")
    data = "".join(one.text for one in passages).encode()
    return PerplexityRun(
        total=total_score([one.score.sums for one in scored]),
        passages=tuple(scored),
        bands=tuple(_bands([one.score.each for one in scored], context)),
        context_tokens=context,
        stride_tokens=stride,
        starts=start_id is not None,
        text_bytes=len(data),
        gzip_bytes=len(gzip.compress(data, 9)),
        xz_bytes=len(lzma.compress(data, format=lzma.FORMAT_XZ, preset=9 | lzma.PRESET_EXTREME)),
    )


def _bands(scores: Sequence[TokenScores], context: int) -> list[Band]:
    """Return the mean cost of tokens by how many stood before them, in the first window, where that is exact."""
    bands = []
    for least, beyond in pairwise((*(edge for edge in BANDS if edge < context), context)):
        costs = [one.nats[1 + least : 1 + beyond].double() for one in scores]  # token 1 + k has k + 1 before it
        tokens = sum(len(cost) for cost in costs)
        if tokens:
            nats = sum(float(cost.sum()) for cost in costs) / tokens
            bands.append(Band(1 + least, beyond, tokens, nats))
    return bands
