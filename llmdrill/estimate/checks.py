"""Refuse numbers that no formula can take, in one clear line."""

from __future__ import annotations

import math

from llmdrill.errors import UsageError


class NumberError(UsageError, ValueError):
    """A number is out of the range its formula is for."""


def require_not_negative(**numbers: float) -> None:
    """Refuse the first number that is negative, infinite or no number.

    Raises:
        NumberError: Naming it.
    """
    for name, value in numbers.items():
        if not math.isfinite(value) or value < 0:
            raise NumberError(f"{name} must be zero or more and finite, got {value:g}")


def require_positive(**numbers: float) -> None:
    """Refuse the first number that is not above zero and finite.

    Raises:
        NumberError: Naming it.
    """
    for name, value in numbers.items():
        if not math.isfinite(value) or value <= 0:
            raise NumberError(f"{name} must be above zero and finite, got {value:g}")


def require_share(**numbers: float) -> None:
    """Refuse the first number that is no share of one.

    Raises:
        NumberError: Naming it.
    """
    for name, value in numbers.items():
        if not 0 <= value <= 1:
            raise NumberError(f"{name} is a share, from 0 to 1, got {value:g}")
