"""The cost of a design: published prices, exact shares, retries and fallbacks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from system_cases import api, estimated, fixed, known, scenario, stage_of, workload

from llmdrill.estimate.chunks import chunk_count
from llmdrill.estimate.lognormal import lognormal
from llmdrill.system.kinds.model_call import capped_lognormal_mean
from llmdrill.system.kinds.passages import chunks_expected

Stages = dict[str, dict[str, Any]]


def _chain(*stages: dict[str, Any]) -> Stages:
    """Return stages s0, s1, … one after the other."""
    return {f"s{n}": {**stage, "after": [f"s{n - 1}"] if n else []} for n, stage in enumerate(stages)}


def test_a_million_requests_to_gpt_4o_cost_3250_dollars_at_its_list_price() -> None:
    # 500 input and 200 output tokens at 2.50 and 10 dollars a million: 3,250 dollars (the price's own arithmetic).
    found = estimated({"llm": api()})
    assert found.total.usd_per_month == pytest.approx(3250.0, rel=1e-12)
    assert found.stages[0].usd_per_request == pytest.approx(0.00325, rel=1e-12)


def test_the_cost_of_spread_token_counts_is_exact_not_drawn() -> None:
    wide = scenario(workload=workload(input_tokens={"p50": 100, "p95": 900}, output_tokens={"p50": 50, "p95": 400}))
    mean_in, mean_out = lognormal(p50=100, p95=900).mean, lognormal(p50=50, p95=400).mean
    for seed in (1, 2):
        found = estimated({"llm": api()}, of=wide, seed=seed, draws=500)
        assert found.total.usd_per_request == pytest.approx((mean_in * 2.5 + mean_out * 10) / 1e6, rel=1e-12)


@settings(max_examples=20, deadline=None)
@given(p50=st.floats(5, 500), ratio=st.floats(1.05, 8), cap=st.floats(1, 2000))
def test_the_mean_of_capped_tokens_is_what_drawing_gives(p50: float, ratio: float, cap: float) -> None:
    drawn = np.minimum(lognormal(p50=p50, p95=p50 * ratio).draw(np.random.default_rng(0), 200_000), cap)
    assert capped_lognormal_mean(p50=p50, p95=p50 * ratio, cap=cap) == pytest.approx(drawn.mean(), rel=0.03)


def test_the_expected_number_of_chunks_is_near_the_counted_one() -> None:
    lengths = np.random.default_rng(0).integers(300, 5000, 400).tolist()
    counted = chunk_count(lengths, size_tokens=256, overlap_tokens=32)
    expected = chunks_expected(corpus_tokens=sum(lengths), size_tokens=256, overlap_tokens=32, documents=len(lengths))
    assert expected == pytest.approx(counted, rel=0.01)


@settings(max_examples=30, deadline=None)
@given(usd=st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_a_chain_costs_the_sum_of_its_stages(usd: list[float]) -> None:
    found = estimated(_chain(*(fixed(0.1, usd_per_call=each) for each in usd)), draws=100)
    assert found.total.usd_per_request == pytest.approx(sum(usd))
    assert found.total.usd_per_month == pytest.approx(sum(usd) * 1e6)


def test_a_cache_that_always_hits_removes_the_cost_behind_it() -> None:
    cached = {
        "cache": {"kind": "cache", "hit_rate": 1.0},
        "llm": api(after=["cache"]),
        "judge": fixed(1, after=["llm"]),
    }
    found = estimated(cached)
    assert found.total.usd_per_request == 0.0
    assert stage_of(found, "llm").share_of_requests == 0.0
    assert stage_of(found, "llm").p50_s is None
    assert known(found.total.p95_s) < 0.1


@settings(max_examples=25, deadline=None)
@given(hit=st.floats(0, 1), passes=st.floats(0, 1), probability=st.floats(0, 1))
def test_shares_multiply_exactly_and_a_join_counts_once(hit: float, passes: float, probability: float) -> None:
    stages = {
        "guard": {"kind": "rules", "passes": passes},
        "cache": {"kind": "cache", "after": ["guard"], "hit_rate": hit},
        "left": fixed(0.1, after=["cache"], probability=probability, usd_per_call=1.0),
        "right": fixed(0.1, after=["cache"], usd_per_call=1.0),
        "join": fixed(0.1, after=["left", "right"], usd_per_call=1.0),
    }
    found, through = estimated(stages, draws=200), passes * (1 - hit)
    shares = [stage_of(found, name).share_of_requests for name in ("left", "right", "join")]
    assert shares == pytest.approx([through * probability, through, through])
    assert found.total.usd_per_request == pytest.approx(through * (2 + probability))


def test_a_hit_beside_another_branch_still_skips_what_waits_for_the_cache() -> None:
    stages = {"guard": fixed(0.5), "cache": {"kind": "cache", "hit_rate": 1.0}, "llm": api(after=["guard", "cache"])}
    found = estimated(stages)
    assert stage_of(found, "llm").share_of_requests == 0.0
    assert found.total.p50_s == 0.5


def test_a_router_sends_each_request_one_way_and_the_ways_join_again() -> None:
    stages = {
        "route": {"kind": "router", "routes": "small=0.8, large"},
        "small": fixed(0.1, after=["route"], usd_per_call=1.0),
        "large": fixed(2.0, after=["route"], usd_per_call=10.0),
        "end": fixed(0.5, after=["small", "large"]),
    }
    found = estimated(stages)
    shares = {one.name: one.share_of_requests for one in found.stages}
    assert shares == pytest.approx({"route": 1.0, "small": 0.8, "large": 0.2, "end": 1.0})
    assert found.total.usd_per_request == pytest.approx(2.8)
    assert 0.6 < known(found.total.p50_s) < 0.7
    assert 2.5 < known(found.total.p95_s) < 2.6


def test_dropped_triggers_are_no_requests_but_they_were_paid_for() -> None:
    stages = {"wait": {"kind": "debounce", "wait": 0.1, "passes": 0.25}, "llm": api(after=["wait"])}
    found = estimated(stages)
    assert found.total.success_share == 1.0
    assert known(found.total.p50_s) > 2.0
    assert found.total.usd_per_request == pytest.approx(0.25 * 0.00325)


def test_a_prefix_cache_skips_nothing_and_makes_input_cheaper() -> None:
    plain = estimated({"llm": api()}).total
    stages = {"cache": {"kind": "cache", "type": "prefix", "hit_rate": 0.8}, "llm": api(after=["cache"])}
    spared = estimated(stages)
    assert stage_of(spared, "llm").share_of_requests == 1.0
    assert known(spared.total.usd_per_request) < known(plain.usd_per_request)
    assert spared.total.usd_per_request == estimated({"llm": api(cached_share=0.8)}).total.usd_per_request


def test_retrieved_passages_are_read_and_paid_for() -> None:
    stages = {
        "chunk": {"kind": "chunking", "method": "fixed", "size_tokens": 200},
        "search": {"kind": "vector_search", "k": 20},
        "words": {"kind": "keyword_search", "k": 20},
        "rrf": {"kind": "fusion", "after": ["search", "words"], "k": 5},
        "llm": api(after=["rrf"], prompt_tokens=250),
    }
    usd = stage_of(estimated(stages), "llm").usd_per_request
    assert usd == pytest.approx(((500 + 250 + 5 * 200) * 2.5 + 200 * 10) / 1e6)


def test_the_cost_of_an_agent_grows_faster_than_its_steps() -> None:
    two, four = (
        known(estimated({"a": {"kind": "agent", "model": "gpt-4o", "steps": steps}}).total.usd_per_request)
        for steps in (2, 4)
    )
    assert four > 2 * two - 200 * 10 / 1e6  # only the last step writes the answer
    read = [700 + 360 * step for step in range(2)]
    assert two == pytest.approx((sum(read) * 2.5 + (60 + 200) * 10) / 1e6)


def test_a_judge_that_sends_answers_back_pays_for_them_again() -> None:
    stages = {"llm": api(), "judge": {"kind": "judge", "after": ["llm"], "model": "gpt-4o", "prompt_tokens": 0}}
    once = known(stage_of(estimated(stages), "judge").usd_per_request)
    assert once == pytest.approx(((500 + 200) * 2.5 + 20 * 10) / 1e6)
    stages["judge"] |= {"retries_share": 0.5, "at_most": 2}
    again = known(stage_of(estimated(stages), "judge").usd_per_request)
    assert again == pytest.approx(1.75 * once + 0.75 * 0.00325)


def test_people_are_counted_and_paid() -> None:
    stages = {
        "sieve": {"kind": "classifier", "passes": 0.1},
        "human": {"kind": "human_review", "after": ["sieve"], "seconds_per_item": 36, "usd_per_hour": 20},
    }
    found = estimated(stages)
    assert found.total.human_share == pytest.approx(0.1)
    assert found.total.usd_per_request == pytest.approx(0.1 * 0.2)
    assert known(found.total.p99_s) < 1.0


def test_retries_multiply_the_chance_of_failure_and_every_try_is_paid_for() -> None:
    stage = fixed(1.0, failure_share=0.1, retries=2, backoff=0.5, usd_per_call=1.0)
    found = estimated({"a": stage}, draws=20_000)
    assert found.total.success_share == pytest.approx(1 - 0.1**3)
    assert found.total.usd_per_request == pytest.approx(1 + 0.1 + 0.01)
    assert found.total.p50_s == 1.0
    assert found.total.p95_s == 2.5  # a second try, after half a second
    assert found.total.p99_s == pytest.approx(2.5)


def test_a_timeout_bounds_the_latency_and_lowers_success() -> None:
    slow = {"kind": "tool", "latency_p50": 1.0, "latency_p95": 3.0}
    bounded = estimated({"a": {**slow, "timeout": 3.0}}, draws=40_000).total
    assert bounded.success_share == pytest.approx(0.95, abs=0.005)
    assert known(bounded.p99_s) <= 3.0


def test_a_stand_by_runs_only_for_the_failed_and_rescues_them() -> None:
    stages = {
        "main": fixed(1.0, failure_share=0.2, fallback="spare", usd_per_call=1.0),
        "spare": fixed(0.5, usd_per_call=10.0, failure_share=0.1),
    }
    found = estimated(stages, draws=20_000)
    assert stage_of(found, "spare").share_of_requests == pytest.approx(0.2)
    assert found.total.usd_per_request == pytest.approx(1.0 + 0.2 * 10.0)
    assert found.total.success_share == pytest.approx(1 - 0.2 * 0.1)
    assert (found.total.p50_s, found.total.p95_s) == (1.0, 1.5)


def test_a_try_that_times_out_takes_as_long_as_the_timeout() -> None:
    stages = {"main": fixed(10.0, timeout=3.0, retries=1, backoff=1.0, fallback="spare"), "spare": fixed(0.5)}
    found = estimated(stages)
    assert found.total.p50_s == 3.0 + 1.0 + 3.0 + 0.5
    assert found.total.success_share == 1.0


def test_a_stand_by_is_loaded_by_the_failed_only() -> None:
    stages = {"main": fixed(1.0, failure_share=0.1, fallback="spare"), "spare": fixed(0.5, rate_limit_per_s=0.5)}
    assert estimated(stages).total.over_capacity is None
    stages["main"]["failure_share"] = 0.9
    assert "spare: 1.37 requests/s" in str(estimated(stages).total.over_capacity)


def test_a_fallback_that_runs_anyway_costs_nothing_more() -> None:
    stages = {
        "dense": fixed(1.0, failure_share=0.2, fallback="sparse"),
        "sparse": fixed(0.5, usd_per_call=1.0),
        "join": fixed(0.0, after=["dense", "sparse"]),
    }
    found = estimated(stages)
    assert found.total.success_share == 1.0
    assert found.total.usd_per_request == 1.0


@pytest.mark.parametrize(("fallback", "success"), [("skip", 1.0), ("apologise", 0.9), (None, 0.9)])
def test_skipping_goes_on_and_apologising_does_not(fallback: str | None, success: float) -> None:
    stages = {"a": fixed(1.0, failure_share=0.1, fallback=fallback), "b": fixed(1.0, after=["a"], usd_per_call=1.0)}
    found = estimated(stages)
    assert found.total.success_share == pytest.approx(success)
    assert found.total.usd_per_request == pytest.approx(success)


def test_what_fails_aside_does_not_fail_the_request() -> None:
    stages = {"a": fixed(1.0), "log": fixed(1.0, after=["a"], asynchronous=True, failure_share=0.5)}
    assert estimated(stages).total.success_share == 1.0


def test_if_everything_fails_there_is_no_latency_to_state() -> None:
    found = estimated({"a": fixed(1.0, failure_share=1.0)})
    assert found.total.success_share == 0.0
    assert found.total.p50_s is None
    assert "no drawn request ends with an answer: there is no latency to state" in found.notes


def test_a_cost_cap_bounds_the_cost_of_a_run() -> None:
    wide = scenario(workload=workload(output_tokens={"p50": 200, "p95": 2000}))
    free, capped = (estimated({"llm": api(**extra)}, of=wide) for extra in ({}, {"usd_cap_per_request": 0.004}))
    assert known(capped.total.usd_per_request) < min(0.004, known(free.total.usd_per_request))
