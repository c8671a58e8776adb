"""Measure a message filter: rules, then logistic heads on embeddings, then what is left for a language model."""

from __future__ import annotations

import re
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from llmdrill.errors import UsageError
from llmdrill.lab.classify_figures import figures_of, tables_of
from llmdrill.lab.classify_metrics import choose_threshold
from llmdrill.lab.clock import Timing
from llmdrill.lab.disguise import undo_disguise
from llmdrill.lab.heads import train_heads
from llmdrill.lab.machine import this_machine
from llmdrill.measurement import Measurement, measurement_key

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from llmdrill.lab.heads import Heads
    from llmdrill.retrieval.embed import Embedder
    from llmdrill.retrieval.messages import MessageSet

    Bools = NDArray[np.bool_]
    Floats = NDArray[np.float64]

TIMED_MESSAGES: Final = 50


@dataclass(frozen=True, slots=True)
class Rule:
    """A regular expression whose match removes a message as a violation of ``category``."""

    category: str
    pattern: str


@dataclass(frozen=True, slots=True)
class ClassificationConfig:
    """What to run.

    Attributes:
        rules: Tier 1; none switches it off.
        normalise: Undo disguise: rules read the plain text, and the classifier scores both texts and takes the higher.
        target: How each category's removal threshold is chosen on the second part of the set.
        at_least: The precision or recall to reach; unused for price.
        upper_threshold: From this probability on a message is removed; it replaces the chosen thresholds.
        lower_threshold: From this probability on, what is not removed goes to the language model; None: nothing does.
        violation_share: Of production's messages.
        usd_per_false_positive: A benign message removed.
        usd_per_false_negative: A violation delivered.
        l2: Penalty on the heads' weights.
    """

    violation_share: float
    usd_per_false_positive: float
    usd_per_false_negative: float
    rules: tuple[Rule, ...] = ()
    normalise: bool = True
    target: Literal["precision", "recall", "price"] = "price"
    at_least: float = 0.9
    upper_threshold: float | None = None
    lower_threshold: float | None = None
    l2: float = 0.3

    def __post_init__(self) -> None:
        if not 0 < self.violation_share < 1:
            raise UsageError(f"violation_share is {self.violation_share}: it must lie between 0 and 1")
        if min(self.usd_per_false_positive, self.usd_per_false_negative) < 0 or self.l2 <= 0:
            raise UsageError("the prices of mistakes must not be negative, and l2 must be positive")
        low, high = self.lower_threshold or 0.0, 1.0 if self.upper_threshold is None else self.upper_threshold
        if not 0 <= low <= high <= 1 or not 0 < self.at_least <= 1:
            raise UsageError("0 <= lower_threshold <= upper_threshold <= 1 and 0 < at_least <= 1 must hold")
        for rule in self.rules:
            try:
                re.compile(rule.pattern)
            except re.error as error:
                raise UsageError(f"the rule {rule.pattern!r} is not a regular expression: {error}") from error


@dataclass(frozen=True, slots=True)
class Decisions:
    """What the filter said about N test messages in C categories.

    Attributes:
        truth: (N, C).
        scores: (N, C), the heads' probabilities, 1 where a rule matched.
        thresholds: (C,), from which a message is removed.
        by_rule: (N, C).
        escalated: (N,), sent to the language model: not removed, and some probability reaches the lower threshold.
    """

    truth: Bools
    scores: Floats
    thresholds: Floats
    by_rule: Bools
    escalated: Bools

    @property
    def flagged(self) -> Bools:
        """Return which messages are removed in which category (N, C)."""
        return self.by_rule | (self.scores >= self.thresholds)

    @property
    def removed(self) -> Bools:
        return np.asarray(self.flagged.any(axis=1))

    @property
    def violates(self) -> Bools:
        return np.asarray(self.truth.any(axis=1))


def classification_key(messages: MessageSet, config: ClassificationConfig, *, model_sha256: str, seed: int) -> str:
    """Return the key of a measurement of this config on these messages with this model."""
    parts = {"kind": "classification", "messages": messages.content_sha256, "model": model_sha256, "seed": seed}
    return measurement_key({**parts, "config": asdict(config)})


def measure_classification(
    messages: MessageSet,
    embedder: Embedder,
    config: ClassificationConfig,
    *,
    seed: int,
    now: Callable[[], float] = time.perf_counter,
) -> Measurement:
    """Train on the first part of the set, set thresholds on the second, and score the third.

    Raises:
        UsageError: If a rule names an unknown category, or a part of the set lacks examples of a category.
    """
    started = now()
    unknown = sorted({rule.category for rule in config.rules} - set(messages.categories))
    if unknown:
        raise UsageError(f"a rule names the category '{unknown[0]}'; known are {', '.join(messages.categories)}")
    for part in ("train", "threshold", "test"):
        _require_examples(messages.part(part), part)
    heads = _train(messages.part("train"), embedder, config)
    thresholds = _thresholds(messages.part("threshold"), embedder, heads, config)
    test = messages.part("test")
    decisions = _decide(test, embedder, heads, thresholds, config)
    timing = _time_one_by_one(test.texts[:TIMED_MESSAGES], embedder, heads, config, now)
    return Measurement(
        kind="classification",
        key=classification_key(messages, config, model_sha256=embedder.sha256, seed=seed),
        figures=figures_of(test, decisions, config, timing, seed=seed),
        tables=tables_of(test, decisions),
        machine=this_machine(),
        seed=seed,
        repeats=1,
        seconds=now() - started,
        notes=_notes(messages, config),
    )


def _require_examples(part: MessageSet, name: str) -> None:
    truth = _truth(part)
    for category, column in zip(part.categories, truth.T, strict=True):
        if not column.any() or column.all():
            raise UsageError(f"the {name} part needs messages with and without '{category}': add groups of messages")
    if truth.any(axis=1).all():
        raise UsageError(f"the {name} part has no benign message: add groups of messages")


def _truth(part: MessageSet) -> Bools:
    return np.array([[category in labels for category in part.categories] for labels in part.labels], dtype=bool)


def _versions(texts: Sequence[str], config: ClassificationConfig) -> tuple[list[str], ...]:
    """Return the texts as they are and, if disguise is undone, also in plain letters."""
    return (list(texts), [undo_disguise(text) for text in texts]) if config.normalise else (list(texts),)


def _train(part: MessageSet, embedder: Embedder, config: ClassificationConfig) -> Heads:
    versions = _versions(part.texts, config)
    vectors = np.vstack([embedder.embed(version) for version in versions])
    # Both versions of a message are one example, so the penalty grows with their number.
    return train_heads(vectors, np.vstack([_truth(part)] * len(versions)), l2=config.l2 * len(versions))


def _score(texts: Sequence[str], embedder: Embedder, heads: Heads, config: ClassificationConfig) -> Floats:
    """Return probabilities (N, C): the higher one of a message's versions."""
    each = [heads.probabilities(embedder.embed(version)) for version in _versions(texts, config)]
    return np.asarray(np.maximum.reduce(each))


def _match_rules(part: MessageSet, config: ClassificationConfig) -> Bools:
    readings = list(zip(*_versions(part.texts, config), strict=True))
    hits = np.zeros((len(readings), len(part.categories)), dtype=bool)
    for rule in config.rules:
        pattern, column = re.compile(rule.pattern, re.IGNORECASE), part.categories.index(rule.category)
        hits[:, column] |= [any(pattern.search(text) for text in versions) for versions in readings]
    return hits


def _thresholds(part: MessageSet, embedder: Embedder, heads: Heads, config: ClassificationConfig) -> Floats:
    """Return each category's removal threshold (C,)."""
    if config.upper_threshold is not None:
        return np.full(len(part.categories), config.upper_threshold)
    truth, scores = _truth(part), _score(part.texts, embedder, heads, config)
    violates, share = truth.any(axis=1), config.violation_share
    weights = np.where(violates, share / violates.mean(), (1 - share) / (1 - violates.mean()))
    return np.array(
        [
            choose_threshold(
                scores[:, column],
                truth[:, column],
                weights,
                target=config.target,
                at_least=config.at_least,
                usd_per_false_positive=config.usd_per_false_positive,
                usd_per_false_negative=config.usd_per_false_negative,
            )
            for column in range(len(part.categories))
        ],
    )


def _decide(
    part: MessageSet,
    embedder: Embedder,
    heads: Heads,
    thresholds: Floats,
    config: ClassificationConfig,
) -> Decisions:
    by_rule = _match_rules(part, config)
    scores = np.where(by_rule, 1.0, _score(part.texts, embedder, heads, config))
    removed = (by_rule | (scores >= thresholds)).any(axis=1)
    lower = config.lower_threshold
    suspect = np.zeros(len(scores), dtype=bool) if lower is None else (scores >= lower).any(axis=1)
    return Decisions(_truth(part), scores, thresholds, by_rule, np.asarray(suspect & ~removed))


def _time_one_by_one(
    texts: Sequence[str],
    embedder: Embedder,
    heads: Heads,
    config: ClassificationConfig,
    now: Callable[[], float],
) -> Timing:
    """Time the classifier on one message after the other, as they arrive in production."""
    seconds = []
    for text in texts:
        start = now()
        _score([text], embedder, heads, config)
        seconds.append(now() - start)
    return Timing(tuple(seconds))


def _notes(messages: MessageSet, config: ClassificationConfig) -> tuple[str, ...]:
    counts = {part: len(messages.part(part).messages) for part in ("train", "threshold", "test")}
    parts = (
        f"{counts['train']} messages to train on, {counts['threshold']} for thresholds, {counts['test']} to test on; "
        "a group of near messages is in one part only"
    )
    unmeasured = (
        "what the language model makes of escalated messages is not measured here; a false negative is a violation "
        "that is neither removed nor escalated"
    )
    mix = (
        f"figures at production's mix take {config.violation_share:.2%} of messages as violating; the set holds far "
        "more, and its benign ones are harder than everyday messages"
    )
    fixed = "upper_threshold is given: the target chooses nothing"
    return (parts, unmeasured, mix, *([] if config.upper_threshold is None else [fixed]))
