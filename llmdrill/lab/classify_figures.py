"""The figures and tables of a filter's decisions on the test part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from llmdrill.lab.classify_metrics import (
    GroupBootstrap,
    at_production_mix,
    average_precision,
    f1,
    mean_of,
    scaled,
    share_of,
)
from llmdrill.measurement import Figure
from llmdrill.retrieval.messages import KINDS
from llmdrill.table import Table
from llmdrill.units import MS_PER_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from llmdrill.lab.classify_run import ClassificationConfig, Decisions
    from llmdrill.lab.clock import Timing
    from llmdrill.retrieval.messages import MessageSet

    Bools = NDArray[np.bool_]

CURVE: Final = tuple(round(0.1 * step, 1) for step in range(1, 10))
MESSAGES: Final = 1_000_000.0  # the price of mistakes is stated per million


def figures_of(
    test: MessageSet,
    decisions: Decisions,
    config: ClassificationConfig,
    timing: Timing,
    *,
    seed: int,
) -> tuple[Figure, ...]:
    """Return every figure; those whose names are metrics of a design first."""
    draws = GroupBootstrap(test.groups, seed=seed)
    return (
        *_any_figures(decisions, config, draws),
        *_macro_figures(decisions, draws),
        *_tier_figures(decisions, config, draws),
        *_price_figures(decisions, config, draws),
        *(
            figure
            for column, name in enumerate(test.categories)
            for figure in _category(decisions, column, name, draws)
        ),
        Figure("classifier_p50_ms", timing.median_s * MS_PER_S, n=len(timing.seconds), note="one message at a time"),
        Figure("classifier_p95_ms", timing.p95_s * MS_PER_S, n=len(timing.seconds), note="one message at a time"),
        Figure(
            "messages", float(len(test.messages)), n=draws.n_groups, note="of the test part; n is the number of groups"
        ),
    )


def _any_figures(decisions: Decisions, config: ClassificationConfig, draws: GroupBootstrap) -> Iterator[Figure]:
    removed, violates, share = decisions.removed, decisions.violates, config.violation_share
    looked_at = removed | decisions.escalated
    yield draws.share("recall_any", looked_at, violates, note="violations removed or escalated")
    yield draws.share("false_positive_rate", removed, ~violates, note="benign messages removed")
    yield draws.share("removed_recall_any", removed, violates, note="violations removed without a language model")
    yield draws.share("precision_any", violates, removed, note="removed messages that violate, at the set's mix")
    hits = at_production_mix(removed & violates, violates, violation_share=share)
    flags = at_production_mix(removed, violates, violation_share=share)
    yield draws.statistic(
        "precision_any_production",
        lambda w: np.divide(hits(w), flags(w), out=np.full(len(w), np.nan), where=flags(w) > 0),
        n=int(removed.sum()),
        note=f"removed messages that violate, if {share:.2%} of all do",
    )
    yield draws.statistic("f1_any", f1(removed, violates), n=len(removed))
    ranking = average_precision(decisions.scores.max(axis=1), violates)
    yield draws.statistic("average_precision_any", ranking, n=len(removed), note="by the highest category's score")


def _macro_figures(decisions: Decisions, draws: GroupBootstrap) -> Iterator[Figure]:
    columns = list(zip(decisions.flagged.T, decisions.truth.T, decisions.scores.T, strict=True))
    n, note = len(columns), "mean over categories; n is their number"
    yield draws.statistic("precision_macro", mean_of([share_of(t, f) for f, t, _ in columns]), n=n, note=note)
    yield draws.statistic("recall_macro", mean_of([share_of(f, t) for f, t, _ in columns]), n=n, note=note)
    yield draws.statistic("f1_macro", mean_of([f1(f, t) for f, t, _ in columns]), n=n, note=note)
    ranked = mean_of([average_precision(s, t) for _, t, s in columns])
    yield draws.statistic("average_precision_macro", ranked, n=n, note=note)


def _tiers(decisions: Decisions) -> dict[str, Bools]:
    """Return which messages each tier decides; each message is in exactly one."""
    by_rule: Bools = np.asarray(decisions.by_rule.any(axis=1))
    removed = decisions.removed
    return {
        "rules": by_rule,
        "classifier_removed": removed & ~by_rule,
        "escalated": decisions.escalated,
        "classifier_allowed": ~removed & ~decisions.escalated,
    }


def _tier_figures(decisions: Decisions, config: ClassificationConfig, draws: GroupBootstrap) -> Iterator[Figure]:
    everything = np.ones(len(decisions.truth), dtype=bool)
    note = f"if {config.violation_share:.2%} of messages violate"
    for name, tier in _tiers(decisions).items():
        mixed = at_production_mix(tier, decisions.violates, violation_share=config.violation_share)
        yield draws.statistic(f"{name}_share", mixed, n=len(tier), note=f"of production's messages, {note}")
        yield draws.share(f"{name}_share_in_set", tier, everything, note="of the test part as it is")


def _price_figures(decisions: Decisions, config: ClassificationConfig, draws: GroupBootstrap) -> Iterator[Figure]:
    removed, violates, share = decisions.removed, decisions.violates, config.violation_share
    wrong = share_of(removed, ~violates)
    missed = share_of(~removed & ~decisions.escalated, violates)
    for name, mistakes, usd, usd_per_million in (
        (
            "false_positive",
            wrong,
            config.usd_per_false_positive,
            (1 - share) * config.usd_per_false_positive * MESSAGES,
        ),
        ("false_negative", missed, config.usd_per_false_negative, share * config.usd_per_false_negative * MESSAGES),
    ):
        note = f"per million of production's messages at {usd:g} USD each"
        priced = scaled(mistakes, usd_per_million)
        yield draws.statistic(f"{name}_usd_per_million", priced, n=len(removed), note=note)


def _category(decisions: Decisions, column: int, name: str, draws: GroupBootstrap) -> Iterator[Figure]:
    flagged, truth = decisions.flagged[:, column], decisions.truth[:, column]
    yield draws.share(f"precision_{name}", truth, flagged)
    yield draws.share(f"recall_{name}", flagged, truth)
    yield draws.statistic(f"f1_{name}", f1(flagged, truth), n=int(truth.sum()))
    ranking = average_precision(decisions.scores[:, column], truth)
    yield draws.statistic(f"average_precision_{name}", ranking, n=int(truth.sum()))
    yield Figure(f"threshold_{name}", float(decisions.thresholds[column]), note="set on the second part of the set")


def tables_of(test: MessageSet, decisions: Decisions) -> tuple[Table, ...]:
    """Return the threshold curves, the outcome by kind of message, and what each tier decided."""
    return (_curve_table(test, decisions), _kind_table(test, decisions), _tier_table(decisions))


def _curve_table(test: MessageSet, decisions: Decisions) -> Table:
    rows = []
    for column, name in enumerate(test.categories):
        scores, truth = decisions.scores[:, column], decisions.truth[:, column]
        for threshold in CURVE:
            flagged = scores >= threshold
            hits = int((flagged & truth).sum())
            precision = hits / int(flagged.sum()) if flagged.any() else None
            rows.append((name, threshold, precision, hits / int(truth.sum()), int(flagged.sum())))
    return Table("Thresholds", ("category", "threshold", "precision", "recall", "flagged"), tuple(rows))


def _kind_table(test: MessageSet, decisions: Decisions) -> Table:
    kinds = np.array(test.kinds)
    removed, escalated = decisions.removed, decisions.escalated
    rows = tuple(
        (kind, int(of.sum()), *(float(part[of].mean()) for part in (removed, escalated, ~removed & ~escalated)))
        for kind in KINDS
        if (of := kinds == kind).any()
    )
    return Table("By kind of message", ("kind", "n", "removed_share", "escalated_share", "allowed_share"), rows)


def _tier_table(decisions: Decisions) -> Table:
    rows = tuple(
        (name.replace("_", " "), int((tier & decisions.violates).sum()), int((tier & ~decisions.violates).sum()))
        for name, tier in _tiers(decisions).items()
    )
    return Table("By tier", ("decided", "violating", "benign"), rows, note="of the test part as it is")
