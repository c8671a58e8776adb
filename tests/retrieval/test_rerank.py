"""Reranking: orders, late interaction against its definition, and what a bi-encoder cannot change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.retrieval.rerank import (
    BiEncoderReranker,
    Kept,
    MaxSimReranker,
    best_first,
    maxsim,
    text_vectors,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.retrieval.conftest import WordEmbedder

TEXTS = ("the fee is nine", "charge the pack", "a cold pack will not charge", "labels")


def test_ties_keep_the_order_of_the_first_stage_and_nan_is_refused() -> None:
    assert best_first(np.array([1.0, 3.0, 1.0, 3.0])) == (1, 3, 0, 2)
    assert best_first(np.array([])) == ()
    with pytest.raises(ValueError, match="NaN"):
        best_first(np.array([1.0, np.nan]))


def test_a_bi_encoder_gives_the_order_of_dense_search(embedder: WordEmbedder) -> None:
    query = "will the pack charge"
    cosines = embedder.embed(TEXTS) @ embedder.embed([query])[0]
    found = BiEncoderReranker(text_vectors(embedder)).scores(query, TEXTS)
    assert found == pytest.approx(cosines, abs=1e-6)
    assert best_first(found) == tuple(np.argsort(-cosines, kind="stable").tolist())


def test_what_is_kept_is_not_encoded_again_and_scores_alike(embedder: WordEmbedder) -> None:
    kept = Kept(text_vectors(embedder))
    kept.keep(TEXTS)
    embedder.asked.clear()
    ahead = BiEncoderReranker(kept).scores("charge it", TEXTS)
    assert embedder.asked == ["charge it"]
    assert ahead == pytest.approx(BiEncoderReranker(text_vectors(embedder)).scores("charge it", TEXTS), abs=1e-6)
    assert kept.nbytes == len(TEXTS) * embedder.dimensions * 4


def letters(texts: Sequence[str]) -> list[np.ndarray]:
    """Give each letter a direction of its own: similarity is 1 for the same letter, else 0."""
    return [np.eye(128, dtype=np.float32)[[ord(letter) for letter in text]] for text in texts]


def test_maxsim_counts_the_query_tokens_that_a_text_has() -> None:
    assert MaxSimReranker(letters).scores("abca", ["cab", "xyz", "", "aaaa"]).tolist() == [4.0, 0.0, 0.0, 2.0]


@given(st.lists(st.integers(0, 40), max_size=12), st.integers(1, 6), st.integers(0, 2**31))
def test_maxsim_equals_its_definition_text_by_text(lengths: list[int], asked: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    query, texts = rng.standard_normal((asked, 8)), [rng.standard_normal((length, 8)) for length in lengths]
    slow = [sum(max(float(q @ t) for t in text) for q in query) if len(text) else 0.0 for text in texts]
    assert maxsim(query, texts).tolist() == pytest.approx(slow, rel=1e-4, abs=1e-4)
