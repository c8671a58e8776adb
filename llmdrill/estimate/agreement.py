"""Agreement of two raters beyond chance."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from llmdrill.estimate.checks import NumberError

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence


def cohens_kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> float | None:
    """Return Cohen's kappa of two raters' labels of the same items.

    Formula:
        (observed - chance) / (1 - chance), chance = sum over labels of the product of both raters' shares.

    Args:
        first: One rater's labels.
        second: The other's, in the same order.

    Returns:
        1 for full agreement, 0 for chance; None where it is undefined (no items, or one label only).

    Raises:
        NumberError: If the lengths differ.

    Error:
        Exact; with few items it varies widely, and rare labels lower it (the kappa paradox).
    Source:
        Cohen 1960, doi:10.1177/001316446002000104.

    >>> yes_yes, yes_no, no_yes, no_no = 20, 5, 10, 15  # observed 0.7, chance 0.5
    >>> first = "y" * (yes_yes + yes_no) + "n" * (no_yes + no_no)
    >>> second = "y" * yes_yes + "n" * yes_no + "y" * no_yes + "n" * no_no
    >>> round(cohens_kappa(first, second), 6)
    0.4
    """
    if len(first) != len(second):
        raise NumberError(f"two raters must label the same items, got {len(first)} and {len(second)} labels")
    n = len(first)
    if not n:
        return None
    observed = sum(one == other for one, other in zip(first, second, strict=True)) / n
    by_first, by_second = Counter(first), Counter(second)
    chance = sum(by_first[label] * by_second[label] for label in by_first) / n**2
    return None if chance == 1 else (observed - chance) / (1 - chance)
