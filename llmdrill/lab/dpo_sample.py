"""Draw several completions of a line from a policy, and compare two policies on them.

Shapes in comments: P prompts, G completions of each, V vocabulary, N tokens of completions, M completions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch

from llmdrill.errors import UsageError
from llmdrill.lab.decoder import Decoder, KvCache, Sampling, Session
from llmdrill.lab.dpo_lines import is_right
from llmdrill.lab.train_forward import pack, packed_logprobs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from llmdrill.lab.decoder import DecoderWeights
    from llmdrill.lab.dpo_lines import Task, Verifier
    from llmdrill.lab.shapes import DecoderShape
    from llmdrill.lab.tokenizer import Tokenizer

ROWS: Final = 16  # prompts in one pass
DIVERGED: Final = "the training diverged (not a number): take a smaller --learning-rate, or smaller --betas"


@dataclass(frozen=True, slots=True)
class Drawn:
    """One completion of a task.

    Attributes:
        ids: Its tokens, with the one that ended the line, if one did.
        text: Without the line break.
        right: What the verifier says; a line that never ended is wrong.
    """

    ids: tuple[int, ...]
    text: str
    right: bool


class Sampler:
    """Draws completions of lines at temperature 1, from whatever weights it is given, and has them judged."""

    def __init__(self, shape: DecoderShape, tokenizer: Tokenizer, verifier: Verifier, *, max_new_tokens: int) -> None:
        self.shape, self._tokenizer, self._verifier, self._most = shape, tokenizer, verifier, max_new_tokens
        spelled = [tokenizer.token_bytes(token) for token in range(tokenizer.vocabulary)]
        if not any(spelled):
            raise UsageError("this tokenizer does not tell the bytes of its tokens, which the end of a line needs")
        # Ends: a line break, alone or behind other characters, and what stands for no text, such as end-of-text.
        ends = (token for token, text in enumerate(spelled) if text is None or b"\n" in text or b"\r" in text)
        self._ends = frozenset((*ends, *range(tokenizer.vocabulary, shape.vocab)))
        self._silent = frozenset(token for token in self._ends if token >= len(spelled) or spelled[token] is None)

    def draw(
        self, weights: DecoderWeights, tasks: Sequence[Task], *, each: int, rng: torch.Generator
    ) -> list[list[Drawn]]:
        """Return ``each`` completions of every task.

        Raises:
            UsageError: If the weights give no probabilities.
        """
        session = self._fan_out(weights, tasks, each)
        logits, ids = self._first.repeat_interleave(each, dim=0), []
        running = torch.ones(len(logits), dtype=torch.bool)
        ends = torch.tensor(sorted(self._ends))
        for step in range(self._most):
            if not bool(logits.isfinite().all()):
                raise UsageError(DIVERGED)
            picked = Sampling(temperature=1.0).pick(logits, rng)
            ids.append(torch.where(running, picked, -1))
            running &= ~torch.isin(picked, ends)
            if not running.any() or step == self._most - 1:
                break
            logits = session.decode(picked)
        rows = torch.stack(ids, dim=1).tolist()
        return [[self._judge(task, row) for row in rows[at * each : (at + 1) * each]] for at, task in enumerate(tasks)]

    def _fan_out(self, weights: DecoderWeights, tasks: Sequence[Task], each: int) -> Session:
        """Read every prompt once, and return a session that holds it ``each`` times."""
        decoder = Decoder(self.shape, weights, random_weights=False)
        longest = max(len(task.ids) for task in tasks) + self._most
        narrow = decoder.start(sequences=len(tasks), capacity_tokens=longest)
        self._first = narrow.prefill([task.ids for task in tasks])  # (P, V)
        cache = KvCache(self.shape, sequences=len(tasks) * each, capacity_tokens=longest, dtype=decoder.dtype)
        cache.keys_values = narrow.cache.keys_values.repeat_interleave(each, dim=2)
        cache.lengths = narrow.cache.lengths.repeat_interleave(each)
        return Session(decoder, cache)

    def _judge(self, task: Task, row: list[int]) -> Drawn:
        ids = tuple(token for token in row if token >= 0)
        ended = ids[-1] in self._ends
        text = self._tokenizer.decode(ids[:-1] if ids[-1] in self._silent else ids)
        text = text.replace("\r", "\n").partition("\n")[0]
        return Drawn(ids, text, ended and is_right(self._verifier, task, text))


def chosen_logprobs(logprobs: Tensor, targets: Tensor) -> Tensor:
    """Return the log-probabilities (N,) of the tokens that stand there, of all (N, V)."""
    return logprobs.gather(1, targets[:, None])[:, 0]


@dataclass(frozen=True, slots=True)
class Judged:
    """A policy on held-out prompts, beside the reference on the same prompts.

    Attributes:
        right: (P, G) as rows of booleans, of the policy.
        wins: Mean over pairs of draws, by prompt: 1 where only the policy is right, ½ where both or none is.
        exact_share: Completions equal to what was written.
        empty_share: Completions that end the line at once, or go on with a comment: what a verifier lets pass unread.
        mean_tokens: Of a completion, the line break among them.
        kl_by_prompt: KL of the policy from the reference, summed over a completion, mean over a prompt's own draws.
    """

    right: tuple[tuple[bool, ...], ...]
    wins: tuple[float, ...]
    exact_share: float
    empty_share: float
    mean_tokens: float
    kl_by_prompt: tuple[float, ...]

    @property
    def right_share(self) -> float:
        draws = [one for row in self.right for one in row]
        return sum(draws) / len(draws)

    @property
    def kl_nats(self) -> float:
        """Return the mean over prompts, each of which has as many draws."""
        return sum(self.kl_by_prompt) / len(self.kl_by_prompt)


def judge(
    weights: DecoderWeights,
    reference: DecoderWeights,
    reference_drawn: Sequence[Sequence[Drawn]],
    tasks: Sequence[Task],
    sampler: Sampler,
    *,
    rng: torch.Generator,
) -> Judged:
    """Draw from a policy as often as was drawn from the reference, and compare.

    Formula:
        KL = mean over drawn completions of the sum over their tokens of Σ_v π(v) ln(π(v) / π_ref(v)): exact at every
        token, an unbiased estimate over completions, whose sum by the chain rule is the KL of completions. Of the two
        directions it is the one that both methods' objectives weigh: expected under the policy.

    Source:
        Rafailov et al. 2023, arXiv:2305.18290, equation 3, for the direction; the chain rule of relative entropy.
    """
    drawn = sampler.draw(weights, tasks, each=len(reference_drawn[0]), rng=rng)
    pairs = [list(zip(ours, theirs, strict=True)) for ours, theirs in zip(drawn, reference_drawn, strict=True)]
    every = [(task, one) for task, row in zip(tasks, drawn, strict=True) for one in row]
    return Judged(
        right=tuple(tuple(one.right for one in row) for row in drawn),
        wins=tuple(sum(0.5 + (a.right - b.right) / 2 for a, b in row) / len(row) for row in pairs),
        exact_share=sum(one.text.split() == task.written.split() for task, one in every) / len(every),
        empty_share=sum(one.text.lstrip()[:1] in ("", "#") for _, one in every) / len(every),
        mean_tokens=sum(len(one.ids) for _, one in every) / len(every),
        kl_by_prompt=tuple(kl_by_prompt(sampler.shape, weights, reference, tasks, drawn)),
    )


def kl_by_prompt(
    shape: DecoderShape,
    weights: DecoderWeights,
    reference: DecoderWeights,
    tasks: Sequence[Task],
    drawn: Sequence[Sequence[Drawn]],
) -> Iterator[float]:
    """Yield the KL of one policy from another per completion, a mean for each prompt, over draws from the first."""
    for first in range(0, len(tasks), ROWS):
        own = drawn[first : first + ROWS]
        packed = pack([task.ids for task in tasks[first : first + ROWS]], [[one.ids for one in row] for row in own])
        with torch.inference_mode():
            ours, theirs = (packed_logprobs(shape, each, packed) for each in (weights, reference))  # (N, V)
            nats = packed.sums((ours.exp() * (ours - theirs)).sum(dim=1))  # (M,)
        yield from (float(part.mean()) for part in torch.split(nats, [len(row) for row in own]))
