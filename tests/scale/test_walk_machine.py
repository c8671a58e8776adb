"""The walk as a state machine: whatever happens, it can be saved, replayed, gone on with, and it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from walk_cases import GOOD, case, finish, prompt_at, step

from llmdrill.errors import ContentError, MissingExtraError, UsageError
from llmdrill.folders import content_files
from llmdrill.scale.prompts import Prompt, Show
from llmdrill.scale.result import result_json, walk_result
from llmdrill.scale.walk import MAX_ANSWER, Event, Walk, answer, apply, next_item, note, refit, replay, seen
from llmdrill.scale.workbench import Workbench
from llmdrill.store import Store, StoredEvent
from llmdrill.system.scenario import Scenario, load_scenario

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from llmdrill.retrieval.embed import Embedder
    from llmdrill.scale.prompts import Item

GARBAGE = (
    "", " ", "\x00\x07", "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\x9b31m", "x" * 25_000, "9" * 5_000, "²", "٣", "½",
    "naïve ☃ 漢字 👩‍👩‍👧", "\udc80\udcff", ":back", ":quit", "->", "[[[", "request -> respond -> request", "1e400",
    "nan", "-1", "$1,000,000", "85%", "4s", "yes", "none", "recall@5 >= 0.8", "a=b", "k=5", "k=999999999999999999",
    "~", "'", "a\nb\n\nc", "request -> llm -> respond", "documents -> chunk", "What is the budget?", "latency please",
)  # fmt: skip
TYPED = st.one_of(
    st.sampled_from(GARBAGE),
    st.text(max_size=30),
    st.integers(0, 9).map(str),  # a choice by its number
    st.just("<default>"),
)
MOVES = st.lists(
    st.tuples(st.sampled_from(("type", "type", "type", "type", "back", "hint", "note", "reveal", "good")), TYPED),
    max_size=60,
)
SHIPPED = sorted(content_files("scenarios"))


def _no_model() -> Embedder:
    raise MissingExtraError("the embedding model", "lab")


def _play(scenario: Scenario, moves: Iterable[tuple[str, str]]) -> list[Event]:
    """Return the events that these moves lead to; a refused answer leaves nothing."""
    events: list[Event] = []
    walk = Walk()
    for move, text in moves:
        while isinstance(item := next_item(scenario, walk), Show):
            events.append(seen(item))
            walk = apply(walk, events[-1])
        if item is None:
            break
        if (event := _event(scenario, walk, item, move, text)) is not None:
            events.append(event)
            walk = apply(walk, event)
    return events


def _event(scenario: Scenario, walk: Walk, prompt: Prompt, move: str, text: str) -> Event | None:
    match move:
        case "back":
            return Event("back")
        case "hint" | "reveal":
            return Event(move, prompt.step)
        case "note":
            return note(text)
    typed = GOOD.get(prompt.id, "1" if prompt.kind == "choice" else "") if move == "good" else text
    try:
        return answer(scenario, walk, prompt, "" if typed == "<default>" else typed, seconds=1.25)
    except UsageError as error:
        refusal = str(error)
    assert 0 < len(refusal) < 1_000
    return None


def _assert_kept(events: list[Event], folder: Path) -> None:
    """Assert that the events come back from the store as they were, and lead to the same walk."""
    with Store(folder) as store:
        session = store.start_session(kind="design", subject="case", subject_sha256="0", options={}, now="t")
        for index, event in enumerate(events):
            stored = StoredEvent(event.kind, event.id, event.text, event.seconds)
            store.append_event(session.id, index, stored, now="t")
        loaded = [Event(one.kind, one.item, one.text, one.seconds) for one in store.events(session.id)]  # type: ignore[arg-type]
    assert loaded == events
    assert replay(loaded) == replay(events)


def _assert_can_be_finished(scenario: Scenario, walk: Walk) -> Walk:
    """Assert that defaults lead to the end; where no part was chosen, one is."""
    for _ in range(400):
        item = next_item(scenario, walk)
        if item is None:
            return walk
        try:
            walk = apply(walk, step(scenario, walk, item, ""))
        except UsageError:
            walk = _choose_a_part(scenario, walk, item)
    raise AssertionError("the walk does not end")


def _choose_a_part(scenario: Scenario, walk: Walk, refused: Item) -> Walk:
    """Return the walk gone back to a role on the request's path, now filled; only a flow may refuse its default."""
    assert refused.id == "flow"
    item: Item | None = refused
    while not (isinstance(item, Prompt) and item.kind == "choice" and not _offline(scenario, item.about)):
        walk = apply(walk, Event("back"))
        item = next_item(scenario, walk)
    return apply(walk, answer(scenario, walk, item, "1"))


def _offline(scenario: Scenario, role_id: str) -> bool:
    role = scenario.role(role_id)
    assert role is not None
    return role.offline


@settings(max_examples=60)
@given(MOVES)
def test_whatever_is_typed_the_walk_is_kept_replayed_and_finished(tmp_path_factory: Any, moves: list[Any]) -> None:
    scenario = case()
    events = _play(scenario, moves)
    _assert_kept(events, tmp_path_factory.mktemp("store"))
    walk = replay(events)
    assert refit(scenario, events) == walk
    ended = _assert_can_be_finished(scenario, walk)
    assert next_item(scenario, ended) is None
    ids = [entry.id for entry in ended.entries]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("name", SHIPPED)
@settings(max_examples=8)
@given(moves=MOVES)
def test_the_shipped_scenarios_bear_whatever_is_typed(name: str, moves: list[Any]) -> None:
    scenario = load_scenario(name).scenario
    events = _play(scenario, moves)
    assert refit(scenario, events) == replay(events)
    _assert_can_be_finished(scenario, replay(events))


@settings(max_examples=80)
@given(
    st.lists(
        st.builds(
            Event,
            st.sampled_from(("answer", "seen", "back", "hint", "reveal", "note")),
            st.sampled_from((*GOOD, "flow.2", "offline", "ask.2", "show.brief", "role.guard.settings", "no.such", "")),
            TYPED,
        ),
        max_size=25,
    )
)
def test_events_of_an_older_scenario_are_left_out_and_asked_again(events: list[Event]) -> None:
    scenario = case()
    walk = refit(scenario, events)
    next_item(scenario, walk)
    _assert_can_be_finished(scenario, walk)


def test_a_saved_flow_that_names_a_role_since_removed_is_asked_again() -> None:
    scenario = case()
    walk = finish(scenario, Walk(), GOOD)
    fewer = case(roles=tuple(role for role in scenario.model_dump()["roles"] if role["id"] != "guard"))
    kept = refit(fewer, walk.entries)
    item = next_item(fewer, kept)
    assert item is not None
    assert item.id == "flow"
    assert kept.answers["number.slow"] == "llm"


def test_back_and_the_same_answer_leave_the_same_state_at_every_prompt() -> None:
    scenario, walk, prompts = case(), Walk(), 0
    while (item := next_item(scenario, walk)) is not None:
        typed = GOOD.get(item.id, "1" if isinstance(item, Prompt) and item.kind == "choice" else "")
        walk = apply(walk, step(scenario, walk, item, typed))
        if not isinstance(item, Prompt):
            continue
        prompts += 1
        back = apply(walk, Event("back"))
        again = next_item(scenario, back)
        assert isinstance(again, Prompt)
        assert again.id == item.id
        assert again.default == (walk.answers[item.id] or item.default)
        assert apply(back, answer(scenario, back, again, typed)) == walk
        assert apply(back, answer(scenario, back, again, "")) == walk  # Enter takes what was taken back
    assert prompts > 30


def test_answers_are_found_by_id_whatever_their_order() -> None:
    scenario = case()
    turned = dict(reversed(list(GOOD.items())))
    assert finish(scenario, Walk(), GOOD) == finish(scenario, Walk(), turned)


def test_back_at_the_beginning_changes_nothing() -> None:
    assert apply(Walk(), Event("back")) == Walk()


def test_an_answer_too_long_is_refused_and_one_at_the_limit_is_taken() -> None:
    scenario = case()
    walk, prompt = prompt_at(scenario, "architecture.why", GOOD)
    assert answer(scenario, walk, prompt, "x" * MAX_ANSWER).text == "x" * MAX_ANSWER
    with pytest.raises(UsageError, match="longer than 20,000"):
        answer(scenario, walk, prompt, "x" * (MAX_ANSWER + 1))


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("a\x1b[31mb\x1b[0m", "ab"),
        ("tab\tand\nline", "tab\tand\nline"),
        ("bell\x07 nul\x00 del\x7f", "bell nul del"),
        ("\x9b31mc1", "31mc1"),
        ("half \udc80", "half ?"),
    ],
)
def test_escape_codes_and_half_characters_do_not_get_into_an_answer(typed: str, kept: str) -> None:
    scenario = case()
    walk, prompt = prompt_at(scenario, "architecture.why", GOOD)
    assert answer(scenario, walk, prompt, typed).text == kept
    assert note(typed).text == kept


@pytest.mark.parametrize("typed", ["²", "9" * 5_000, "0", "99", "-1", "1.0"])
def test_a_number_that_is_not_on_the_list_is_refused(typed: str) -> None:
    walk, prompt = prompt_at(case(), "role.guard")
    with pytest.raises(UsageError, match=r"choose 1 to 4|is none of them") as caught:
        answer(case(), walk, prompt, typed)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("typed", "chosen"), [("1", "rules"), ("RULES", "rules"), ("rul", "rules"), ("4", "none"), ("", "none")]
)
def test_a_choice_is_made_by_number_name_or_beginning(typed: str, chosen: str) -> None:
    walk, prompt = prompt_at(case(), "role.guard")
    assert answer(case(), walk, prompt, typed).text == chosen


def test_a_flow_without_a_part_of_ones_own_is_refused_since_nothing_would_answer() -> None:
    scenario = case()
    for chosen in ({}, {"role.chunk": "fixed"}, {"role.llm": "small"}):
        walk, prompt = prompt_at(scenario, "flow", chosen)
        with pytest.raises(UsageError, match="no part of yours"):
            answer(scenario, walk, prompt, "request -> respond")


def test_hints_notes_and_reveals_are_kept_beside_the_answers() -> None:
    events = [Event("hint", "S"), Event("hint", "S"), Event("reveal", "L"), Event("reveal", "L"), note("mind the gap")]
    walk = replay(events)
    assert (walk.hints, walk.revealed, walk.notes) == (("S", "S"), ("L",), ("mind the gap",))
    assert walk.answers == {}


@settings(max_examples=15)
@given(MOVES)
def test_scores_stay_within_their_bounds_whatever_was_answered(tmp_path_factory: Any, moves: list[Any]) -> None:
    scenario = case()
    walk = _assert_can_be_finished(scenario, replay(_play(scenario, moves)))
    result = walk_result(_bench(tmp_path_factory.mktemp("case"), scenario), walk)
    scores = result.scores
    assert 0 <= scores.numbers_within <= scores.numbers_stated <= len(scenario.numbers)
    assert 0 <= scores.points_to_check <= scores.points == len(scenario.rubric)
    assert scores.self_share is None or 0 <= scores.self_share <= 1
    assert scores.agreement_kappa is None or -1 <= scores.agreement_kappa <= 1
    assert len(result.mine.verdicts) >= len(scenario.requirements)
    assert result_json(result, design_file="d", report_file="r")["scenario"] == "case"


def _bench(folder: Path, scenario: Scenario) -> Workbench:
    from walk_cases import write_case

    file = write_case(folder)
    assert file.scenario == scenario
    return Workbench(file, load_embedder=_no_model)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_option_with_its_own_settings_makes_a_design_that_can_be_computed(name: str) -> None:
    file = load_scenario(name)
    bench = Workbench(file, load_embedder=_no_model)
    for index in range(max(len(role.options) for role in file.scenario.roles)):
        texts = {f"role.{role.id}": role.options[min(index, len(role.options) - 1)].id for role in file.scenario.roles}
        walk = finish(file.scenario, Walk(), texts)
        estimate = bench.estimate(bench.design(walk.answers).design)
        assert estimate.stages
        assert len(bench.numbers(walk.answers)) == len(file.scenario.numbers)


def test_a_model_or_accelerator_the_catalogue_does_not_know_is_refused_at_its_prompt() -> None:
    scenario = case()
    walk, prompt = prompt_at(scenario, "role.llm.settings", {"role.llm": "own"})
    with pytest.raises(UsageError, match="unknown accelerator 'h101"):
        answer(scenario, walk, prompt, "on=h101-sxm-80gb")


def test_the_reference_design_is_found_beside_the_scenario(tmp_path: Path) -> None:
    bench = _bench(tmp_path, case())
    assert bench.reference().file.design.title == "Reference"


def test_a_design_text_without_stages_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContentError, match="stages"):
        _bench(tmp_path, case()).design({})
