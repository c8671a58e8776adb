"""Tiered moderation: hand-counted flows, conservation, confusion algebra, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.errors import UsageError
from llmdrill.estimate.confusion import confusion_rates, precision_from_flags, recall_from_flags
from llmdrill.estimate.moderation import Tier, explain_moderation, moderation_flow

SHARES = st.floats(0, 1)
RULES = Tier("rules", usd=0, latency_s=0.001, escalate_share=0.9, precision=0.95, recall=0.4)
LLM = Tier(
    "llm", usd=0.0004, latency_s=0.9, escalate_share=0.05, precision=0.9, recall=0.85, escalate_harmful_share=0.4
)
PEOPLE = Tier("people", usd=0.25, latency_s=7200, escalate_share=0, precision=0.98, recall=0.95, reviews_per_h=60)


def figures(*tiers: Tier, messages: float = 1e6, base_rate: float = 0.01) -> dict[str, float]:
    flows = moderation_flow(tiers, messages_per_day=messages, base_rate=base_rate)
    return {one.name: one.value for one in explain_moderation(flows)}


def test_a_pipeline_counted_by_hand() -> None:
    flows = moderation_flow((RULES, LLM, PEOPLE), messages_per_day=1e6, base_rate=0.01)
    assert [flow.messages for flow in flows] == pytest.approx([1e6, 9e5, 4.5e4])
    assert [flow.harmful for flow in flows] == pytest.approx([1e4, 9e3, 3.6e3])
    assert [flow.missed for flow in flows] == pytest.approx([600, 810, 180])
    assert [flow.removed_wrongly for flow in flows] == pytest.approx([400 / 19, 510, 3420 / 49])
    found = figures(RULES, LLM, PEOPLE)
    assert found["usd_per_message"] == pytest.approx(0.01161)
    assert found["usd_per_month"] == pytest.approx(0.01161e6 * 365 / 12)
    assert found["mean_latency_ms"] == pytest.approx(0.001 + 0.9 * 0.9 + 0.045 * 7200)  # in seconds here
    assert found["humans_needed"] == pytest.approx(125)
    assert found["recall_share"] == pytest.approx(0.841)


def test_simulated_messages_end_as_counted() -> None:
    rng, n = np.random.default_rng(2), 1_000_000
    harmful = rng.random(n) < 0.01
    passed = rng.random(n) < np.where(harmful, 0.4, (0.05 - 0.01 * 0.4) / 0.99)
    (flow, _) = moderation_flow((LLM, PEOPLE), messages_per_day=n, base_rate=0.01)
    removed = ~passed & (
        rng.random(n)
        < np.where(harmful, 0.85, flow.removed_wrongly / (flow.decided - flow.missed - flow.removed_rightly))
    )
    assert passed.sum() == pytest.approx(flow.escalated, rel=0.02)
    assert (removed & harmful).sum() == pytest.approx(flow.removed_rightly, rel=0.03)
    assert (removed & harmful).sum() / removed.sum() == pytest.approx(0.9, abs=0.02)


@st.composite
def pipelines(draw: st.DrawFn) -> tuple[tuple[Tier, ...], float]:
    count, base_rate = draw(st.integers(1, 5)), draw(st.floats(0.001, 0.3))
    tiers = tuple(
        Tier(
            f"tier {number}",
            usd=draw(st.floats(0, 1)),
            latency_s=draw(st.floats(0, 100)),
            escalate_share=draw(SHARES) if number < count - 1 else 0.0,
            precision=draw(st.floats(0.5, 1)),
            recall=draw(SHARES),
            reviews_per_h=draw(st.one_of(st.none(), st.floats(1, 1000))),
        )
        for number in range(count)
    )
    return tiers, base_rate


@given(pipeline=pipelines(), messages=st.floats(1, 1e9))
def test_no_message_is_lost_and_none_is_made(pipeline: tuple[tuple[Tier, ...], float], messages: float) -> None:
    tiers, base_rate = pipeline
    flows = moderation_flow(tiers, messages_per_day=messages, base_rate=base_rate)
    assert sum(flow.decided for flow in flows) == pytest.approx(messages)
    ends = sum(flow.removed_rightly + flow.removed_wrongly + flow.missed + flow.allowed_rightly for flow in flows)
    assert ends == pytest.approx(messages)
    assert sum(flow.removed_rightly + flow.missed for flow in flows) == pytest.approx(messages * base_rate)
    assert all(flow.allowed_rightly >= -1e-6 * messages for flow in flows)
    waits = sum(flow.decided * flow.wait_s for flow in flows) / messages
    found = {one.name: one.value for one in explain_moderation(flows)}
    assert found["mean_latency_ms"] == pytest.approx(waits)


@given(pipeline=pipelines(), factor=st.floats(0.1, 100))
def test_counts_scale_with_traffic_and_the_price_of_a_message_does_not(
    pipeline: tuple[tuple[Tier, ...], float], factor: float
) -> None:
    tiers, base_rate = pipeline
    one, more = (
        {
            each.name: each.value
            for each in explain_moderation(moderation_flow(tiers, messages_per_day=n, base_rate=base_rate))
        }
        for n in (1000.0, 1000.0 * factor)
    )
    assert more["usd_per_message"] == pytest.approx(one["usd_per_message"])
    for name in ("usd_per_month", "humans_needed", "missed_harm_per_day", "wrongly_removed_per_day"):
        assert more[name] == pytest.approx(one[name] * factor)


@given(base_rate=st.floats(0.001, 0.5), recall=st.floats(0.01, 1), precision=st.floats(0.01, 1))
def test_any_two_of_three_rates_give_the_third(base_rate: float, recall: float, precision: float) -> None:
    flags = base_rate * recall / precision
    if flags - base_rate * recall > 1 - base_rate:
        with pytest.raises(UsageError, match="more harmless messages than there are"):
            confusion_rates(base_rate=base_rate, precision=precision, recall=recall)
        return
    assert precision_from_flags(base_rate=base_rate, flag_share=flags, recall=recall) == pytest.approx(precision)
    assert recall_from_flags(base_rate=base_rate, flag_share=flags, precision=precision) == pytest.approx(recall)
    assert confusion_rates(base_rate=base_rate, recall=recall, flag_share=flags)[0] == pytest.approx(precision)


def test_without_harm_nothing_is_missed_and_recall_is_left_out() -> None:
    assert figures(PEOPLE, base_rate=0.0)["wrongly_removed_per_day"] == 0
    assert "recall_share" not in figures(PEOPLE, base_rate=0.0)


@pytest.mark.parametrize(
    ("tiers", "word"),
    [
        ((), "one tier"),
        ((RULES,), "'rules': it is the last"),
        ((Tier("a", usd=0, latency_s=0, escalate_share=0, precision=1),), "two of precision, recall and flag"),
        ((Tier("a", usd=0, latency_s=0, escalate_share=0, precision=0, recall=0.5),), "precision 0"),
        ((Tier("a", usd=0, latency_s=0, escalate_share=0, precision=0.001, recall=0.9),), "no such combination"),
        ((Tier("a", usd=0, latency_s=0, escalate_share=0, flag_share=0.001, recall=0.9),), "no such combination"),
        ((Tier("a", usd=0, latency_s=0, escalate_share=0, flag_share=0.9, precision=0.9),), "no such combination"),
        ((Tier("a", usd=0, latency_s=0, escalate_share=0, flag_share=0.5, precision=0.9, recall=0.9),), "not 0.5"),
        ((Tier("a", usd=-1, latency_s=0, escalate_share=0, precision=1, recall=1),), "usd"),
        ((Tier("a", usd=0, latency_s=math.inf, escalate_share=0, precision=1, recall=1),), "latency_s"),
        (
            (
                Tier("a", usd=0, latency_s=0, escalate_share=0.001, escalate_harmful_share=1, precision=1, recall=1),
                PEOPLE,
            ),
            "cannot escalate",
        ),
    ],
)
def test_impossible_pipelines_are_refused(tiers: tuple[Tier, ...], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        moderation_flow(tiers, messages_per_day=1000, base_rate=0.05)
