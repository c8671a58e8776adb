"""The latency of a design: laws of chains and branches, first tokens, and where the time goes."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from system_cases import api, design, estimated, fixed, known, scenario, stage_of

from llmdrill.system.estimate import StageEstimate, TotalEstimate, estimate_design
from llmdrill.system.estimate_json import estimate_json

Stages = dict[str, dict[str, Any]]


def _chain(*stages: dict[str, Any]) -> Stages:
    """Return stages s0, s1, … one after the other."""
    return {f"s{n}": {**stage, "after": [f"s{n - 1}"] if n else []} for n, stage in enumerate(stages)}


_SECONDS = st.floats(0.001, 10).map(lambda value: round(value, 4))


@st.composite
def _stage(draw: st.DrawFn, *, lossless: bool = False) -> dict[str, Any]:
    p50 = draw(_SECONDS)
    timing = {"latency_p50": p50, "latency_p95": p50 * draw(st.floats(1, 5))}
    if lossless:
        return {"kind": "tool", **timing, "usd_per_call": draw(st.floats(0, 0.1))}
    return draw(
        st.sampled_from(
            [
                {"kind": "tool", **timing, "retries": 2, "failure_share": 0.1, "backoff": 0.1},
                {"kind": "rules", **timing, "passes": 0.7},
                {"kind": "cache", **timing, "hit_rate": 0.4},
                {"kind": "network", "probability": 0.5},
                {"kind": "debounce", "wait": 0.1, "passes": 0.5},
                {"kind": "queue", "wait_p50": 0.1, "wait_p95": 1.0, "timeout": 2.0},
                api(max_output_tokens=50),
                {"kind": "agent", "model": "gpt-4o", "steps": 3},
                {"kind": "judge", "model": "gpt-4o", "retries_share": 0.3, "at_most": 2},
                {"kind": "reranker", "candidates": 20},
                {"kind": "human_review", "asynchronous": False, "seconds_per_item": 30},
                {"kind": "transcribe"},
                {"kind": "speak", "timeout": 1.0, "fallback": "apologise"},
            ]
        )
    )


@settings(max_examples=40, deadline=None)
@given(stages=st.lists(_stage(), min_size=1, max_size=6))
def test_percentiles_are_in_order_for_every_stage_and_in_total(stages: list[dict[str, Any]]) -> None:
    found = estimated(_chain(*stages), draws=1_000)
    every: list[StageEstimate | TotalEstimate] = [*found.stages, found.total]
    for one in every:
        if one.p50_s is not None and one.p95_s is not None and one.p99_s is not None:
            assert 0 <= one.p50_s <= one.p95_s <= one.p99_s
        if one.ttft_p50_s is not None and one.ttft_p95_s is not None and one.p50_s is not None:
            assert one.ttft_p50_s <= one.p50_s
            assert one.ttft_p50_s <= one.ttft_p95_s
    assert 0 <= found.total.success_share <= 1
    assert all(0 <= one.share_of_requests <= 1 for one in found.stages)


@settings(max_examples=30, deadline=None)
@given(stages=st.lists(_stage(lossless=True), min_size=2, max_size=6))
def test_another_stage_in_a_chain_never_makes_it_faster(stages: list[dict[str, Any]]) -> None:
    longer, shorter = estimated(_chain(*stages)), estimated(_chain(*stages[:-1]))
    assert known(longer.total.p50_s) > known(shorter.total.p50_s)
    assert known(longer.total.p95_s) > known(shorter.total.p95_s)


def test_a_chain_adds_and_branches_take_the_maximum() -> None:
    both = {"a": fixed(1.0), "b": fixed(0.25)}
    assert estimated({**both, "c": fixed(0.5, after=["a", "b"])}).total.p50_s == 1.5
    assert estimated({"a": fixed(1.0), "b": fixed(0.25, after=["a"])}).total.p50_s == 1.25
    assert estimated(both).total.p99_s == 1.0


@settings(max_examples=20, deadline=None)
@given(left=_stage(lossless=True), right=_stage(lossless=True))
def test_two_branches_take_at_least_the_longer_and_at_most_both(left: dict[str, Any], right: dict[str, Any]) -> None:
    apart = known(estimated({"left": left, "right": right}).total.p50_s)
    chained = known(estimated({"left": left, "right": {**right, "after": ["left"]}}).total.p50_s)
    alone = [known(estimated({name: one}).total.p50_s) for name, one in (("left", left), ("right", right))]
    assert max(alone) <= apart <= chained


def test_the_percentiles_of_a_lone_lognormal_are_the_stated_ones_within_their_sampling_error() -> None:
    found = estimated({"a": {"kind": "tool", "latency_p50": 0.3, "latency_p95": 0.9}}, draws=50_000).total
    assert abs(known(found.p50_s) - 0.3) <= 2 * known(found.p50_error_s)
    assert abs(known(found.p95_s) - 0.9) <= 2 * known(found.p95_error_s)
    assert 0 < known(found.p50_error_s) < 0.01


def test_more_draws_make_the_sampling_error_smaller() -> None:
    few, many = (known(estimated({"a": {"kind": "network"}}, draws=n).total.p95_error_s) for n in (1_000, 64_000))
    assert few / many == pytest.approx(8, rel=0.6)


def test_total_is_ttft_plus_the_other_tokens_times_tpot() -> None:
    exact = api(ttft_p50=0.4, ttft_p95=0.4, tpot_p50=0.01, tpot_p95=0.01)
    found = estimated({"llm": exact})
    assert found.total.p50_s == pytest.approx(0.4 + 199 * 0.01)
    assert found.total.ttft_p95_s == pytest.approx(0.4)
    assert found.stages[0].tpot_p50_s == pytest.approx(0.01)


def test_the_first_token_shows_early_only_if_nothing_waits_for_the_model() -> None:
    exact = api(ttft_p50=0.4, ttft_p95=0.4, tpot_p50=0.01, tpot_p95=0.01)
    checked = estimated({"llm": exact, "check": fixed(0.1, after=["llm"])}).total
    assert checked.ttft_p50_s == checked.p50_s == pytest.approx(2.49)
    logged = estimated({"llm": exact, "log": fixed(9.0, after=["llm"], asynchronous=True)}).total
    assert logged.ttft_p50_s == pytest.approx(0.4)
    assert logged.p50_s == pytest.approx(2.39)


def test_what_runs_aside_costs_but_does_not_delay() -> None:
    aside = fixed(60.0, after=["a"], asynchronous=True, usd_per_call=0.5)
    found = estimated({"a": fixed(1.0), "log": aside, "after_log": fixed(5.0, after=["log"])})
    assert found.total.p99_s == 1.0
    assert found.total.usd_per_request == 0.5


def test_offline_stages_do_not_delay_even_where_something_waits_for_them() -> None:
    stages = {"chunk": {"kind": "chunking", "method": "fixed", "size_tokens": 100}, "a": fixed(1.0, after=["chunk"])}
    assert estimated(stages).total.p50_s == 1.0


def test_the_critical_path_follows_the_slower_branch_without_gaps() -> None:
    stages = {
        "guard": fixed(0.1),
        "quick": fixed(0.2, after=["guard"]),
        "slow": fixed(0.7, after=["guard"]),
        "join": fixed(0.3, after=["quick", "slow"]),
    }
    found = estimated(stages)
    assert [step.name for step in found.critical_path] == ["guard", "slow", "join"]
    assert [step.start_s for step in found.critical_path] == pytest.approx([0.0, 0.1, 0.8])
    assert found.critical_path[-1].end_s == pytest.approx(found.total.p50_s)
    assert found.bottleneck == "slow"
    assert found.bottleneck_share == pytest.approx(0.7 / 1.1)


def test_the_bottleneck_is_where_the_tail_goes_not_where_the_median_does() -> None:
    stages = {
        "steady": fixed(1.0),
        "wild": {"kind": "tool", "after": ["steady"], "latency_p50": 0.5, "latency_p95": 8.0},
    }
    assert estimated(stages).bottleneck == "wild"


def _busy() -> Stages:
    return {
        "chunk": {"kind": "chunking", "method": "structural", "size_tokens": 200, "overlap_tokens": 30},
        "guard": {"kind": "rules", "passes": 0.98},
        "cache": {"kind": "cache", "after": ["guard"], "hit_rate": 0.2},
        "embed": {"kind": "embedding", "after": ["cache"], "model": "all-minilm-l6-v2"},
        "search": {"kind": "vector_search", "after": ["embed"], "k": 20},
        "words": {"kind": "keyword_search", "after": ["cache"], "k": 20},
        "rrf": {"kind": "fusion", "after": ["search", "words"], "k": 5},
        "llm": api(after=["rrf"], timeout=8, retries=1, failure_share=0.01, fallback="spare"),
        "spare": {"kind": "llm", "model": "llama-3.1-8b", "served": "self", "on": "h100-sxm-80gb"},
        "log": {"kind": "queue", "after": ["llm"], "asynchronous": True},
    }


def test_equal_seeds_give_equal_bytes_and_other_seeds_do_not() -> None:
    texts = [json.dumps(estimate_json(estimated(_busy(), seed=seed))) for seed in (0, 0, 1)]
    assert texts[0] == texts[1] != texts[2]


def test_json_is_in_milliseconds_with_six_digits_and_names_its_schema() -> None:
    data = estimate_json(estimated({"a": fixed(1 / 3)}))
    assert data["schema"] == "llmdrill/estimate@1"
    assert data["stages"][0]["p50_ms"] == data["total"]["p95_ms"] == 333.333
    assert data["critical_path"] == [{"name": "a", "start_ms": 0.0, "end_ms": 333.333}]
    assert {"usd_per_request", "memory_bytes", "share_of_requests", "basis"} <= set(data["stages"][0])
    assert {"ttft_p95_ms", "usd_per_month", "success_share", "human_share"} <= set(data["total"])


def test_another_stage_does_not_change_what_the_others_draw() -> None:
    alone = estimated({"net": {"kind": "network"}}).stages[0]
    beside = estimated({"x": {"kind": "network"}, "net": {"kind": "network"}}).stages[1]
    assert alone.p95_s == beside.p95_s


def test_two_stages_draw_apart() -> None:
    left, right = estimated({"aa": {"kind": "network"}, "bb": {"kind": "network"}}).stages
    assert left.p95_s != right.p95_s


def test_the_speed_of_twenty_thousand_draws_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    built, case = design(_busy()), scenario()
    estimate_design(built, case)
    began = time.process_time()
    estimate_design(built, case)
    with capsys.disabled():
        spent_ms = 1000 * (time.process_time() - began)
        print(f"\n20,000 requests through {len(_busy())} stages: {spent_ms:.0f} ms of CPU time")  # noqa: T201 - shown


def test_a_judge_of_the_question_reads_no_answer() -> None:
    stages = {"guard": {"kind": "judge", "model": "gpt-4o", "prompt_tokens": 300}, "llm": api(after=["guard"])}
    assert stage_of(estimated(stages), "guard").usd_per_request == pytest.approx((800 * 2.5 + 20 * 10) / 1e6)
