"""How a measured quantity grows with a size: the sizes to try, and the power law through the points."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from llmdrill.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence


SHORTEST_TOKENS: Final = 128


def multiples(first: int, most: int, *, step: int = 2) -> list[int]:
    """Return ``first``, ``step`` times that, and so on up to ``most``.

    >>> multiples(1, 9), multiples(128, 3000, step=4)
    ([1, 2, 4, 8], [128, 512, 2048])
    """
    found = [first]
    while found[-1] * step <= most:
        found.append(found[-1] * step)
    return found


def lengths_up_to(longest: int, *, option: str, step: int = 2) -> list[int]:
    """Return lengths in tokens, from 128 on.

    Raises:
        UsageError: If the longest is below that.
    """
    if longest < SHORTEST_TOKENS:
        raise UsageError(f"--{option} must be at least {SHORTEST_TOKENS}, got {longest}")
    return multiples(SHORTEST_TOKENS, longest, step=step)


def fitted_exponent(sizes: Sequence[float], values: Sequence[float]) -> float | None:
    """Return the slope of the least-squares line through log(value) by log(size); None with fewer than two sizes.

    >>> round(fitted_exponent([1, 2, 4], [3, 12, 48]), 9)
    2.0
    """
    if len(set(sizes)) < 2:
        return None
    x, y = [math.log(one) for one in sizes], [math.log(one) for one in values]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    rise = sum((one - mean_x) * (other - mean_y) for one, other in zip(x, y, strict=True))
    return rise / sum((one - mean_x) ** 2 for one in x)


def why_no_exponent(sizes: Sequence[float], shortest: int) -> str:
    """Return why a power could not be fitted, to go behind a note; nothing if it could.

    >>> why_no_exponent([1024, 2048], 1024)
    ''
    """
    if len(set(sizes)) > 1:
        return ""
    return f"; unknown here, because it takes two lengths from {shortest} tokens on: raise --longest, leave out --quick"


def crossing(sizes: Sequence[float], one: Sequence[float], other: Sequence[float]) -> float | None:
    """Return the first size from which on ``one`` is at most ``other``, on straight lines between the points' logs.

    None where it stays above; the smallest size where it never was.

    >>> crossing([1, 4], [8, 8], [4, 16])
    2.0
    >>> crossing([1, 4], [8, 8], [4, 6]) is None
    True
    """
    gaps = [math.log(a / b) for a, b in zip(one, other, strict=True)]
    after = next((at for at in range(len(gaps)) if all(gap <= 0 for gap in gaps[at:])), None)
    if after is None or after == 0:
        return None if after is None else float(sizes[0])
    share = gaps[after - 1] / (gaps[after - 1] - gaps[after])
    low, high = math.log(sizes[after - 1]), math.log(sizes[after])
    return round(math.exp(low + share * (high - low)), 6)
