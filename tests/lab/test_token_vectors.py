"""Token vectors of the sentence embedder: what late interaction compares."""

from __future__ import annotations

import numpy as np
import pytest

from llmdrill.lab.embed import MiniLm, find_minilm, load_minilm, token_vectors

pytest.importorskip("torch")
pytestmark = [pytest.mark.lab, pytest.mark.skipif(find_minilm() is None, reason="all-MiniLM-L6-v2 is not installed")]

TEXTS = ("Does the pack last?", "", "E-4021 means it is too cold to charge.", "word " * 400)


@pytest.fixture(scope="module")
def minilm() -> MiniLm:
    return load_minilm(precision="fp32")


def test_every_token_that_is_seen_has_one_unit_vector(minilm: MiniLm) -> None:
    found = token_vectors(minilm, TEXTS)
    assert [len(one) for one in found] == [min(len(minilm.token_spans(text)), minilm.max_tokens) for text in TEXTS]
    for one in found:
        assert one.dtype == np.float32
        assert np.linalg.norm(one, axis=1) == pytest.approx(1, abs=1e-5)


def test_they_are_the_rows_that_transformers_gives(minilm: MiniLm) -> None:
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModel.from_pretrained(str(find_minilm())).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(find_minilm()))
    import torch

    for text, ours in zip(TEXTS[:3], token_vectors(minilm, TEXTS[:3]), strict=True):
        with torch.inference_mode():
            hidden = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0, 1:-1]
        theirs = torch.nn.functional.normalize(hidden, dim=1).numpy()
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max(initial=0) < 1e-4


def test_a_word_means_something_else_beside_other_words(minilm: MiniLm) -> None:
    river, money, loan = (
        token_vectors(minilm, [text])[0][at]
        for text, at in (("the bank of the river", 1), ("money in the bank", 3), ("a loan from the bank", 4))
    )
    assert money @ loan > money @ river
