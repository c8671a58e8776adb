"""pass@k: how often at least one of k generated programs passes, without bias, and the estimate that has one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llmdrill.estimate.checks import NumberError
from llmdrill.estimate.explain import Explained, figure

if TYPE_CHECKING:
    from collections.abc import Sequence

_SOURCE: Final = "Chen et al. 2021, arXiv:2107.03374; openai/human-eval, human_eval/evaluation.py"
_Z95: Final = 1.959963984540054  # the normal distribution's 97.5 % quantile


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem: how many programs were generated for it, and how many of them pass its tests."""

    samples: int
    correct: int


@dataclass(frozen=True, slots=True)
class Interval:
    """Lower and upper end of a 95 % interval."""

    low: float
    high: float


def pass_at_k(problem: Problem, *, k: int) -> float:
    """Return the unbiased estimate of the chance that at least one of ``k`` programs passes.

    Formula:
        1 - C(n - c, k) / C(n, k), as 1 - product over i = n-c+1 … n of (1 - k / i), which does not overflow;
        n programs were generated, c of them pass.

    Args:
        problem: n and c.
        k: Programs that a person would draw, at most n.

    Returns:
        A share.

    Raises:
        NumberError: If a count is negative, c is above n, or k is not 1 … n: fewer samples than k do not determine it.

    Error:
        Unbiased; one problem's estimate spreads widely when n is near k (its variance is that of k draws out of n).
    Source:
        Chen et al. 2021, arXiv:2107.03374: n = 200 and k up to 100; openai/human-eval, human_eval/evaluation.py, whose
        README gives 0.5 for 3 of 6 and k = 1 (copy of 2026-11-22).

    >>> round(pass_at_k(Problem(6, 3), k=1), 9)
    0.5
    >>> round(pass_at_k(Problem(10, 3), k=5), 6)  # 1 - 21 / 252
    0.916667
    """
    _require_counts(problem, k)
    n, c = problem.samples, problem.correct
    if n - c < k:
        return 1.0
    return 1 - math.prod(1 - k / i for i in range(n - c + 1, n + 1))


def biased_pass_at_k(problem: Problem, *, k: int) -> float:
    """Return the plug-in estimate of pass@k, the trap: it is too low wherever 0 < c < n and k > 1.

    Formula:
        1 - (1 - c / n)^k

    Args:
        problem: n generated, c of them correct.
        k: Programs drawn, at most n.

    Returns:
        A share.

    Raises:
        NumberError: As pass_at_k.

    Error:
        Never above pass_at_k, because it draws with replacement: a failing program counts again. n = 10, c = 3, k = 5:
        0.832 in place of 0.917. The gap closes as n grows beyond k.
    Source:
        Chen et al. 2021, arXiv:2107.03374, which names it as the biased one.

    >>> round(biased_pass_at_k(Problem(10, 3), k=5), 5)
    0.83193
    """
    _require_counts(problem, k)
    return 1 - (1 - problem.correct / problem.samples) ** k


def mean_pass_at_k(problems: Sequence[Problem], *, k: int) -> float:
    """Return pass@k of a benchmark.

    Formula:
        The mean of pass_at_k over the problems, each with its own n and c.

    Args:
        problems: At least one.
        k: Programs drawn, at most every problem's n.

    Returns:
        A share.

    Raises:
        NumberError: If there is no problem, or as pass_at_k.

    Error:
        Exact; what the problems say of others like them is mean_interval's matter.
    Source:
        openai/human-eval, human_eval/evaluation.py (copy of 2026-11-22).

    >>> round(mean_pass_at_k([Problem(6, 0), Problem(6, 3), Problem(6, 6)], k=1), 6)
    0.5
    """
    if not problems:
        raise NumberError("pass@k needs at least one problem")
    return math.fsum(pass_at_k(problem, k=k) for problem in problems) / len(problems)


def mean_interval(problems: Sequence[Problem], *, k: int) -> Interval | None:
    """Return the 95 % interval of a benchmark's pass@k, its problems taken as a sample of all such problems.

    Formula:
        mean ± 1.96 * s / sqrt(problems), s² = sum of (pass_at_k - mean)² / (problems - 1), cut to 0 … 1.

    Args:
        problems: Independent of each other.
        k: Programs drawn.

    Returns:
        Both ends; None for fewer than two problems, or where all score the same (the spread is then unknown).

    Raises:
        NumberError: As mean_pass_at_k.

    Error:
        The normal approximation is too narrow for few problems: with under a few hundred use it as a rough guide
        (Bowyer et al. 2025, arXiv:2503.01747, abstract).
    Source:
        Miller 2024, arXiv:2411.00640: questions as a sample of a super-population, standard error of the mean.

    >>> mean_interval([Problem(1, 1)] * 50 + [Problem(1, 0)] * 50, k=1)  # 0.5 ± 1.96 * sqrt(0.25 / 99)
    Interval(low=0.4015081039495562, high=0.5984918960504438)
    """
    mean = mean_pass_at_k(problems, k=k)
    scores = [pass_at_k(problem, k=k) for problem in problems]
    if len(set(scores)) < 2:
        return None
    variance = math.fsum((score - mean) ** 2 for score in scores) / (len(scores) - 1)
    half = _Z95 * math.sqrt(variance / len(scores))
    return Interval(max(0.0, mean - half), min(1.0, mean + half))


def explain_pass_at_k(problems: Sequence[Problem], *, k: int) -> tuple[Explained, Explained]:
    """Return pass@k and, beside it, what the biased estimate would say."""
    value = mean_pass_at_k(problems, k=k)
    biased = math.fsum(biased_pass_at_k(problem, k=k) for problem in problems) / len(problems)
    n, c = problems[0].samples, problems[0].correct
    many = len(problems) > 1
    mean = f"mean over {len(problems):,} problems of " if many else ""
    return (
        Explained(
            name=f"pass_at_{k}",
            value=value,
            unit="share",
            formula=f"{mean}1 - C(n - c, k) / C(n, k)",
            filled=f"{mean}1 - C(n - c, {k}) / C(n, {k}) = {figure(value)}"
            if many
            else f"1 - C({n} - {c}, {k}) / C({n}, {k}) = {figure(value)}",
            source=_SOURCE,
        ),
        Explained(
            name=f"biased_pass_at_{k}",
            value=biased,
            unit="share",
            formula=f"{mean}1 - (1 - c / n)^k",
            filled=f"{mean}1 - (1 - c / n)^{k} = {figure(biased)}"
            if many
            else f"1 - (1 - {c} / {n})^{k} = {figure(biased)}",
            source=_SOURCE,
        ),
    )


def explain_interval(problems: Sequence[Problem], *, k: int) -> tuple[Explained, ...]:
    """Return both ends of mean_interval; none where it is unknown."""
    found = mean_interval(problems, k=k)
    if found is None:
        return ()
    mean = mean_pass_at_k(problems, k=k)
    ends = (("low", found.low, "-"), ("high", found.high, "+"))
    return tuple(
        Explained(
            name=f"pass_at_{k}_{end}",
            value=value,
            unit="share",
            formula=f"mean {sign} 1.96 × standard deviation / sqrt(problems), within 0 … 1",
            filled=f"{figure(mean)} {sign} 1.96 × s / sqrt({len(problems):,}) = {figure(value)}",
            source="Miller 2024, arXiv:2411.00640",
        )
        for end, value, sign in ends
    )


def _require_counts(problem: Problem, k: int) -> None:
    n, c = problem.samples, problem.correct
    if n < 1 or c < 0 or c > n:
        raise NumberError(f"a problem needs n of at least 1 and c of 0 to n, got n = {n} and c = {c}")
    if k < 1:
        raise NumberError(f"k must be at least 1, got {k}")
    if k > n:
        raise NumberError(f"pass@{k} is not determined by {n} samples: generate at least {k}, or ask for a smaller k")
