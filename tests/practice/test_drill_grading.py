"""Laws of posing and grading: what is right gets full marks, nothing gets none, and a seed poses the same again."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from practice_cases import KINDS, drill_of, template

from llmdrill.errors import UsageError
from llmdrill.practice.calculate import Call, call_value
from llmdrill.practice.drill import OrderDrill
from llmdrill.practice.filled import fill
from llmdrill.practice.grade import check_answer, grade
from llmdrill.practice.library import load_drill, load_library
from llmdrill.practice.posed import LETTERS, keeps_order, pose, reference_answers

if TYPE_CHECKING:
    from llmdrill.practice.drill import Drill

DRILLS = {kind: drill_of(template(kind)) for kind in KINDS if kind != "code"}
SEEDS = st.integers(0, 2**31)


@pytest.mark.parametrize("drill", DRILLS.values(), ids=DRILLS)
@given(seed=SEEDS)
@settings(max_examples=15)
def test_the_reference_gets_full_marks_and_nothing_gets_none(drill: Drill, seed: int) -> None:
    posed = pose(drill, seed=seed)
    for answers, mark in ((reference_answers(posed), 1.0), ({}, 0.0)):
        got = grade(posed, answers)
        assert {got.score, got.self_score} <= {mark, None}
        assert not got.score == got.self_score is None
    for ask in posed.asks:
        check_answer(posed, ask.id, reference_answers(posed)[ask.id])


@given(seed=SEEDS)
def test_a_seed_poses_the_same_again_and_all_its_numbers_are_told(seed: int) -> None:
    drill = DRILLS["numeric"]
    posed = pose(drill, seed=seed)
    assert posed == pose(drill, seed=seed)
    assert f"{posed.values['input_tokens']:,}" in posed.prompt
    assert "{" not in posed.prompt + posed.worked


@given(seed=SEEDS, share=st.floats(-0.5, 0.5))
def test_a_number_is_right_just_within_the_tolerance(seed: int, share: float) -> None:
    posed = pose(DRILLS["numeric"], seed=seed)
    if abs(abs(math.log(1 + share)) - math.log(1.02)) < 1e-6:
        return
    got = grade(posed, {"number": repr(float(posed.values["answer"]) * (1 + share))})
    assert got.correct == (abs(math.log(1 + share)) < math.log(1.02))
    assert got.ratio == pytest.approx(1 + share)


def test_a_named_mistake_is_recognised_in_whatever_unit_it_is_typed() -> None:
    posed = pose(DRILLS["numeric"], seed=1)
    wrong = float(posed.values["answer"]) * 1000
    for typed in (f"{wrong:.6f}", f"${wrong:.6f}", f"{wrong * 100:.4f}c"):
        got = grade(posed, {"number": typed})
        assert (got.score, got.mistake) == (0.0, "per thousand")
        assert "not for a thousand" in got.lines[0]
    assert grade(posed, {"number": repr(wrong * 7)}).mistake is None


@given(seed=SEEDS, tenths=st.integers(-20, 20))
def test_an_estimate_loses_by_its_logarithm_whichever_way_it_is_off(seed: int, tenths: int) -> None:
    posed = pose(DRILLS["estimate"], seed=seed)
    right = float(posed.values["answer"])
    above, below = (grade(posed, {"number": repr(right * 10 ** (sign * tenths / 10))}) for sign in (1, -1))
    assert above.score == pytest.approx(below.score)
    assert above.log10_error == pytest.approx(abs(tenths) / 10, abs=1e-9)
    assert above.score == pytest.approx(min(1.0, max(0.0, (1 - abs(tenths) / 10) / 0.9)))


@given(seed=SEEDS, picked=st.sets(st.integers(0, 2), min_size=1, max_size=1))
def test_a_choice_is_right_by_what_it_says_and_not_by_where_it_stands(seed: int, picked: set[int]) -> None:
    posed = pose(DRILLS["choice"], seed=seed)
    place = next(iter(picked))
    got = grade(posed, {"pick": LETTERS[place]})
    assert got.correct == posed.asks[0].choices[place].startswith("It stays or rises")
    assert got.correct or got.lines[0].startswith("no: ")


@given(seed=SEEDS, order=st.permutations("abcd"))
def test_an_order_is_right_if_every_step_comes_after_what_it_needs(seed: int, order: list[str]) -> None:
    drill = DRILLS["order"]
    assert isinstance(drill, OrderDrill)
    posed = pose(drill, seed=seed)
    got = grade(posed, {"order": " ".join(order)})
    assert got.correct == keeps_order(drill, [posed.shown[LETTERS.index(letter)] for letter in order])
    assert not keeps_order(drill, posed.shown), "it was posed in a right order"


def test_prose_is_never_credited_by_the_tool() -> None:
    posed = pose(DRILLS["explain"], seed=0)
    got = grade(posed, {"text": posed.worked, "self.unchanged": "yes", "self.price": "partly"})
    assert got.score is None
    assert got.self_score == pytest.approx((3 + 0.5 * 2) / 5)


@pytest.mark.parametrize(
    ("kind", "ask", "typed", "told"),
    [
        ("numeric", "number", "many", "not a quantity"),
        ("choice", "pick", "z", "letters from a to c"),
        ("choice", "pick", "ab", "pick one letter"),
        ("order", "order", "a b", "give all 4 letters"),
        ("order", "order", "a a b c", "a letter comes twice"),
        ("explain", "self.price", "perhaps", "yes, partly or no"),
        ("debug", "layer", "model", "letters from a to c"),
    ],
)
def test_an_answer_that_cannot_be_read_is_refused_when_it_is_typed(kind: str, ask: str, typed: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        check_answer(pose(DRILLS[kind], seed=0), ask, typed)


# --- calculators --------------------------------------------------------------------------------------------------


def test_a_calculator_gets_dataclasses_records_and_lists_of_them() -> None:
    shape = {"layers": 40, "kv_heads": "$heads", "head_dim": 128}
    call = Call(calculator="kv_cache.kv_cache_bytes", arguments={"shape": shape, "context_tokens": 1})
    assert call_value(call, {"heads": 40}) == 819200  # Kwon et al. 2023: OPT-13B needs 800 KB a token
    by_name = Call(calculator="kv_cache.kv_cache_bytes", arguments={"shape": "llama-3.1-8b", "context_tokens": 1})
    assert call_value(by_name, {}) == 2 * 32 * 8 * 128 * 2


@pytest.mark.parametrize(
    ("field", "told"),
    [
        ("__class__", "no public field"),
        ("real.__class__", "no public field"),
        ("nothing", "nothing"),
        ("9", "subscript"),
    ],
)
def test_a_field_that_is_private_or_not_there_is_refused(field: str, told: str) -> None:
    call = Call(calculator="arithmetic.sum", arguments={"values": [1, 2]}, field=field)
    with pytest.raises(UsageError, match=told):
        call_value(call, {})


def test_a_power_too_large_is_refused_at_once() -> None:
    call = Call(calculator="arithmetic.power", arguments={"base": 10, "exponent": 10**12})
    with pytest.raises(UsageError, match=r"arithmetic\.power"):
        call_value(call, {})


@pytest.mark.parametrize("text", ["{x.__class__}", "{x[0]}", "{0}", "{x!r:>{w}}"])
def test_a_text_reaches_into_nothing(text: str) -> None:
    with pytest.raises(UsageError):
        fill(text, {"x": 1.0})


def test_every_shipped_numeric_drill_refuses_to_be_right_for_a_wrong_number() -> None:
    for listed in load_library().select(kind="numeric"):
        posed = pose(load_drill(listed), seed=11)
        assert grade(posed, {"number": repr(float(posed.values["answer"]) * 1.7)}).score == 0.0, listed.entry.id
