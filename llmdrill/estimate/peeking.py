"""Looking at a running test more than once: the false positives that come of it, and thresholds that prevent them."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Final

from llmdrill.estimate.abtest import normal_share, two_sided_z
from llmdrill.estimate.checks import NumberError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MOST_LOOKS: Final = 100
_NODES: Final = 40  # of each integral: the result is then exact to 8 digits up to 100 looks at 5 %
_WIDEST: Final = 30.0  # bound of an integral that they suffice for; a wider one takes more in proportion
_LEAST_SHARE: Final = 1e-9
_MOST_SHARE: Final = 0.5


def peeking_false_positive_share(*, looks: int, significance_share: float = 0.05) -> float:
    """Return how often a test without any effect is called significant at one of several equally spaced looks.

    Formula:
        1 - the probability that |S_k| < z * sqrt(k) at every look k, where S_k is a sum of k independent standard
        normal variables and z = z_(1 - significance/2); the density of S_k is integrated look by look.

    Args:
        looks: How often the result is looked at, the end included.
        significance_share: Of each single look.

    Returns:
        A share: the significance for one look, more for every further one.

    Raises:
        NumberError: If looks is not from 1 to 100, or the significance not from 1e-9 to 0.5.

    Error:
        Exact to 8 digits for normal statistics, known variance and equally spaced looks.
    Source:
        Armitage, McPherson and Rowe 1969, Repeated significance tests on accumulating data; checked against 400,000
        simulated tests.

    >>> round(peeking_false_positive_share(looks=5), 3)
    0.142
    """
    _require(looks, significance_share)
    return crossing_share([two_sided_z(significance_share)] * looks)


def pocock_z(*, looks: int, significance_share: float = 0.05) -> float:
    """Return the |z| that every look must pass so that all together make the allowed false positives.

    Formula:
        The z at which the crossing probability of all looks equals significance_share.

    Args:
        looks: How often the result is looked at, equally spaced.
        significance_share: False positives allowed over all looks.

    Returns:
        A threshold for |z|, the same at every look.

    Raises:
        NumberError: If looks is not from 1 to 100, or the significance not from 1e-9 to 0.5.

    Error:
        As peeking_false_positive_share.
    Source:
        Pocock 1977, Biometrika 64, 191-199: five looks at 5 % need |z| above 2.413 each time.

    >>> round(pocock_z(looks=5), 3)
    2.413
    """
    return _threshold(lambda z: [z] * looks, looks, significance_share)


def obrien_fleming_z(*, looks: int, significance_share: float = 0.05) -> float:
    """Return the |z| that the last look must pass under O'Brien and Fleming's rule; look k needs sqrt(looks / k) more.

    Formula:
        The z at which the crossing probability of thresholds z * sqrt(looks / k) equals significance_share.

    Args:
        looks: How often the result is looked at, equally spaced.
        significance_share: False positives allowed over all looks.

    Returns:
        The threshold for |z| of the last look.

    Raises:
        NumberError: If looks is not from 1 to 100, or the significance not from 1e-9 to 0.5.

    Error:
        As peeking_false_positive_share.
    Source:
        O'Brien and Fleming 1979, Biometrics 35, 549-556: strict at first, close to the plain threshold at the end.

    >>> round(obrien_fleming_z(looks=2), 3)
    1.977
    """
    return _threshold(
        lambda z: [z * math.sqrt(looks / look) for look in range(1, looks + 1)], looks, significance_share
    )


def crossing_share(thresholds: Sequence[float]) -> float:
    """Return the probability that |z| passes its threshold at one look at least, without any effect.

    Formula:
        f_1 = phi; f_k(x) = integral of f_(k-1)(u) phi(x - u) over |u| < z_(k-1) sqrt(k - 1);
        1 - integral of f_K over |x| < z_K sqrt(K).

    Args:
        thresholds: For |z| at each of the equally spaced looks.

    Returns:
        A share.

    Raises:
        NumberError: If there is no look.

    Error:
        Exact to 8 digits for normal statistics and known variance.
    Source:
        Armitage, McPherson and Rowe 1969; Gauss-Legendre integration over the positive half, the density being even.

    >>> round(crossing_share([1.959964]), 6)
    0.05
    """
    return crossing_shares(thresholds)[-1]


def crossing_shares(thresholds: Sequence[float]) -> tuple[float, ...]:
    """Return crossing_share up to each of the looks: the tails beyond each threshold, added up.

    Raises:
        NumberError: If there is no look.
    """
    if not thresholds:
        raise NumberError("at least one look is needed")
    passed: list[float] = []
    points: list[tuple[float, float]] = []  # (place, density × weight) of the look before
    for look, threshold in enumerate(thresholds, start=1):
        bound = threshold * math.sqrt(look)
        beyond = 2 * _tail_beyond(bound, points)  # not one less what is within: that loses the digits of small shares
        passed.append(passed[-1] + beyond if passed else beyond)
        count = max(_NODES, math.ceil(_NODES * bound / _WIDEST))
        places = [(bound * (1 + node) / 2, bound / 2 * weight) for node, weight in _gauss_legendre(count)]
        points = [(place, weight * _density(place, points)) for place, weight in places]
    return tuple(passed)


def _tail_beyond(bound: float, before: Sequence[tuple[float, float]]) -> float:
    if not before:
        return normal_share(-bound)
    return math.fsum(mass * (normal_share(place - bound) + normal_share(-place - bound)) for place, mass in before)


def _density(place: float, before: Sequence[tuple[float, float]]) -> float:
    if not before:
        return _phi(place)
    return math.fsum(mass * (_phi(place - other) + _phi(place + other)) for other, mass in before)


def _phi(value: float) -> float:
    return math.exp(-value * value / 2) / math.sqrt(2 * math.pi)


@functools.cache
def _gauss_legendre(count: int) -> tuple[tuple[float, float], ...]:
    """Return nodes and weights on (-1, 1): roots of the Legendre polynomial by Newton's method."""
    found = []
    for index in range(count):
        node = math.cos(math.pi * (index + 0.75) / (count + 0.5))
        for _ in range(100):
            value, slope = _legendre(count, node)
            node, before = node - value / slope, node
            if abs(node - before) < 1e-15:
                break
        slope = _legendre(count, node)[1]
        found.append((node, 2 / ((1 - node * node) * slope * slope)))
    return tuple(found)


def _legendre(count: int, at: float) -> tuple[float, float]:
    """Return the Legendre polynomial of that degree and its slope."""
    before, value = 1.0, at
    for degree in range(2, count + 1):
        before, value = value, ((2 * degree - 1) * at * value - (degree - 1) * before) / degree
    return value, count * (at * value - before) / (at * at - 1)


def _require(looks: int, significance_share: float) -> None:
    if not 1 <= looks <= MOST_LOOKS:
        raise NumberError(f"looks must be from 1 to {MOST_LOOKS}, got {looks}")
    if not _LEAST_SHARE <= significance_share <= _MOST_SHARE:
        raise NumberError(f"significance must be from {_LEAST_SHARE:g} to {_MOST_SHARE:g}, got {significance_share:g}")


def _threshold(at: Callable[[float], list[float]], looks: int, significance_share: float) -> float:
    """Return the z whose thresholds are crossed with that probability, by false position on its logarithm."""
    _require(looks, significance_share)

    def miss(z: float) -> float:
        return math.log(crossing_share(at(z)) / significance_share)

    low, high = two_sided_z(significance_share), two_sided_z(significance_share / looks)
    missed_low, missed_high = miss(low), miss(high)  # too many false positives at the one, too few at the other
    while high - low > 1e-9 and min(abs(missed_low), abs(missed_high)) > 1e-10:
        z = high - missed_high * (high - low) / (missed_high - missed_low)
        missed = miss(z)
        if missed > 0:  # the end that stays counts half, or it would stay for ever (the Illinois variant)
            low, missed_low, missed_high = z, missed, missed_high / 2
        else:
            high, missed_high, missed_low = z, missed, missed_low / 2
    return low if abs(missed_low) < abs(missed_high) else high


def tail_share(z: float) -> float:
    """Return the two-sided p value of ``z``.

    >>> round(tail_share(1.959964), 4)
    0.05
    """
    return 2 * normal_share(-abs(z))
