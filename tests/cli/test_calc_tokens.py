"""`llmdrill calc tokens`, with the rank files and without a network."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from calc_cases import run, run_json

from llmdrill.errors import EXIT_CANNOT_RUN

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
RANKS = ROOT.parent / "shared" / "data" / "tiktoken"
CACHE_NAMES = {
    "cl100k_base": "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
    "o200k_base": "fb374d419588a4632f3f557e76b4b70aebbca790",
}
CHECK = "hello world! def f(x): return x**2  # 你好"
needs_ranks = pytest.mark.skipif(not RANKS.is_dir(), reason="the rank files are not beside the repository")


@pytest.fixture
def ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for encoding, name in CACHE_NAMES.items():
        shutil.copy(RANKS / f"{encoding}.tiktoken", tmp_path / name)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def silent_proxy() -> Iterator[str]:
    """Return the address of a server that takes connections and never says a word."""
    server = socket.create_server(("127.0.0.1", 0))
    held: list[socket.socket] = []

    def accept() -> None:
        while True:
            try:
                held.append(server.accept()[0])
            except OSError:
                return

    threading.Thread(target=accept, daemon=True).start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}"
    server.close()
    for connection in held:
        connection.close()


def outside(words: list[str], cache: Path, **variables: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """Return what a process of its own left, and its seconds."""
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "llmdrill", "calc", "tokens", *words],
        env=os.environ | {"TIKTOKEN_CACHE_DIR": str(cache)} | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done, time.monotonic() - start


@needs_ranks
@pytest.mark.parametrize(("encoding", "expected"), [("o200k_base", 15), ("cl100k_base", 16)])
def test_the_known_text_is_counted_exactly_without_a_network(
    ranks: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, expected: int
) -> None:
    def blocked(*_: object) -> None:
        raise AssertionError("a count with the file on disk opened a socket")

    monkeypatch.setattr(socket.socket, "connect", blocked)
    for words, stdin in ((("--text", CHECK), None), (("-",), CHECK)):
        found = run_json("tokens", "--encoding", encoding, *words, stdin=stdin)
        assert (found["tokens"], found["exact"], found["encoding"]) == (expected, True, encoding)
    file = ranks / "text.txt"
    file.write_text(CHECK, encoding="utf-8-sig")  # the byte-order mark is no text
    assert run_json("tokens", "--encoding", encoding, str(file))["tokens"] == expected


def test_a_network_that_swallows_everything_ends_in_seconds_and_offers_the_rough_count(
    tmp_path: Path, silent_proxy: str
) -> None:
    words = ["--encoding", "o200k_base", "--text", "x"]
    proxies = dict.fromkeys(("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"), silent_proxy)
    done, seconds = outside([*words, "--timeout", "1s"], tmp_path, NO_PROXY="", no_proxy="", **proxies)
    assert done.returncode == EXIT_CANNOT_RUN
    assert len(done.stderr.splitlines()) == 1
    assert "no answer within 1 s" in done.stderr
    assert "--approximate" in done.stderr
    assert seconds < 15  # of which one second is waiting
    done, _ = outside([*words, "--approximate", "--json"], tmp_path, **proxies)
    assert (done.returncode, '"exact": false' in done.stdout) == (0, True)


def test_without_any_network_it_says_so_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def blocked(*_: object) -> None:
        raise OSError("no network here")

    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(socket.socket, "connect", blocked)
    monkeypatch.setattr(socket, "getaddrinfo", blocked)
    from llmdrill.estimate import tokens

    tokens._load.cache_clear()
    status, out, err = run("tokens", "--encoding", "o200k_base", "--text", "x")
    assert (status, out, len(err.splitlines())) == (EXIT_CANNOT_RUN, "", 1)
    assert "not on this machine and could not be fetched" in err
    assert "--approximate" in err


def test_the_rough_count_has_a_span_and_is_never_called_exact() -> None:
    found = run_json("tokens", "--approximate", "--text", "x" * 420)
    assert (found["tokens"], found["exact"], found["encoding"]) == (100, False, None)
    assert found["tokens_low"] < 100 < found["tokens_high"]
    assert found["text_bytes"] == 420
    assert any("another tokenizer" in note for note in found["notes"])
    chinese = run_json("tokens", "--approximate", "--encoding", "cl100k_base", "--text", "清晨的菜市场最热闹" * 9)
    assert chinese["kind"] == "cjk"
    assert run("tokens", "--approximate", "--text", "x" * 420, "--assert", "tokens_high <= 125")[0] == 0


def test_a_model_without_a_text_tells_its_encoding_and_needs_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    found = run_json("tokens", "--model", "gpt-4o-2024-05-13")
    assert (found["encoding"], found["tokens"]) == ("o200k_base", None)
    rough = run_json("tokens", "--model", "claude-sonnet-4-5", "--approximate", "--text", "hello")
    assert rough["encoding"] is None
    assert any("claude-sonnet-4-5 has no public tokenizer" in note for note in rough["notes"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--model", "claude-sonnet-4-5", "--text", "x"), "anthropic"),
        (("--model", "gtp-4o", "--text", "x"), "did you mean gpt-4o"),
        (("--model", "gtp-4o", "--approximate", "--text", "x"), "did you mean gpt-4o"),
        (("--encoding", "o200k", "--text", "x"), "did you mean o200k_base"),
        (("--encoding", "gpt2", "--approximate", "--text", "x"), "only for o200k_base and cl100k_base"),
        (("--text", "x"), "which tokenizer"),
        (("--encoding", "o200k_base"), "give one text"),
        (("--encoding", "o200k_base", "--text", "x", "file.txt"), "give one text"),
        (("--encoding", "o200k_base", "--model", "gpt-4o", "--text", "x"), "not both"),
        (("--encoding", "o200k_base", "--text", "x", "--kind", "code"), "--kind goes with"),
        (("--approximate", "--timeout", "0", "--text", "x"), "--timeout"),
        (("--approximate", "--timeout", "nan", "--text", "x"), "--timeout"),
        (("--approximate", "/no/such/file"), "cannot be read"),
        (("--approximate", "/"), "folder"),
    ],
)
def test_bad_calls_are_refused_in_one_line(words: tuple[str, ...], told: str) -> None:
    status, out, err = run("tokens", *words)
    assert (status, len(err.splitlines()), out) == (EXIT_CANNOT_RUN, 1, "")
    assert told in err


def test_one_token_is_no_plural(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmdrill.estimate.tokens.count_tokens", lambda *_, **__: 1)
    assert run("tokens", "--text", "x", "--encoding", "o200k_base")[1].startswith("1 token\n")
