"""Speculative decoding: draft some tokens cheaply, let the target model judge all of them in one pass.

Shapes in comments: T tokens of a pass, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

from llmdrill.lab.likeliest import likeliest
from llmdrill.lab.ngram_lookup import LONGEST_NGRAM, SHORTEST_NGRAM, NgramLookup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from llmdrill.lab.decoder import Sampling, Session


@dataclass(frozen=True, slots=True)
class Draft:
    """Tokens that might come next.

    Attributes:
        tokens: T of them; possibly none.
        probabilities: (T, V), what each was drawn from; None if nothing was drawn: then each had probability one.
    """

    tokens: list[int]
    probabilities: Tensor | None = None


class Drafter(Protocol):
    """What drafts: a small model, or a lookup."""

    def start(self, tokens: Sequence[int]) -> None:
        """Begin a text."""

    def draft(self, count: int) -> Draft:
        """Return at most ``count`` tokens that might come next."""

    def extend(self, tokens: Sequence[int]) -> None:
        """Go on with the text: the drafted tokens that were accepted, then one of the target's own."""


class NgramDrafter:
    """Drafts by prompt lookup."""

    def __init__(self, *, longest: int = LONGEST_NGRAM, shortest: int = SHORTEST_NGRAM) -> None:
        self._sizes = {"longest": longest, "shortest": shortest}
        self._lookup = NgramLookup(**self._sizes)

    def start(self, tokens: Sequence[int]) -> None:
        """Index a text."""
        self._lookup = NgramLookup(**self._sizes)
        self._lookup.extend(tokens)

    def draft(self, count: int) -> Draft:
        """Return what followed the last few tokens before; nothing if they are new."""
        return Draft(self._lookup.following(count))

    def extend(self, tokens: Sequence[int]) -> None:
        """Index more of the text."""
        self._lookup.extend(tokens)


class NoDrafter:
    """Drafts nothing: then every pass of the target yields one token."""

    def start(self, tokens: Sequence[int]) -> None:
        """Begin a text."""

    def draft(self, count: int) -> Draft:  # noqa: ARG002 - as every drafter
        """Return no tokens."""
        return Draft([])

    def extend(self, tokens: Sequence[int]) -> None:
        """Go on with the text."""


class ModelDrafter:
    """Drafts with a small model of the same vocabulary, greedily or by sampling."""

    def __init__(self, session: Session, rule: Rule) -> None:
        self._session, self._rule = session, rule
        self._unread: list[int] = []
        self._read_tokens = 0

    def start(self, tokens: Sequence[int]) -> None:
        """Read all of a text but its last token, which the first draft reads."""
        self._session.cache.keep(0)
        if len(tokens) > 1:
            self._session.prefill([tokens[:-1]])
        self._read_tokens, self._unread = len(tokens) - 1, [tokens[-1]]

    def draft(self, count: int) -> Draft:
        """Return ``count`` tokens, a pass of the small model for each."""
        if count < 1:
            return Draft([])
        logits = self._session.verify(torch.tensor([self._unread]))[0, -1]  # (V,)
        drawn = [self._rule.pick(logits)]
        while len(drawn) < count:
            drawn.append(self._rule.pick(self._session.decode(torch.tensor([drawn[-1].token]))[0]))
        rows = [one.probabilities for one in drawn if one.probabilities is not None]
        return Draft([one.token for one in drawn], torch.stack(rows) if rows else None)

    def extend(self, tokens: Sequence[int]) -> None:
        """Keep of the cache what was accepted: all of ``tokens`` but the last, as far as it was read."""
        text = self._read_tokens + len(self._unread)
        self._session.cache.keep(text + len(tokens) - 1)
        read = int(self._session.cache.lengths[0])
        self._unread = [*self._unread, *tokens][read - self._read_tokens :]
        self._read_tokens = read


@dataclass(frozen=True, slots=True)
class Picked:
    """A token, and the distribution (V,) it was drawn from; None if it was the likeliest and nothing was drawn."""

    token: int
    probabilities: Tensor | None = None


class Rule(Protocol):
    """How tokens are chosen, with and without a draft."""

    def pick(self, logits: Tensor) -> Picked:
        """Return the token that follows logits (V,)."""

    def judge(self, draft: Draft, logits: Tensor) -> list[int]:
        """Return the accepted part of a draft of T tokens, then one more, from the target's logits (T + 1, V)."""


class Greedy:
    """The likeliest token: a drafted one is accepted where it is that."""

    def pick(self, logits: Tensor) -> Picked:
        """Return the likeliest token."""
        return Picked(likeliest(logits[None])[0])

    def judge(self, draft: Draft, logits: Tensor) -> list[int]:
        """Return the target's own choices up to and with the first that was not drafted."""
        chosen = likeliest(logits)  # T + 1 of them
        for at, token in enumerate(draft.tokens):
            if token != chosen[at]:
                return chosen[: at + 1]
        return chosen


class Sampled:
    """Sampling, with the rule that leaves the target's distribution as it is whatever the draft's is.

    A token x drafted from q is accepted with probability min(1, p(x) / q(x)); the first that is not is replaced by a
    draw from norm(max(0, p - q)), and after a draft accepted as a whole one more is drawn from p.

    Source:
        Leviathan et al. 2023, arXiv:2211.17192, algorithm 1 and section 2.2: top-k and temperature change p and q
        before; correctness: appendix A.1.
    """

    def __init__(self, sampling: Sampling, rng: torch.Generator) -> None:
        self._sampling, self._rng = sampling, rng

    def pick(self, logits: Tensor) -> Picked:
        """Draw a token."""
        probabilities = self._sampling.probabilities(logits[None])[0]  # (V,)
        return Picked(self._draw(probabilities), probabilities)

    def judge(self, draft: Draft, logits: Tensor) -> list[int]:
        """Accept or replace the drafted tokens one by one."""
        target = self._sampling.probabilities(logits)  # (T + 1, V)
        chances = torch.rand(len(draft.tokens), generator=self._rng).tolist()
        for at, (token, chance) in enumerate(zip(draft.tokens, chances, strict=True)):
            drawn_from = None if draft.probabilities is None else draft.probabilities[at]
            ratio = float(target[at, token]) / (1.0 if drawn_from is None else float(drawn_from[token]))
            if chance >= ratio:
                return [*draft.tokens[:at], self._draw(_left_over(target[at], drawn_from, token))]
        return [*draft.tokens, self._draw(target[-1])]

    def _draw(self, weights: Tensor) -> int:
        return int(torch.multinomial(weights, 1, generator=self._rng))


def _left_over(target: Tensor, drawn_from: Tensor | None, token: int) -> Tensor:
    """Return max(0, p - q) (V,), not yet of sum one; q is all on ``token`` if it was not drawn."""
    if drawn_from is not None:
        return (target - drawn_from).clamp(min=0)
    rest = target.clone()
    rest[token] = 0
    return rest


@dataclass(frozen=True, slots=True)
class Continuation:
    """What was generated, and how the passes of the target model went.

    Attributes:
        tokens: Generated ones.
        drafted: Tokens drafted before each pass.
        accepted: Of them accepted.
    """

    tokens: tuple[int, ...]
    drafted: tuple[int, ...] = ()
    accepted: tuple[int, ...] = ()

    @property
    def judged(self) -> int:
        """Return how many drafted tokens were accepted or rejected; those behind a rejected one were neither."""
        return sum(min(kept + 1, made) for made, kept in zip(self.drafted, self.accepted, strict=True))


def speculate(
    session: Session, text: Sequence[int], drafter: Drafter, rule: Rule, *, draft_tokens: int, output_tokens: int
) -> Continuation:
    """Generate ``output_tokens`` after a text, of which the target has read all but the last token.

    Args:
        session: Of the target model, one sequence; its cache holds ``len(text) - 1`` tokens, before and after.
        text: Prompt and first token; the drafter has begun with it.
        drafter: Reads and extends with what comes out.
        rule: Greedy, or sampled.
        draft_tokens: gamma, at most so many a pass; never more than are still wanted.
        output_tokens: To generate.

    Raises:
        UsageError: If the cache is too small.

    Source:
        Leviathan et al. 2023, arXiv:2211.17192, algorithm 1.
    """
    last, length = text[-1], len(text)
    tokens: list[int] = []
    drafted: list[int] = []
    accepted: list[int] = []
    while len(tokens) < output_tokens:
        draft = drafter.draft(min(draft_tokens, output_tokens - len(tokens) - 1))
        logits = session.verify(torch.tensor([[last, *draft.tokens]]))[0]  # (T + 1, V)
        fresh = rule.judge(draft, logits)
        length, last = length + len(fresh), fresh[-1]
        session.cache.keep(length - 1)
        drafter.extend(fresh)
        tokens += fresh
        drafted.append(len(draft.tokens))
        accepted.append(len(fresh) - 1)
    return Continuation(tuple(tokens), tuple(drafted), tuple(accepted))


def continue_plainly(session: Session, text: Sequence[int], *, output_tokens: int) -> Continuation:
    """Generate greedily without drafts: a token a pass."""
    tokens = [text[-1]]
    for _ in range(output_tokens):
        tokens.append(likeliest(session.decode(torch.tensor(tokens[-1:])))[0])
    return Continuation(tuple(tokens[1:]))


def replay(text: Sequence[int], continuation: Sequence[int], drafter: Drafter, *, draft_tokens: int) -> Continuation:
    """Return how drafting would go if the target's greedy choices were this continuation, without running it."""
    drafter.start(text)
    drafted: list[int] = []
    accepted: list[int] = []
    done = 0
    while done < len(continuation):
        draft = drafter.draft(min(draft_tokens, len(continuation) - done - 1)).tokens
        pairs = zip(draft, continuation[done:], strict=False)
        kept = next((at for at, (guess, token) in enumerate(pairs) if guess != token), len(draft))
        drafter.extend(continuation[done : done + kept + 1])
        drafted.append(len(draft))
        accepted.append(kept)
        done += kept + 1
    return Continuation(tuple(continuation), tuple(drafted), tuple(accepted))
