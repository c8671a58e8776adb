"""Questions in own words, promises and numbers as people write them, the evaluation plan and what it leaves out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from walk_cases import GOOD, case, finish, prompt_at

from llmdrill.errors import UsageError
from llmdrill.scale.components import callout
from llmdrill.scale.evaluation import parse_plan, plan_gaps, read_plan
from llmdrill.scale.prompts import Prompt, Show
from llmdrill.scale.scenario import match_topic, missed_topics, promises
from llmdrill.scale.walk import Walk, answer, apply, next_item
from llmdrill.scale.workbench import said, stated_number


def _ask(typed: str, confirm: str = "yes") -> tuple[dict[str, str], list[str]]:
    """Return the answers after one question, and what was shown."""
    scenario = case()
    walk, prompt = prompt_at(scenario, "ask.1")
    walk = apply(walk, answer(scenario, walk, prompt, typed))
    item = next_item(scenario, walk)
    if isinstance(item, Prompt) and item.kind == "yes_no":
        walk = apply(walk, answer(scenario, walk, item, confirm))
        item = next_item(scenario, walk)
    return walk.answers, [item.what, item.about] if isinstance(item, Show) else []


@pytest.mark.parametrize(
    "typed", ["1", "how-fast", "What latency is acceptable?", "acceptable latency", "how quickly??"]
)
def test_a_question_is_taken_by_number_by_id_or_in_own_words(typed: str) -> None:
    answers, shown = _ask(typed)
    assert shown == ["fact", "how-fast"]
    assert [topic.id for topic in missed_topics(case(), answers)] == ["money"]


def test_a_refused_match_reveals_nothing() -> None:
    answers, shown = _ask("What latency is acceptable?", "no")
    assert shown == []
    assert [topic.id for topic in missed_topics(case(), answers)] == ["how-fast", "money"]


@pytest.mark.parametrize("typed", ["zebras and giraffes", "???", "the of and", "漢字"])
def test_a_question_that_shares_no_word_with_the_bank_is_told_so(typed: str) -> None:
    answers, shown = _ask(typed)
    assert shown == ["no_match", typed]
    assert len(missed_topics(case(), answers)) == 2


@given(st.text(max_size=60))
def test_matching_is_the_same_every_time_and_ignores_capitals(words: str) -> None:
    found = match_topic(case(), words)
    assert match_topic(case(), words) == found
    if words.isascii():
        assert match_topic(case(), words.upper()) == found


def test_a_fact_that_was_told_becomes_the_default_of_its_promise() -> None:
    scenario = case()
    _, told = prompt_at(scenario, "promise.total_p95", {"ask.1": "how-fast"})
    _, untold = prompt_at(scenario, "promise.total_p95")
    assert (told.default, untold.default) == ("4s", "")


@pytest.mark.parametrize(
    ("requirement", "typed", "kept"),
    [
        ("total_p95", "4s", "4s"),
        ("total_p95", "<= 4000ms", "4000ms"),
        ("total_p95", "at most 4 seconds", "4 seconds"),
        ("total_p95", "2", "2"),
        ("money", "$4,000", "$4,000"),
        ("money", "4k", "4k"),
        ("recall", "85%", "85%"),
        ("recall", ">= 0.85", "0.85"),
        ("recall", "", ""),
    ],
)
def test_a_promise_is_kept_as_people_write_it(requirement: str, typed: str, kept: str) -> None:
    scenario = case()
    walk, prompt = prompt_at(scenario, f"promise.{requirement}")
    event = answer(scenario, walk, prompt, typed)
    assert event.text == kept
    assert promises(scenario, apply(walk, event).answers) == ({requirement: kept} if kept else {})


@pytest.mark.parametrize(
    ("requirement", "typed"),
    [
        ("recall", "85"),
        ("recall", "-0.1"),
        ("total_p95", "-1s"),
        ("total_p95", "$4"),
        ("money", "soon"),
        ("money", "1e400"),
    ],
)
def test_a_promise_out_of_range_or_of_another_kind_is_refused(requirement: str, typed: str) -> None:
    scenario = case()
    walk, prompt = prompt_at(scenario, f"promise.{requirement}")
    with pytest.raises(UsageError):
        answer(scenario, walk, prompt, typed)


@pytest.mark.parametrize(
    ("typed", "stated"),
    [("1.5/s", 1.5), ("~1.5", 1.5), ("≈ 90 rpm", 1.5), ("5.4k req/hour", 1.5), ("", None)],
)
def test_a_number_is_read_with_its_unit(typed: str, stated: float | None) -> None:
    scenario = case()
    walk, prompt = prompt_at(scenario, "number.peak", GOOD)
    text = answer(scenario, walk, prompt, typed).text
    found = stated_number(scenario.numbers[0], text)
    assert found == (None if stated is None else pytest.approx(stated))


def test_a_stage_is_named_in_any_case_and_must_be_one_of_the_flow() -> None:
    scenario = case()
    walk, prompt = prompt_at(scenario, "number.slow", GOOD)
    assert answer(scenario, walk, prompt, "LLM").text == "llm"
    with pytest.raises(UsageError, match="none of your stages: guard, llm"):
        answer(scenario, walk, prompt, "search")


# --- components -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("", "model=gpt-4o-mini, timeout=5s"),
        ("timeout=2s", "timeout=2s"),
        ("timeout = 2s , model = gpt-4o", "timeout=2s, model=gpt-4o"),
        ("model=gpt-4o timeout=250ms", "model=gpt-4o, timeout=250ms"),
        ("model=gpt-4o;timeout=250ms", "model=gpt-4o, timeout=250ms"),
    ],
)
def test_settings_are_read_as_pairs(typed: str, kept: str) -> None:
    scenario = case()
    walk, prompt = prompt_at(scenario, "role.llm.settings", {"role.llm": "small"})
    assert answer(scenario, walk, prompt, typed).text == kept


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("timeout", "is not name=value; settings here: model, timeout"),
        ("timeot=2s", r"unknown setting 'timeot' \(did you mean timeout"),
        ("timeout=soon", "timeout: 'soon' is not a quantity"),
        ("timeout=-1s", "timeout: "),
        ("timeout=1e999", "too large"),
    ],
)
def test_settings_that_are_none_are_refused_by_name(typed: str, why: str) -> None:
    scenario = case()
    walk, prompt = prompt_at(scenario, "role.llm.settings", {"role.llm": "small"})
    with pytest.raises(UsageError, match=why):
        answer(scenario, walk, prompt, typed)


def test_more_than_is_needed_and_a_needed_part_left_out_are_called_out() -> None:
    scenario = case()
    guard, _, llm, _ = scenario.roles
    assert callout(llm, llm.option("large")) == "A large model for small talk."
    assert callout(llm, llm.option("small")) is None
    assert callout(llm, None) is None
    assert callout(guard, None) == "Everything comes in: this is needed."


# --- the plan -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("recall@5 >= 0.8", "recall_at_k >= 0.8"),
        ("total_p95_s <= 1s", "total_p95_s <= 1s"),
        ("recall_at_k>=85%;MRR@10 > .5", "recall_at_k >= 85%, mrr_at_k >= .5"),
        ("recall_at_k 0.8\nfaithfulness", "recall_at_k >= 0.8, faithfulness"),
        ("usd_per_month <= $1,000,000, recall_at_k ≥ 0.8", "usd_per_month <= $1,000,000, recall_at_k >= 0.8"),
        ("recall_at_k >= 0.8, recall_at_k >= 0.9", "recall_at_k >= 0.9"),
        ("", ""),
    ],
)
def test_a_plan_is_read_as_metrics_with_thresholds(typed: str, kept: str) -> None:
    assert read_plan(typed) == kept
    assert read_plan(kept) == kept


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("recal_at_k >= 0.8", r"unknown metric 'recal_at_k' \(did you mean recall_at_k"),
        ("recall@5 >= -1", "'-1' is "),
        ("recall_at_k >= 85", "'85' is no share"),
        ("total_p95_s <= soon", "'soon' is not a quantity"),
        (">= 0.8", "is not a metric with a threshold"),
        ("quality is good", "unknown metric 'quality'"),
    ],
)
def test_a_plan_with_an_unknown_metric_or_threshold_is_refused(typed: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        read_plan(typed)


@given(st.text(alphabet="recall_at_k@ >=<0.85%,$;\n1s≥", max_size=40))
def test_a_plan_that_is_read_reads_the_same_again(typed: str) -> None:
    try:
        kept = read_plan(typed)
    except UsageError:
        return
    assert read_plan(kept) == kept
    assert parse_plan(kept) == parse_plan(typed)


FULL = {
    "metrics": "recall_at_k >= 0.8, faithfulness >= 0.9",
    "judge": "A judge model, calibrated against 200 labels by people.",
    "sample": "300 questions.",
    "agreement": "kappa 0.6",
    "gate": "No release under the limits.",
    "on_failure": "Roll back.",
}


def test_a_full_plan_has_no_gap() -> None:
    assert plan_gaps(case(), FULL) == ()


@pytest.mark.parametrize(
    ("change", "gap"),
    [
        ({"metrics": "recall_at_k >= 0.8"}, "nothing in the plan judges generation: consider faithfulness"),
        ({"metrics": "faithfulness >= 0.9"}, "nothing in the plan judges retrieval: consider recall_at_k, mrr_at_k"),
        ({"metrics": "recall_at_k, faithfulness >= 0.9"}, "recall_at_k has no threshold"),
        ({"judge": "GPT as a judge."}, "a judge model without calibration"),
        ({"judge": ""}, "no one judges the generated answers"),
        ({"sample": "A good sample."}, "no sample size"),
        ({"agreement": "High."}, "no agreement target"),
        ({"gate": ""}, "nothing said about 'gate'"),
        ({"on_failure": ""}, "nothing said about 'on failure'"),
    ],
)
def test_each_part_left_out_of_the_plan_is_one_gap(change: dict[str, str], gap: str) -> None:
    gaps = plan_gaps(case(), {**FULL, **change})
    assert len(gaps) == 1
    assert gaps[0].startswith(gap)


def test_people_who_judge_need_no_calibration_and_generation_always_needs_a_judge() -> None:
    assert plan_gaps(case(), {**FULL, "judge": "Two people with a rubric."}) == ()
    bare = {name: text for name, text in FULL.items() if name not in {"judge", "sample", "agreement"}}
    gaps = plan_gaps(case(), {**bare, "metrics": "recall_at_k >= 0.8"})
    assert any("no one judges" in gap for gap in gaps)


def test_a_plan_that_says_none_or_no_idea_has_said_nothing() -> None:
    answers = {**FULL, "judge": "an LLM judge", "sample": "50 answers", "agreement": "no idea", "gate": "none"}
    gaps = " ".join(plan_gaps(case(), answers))
    for words in ("without calibration", "50 cases leave", "±14 points", "no agreement target", "'gate'"):
        assert words in gaps


def test_what_is_graded_as_said_are_the_persons_own_words_by_step() -> None:
    words = {
        "ask.1": "How quickly?",
        "ask.1.match": "yes",
        "ask.2": "money",  # picked from the list: the topic's own question
        "promise.money": "$4k",
        "role.llm.why": "Cheap.",
        "role.llm": "small",
        "architecture.why": "Straight.",
        "latency.why": "The model.",
        "judge": "People.",
        "curveball.twice": "More.",
    }
    assert said(case(), words) == {
        "S": ["How quickly?", "What is the budget?"],
        "C": ["Cheap."],
        "A": ["Straight."],
        "L": ["The model."],
        "E": ["People."],
    }


def test_a_whole_walk_with_good_answers_ends_with_every_prompt_answered() -> None:
    scenario = case()
    walk = finish(scenario, Walk(), GOOD)
    assert next_item(scenario, walk) is None
    assert {name: walk.answers[name] for name in GOOD} == GOOD
