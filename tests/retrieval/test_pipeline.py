from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from llmdrill.errors import UnknownNameError, UsageError
from llmdrill.retrieval.embedding_cache import DiskEmbeddingCache
from llmdrill.retrieval.fuse import reciprocal_rank_fusion
from llmdrill.retrieval.index import RetrievalConfig, build_index, search
from llmdrill.retrieval.labelled import load_labelled_corpus
from llmdrill.retrieval.pipeline import METRICS, compare_retrieval, evaluate_retrieval

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import WordEmbedder
    from llmdrill.retrieval.corpora import LabelledCorpus, Split


RETRIEVERS = ["dense", "keyword", "hybrid"]
SENTENCE = "E-4021 means it is too cold to charge."


def config(**changes: Any) -> RetrievalConfig:
    base = RetrievalConfig(retriever="keyword", chunker="sentence", chunk_tokens=12, overlap_tokens=0, k=2)
    return replace(base, **changes)


@pytest.fixture
def corpus(corpus_root: Path) -> LabelledCorpus:
    """The small corpus, with a dev and a test question that can be answered, whatever their families hash to."""
    loaded = load_labelled_corpus(corpus_root)
    splits: dict[str, Split] = {"power-01": "dev", "returns-01": "dev", "returns-02": "test", "returns-03": "test"}
    return replace(loaded, questions=tuple(replace(q, split=splits[q.id]) for q in loaded.questions))


@pytest.mark.parametrize("retriever", RETRIEVERS)
def test_a_sentence_of_the_corpus_finds_its_own_chunk_first(
    corpus: LabelledCorpus, embedder: WordEmbedder, retriever: str
) -> None:
    hits = search(build_index(corpus, config(retriever=retriever), embedder), SENTENCE)
    text_of = {document.id: document.text for document in corpus.documents}
    first = hits[0].chunk
    assert SENTENCE in text_of[first.document][first.start : first.end]
    assert len(hits) <= 2
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_hybrid_scores_are_the_fused_ranks_of_the_other_two(corpus: LabelledCorpus, embedder: WordEmbedder) -> None:
    query = "What does E-4021 mean, is the fee 9 EUR?"
    dense, keyword, hybrid = (
        search(build_index(corpus, config(retriever=retriever, k=50, rrf_k=7), embedder), query)
        for retriever in RETRIEVERS
    )
    fused = reciprocal_rank_fusion([[hit.chunk for hit in dense], [hit.chunk for hit in keyword]], rrf_k=7)
    assert {hit.chunk: hit.score for hit in hybrid} == pytest.approx(fused)


def test_keyword_search_returns_no_chunk_without_a_term_of_the_query(corpus: LabelledCorpus) -> None:
    index = build_index(corpus, config(k=50))
    assert search(index, "xylophone") == ()
    assert {hit.chunk.document for hit in search(index, "dockside")} == {"returns-faq"}


def test_truncation_leaves_a_share_of_the_text_unseen_and_windows_leave_none(
    corpus: LabelledCorpus, embedder: WordEmbedder
) -> None:
    designs = [config(retriever="dense", chunker="fixed", chunk_tokens=100, truncate=cut) for cut in (False, True)]
    whole, cut = (build_index(corpus, design, embedder) for design in designs)
    solid = {document.id: "".join(document.text.split()) for document in corpus.documents}
    seen = sum(
        len("".join(document.text[: embedder.token_spans(document.text)[7, 1]].split()))
        for document in corpus.documents
    )
    assert whole.unseen_share == 0
    assert cut.unseen_share == pytest.approx(1 - seen / sum(map(len, solid.values())))
    assert build_index(corpus, config()).unseen_share is None


@pytest.mark.parametrize("retriever", RETRIEVERS)
def test_figures_of_a_run_add_up(corpus: LabelledCorpus, embedder: WordEmbedder, retriever: str) -> None:
    result = evaluate_retrieval(corpus, config(retriever=retriever), embedder, split="all", seed=0)
    assert (result.n, result.n_unanswerable, len(result.questions)) == (3, 1, 4)
    assert sum(row.n for row in result.by_kind) == 4
    for metric in METRICS:
        values = [value for score in result.questions if (value := score.value(metric)) is not None]
        mean = result.mean(metric)
        assert mean is not None
        assert mean.mean == pytest.approx(sum(values) / 3)
        assert mean.low <= mean.mean <= mean.high
    sent = [sum(hit.chunk.tokens for hit in score.hits) for score in result.questions]
    assert result.sent_tokens == sum(sent) / 4
    assert result.stored_tokens == sum(len(embedder.token_spans(document.text)) for document in corpus.documents)


def test_everything_retrieved_recalls_everything(corpus: LabelledCorpus, embedder: WordEmbedder) -> None:
    result = evaluate_retrieval(corpus, config(retriever="dense", k=99), embedder, split="all", seed=0)
    recall = result.mean("evidence_recall")
    assert recall is not None
    assert recall.mean == 1


def test_an_unanswerable_question_has_no_recall_and_counts_as_a_false_answer_above_the_dev_threshold(
    corpus: LabelledCorpus, embedder: WordEmbedder
) -> None:
    result = evaluate_retrieval(corpus, config(retriever="dense"), embedder, split="test", seed=0)
    everything = evaluate_retrieval(corpus, config(retriever="dense"), embedder, split="all", seed=0)
    top = {score.id: score.top_score or 0.0 for score in everything.questions}
    assert result.threshold == min(top["power-01"], top["returns-01"])
    assert {score.id: score.evidence_recall is None for score in result.questions} == {
        "returns-02": False,
        "returns-03": True,
    }
    assert result.false_answer_rate == float(top["returns-03"] >= result.threshold)
    assert result.kept_share == float(top["returns-02"] >= result.threshold)


def test_without_answerable_dev_questions_there_is_no_threshold(corpus: LabelledCorpus) -> None:
    only_test = replace(corpus, questions=tuple(replace(q, split="test") for q in corpus.questions))
    result = evaluate_retrieval(only_test, config(), None, split="test", seed=0)
    assert (result.threshold, result.false_answer_rate, result.kept_share) == (None, None, None)
    empty = evaluate_retrieval(only_test, config(), None, split="dev", seed=0)
    assert (empty.n, empty.means, empty.sent_tokens, empty.mean("mrr")) == (0, (), None, None)


def test_the_same_run_gives_the_same_result_with_and_without_a_cache(
    corpus: LabelledCorpus, embedder: WordEmbedder, tmp_path: Path
) -> None:
    design, cache = config(retriever="hybrid"), DiskEmbeddingCache(tmp_path / "cache")
    plain = evaluate_retrieval(corpus, design, embedder, split="all", seed=3)
    embedder.asked.clear()
    filled, cached = (evaluate_retrieval(corpus, design, embedder, split="all", seed=3, cache=cache) for _ in range(2))
    assert plain == filled == cached
    assert len(embedder.asked) == len(set(embedder.asked))


def test_a_design_does_not_differ_from_itself_and_wins_where_it_finds_more(
    corpus: LabelledCorpus, embedder: WordEmbedder
) -> None:
    designs = [config(retriever="dense", k=k) for k in (1, 50)]
    few, many = (evaluate_retrieval(corpus, design, embedder, split="all", seed=0) for design in designs)
    same = compare_retrieval(few, few, seed=0)
    assert (same.difference.mean, same.p_value, same.wins, same.losses) == (0, 1, 0, 0)
    more = compare_retrieval(many, few, seed=0)
    recalls = [score.evidence_recall for score in few.questions if score.evidence_recall is not None]
    assert more.wins == sum(recall < 1 for recall in recalls) > 0  # every span is found at 50
    assert more.losses == 0
    assert more.difference.mean == -compare_retrieval(few, many, seed=0).difference.mean


def test_results_of_different_questions_are_not_compared(corpus: LabelledCorpus) -> None:
    dev, test = (evaluate_retrieval(corpus, config(), None, split=split, seed=0) for split in ("dev", "test"))
    with pytest.raises(UsageError, match="same corpus and split"):
        compare_retrieval(dev, test, seed=0)


def test_a_vector_search_without_an_embedder_is_refused(corpus: LabelledCorpus) -> None:
    with pytest.raises(UsageError, match="'hybrid' needs an embedder"):
        build_index(corpus, config(retriever="hybrid"))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"retriever": "densa"}, UnknownNameError, "did you mean dense"),
        ({"chunker": "fix"}, UnknownNameError, "did you mean fixed"),
        ({"k": 0}, UsageError, "k is 0"),
    ],
)
def test_a_setting_that_does_not_exist_is_refused(change: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        config(**change)


@pytest.mark.lab
def test_minilm_finds_a_paraphrase_that_keywords_miss(corpus: LabelledCorpus) -> None:
    pytest.importorskip("torch")
    embed = pytest.importorskip("llmdrill.lab.embed")
    if embed.find_minilm() is None:
        pytest.skip("all-MiniLM-L6-v2 is not installed")
    minilm = embed.load_minilm()
    query = "How long may I keep an unsealed item?"
    dense, keyword = (
        search(build_index(corpus, config(retriever=name, k=1), minilm), query) for name in ("dense", "keyword")
    )
    assert dense[0].chunk.document == "returns-policy"
    assert keyword == ()
