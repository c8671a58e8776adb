"""Plain steps between calculators: what a worked answer multiplies, adds and rounds on the way."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def product(values: Sequence[float]) -> float:
    """Return the product.

    >>> product([2, 3, 4])
    24.0
    """
    return float(math.prod(values))


def sum(values: Sequence[float]) -> float:  # noqa: A001 - the name that files use
    """Return the sum."""
    return math.fsum(values)


def minimum(values: Sequence[float]) -> float:
    """Return the least."""
    return float(min(values))


def maximum(values: Sequence[float]) -> float:
    """Return the greatest."""
    return float(max(values))


def difference(a: float, b: float) -> float:
    """Return a - b."""
    return float(a - b)


def quotient(a: float, b: float) -> float:
    """Return a / b.

    Raises:
        ValueError: If b is 0.
    """
    if not b:
        raise ValueError("the quotient's b is 0")
    return float(a / b)


def power(base: float, exponent: float) -> float:
    """Return base to the power of exponent."""
    return math.pow(base, exponent)


def log2(value: float) -> float:
    """Return the logarithm to base 2."""
    return math.log2(value)


def log10(value: float) -> float:
    """Return the logarithm to base 10."""
    return math.log10(value)


def exp(value: float) -> float:
    """Return e to the power of value."""
    return math.exp(value)


def sqrt(value: float) -> float:
    """Return the square root."""
    return math.sqrt(value)


def ceil(value: float) -> float:
    """Return the least whole number not below; what lies within rounding error above one is that one."""
    return float(math.ceil(value - 1e-9 * max(1.0, abs(value))))


def floor(value: float) -> float:
    """Return the greatest whole number not above; what lies within rounding error below one is that one."""
    return float(math.floor(value + 1e-9 * max(1.0, abs(value))))
