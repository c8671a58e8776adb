"""`lab rerank` on one family of the shipped corpus: what must hold whatever the figures are, and its sentences."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.errors import UnknownNameError, UsageError
from llmdrill.experiments.rerank import RerankOptions, measure_rerank
from llmdrill.experiments.rerank_run import reordered
from llmdrill.experiments.rerank_shown import _moved
from llmdrill.experiments.rerankers import make_reranker
from llmdrill.experiments.result import experiment_json
from llmdrill.experiments.retrieval_bench import load_bench
from llmdrill.retrieval.chunk import Chunk
from llmdrill.retrieval.compare import Interval
from llmdrill.retrieval.index import Hit, Ranked

if TYPE_CHECKING:
    from llmdrill.experiments.result import Experiment
    from llmdrill.experiments.retrieval_bench import Bench

RAG = Path(__file__).resolve().parents[2] / "scenarios" / "rag"
lab = pytest.mark.lab


def hits(count: int) -> Ranked:
    return Ranked(tuple(Hit(Chunk("a", at, at + 1, 1), float(-at)) for at in range(count)), 0.0)


@given(st.lists(st.integers(-3, 3), max_size=12), st.integers(1, 15))
def test_reordering_moves_the_first_n_among_themselves_and_leaves_the_others(marks: list[int], n: int) -> None:
    before = hits(len(marks))
    after = reordered(before, np.array(marks, dtype=np.float64), n=n)
    chunks = [[hit.chunk for hit in one.hits] for one in (before, after)]
    assert sorted(chunks[1][:n], key=lambda chunk: chunk.start) == chunks[0][:n]
    assert chunks[1][n:] == chunks[0][n:]
    found = [marks[chunk.start] for chunk in chunks[1][:n]]
    assert found == sorted(found, reverse=True)
    assert after.top_score == before.top_score


def test_fewer_candidates_than_k_are_refused() -> None:
    with pytest.raises(UsageError, match="from k = 5 on"):
        RerankOptions(ns=(3, 10))
    assert RerankOptions(ns=(10, 40, 90)).main_n == 40


def test_a_sentence_claims_a_change_only_where_the_interval_does() -> None:
    assert _moved("recall", Interval(0.08, 0.02, 0.15, 9)) == "raised recall by 0.080 (+0.020 to +0.150)"
    assert _moved("recall", Interval(-0.08, -0.15, -0.02, 9)) == "lowered recall by 0.080 (-0.150 to -0.020)"
    assert _moved("recall", Interval(-0.04, -0.12, 0.02, 9)) == "did not surely change recall (-0.120 to +0.020)"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("one-family")
    shutil.copytree(RAG / "corpus" / "plans", folder / "corpus" / "plans")
    (folder / "questions").mkdir()
    shutil.copy(RAG / "questions" / "plans.yaml", folder / "questions")
    return load_bench(str(folder), use_cache=False)


@pytest.fixture(scope="module")
def found(bench: Bench) -> Experiment:
    return measure_rerank(bench, RerankOptions(k=3, ns=(4, 8), chunk_tokens=128, overlap_tokens=16, repeats=1))


@lab
def test_what_must_hold_whatever_the_weights_say(found: Experiment) -> None:
    read = experiment_json(found)
    assert read["schema"] == "llmdrill/lab-rerank@1"
    assert read["bi_encoder_dense_recall_gain"] == read["predicted"]["bi_encoder_dense_recall_gain"] == 0.0
    assert read["token_vector_bytes"] == read["predicted"]["token_vector_bytes"] > 10 * read["vector_bytes"]
    assert read["maxsim_recall_gain"] + read["recall_at_k"] <= read["candidate_recall"] + 1e-9
    for name in ("maxsim_ndcg_gain", "bi_encoder_mrr_gain", "small_to_big_recall_gain"):
        low, high = read["spread"][name]
        assert low <= read[name] <= high
    assert {"maxsim_stored_ms", "maxsim_fresh_ms", "bi_encoder_stored_ms", "bi_encoder_fresh_ms"} <= set(read)
    assert len(found.meaning) == 2


@lab
def test_the_table_has_every_first_stage_reranker_and_n(found: Experiment) -> None:
    rows = experiment_json(found)["by_first_stage_and_reranker"]
    stages = {"BM25", "dense", "hybrid", "small-to-big"}
    assert {(row["first_stage"], row["reranker"], row["n"]) for row in rows} == {
        *((stage, "none", None) for stage in stages),
        *((stage, reranker, n) for stage in stages for reranker in ("bi-encoder", "maxsim") for n in (4, 8)),
    }
    assert all(row["gain_low"] <= row["recall_gain"] <= row["gain_high"] for row in rows if row["n"])


@lab
def test_unknown_and_unnamed_rerankers_are_refused(bench: Bench) -> None:
    embedder = bench.need_embedder()
    with pytest.raises(UnknownNameError, match="maxsim"):
        make_reranker("maxsym", embedder)
    with pytest.raises(UsageError, match="--cross-encoder"):
        make_reranker("cross-encoder", embedder)
