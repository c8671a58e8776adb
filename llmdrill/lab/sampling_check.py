"""Draw the same two tokens over and over with drafts, and work out how often plain sampling gives each pair."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch

from llmdrill.lab.decoder import Sampling
from llmdrill.lab.speculative import Sampled, speculate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llmdrill.lab.decoder import Session
    from llmdrill.lab.speculative import Drafter, Rule

CHOICES: Final = 4  # tokens that top-k leaves, so that 16 pairs are possible
PAIR: Final = 2  # tokens drafted; one more is generated, so that all of a draft may be accepted
PAIR_SAMPLING: Final = Sampling(temperature=1.0, top_k=CHOICES)


@dataclass(frozen=True, slots=True)
class Draws:
    """Pairs of tokens that were drawn.

    Attributes:
        seen: How often each pair came.
        probabilities: Of each pair under plain sampling: that of the first, times that of the second after it.
        judged: Drafted tokens that were accepted or rejected: without any, the pairs would prove nothing.
        accepted: Of them.
    """

    seen: Mapping[tuple[int, int], int]
    probabilities: Mapping[tuple[int, int], float]
    judged: int
    accepted: int


def draw_pairs(
    session: Session,
    text: list[int],
    drafter_for: Callable[[Rule], Drafter],
    *,
    rng: torch.Generator,
    draws: int,
) -> Draws:
    """Generate two tokens after the same text again and again, with drafts.

    Args:
        session: Of the target; its cache holds all of the text but the last token, before and after.
        text: Prompt and first token.
        drafter_for: Returns a drafter whose own draws follow a rule.
        rng: Of every draw.
        draws: Pairs to draw.
    """
    rule = Sampled(PAIR_SAMPLING, rng)
    drafter = drafter_for(rule)
    seen: Counter[tuple[int, int]] = Counter()
    judged = accepted = 0
    for _ in range(draws):
        session.cache.keep(len(text) - 1)
        drafter.start(text)
        made = speculate(session, text, drafter, rule, draft_tokens=PAIR, output_tokens=PAIR + 1)
        seen[made.tokens[0], made.tokens[1]] += 1
        judged, accepted = judged + made.judged, accepted + sum(made.accepted)
    return Draws(seen, pair_probabilities(session, text), judged, accepted)


def pair_probabilities(session: Session, text: list[int]) -> dict[tuple[int, int], float]:
    """Return the probability of every pair of next tokens that plain sampling can draw."""
    held = len(text) - 1
    return {
        (token, other): likely * after
        for token, likely in _next(session, text, held).items()
        for other, after in _next(session, [*text, token], held).items()
    }


def _next(session: Session, text: list[int], held: int) -> dict[int, float]:
    """Return what sampling may draw after a text, of which the cache keeps the first ``held`` tokens."""
    session.cache.keep(held)
    logits = session.verify(torch.tensor([text[held:]]))[:, -1]  # (1, V)
    probabilities = PAIR_SAMPLING.probabilities(logits)[0]  # (V,)
    return {int(token): float(probabilities[token]) for token in probabilities.nonzero()[:, 0]}
