"""A tiered moderation pipeline: what each tier decides, what it passes on, what that costs, and what goes wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llmdrill.estimate.checks import NumberError, require_not_negative, require_positive, require_share
from llmdrill.estimate.confusion import confusion_rates
from llmdrill.estimate.explain import Explained, figure

if TYPE_CHECKING:
    from collections.abc import Sequence

DAYS_PER_MONTH: Final = 365 / 12
_SLACK: Final = 1e-9  # what rounding may miss


@dataclass(frozen=True, slots=True)
class Tier:
    """One tier: what it costs a message and what it does with its messages.

    Attributes:
        name: Such as ``rules``.
        usd: Price of one message.
        latency_s: What it adds to a message's wait.
        escalate_share: Of its messages, passed on to the next tier.
        precision: Of the messages it removes itself, the share that is harmful.
        recall: Of the harmful messages it decides itself, the share that it removes.
        flag_share: Of the messages it decides itself, the share that it removes. Two of the three fix the third.
        escalate_harmful_share: Of its harmful messages, passed on; None if it passes on blindly (as escalate_share).
        reviews_per_h: Messages a person decides in an hour, where people work in this tier.
    """

    name: str
    usd: float
    latency_s: float
    escalate_share: float
    precision: float | None = None
    recall: float | None = None
    flag_share: float | None = None
    escalate_harmful_share: float | None = None
    reviews_per_h: float | None = None


@dataclass(frozen=True, slots=True)
class TierFlow:
    """Messages a day at one tier: all in counts, so that they add up."""

    tier: Tier
    messages: float
    harmful: float
    escalated: float
    escalated_harmful: float
    removed_rightly: float
    removed_wrongly: float
    missed: float
    wait_s: float

    @property
    def decided(self) -> float:
        """Messages whose fate this tier settles."""
        return self.messages - self.escalated

    @property
    def allowed_rightly(self) -> float:
        """Harmless messages that pass."""
        return self.decided - self.removed_rightly - self.removed_wrongly - self.missed

    @property
    def flag_share(self) -> float | None:
        """Share of the decided messages that it removes; None if it decides none."""
        return (self.removed_rightly + self.removed_wrongly) / self.decided if self.decided else None


def moderation_flow(tiers: Sequence[Tier], *, messages_per_day: float, base_rate: float) -> tuple[TierFlow, ...]:
    """Return what every tier gets, decides, gets wrong and passes on.

    Formula:
        escalated = messages * escalate_share; escalated_harmful = harmful * escalate_harmful_share;
        of the decided: removed_rightly = recall * harmful; removed_wrongly = removed_rightly * (1 - precision) /
        precision; missed = (1 - recall) * harmful. The next tier gets what is escalated.

    Args:
        tiers: In the order that a message passes them; the last escalates nothing.
        messages_per_day: That enter the first tier.
        base_rate: Harmful share of them.

    Returns:
        One flow per tier; their decided messages add up to messages_per_day.

    Raises:
        NumberError: If a number is out of range, the last tier escalates, or base rate, precision and recall cannot
            hold together (more harmless messages removed than there are).

    Error:
        Exact for the rates given. Rates measured on other traffic do not hold: precision falls with the base rate.
    Source:
        Arithmetic of the confusion matrix, tier by tier.

    >>> rules = Tier("rules", usd=0, latency_s=0.001, escalate_share=0.1, precision=1, recall=1)
    >>> people = Tier("people", usd=0.1, latency_s=60, escalate_share=0, precision=1, recall=1)
    >>> [round(flow.decided) for flow in moderation_flow([rules, people], messages_per_day=1000, base_rate=0.01)]
    [900, 100]
    """
    require_positive(messages_per_day=messages_per_day)
    require_share(base_rate=base_rate)
    if not tiers:
        raise NumberError("a pipeline needs one tier at least")
    flows: list[TierFlow] = []
    messages, harmful, wait_s = messages_per_day, messages_per_day * base_rate, 0.0
    for number, tier in enumerate(tiers, start=1):
        wait_s += tier.latency_s
        try:
            _check(tier, last=number == len(tiers))
            flow = _flow(tier, messages, harmful, wait_s)
        except NumberError as error:
            raise NumberError(f"tier '{tier.name}': {error}") from None
        flows.append(flow)
        messages, harmful = flow.escalated, flow.escalated_harmful
    return tuple(flows)


def _check(tier: Tier, *, last: bool) -> None:
    require_not_negative(usd=tier.usd, latency_s=tier.latency_s)
    require_share(escalate=tier.escalate_share)
    if tier.escalate_harmful_share is not None:
        require_share(escalate_harmful=tier.escalate_harmful_share)
    if tier.reviews_per_h is not None:
        require_positive(reviews_per_h=tier.reviews_per_h)
    if last and tier.escalate_share:
        raise NumberError("it is the last, so there is no tier to escalate to; give it escalate=0")


def _flow(tier: Tier, messages: float, harmful: float, wait_s: float) -> TierFlow:
    escalated = messages * tier.escalate_share
    share = tier.escalate_share if tier.escalate_harmful_share is None else tier.escalate_harmful_share
    escalated_harmful = harmful * share
    slack = _SLACK * messages
    if not escalated_harmful - slack <= escalated <= messages - (harmful - escalated_harmful) + slack:
        raise NumberError(
            f"it cannot escalate {share:g} of its harmful messages and {tier.escalate_share:g} of all: "
            f"{harmful / messages:.4g} of its messages are harmful"
        )
    decided, decided_harmful = messages - escalated, harmful - escalated_harmful
    right = wrong = 0.0
    if decided > slack:
        precision, recall = confusion_rates(
            base_rate=min(1.0, decided_harmful / decided),
            precision=tier.precision,
            recall=tier.recall,
            flag_share=tier.flag_share,
        )
        right = recall * decided_harmful
        # Precision 0 finds nothing harmful: then only the flag rate says how many are removed.
        wrong = right * (1 - precision) / precision if precision else (tier.flag_share or 0.0) * decided
    missed = decided_harmful - right
    return TierFlow(tier, messages, harmful, escalated, escalated_harmful, right, wrong, missed, wait_s)


def explain_moderation(flows: Sequence[TierFlow], *, hours_per_day: float = 6.0) -> tuple[Explained, ...]:
    """Return the pipeline's figures, each with its formula and the numbers put in.

    Args:
        flows: Of ``moderation_flow``.
        hours_per_day: That one person reviews on a working day.

    Raises:
        NumberError: If hours_per_day is not from 0 to 24.
    """
    require_positive(hours_per_day=hours_per_day)
    if hours_per_day > 24:
        raise NumberError(f"hours_per_day must be at most 24, got {hours_per_day:g}")
    total = flows[0].messages
    cost = math.fsum(flow.messages * flow.tier.usd for flow in flows) / total
    spent = " + ".join(f"{figure(flow.messages)} × ${figure(flow.tier.usd)}" for flow in flows)
    waited = " + ".join(f"{figure(flow.messages)} × {figure(flow.tier.latency_s)} s" for flow in flows)
    mean_s = math.fsum(flow.messages * flow.tier.latency_s for flow in flows) / total
    month = cost * total * DAYS_PER_MONTH
    arithmetic = "Arithmetic"
    return (
        Explained(
            "usd_per_message",
            cost,
            "usd",
            "sum over tiers of messages × price / messages that enter",
            f"({spent}) / {figure(total)} = ${figure(cost)}",
            arithmetic,
        ),
        Explained(
            "usd_per_month",
            month,
            "usd",
            "usd_per_message × messages per day × 365 / 12",
            f"${figure(cost)} × {figure(total)} × {DAYS_PER_MONTH:.4f} = ${figure(month)}",
            arithmetic,
        ),
        Explained(
            "mean_latency_ms",
            mean_s,
            "seconds",
            "sum over tiers of messages × latency / messages that enter",
            f"({waited}) / {figure(total)} = {figure(1000 * mean_s)} ms",
            arithmetic,
        ),
        *_people(flows, hours_per_day),
        *_harm(flows),
    )


def _people(flows: Sequence[TierFlow], hours_per_day: float) -> tuple[Explained, ...]:
    by_people = [(flow.messages, flow.tier.reviews_per_h) for flow in flows if flow.tier.reviews_per_h]
    reviews = math.fsum(messages for messages, _ in by_people)
    needed = math.fsum(messages / (rate * hours_per_day) for messages, rate in by_people if rate)
    filled = " + ".join(f"{figure(many)} / ({figure(rate)} × {hours_per_day:g})" for many, rate in by_people if rate)
    return (
        Explained(
            "human_reviews_per_day",
            reviews,
            "count",
            "sum of the messages that reach tiers where people decide",
            f"{' + '.join(figure(messages) for messages, _ in by_people) or 'no tier has reviews_per_h'}"
            f" = {figure(reviews)}",
            "Arithmetic",
        ),
        Explained(
            "humans_needed",
            needed,
            "count",
            "people at work every day: sum of messages / (reviews per hour × hours a day)",
            f"{filled or '0'} = {figure(needed)}",
            "Arithmetic",
        ),
    )


def _harm(flows: Sequence[TierFlow]) -> tuple[Explained, ...]:
    missed = math.fsum(flow.missed for flow in flows)
    wrong = math.fsum(flow.removed_wrongly for flow in flows)
    right = math.fsum(flow.removed_rightly for flow in flows)
    found = [
        _sum("missed_harm_per_day", missed, "sum over tiers of (1 − recall) × harmful decided", flows, "missed"),
        _sum(
            "wrongly_removed_per_day",
            wrong,
            "sum over tiers of removed rightly × (1 − precision) / precision",
            flows,
            "removed_wrongly",
        ),
    ]
    if right + missed:
        recall = right / (right + missed)
        filled = f"{figure(right)} / ({figure(right)} + {figure(missed)}) = {figure(recall)}"
        found.append(Explained("recall_share", recall, "share", "removed rightly / all harmful", filled, "Arithmetic"))
    if right + wrong:
        precision = right / (right + wrong)
        filled = f"{figure(right)} / ({figure(right)} + {figure(wrong)}) = {figure(precision)}"
        found.append(
            Explained("precision_share", precision, "share", "removed rightly / all removed", filled, "Arithmetic")
        )
    return tuple(found)


def _sum(name: str, value: float, formula: str, flows: Sequence[TierFlow], part: str) -> Explained:
    parts = " + ".join(figure(getattr(flow, part)) for flow in flows)
    return Explained(name, value, "count", formula, f"{parts} = {figure(value)}", "Arithmetic")
