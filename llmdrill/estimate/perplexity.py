"""Perplexity and its relatives, from the log-probabilities of a text's tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llmdrill.estimate.checks import NumberError, require_positive
from llmdrill.estimate.explain import Explained, figure

if TYPE_CHECKING:
    from collections.abc import Sequence

_PERPLEXITY_SOURCE: Final = "Hugging Face, transformers documentation, Perplexity of fixed-length models"
MOST_NATS: Final = math.log(1e300)  # above it the perplexity is too large for a number


@dataclass(frozen=True, slots=True)
class Surprise:
    """How a model is surprised by a text, on average over its tokens.

    Attributes:
        tokens: Tokens that were scored.
        nats_per_token: Cross-entropy; None if a token was given no probability at all.
    """

    tokens: int
    nats_per_token: float | None


def surprise(logprobs: Sequence[float], *, base: float = math.e) -> Surprise:
    """Return the cross-entropy of a text under a model.

    Formula:
        -(sum of logprobs) * ln(base) / tokens

    Args:
        logprobs: Log-probability of each token given those before it, at most 0; minus infinity for probability 0.
        base: Of the logarithm: e, 2 or 10.

    Returns:
        Nats per token; None if a probability is 0: one impossible token makes the sum infinite.

    Raises:
        NumberError: If there is no token, a log-probability is positive or no number, or the base is not above 1.

    Error:
        Exact for the tokens given. A window that slides over a long text scores its first tokens without context, so
        its perplexity is too high; figures of different tokenizers cannot be compared per token.
    Source:
        Hugging Face, transformers documentation, "Perplexity of fixed-length models": exp of the mean negative
        log-likelihood (copy of 2026-11-22).

    >>> surprise([-2.0, -1.0], base=2).nats_per_token == 1.5 * math.log(2)
    True
    """
    if not math.isfinite(base) or base <= 1:
        raise NumberError(f"base must be above 1 and finite, got {base:g}")
    if not logprobs:
        raise NumberError("perplexity needs at least one log-probability")
    for place, value in enumerate(logprobs, start=1):
        if math.isnan(value) or value > 0:
            raise NumberError(f"log-probability {place} must be at most 0, got {value:g}")
    if -math.inf in logprobs:
        return Surprise(len(logprobs), None)
    total = math.fsum(logprobs) * math.log(base)
    return Surprise(len(logprobs), 0.0 - total / len(logprobs))


def perplexity(nats_per_token: float) -> float | None:
    """Return the perplexity: between how many equally likely tokens the model is as unsure as it is here.

    Formula:
        exp(nats_per_token)

    Args:
        nats_per_token: Cross-entropy, zero or more.

    Returns:
        1 or more; None if it is too large for a number.

    Raises:
        NumberError: If the cross-entropy is negative or not finite.

    Error:
        Exact.
    Source:
        Hugging Face, transformers documentation, "Perplexity of fixed-length models" (copy of 2026-11-22).

    >>> round(perplexity(-math.log(0.25)), 9)  # unsure between four
    4.0
    """
    if not math.isfinite(nats_per_token) or nats_per_token < 0:
        raise NumberError(f"nats_per_token must be zero or more and finite, got {nats_per_token:g}")
    return math.exp(nats_per_token) if nats_per_token <= MOST_NATS else None


def bits_per_token(nats_per_token: float) -> float:
    """Return the cross-entropy in bits.

    Formula:
        nats_per_token / ln(2); the perplexity is 2 to this power.

    Args:
        nats_per_token: Cross-entropy.

    Returns:
        Bits.

    Raises:
        NumberError: If the cross-entropy is negative or not finite.

    Error:
        Exact.
    Source:
        Arithmetic.

    >>> bits_per_token(2 * math.log(2))
    2.0
    """
    if not math.isfinite(nats_per_token) or nats_per_token < 0:
        raise NumberError(f"nats_per_token must be zero or more and finite, got {nats_per_token:g}")
    return nats_per_token / math.log(2)


def bits_per_byte(nats_per_token: float, *, tokens: float, text_bytes: float) -> float:
    """Return the cross-entropy per byte of text, which can be compared across tokenizers.

    Formula:
        bits_per_token * tokens / text_bytes

    Args:
        nats_per_token: Cross-entropy.
        tokens: Tokens scored.
        text_bytes: UTF-8 length of exactly the text of these tokens.

    Returns:
        Bits per byte; 8 is what no model at all reaches.

    Raises:
        NumberError: If a count is not above zero, or the cross-entropy is negative.

    Error:
        Exact if the bytes are those of the scored tokens; a first token that was not scored must not be counted.
    Source:
        K. Dipkumar, "Bits-per-Byte", dipkumar.dev/posts/llm/bits-per-byte: two tokens of 1.5 and 4.5 nats for 8 bytes
        (copy of 2026-11-22).

    >>> round(bits_per_byte(3.0, tokens=2, text_bytes=8), 3)  # 6 nats / (8 * ln 2)
    1.082
    """
    require_positive(tokens=tokens, text_bytes=text_bytes)
    return bits_per_token(nats_per_token) * tokens / text_bytes


def explain_perplexity(found: Surprise, *, text_bytes: float | None = None) -> tuple[Explained, ...]:
    """Return cross-entropy, bits, perplexity and, where the bytes are known, bits per byte; only what is finite."""
    nats = found.nats_per_token
    if nats is None:
        return ()
    bits, value = bits_per_token(nats), perplexity(nats)
    figures = [
        Explained(
            name="cross_entropy_nats_per_token",
            value=nats,
            unit="count",
            formula="-(sum of log-probabilities) / tokens",
            filled=f"{figure(nats * found.tokens)} / {figure(found.tokens)} = {figure(nats)} nats",
            source="Arithmetic",
        ),
        Explained(
            name="bits_per_token",
            value=bits,
            unit="count",
            formula="cross_entropy_nats_per_token / ln(2)",
            filled=f"{figure(nats)} / {figure(math.log(2))} = {figure(bits)} bits",
            source="Arithmetic",
        ),
    ]
    if value is not None:
        derivation = ("exp(cross_entropy_nats_per_token)", f"exp({figure(nats)}) = {figure(value)}")
        figures.insert(0, Explained("perplexity", value, "count", *derivation, _PERPLEXITY_SOURCE))
    if text_bytes is not None:
        per_byte = bits_per_byte(nats, tokens=found.tokens, text_bytes=text_bytes)
        figures.append(
            Explained(
                name="bits_per_byte",
                value=per_byte,
                unit="count",
                formula="bits_per_token × tokens / text_bytes",
                filled=f"{figure(bits)} × {figure(found.tokens)} / {figure(text_bytes)} = {figure(per_byte)} bits",
                source="Arithmetic",
            )
        )
    return tuple(figures)
