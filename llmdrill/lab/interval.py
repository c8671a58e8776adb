"""The 95 % interval of a mean over a few windows of text."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from llmdrill.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

CONFIDENCE: Final = 0.95
ANGLES: Final = 100_001  # of the integration: enough for four digits


def half_width(values: Tensor) -> float:
    """Return half the 95 % interval of the mean of values (N,), one of each window, taken for independent.

    Formula:
        t * s / sqrt(N), t of N - 1 degrees of freedom: for a dozen windows 12 % more than the 1.96 of many.

    Raises:
        UsageError: If there is one alone.

    Error:
        Windows of one text are alike, so the interval is too narrow where many come from few texts.
    Source:
        Student's t; see ``student_t``.
    """
    if len(values) < 2:
        raise UsageError("one window of text gives no interval: take shorter windows, so that the text holds more")
    return student_t(len(values) - 1) * float(values.std()) / math.sqrt(len(values))


@lru_cache
def student_t(degrees: int) -> float:
    """Return the t that 95 % of Student's distribution with so many degrees of freedom lies within, either side.

    Source:
        Arithmetic: with t = sqrt(degrees) * tan(angle) the density becomes cos(angle)^(degrees - 1), summed here.

    >>> [round(student_t(degrees), 2) for degrees in (1, 11, 1000)]
    [12.71, 2.2, 1.96]
    """
    angles = np.linspace(0, np.pi / 2, ANGLES)
    heights = np.cos(angles) ** (degrees - 1)
    within = np.concatenate(([0.0], np.cumsum((heights[1:] + heights[:-1]) / 2)))
    return float(math.sqrt(degrees) * np.tan(np.interp(CONFIDENCE * within[-1], within, angles)))
