"""`lab perplexity`: its figures against each other, the sentences for either outcome, and the commands of both."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from llmdrill.experiments.perplexity import _interval, _meaning, measure_perplexity  # noqa: E402
from llmdrill.experiments.result import experiment_json  # noqa: E402
from llmdrill.lab.embedded import embedded_tokenizer  # noqa: E402
from llmdrill.lab.perplexity_run import Passage  # noqa: E402
from llmdrill.lab.score import Score  # noqa: E402

pytestmark = pytest.mark.lab

TEXT = "import os\n\n\ndef size(path):\n    return os.stat(path).st_size\n" * 3


@pytest.fixture(scope="module")
def found() -> Any:
    return measure_perplexity(Passage("size.py", TEXT), context_tokens=64)


def test_figures_are_one_cross_entropy_in_several_units(found: Any) -> None:
    at = experiment_json(found)
    assert at["schema"] == "llmdrill/lab-perplexity@1"
    assert at["tokens"] == len(embedded_tokenizer().encode_ordinary(TEXT))
    assert at["text_bytes"] == len(TEXT.encode())
    assert at["perplexity"] == pytest.approx(math.exp(at["nats_per_token"]))
    nats = at["bits_per_byte"] * math.log(2) * at["text_bytes"]
    assert nats == pytest.approx(at["nats_per_token"] * at["tokens"])
    assert 0 <= at["next_token_accuracy_share"] <= 1
    assert set(at["weights_matter"]) == {
        *("bits_per_byte", "perplexity", "nats_per_token", "next_token_accuracy_share"),
    }


def test_windows_and_the_first_token_are_stated(found: Any) -> None:
    said = " ".join(found.notes)
    assert "windows of 64 tokens, 32 apart" in said
    assert "its first token counts too" in said


def test_disjoint_chunks_are_called_so() -> None:
    chunked = measure_perplexity(Passage("size.py", TEXT), context_tokens=32, stride_tokens=32)
    assert "disjoint chunks of 32 tokens" in chunked.notes[0]


def run_of(nats: float, *, texts: int = 1) -> Any:
    """Return a run whose texts cost more and more, by a byte each: the first ``nats`` a token, the next twice that."""
    scores = [Score(100, 100, 100 * nats * (1 + at), 0) for at in range(texts)]
    passages = tuple(SimpleNamespace(name=str(at), score=SimpleNamespace(sums=one)) for at, one in enumerate(scores))
    return SimpleNamespace(total=scores[0], passages=passages, text_bytes=100, gzip_bytes=50, xz_bytes=40)


@pytest.mark.parametrize(("nats", "words"), [(0.5, "xz -9e needs 4.44 times as many"), (6.0, "xz -9e needs 3.2:")])
def test_the_meaning_follows_who_needs_fewer_bits(nats: float, words: str) -> None:
    assert words in _meaning(run_of(nats))[1]


def test_an_interval_needs_some_texts_and_holds_the_middle_of_them() -> None:
    assert _interval(run_of(1.0, texts=9), seed=0) is None
    interval = _interval(run_of(1.0, texts=20), seed=0)
    assert interval is not None
    assert interval[0] < 10.5 / math.log(2) < interval[1]
    assert interval == _interval(run_of(1.0, texts=20), seed=0)
