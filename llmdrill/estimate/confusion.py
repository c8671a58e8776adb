"""Confusion algebra: base rate, flag rate, precision and recall, any three of which fix the fourth."""

from __future__ import annotations

import math
from typing import Final

from llmdrill.estimate.checks import NumberError, require_share

_SLACK: Final = 1e-9  # what rounding may miss
_FLAG_SLACK: Final = 0.01  # a stated flag rate agrees with precision and recall if it is this close, relatively


def recall_from_flags(*, base_rate: float, flag_share: float, precision: float) -> float:
    """Return the recall that a flag rate and a precision imply.

    Formula:
        flag_share * precision / base_rate

    Args:
        base_rate: Harmful share of the messages.
        flag_share: Share of the messages that is removed.
        precision: Harmful share of those.

    Returns:
        A share.

    Raises:
        NumberError: If more harmful messages would be removed than there are.

    Error:
        Exact.
    Source:
        Arithmetic: both sides count the harmful messages removed.

    >>> recall_from_flags(base_rate=0.01, flag_share=0.01, precision=0.8)
    0.8
    """
    require_share(base_rate=base_rate, flag_share=flag_share, precision=precision)
    found = flag_share * precision
    if found > base_rate * (1 + _SLACK):
        raise NumberError(
            f"removing {flag_share:.4g} at precision {precision:g} finds {found:.4g} harmful, more than the base rate "
            f"{base_rate:.4g}: no such combination"
        )
    return min(1.0, found / base_rate) if base_rate else 0.0


def precision_from_flags(*, base_rate: float, flag_share: float, recall: float) -> float:
    """Return the precision that a flag rate and a recall imply.

    Formula:
        base_rate * recall / flag_share

    Args:
        base_rate: Harmful share of the messages.
        flag_share: Share of the messages that is removed.
        recall: Share of the harmful ones that is removed.

    Returns:
        A share.

    Raises:
        NumberError: If fewer messages would be removed than harmful ones are found, or more than there are others.

    Error:
        Exact.
    Source:
        Arithmetic: both sides count the harmful messages removed.

    >>> precision_from_flags(base_rate=0.01, flag_share=0.02, recall=0.8)
    0.4
    """
    require_share(base_rate=base_rate, flag_share=flag_share, recall=recall)
    found = base_rate * recall
    if found > flag_share * (1 + _SLACK):
        raise NumberError(
            f"recall {recall:g} of a base rate of {base_rate:.4g} removes {found:.4g}, more than the flag rate "
            f"{flag_share:.4g}: no such combination"
        )
    if flag_share - found > (1 - base_rate) * (1 + _SLACK):
        raise NumberError(
            f"a flag rate of {flag_share:.4g} with recall {recall:g} removes more harmless messages than there are"
        )
    return min(1.0, found / flag_share) if flag_share else 1.0


def confusion_rates(
    *, base_rate: float, precision: float | None = None, recall: float | None = None, flag_share: float | None = None
) -> tuple[float, float]:
    """Return precision and recall from any two of precision, recall and flag rate.

    Formula:
        base_rate * recall = flag_share * precision

    Args:
        base_rate: Harmful share of the messages that are decided.
        precision: Harmful share of those removed; None if not given.
        recall: Share of the harmful ones that is removed; None if not given.
        flag_share: Share of all that is removed; None if not given.

    Returns:
        Precision and recall.

    Raises:
        NumberError: If fewer than two are given, they contradict each other, or they remove more harmless messages
            than there are.

    Error:
        Exact.
    Source:
        Arithmetic: both sides count the harmful messages removed.

    >>> confusion_rates(base_rate=0.01, recall=0.8, flag_share=0.02)
    (0.4, 0.8)
    """
    require_share(
        **{
            name: value
            for name, value in (("precision", precision), ("recall", recall), ("flag", flag_share))
            if value is not None
        }
    )
    if precision is None and recall is not None and flag_share is not None:
        return precision_from_flags(base_rate=base_rate, flag_share=flag_share, recall=recall), recall
    if recall is None and precision is not None and flag_share is not None:
        return precision, recall_from_flags(base_rate=base_rate, flag_share=flag_share, precision=precision)
    if precision is None or recall is None:
        raise NumberError("two of precision, recall and flag are needed")
    if not precision and not recall and flag_share is None:
        raise NumberError("precision 0 and recall 0 leave open how many are removed; give flag too")
    if not precision and recall:
        raise NumberError("precision 0 means nothing removed is harmful, so recall must be 0")
    implied = base_rate * recall / precision if precision else flag_share or 0.0
    if flag_share is not None and not math.isclose(implied, flag_share, rel_tol=_FLAG_SLACK):
        raise NumberError(
            f"precision {precision:g}, recall {recall:g} and a harmful share of {base_rate:.4g} make a flag rate of "
            f"{implied:.4g}, not {flag_share:g}; leave one of the three out"
        )
    if implied - base_rate * recall > (1 - base_rate) * (1 + _SLACK):
        raise NumberError(
            f"precision {precision:g} at recall {recall:g} and a harmful share of {base_rate:.4g} would remove more "
            "harmless messages than there are: no such combination"
        )
    return precision, recall
