"""A long embedding run: what it says before it starts, what an interruption leaves, and what the disk holds after."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
import pytest

from llmdrill.errors import InterruptedByPersonError, UsageError
from llmdrill.retrieval import embed
from llmdrill.retrieval.embed import embed_texts, embedding_key
from llmdrill.retrieval.embedding_cache import KEPT_SHARE, LIMIT_VARIABLE, DiskEmbeddingCache
from llmdrill.retrieval.progress import Progress

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import WordEmbedder


def texts_of(number: int) -> list[str]:
    return [f"text number {index}" for index in range(number)]


def vectors_of(number: int, *, model: str = "m/fp32/mean") -> dict[str, np.ndarray]:
    return {f"{model}/t{index}": np.full(16, index, dtype=np.float32) for index in range(number)}


@dataclass
class Heard:
    """What was said, and a clock that moves a second each time it is read."""

    told: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def progress(self) -> Progress:
        ticks = count()
        return Progress(say=self.said.append, tell=self.told.append, now=lambda: float(next(ticks)))


@pytest.mark.parametrize("raised", [KeyboardInterrupt, InterruptedByPersonError])
def test_an_interruption_loses_one_group_at_most_and_the_next_run_embeds_only_the_rest(
    embedder: WordEmbedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: type[BaseException]
) -> None:
    monkeypatch.setattr(embed, "GROUP_TEXTS", 10)
    cache, texts, plain = DiskEmbeddingCache(tmp_path), texts_of(45), embedder.embed

    def stop_in_third_group(some: list[str]) -> np.ndarray:
        if len(embedder.asked) >= 20:
            raise raised("interrupted")
        return plain(some)

    with monkeypatch.context() as patched:
        patched.setattr(embedder, "embed", stop_in_third_group)
        with pytest.raises(InterruptedByPersonError, match="kept; the same command goes on"):
            embed_texts(texts, embedder, cache=cache)
    assert cache.usage().models[0].vectors == 20
    before = set(embedder.asked)
    found = embed_texts(texts, embedder, cache=cache)
    assert len(embedder.asked) == 45
    assert found.work.fresh == 25
    assert before.isdisjoint(embedder.asked[20:])
    embedder.asked.clear()
    assert np.array_equal(found.vectors, embed_texts(texts, embedder).vectors)


def test_an_interruption_without_a_cache_is_passed_on(embedder: WordEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(some: list[str]) -> np.ndarray:
        raise KeyboardInterrupt

    monkeypatch.setattr(embedder, "embed", stop)
    with pytest.raises(KeyboardInterrupt):
        embed_texts(["a"], embedder)


def test_a_long_run_tells_its_time_from_a_sample_before_it_starts(
    embedder: WordEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embed, "FORECAST_FROM_TEXTS", 100)
    monkeypatch.setattr(embed, "SAMPLE_TEXTS", 20)
    heard, texts = Heard(), texts_of(200)
    found = embed_texts(texts, embedder, progress=heard.progress())
    assert len(heard.told) == 1
    assert heard.told[0].startswith("embedding 200 new texts will take about ")
    sample = embedder.asked[1:21]
    share = sum(map(len, sample)) / sum(map(len, texts))
    assert found.work.expected_s == pytest.approx(1 / share)  # one tick of the clock for the sample
    assert sorted(embedder.asked) == sorted(texts)
    assert np.allclose(found.vectors, embedder.embed(texts), atol=1e-6)


def test_a_short_run_tells_nothing(embedder: WordEmbedder) -> None:
    heard = Heard()
    work = embed_texts(texts_of(20), embedder, progress=heard.progress()).work
    assert (heard.told, work.expected_s, work.texts, work.fresh) == ([], None, 20, 20)


def test_tokens_counted_before_are_not_counted_again_where_they_surely_fit(
    embedder: WordEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder.max_tokens = 40
    texts = ["one two three", "word " * 60]
    plain = embed_texts(texts, embedder)
    counted: list[str] = []
    spans = embedder.token_spans

    def watched(text: str) -> np.ndarray:
        counted.append(text)
        return spans(text)

    monkeypatch.setattr(embedder, "token_spans", watched)
    hinted = embed_texts(texts, embedder, tokens=[3, 60])
    assert texts[0] not in counted
    assert hinted.seen == plain.seen
    assert np.array_equal(hinted.vectors, plain.vectors)


def test_models_precisions_and_poolings_have_keys_of_their_own(embedder: WordEmbedder) -> None:
    keys = {embedding_key("a", embedder)}
    for name, value in (("precision", "bf16"), ("pooling", "cls"), ("sha256", "1" * 64)):
        setattr(embedder, name, value)
        keys.add(embedding_key("a", embedder))
    assert len(keys) == 4
    assert len({key.rpartition("/")[2] for key in keys}) == 1


def test_beyond_its_limit_the_cache_forgets_the_oldest_first(tmp_path: Path) -> None:
    vectors = {f"m/t{index}": np.full(256, index, dtype=np.float32) for index in range(1200)}
    cache = DiskEmbeddingCache(tmp_path, limit_bytes=600_000)
    keys = list(vectors)
    for start in range(0, 1200, 100):
        cache.put_many({key: vectors[key] for key in keys[start : start + 100]})
    held = cache.get_many(keys)
    assert list(held) == keys[-len(held) :]
    assert 0.5 * KEPT_SHARE * 600_000 < len(held) * 1024 < 600_000
    assert cache.usage().file_bytes < 2 * 600_000


def test_usage_counts_vectors_by_model_and_clearing_leaves_nothing(tmp_path: Path) -> None:
    cache = DiskEmbeddingCache(tmp_path)
    assert cache.usage().models == ()
    assert list(tmp_path.iterdir()) == []
    cache.put_many(vectors_of(7) | vectors_of(3, model="n/bf16/mean"))
    cache.put_many(vectors_of(2))  # again: they count once
    (tmp_path / "embeddings-1.sqlite3").write_bytes(b"of an earlier version")
    usage = cache.usage()
    assert [(one.model, one.vectors, one.vector_bytes) for one in usage.models] == [
        ("m/fp32/mean", 7, 7 * 64),
        ("n/bf16/mean", 3, 3 * 64),
    ]
    assert usage.file_bytes == sum(path.stat().st_size for path in tmp_path.iterdir())
    assert cache.clear() == usage.file_bytes
    assert list(tmp_path.iterdir()) == []
    assert cache.get_many(["m/fp32/mean/t0"]) == {}


def test_the_limit_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, "500 MB")
    assert DiskEmbeddingCache(tmp_path).limit_bytes == 500_000_000
    monkeypatch.setenv(LIMIT_VARIABLE, "much")
    with pytest.raises(UsageError, match=f"{LIMIT_VARIABLE}: 'much' is not a quantity"):
        DiskEmbeddingCache(tmp_path)


def test_times_of_queries_are_kept(tmp_path: Path) -> None:
    cache = DiskEmbeddingCache(tmp_path)
    cache.put_seconds({f"cpu/{index}": index / 8 for index in range(600)})
    assert DiskEmbeddingCache(tmp_path).get_seconds([*(f"cpu/{index}" for index in range(600)), "other"]) == {
        f"cpu/{index}": index / 8 for index in range(600)
    }
