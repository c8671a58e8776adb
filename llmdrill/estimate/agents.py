"""Agents: tokens, cost and time of a loop whose context grows, of a plan carried out, and the odds of a chain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llmdrill.estimate import cost
from llmdrill.estimate.checks import NumberError, require_not_negative, require_positive, require_share
from llmdrill.estimate.cost import TOKENS_PER_MTOK
from llmdrill.estimate.explain import Explained, figure

if TYPE_CHECKING:
    from llmdrill.estimate.cost import BilledRates

_REWOO: Final = "Xu et al. 2023, ReWOO, arXiv:2305.18323, section 2 (prompt redundancy)"


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a model.

    Attributes:
        role: ``step``, ``planner``, ``executor`` or ``solver``.
        input_tokens: All tokens of the prompt.
        read_tokens: How many of them are read from a prefix cache.
        write_tokens: How many are written to it; the rest is plain input.
        uses_tool: Whether a tool is run afterwards.
    """

    role: str
    input_tokens: float
    output_tokens: float
    read_tokens: float = 0.0
    write_tokens: float = 0.0
    uses_tool: bool = True


def loop_input_tokens(*, steps: int, base_tokens: float, growth_tokens: float) -> float:
    """Return the input tokens of a loop that sends its whole history with every step.

    Formula:
        steps * base_tokens + growth_tokens * steps * (steps - 1) / 2: quadratic in the steps.

    Args:
        steps: Calls of the model.
        base_tokens: Instructions, tools and task, sent every time.
        growth_tokens: What each step adds: its answer and what the tool returned.

    Returns:
        Tokens.

    Raises:
        NumberError: If steps is below one or another number is negative.

    Error:
        Exact for equal steps; a context that is cut or summarised grows less.
    Source:
        Xu et al. 2023, ReWOO, arXiv:2305.18323, section 2: k times question, context and exemplars, plus the sum of
        (k - j) times the tokens of step j.

    >>> loop_input_tokens(steps=10, base_tokens=2000, growth_tokens=500)
    42500.0
    """
    _require_steps(steps)
    require_not_negative(base_tokens=base_tokens, growth_tokens=growth_tokens)
    return steps * base_tokens + growth_tokens * steps * (steps - 1) / 2


def loop_calls(
    *,
    steps: int,
    base_tokens: float,
    output_tokens: float,
    observation_tokens: float,
    cached: bool = False,
    hit_share: float = 1.0,
) -> tuple[Call, ...]:
    """Return the calls of a loop (ReAct) that sends its whole history with every step.

    Formula:
        input of step k = base_tokens + (k - 1) * (output_tokens + observation_tokens); with a prefix cache the share
        hit_share of the previous step's input is read, and everything else is written.

    Args:
        steps: Calls of the model.
        base_tokens: Instructions, tools and task.
        output_tokens: Thought and action of one step.
        observation_tokens: What the tool returns.
        cached: Whether the provider's prefix cache is used.
        hit_share: Of the tokens that could be read, how many are (entries expire, routes differ).

    Returns:
        One call per step.

    Raises:
        NumberError: If steps is below one, a count is negative or hit_share is no share.

    Error:
        Exact for equal steps. Engines that keep the answer's own cache read output_tokens more per step.
    Source:
        Yao et al. 2022, ReAct, arXiv:2210.03629 (thought, action, observation in turn); tokens as loop_input_tokens.

    >>> [call.input_tokens for call in loop_calls(steps=3, base_tokens=10, output_tokens=1, observation_tokens=4)]
    [10, 15, 20]
    """
    _require_steps(steps)
    require_not_negative(base_tokens=base_tokens, output_tokens=output_tokens, observation_tokens=observation_tokens)
    require_share(hit_share=hit_share)
    growth = output_tokens + observation_tokens
    calls = []
    for step in range(steps):
        prompt = base_tokens + step * growth
        read = hit_share * (prompt - growth) if cached and step else 0.0
        calls.append(Call("step", prompt, output_tokens, read, prompt - read if cached else 0.0))
    return tuple(calls)


def plan_calls(
    *,
    steps: int,
    base_tokens: float,
    output_tokens: float,
    observation_tokens: float,
    plan_tokens: float,
    executor_tokens: float,
) -> tuple[Call, ...]:
    """Return the calls of plan-and-execute: one plan, one small call per step, one call that concludes.

    Formula:
        planner: base_tokens in, plan_tokens out; each executor: executor_tokens + plan_tokens / steps
        + observation_tokens in, output_tokens out; solver: base_tokens + plan_tokens + steps * output_tokens in,
        output_tokens out. Linear in the steps.

    Args:
        steps: Steps of the plan.
        base_tokens: Instructions, tools and task.
        output_tokens: Answer of one step, and of the solver.
        observation_tokens: What the tool returns to one step.
        plan_tokens: The whole plan.
        executor_tokens: Instructions of an executor, which sees its own step alone.

    Returns:
        The planner's call, the executors', the solver's.

    Raises:
        NumberError: If steps is below one or a count is negative.

    Error:
        A plan that must be made again doubles the planner's part. On six benchmarks planning ahead used 64 % fewer
        tokens on average than the loop (ReWOO), where its workers call no model at all.
    Source:
        Xu et al. 2023, ReWOO, arXiv:2305.18323, section 2: planner, workers, solver.

    >>> calls = plan_calls(
    ...     steps=2, base_tokens=10, output_tokens=1, observation_tokens=4, plan_tokens=6, executor_tokens=5
    ... )
    >>> [(call.role, call.input_tokens) for call in calls]
    [('planner', 10), ('executor', 12.0), ('executor', 12.0), ('solver', 18)]
    """
    _require_steps(steps)
    require_not_negative(base_tokens=base_tokens, output_tokens=output_tokens, observation_tokens=observation_tokens)
    require_not_negative(plan_tokens=plan_tokens, executor_tokens=executor_tokens)
    seen = executor_tokens + plan_tokens / steps + observation_tokens
    return (
        Call("planner", base_tokens, plan_tokens, uses_tool=False),
        *(Call("executor", seen, output_tokens) for _ in range(steps)),
        Call("solver", base_tokens + plan_tokens + steps * output_tokens, output_tokens, uses_tool=False),
    )


def call_usd(rates: BilledRates, call: Call) -> float:
    """Return what one call costs.

    Formula:
        (plain * input + read_tokens * cached_input + write_tokens * cache_write + output_tokens * output) / 1,000,000,
        plain being input_tokens - read_tokens - write_tokens.

    Args:
        rates: What tokens are billed at, at this length of prompt.
        call: Its tokens.

    Returns:
        USD.

    Error:
        Exact at list price.
    Source:
        The price's own source and date.

    >>> from llmdrill.catalog.load import find_price
    >>> from llmdrill.estimate.cost import billed_rates
    >>> rates = billed_rates(find_price("gpt-4o"), prompt_tokens=500)
    >>> round(call_usd(rates, Call("step", 500, 200)) * 1e6)
    3250
    """
    plain = call.input_tokens - call.read_tokens - call.write_tokens
    total = plain * rates.input + call.read_tokens * rates.cached_input + call.write_tokens * rates.cache_write
    return (total + call.output_tokens * (rates.output or 0.0)) / TOKENS_PER_MTOK


def call_latency_s(
    call: Call, *, ttft_s: float, tpot_s: float, tool_s: float = 0.0, prefill_tokens_per_s: float | None = None
) -> float:
    """Return the time of one call and of the tool that follows it.

    Formula:
        ttft_s + (input_tokens - read_tokens) / prefill_tokens_per_s + (output_tokens - 1) * tpot_s + tool_s

    Args:
        call: Its tokens.
        ttft_s: Time to first token; with prefill_tokens_per_s what does not depend on the prompt.
        tpot_s: Time per output token after the first: (total - TTFT) / (output tokens - 1).
        tool_s: Time of the tool, if the call uses one.
        prefill_tokens_per_s: Rate at which prompts are read; None if TTFT is taken as the same for all.

    Returns:
        Seconds.

    Raises:
        NumberError: If a time is negative or the rate is not positive.

    Error:
        Of medians, the sum is not the median of the loop but near it; the p95 of the loop is less than the sum of p95s.
    Source:
        Arithmetic; TPOT as vLLM and NVIDIA define it.

    >>> call_latency_s(Call("step", 2000, 101), ttft_s=0.5, tpot_s=0.02, tool_s=1.0)
    3.5
    """
    require_not_negative(ttft_s=ttft_s, tpot_s=tpot_s, tool_s=tool_s)
    prefill = 0.0
    if prefill_tokens_per_s is not None:
        require_positive(prefill_tokens_per_s=prefill_tokens_per_s)
        prefill = (call.input_tokens - call.read_tokens) / prefill_tokens_per_s
    written = max(call.output_tokens - 1, 0) * tpot_s
    return ttft_s + prefill + written + (tool_s if call.uses_tool else 0.0)


def retried_share(*, success_share: float, retries: float, detected_share: float = 1.0) -> float:
    """Return the probability of success where failures that are noticed are tried again.

    Formula:
        success_share * (1 - x^(retries + 1)) / (1 - x), x = (1 - success_share) * detected_share;
        with every failure noticed 1 - (1 - success_share)^(retries + 1).

    Args:
        success_share: Of one attempt.
        retries: Further attempts at most.
        detected_share: Failures that are noticed; an unnoticed one is final.

    Returns:
        A probability.

    Raises:
        NumberError: If a share is none or retries is negative.

    Error:
        Assumes attempts fail independently; a step that the model cannot do fails every time.
    Source:
        Geometric series.

    >>> round(retried_share(success_share=0.9, retries=1), 4)
    0.99
    """
    return success_share * expected_attempts(
        success_share=success_share, retries=retries, detected_share=detected_share
    )


def expected_attempts(*, success_share: float, retries: float, detected_share: float = 1.0) -> float:
    """Return how many attempts are made on average, the first included: what multiplies a step's cost and time.

    Formula:
        (1 - x^(retries + 1)) / (1 - x), x = (1 - success_share) * detected_share

    Args:
        success_share: Of one attempt.
        retries: Further attempts at most.
        detected_share: Failures that are noticed.

    Returns:
        Attempts, from 1 to retries + 1.

    Raises:
        NumberError: If a share is none or retries is negative.

    Error:
        As retried_share.
    Source:
        Geometric series.

    >>> round(expected_attempts(success_share=0.9, retries=1), 4)
    1.1
    """
    require_share(success_share=success_share, detected_share=detected_share)
    return cost.expected_attempts(failure_share=(1 - success_share) * detected_share, retries=retries)


def chain_success_share(
    *,
    step_share: float,
    steps: int,
    retries: float = 0,
    checkpoint_steps: int | None = None,
    restarts: float = 0,
    detected_share: float = 1.0,
) -> float:
    """Return the probability that a chain of steps succeeds.

    Formula:
        q^steps, q = retried_share(step_share, retries). With checkpoints every checkpoint_steps steps, the product over
        segments of retried_share(q^length, restarts): a failed segment starts again from the last checkpoint.

    Args:
        step_share: Probability that one attempt at a step succeeds.
        steps: All of which must succeed.
        retries: Further attempts at one step.
        checkpoint_steps: Steps between checkpoints; None for none: a restart begins at the first step.
        restarts: Further attempts at one segment.
        detected_share: Failures that are noticed.

    Returns:
        A probability.

    Raises:
        NumberError: If a share is none, or a count is below what makes sense.

    Error:
        Assumes steps fail independently and equally often. Real agents recover from some errors in later steps (more
        successes) and are misled by others (fewer).
    Source:
        Product rule: twenty steps at 95 % succeed 36 times in a hundred.

    >>> round(chain_success_share(step_share=0.95, steps=20), 3)
    0.358
    >>> round(chain_success_share(step_share=0.95, steps=20, checkpoint_steps=5, restarts=1), 3)
    0.81
    """
    _require_steps(steps)
    require_not_negative(restarts=restarts)
    length = steps if checkpoint_steps is None else min(checkpoint_steps, steps)
    _require_steps(length)
    done = retried_share(success_share=step_share, retries=retries, detected_share=detected_share)
    whole, rest = divmod(steps, length)
    segment = retried_share(success_share=done**length, retries=restarts, detected_share=detected_share)
    last = retried_share(success_share=done**rest, retries=restarts, detected_share=detected_share)
    return float(segment**whole * last)


def _require_steps(steps: int) -> None:
    if steps < 1 or steps != int(steps):
        raise NumberError(f"steps must be a whole number from 1 on, got {steps:g}")


def explain_loop_input(*, steps: int, base_tokens: float, growth_tokens: float) -> Explained:
    """Return loop_input_tokens with its formula and the numbers put in."""
    value = loop_input_tokens(steps=steps, base_tokens=base_tokens, growth_tokens=growth_tokens)
    return Explained(
        name="input_tokens",
        value=value,
        unit="count",
        formula="steps × base + growth × steps × (steps − 1) / 2",
        filled=(
            f"{steps} × {figure(base_tokens)} + {figure(growth_tokens)} × {steps} × ({steps} − 1) / 2 = {figure(value)}"
        ),
        source=_REWOO,
    )
