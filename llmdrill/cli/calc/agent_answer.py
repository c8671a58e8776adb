"""The figures of an agent's run and how they are told."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from llmdrill.cli.calc.answer import Answer
from llmdrill.cli.calc.cache_prefix import LEAST_CACHED_TOKENS
from llmdrill.estimate.explain import Explained, figure
from llmdrill.units import format_count, format_seconds, format_share, format_usd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdrill.cli.calc.agent_plan import AgentPlan, Chain, Pricing
    from llmdrill.estimate.agents import Call
    from llmdrill.table import Table

_MOST_ROWS: Final = 30
_PRODUCT: Final = "Product rule: attempts taken as independent"
_GEOMETRIC: Final = "Geometric series"
_USD: Final = ("usd_per_run", "cached_usd_per_run", "plan_usd_per_run")
_TIMES: Final = ("latency_s", "cached_latency_s", "plan_latency_s")
_ODDS: Final = ("success_share", "unaided_success_share", "step_success_share", "attempts_per_step")
_TOKENS: Final = ("input_tokens", "output_tokens", "cached_input_tokens", "cache_write_tokens", "plan_input_tokens")


def agent_answer(plan: AgentPlan) -> Answer:
    """Return tokens, cost, time and odds of the run."""
    spent = (*_token_figures(plan), *_usd_figures(plan), *_time_figures(plan)) if plan.loop.known else ()
    figures = (*spent, *_odds(plan))
    value = {one.name: one.value for one in figures}
    return Answer(
        calculator="agent",
        lines=tuple(_lines(plan, value)),
        figures=figures,
        inputs=_inputs(plan),
        notes=tuple(_notes(plan)),
        unknown=tuple(name for name in (*_TOKENS, *_USD, *_TIMES, *_ODDS) if name not in value),
        tables=(_by_step(plan),) if plan.loop.known else (),
    )


def _count(name: str, value: float, formula: str, filled: str) -> Explained:
    return Explained(name, value, "count", formula, f"{filled} = {figure(value)}", "Arithmetic")


def _token_figures(plan: AgentPlan) -> list[Explained]:
    from llmdrill.estimate.agents import explain_loop_input

    loop, cached, planned = plan.loop, plan.loop_calls(cached=True), plan.plan_calls()
    steps, base, growth = loop.steps, figure(loop.base_tokens), figure(loop.growth_tokens)
    read, written = sum(call.read_tokens for call in cached), sum(call.write_tokens for call in cached)
    seen = sum(call.input_tokens for call in planned)
    executor = planned[1].input_tokens
    return [
        explain_loop_input(steps=steps, base_tokens=loop.base_tokens, growth_tokens=loop.growth_tokens),
        _count(
            "output_tokens",
            steps * loop.output_tokens,
            "steps × output",
            f"{steps} × {figure(loop.output_tokens)}",
        ),
        _count(
            "cached_input_tokens",
            read,
            "hit × Σ input of every step but the last",
            f"{figure(plan.hit_share)} × ({steps - 1} × {base} + {growth} × {steps - 1} × ({steps} − 2) / 2)",
        ),
        _count(
            "cache_write_tokens",
            written,
            "input_tokens − cached_input_tokens",
            f"{figure(read + written)} − {figure(read)}",
        ),
        _count(
            "plan_input_tokens",
            seen,
            "planner + steps × executor + solver",
            f"{base} + {steps} × {figure(executor)} + {figure(planned[-1].input_tokens)}",
        ),
    ]


def _usd_figures(plan: AgentPlan) -> list[Explained]:
    pricing, executors = plan.pricing, plan.executors
    if pricing is None:
        return []
    plain, cached = plan.loop_calls(cached=False), plan.loop_calls(cached=True)
    found = [
        _usd("usd_per_run", pricing, plain),
        _usd("cached_usd_per_run", pricing, cached),
    ]
    if executors is None:
        return found
    planner, *workers, solver = plan.plan_calls()
    large, small = pricing.usd(planner) + pricing.usd(solver), sum(map(executors.usd, workers))
    return [
        *found,
        Explained(
            name="plan_usd_per_run",
            value=large + small,
            unit="usd",
            formula="planner + solver + Σ executors",
            filled=(
                f"${figure(pricing.usd(planner))} + ${figure(pricing.usd(solver))} + ${figure(small)}"
                f" = ${figure(large + small)}"
            ),
            source=pricing.source,
        ),
    ]


def _usd(name: str, pricing: Pricing, calls: Sequence[Call]) -> Explained:
    """Return the cost of the calls; a price that rises with the prompt's length is taken call by call."""
    value = sum(map(pricing.usd, calls))
    first, last = pricing.rates(calls[0].input_tokens), pricing.rates(calls[-1].input_tokens)
    read, written = sum(call.read_tokens for call in calls), sum(call.write_tokens for call in calls)
    fresh = sum(call.input_tokens for call in calls) - read - written
    answers = sum(call.output_tokens for call in calls)
    kinds = (
        ("input", fresh, first.input),
        ("cached", read, first.cached_input),
        ("write", written, first.cache_write),
        ("output", answers, first.output or 0),
    )
    held = [(kind, tokens, rate) for kind, tokens, rate in kinds if tokens]
    tiers = "" if first == last else ", and the rates of longer prompts from where they hold"
    return Explained(
        name=name,
        value=value,
        unit="usd",
        formula=f"({' + '.join(f'{kind}_tokens × price' for kind, _, _ in held)}) / 1,000,000{tiers}",
        filled=(
            f"({' + '.join(f'{figure(tokens)} × {figure(rate)}' for _, tokens, rate in held)}) / 1,000,000"
            f"{tiers} = ${figure(value)}"
        ),
        source=pricing.source,
    )


def _time_figures(plan: AgentPlan) -> list[Explained]:
    times = plan.times
    if times is None:
        return []
    planner, *workers, solver = plan.plan_calls()
    runs = [
        ("latency_s", plan.loop_calls(cached=False), "Σ over steps"),
        ("cached_latency_s", plan.loop_calls(cached=True), "Σ over steps"),
        (
            "plan_latency_s",
            (planner, *(workers[:1] if plan.planned.parallel else workers), solver),
            "planner + solver + " + ("one executor, all at once," if plan.planned.parallel else "Σ executors"),
        ),
    ]
    rate = times.prefill_tokens_per_s
    found = []
    for name, calls, over in runs:
        value = sum(map(times.seconds, calls))
        fresh = sum(call.input_tokens - call.read_tokens for call in calls)
        prefill = f" + {figure(fresh)} / {figure(rate)}" if rate else ""
        written = sum(max(call.output_tokens - 1, 0) for call in calls)
        tools = sum(call.uses_tool for call in calls)
        found.append(
            Explained(
                name=name,
                value=value,
                unit="seconds",
                formula=f"{over} of TTFT{' + fresh input / prefill rate' if rate else ''} + (output − 1) × TPOT + tool",
                filled=(
                    f"{len(calls)} × {figure(times.ttft_s)}{prefill} + {figure(written)} × {figure(times.tpot_s)}"
                    f" + {tools} × {figure(times.tool_s)} = {figure(value)} s"
                ),
                source="Arithmetic: TPOT = (total − TTFT) / (output tokens − 1)",
            )
        )
    return found


def _odds(plan: AgentPlan) -> list[Explained]:
    """Return the odds of the chain, with and without a second attempt, and what attempts multiply."""
    from llmdrill.estimate.agents import expected_attempts, retried_share

    chain, steps = plan.chain, plan.loop.steps
    if chain is None:
        return []
    p, again = chain.step_share, {"retries": chain.retries, "detected_share": chain.detected_share}
    step, attempts = retried_share(success_share=p, **again), expected_attempts(success_share=p, **again)
    formula, series = _series(p, chain.detected_share, chain.retries, "p", "retries")
    unaided, filled = p**steps, f"{figure(p)} × {series} = {figure(step)}"
    return [
        _success(chain, steps, step),
        Explained(
            "unaided_success_share", unaided, "share", "p^steps", f"{figure(p)}^{steps} = {figure(unaided)}", _PRODUCT
        ),
        Explained("step_success_share", step, "share", f"p × {formula}", filled, _GEOMETRIC),
        Explained("attempts_per_step", attempts, "count", formula, f"{series} = {figure(attempts)}", _GEOMETRIC),
    ]


def _series(share: float, detected: float, again: int, of: str, name: str) -> tuple[str, str]:
    """Return the attempts that are made on average: in words, and with the numbers put in."""
    if share == 0 and detected == 1:
        return f"({name} + 1), as every attempt fails and is noticed", f"({again} + 1)"
    failing = f"(1 − {figure(share)}) × {figure(detected)}"
    words = f"(1 − x^({name} + 1)) / (1 − x), x = (1 − {of}) × detected"
    return words, f"(1 − ({failing})^({again} + 1)) / (1 − {failing})"


def _success(chain: Chain, steps: int, step: float) -> Explained:
    from llmdrill.estimate.agents import chain_success_share

    value = chain_success_share(
        step_share=chain.step_share,
        steps=steps,
        retries=chain.retries,
        checkpoint_steps=chain.checkpoint_steps,
        restarts=chain.restarts,
        detected_share=chain.detected_share,
    )
    formula, filled = "step_success_share^steps", f"{figure(step)}^{steps}"
    if chain.restarts:
        length = min(chain.checkpoint_steps or steps, steps)
        whole, rest = divmod(steps, length)
        formula, _ = _series(0.5, chain.detected_share, chain.restarts, "s", "restarts")
        formula = f"Π over segments of s × {formula}, s = step_success_share^length"
        segments = [(length, whole), *([(rest, 1)] if rest else [])]
        filled = " × ".join(_segment(chain, step**one, many) for one, many in segments)
    return Explained("success_share", value, "share", formula, f"{filled} = {figure(value)}", _PRODUCT)


def _segment(chain: Chain, share: float, many: int) -> str:
    _, series = _series(share, chain.detected_share, chain.restarts, "s", "restarts")
    one = f"{figure(share)} × {series}"
    return f"({one})^{many}" if many > 1 else one


def _inputs(plan: AgentPlan) -> dict[str, Any]:
    loop, planned, chain = plan.loop, plan.planned, plan.chain
    price = plan.pricing.price if plan.pricing else None
    return {
        "steps": loop.steps,
        "base_tokens": loop.base_tokens,
        "output_tokens_per_step": loop.output_tokens,
        "observation_tokens": loop.observation_tokens,
        "cache_hit_share": plan.hit_share,
        "model": price.name if price else None,
        "price_date": price.date.isoformat() if price else None,
        "price_source": plan.pricing.source if plan.pricing else None,
        "executor_model": plan.executors.price.name if plan.executors and plan.executors.price else None,
        "plan_tokens": planned.plan_tokens,
        "executor_tokens": planned.executor_tokens,
        "parallel": planned.parallel,
        "attempt_success_share": chain.step_share if chain else None,
        "detected_share": chain.detected_share if chain else None,
        "retries": chain.retries if chain else None,
        "checkpoint_steps": chain.checkpoint_steps if chain else None,
        "restarts": chain.restarts if chain else None,
    }


def _lines(plan: AgentPlan, value: dict[str, float]) -> list[str]:
    steps, lines = plan.loop.steps, []
    if plan.loop.known:
        read, written = format_count(value["input_tokens"]), format_count(value["output_tokens"])
        count, s = ("1 step", "s") if steps == 1 else (f"{steps} steps", "")
        lines.append(f"{count} read{s} {read} tokens and write{s} {written}")
    if "usd_per_run" in value:
        cached = f"{format_usd(value['cached_usd_per_run'])} with prefix caching"
        lines.append(f"cost of a run: {format_usd(value['usd_per_run'])}, {cached}")
    if "latency_s" in value:
        cached = format_seconds(value["cached_latency_s"])
        lines.append(f"latency: {format_seconds(value['latency_s'])}, {cached} with prefix caching")
    if plan.loop.known:
        ahead = [f"{format_count(value['plan_input_tokens'])} tokens read"]
        ahead += [format_usd(value["plan_usd_per_run"])] if "plan_usd_per_run" in value else []
        ahead += [format_seconds(value["plan_latency_s"])] if "plan_latency_s" in value else []
        lines.append(f"planned ahead and executed: {', '.join(ahead)}")
    if "success_share" in value:
        share, alone = format_share(value["success_share"]), format_share(value["unaided_success_share"])
        aided = "" if share == alone else f" ({alone} without further attempts)"
        chain = "the step succeeds" if steps == 1 else f"all {steps} steps succeed"
        lines.append(f"{chain} with probability {share}{aided}")
    return lines


def _notes(plan: AgentPlan) -> list[str]:
    if not plan.loop.known:
        return ["assumed: steps fail independently and equally often"]
    notes = []
    if plan.planned.assumed:
        notes.append(
            f"assumed for the plan: {figure(plan.planned.plan_tokens)} tokens of plan, "
            f"{figure(plan.planned.executor_tokens)} of instructions to an executor; see --plan and --executor-base"
        )
    if plan.times and plan.times.prefill_tokens_per_s is None:
        notes.append("assumed: every step has the same TTFT; with --prefill-rate it grows with the prompt")
    if plan.chain:
        notes.append("assumed: steps fail independently; cost and latency are those of a run without a failed attempt")
    if plan.pricing and plan.pricing.price and plan.pricing.price.cached_input_usd_per_mtok is None:
        notes.append(f"the catalogue has no cached price of {plan.pricing.price.name}: caching saves nothing here")
    if plan.pricing and plan.pricing.price and plan.loop.base_tokens < LEAST_CACHED_TOKENS:
        notes.append(
            f"most providers cache prompts from {LEAST_CACHED_TOKENS:,} tokens on: shorter ones are billed in full"
        )
    notes.append("caching needs an unchanged beginning of the prompt and steps that follow before the entry expires")
    return notes


def _by_step(plan: AgentPlan) -> Table:
    from llmdrill.estimate.agents import chain_success_share
    from llmdrill.table import Table

    plain, cached = plan.loop_calls(cached=False), plan.loop_calls(cached=True)
    sums = list(accumulate(map(plan.pricing.usd, plain))) if plan.pricing else []
    cached_sums = list(accumulate(map(plan.pricing.usd, cached))) if plan.pricing else []
    times = list(accumulate(map(plan.times.seconds, plain))) if plan.times else []
    stride = -(-len(plain) // _MOST_ROWS)
    rows = []
    for at in sorted({*range(0, len(plain), stride), len(plain) - 1}):
        odds = chain_success_share(step_share=plan.chain.step_share, steps=at + 1) if plan.chain else None
        rows.append(
            (
                at + 1,
                plain[at].input_tokens,
                cached[at].read_tokens,
                sums[at] if sums else None,
                cached_sums[at] if cached_sums else None,
                times[at] if times else None,
                odds,
            )
        )
    columns = (
        "step",
        "input_tokens",
        "cached_tokens",
        "usd_so_far",
        "cached_usd_so_far",
        "s_so_far",
        "unaided_success_share",
    )
    return Table("by step", columns, tuple(rows))
