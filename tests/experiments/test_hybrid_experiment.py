"""`llmdrill lab hybrid`: what is tuned where, and that the ways are what they are called."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from llmdrill.errors import UsageError
from llmdrill.experiments.hybrid import measure_hybrid
from llmdrill.experiments.hybrid_run import HybridOptions, judge, sweep
from llmdrill.experiments.hybrid_shown import meaning
from llmdrill.experiments.result import experiment_json
from llmdrill.experiments.retrieval_bench import Bench
from llmdrill.retrieval.chunk import word_spans
from llmdrill.retrieval.corpora import Document, LabelledCorpus, Question
from llmdrill.retrieval.evidence import Evidence
from llmdrill.retrieval.index import RetrievalConfig
from llmdrill.retrieval.pipeline import evaluate_retrieval

if TYPE_CHECKING:
    from collections.abc import Sequence

WORDS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heron", "inlet", "jetty", "knoll", "larch")
OPTIONS = HybridOptions(
    chunker="fixed", chunk_tokens=64, overlap_tokens=0, k=3, candidates=30, weights=(0.0, 0.5, 1.0), rrf_ks=(10, 60)
)


class Letters:
    """A real, small embedder: fixed random directions of letter pairs, so that a misspelling changes little."""

    name, sha256, precision, max_tokens, dimensions = "letters", "1" * 64, "fp32", 64, 48

    def token_spans(self, text: str) -> np.ndarray:
        return word_spans(text)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([self._one(text.lower()) for text in texts])

    def _one(self, text: str) -> np.ndarray:
        pairs = [text[at : at + 2] for at in range(len(text) - 1)] or [""]
        total = np.sum([np.random.default_rng(zlib.crc32(p.encode())).standard_normal(48) for p in pairs], axis=0)
        return np.asarray(total / np.linalg.norm(total), dtype=np.float32)


def make_bench(*, dev: int = 10, n: int = 30) -> Bench:
    """Return documents of drawn words, and for each a question: some of its words, every second misspelled."""
    rng = np.random.default_rng(4)
    documents, questions = [], []
    for number in range(n):
        words = rng.choice(WORDS, size=8).tolist()
        document = Document(f"d{number:02}", "f", "", " ".join(words))
        documents.append(document)
        asked = [word[::-1] if number % 2 else word for word in words[:3]]
        kind: Any = "misspelled" if number % 2 else "paraphrase"
        evidence = (Evidence(document.id, 0, len(document.text), 2),)
        split: Any = "dev" if number < dev else "test"
        questions.append(Question(f"q{number:02}", kind, " ".join(asked), "f", evidence, split))
    questions.append(Question("q99", "unanswerable", "who knows", "f", (), "test"))
    return Bench(LabelledCorpus(tuple(documents), tuple(questions), source="drawn"), Letters(), None)


def swept(**changes: Any) -> Any:
    return sweep(make_bench(**changes), OPTIONS, say=lambda _: None)


def test_the_ends_of_the_weight_are_the_single_searches_and_rrf_is_the_pipelines() -> None:
    bench, found = make_bench(), swept()
    assert found.linear[1.0].values("ndcg") == found.dense.values("ndcg")
    assert found.linear[0.0].mean("mrr") >= found.sparse.mean("mrr")  # it fills up with what no keyword finds
    config = RetrievalConfig(
        retriever="hybrid", chunker="fixed", chunk_tokens=64, overlap_tokens=0, k=3, candidates=30, rrf_k=60
    )
    result = evaluate_retrieval(bench.corpus, config, bench.embedder, split="all", seed=0)
    assert [score for score in result.questions if score.ndcg is not None] == [
        replace(score, possible_recall=other.possible_recall)
        for score, other in zip(found.rrf[60].scores, result.questions, strict=False)
    ]
    assert found.dense.values("ndcg") != found.sparse.values("ndcg")


def test_only_dev_questions_choose_the_settings() -> None:
    found = swept()
    judged = judge(found, seed=0)
    assert (len(judged.dev), len(judged.test)) == (10, 20)
    best = max(found.linear, key=lambda weight: found.linear[weight].of(judged.dev).mean("ndcg"))
    assert found.linear[judged.weight].of(judged.dev).mean("ndcg") == found.linear[best].of(judged.dev).mean("ndcg")
    assert judged.linear.values("ndcg") == found.linear[judged.weight].of(judged.test).values("ndcg")

    def spoiled(way: Any) -> Any:  # every answer to a test question is wrong
        scores = (
            replace(score, ndcg=0.0) if question.split == "test" else score
            for question, score in zip(way.questions, way.scores, strict=True)
        )
        return replace(way, scores=tuple(scores))

    others = {name: {value: spoiled(way) for value, way in getattr(found, name).items()} for name in ("linear", "rrf")}
    again = judge(replace(found, **others, dense=spoiled(found.dense), sparse=spoiled(found.sparse)), seed=0)
    assert (again.weight, again.rrf_k, again.single.name) == (judged.weight, judged.rrf_k, judged.single.name)
    assert again.linear.mean("ndcg") == 0


@pytest.mark.parametrize("dev", [0, 30])
def test_questions_of_one_split_tune_nothing_and_all_are_judged_by(dev: int) -> None:
    judged = judge(swept(dev=dev), seed=0)
    assert (judged.weight, judged.rrf_k, len(judged.dev), len(judged.test)) == (0.5, 60, 0, 30)


def test_of_equal_settings_the_one_nearest_to_the_usual_is_chosen() -> None:
    found = swept()
    level = dict.fromkeys((0.0, 0.4, 0.8, 1.0, 0.5), found.dense)
    assert judge(replace(found, linear=level), seed=0).weight == 0.5


def test_the_experiment_shows_both_sweeps_kinds_and_paired_gains() -> None:
    found = measure_hybrid(make_bench(), OPTIONS)
    shown = experiment_json(found)
    assert shown["schema"] == "llmdrill/lab-hybrid@1"
    assert (shown["n_dev"], shown["n_judged"], shown["chunks"]) == (10, 20, 30)
    assert {row["kind"]: row["n"] for row in shown["by_kind_of_question"]} == {"paraphrase": 10, "misspelled": 10}
    assert len(shown["differences_by_kind"]) == 2 * 3
    assert [row["dense_weight"] for row in shown["by_dense_weight"]] == [0.0, 0.5, 1.0]
    chosen = {row["dense_weight"]: row["dev_ndcg_at_k"] for row in shown["by_dense_weight"]}
    assert chosen[shown["chosen_dense_weight"]] == max(chosen.values())
    assert shown["chosen_rrf_k"] in {row["rrf_k"] for row in shown["by_rrf_k"]}
    low, high = shown["spread"]["linear_ndcg_at_k_gain"]
    assert low <= shown["linear_ndcg_at_k_gain"] <= high
    single = shown[f"{shown['single']}_ndcg_at_k"]
    assert shown["linear_ndcg_at_k"] - single == pytest.approx(shown["linear_ndcg_at_k_gain"])
    assert any("10 dev questions" in note for note in shown["notes"])
    assert len(found.pictures) == 2
    assert all(sentence.endswith(".") for sentence in found.meaning)


def test_the_sentences_follow_what_came_out() -> None:
    found = swept()
    judged = judge(found, seed=0)
    first, second = meaning(judged)
    assert f"{judged.linear.mean('ndcg'):.3f}" in first
    assert "misspelled questions" in second or "paraphrase questions" in second
    level = replace(judged, sparse=judged.dense, linear=judged.single)
    assert "and so have" in meaning(level)[0]
    assert meaning(level)[1] == "On every kind of question vectors and keywords have the same recall."
    one_kind = tuple(replace(question, kind="unspecified") for question in judged.test)
    ways = {name: replace(getattr(judged, name), questions=one_kind) for name in ("dense", "sparse", "rrf", "linear")}
    assert "no kinds to tell apart" in meaning(replace(judged, test=one_kind, **ways))[1]


def test_a_question_without_words_is_counted_and_found_by_vectors() -> None:
    bench = make_bench()
    questions = (replace(bench.corpus.questions[-2], id="q98", text="the ? of !"), *bench.corpus.questions)
    found = measure_hybrid(replace(bench, corpus=replace(bench.corpus, questions=questions)), OPTIONS)
    assert any(note.startswith("1 question holds no search term") for note in found.notes)


def test_a_corpus_without_labels_is_refused() -> None:
    bench = make_bench()
    with pytest.raises(UsageError, match="no labelled question"):
        measure_hybrid(replace(bench, corpus=replace(bench.corpus, questions=())), OPTIONS)
