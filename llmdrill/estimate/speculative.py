"""Speculative decoding: tokens of one pass of the target model, the speed-up, and the draft length that gives most."""

from __future__ import annotations

import bisect
import math
from typing import Final

from llmdrill.estimate.checks import require_not_negative, require_share
from llmdrill.estimate.explain import Explained, figure

MANY_DRAFT_TOKENS: Final = 2**16  # longer than any draft: where the search for the best length ends
_PAPER: Final = "Leviathan et al. 2023, arXiv:2211.17192"


def expected_accepted_tokens(*, acceptance_share: float, draft_tokens: int) -> float:
    """Return the tokens that one pass of the target model yields: the accepted drafts and one of its own.

    Formula:
        (1 - acceptance_share^(draft_tokens + 1)) / (1 - acceptance_share); draft_tokens + 1 if all are accepted.

    Args:
        acceptance_share: alpha, the probability that the target model accepts a drafted token.
        draft_tokens: gamma, tokens drafted before each pass.

    Returns:
        Tokens, from 1 to draft_tokens + 1.

    Raises:
        NumberError: If acceptance_share is no share or draft_tokens is negative.

    Error:
        Exact if acceptances are independent and equally likely. They come in runs (easy spans, hard spans): see
        speculative_speedup for what that does to the speed.
    Source:
        Leviathan et al. 2023, arXiv:2211.17192, equation 1; table 1: alpha 0.8 and gamma 5 give 3.69.

    >>> round(expected_accepted_tokens(acceptance_share=0.8, draft_tokens=5), 2)
    3.69
    """
    require_share(acceptance_share=acceptance_share)
    require_not_negative(draft_tokens=draft_tokens)
    if acceptance_share in {0, 1}:
        return 1.0 + acceptance_share * draft_tokens
    return max(1.0, math.expm1((draft_tokens + 1) * math.log(acceptance_share)) / (acceptance_share - 1))


def speculative_speedup(
    *, acceptance_share: float, draft_tokens: int, cost_ratio: float, verify_cost: float = 0.0
) -> float:
    """Return how many times faster tokens come than from the target model alone.

    Formula:
        expected_accepted_tokens / (1 + draft_tokens * (cost_ratio + verify_cost))

    Args:
        acceptance_share: alpha, the probability that the target model accepts a drafted token.
        draft_tokens: gamma, tokens drafted before each pass.
        cost_ratio: c, the time of one pass of the draft model as a share of one pass of the target model.
        verify_cost: What each drafted token adds to the target's pass, as a share of that pass: 0 while memory is the
            bottleneck (small batches), 1 where arithmetic is (large ones). Zero is the paper's assumption.

    Returns:
        A factor; below 1 speculation slows decoding down.

    Raises:
        NumberError: If acceptance_share is no share, or a number is negative.

    Error:
        Against the 12 measured speed-ups of the paper's table 4 (batch 1): median 15 %, at most 47 % (too high where
        the draft model is large), because acceptances are not independent and implementations differ.
    Source:
        Leviathan et al. 2023, arXiv:2211.17192, theorem 3.8 (without verify_cost); table 4: alpha 0.75, gamma 7 and
        c 0.02 give 3.2, measured 3.4.

    >>> round(speculative_speedup(acceptance_share=0.75, draft_tokens=7, cost_ratio=0.02), 1)
    3.2
    """
    require_not_negative(cost_ratio=cost_ratio, verify_cost=verify_cost)
    tokens = expected_accepted_tokens(acceptance_share=acceptance_share, draft_tokens=draft_tokens)
    return tokens / (1 + draft_tokens * (cost_ratio + verify_cost))


def operations_factor(*, acceptance_share: float, draft_tokens: int, operations_ratio: float) -> float:
    """Return how many times more arithmetic a token takes than from the target model alone.

    Formula:
        (draft_tokens * operations_ratio + draft_tokens + 1) / expected_accepted_tokens

    Args:
        acceptance_share: alpha, the probability that the target model accepts a drafted token.
        draft_tokens: gamma, tokens drafted before each pass.
        operations_ratio: The draft model's operations per token as a share of the target model's; about the ratio of
            their parameters.

    Returns:
        A factor, at least 1.

    Raises:
        NumberError: If acceptance_share is no share, or a number is negative.

    Error:
        As expected_accepted_tokens.
    Source:
        Leviathan et al. 2023, arXiv:2211.17192, theorem 3.11; table 1: alpha 0.8 and gamma 5 cost 1.63 times as much.

    >>> round(operations_factor(acceptance_share=0.8, draft_tokens=5, operations_ratio=0), 2)
    1.63
    """
    require_not_negative(operations_ratio=operations_ratio)
    tokens = expected_accepted_tokens(acceptance_share=acceptance_share, draft_tokens=draft_tokens)
    return (draft_tokens * (operations_ratio + 1) + 1) / tokens


def best_draft_tokens(*, acceptance_share: float, cost_ratio: float, verify_cost: float = 0.0) -> int | None:
    """Return the draft length with the greatest speed-up.

    Formula:
        The smallest gamma that one more drafted token no longer improves:
        alpha^(gamma + 1) * (1 + gamma * k) <= k * expected_accepted_tokens(gamma), k = cost_ratio + verify_cost.

    Args:
        acceptance_share: alpha, the probability that the target model accepts a drafted token.
        cost_ratio: c, the time of one pass of the draft model as a share of one pass of the target model.
        verify_cost: What each drafted token adds to the target's pass, as a share of that pass.

    Returns:
        Tokens; 0 if no speculation is fastest, None if a longer draft is always better (drafting and verifying are
        free, or every draft is accepted).

    Raises:
        NumberError: If acceptance_share is no share, or a number is negative.

    Error:
        As speculative_speedup; the curve is flat around the best, so a shorter draft often costs little.
    Source:
        Leviathan et al. 2023, arXiv:2211.17192, section 3.5: the speed-up is maximised numerically over whole numbers;
        corollary 3.9: some length helps if and only if alpha > c (without verify_cost).

    >>> best_draft_tokens(acceptance_share=0.8, cost_ratio=0.05)
    8
    >>> best_draft_tokens(acceptance_share=0.2, cost_ratio=0.3)
    0
    """
    require_share(acceptance_share=acceptance_share)
    require_not_negative(cost_ratio=cost_ratio, verify_cost=verify_cost)
    each = cost_ratio + verify_cost

    def one_more_is_no_faster(gamma: int) -> bool:
        tokens = expected_accepted_tokens(acceptance_share=acceptance_share, draft_tokens=gamma)
        return acceptance_share ** (gamma + 1) * (1 + gamma * each) <= each * tokens

    if acceptance_share > 0 and not each:  # a power underflows to nothing, and nothing would look like no gain
        return None
    best = bisect.bisect_left(range(MANY_DRAFT_TOKENS), True, key=one_more_is_no_faster)
    return best if best < MANY_DRAFT_TOKENS else None


def explain_accepted_tokens(*, acceptance_share: float, draft_tokens: int) -> Explained:
    """Return expected_accepted_tokens with its formula and the numbers put in."""
    value = expected_accepted_tokens(acceptance_share=acceptance_share, draft_tokens=draft_tokens)
    alpha = figure(acceptance_share)
    if acceptance_share == 1:
        formula, filled = "draft_tokens + 1, every draft being accepted", f"{draft_tokens} + 1 = {figure(value)}"
    else:
        formula = "(1 − acceptance^(draft_tokens + 1)) / (1 − acceptance)"
        filled = f"(1 − {alpha}^({draft_tokens} + 1)) / (1 − {alpha}) = {figure(value)} tokens per pass of the target"
    return Explained("expected_accepted_tokens", value, "count", formula, filled, f"{_PAPER}, equation 1")


def explain_speedup(
    *, acceptance_share: float, draft_tokens: int, cost_ratio: float, verify_cost: float = 0.0, name: str = "speedup"
) -> Explained:
    """Return speculative_speedup with its formula and the numbers put in."""
    tokens = expected_accepted_tokens(acceptance_share=acceptance_share, draft_tokens=draft_tokens)
    value = speculative_speedup(
        acceptance_share=acceptance_share, draft_tokens=draft_tokens, cost_ratio=cost_ratio, verify_cost=verify_cost
    )
    extra = (" + verify_cost", f" + {figure(verify_cost)}") if verify_cost else ("", "")
    return Explained(
        name=name,
        value=value,
        unit="count",
        formula=f"expected_accepted_tokens / (1 + draft_tokens × (cost_ratio{extra[0]}))",
        filled=f"{figure(tokens)} / (1 + {draft_tokens} × ({figure(cost_ratio)}{extra[1]})) = {figure(value)} times",
        source=f"{_PAPER}, theorem 3.8{' with the cost of verifying added' if verify_cost else ''}",
    )


def explain_operations(*, acceptance_share: float, draft_tokens: int, operations_ratio: float) -> Explained:
    """Return operations_factor with its formula and the numbers put in."""
    tokens = expected_accepted_tokens(acceptance_share=acceptance_share, draft_tokens=draft_tokens)
    value = operations_factor(
        acceptance_share=acceptance_share, draft_tokens=draft_tokens, operations_ratio=operations_ratio
    )
    return Explained(
        name="operations_factor",
        value=value,
        unit="count",
        formula="(draft_tokens × (operations_ratio + 1) + 1) / expected_accepted_tokens",
        filled=f"({draft_tokens} × ({figure(operations_ratio)} + 1) + 1) / {figure(tokens)} = {figure(value)} times",
        source=f"{_PAPER}, theorem 3.11",
    )
