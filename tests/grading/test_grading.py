"""Numbers as ratios, exactly; coverage as evidence and warnings, never as credit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.grading.coverage import COVERAGE_FLOOR, EVIDENCE_SENTENCES, PointCoverage, cover, sentences
from llmdrill.grading.numbers import grade_number
from llmdrill.system.scenario import RubricPoint

if TYPE_CHECKING:
    from collections.abc import Sequence

POSITIVE = st.floats(1e-12, 1e12)
TOLERANCE = st.floats(1.01, 100)


# --- numbers --------------------------------------------------------------------------------------------------------


@given(POSITIVE, POSITIVE, TOLERANCE, st.floats(1e-3, 1e3))
def test_a_ratio_does_not_depend_on_the_unit(stated: float, computed: float, tolerance: float, unit: float) -> None:
    one = grade_number("x", stated=stated, computed=computed, tolerance_ratio=tolerance)
    other = grade_number("x", stated=stated * unit, computed=computed * unit, tolerance_ratio=tolerance)
    assert one.ratio == pytest.approx(other.ratio)
    assert one.ratio is not None
    if not any(math.isclose(one.ratio, end, rel_tol=1e-9) for end in (tolerance, 1 / tolerance)):
        assert one.within == other.within


@given(POSITIVE, POSITIVE, TOLERANCE)
def test_too_high_and_too_low_by_the_same_factor_are_judged_alike(
    stated: float, computed: float, tolerance: float
) -> None:
    here = grade_number("x", stated=stated, computed=computed, tolerance_ratio=tolerance)
    there = grade_number("x", stated=computed, computed=stated, tolerance_ratio=tolerance)
    assert here.ratio is not None
    assert there.ratio is not None
    assert here.ratio * there.ratio == pytest.approx(1)
    if not math.isclose(max(here.ratio, there.ratio), tolerance, rel_tol=1e-9):
        assert here.within == there.within


@given(POSITIVE, POSITIVE, TOLERANCE, st.floats(1, 10))
def test_what_is_within_stays_within_a_wider_tolerance(
    stated: float, computed: float, tolerance: float, wider: float
) -> None:
    if grade_number("x", stated=stated, computed=computed, tolerance_ratio=tolerance).within:
        assert grade_number("x", stated=stated, computed=computed, tolerance_ratio=tolerance * wider).within


@pytest.mark.parametrize(
    ("stated", "within"), [(2.0, True), (0.5, True), (2.01, False), (0.49, False), (1.0, True), (-1.0, False)]
)
def test_the_tolerance_is_a_factor_up_and_down_and_its_ends_belong_to_it(stated: float, within: bool) -> None:
    assert grade_number("x", stated=stated, computed=1.0, tolerance_ratio=2.0).within is within


@pytest.mark.parametrize(
    ("stated", "computed", "ratio", "within"),
    [
        (None, 1.0, None, None),
        (1.0, None, None, None),
        (None, None, None, None),
        (0.0, 0.0, None, True),
        (1.0, 0.0, None, False),
        (0.0, 1.0, 0.0, False),
        ("llm", "llm", None, True),
        ("llm", "guard", None, False),
        ("llm", None, None, None),
        (None, "llm", None, None),
    ],
)
def test_what_cannot_be_compared_is_neither_right_nor_wrong(
    stated: float | str | None,
    computed: float | str | None,
    ratio: float | None,
    within: bool | None,
) -> None:
    grade = grade_number("x", stated=stated, computed=computed, tolerance_ratio=1.5)
    assert (grade.ratio, grade.within) == (ratio, within)


def test_a_ratio_is_always_a_finite_number_since_json_has_no_other() -> None:
    ratio = grade_number("x", stated=1e308, computed=1e-9, tolerance_ratio=2).ratio
    assert ratio is not None
    assert math.isfinite(ratio)


# --- coverage: a stated dictionary of vectors, so that every cosine is known ------------------------------------------

POINT = RubricPoint(
    id="cache",
    step="C",
    weight=3,
    text="The cache is keyed by document.",
    accept=("Key it by document.", "One entry for each document."),
    reject=("The cache is keyed by the hour.",),
)
VECTORS = {
    POINT.text: (1.0, 0.0, 0.0),
    POINT.accept[0]: (1.0, 0.0, 0.0),
    POINT.accept[1]: (0.8, 0.6, 0.0),
    POINT.reject[0]: (0.6, 0.0, 0.8),
    "It is keyed by document here.": (0.9, -math.sqrt(1 - 0.81), 0.0),
    "Documents are what the key holds.": (0.7, -math.sqrt(1 - 0.49), 0.0),
    "Somewhat about the cache, loosely.": (0.5, 0.0, math.sqrt(0.75)),
    "The weather is fine today.": (0.0, 0.0, 1.0),
    "It is not keyed by document.": (0.95, -math.sqrt(1 - 0.9025), 0.0),
    "We never cache by document here.": (0.9, -math.sqrt(1 - 0.81), 0.0),
    "It is keyed by the hour, I think.": (0.6, 0.0, 0.8),
}


def _embed(texts: Sequence[str]) -> np.ndarray:
    return np.array([VECTORS[text] for text in texts])


def _covered(*said: str, point: RubricPoint = POINT, floor: float = COVERAGE_FLOOR) -> PointCoverage:
    return cover([point], {"C": [" ".join(said)]}, _embed, floor=floor)[0]


def test_the_two_nearest_sentences_are_the_evidence_nearest_first() -> None:
    found = _covered(
        "Somewhat about the cache, loosely.", "Documents are what the key holds.", "It is keyed by document here."
    )
    assert found.evidence == ("It is keyed by document here.", "Documents are what the key holds.")
    assert len(found.evidence) == EVIDENCE_SENTENCES
    assert found.suggested == "check"


def test_under_the_floor_nothing_is_found() -> None:
    found = _covered("The weather is fine today.")
    assert (found.suggested, found.evidence, found.warnings) == ("not found", (), ())


def test_the_floor_itself_is_evidence_and_a_hair_below_is_not() -> None:
    sentence = "Somewhat about the cache, loosely."
    near = max(float(np.dot(VECTORS[sentence], VECTORS[other])) for other in (POINT.text, *POINT.accept))
    assert _covered(sentence, floor=near).suggested == "check"
    assert _covered(sentence, floor=near + 1e-9).suggested == "not found"


def test_what_is_said_in_another_step_is_no_evidence() -> None:
    found = cover([POINT], {"L": ["It is keyed by document here."]}, _embed)[0]
    assert found.suggested == "not found"


def test_a_reject_exemplar_that_is_nearer_is_warned_of() -> None:
    assert "nearer to an answer that is wrong" in _covered("It is keyed by the hour, I think.").warnings[0]
    assert _covered("It is keyed by document here.").warnings == ()


@pytest.mark.parametrize("sentence", ["It is not keyed by document.", "We never cache by document here."])
def test_a_negation_that_the_point_does_not_have_is_warned_of_and_still_is_no_credit(sentence: str) -> None:
    found = _covered(sentence)
    assert found.suggested == "check"
    assert any("negation" in warning for warning in found.warnings)


def test_a_negation_that_the_point_has_as_well_is_no_reason_to_look_twice() -> None:
    point = POINT.model_copy(update={"accept": ("Key it by document.", "It is not keyed by document.")})
    assert not any("negation" in warning for warning in _covered("It is not keyed by document.", point=point).warnings)


@pytest.mark.parametrize(
    ("sentence", "warned"), [("Keep 20 of them.", True), ("Keep 5 of them.", False), ("Keep some of them.", False)]
)
def test_a_number_that_disagrees_is_warned_of(sentence: str, warned: bool) -> None:
    point = POINT.model_copy(
        update={"text": "The top 5 are kept.", "accept": ("Keep the five best.", "Five are kept.")}
    )
    found = cover([point], {"C": [sentence]}, lambda texts: np.ones((len(texts), 1)))[0]
    assert any("where the point says 5" in warning for warning in found.warnings) is warned


def test_without_a_model_every_point_is_unknown_and_nothing_is_claimed() -> None:
    found = cover([POINT], {"C": ["It is keyed by document here."]}, None)[0]
    assert (found.suggested, found.evidence, found.warnings, found.similarity) == ("unknown", (), (), None)


def test_nothing_said_is_nothing_found() -> None:
    assert cover([POINT], {}, _embed)[0].suggested == "not found"
    assert cover([], {"C": ["It is keyed by document here."]}, _embed) == ()


@given(
    st.lists(
        st.sampled_from([text for text in VECTORS if text not in {POINT.text, *POINT.accept, *POINT.reject}]),
        max_size=6,
    )
)
def test_more_words_never_take_a_find_away_and_no_verdict_is_a_credit(said: list[str]) -> None:
    some, more = _covered(*said[:-1]), _covered(*said)
    assert {some.suggested, more.suggested} <= {"check", "not found"}
    assert (some.suggested, more.suggested) != ("check", "not found")
    assert (more.similarity or 0) >= (some.similarity or 0)
    assert set(more.evidence) <= set(said)


@given(st.text(max_size=200))
def test_sentences_hold_nothing_that_was_not_written(text: str) -> None:
    assert all(sentence in text and len(sentence.split()) >= 2 for sentence in sentences(text))


# --- with the real model --------------------------------------------------------------------------------------------


@pytest.mark.lab
def test_a_negated_answer_and_a_pile_of_keywords_get_check_at_most_and_never_a_credit() -> None:
    from llmdrill.lab.embed import load_minilm

    embed = load_minilm().embed
    point = RubricPoint(
        id="rerank",
        step="C",
        weight=3,
        text="A cross-encoder reranks the top twenty candidates before the model sees five of them.",
        accept=(
            "Take twenty hits, order them anew with a cross-encoder and keep the best five.",
            "A second model reads question and passage together and picks five out of twenty.",
        ),
        reject=("There is no need to rerank: the first five hits go straight to the model.",),
    )
    said = {
        "right": "Twenty hits come back, a cross-encoder sorts them again, and five go into the prompt.",
        "negated": "A cross-encoder does not rerank the top twenty candidates before the model sees five.",
        "pile": "Cross-encoder rerank top twenty candidates five model rerank reranker precision.",
        "unrelated": "Our office has a coffee machine and two meeting rooms.",
    }
    found = {name: cover([point], {"C": [text]}, embed)[0] for name, text in said.items()}
    assert found["right"].suggested == "check"
    assert found["unrelated"].suggested == "not found"
    assert {found["negated"].suggested, found["pile"].suggested} <= {"check", "not found"}
    assert any("negation" in warning for warning in found["negated"].warnings)
    # The reason why similarity is no credit: the pile and the negation are nearer than the right answer.
    assert (found["negated"].similarity or 0) > (found["right"].similarity or 0)
