"""`llmdrill lab chunking`: what is compared with what, and that its sentences follow the figures."""

from __future__ import annotations

import zlib
from collections import Counter
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from llmdrill.catalog.load import find_price
from llmdrill.errors import UnknownNameError, UsageError
from llmdrill.experiments.chunking import ChunkingOptions, Measured, measure_chunking
from llmdrill.experiments.chunking_run import Cell, Chunking, Grid, Sending, Sent, measure_grid
from llmdrill.experiments.chunking_shown import meaning
from llmdrill.experiments.result import experiment_json
from llmdrill.experiments.retrieval_bench import Bench
from llmdrill.retrieval.chunk import word_spans
from llmdrill.retrieval.corpora import Document, Judgement, LabelledCorpus, Question
from llmdrill.retrieval.evidence import Evidence
from llmdrill.retrieval.index import RetrievalConfig
from llmdrill.retrieval.pipeline import evaluate_retrieval

if TYPE_CHECKING:
    from collections.abc import Sequence

WORDS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heron", "inlet", "jetty", "knoll", "larch")
OPTIONS = ChunkingOptions(sizes=(16, 40), overlap_shares=(0.0, 0.25), retriever="dense", k=2, budget_tokens=60)


class Words:
    """A real, small embedder: a text is the sum of fixed random directions of its words."""

    name, sha256, precision, max_tokens, dimensions = "words", "3" * 64, "fp32", 64, 32

    def __init__(self) -> None:
        self.asked: list[str] = []

    def token_spans(self, text: str) -> np.ndarray:
        self.asked.append(text)
        return word_spans(text)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        sums = [sum(map(direction, text.lower().replace(".", " ").split()), np.full(32, 1e-3)) for text in texts]
        return np.asarray([one / np.linalg.norm(one) for one in sums], dtype=np.float32)


@cache
def direction(word: str) -> np.ndarray:
    return np.random.default_rng(zlib.crc32(word.encode())).standard_normal(32)


def make_bench(*, dev: int = 6, n: int = 18, labels: Any = "spans") -> Bench:
    """Return documents of ten drawn sentences, and for each a question of the words of one of them."""
    rng = np.random.default_rng(7)
    documents, questions = [], []
    for number in range(n):
        sentences = [" ".join(rng.choice(WORDS, size=6).tolist()).capitalize() + ". " for _ in range(10)]
        text = "# Title\n\n" + "".join(sentences)
        document = Document(f"d{number:02}", "f", "", text)
        documents.append(document)
        start = text.index(sentences[number % 10])
        evidence = (Evidence(document.id, start, start + len(sentences[number % 10]) - 1, 2),)
        split: Any = "dev" if number < dev else "test"
        asked = " ".join(sentences[number % 10].split()[1:4])
        questions.append(Question(f"q{number:02}", "paraphrase", asked, "f", evidence, split))
    questions.append(Question("q99", "unanswerable", "who knows", "f", (), "test"))
    return Bench(LabelledCorpus(tuple(documents), tuple(questions), source="drawn", labels=labels), Words(), None)


def test_with_k_chunks_quality_is_that_of_the_pipeline() -> None:
    bench, chunking = make_bench(), Chunking("sentence", 16, 0.25)
    cell = measure_grid(bench, [chunking], Sending("dense", 2, 60)).cells[0]
    config = RetrievalConfig(retriever="dense", chunker="sentence", chunk_tokens=16, overlap_tokens=4, k=2)
    result = evaluate_retrieval(bench.corpus, config, bench.embedder, split="all", seed=0)
    answerable = [score for score in result.questions if score.kind != "unanswerable"]
    assert cell.at_k.recall.tolist() == [score.evidence_recall for score in answerable]
    assert cell.at_k.ndcg.tolist() == pytest.approx([score.ndcg for score in answerable])
    assert (cell.chunks, cell.stored_tokens) == (result.chunks, result.stored_tokens)


def test_at_equal_tokens_every_design_fills_the_budget_and_none_is_above_it() -> None:
    cells = measure_grid(make_bench(), OPTIONS.grid, Sending("dense", 2, 60)).cells
    assert len(cells) == 24
    for cell in cells:
        assert cell.at_budget.tokens.max() <= 60
        assert cell.at_budget.tokens.min() > 60 - cell.chunking.chunk_tokens
        assert len(cell.at_k.tokens) == len(cell.at_k.recall) + 1
        assert (cell.at_k.chunks <= 2).all()


def test_a_document_is_tokenised_once_for_all_designs() -> None:
    bench, embedder = make_bench(n=8), Words()
    designs = [Chunking(method, 16, share) for method in ("fixed", "small-to-big") for share in (0.0, 0.25)]
    measure_grid(replace(bench, embedder=embedder), designs, Sending("dense", 1, 60))
    asked = Counter(embedder.asked)
    assert [asked[document.text] for document in bench.corpus.documents] == [1] * 8


def test_small_to_big_returns_the_chunks_that_sentence_cuts() -> None:
    grid = [Chunking("sentence", 40, 0.0), Chunking("small-to-big", 40, 0.0)]
    sentence, small = measure_grid(make_bench(), grid, Sending("dense", 2, 60)).cells
    assert sentence.chunks == small.chunks == sentence.vectors
    assert small.vectors == 18 * 11


def test_the_answer_holds_each_table_each_design_and_two_sentences() -> None:
    found = experiment_json(measure_chunking(make_bench(), OPTIONS))
    designs = [f"{one}" for one in OPTIONS.grid]
    for table in ("with_k_chunks", "at_equal_tokens", "stored"):
        assert [row["design"] for row in found[table]] == designs
    assert [row["value"] for row in found["by_choice"]][-4:] == ["16", "40", "0", "0.25"]
    assert found["first"] == designs[0] == "fixed 16/0"
    assert found["chunks"] == found["predicted"]["chunks"]
    assert found["usd_per_1000_questions"] == pytest.approx(found["sent_tokens"] * 0.15e-3)
    assert len(found["meaning"]) == 2
    best = max(found["at_equal_tokens"], key=lambda row: row["dev_recall"])
    assert found["chosen"] == best["design"]
    assert found["chosen_recall_at_budget"] == pytest.approx(best["recall"], abs=6e-4)


def test_documents_that_are_labelled_whole_are_counted_as_documents() -> None:
    found = experiment_json(measure_chunking(as_documents(make_bench()), replace(OPTIONS, methods=("fixed",))))
    assert 0 < found["recall_at_k"] <= 1
    assert found["n_queries"] == 12


def as_documents(bench: Bench) -> Bench:
    questions = tuple(
        replace(one, evidence=(), relevant=tuple(Judgement(span.document, span.grade) for span in one.evidence))
        for one in bench.corpus.questions
    )
    return replace(bench, corpus=replace(bench.corpus, questions=questions, labels="documents"))


def test_without_dev_questions_the_choice_is_called_optimistic() -> None:
    found = measure_chunking(make_bench(dev=0), replace(OPTIONS, sizes=(16,), methods=("fixed", "sentence")))
    assert any("judged by those that chose it" in note for note in found.notes)
    assert "on dev" not in " ".join(found.meaning)


def seen(*recalls: tuple[float, Sequence[float]], dev: int = 0) -> Measured:
    """Return designs of these mean recalls with k chunks and recalls by question at equal tokens."""
    n = len(recalls[0][1])
    cells = []
    for number, (at_k, at_budget) in enumerate(recalls):
        tokens = np.full(n, 100.0 * (number + 1))
        fixed = Sent(np.full(n, at_k), np.full(n, at_k), tokens, np.full(n, 5))
        equal = Sent(np.array(at_budget), np.array(at_budget), np.full(n, 90.0), np.full(n, 4))
        cells.append(Cell(Chunking("fixed", 10 * (number + 1), 0.0), 3, 3, 30, fixed, equal))
    in_dev = np.arange(n) < dev if dev else np.ones(n, dtype=bool)
    options = ChunkingOptions(methods=("fixed",), sizes=(10, 20), overlap_shares=(0.0,), budget_tokens=90)
    return Measured(
        options, Grid(tuple(cells), (30,)), in_dev, ~in_dev if dev else in_dev, find_price("gpt-4o-mini"), 0
    )


ONES, ZEROS, HALF = [1.0] * 20, [0.0] * 20, [0.0, 1.0] * 10


@pytest.mark.parametrize(
    ("recalls", "dev", "first", "second"),
    [
        ([(0.2, HALF), (0.9, HALF)], 0, "narrows to 0.50 to 0.50: the rest was", "no design beats fixed 10/0 here"),
        ([(0.4, ZEROS), (0.5, ONES)], 0, "it still goes from 0.00 to 1.00", "differs from fixed 10/0 by +1.000"),
        ([(0.4, HALF), (0.5, [1.0, *HALF[1:]])], 0, "narrows", "within chance"),
        ([(0.4, [0.0, *ONES[1:]]), (0.5, [1.0, *ZEROS[1:]])], 1, "", "a loss; over the whole grid what differs"),
        ([(0.4, [0.0, *HALF[1:]]), (0.5, [1.0, *HALF[1:]])], 1, "", "within chance; over the whole grid no"),
        ([(0.4, ZEROS), (0.5, ONES)], 5, "", "best on dev at equal tokens, differs from fixed 10/0 on test by +1.000"),
        ([(0.4, HALF)], 0, "fixed 10/0 finds 0.400 of the evidence with 5 chunks: 100", "nothing to compare"),
    ],
)  # fmt: skip
def test_the_sentences_say_what_came_out(recalls: Any, dev: int, first: str, second: str) -> None:
    sentences = meaning(seen(*recalls, dev=dev))
    assert first in sentences[0]
    assert second in sentences[1]
    assert all(sentence.endswith(".") and "  " not in sentence for sentence in sentences)


def test_unknown_methods_and_overlaps_of_a_whole_chunk_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean small-to-big"):
        ChunkingOptions(methods=("small_to_big",))
    with pytest.raises(UsageError, match="--overlap-share"):
        ChunkingOptions(overlap_shares=(1.0,))
    with pytest.raises(UsageError, match="has 501 designs"):
        ChunkingOptions(methods=("fixed",), sizes=tuple(range(1, 502)), overlap_shares=(0.0,))


def test_a_model_without_a_price_and_a_corpus_without_questions_are_refused_before_any_work() -> None:
    with pytest.raises(UnknownNameError):
        measure_chunking(make_bench(), replace(OPTIONS, llm="gpt-4o-mimi"))
    bare = make_bench()
    with pytest.raises(UsageError, match="no labelled question"):
        measure_chunking(replace(bare, corpus=replace(bare.corpus, questions=())), OPTIONS)
