"""BLEU and ROUGE: the published examples, laws, and what is refused."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.errors import MissingExtraError, UsageError
from llmdrill.estimate.text_overlap import bleu, rouge

pytest.importorskip("sacrebleu")
pytest.importorskip("rouge_score")

GUIDE = (
    "It is a guide to action that ensures that the military will forever heed Party commands",
    "It is the guiding principle which guarantees the military forces always being under the command of the Party",
    "It is the practical guide for the army always to heed the directions of the party",
)
WORDS = st.sampled_from(["the", "cat", "sat", "on", "a", "mat", "and", "slept"])
TEXTS = st.lists(WORDS, min_size=1, max_size=12).map(" ".join)


def test_sacrebleu_s_readme_example_is_48_53_with_its_signature() -> None:
    first = ["The dog bit the man.", "It was not unexpected.", "The man bit him first."]
    second = ["The dog had bit the man.", "No one was surprised.", "The man had bitten the dog."]
    found = bleu(["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."], [first, second])
    assert found.score == pytest.approx(48.530827009929865)
    assert found.precisions == pytest.approx((14 / 17, 7 / 14, 5 / 11, 3 / 8))
    assert (found.matches, found.ngrams) == ((14, 7, 5, 3), (17, 14, 11, 8))
    assert found.brevity_penalty == pytest.approx(0.943, abs=5e-4)
    assert found.signature.startswith("nrefs:2|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert found.sentences[0] == pytest.approx(100)


@pytest.mark.parametrize(
    ("candidate", "unigrams", "bigrams"),
    [  # Papineni et al. 2002, section 2.1, example 1
        (
            "It is a guide to action which ensures that the military always obeys the commands of the party",
            17 / 18,
            10 / 17,
        ),
        ("It is to insure the troops forever hearing the activity guidebook that party direct", 8 / 14, 1 / 13),
    ],
)
def test_the_modified_precisions_of_the_bleu_paper(candidate: str, unigrams: float, bigrams: float) -> None:
    found = bleu([candidate], [[one] for one in GUIDE], lowercase=True)
    assert found.precisions[0] == pytest.approx(unigrams)
    assert found.precisions[1] == pytest.approx(bigrams)


def test_a_word_repeated_counts_as_often_as_a_reference_has_it() -> None:
    # Papineni et al. 2002, section 2.1, example 2: modified unigram precision 2/7.
    found = bleu(["the the the the the the the"], [["the cat is on the mat"], ["there is a cat on the mat"]])
    assert (found.matches[0], found.ngrams[0]) == (2, 7)


@pytest.mark.parametrize(
    ("candidate", "rouge_l"), [("police kill the gunman", 3 / 4), ("the gunman kill police", 2 / 4)]
)
def test_rouge_l_sees_the_order_that_rouge_2_does_not(candidate: str, rouge_l: float) -> None:
    # Lin 2004, section 3.1
    means = rouge([candidate], [["police killed the gunman"]]).means
    assert means["rouge_l"].f1 == pytest.approx(rouge_l)
    assert means["rouge_2"].f1 == pytest.approx(1 / 3)


def test_google_s_own_test_cases_hold() -> None:
    means = rouge(["testing"], [["testing one two"]]).means
    assert (means["rouge_1"].precision, means["rouge_1"].f1) == (1, pytest.approx(1 / 2))
    means = rouge(["testing two"], [["testing one two"]]).means
    assert means["rouge_l"].f1 == pytest.approx(4 / 5)


@given(text=TEXTS, other=TEXTS)
def test_a_text_against_itself_scores_everything_and_nothing_scores_above(text: str, other: str) -> None:
    same = rouge([text], [[text]]).means
    assert same["rouge_1"].f1 == pytest.approx(1)
    assert same["rouge_l"].f1 == pytest.approx(1)
    crossed = rouge([other], [[text]]).means["rouge_1"]
    assert crossed.f1 <= 1
    assert crossed.precision == pytest.approx(rouge([text], [[other]]).means["rouge_1"].recall)
    if len(text.split()) >= 4:
        assert bleu([text], [[text]]).score == pytest.approx(100)


@given(text=TEXTS, one=TEXTS, other=TEXTS)
def test_another_reference_never_lowers_rouge(text: str, one: str, other: str) -> None:
    alone = rouge([text], [[one]]).means["rouge_2"].f1
    assert rouge([text], [[one], [other]]).means["rouge_2"].f1 >= alone


def test_a_corpus_is_the_mean_of_its_segments_in_rouge_and_not_in_bleu() -> None:
    texts, refs = ["police kill the gunman now", "a cat"], ["police killed the gunman now", "the cat sat"]
    found = rouge(texts, [refs])
    assert found.means["rouge_1"].f1 == pytest.approx(sum(one["rouge_1"].f1 for one in found.sentences) / 2)
    score = bleu(texts, [refs])
    assert score.score != pytest.approx(sum(score.sentences) / 2)


def test_another_script_scores_nothing_with_the_latin_tokenizer_and_is_counted() -> None:
    blind = rouge(["我们 走"], [["我们 走"]])
    assert (blind.means["rouge_1"].f1, blind.untokenized) == (0, 1)
    seeing = rouge(["我们 走"], [["我们 走"]], tokens="spaces")
    assert (seeing.means["rouge_1"].f1, seeing.untokenized) == (1, 0)


@pytest.mark.parametrize("score", [bleu, rouge])
def test_nothing_to_compare_is_refused(score: object) -> None:
    for candidates, references in (([], [[]]), (["a"], []), (["a"], [["a", "b"]]), (["a", "b"], [["a", "b"], ["a"]])):
        with pytest.raises(UsageError):
            score(candidates, references)  # type: ignore[operator]


def test_without_the_extra_the_command_that_installs_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sacrebleu", "sacrebleu.metrics.bleu", "rouge_score", "rouge_score.rouge_scorer"):
        monkeypatch.setitem(sys.modules, name, None)
    for score in (bleu, rouge):
        with pytest.raises(MissingExtraError, match=r"llmdrill\[text-metrics\]"):
            score(["a"], [["a"]])
