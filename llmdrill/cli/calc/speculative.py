"""`llmdrill calc speculative`: what a draft model gains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from llmdrill.cli.calc.answer import Answer
from llmdrill.cli.calc.options import quantity, share, whole
from llmdrill.errors import UsageError
from llmdrill.units import format_share

if TYPE_CHECKING:
    from llmdrill.estimate.explain import Explained
    from llmdrill.table import Table

_LENGTHS: Final = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16)
_LONGEST: Final = 10_000  # tokens drafted at once


def speculative(
    *,
    acceptance: Annotated[str, typer.Option(help="Share of drafted tokens that the target model accepts: 0.7, 70%.")],
    draft: Annotated[str | None, typer.Option(help="Tokens drafted before each pass; default the best.")] = None,
    cost_ratio: Annotated[
        str, typer.Option(help="Time of one pass of the draft model over one of the target; 0 for an n-gram draft.")
    ] = "0.05",
    verify_cost: Annotated[
        str,
        typer.Option(
            help="What each drafted token adds to the target's pass, as a share of it: 0 at small batches (memory is "
            "the bottleneck), 1 where arithmetic is."
        ),
    ] = "0",
    ops_ratio: Annotated[
        str | None,
        typer.Option(help="Operations per token of the draft model over the target's; default --cost-ratio."),
    ] = None,
) -> Answer:
    """Accepted tokens and speed-up of speculative decoding."""
    from llmdrill.estimate.speculative import best_draft_tokens

    alpha = share("acceptance", acceptance)
    ratio = quantity("cost-ratio", cost_ratio, "share", zero=True)
    verify = quantity("verify-cost", verify_cost, "share", zero=True)
    operations = ratio if ops_ratio is None else quantity("ops-ratio", ops_ratio, "share", zero=True)
    best = best_draft_tokens(acceptance_share=alpha, cost_ratio=ratio, verify_cost=verify)
    tokens = _draft_tokens(draft, best)
    figures = _figures(alpha, tokens, ratio, verify, operations, best)
    return Answer(
        calculator="speculative",
        lines=_lines(figures, alpha, tokens, best),
        figures=figures,
        inputs={
            "acceptance_share": alpha,
            "draft_tokens": tokens,
            "cost_ratio": ratio,
            "verify_cost": verify,
            "operations_ratio": operations,
        },
        notes=_notes(verify, ratio, operations),
        unknown=("best_draft_tokens", "best_speedup") if best is None else (),
        tables=(_by_length(alpha, ratio, verify, operations),),
    )


def _lines(figures: tuple[Explained, ...], alpha: float, tokens: int, best: int | None) -> tuple[str, ...]:
    value = {one.name: one.value for one in figures}
    each = f"{value['expected_accepted_tokens']:.3g} tokens per pass of the target model"
    return (
        f"{value['speedup']:.3g} times the speed: {each} at {tokens} drafted and {format_share(alpha)} accepted",
        f"arithmetic per token: {value['operations_factor']:.3g} times as much",
        _best_line(best, value.get("best_speedup")),
    )


def _draft_tokens(draft: str | None, best: int | None) -> int:
    if draft is None:
        if best is None:
            raise UsageError("--draft is missing: without a cost per drafted token a longer draft is always better")
        return best
    tokens = whole("draft", draft, zero=True)
    if tokens > _LONGEST:
        raise UsageError(f"--draft {draft} is too large to be meant; at most {_LONGEST:,}")
    return tokens


def _figures(
    alpha: float, tokens: int, ratio: float, verify: float, operations: float, best: int | None
) -> tuple[Explained, ...]:
    from llmdrill.estimate.explain import Explained, figure
    from llmdrill.estimate.speculative import explain_accepted_tokens, explain_operations, explain_speedup

    found = [
        explain_accepted_tokens(acceptance_share=alpha, draft_tokens=tokens),
        explain_speedup(acceptance_share=alpha, draft_tokens=tokens, cost_ratio=ratio, verify_cost=verify),
        explain_operations(acceptance_share=alpha, draft_tokens=tokens, operations_ratio=operations),
    ]
    if best is None:
        return tuple(found)
    at_best = explain_speedup(
        acceptance_share=alpha, draft_tokens=best, cost_ratio=ratio, verify_cost=verify, name="best_speedup"
    )
    length = Explained(
        name="best_draft_tokens",
        value=best,
        unit="count",
        formula="the draft_tokens with the greatest speedup",
        filled=f"{best}: {figure(at_best.value)} times, and one more token gains nothing",
        source="Leviathan et al. 2023, arXiv:2211.17192, section 3.5",
    )
    return (*found, length, at_best)


def _best_line(best: int | None, speedup: float | None) -> str:
    if best is None or speedup is None:
        return "a longer draft is always better here: nothing is paid for a drafted token that is lost"
    if best == 0:
        return "no draft pays: the target model alone is fastest"
    return f"best draft length: {best} tokens, {speedup:.3g} times the speed"


def _by_length(alpha: float, ratio: float, verify: float, operations: float) -> Table:
    from llmdrill.estimate.speculative import expected_accepted_tokens, operations_factor, speculative_speedup
    from llmdrill.table import Table

    rows = tuple(
        (
            length,
            expected_accepted_tokens(acceptance_share=alpha, draft_tokens=length),
            speculative_speedup(acceptance_share=alpha, draft_tokens=length, cost_ratio=ratio, verify_cost=verify),
            operations_factor(acceptance_share=alpha, draft_tokens=length, operations_ratio=operations),
        )
        for length in _LENGTHS
    )
    return Table("by draft length", ("draft_tokens", "tokens_per_pass", "speedup", "operations_factor"), rows)


def _notes(verify: float, ratio: float, operations: float) -> tuple[str, ...]:
    notes = [
        (
            f"a draft pass is taken as {format_share(ratio)} of the time and {format_share(operations)} of the "
            "operations of one pass of the target model; see --cost-ratio and --ops-ratio"
        ),
        (
            "assumed: every drafted token is accepted independently with the same probability; against the 12 measured "
            "speed-ups of the paper (batch 1) that is off by 15 % in the median and 47 % at most"
        ),
    ]
    if not verify:
        notes.append(
            "assumed: verifying is free (memory-bound, small batch); in a large batch it is not: see --verify-cost"
        )
    if ratio >= 1:
        notes.append("the draft model is no faster than the target model")
    return tuple(notes)
