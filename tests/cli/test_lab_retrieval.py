"""`llmdrill lab retrieval` and `llmdrill cache` as a person or a script runs them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from cli_cases import COMMAND, run, without_torch

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Call

KEYWORD = ("lab", "retrieval", "--retriever", "keyword")


def test_keyword_search_needs_neither_torch_nor_the_model(tmp_path: Path) -> None:
    ran = run(*KEYWORD, "--json", environ=without_torch(tmp_path))
    assert ran.status == 0, ran.err
    found = ran.json
    assert 0 < found["recall_at_k"] < 1
    assert found["spread"]["recall_at_k"][0] < found["recall_at_k"] < found["spread"]["recall_at_k"][1]
    assert found["embedder"] is None
    assert found["n_queries"] > 50


def test_vectors_without_torch_name_the_extra(tmp_path: Path) -> None:
    ran = run("lab", "retrieval", environ=without_torch(tmp_path))
    assert (ran.status, ran.out) == (2, "")
    assert "needs the extra 'lab'" in ran.err


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "pump.md").write_text("# Pump\n\nThe pump starts at nine.\n\nIt stops at noon.\n", encoding="utf-8")
    (folder / "valve.txt").write_text("Every valve has a number and a date.\n", encoding="utf-8")
    return folder


@pytest.mark.lab
def test_once_embedded_a_search_imports_no_torch(documents: Path) -> None:
    asked = ("lab", "retrieval", "--corpus", documents, "--k", "2", "--json")
    first = run(*asked)
    assert first.status == 0, first.err
    assert (first.json["recall_at_k"], first.json["n_queries"], first.json["embedder"]) == (None, 0, "all-MiniLM-L6-v2")
    code = (
        f"import sys; from llmdrill.cli import main; sys.argv = {['llmdrill', *map(str, asked)]!r};"
        "status = main(); assert 'torch' not in sys.modules, 'torch was imported'; sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert '"fresh_texts": 0' in done.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--corpus", "ragg"), "did you mean rag"),
        (("--corpus", "no/such/folder"), "there is no such file or folder"),
        (("--compare", "k"), "name=value"),
        (("--compare", "chunk_tokens=16"), "cannot overlap by 32"),
        (("--dense-weight", "0.9"), "add --retriever hybrid --fusion linear"),
        (("--llm", "gpt-nine"), "unknown API model"),
        (("--chunker", "sentense"), "did you mean sentence"),
        (("--overlap", "256"), "give an overlap from 0 to 255"),
    ],
)
def test_what_cannot_be_run_is_refused_in_a_line(call: Call, words: tuple[str, ...], says: str) -> None:
    ran = call(*KEYWORD, *words)
    assert (ran.status, ran.out) == (2, "")
    assert says in ran.err
    assert len(ran.err.splitlines()) == 1


def test_assertions_gate_on_what_was_found(call: Call) -> None:
    assert call(*KEYWORD, "--assert", "recall_at_k >= 0.01").status == 0
    failed = call(*KEYWORD, "--assert", "recall_at_k >= 0.99", "--json")
    assert (failed.status, failed.err.startswith("assertion failed: recall_at_k >= 0.99")) == (1, True)


def cached(home: Path, number: int = 3) -> None:
    import numpy as np

    from llmdrill.retrieval.embedding_cache import DiskEmbeddingCache

    rows: dict[str, Any] = {f"{'a' * 64}/fp32/mean/t{at}": np.full(4, at, dtype=np.float32) for at in range(number)}
    DiskEmbeddingCache(home / "cache" / "embeddings").put_many(rows)


@pytest.fixture
def own_home(tmp_path: Path) -> dict[str, str]:
    """A home whose cache is its own: the tests' common one must not be cleared."""
    home = tmp_path / "home"
    cached(home)
    return {"LLMDRILL_HOME": str(home)}


def test_the_cache_tells_what_it_holds_and_is_cleared_on_demand(own_home: dict[str, str]) -> None:
    shown = run("cache", "--json", environ=own_home).json
    assert (shown["vectors"], shown["limit_bytes"]) == (3, 2**31)
    assert shown["models"] == [
        {"model": "a" * 12 + " fp32 mean", "key": "a" * 64 + "/fp32/mean", "vectors": 3, "vector_bytes": 48}
    ]
    assert shown["file_bytes"] > 48
    text = run("cache", environ=own_home)
    assert shown["folder"] in text.out.replace("\n", "")
    refused = run("cache", "clear", environ=own_home)
    assert (refused.status, refused.out) == (2, "")
    assert "say --yes" in refused.err
    cleared = run("cache", "clear", "--yes", "--json", environ=own_home).json
    assert cleared["freed_bytes"] == shown["file_bytes"]
    assert run("cache", "--json", environ=own_home).json["vectors"] == 0
    assert "There was nothing." in run("cache", "clear", environ=own_home).out


def test_a_limit_that_is_no_size_is_refused(own_home: dict[str, str]) -> None:
    ran = run("cache", environ=own_home | {"LLMDRILL_CACHE_LIMIT": "lots"})
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith("llmdrill: LLMDRILL_CACHE_LIMIT: 'lots' is not a quantity")


@pytest.mark.lab
@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_an_interrupted_run_keeps_what_it_embedded(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    folder, home = tmp_path / "many", tmp_path / "home"
    folder.mkdir()
    for number in range(20):
        lines = [f"Machine {number * 1000 + row} stands in hall {row % 7}." for row in range(450)]
        (folder / f"{number}.txt").write_text("\n".join(lines), encoding="utf-8")
    words = ("lab", "retrieval", "--corpus", str(folder), "--chunk-tokens", "32", "--overlap", "0")
    ran = subprocess.Popen(
        [*COMMAND, *words], env={**os.environ, "LLMDRILL_HOME": str(home)}, stderr=subprocess.PIPE, text=True
    )
    assert ran.stderr is not None
    told = ran.stderr.readline()
    assert told.startswith("embedding "), told
    ran.send_signal(signal.SIGINT)
    rest = ran.communicate(timeout=60)[1]
    assert (ran.returncode, rest.splitlines()[-1]) == (
        130,
        "llmdrill: interrupted: the vectors computed so far are kept; the same command goes on from there",
    )
    kept = run("cache", "--json", environ={"LLMDRILL_HOME": str(home)}).json["vectors"]
    assert kept >= 128  # the sample at least, and whole groups after it
