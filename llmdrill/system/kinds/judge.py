"""A language model looks at the answer before it is shown, and may send it back."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Final, Literal

import numpy as np

from llmdrill.fields import Share, Whole  # noqa: TC001 - pydantic reads the annotations
from llmdrill.system.kinds.base import Cost, Latency, Situation, Timing, explain, weakest
from llmdrill.system.kinds.model_call import ModelCall, Tokens

VERDICT_TOKENS: Final = 20
VERDICT_WHY: Final = "a judge is assumed to write 20 tokens: a verdict and a short reason"


class Judge(ModelCall):
    """Settings of a judge."""

    sentence: ClassVar[str] = (
        "Reads question, passages and answer, writes a short verdict; the share retries_share is written again, "
        "at_most times. Nothing can be shown before the verdict."
    )
    kind: Literal["judge"]
    retries_share: Share = 0.0
    at_most: Whole = 1

    def input_tokens(self, at: Situation) -> Tokens:
        """Return what the judge reads: all a call reads, and the answer."""
        read, answer = super().input_tokens(at), _answer_tokens(at)
        return Tokens(read.drawn + answer.drawn, read.mean + answer.mean)

    def output_tokens(self, at: Situation) -> Tokens:
        """Return the length of a verdict."""
        written = float(self.max_output_tokens or VERDICT_TOKENS)
        return Tokens(np.full_like(at.output_tokens, written), written)

    @property
    def redos(self) -> float:
        """Expected number of answers written again: r + r² + … up to at_most."""
        return sum(self.retries_share**attempt for attempt in range(1, self.at_most + 1))

    def latency(self, at: Situation) -> Latency:
        """Return the verdict, and for answers sent back another answer and another verdict."""
        own = super().latency(replace(at, reach_share=at.reach_share * (1 + self.redos)))
        answer = _answering(at)
        again = answer.latency(at.at(_answering_name(at))) if answer else None

        def sample(rng: np.random.Generator, n: int) -> Timing:
            total, sent_back = own.sample(rng, n).total_s, np.ones(n, dtype=bool)
            for _ in range(self.at_most if self.retries_share else 0):
                sent_back &= rng.random(n) < self.retries_share
                more = own.sample(rng, n).total_s + (again.sample(rng, n).total_s if again else 0.0)
                total = total + np.where(sent_back, more, 0.0)
            return Timing(total)

        basis = weakest((own.basis, again.basis)) if again and self.redos else own.basis
        notes = (*own.notes, *(() if self.max_output_tokens else (VERDICT_WHY,)))
        return Latency(sample, basis, own.shown, own.ttft, own.tpot, own.over_capacity, notes)

    def cost(self, at: Situation) -> Cost:
        """Return (1 + redos) verdicts and redos answers."""
        own, answer = super().cost(at), _answering(at)
        again = answer.cost(at.at(_answering_name(at))) if answer and self.redos else Cost()
        if own.run_usd is None or again.run_usd is None:
            return Cost(None, own.month_usd, own.shown, (*own.notes, *again.notes))
        usd = (1 + self.redos) * own.run_usd + self.redos * again.run_usd
        filled = f"(1 + {self.redos:g}) × {own.run_usd:.4g} + {self.redos:g} × {again.run_usd:.4g}"
        formula = "(1 + redos) × verdict + redos × answer"
        shown = explain("usd_per_run", usd, "usd", formula, filled, "redos = r + r² + … up to at_most")
        return Cost(usd, own.month_usd, (*own.shown, shown), own.notes)


def _answering_name(at: Situation) -> str:
    return next((name for name in at.before if at.stages[name].kind == "llm"), "")


def _answering(at: Situation) -> ModelCall | None:
    stage = at.stages.get(_answering_name(at))
    return stage if isinstance(stage, ModelCall) else None


def _answer_tokens(at: Situation) -> Tokens:
    answer = _answering(at)  # none before a judge of the question: it reads the question only
    return answer.output_tokens(at) if answer else Tokens(np.zeros_like(at.output_tokens), 0.0)
