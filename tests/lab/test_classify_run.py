"""The message filter: heads and figures against scikit-learn, thresholds, tiers, and a run on a made-up embedder."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.errors import UsageError
from llmdrill.lab.classify_metrics import GroupBootstrap, average_precision, choose_threshold, f1, wilson_interval
from llmdrill.lab.classify_run import ClassificationConfig, Rule, classification_key, measure_classification
from llmdrill.lab.disguise import undo_disguise
from llmdrill.lab.heads import train_heads
from llmdrill.retrieval.messages import Message, MessageSet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdrill.measurement import Measurement

CATEGORIES = ("scam", "spam")
CONFIG = ClassificationConfig(violation_share=0.02, usd_per_false_positive=1.0, usd_per_false_negative=4.0)


class WordEmbedder:
    """Counts of known words, to unit length: a text is what its words are."""

    name, sha256, max_tokens, dimensions = "words", "0" * 64, 254, 6

    def token_spans(self, text: str) -> np.ndarray:
        return np.array([match.span() for match in re.finditer(r"\w+", text)])

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        words = ("courier", "follow", "chair", "code", "money")
        counts = np.array([[*(text.lower().count(word) for word in words), 0.5] for text in texts], dtype=np.float32)
        return np.asarray(counts / np.linalg.norm(counts, axis=1, keepdims=True))


def made_up_messages(groups: int = 120) -> MessageSet:
    """Return groups of a scam, its disguise and a benign message, or of a spam and a benign one; a few are mixed up."""
    messages = []
    for number in range(groups):
        noise = " chair" * (number % 4)
        scam = [
            Message(f"courier code {number}{noise}", "plain", frozenset({"scam"}), f"g{number}"),
            Message(f"c0ur1er c0de {number}{noise}", "obfuscated", frozenset({"scam"}), f"g{number}"),
            Message(f"chair code {number}{noise}", "look_alike", frozenset(), f"g{number}"),
        ]
        spam = [
            Message(f"follow money {number}{noise}", "plain", frozenset({"spam"}), f"g{number}"),
            Message(
                f"{'follow' if number % 9 == 1 else 'chair'} {number}{noise}", "ordinary", frozenset(), f"g{number}"
            ),
        ]
        messages += spam if number % 2 else scam
    return MessageSet(tuple(messages), CATEGORIES)


def run(config: ClassificationConfig = CONFIG, **more: Any) -> Measurement:
    return measure_classification(made_up_messages(), WordEmbedder(), replace(config, **more), seed=0)


def value(measurement: Measurement, name: str) -> float:
    figure = measurement.figure(name)
    assert figure is not None, name
    assert figure.value is not None, name
    return figure.value


# --- against scikit-learn -----------------------------------------------------------------------------------------


def test_heads_equal_the_logistic_regression_of_scikit_learn() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(200, 12)).astype(np.float32)
    labels = vectors[:, :3] + rng.normal(size=(200, 3)) > [0.0, 1.0, -1.0]
    ours, exact = train_heads(vectors, labels, l2=0.25), vectors.astype(np.float64)
    for column in range(3):
        theirs = linear.LogisticRegression(C=4.0, tol=1e-10, max_iter=10_000).fit(exact, labels[:, column])
        assert ours.weights[column] == pytest.approx(theirs.coef_[0], abs=1e-4)
        assert ours.probabilities(vectors)[:, column] == pytest.approx(theirs.predict_proba(vectors)[:, 1], abs=1e-5)


def test_heads_of_separable_classes_are_finite_and_refuse_no_penalty() -> None:
    vectors = np.eye(4, dtype=np.float32)
    labels = np.array([[True], [True], [False], [False]])
    assert np.isfinite(train_heads(vectors, labels, l2=1e-6).weights).all()
    with pytest.raises(ValueError, match="l2 is 0"):
        train_heads(vectors, labels, l2=0)
    with pytest.raises(ValueError, match="with it and without it"):
        train_heads(vectors, labels | True, l2=1.0)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_average_precision_and_f1_equal_those_of_scikit_learn(rows: list[tuple[int, bool]]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    scores, truth = np.array([score / 5 for score, _ in rows]), np.array([label for _, label in rows])
    if not truth.any():
        return
    even, doubled = np.ones((1, len(rows))), np.arange(1, len(rows) + 1)[None, :].astype(float)
    for weights in (even, doubled):
        expected = metrics.average_precision_score(truth, scores, sample_weight=weights[0])
        assert average_precision(scores, truth)(weights)[0] == pytest.approx(expected)
        expected = metrics.f1_score(truth, scores >= 0.5, sample_weight=weights[0], zero_division=0)
        assert f1(scores >= 0.5, truth)(weights)[0] == pytest.approx(expected)


# --- intervals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 3, 6, 24, 28])
def test_the_interval_of_none_and_of_all_begins_and_ends_with_them_exactly(n: int) -> None:
    assert wilson_interval(successes=0, n=n).low == 0
    assert wilson_interval(successes=n, n=n).high == 1


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (1, 3), (37, 80), (99, 100), (20, 20)])
def test_the_wilson_interval_equals_that_of_scipy(successes: int, n: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    theirs = stats.binomtest(successes, n).proportion_ci(method="wilson")
    ours = wilson_interval(successes=successes, n=n)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_near_copies_in_a_group_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    per_group = rng.random(60) < 0.5
    hits = np.repeat(per_group, 4)
    everything = np.ones(240, dtype=bool)
    apart = GroupBootstrap([str(index) for index in range(240)], seed=0).share("x", hits, everything)
    grouped = GroupBootstrap([str(index // 4) for index in range(240)], seed=0).share("x", hits, everything)
    widths = [
        figure.high - figure.low for figure in (apart, grouped) if figure.high is not None and figure.low is not None
    ]
    assert widths[1] == pytest.approx(2 * widths[0], rel=0.15)  # groups of four: a quarter of the cases


def test_a_share_of_one_is_not_called_certain() -> None:
    everything = np.ones(20, dtype=bool)
    figure = GroupBootstrap([str(index) for index in range(20)], seed=0).share("x", everything, everything)
    assert figure.low == pytest.approx(wilson_interval(successes=20, n=20).low)
    nothing = GroupBootstrap(["a"] * 20, seed=0).share("x", everything, ~everything)
    assert (nothing.value, nothing.n) == (None, 0)


# --- thresholds ---------------------------------------------------------------------------------------------------

SCORES = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
TRUTH = np.array([0, 0, 1, 0, 1, 0, 1, 1], dtype=bool)


def chosen(target: Any, at_least: float = 0.9, *, wrong: float = 1.0, missed: float = 1.0) -> float:
    return choose_threshold(
        SCORES,
        TRUTH,
        np.ones(8),
        target=target,
        at_least=at_least,
        usd_per_false_positive=wrong,
        usd_per_false_negative=missed,
    )


def test_each_target_chooses_the_threshold_that_a_hand_finds() -> None:
    assert chosen("precision", 1.0) == pytest.approx(0.65)
    assert chosen("precision", 0.75) == pytest.approx(0.45)
    assert chosen("recall", 1.0) == pytest.approx(0.25)
    assert chosen("recall", 0.5) == pytest.approx(0.65)
    assert chosen("price", wrong=10.0) == pytest.approx(0.65)
    assert chosen("price", missed=10.0) == pytest.approx(0.25)


@given(st.floats(0.1, 20), st.floats(1.1, 5))
def test_dearer_misses_never_raise_the_threshold(price: float, factor: float) -> None:
    assert chosen("price", missed=price * factor) <= chosen("price", missed=price)


# --- disguise -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("disguised", "plain"),
    [
        ("d u m b as a b r i c k", "dumb as abrick"),
        ("S.w.a.p.y.a.r.d H-e-l-p", "swapyard help"),
        ("fl@gged acc0unt, p4ss", "flagged account, pass"),
        ("Pаyment dоne", "payment done"),  # Cyrillic а, о
        ("ｆｒｅｅ", "free"),  # full width
        ("z\u200bero wi\u0301dth", "zero width"),
        ("Sell it for 25€ or 12.50, size 10x4, at 9:30!", "sell it for 25€ or 12.50, size 10x4, at 9:30!"),
        ("I a m", "iam"),
        ("A or B?", "a or b?"),
    ],
)
def test_disguise_is_undone_and_numbers_are_left(disguised: str, plain: str) -> None:
    assert undo_disguise(disguised) == plain


# --- the run ------------------------------------------------------------------------------------------------------


def test_every_message_is_decided_by_exactly_one_tier() -> None:
    measured = run(lower_threshold=0.2, upper_threshold=0.6, rules=(Rule("spam", "follow"),))
    rows = measured.tables[2].rows
    tested = len(made_up_messages().part("test").messages)
    assert sum(int(row[1] or 0) + int(row[2] or 0) for row in rows) == tested == value(measured, "messages")
    names = ("rules", "classifier_removed", "escalated", "classifier_allowed")
    for suffix in ("share", "share_in_set"):
        assert sum(value(measured, f"{name}_{suffix}") for name in names) == pytest.approx(1)


def test_the_share_at_productions_mix_is_the_weighted_share_of_either_kind() -> None:
    measured = run(lower_threshold=0.2, upper_threshold=0.6)
    rows = {str(row[0]): (float(row[1] or 0), float(row[2] or 0)) for row in measured.tables[2].rows}
    violating, benign = (sum(row[at] for row in rows.values()) for at in (0, 1))
    expected = 0.02 * rows["escalated"][0] / violating + 0.98 * rows["escalated"][1] / benign
    assert value(measured, "escalated_share") == pytest.approx(expected)


def test_precision_falls_with_the_share_of_violations_and_recall_does_not_change() -> None:
    rare, common = (run(upper_threshold=0.3, violation_share=share) for share in (0.01, 0.3))
    assert 0 < value(rare, "precision_any_production") < value(common, "precision_any_production")
    assert value(rare, "recall_any") == value(common, "recall_any")


def test_the_price_of_mistakes_is_their_share_times_their_price() -> None:
    measured = run(upper_threshold=0.3)
    wrong = value(measured, "false_positive_rate") * 0.98 * 1.0 * 1e6
    missed = (1 - value(measured, "recall_any")) * 0.02 * 4.0 * 1e6
    assert value(measured, "false_positive_usd_per_million") == pytest.approx(wrong)
    assert value(measured, "false_negative_usd_per_million") == pytest.approx(missed)


def test_undoing_disguise_finds_the_disguised() -> None:
    shares = []
    for normalise in (False, True):
        table = run(normalise=normalise, upper_threshold=0.5).tables[1]
        shares.append(next(float(row[2] or 0) for row in table.rows if row[0] == "obfuscated"))
    assert shares[0] < 0.5
    assert shares[1] > 0.9


def test_a_rule_removes_what_it_matches_in_plain_letters_too() -> None:
    shy: dict[str, Any] = {"upper_threshold": 1.0}
    assert value(run(**shy), "removed_recall_any") == 0
    with_rule = run(**shy, rules=(Rule("scam", r"courier code"),))
    assert value(with_rule, "recall_scam") == 1
    assert value(with_rule, "rules_share") > 0
    assert value(run(**shy, rules=(Rule("scam", r"courier code"),), normalise=False), "recall_scam") == pytest.approx(
        0.5
    )


def test_two_runs_agree_but_for_time_and_the_key_changes_with_the_config() -> None:
    first, second = run(), run()
    timeless = [[f for f in each.figures if not f.name.endswith("_ms")] for each in (first, second)]
    assert timeless[0] == timeless[1]
    assert first.tables == second.tables
    messages, keys = made_up_messages(), set()
    for config in (CONFIG, replace(CONFIG, l2=1.0), replace(CONFIG, rules=(Rule("scam", "x"),))):
        keys |= {classification_key(messages, config, model_sha256=sha, seed=seed) for sha in "ab" for seed in (0, 1)}
    assert len(keys) == 12
    assert first.key == classification_key(messages, CONFIG, model_sha256="0" * 64, seed=0)


def test_a_given_threshold_is_said_to_replace_the_target() -> None:
    assert not any("upper_threshold" in note for note in run().notes)
    measured = run(upper_threshold=0.7)
    assert value(measured, "threshold_scam") == 0.7
    assert any("upper_threshold is given" in note for note in measured.notes)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"violation_share": 0.0}, "violation_share"),
        ({"lower_threshold": 0.9, "upper_threshold": 0.5}, "lower_threshold <= upper_threshold"),
        ({"rules": (Rule("scam", "("),)}, "not a regular expression"),
        ({"rules": (Rule("scan", "x"),)}, "the category 'scan'; known are scam, spam"),
        ({"usd_per_false_positive": -1.0}, "must not be negative"),
    ],
)
def test_a_config_that_cannot_run_is_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)):
        run(**wrong)


def test_a_set_too_small_to_test_on_is_refused() -> None:
    with pytest.raises(UsageError, match="part needs messages with and without"):
        measure_classification(made_up_messages(3), WordEmbedder(), CONFIG, seed=0)
