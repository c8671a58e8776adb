from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pytest
from chunk_cases import PIECES, TEXTS, HashedWords
from hypothesis import given, settings
from hypothesis import strategies as st

from llmdrill.errors import UnknownNameError, UsageError
from llmdrill.retrieval import split as split_module
from llmdrill.retrieval.chunk import counted_spans, word_spans
from llmdrill.retrieval.corpora import Document, LabelledCorpus
from llmdrill.retrieval.index import RetrievalConfig, build_index, search
from llmdrill.retrieval.semantic import semantic_chunks, sentence_drops
from llmdrill.retrieval.split import CHUNKER_NAMES, MATCHES, Split, spans_of, split_documents

CONFIG = RetrievalConfig(retriever="keyword", chunker="sentence", chunk_tokens=12, overlap_tokens=0, k=2)
EMBEDDER = HashedWords()
DESIGNS = st.builds(
    lambda chunker, match, size, overlap: replace(
        CONFIG, chunker=chunker, match=match, chunk_tokens=size, overlap_tokens=min(overlap, size - 1)
    ),
    st.sampled_from(CHUNKER_NAMES),
    st.sampled_from(MATCHES),
    st.integers(1, 30),
    st.integers(0, 29),
)


def split(config: RetrievalConfig, *texts: str) -> Split:
    return split_documents([Document(f"d{i}", "f", "", text) for i, text in enumerate(texts)], config, EMBEDDER)


def words(text: str) -> str:
    return "".join(text.split())


@settings(max_examples=60)
@given(text=TEXTS, config=DESIGNS)
def test_whatever_the_method_no_text_is_lost_and_no_chunk_is_above_the_budget(
    text: str, config: RetrievalConfig
) -> None:
    found = split(config, text)
    covered = np.zeros(len(text), dtype=bool)
    starts = counted_spans(word_spans(text))[:, 0]
    for chunk in found.chunks:
        covered[chunk.start : chunk.end] = True
        assert chunk.tokens == ((starts >= chunk.start) & (starts < chunk.end)).sum() <= config.chunk_tokens
    assert all(covered[i] or character.isspace() for i, character in enumerate(text))


@settings(max_examples=60)
@given(text=TEXTS, config=DESIGNS)
def test_whatever_the_method_each_chunk_ends_later_and_repeats_no_more_than_the_overlap(
    text: str, config: RetrievalConfig
) -> None:
    starts = counted_spans(word_spans(text))[:, 0]
    for a, b in pairwise(split(config, text).chunks):
        assert a.start < b.start
        assert a.end < b.end
        assert ((starts >= b.start) & (starts < a.end)).sum() <= config.overlap_tokens


@settings(max_examples=60)
@given(texts=st.lists(TEXTS, max_size=3), config=DESIGNS)
def test_the_sentences_of_a_chunk_are_all_of_it_and_nothing_else(texts: list[str], config: RetrievalConfig) -> None:
    found = split(replace(config, match="sentence"), *texts)
    assert found.first_unit is not None
    assert found.first_unit.dtype == np.int32
    bounds = [*found.first_unit.tolist(), len(found.units)]
    for chunk, (first, end) in zip(found.chunks, pairwise(bounds), strict=True):
        units = found.units[first:end]
        assert units
        text = texts[int(chunk.document[1:])]
        assert "".join(words(text[unit.start : unit.end]) for unit in units) == words(text[chunk.start : chunk.end])
        assert sum(unit.tokens for unit in units) == chunk.tokens
        assert all(a.end <= b.start and a.document == chunk.document for a, b in pairwise(units))


@settings(max_examples=40)
@given(texts=st.lists(TEXTS, max_size=4))
def test_documents_are_split_as_if_each_were_alone(texts: list[str]) -> None:
    config = replace(CONFIG, chunker="semantic", match="sentence")
    together, alone = split(config, *texts), [split(config, text) for text in texts]
    places = [(chunk.start, chunk.end, chunk.tokens) for one in alone for chunk in one.chunks]
    assert [(chunk.start, chunk.end, chunk.tokens) for chunk in together.chunks] == places


def test_what_is_matched_is_the_chunk_itself_unless_sentences_are_asked_for() -> None:
    found = split(CONFIG, "A b. C d.")
    assert found.units is found.chunks
    assert found.first_unit is None


def test_a_rule_of_a_table_is_no_sentence_of_its_own() -> None:
    text = "| a | b |\n|---|---|\n| c | d |"
    found = split(replace(CONFIG, match="sentence", chunk_tokens=60), text)
    assert [text[unit.start : unit.end] for unit in found.units] == ["| a | b |\n|---|---|", "| c | d |"]


@pytest.mark.parametrize("retriever", ["dense", "keyword", "hybrid"])
def test_a_chunk_is_found_once_and_scored_by_its_best_sentence(
    retriever: Literal["dense", "keyword", "hybrid"],
) -> None:
    texts = {
        "a": "Boxes come back in time. Boxes are red.\nThe fee is nine euros.",
        "b": "Codes mean cold. Nothing else here.\nA fee of boxes.",
        "c": "Quite another matter. Wholly.",
    }
    corpus = LabelledCorpus(tuple(Document(name, "f", "", text) for name, text in texts.items()), ())
    config = replace(CONFIG, retriever=retriever, match="sentence", chunk_tokens=60, k=3)
    index = build_index(corpus, config, EMBEDDER)
    hits = search(index, "The fee is nine euros.")
    found = [hit.chunk.document for hit in hits]
    assert found[0] == "a"
    assert len(found) == len(set(found)) == (2 if retriever == "keyword" else 3)
    if retriever == "dense":
        assert hits[0].score == pytest.approx(1)
        whole = search(build_index(corpus, replace(config, match="chunk"), EMBEDDER), "The fee is nine euros.")
        assert [hit.chunk for hit in whole if hit.chunk.document == "a"] == [hits[0].chunk]


def test_a_semantic_chunk_ends_where_the_words_change() -> None:
    same, other = "Cats chase mice daily. " * 3, "Stocks fell sharply today. " * 3
    text = same + other
    drops = sentence_drops([text], EMBEDDER)[0]
    assert drops.argmax() == 2
    found = semantic_chunks(text, drops, document="d", spans=word_spans(text), size_tokens=25, overlap_tokens=0)
    assert [text[chunk.start : chunk.end] for chunk in found] == [same.strip(), other.strip()]
    greedy = split(replace(CONFIG, chunk_tokens=25), text).chunks
    assert [(chunk.start, chunk.end) for chunk in greedy] != [(chunk.start, chunk.end) for chunk in found]


def test_drops_are_one_fewer_than_sentences_and_none_crosses_documents() -> None:
    drops = sentence_drops(["One here. Two here. Three here.", "", "  \n ", "Alone."], EMBEDDER)
    assert [len(one) for one in drops] == [2, 0, 0, 0]


def test_drops_do_not_depend_on_how_many_sentences_are_embedded_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"Number {i} is here. Another {i * 7 % 5} there.\nAnd {i}." for i in range(9)]
    whole = sentence_drops(texts, EMBEDDER)
    monkeypatch.setattr("llmdrill.retrieval.semantic.SENTENCES_AT_ONCE", 4)
    for one, other in zip(whole, sentence_drops(texts, EMBEDDER), strict=True):
        np.testing.assert_allclose(one, other)


@given(text=st.lists(st.sampled_from(PIECES), max_size=40).map("".join), at_once=st.integers(1, 30))
def test_tokens_do_not_depend_on_the_pieces_a_text_is_tokenised_in(text: str, at_once: int) -> None:
    kept, split_module.CHARACTERS_AT_ONCE = split_module.CHARACTERS_AT_ONCE, at_once  # type: ignore[misc]
    try:
        assert spans_of(text, word_spans).tolist() == word_spans(text).tolist()
    finally:
        split_module.CHARACTERS_AT_ONCE = kept  # type: ignore[misc]


@pytest.mark.parametrize(("field", "value"), [("chunker", "semantc"), ("match", "sentences")])
def test_an_unknown_method_is_refused(field: str, value: str) -> None:
    changes: dict[str, Any] = {field: value}
    with pytest.raises(UnknownNameError, match="did you mean"):
        replace(CONFIG, **changes)


def test_semantic_chunks_without_an_embedder_are_refused() -> None:
    with pytest.raises(UsageError, match="needs an embedder"):
        split_documents([], replace(CONFIG, chunker="semantic"))
