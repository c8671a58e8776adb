"""Agreement beyond chance: published examples, oracles, laws, refusals."""

from __future__ import annotations

import random
from collections import Counter
from itertools import combinations, product
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from llmdrill.errors import UsageError
from llmdrill.estimate.agreement import (
    Weights,
    cohens_kappa,
    fleiss_kappa,
    krippendorff_alpha,
    raw_agreement,
    verdict,
)
from llmdrill.estimate.bootstrap import bootstrap_intervals

N = None
# The data "C" of R's irr, from Krippendorff: 4 observers, 12 units (one column per observer here)
KRIPPENDORFF = list(
    zip(
        *[
            [1, 2, 3, 3, 2, 1, 4, 1, 2, N, N, N],
            [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, N, 3],
            [N, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, N],
            [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, N],
        ],
        strict=True,
    )
)
# The example of Wikipedia's article on Krippendorff's alpha: 3 coders, 15 units
WIKIPEDIA = list(
    zip(
        *[
            [N, N, N, N, N, 3, 4, 1, 2, 1, 1, 3, 3, N, 3],
            [1, N, 2, 1, 3, 3, 4, 3, N, N, N, N, N, N, N],
            [N, N, 2, 1, 3, 4, 4, N, 2, 1, 1, 3, 3, N, 4],
        ],
        strict=True,
    )
)
LABELS = st.integers(1, 5)
PAIRS = st.lists(st.tuples(LABELS, LABELS), min_size=2, max_size=40)
ITEMS = st.lists(st.tuples(*[st.one_of(st.none(), LABELS)] * 3), min_size=2, max_size=25)


def seeded(number: int) -> random.Random:
    return random.Random(number)  # noqa: S311 - examples, no secrets


def test_the_published_example_of_krippendorff_s_alpha() -> None:
    assert krippendorff_alpha(KRIPPENDORFF) == pytest.approx(0.743, abs=0.0005)
    assert krippendorff_alpha(KRIPPENDORFF, level="ordinal") == pytest.approx(0.815, abs=0.0005)
    assert krippendorff_alpha(KRIPPENDORFF, level="interval") == pytest.approx(0.8491071429)  # krippendorff 0.9.0


def test_the_published_example_with_many_gaps() -> None:
    """Values of the tests of fast-krippendorff 13c1938."""
    assert krippendorff_alpha(WIKIPEDIA) == pytest.approx(0.691358, abs=5e-7)
    assert krippendorff_alpha(WIKIPEDIA, level="interval") == pytest.approx(0.810845, abs=5e-7)


def test_fleiss_of_ten_items_and_fourteen_raters() -> None:
    counts = [
        (0, 0, 0, 0, 14),
        (0, 2, 6, 4, 2),
        (0, 0, 3, 5, 6),
        (0, 3, 9, 2, 0),
        (2, 2, 8, 1, 1),
        (7, 7, 0, 0, 0),
        (3, 2, 6, 3, 0),
        (2, 5, 3, 2, 2),
        (6, 5, 2, 1, 0),
        (0, 2, 2, 3, 7),
    ]
    items = [[label for label, many in enumerate(row) for _ in range(many)] for row in counts]
    assert fleiss_kappa(items) == pytest.approx(0.20993070442)  # statsmodels 0.15.0


@pytest.mark.parametrize("weights", ["none", "linear", "quadratic"])
def test_kappa_is_what_sklearn_computes(weights: Weights) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = seeded(3)
    for size in (5, 40, 400):
        first = [rng.randint(1, 5) for _ in range(size)]
        second = [one if rng.random() < 0.6 else rng.randint(1, 5) for one in first]
        theirs = metrics.cohen_kappa_score(first, second, weights=None if weights == "none" else weights)
        assert cohens_kappa(first, second, weights=weights) == pytest.approx(theirs)


def slow_kappa(pairs: list[tuple[int, int]], power: int) -> float | None:
    def gap(one: int, other: int) -> int:
        return abs(one - other) ** power if power else int(one != other)

    chance = sum(gap(one, other) for (one, _), (_, other) in product(pairs, pairs)) / len(pairs)
    return 1 - sum(gap(*pair) for pair in pairs) / chance if chance else None


@given(pairs=PAIRS, power=st.sampled_from([0, 1, 2]))
def test_weighted_kappa_is_what_walking_all_pairs_gives(pairs: list[tuple[int, int]], power: int) -> None:
    first, second = zip(*pairs, strict=True)
    weights: Weights = ("none", "linear", "quadratic")[power]  # type: ignore[assignment]
    ours = cohens_kappa(first, second, weights=weights, order=(1, 2, 3, 4, 5))
    slow = slow_kappa(pairs, power)
    assert ours == (None if slow is None else pytest.approx(slow))


def slow_alpha(items: list[tuple[int | None, ...]], difference: Any) -> float | None:
    rows = [[label for label in row if label is not None] for row in items]
    rows = [row for row in rows if len(row) > 1]
    values = [label for row in rows for label in row]
    chance = sum(difference(one, other) for one, other in combinations(values, 2)) * 2
    if not chance:
        return None
    seen = sum(2 * difference(one, other) / (len(row) - 1) for row in rows for one, other in combinations(row, 2))
    return float(1 - (len(values) - 1) * seen / chance)


@given(items=ITEMS)
def test_alpha_is_what_walking_all_pairs_gives(items: list[tuple[int | None, ...]]) -> None:
    counts = Counter(
        label for row in items if sum(one is not None for one in row) > 1 for label in row if label is not None
    )

    def ranks_between(one: int, other: int) -> float:
        low, high = sorted((one, other))
        return (sum(counts[at] for at in range(low, high + 1)) - (counts[low] + counts[high]) / 2) ** 2

    for level, difference in (
        ("nominal", lambda one, other: one != other),
        ("interval", lambda one, other: (one - other) ** 2),
        ("ordinal", ranks_between),
    ):
        slow = slow_alpha(items, difference)
        ours = krippendorff_alpha(items, level=level)  # type: ignore[arg-type]
        assert ours == (None if slow is None else pytest.approx(slow, abs=1e-9))


@given(items=ITEMS, seed=st.integers(0, 5))
def test_neither_the_order_of_items_nor_that_of_raters_nor_a_name_matters(
    items: list[tuple[int | None, ...]], seed: int
) -> None:
    rng = seeded(seed)
    shuffled = rng.sample(items, len(items))
    turned = [row[::-1] for row in shuffled]
    renamed = [tuple(None if label is None else f"label {label}" for label in row) for row in turned]
    for statistic in (raw_agreement, fleiss_kappa, krippendorff_alpha):
        before, after = statistic(items), statistic(renamed)
        assert after == (None if before is None else pytest.approx(before))


@given(items=ITEMS)
def test_units_of_an_interval_do_not_matter(items: list[tuple[int | None, ...]]) -> None:
    converted = [tuple(None if label is None else 1.8 * label + 32 for label in row) for row in items]
    before = krippendorff_alpha(items, level="interval")
    after = krippendorff_alpha(converted, level="interval")
    assert after == (None if before is None else pytest.approx(before, abs=1e-9))


@given(pairs=PAIRS)
def test_full_agreement_is_one_and_more_disagreement_is_less(pairs: list[tuple[int, int]]) -> None:
    first = [one for one, _ in pairs]
    assume(len(set(first)) > 1)
    assert cohens_kappa(first, first, weights="quadratic") == pytest.approx(1)
    assert krippendorff_alpha([(one, one) for one in first], level="ordinal") == pytest.approx(1)
    assert raw_agreement([(one, one, None) for one in first]) == 1
    alpha = krippendorff_alpha(pairs)
    assert alpha is None or alpha <= 1


def test_one_label_only_is_undefined_and_not_perfect() -> None:
    same = [("yes", "yes")] * 5
    assert raw_agreement(same) == 1
    assert krippendorff_alpha(same) is None
    assert krippendorff_alpha([(0.1, 0.1)] * 7, level="interval") is None
    assert fleiss_kappa(same) is None
    assert krippendorff_alpha([("yes", None)]) is None
    assert raw_agreement([("yes", None)]) is None
    assert fleiss_kappa([("a", "b"), ("a", None)]) is None


def test_the_interval_holds_the_figure_repeats_with_its_seed_and_narrows_with_more_items() -> None:
    def kappa(counts: Any) -> float | None:
        return counts["yes"] / (counts["yes"] + counts["no"]) if counts["yes"] else None

    wide, narrow = (bootstrap_intervals({"yes": 6 * n, "no": 4 * n}, [kappa], rng=seeded(1))[0] for n in (5, 500))
    assert wide is not None
    assert narrow is not None
    assert wide.low < narrow.low < 0.6 < narrow.high < wide.high
    assert narrow.low == pytest.approx(0.6 - 1.96 * (0.24 / 5000) ** 0.5, abs=0.005)
    assert bootstrap_intervals({"no": 5}, [kappa], rng=seeded(1)) == (None,)
    assert bootstrap_intervals({"yes": 30_000}, [kappa], rng=seeded(1)) == (None,)


def test_words_follow_the_published_scale() -> None:
    scale = {-0.1: "poor", 0.1: "slight", 0.3: "fair", 0.5: "moderate", 0.7: "substantial", 0.9: "almost perfect"}
    assert {value: verdict(value) for value in scale} == scale


def test_labels_without_an_order_are_refused_where_one_is_needed() -> None:
    with pytest.raises(UsageError, match="no order"):
        cohens_kappa(["a", 1], ["a", 1], weights="linear")
    with pytest.raises(UsageError, match="not in the order"):
        cohens_kappa(["low", "high"], ["low", "low"], weights="quadratic", order=["low"])
    with pytest.raises(UsageError, match="numbers"):
        krippendorff_alpha([("a", "b")], level="interval")
    with pytest.raises(UsageError, match="at most"):
        krippendorff_alpha([(1e200, 1.0)], level="interval")
