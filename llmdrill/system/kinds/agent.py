"""A language model in a loop with tools."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Final, Literal

import numpy as np

from llmdrill.fields import Positive, Seconds  # noqa: TC001 - pydantic reads the annotations
from llmdrill.system.kinds.base import Cost, Latency, Situation, Timing, explain
from llmdrill.system.kinds.model_call import ModelCall, Tokens

CALL_TOKENS: Final = 60
RESULT_TOKENS: Final = 300
LOOP_WHY: Final = "each step of the agent is assumed to write 60 tokens (a tool call) and to read 300 more (its result)"


class Agent(ModelCall):
    """Settings of an agent."""

    sentence: ClassVar[str] = (
        "`steps` model calls, a tool between two of them; each call reads all that went before, so the cost grows "
        "with the square of the steps. The last one writes the answer."
    )
    streams: ClassVar[bool] = True
    kind: Literal["agent"]
    steps: Positive = 4
    tool_seconds: Seconds = 0.5

    def calls(self, at: Situation) -> list[tuple[Tokens, Tokens]]:
        """Return the tokens read and written by each call of the loop."""
        read, answer = self.input_tokens(at), self.output_tokens(at)
        middle = Tokens(np.full_like(answer.drawn, float(CALL_TOKENS)), float(CALL_TOKENS))
        grown = [step * float(CALL_TOKENS + RESULT_TOKENS) for step in range(self.steps)]
        written = [middle] * (self.steps - 1) + [answer]
        return [(Tokens(read.drawn + more, read.mean + more), out) for more, out in zip(grown, written, strict=True)]

    def latency(self, at: Situation) -> Latency:
        """Return all calls and the tools between them; the first token shown is the last call's."""
        busy = replace(at, reach_share=at.reach_share * self.steps)  # that many calls arrive where the model runs
        steps = [self.call_latency(busy, sent, written) for sent, written in self.calls(at)]

        def sample(rng: np.random.Generator, n: int) -> Timing:
            before = np.zeros(n)
            for step in steps[:-1]:
                before = before + step.sample(rng, n).total_s + self.tool_seconds
            last = steps[-1].sample(rng, n)
            return Timing(before + last.total_s, before + (last.total_s if last.first_s is None else last.first_s))

        last = steps[-1]
        over = next((step.over_capacity for step in steps if step.over_capacity), None)
        notes = tuple(dict.fromkeys(note for step in steps for note in step.notes))
        return Latency(sample, last.basis, last.shown, last.ttft, last.tpot, over, (*notes, LOOP_WHY))

    def cost(self, at: Situation) -> Cost:
        """Return the sum over the calls."""
        costs = [self.call_cost(at, sent, written) for sent, written in self.calls(at)]
        if any(cost.run_usd is None for cost in costs) or self.served == "self":
            return costs[0]
        usd = sum(cost.run_usd or 0.0 for cost in costs)
        filled = " + ".join(f"{cost.run_usd:.4g}" for cost in costs)
        shown = explain("usd_per_run", usd, "usd", "sum over the steps", filled, costs[0].shown[0].source)
        return Cost(usd, shown=(shown,), notes=costs[0].notes)
