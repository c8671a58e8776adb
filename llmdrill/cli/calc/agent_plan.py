"""What `llmdrill calc agent` was asked for, and the calls that follow from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdrill.catalog.records import Price
    from llmdrill.estimate.agents import Call
    from llmdrill.estimate.cost import BilledRates


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop of equal steps whose context grows."""

    steps: int
    base_tokens: float
    output_tokens: float
    observation_tokens: float

    @property
    def known(self) -> bool:
        """Whether the tokens of a step were said; without them only the odds of the chain are."""
        return self.base_tokens > 0

    @property
    def growth_tokens(self) -> float:
        """What each step adds to the context."""
        return self.output_tokens + self.observation_tokens


@dataclass(frozen=True, slots=True)
class Pricing:
    """What tokens cost: a price of the catalogue, or own figures."""

    price: Price | None
    own: BilledRates | None

    def usd(self, call: Call) -> float:
        """Return what a call costs at its length."""
        from llmdrill.estimate.agents import call_usd

        return call_usd(self.rates(call.input_tokens), call)

    def rates(self, prompt_tokens: float) -> BilledRates:
        """Return the rates of a prompt of that length."""
        from llmdrill.errors import UsageError
        from llmdrill.estimate.cost import billed_rates

        if self.own is not None:
            return self.own
        if self.price is None or self.price.output_usd_per_mtok is None:
            raise UsageError("an agent needs a model that writes tokens, not an embedding model")
        return billed_rates(self.price, prompt_tokens=prompt_tokens)

    @property
    def source(self) -> str:
        """Where the price comes from."""
        return f"{self.price.source}; price known on {self.price.date}" if self.price else "your own prices"


@dataclass(frozen=True, slots=True)
class Times:
    """How long a step takes."""

    ttft_s: float
    tpot_s: float
    tool_s: float
    prefill_tokens_per_s: float | None

    def seconds(self, call: Call) -> float:
        """Return the time of a call and its tool."""
        from llmdrill.estimate.agents import call_latency_s

        return call_latency_s(
            call,
            ttft_s=self.ttft_s,
            tpot_s=self.tpot_s,
            tool_s=self.tool_s,
            prefill_tokens_per_s=self.prefill_tokens_per_s,
        )


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan made ahead and carried out step by step.

    Attributes:
        executor_tokens: Instructions that each executor sees.
        parallel: Whether the steps run at once.
        assumed: Whether one of the counts was not given.
    """

    plan_tokens: float
    executor_tokens: float
    parallel: bool
    assumed: bool


@dataclass(frozen=True, slots=True)
class Chain:
    """The odds of a step and what is done when it fails."""

    step_share: float
    retries: int
    checkpoint_steps: int | None
    restarts: int
    detected_share: float


@dataclass(frozen=True, slots=True)
class AgentPlan:
    """An agent's run; None where nothing was said of prices, times or odds."""

    loop: Loop
    hit_share: float
    pricing: Pricing | None
    executors: Pricing | None
    times: Times | None
    planned: Planned
    chain: Chain | None

    def loop_calls(self, *, cached: bool) -> Sequence[Call]:
        """Return the calls of the loop."""
        from llmdrill.estimate.agents import loop_calls

        return loop_calls(
            steps=self.loop.steps,
            base_tokens=self.loop.base_tokens,
            output_tokens=self.loop.output_tokens,
            observation_tokens=self.loop.observation_tokens,
            cached=cached,
            hit_share=self.hit_share,
        )

    def plan_calls(self) -> Sequence[Call]:
        """Return the calls of plan-and-execute."""
        from llmdrill.estimate.agents import plan_calls

        return plan_calls(
            steps=self.loop.steps,
            base_tokens=self.loop.base_tokens,
            output_tokens=self.loop.output_tokens,
            observation_tokens=self.loop.observation_tokens,
            plan_tokens=self.planned.plan_tokens,
            executor_tokens=self.planned.executor_tokens,
        )
