"""Stated numbers as a ratio to the computed ones: exact, automatic, the only score CI may gate on."""

from __future__ import annotations

import sys
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NumberGrade:
    """A stated number beside the computed one.

    Attributes:
        id: Of the number question.
        stated: In SI units, or a stage's name; None if skipped.
        computed: Likewise; None where the tool cannot know (a part of the design was left out).
        ratio: stated / computed; None for names, skips and a computed zero.
        tolerance_ratio: The author's tolerance: within means between 1/t and t times the computed value.
        within: None when there is nothing to compare.
    """

    id: str
    stated: float | str | None
    computed: float | str | None
    ratio: float | None
    tolerance_ratio: float
    within: bool | None


def grade_number(
    name: str, *, stated: float | str | None, computed: float | str | None, tolerance_ratio: float
) -> NumberGrade:
    """Return the grade of one stated number.

    Formula:
        ratio = stated / computed; within when 1 / tolerance_ratio <= ratio <= tolerance_ratio.

    >>> grade_number("kv", stated=2.0, computed=1.0, tolerance_ratio=1.5)
    NumberGrade(id='kv', stated=2.0, computed=1.0, ratio=2.0, tolerance_ratio=1.5, within=False)
    """
    ratio: float | None = None
    within: bool | None = None
    if isinstance(stated, str) or isinstance(computed, str):
        within = None if stated is None or computed is None else stated == computed
    elif stated is not None and computed is not None:
        if computed:
            ratio = min(stated / computed, sys.float_info.max)  # finite, as JSON wants it
            within = 1 / tolerance_ratio <= ratio <= tolerance_ratio
        else:
            within = stated == 0
    return NumberGrade(name, stated, computed, ratio, tolerance_ratio, within)
