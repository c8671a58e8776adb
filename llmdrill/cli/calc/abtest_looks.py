"""What looking at a running test costs, for `llmdrill calc abtest`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llmdrill.units import format_share

if TYPE_CHECKING:
    from llmdrill.estimate.explain import Explained
    from llmdrill.table import Table

_WARNED_LOOKS: Final = 5  # what the warning counts if no number of looks is given


@dataclass(frozen=True, slots=True)
class Peeked:
    """False positives of a test that is looked at: up to each look, and the thresholds that prevent them."""

    significance_share: float
    plain_z: float
    shares: tuple[float, ...]
    looks: int
    pocock_z: float
    obrien_fleming_z: float


def peeked_test(looks: int, significance: float) -> Peeked:
    """Return what looking at a test costs, and the thresholds that prevent it."""
    from llmdrill.estimate.abtest import two_sided_z
    from llmdrill.estimate.peeking import crossing_shares, obrien_fleming_z, pocock_z

    even = pocock_z(looks=looks, significance_share=significance)
    last = obrien_fleming_z(looks=looks, significance_share=significance)
    plain = two_sided_z(significance)
    return Peeked(significance, plain, crossing_shares([plain] * max(looks, _WARNED_LOOKS)), looks, even, last)


def explain_peeking(peeked: Peeked) -> tuple[Explained, ...]:
    """Return the false positives of looking, and both thresholds."""
    from llmdrill.estimate.explain import Explained, figure

    looks, allowed = peeked.looks, figure(peeked.significance_share)
    inflated = peeked.shares[looks - 1]
    return (
        Explained(
            "false_positive_share",
            inflated,
            "share",
            "P(|z| > plain threshold at one of the looks at least), without any effect",
            f"P(|z| > {figure(peeked.plain_z)} at one of {looks}) = {figure(inflated)}",
            "Armitage, McPherson and Rowe 1969, integrated numerically",
        ),
        Explained(
            "pocock_z",
            peeked.pocock_z,
            "count",
            "z for which P(|z| > it at one of the looks at least) is the significance",
            f"P(|z| > {figure(peeked.pocock_z)} at one of {looks}) = {allowed}",
            "Pocock 1977, Biometrika 64, 191-199",
        ),
        Explained(
            "obrien_fleming_z",
            peeked.obrien_fleming_z,
            "count",
            "z for which P(|z| > it × sqrt(looks / k) at one look k at least) is the significance",
            f"P(|z| > {figure(peeked.obrien_fleming_z)} × sqrt({looks} / k) at one of {looks}) = {allowed}",
            "O'Brien and Fleming 1979, Biometrics 35, 549-556",
        ),
    )


def warning(peeked: Peeked) -> str:
    """Return what a person must know before looking."""
    many = peeked.looks if peeked.looks > 1 else _WARNED_LOOKS
    level = format_share(peeked.significance_share)
    told = f"{many} equally spaced looks at {level} make {format_share(peeked.shares[many - 1])} false positives"
    if peeked.looks > 1:
        return f"warning: {told}; use the thresholds of the table, which keep them at {level}"
    return f"look once, at the planned size, and not before: {told} (--looks {many} gives thresholds that allow it)"


def looks_table(peeked: Peeked) -> Table:
    """Return the thresholds of every look."""
    from llmdrill.estimate.peeking import tail_share
    from llmdrill.table import Table

    even = peeked.pocock_z
    rows = []
    for look in range(1, peeked.looks + 1):
        last = peeked.obrien_fleming_z * math.sqrt(peeked.looks / look)
        rows.append((look, peeked.shares[look - 1], even, tail_share(even), last, tail_share(last)))
    columns = ("look", "false_positive_share_so_far", "pocock_z", "pocock_p", "obrien_fleming_z", "obrien_fleming_p")
    return Table("looks by look", columns, tuple(rows))
