"""Agreement of raters beyond chance: two raters or many, labels or ranks or numbers, with gaps."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Final, Literal

from llmdrill.estimate.checks import NumberError

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

Weights = Literal["none", "linear", "quadratic"]
Level = Literal["nominal", "ordinal", "interval"]
Pattern = tuple["Hashable | None", ...]
_FARTHEST: Final = 1e100
LANDIS_KOCH: Final = (
    (0.8, "almost perfect"),
    (0.6, "substantial"),
    (0.4, "moderate"),
    (0.2, "fair"),
    (0.0, "slight"),
)


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Two sums of differences whose ratio is what agreement leaves: observed, and expected by chance.

    Attributes:
        observed: Sum over the items, scaled to as many pairs as chance has.
        chance: Sum over all pairs of labels; above 0.
        pairs: How many pairs that are.
    """

    observed: float
    chance: float
    pairs: float = 1.0

    @property
    def agreement(self) -> float:
        """1 for no disagreement at all, 0 for that of chance."""
        return 1 - self.observed / self.chance


def cohens_kappa(
    first: Sequence[Hashable],
    second: Sequence[Hashable],
    *,
    weights: Weights = "none",
    order: Sequence[Hashable] | None = None,
) -> float | None:
    """Return Cohen's kappa of two raters' labels of the same items.

    Formula:
        1 - observed / chance disagreement; both are mean weights over pairs of labels, observed over the items, chance
        over all pairs of one rater's and the other's labels. Weights: none, 1 for any difference; linear, |i - j|;
        quadratic, (i - j)^2 of the labels' places in the order.

    Args:
        first: One rater's labels.
        second: The other's, in the same order.
        weights: How much a difference counts.
        order: Labels from least to most, for linear and quadratic weights; sorted if None. Labels that nobody gave
            count as steps.

    Returns:
        1 for full agreement, 0 for chance; None where it is undefined (no items, or one label only).

    Raises:
        NumberError: If the lengths differ, a label is not in the order, or labels have no order.

    Error:
        Exact; with few items it varies widely, and rare labels lower it (the kappa paradox).
    Source:
        Cohen 1960, doi:10.1177/001316446002000104; weighted as in scikit-learn 1.9.1,
        metrics.cohen_kappa_score, which a test compares with.

    >>> yes_yes, yes_no, no_yes, no_no = 20, 5, 10, 15  # observed 0.7, chance 0.5
    >>> first = "y" * (yes_yes + yes_no) + "n" * (no_yes + no_no)
    >>> second = "y" * yes_yes + "n" * yes_no + "y" * no_yes + "n" * no_no
    >>> round(cohens_kappa(first, second), 6)
    0.4
    """
    if len(first) != len(second):
        raise NumberError(f"two raters must label the same items, got {len(first)} and {len(second)} labels")
    return kappa_of_pairs(Counter(zip(first, second, strict=True)), weights=weights, order=order)


def kappa_of_pairs(
    pairs: Mapping[tuple[Hashable, Hashable], int],
    *,
    weights: Weights = "none",
    order: Sequence[Hashable] | None = None,
) -> float | None:
    """Return Cohen's kappa of counted pairs of labels: how many items got each pair."""
    found = kappa_disagreement(pairs, weights=weights, order=order)
    return found.agreement if found else None


def kappa_disagreement(
    pairs: Mapping[tuple[Hashable, Hashable], int],
    *,
    weights: Weights = "none",
    order: Sequence[Hashable] | None = None,
) -> Disagreement | None:
    """Return what kappa_of_pairs divides."""
    by_first, by_second = Counter[object](), Counter[object]()
    for (one, other), count in pairs.items():
        by_first[one] += count
        by_second[other] += count
    n = by_first.total()
    if weights == "none":
        observed = n - sum(count for (one, other), count in pairs.items() if one == other)
        chance = n * n - sum(many * by_second[label] for label, many in by_first.items())
    else:
        place = _places({*by_first, *by_second}, order)
        power = 2 if weights == "quadratic" else 1
        observed = sum(count * abs(place[one] - place[other]) ** power for (one, other), count in pairs.items())
        chance = _chance({place[one]: many for one, many in by_first.items()}, by_second, place, power)
    return Disagreement(observed * n, chance, n * n) if chance else None


def _chance(first: Mapping[int, int], second: Mapping[object, int], place: Mapping[object, int], power: int) -> int:
    """Return the sum of |i - j|^power over all pairs of one rater's and the other's labels, without walking them."""
    other = {place[label]: many for label, many in second.items()}
    n = sum(first.values())
    if power == 2:
        squares = sum(many * i * i for rater in (first, other) for i, many in rater.items())
        products = sum(many * i for i, many in first.items()) * sum(many * j for j, many in other.items())
        return n * squares - 2 * products
    total = below_first = below_second = 0
    for step in range(len(place)):  # |i - j| counts the steps between: each is crossed by pairs below and above it
        below_first, below_second = below_first + first.get(step, 0), below_second + other.get(step, 0)
        total += below_first * (n - below_second) + below_second * (n - below_first)
    return total


def _places(labels: set[object], order: Sequence[Hashable] | None) -> dict[object, int]:
    """Return each label's place in the order."""
    try:
        ordered = list(order) if order is not None else sorted(labels)  # type: ignore[type-var]
    except TypeError:
        raise NumberError("the labels have no order; give them from least to most") from None
    place = {label: index for index, label in enumerate(ordered)}
    unknown = next((label for label in labels if label not in place), None)
    if unknown is not None:
        raise NumberError(f"the label '{unknown}' is not in the order given")
    return place


def raw_agreement(items: Sequence[Sequence[Hashable | None]]) -> float | None:
    """Return the share of pairs of ratings of the same item that agree, as a mean over the items.

    Formula:
        mean over items with at least two ratings of (agreeing pairs) / (pairs)

    Args:
        items: One row per item, one place per rater; None for a missing rating.

    Returns:
        A share; None if no item was rated twice.

    Error:
        Exact; it does not take away chance: two raters who say yes to 9 of 10 agree on 0.82 by chance alone.
    Source:
        Fleiss 1971, doi:10.1037/h0031619: the observed agreement of his kappa.

    >>> raw_agreement([["a", "a", "b"], ["a", "a", None], ["b", None, None]])
    0.6666666666666666
    """
    return raw_agreement_of_patterns(Counter(map(tuple, items)))


def raw_agreement_of_patterns(patterns: Mapping[Pattern, int]) -> float | None:
    """Return raw_agreement of counted rows of ratings."""
    total = share = 0.0
    for pattern, count in patterns.items():
        rated = Counter(label for label in pattern if label is not None)
        n = rated.total()
        if n > 1:
            total += count
            share += count * sum(each * (each - 1) for each in rated.values()) / (n * (n - 1))
    return share / total if total else None


def fleiss_kappa(items: Sequence[Sequence[Hashable | None]]) -> float | None:
    """Return Fleiss' kappa: many raters, each item rated by the same number of them, not always the same ones.

    Formula:
        (P - Pe) / (1 - Pe), P the raw agreement, Pe the sum of squared shares of the labels over all ratings.

    Args:
        items: One row per item, one place per rater; None for a missing rating.

    Returns:
        1 for full agreement, 0 for chance; None where it is undefined: numbers of ratings differ, under two, or one
        label only.

    Error:
        Exact; for two raters it is Scott's pi, not Cohen's kappa.
    Source:
        Fleiss 1971, doi:10.1037/h0031619. Same as statsmodels 0.15.0, inter_rater.fleiss_kappa.

    >>> round(fleiss_kappa([["a", "a"], ["a", "b"], ["b", "b"], ["b", "b"]]), 6)
    0.466667
    """
    return fleiss_of_patterns(Counter(map(tuple, items)))


def fleiss_of_patterns(patterns: Mapping[Pattern, int]) -> float | None:
    """Return fleiss_kappa of counted rows of ratings."""
    found = fleiss_disagreement(patterns)
    return found.agreement if found else None


def fleiss_disagreement(patterns: Mapping[Pattern, int]) -> Disagreement | None:
    """Return what fleiss_of_patterns divides."""
    sizes = {sum(label is not None for label in pattern) for pattern in patterns}
    if len(sizes) != 1 or max(sizes) < 2:
        return None
    labels = Counter[object]()
    for pattern, count in patterns.items():
        for label in pattern:
            if label is not None:
                labels[label] += count
    n = labels.total()
    chance = sum((each / n) ** 2 for each in labels.values())
    observed = raw_agreement_of_patterns(patterns)
    return None if observed is None or chance == 1 else Disagreement(1 - observed, 1 - chance)


def krippendorff_alpha(
    items: Sequence[Sequence[Hashable | None]],
    *,
    level: Level = "nominal",
    order: Sequence[Hashable] | None = None,
) -> float | None:
    """Return Krippendorff's alpha: any number of raters, missing ratings, labels or ranks or numbers.

    Formula:
        1 - (n - 1) * (sum over items of the differences of all pairs of its m ratings / (m - 1)) / (sum of the
        differences of all pairs of the n pairable ratings). Squared difference: nominal, 1; interval, (c - k)^2;
        ordinal, (sum of counts from c to k, the two ends half)^2.

    Args:
        items: One row per item, one place per rater; None for a missing rating. Items rated once do not count.
        level: Of measurement; ``interval`` needs numbers.
        order: Labels from least to most, for ordinal; sorted if None.

    Returns:
        1 for full agreement, 0 for chance, below for systematic disagreement; None where it is undefined: nothing
        pairable, or one label only.

    Raises:
        NumberError: If interval labels are no numbers, or ordinal labels have no order.

    Error:
        Exact; see the interval for what few items leave open.
    Source:
        Krippendorff 2011, Computing Krippendorff's Alpha-Reliability, repository.upenn.edu/asc_papers/43. The data "C"
        of R's irr, kripp.alpha (12 units, 4 observers): ordinal 0.815 as in the tests of fast-krippendorff 13c1938;
        nominal 0.743 as krippendorff 0.9.0 computes.

    >>> round(krippendorff_alpha([["a", "a"], ["a", "b"], ["b", "b"], ["b", "b"]]), 6)
    0.533333
    """
    return alpha_of_patterns(Counter(map(tuple, items)), level=level, order=order)


def alpha_of_patterns(
    patterns: Mapping[Pattern, int], *, level: Level = "nominal", order: Sequence[Hashable] | None = None
) -> float | None:
    """Return Krippendorff's alpha of counted rows of ratings."""
    found = alpha_disagreement(patterns, level=level, order=order)
    return found.agreement if found else None


def alpha_disagreement(
    patterns: Mapping[Pattern, int], *, level: Level = "nominal", order: Sequence[Hashable] | None = None
) -> Disagreement | None:
    """Return what alpha_of_patterns divides."""
    pairs, labels = Counter[tuple[object, object]](), Counter[object]()
    for pattern, count in patterns.items():
        rated = Counter(label for label in pattern if label is not None)
        size = rated.total()
        if size < 2:
            continue
        for label, many in rated.items():
            labels[label] += many * count
        for one, other in combinations(rated, 2):  # equal pairs differ by nothing
            pairs[one, other] += 2 * count * rated[one] * rated[other] / (size - 1)  # type: ignore[assignment]
    n = labels.total()
    if len(labels) < 2:
        return None
    if level == "nominal":
        observed: float = sum(pairs.values())
        chance: float = n * n - sum(many * many for many in labels.values())
    else:
        place = _interval_places(labels) if level == "interval" else _ordinal_places(labels, order)
        observed = math.fsum(many * (place[one] - place[other]) ** 2 for (one, other), many in pairs.items())
        middle = math.fsum(many * place[label] for label, many in labels.items()) / n
        chance = 2 * n * math.fsum(many * (place[label] - middle) ** 2 for label, many in labels.items())
    return Disagreement((n - 1) * observed, chance, n * (n - 1)) if chance else None


def _interval_places(labels: Mapping[object, int]) -> dict[object, float]:
    if any(isinstance(label, bool) or not isinstance(label, int | float) for label in labels):
        raise NumberError("interval agreement needs labels that are numbers")
    places = {label: float(label) for label in labels}  # type: ignore[arg-type]
    if max(map(abs, places.values())) > _FARTHEST:
        raise NumberError(f"interval agreement needs numbers of at most {_FARTHEST:g}, whose squares can be added")
    return places


def _ordinal_places(labels: Mapping[object, int], order: Sequence[Hashable] | None) -> dict[object, float]:
    """Return each label's mean rank among all ratings."""
    place, below = _places(set(labels), order), 0.0
    ranks: dict[object, float] = {}
    for label in sorted(labels, key=place.__getitem__):
        ranks[label] = below + labels[label] / 2
        below += labels[label]
    return ranks


def verdict(value: float) -> str:
    """Return Landis and Koch's word for a kappa: a convention, not a test.

    >>> verdict(0.61), verdict(-0.1)
    ('substantial', 'poor')
    """
    return next((word for floor, word in LANDIS_KOCH if value > floor or (value == floor == 0)), "poor")
