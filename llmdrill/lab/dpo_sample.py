"""Draw several completions of a line from a policy, and compare two policies on them.

Shapes in comments: P prompts, G completions of each, V vocabulary, N tokens of completions, M completions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from llmdrill.lab.decoder import Decoder, KvCache, Sampling, Session
from llmdrill.lab.dpo_lines import is_right
from llmdrill.lab.train_forward import pack, packed_logprobs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from llmdrill.lab.decoder import DecoderWeights
    from llmdrill.lab.dpo_lines import Task, Verifier
    from llmdrill.lab.shapes import DecoderShape
    from llmdrill.lab.tokenizer import Tokenizer


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
        spelled = ((token, tokenizer.token_bytes(token)) for token in range(tokenizer.vocabulary))
        self._ends = frozenset(token for token, text in spelled if text is None or b"\n" in text or b"\r" in text)

    def draw(
        self, weights: DecoderWeights, tasks: Sequence[Task], *, each: int, rng: torch.Generator
    ) -> list[list[Drawn]]:
        """Return ``each`` completions of every task."""
        session = self._fan_out(weights, tasks, each)
        logits, ids = self._first.repeat_interleave(each, dim=0), []
        running = torch.ones(len(logits), dtype=torch.bool)
        ends = torch.tensor(sorted(self._ends))
        for step in range(self._most):
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
        text = self._tokenizer.decode(ids[:-1] if ended else ids)
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
        mean_tokens: Of a completion, the line break among them.
        kl_nats: KL of the policy from the reference, summed over a completion, mean over its own draws.
    """

    right: tuple[tuple[bool, ...], ...]
    wins: tuple[float, ...]
    exact_share: float
    mean_tokens: float
    kl_nats: float

    @property
    def right_share(self) -> float:
        draws = [one for row in self.right for one in row]
        return sum(draws) / len(draws)


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
        token, an unbiased estimate over completions.
    """
    drawn = sampler.draw(weights, tasks, each=len(reference_drawn[0]), rng=rng)
    pairs = [list(zip(ours, theirs, strict=True)) for ours, theirs in zip(drawn, reference_drawn, strict=True)]
    every = [(task, one) for task, row in zip(tasks, drawn, strict=True) for one in row]
    return Judged(
        right=tuple(tuple(one.right for one in row) for row in drawn),
        wins=tuple(sum(0.5 + (a.right - b.right) / 2 for a, b in row) / len(row) for row in pairs),
        exact_share=sum(one.text.split() == task.written.split() for task, one in every) / len(every),
        mean_tokens=sum(len(one.ids) for _, one in every) / len(every),
        kl_nats=mean_kl_nats(sampler.shape, weights, reference, tasks, drawn),
    )


@torch.inference_mode()
def mean_kl_nats(
    shape: DecoderShape,
    weights: DecoderWeights,
    reference: DecoderWeights,
    tasks: Sequence[Task],
    drawn: Sequence[Sequence[Drawn]],
    *,
    rows: int = 16,
) -> float:
    """Return the KL of one policy from another per completion, over completions drawn from the first."""
    total = count = 0.0
    for first in range(0, len(tasks), rows):
        part = slice(first, first + rows)
        packed = pack([task.ids for task in tasks[part]], [[one.ids for one in row] for row in drawn[part]])
        ours, theirs = (packed_logprobs(shape, each, packed) for each in (weights, reference))  # (N, V)
        total += float((ours.exp() * (ours - theirs)).sum())
        count += packed.continuations
    return total / count
