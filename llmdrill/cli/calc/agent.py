"""`llmdrill calc agent`: what a loop of steps costs, how long it takes, and how often it succeeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdrill.cli.calc import agent_options as option  # noqa: TC001 - typer resolves annotations
from llmdrill.cli.calc.answer import Answer  # noqa: TC001 - typer resolves annotations
from llmdrill.cli.calc.options import quantity, share, whole
from llmdrill.errors import UsageError

if TYPE_CHECKING:
    import datetime as dt

    from llmdrill.cli.calc.agent_plan import Chain, Loop, Planned, Pricing, Times

_MOST_STEPS = 10_000


def agent(
    *,
    steps: option.Steps,
    base: option.Base = None,
    output: option.Output = None,
    observation: option.Observation = "0",
    model: option.Model = None,
    input_price: option.InputPrice = None,
    output_price: option.OutputPrice = None,
    cached_price: option.CachedPrice = None,
    cache_hit: option.CacheHit = "1",
    ttft: option.Ttft = None,
    tpot: option.Tpot = None,
    tool: option.Tool = "0",
    prefill_rate: option.PrefillRate = None,
    plan: option.Plan = None,
    executor_base: option.ExecutorBase = None,
    executor_model: option.ExecutorModel = None,
    parallel: option.Parallel = False,
    step_success: option.StepSuccess = None,
    retries: option.Retries = "0",
    checkpoint: option.Checkpoint = None,
    restarts: option.Restarts = "0",
    detected: option.Detected = "1",
    date: option.Date = None,
) -> Answer:
    """Cost, latency and odds of an agent's loop, or of a plan."""
    from llmdrill.cli.calc.agent_answer import agent_answer
    from llmdrill.cli.calc.agent_plan import AgentPlan

    loop = _loop(steps, base, output, observation, odds_alone=step_success is not None)
    pricing = _pricing(model, (input_price, output_price, cached_price), date)
    if executor_model is not None and pricing is None:
        raise UsageError(
            "--executor-model needs the planner's price: give --model, or --input-price and --output-price"
        )
    if not loop.known and any(one is not None for one in (pricing, ttft, plan, executor_base)):
        raise UsageError("cost, latency and a plan need the tokens of a step: give --base and --output")
    return agent_answer(
        AgentPlan(
            loop=loop,
            hit_share=share("cache-hit", cache_hit),
            pricing=pricing,
            executors=pricing if executor_model is None else _pricing(executor_model, (None, None, None), date),
            times=_times(ttft, tpot, tool, prefill_rate),
            planned=_planned(plan, executor_base, loop, parallel=parallel),
            chain=_chain(step_success, retries, checkpoint, restarts, detected),
        )
    )


def _loop(steps: str, base: str | None, output: str | None, observation: str, *, odds_alone: bool) -> Loop:
    from llmdrill.cli.calc.agent_plan import Loop

    count = whole("steps", steps)
    if count > _MOST_STEPS:
        raise UsageError(f"--steps {steps} is too large to be meant; at most {_MOST_STEPS:,}")
    if base is None and output is None and odds_alone:
        return Loop(steps=count, base_tokens=0, output_tokens=0, observation_tokens=0)
    if base is None or output is None:
        raise UsageError("a step needs --base and --output, its tokens; for the odds of a chain alone --step-success")
    return Loop(
        steps=count,
        base_tokens=quantity("base", base, "count"),
        output_tokens=quantity("output", output, "count"),
        observation_tokens=quantity("observation", observation, "count", zero=True),
    )


def _pricing(
    model: str | None, own: tuple[str | None, str | None, str | None], date: dt.datetime | None
) -> Pricing | None:
    """Return what tokens cost: by the catalogue, by own figures, or unknown."""
    from llmdrill.catalog.load import find_price
    from llmdrill.cli.calc.agent_plan import Pricing
    from llmdrill.estimate.cost import BilledRates

    plain, written, cached = own
    if model is not None:
        if own != (None, None, None):
            raise UsageError("give --model or own prices, not both")
        return Pricing(find_price(model, date=date.date() if date else None), None)
    if own == (None, None, None):
        return None
    if plain is None or written is None:
        raise UsageError("own prices are --input-price and --output-price, and --cached-price if it differs")
    price = quantity("input-price", plain, "usd", zero=True)
    read = price if cached is None else quantity("cached-price", cached, "usd", zero=True)
    return Pricing(None, BilledRates(price, quantity("output-price", written, "usd", zero=True), read, price))


def _times(ttft: str | None, tpot: str | None, tool: str, prefill_rate: str | None) -> Times | None:
    from llmdrill.cli.calc.agent_plan import Times

    if (ttft is None) != (tpot is None):
        raise UsageError("the latency needs --ttft and --tpot")
    if ttft is None or tpot is None:
        if prefill_rate is not None or tool != "0":
            raise UsageError("--tool and --prefill-rate need --ttft and --tpot")
        return None
    return Times(
        ttft_s=quantity("ttft", ttft, "seconds", zero=True),
        tpot_s=quantity("tpot", tpot, "seconds", zero=True),
        tool_s=quantity("tool", tool, "seconds", zero=True),
        prefill_tokens_per_s=None if prefill_rate is None else quantity("prefill-rate", prefill_rate, "per_second"),
    )


def _planned(plan: str | None, executor_base: str | None, loop: Loop, *, parallel: bool) -> Planned:
    from llmdrill.cli.calc.agent_plan import Planned

    return Planned(
        plan_tokens=loop.steps * loop.output_tokens if plan is None else quantity("plan", plan, "count"),
        executor_tokens=loop.base_tokens
        if executor_base is None
        else quantity("executor-base", executor_base, "count", zero=True),
        parallel=parallel,
        assumed=plan is None or executor_base is None,
    )


def _chain(
    step_success: str | None, retries: str, checkpoint: str | None, restarts: str, detected: str
) -> Chain | None:
    from llmdrill.cli.calc.agent_plan import Chain

    chain = Chain(
        step_share=share("step-success", "1" if step_success is None else step_success),
        retries=whole("retries", retries, zero=True),
        checkpoint_steps=None if checkpoint is None else whole("checkpoint", checkpoint),
        restarts=whole("restarts", restarts, zero=True),
        detected_share=share("detected", detected),
    )
    if checkpoint is not None and not chain.restarts:
        raise UsageError("--checkpoint needs --restarts: without them no segment is tried again")
    if step_success is not None:
        return chain
    if (retries, checkpoint, restarts, detected) != ("0", None, "0", "1"):
        raise UsageError("--retries, --checkpoint, --restarts and --detected need --step-success")
    return None
