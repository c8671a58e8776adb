"""Planted faults: each one's text, what it breaks, the guard that sees it, and the trace a person reads."""

from __future__ import annotations

import functools
import json
import re
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from llmdrill.errors import UnknownNameError
from llmdrill.retrieval.answering import Link, prepare_all
from llmdrill.retrieval.chunk import word_spans
from llmdrill.retrieval.fault_guards import GUARDS, Seen
from llmdrill.retrieval.fault_texts import fault_text, fault_texts
from llmdrill.retrieval.faults import PLANTS, Parts, Sound, make_sound, plant
from llmdrill.retrieval.index import RetrievalConfig
from llmdrill.retrieval.labelled import load_labelled_corpus
from llmdrill.retrieval.trace import CITED, FIGURE, _authored, trace_json, trace_pair

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdrill.retrieval.answering import Pipeline, Prepared
    from llmdrill.retrieval.corpora import LabelledCorpus
    from llmdrill.retrieval.fault_texts import FaultText

RAG = Path(__file__).resolve().parents[2] / "scenarios" / "rag"
FAMILIES = {"batteries", "shipping", "returns"}
UNTOUCHED = {text.id for text in fault_texts() if text.layer == "reasoning"}


@functools.cache
def direction(word: str) -> np.ndarray:
    return np.random.default_rng(zlib.crc32(word.encode())).standard_normal(64)


@dataclass(frozen=True)
class Words:
    """A real, small embedder: a text is the mean of fixed random directions of its words, mirrored for another one."""

    mirrored: bool = False
    max_tokens: int = 150
    dimensions: int = 64
    name: str = "words"

    @property
    def sha256(self) -> str:
        return f"words, mirrored: {self.mirrored}"

    def token_spans(self, text: str) -> np.ndarray:
        return word_spans(text)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([self._one(text) for text in texts])

    def _one(self, text: str) -> np.ndarray:
        words = [text[start:end].lower() for start, end in word_spans(text)[: self.max_tokens]] or [""]
        total = np.sum([direction(word) for word in words], axis=0)[:: -1 if self.mirrored else 1]
        return np.asarray(total / np.linalg.norm(total), dtype=np.float32)


@pytest.fixture(scope="module")
def rag() -> LabelledCorpus:
    return load_labelled_corpus(RAG)


@pytest.fixture(scope="module")
def sound(rag: LabelledCorpus) -> Sound:
    documents = tuple(one for one in rag.documents if one.family in FAMILIES)
    ids = {one.id for one in documents}
    questions = tuple(one for one in rag.questions if one.family in FAMILIES and set(one.grades) <= ids)
    config = RetrievalConfig(
        retriever="hybrid", chunker="structural", chunk_tokens=120, overlap_tokens=20, k=4, codes=True
    )  # fmt: skip
    corpus = replace(rag, documents=documents, questions=questions)
    return make_sound(Parts(corpus, config, Words(), Words(mirrored=True), budget_tokens=650))


def prepared(sound: Sound, pipeline: Pipeline) -> tuple[Prepared, ...]:
    return prepare_all(pipeline, [question.text for question in sound.parts.corpus.questions])


# --- the texts ----------------------------------------------------------------------------------------------------


def test_every_fault_has_a_text_and_something_it_does() -> None:
    ids = [text.id for text in fault_texts()]
    assert sorted(ids) == sorted(PLANTS)
    assert len(ids) == len(set(ids)) >= 10
    assert {text.layer for text in fault_texts()} == {"retrieval", "context", "reasoning"}
    assert {text.guard for text in fault_texts()} <= {*GUARDS, "unsupported_figures", None}


@pytest.mark.parametrize("text", fault_texts(), ids=lambda text: text.id)
def test_a_fault_shows_in_a_question_of_the_shipped_corpus_and_its_sound_answer_is_right(
    text: FaultText, rag: LabelledCorpus
) -> None:
    fault = fault_text(text.id)
    question = next(one for one in rag.questions if one.id == fault.question)
    documents = {one.id: one.text for one in rag.documents}
    cited = CITED.findall(fault.sound_answer)
    assert set(cited) <= set(documents)
    assert set(CITED.findall(fault.answer)) <= set(documents)
    if question.answerable:
        assert set(cited) & set(question.grades)
    sources = question.text + " ".join(documents[one] for one in cited)
    claimed = set(FIGURE.findall(CITED.sub("", fault.sound_answer)))
    assert claimed - set(FIGURE.findall(sources)) <= {"1.50"}  # 27.50 − 26.00 is computed


# --- the faults ---------------------------------------------------------------------------------------------------


def test_the_sound_pipeline_passes_every_guard(sound: Sound) -> None:
    seen = Seen(sound.pipeline, prepared(sound, sound.pipeline))
    assert {name: guard.share(seen) for name, guard in GUARDS.items()} == dict.fromkeys(GUARDS, 0.0)


@pytest.mark.parametrize("fault", sorted(set(PLANTS) - UNTOUCHED))
def test_the_guard_of_a_fault_sees_it_and_the_sound_pipeline_is_left_alone(fault: str, sound: Sound) -> None:
    before = prepared(sound, sound.pipeline)
    broken = plant(fault, sound)
    assert broken is not None
    guard = fault_text(fault).guard
    assert guard is not None
    assert GUARDS[guard].share(Seen(broken, prepared(sound, broken))) > 0.02
    assert prepared(sound, sound.pipeline) == before


def test_a_fault_of_reasoning_leaves_the_pipeline_as_it_is(sound: Sound) -> None:
    assert all(plant(fault, sound) is sound.pipeline for fault in UNTOUCHED)


def test_every_citation_of_the_sound_pipeline_shows_what_was_in_the_prompt(sound: Sound) -> None:
    for one in prepared(sound, sound.pipeline):
        assert [link.number for link in one.links] == list(range(1, len(one.links) + 1))
        assert all(link.looked_up == link.quoted and link.quoted in one.prompt for link in one.links)
        assert one.question in one.prompt


def test_a_shifted_citation_leads_to_the_passage_behind(sound: Sound) -> None:
    shifted = plant("citation-shifted", sound)
    assert shifted is not None
    for one in prepared(sound, shifted):
        assert [link.looked_up for link in one.links] == [*(link.quoted for link in one.links[1:]), None]


def test_a_stale_index_finds_by_offsets_what_is_no_longer_there(sound: Sound) -> None:
    stale = plant("stale-index", sound)
    assert stale is not None
    newest = "battery-capacity-guarantee-2025"
    assert "2024 edition" in stale.index.texts[newest]
    assert "2025 edition" in stale.store[newest].text


def test_a_budget_filled_from_the_wrong_end_drops_the_best_and_keeps_within(sound: Sound) -> None:
    broken = plant("best-cut", sound)
    assert broken is not None
    contexts = [one.context for one in prepared(sound, broken) if one.context]
    assert max(context.tokens for context in contexts) <= broken.budget_tokens
    assert any(context.dropped for context in contexts)


def test_a_corpus_without_editions_has_nothing_to_make_stale(sound: Sound) -> None:
    plain = tuple(one for one in sound.parts.corpus.documents if not re.search(r"-20\d\d$", one.id))
    parts = replace(sound.parts, corpus=replace(sound.parts.corpus, documents=plain, questions=()))
    assert plant("stale-index", make_sound(parts)) is None
    assert plant("wrong-filter", make_sound(parts)) is None


def test_an_unknown_fault_or_question_is_refused(sound: Sound) -> None:
    with pytest.raises(UnknownNameError, match="stale-index"):
        plant("stale-indx", sound)
    with pytest.raises(UnknownNameError, match="unknown question"):
        trace_pair(sound, "stale-index", question="nobody-01")


# --- the trace ----------------------------------------------------------------------------------------------------


def test_a_trace_is_json_and_says_that_a_person_wrote_its_answer(sound: Sound) -> None:
    pair = trace_pair(sound, "truncated-chunk")
    assert pair is not None
    read = json.loads(json.dumps(trace_json(pair.faulty)))
    assert read["answer"]["authored"] is True
    assert read["config"]["k"] == "4"
    assert read["prompt"].count("\n\nQuestion: ") == 1
    assert [hit["rank"] for hit in read["hits"]] == list(range(1, len(read["hits"]) + 1))
    assert all(re.fullmatch(r"[a-z0-9-]+:\d+-\d+", hit["chunk"]) for hit in read["hits"])
    assert pair.sound.fault is None
    assert pair.faulty.fault == "truncated-chunk"


def test_the_trace_of_a_truncated_chunk_finds_the_evidence_and_does_not_show_it(sound: Sound) -> None:
    answerable = [one.id for one in sound.parts.corpus.questions if one.answerable]
    pairs = [pair for one in answerable if (pair := trace_pair(sound, "truncated-chunk", question=one))]
    spans = [both for pair in pairs for both in zip(pair.sound.evidence, pair.faulty.evidence, strict=True)]
    assert all(whole.rank == cut.rank for whole, cut in spans)
    assert all(whole.in_prompt == whole.looked_up == (whole.rank is not None) for whole, _ in spans)
    assert sum(cut.in_prompt for _, cut in spans) < sum(whole.in_prompt for whole, _ in spans)
    assert all(pair.faulty.answer is None for pair in pairs if pair.sound.question_id != "batteries-04")


def test_an_invented_figure_is_told_from_a_cited_one() -> None:
    links = [Link(2, "guarantee", "within 12 months", "guarantee:0-16", "within 12 months")]
    assert _authored("12 months [guarantee].", links, "").unsupported == ()
    assert _authored("97 months [guarantee].", links, "").unsupported == ("97",)
    assert _authored("12 months.", links, "").unsupported == ("12",)
    assert _authored("97 months.", links, "after 97?").unsupported == ()
    assert _authored("x [guarantee] y [no-such].", links, "").text == "x [2] y [?]."
