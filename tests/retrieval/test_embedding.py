from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from llmdrill.retrieval.embed import embed_texts, windows
from llmdrill.retrieval.embedding_cache import FILE_NAME, DiskEmbeddingCache

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from conftest import WordEmbedder

LONG = "One two three four. Five six seven. Eight nine ten eleven twelve thirteen."


def test_a_text_that_fits_is_embedded_as_it_is(embedder: WordEmbedder) -> None:
    found = embed_texts(["one two", "three"], embedder)
    assert np.allclose(found.vectors, embedder.embed(["one two", "three"]), atol=1e-6)


def test_a_long_text_is_the_mean_of_its_windows_weighted_by_their_tokens(embedder: WordEmbedder) -> None:
    seen = windows(LONG, embedder, truncate=False)
    pieces = [LONG[window.start : window.end] for window in seen]
    assert pieces == ["One two three four.", "Five six seven.", "Eight nine ten eleven twelve thirteen."]
    expected = np.array([5, 4, 7], dtype=np.float32) @ embedder.embed(pieces)
    found = embed_texts(["short", LONG], embedder).vectors[1]
    assert np.allclose(found, expected / np.linalg.norm(expected), atol=1e-6)


def test_truncation_sees_the_beginning_only(embedder: WordEmbedder) -> None:
    cut = embed_texts([LONG], embedder, truncate=True)
    assert np.allclose(cut.vectors, embed_texts([LONG[: cut.seen[0][0].end]], embedder).vectors, atol=1e-6)
    assert LONG[: cut.seen[0][0].end] == "One two three four. Five six seven"
    assert not np.allclose(cut.vectors, embed_texts([LONG], embedder).vectors, atol=1e-2)


def test_every_vector_is_of_unit_length_and_no_text_gives_no_vector(embedder: WordEmbedder) -> None:
    assert np.allclose(np.linalg.norm(embed_texts([LONG, "a", ""], embedder).vectors, axis=1), 1)
    assert embed_texts([], embedder).vectors.shape == (0, 64)


def test_the_cache_spares_the_embedder_and_gives_the_same_vectors(embedder: WordEmbedder, tmp_path: Path) -> None:
    cache = DiskEmbeddingCache(tmp_path / "cache")
    first = embed_texts([LONG, "a", "a"], embedder, cache=cache)
    assert len(embedder.asked) == len(set(embedder.asked)) == 4
    again = embed_texts([LONG, "a", "b"], embedder, cache=cache)
    assert embedder.asked[4:] == ["b"]
    assert np.array_equal(first.vectors[:2], again.vectors[:2])


def test_vectors_of_two_models_or_precisions_do_not_mix(embedder: WordEmbedder, tmp_path: Path) -> None:
    cache = DiskEmbeddingCache(tmp_path)
    embed_texts(["a"], embedder, cache=cache)
    other = replace(embedder, sha256="1" * 64, asked=[])
    coarse = replace(embedder, precision="bf16", asked=[])
    for each in (other, coarse):
        embed_texts(["a"], each, cache=cache)
    assert [each.asked for each in (embedder, other, coarse)] == [["a"]] * 3


def some_vectors(start: int, n: int = 40) -> dict[str, np.ndarray]:
    return {f"k{i}": np.full(8, i, dtype=np.float32) for i in range(start, start + n)}


def same(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> bool:
    return found.keys() == expected.keys() and all(np.array_equal(found[key], expected[key]) for key in found)


def test_the_disk_cache_returns_what_it_was_given_and_nothing_else(tmp_path: Path) -> None:
    cache, vectors = DiskEmbeddingCache(tmp_path), some_vectors(0, 1200)
    cache.put_many(vectors)
    assert same(DiskEmbeddingCache(tmp_path).get_many([*vectors, "absent"]), vectors)


@pytest.mark.parametrize("damage", [b"", b"this is no database, but it is long enough to be read as one" * 40])
def test_a_damaged_file_is_put_aside_and_begun_anew(tmp_path: Path, damage: bytes) -> None:
    cache, vectors = DiskEmbeddingCache(tmp_path), some_vectors(0)
    cache.put_many(vectors)
    (tmp_path / FILE_NAME).write_bytes(damage)
    assert cache.get_many(list(vectors)) == {}
    cache.put_many(vectors)
    assert same(cache.get_many(list(vectors)), vectors)


def test_a_changed_vector_counts_as_absent(tmp_path: Path) -> None:
    cache, vectors = DiskEmbeddingCache(tmp_path), some_vectors(1, 3)
    cache.put_many(vectors)
    path = tmp_path / FILE_NAME
    path.write_bytes(path.read_bytes().replace(vectors["k2"].tobytes(), np.full(8, 9, dtype="<f4").tobytes()))
    assert set(cache.get_many(list(vectors))) == {"k1", "k3"}


def test_where_nothing_can_be_written_the_cache_is_empty_and_silent(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    cache = DiskEmbeddingCache(tmp_path / "file")
    cache.put_many(some_vectors(0))
    assert cache.get_many(["k0"]) == {}


WRITER = """
import sys, numpy as np
from pathlib import Path
from llmdrill.retrieval.embedding_cache import DiskEmbeddingCache
for i in range(int(sys.argv[2]), int(sys.argv[2]) + 60):
    DiskEmbeddingCache(Path(sys.argv[1])).put_many({f"k{i}": np.full(8, i, dtype=np.float32)})
"""


def test_two_processes_write_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), start]) for start in ("0", "60")]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    expected = some_vectors(0, 120)
    assert same(DiskEmbeddingCache(tmp_path).get_many(list(expected)), expected)
