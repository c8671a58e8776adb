from __future__ import annotations

import builtins
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.errors import MissingExtraError
from llmdrill.retrieval.sparse import STOP_WORDS, build_bm25, word_tokenizer

WORDS = ["return", "returned", "battery", "batteries", "the", "of", "E-4021", "x", "scanner", "ünïcode", "2.4.1", "a1"]


def texts(n: int, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    vocabulary = [*WORDS, *(f"word{i}" for i in range(300))]
    weights = 1 / np.arange(1, len(vocabulary) + 1)
    drawn = [rng.choice(vocabulary, size=rng.integers(0, 60), p=weights / weights.sum()) for _ in range(n)]
    return [" ".join(words) for words in drawn]


@pytest.mark.parametrize("stem", [False, True])
def test_scores_equal_those_of_bm25s(stem: bool) -> None:
    bm25s = pytest.importorskip("bm25s")
    stemmer = pytest.importorskip("Stemmer").Stemmer("english") if stem else None
    corpus = texts(400)
    oracle = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
    oracle.index(bm25s.tokenize(corpus, stopwords="en", stemmer=stemmer, show_progress=False), show_progress=False)
    index = build_bm25(corpus, stem=stem)
    for query in [*texts(100, seed=1), "return return battery"]:
        words = bm25s.tokenize(query, stopwords="en", stemmer=stemmer, return_ids=False, show_progress=False)[0]
        expected = oracle.get_scores(words) if words else np.zeros(len(corpus))
        assert index.scores(query) == pytest.approx(expected, abs=1e-5)


def test_the_stop_words_are_those_of_bm25s() -> None:
    stopwords = pytest.importorskip("bm25s.stopwords")
    assert frozenset(stopwords.STOPWORDS_EN) == STOP_WORDS


def test_a_score_worked_out_by_hand() -> None:
    # "scanner" is in 1 of 2 texts, twice among 3 terms; the mean length is 2.
    idf = math.log(1 + 1.5 / 1.5)
    expected = idf * 2 / (2 + 1.2 * (0.25 + 0.75 * 3 / 2))
    assert build_bm25(["scanner scanner dock", "dock"]).scores("the scanner") == pytest.approx([expected, 0])


@given(corpus=st.lists(st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join), max_size=12))
def test_a_text_scores_above_zero_exactly_if_it_holds_a_term_of_the_query(corpus: list[str]) -> None:
    tokenize = word_tokenizer()
    for query in WORDS:
        held = [bool(set(tokenize(query)) & set(tokenize(text))) for text in corpus]
        assert (build_bm25(corpus).scores(query) > 0).tolist() == held


def test_a_rarer_term_is_worth_more() -> None:
    index = build_bm25(["common rare", "common", "common", "common"])
    assert index.scores("rare")[0] > index.scores("common")[0]


def test_no_text_and_no_known_word_score_nothing() -> None:
    assert build_bm25([]).scores("battery").tolist() == []
    assert build_bm25(["", "battery"]).scores("nothing of this").tolist() == [0, 0]


@pytest.mark.parametrize(
    ("text", "plain", "codes"),
    [
        ("Error E-4021.", ["error", "4021"], ["error", "e-4021"]),
        ("E-4021/E-4012", ["4021", "4012"], ["e-4021", "e-4012"]),
        ("part HP-RIB-110W,", ["part", "hp", "rib", "110w"], ["part", "hp-rib-110w"]),
        ("v2.4.1 of 2.5", ["v2"], ["v2.4.1", "2.5"]),
        ("a 14-day H4-compatible plug-in", ["14", "day", "h4", "compatible", "plug"], None),
    ],
)
def test_codes_stay_whole_on_request_and_split_as_in_bm25s_otherwise(
    text: str, plain: list[str], codes: list[str] | None
) -> None:
    assert word_tokenizer()(text) == plain
    assert word_tokenizer(codes=True)(text) == (codes or plain)


def test_look_alike_codes_are_told_apart_when_whole() -> None:
    index = build_bm25(["S-4021 pump", "E-4021 pump"], codes=True)
    assert index.scores("E-4021").argmax() == 1
    assert index.scores("E-4021")[0] == 0


def test_tokenizing_a_hostile_text_takes_linear_time() -> None:
    assert word_tokenizer(codes=True)("a-" * 100_000) == []


def test_stemming_without_pystemmer_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: object, **more: object) -> object:
        if name == "Stemmer":
            raise ImportError(name)
        return real(name, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"llmdrill\[stem\]"):
        build_bm25(["a"], stem=True)


def test_stop_words_count_only_when_they_are_left_in() -> None:
    corpus = ["to be or not to be", "battery"]
    assert build_bm25(corpus).scores("to be").tolist() == [0, 0]
    assert build_bm25(corpus, stop_words=False).scores("to be").tolist()[0] > 0


def test_with_stop_words_scores_equal_those_of_bm25s() -> None:
    bm25s = pytest.importorskip("bm25s")
    corpus = texts(200)
    oracle = bm25s.BM25(method="lucene", k1=0.9, b=0.4)
    oracle.index(bm25s.tokenize(corpus, stopwords=[], show_progress=False), show_progress=False)
    index = build_bm25(corpus, stop_words=False, k1=0.9, b=0.4)
    for query in texts(40, seed=2):
        words = bm25s.tokenize(query, stopwords=[], return_ids=False, show_progress=False)[0]
        expected = oracle.get_scores(words) if words else np.zeros(len(corpus))
        assert index.scores(query) == pytest.approx(expected, abs=1e-5)


def test_texts_may_come_one_at_a_time_and_are_held_once() -> None:
    corpus = texts(50)
    lazy, whole = build_bm25(text for text in corpus), build_bm25(corpus)
    assert lazy.scores("battery word7").tolist() == whole.scores("battery word7").tolist()
    assert (lazy.texts.dtype, lazy.impacts.dtype) == (np.int32, np.float32)
    distinct = sum(len(set(word_tokenizer()(text))) for text in corpus)
    assert len(lazy.texts) == len(lazy.impacts) == distinct
    term = lazy.terms["battery"]
    postings = lazy.texts[lazy.offsets[term] : lazy.offsets[term + 1]].tolist()
    assert postings == [number for number, text in enumerate(corpus) if "battery" in word_tokenizer()(text)]


def test_a_query_without_words_finds_nothing() -> None:
    index = build_bm25(["battery", "scanner"])
    for query in ("", " ?! ", "the of a", "x"):
        assert index.tokenize(query) == []
        assert index.scores(query).tolist() == [0, 0]
