"""Token counts: published counts, the rough count's stated error, and no hanging without a network."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from llmdrill.errors import ModelFileError, UnknownNameError, UsageError
from llmdrill.estimate import tokens
from llmdrill.estimate.tokens import approximate_tokens, count_tokens, encoding_of

ROOT = Path(__file__).parents[2]
RANKS = ROOT.parent / "shared" / "data" / "tiktoken"
CACHE_NAMES = {
    "cl100k_base": "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
    "o200k_base": "fb374d419588a4632f3f557e76b4b70aebbca790",
}
needs_ranks = pytest.mark.skipif(not RANKS.is_dir(), reason="the rank files are not beside the repository")


@pytest.fixture(scope="module")
def rank_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    for encoding, name in CACHE_NAMES.items():
        shutil.copy(RANKS / f"{encoding}.tiktoken", folder / name)
    return folder


@needs_ranks
@pytest.mark.parametrize(("encoding", "expected"), [("cl100k_base", 16), ("o200k_base", 15)])
def test_a_known_text_has_its_known_count(
    rank_files: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, expected: int
) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(rank_files))
    assert count_tokens("hello world! def f(x): return x**2  # 你好", encoding) == expected
    assert count_tokens("", encoding) == 0
    assert count_tokens("<|endoftext|>", encoding) > 1  # text, not the special token


@needs_ranks
def test_the_rough_count_is_as_wrong_as_its_docstring_says(rank_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(rank_files))
    errors = []
    for file in sorted((ROOT / "scenarios" / "rag" / "corpus").rglob("*.md")):
        text = file.read_text(encoding="utf-8")
        errors.append(approximate_tokens(text) / count_tokens(text, "o200k_base") - 1)
    if not errors:
        pytest.skip("the corpus is not there")
    errors.sort()
    assert abs(errors[len(errors) // 2]) < 0.05
    assert errors[0] > -0.35
    assert errors[-1] < 0.15


def test_the_rough_count_needs_no_tokenizer() -> None:
    assert approximate_tokens("") == 0
    assert approximate_tokens("x" * 42) == 10
    assert approximate_tokens("é" * 42) == 20
    assert approximate_tokens("\ud800") == 1


def test_without_rank_file_and_network_the_error_offers_the_rough_count(monkeypatch: pytest.MonkeyPatch) -> None:
    import tiktoken

    def unreachable(name: str) -> None:
        raise ConnectionError(name)

    monkeypatch.setattr(tiktoken, "get_encoding", unreachable)
    tokens._load.cache_clear()
    with pytest.raises(ModelFileError, match="--approximate"):
        count_tokens("text", "p50k_base")


def test_a_network_that_never_answers_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    import tiktoken

    monkeypatch.setattr(tiktoken, "get_encoding", lambda _: time.sleep(3))
    tokens._load.cache_clear()
    start = time.monotonic()
    with pytest.raises(ModelFileError, match="TimeoutError"):
        count_tokens("text", "p50k_base", timeout_s=0.1)
    assert time.monotonic() - start < 2


def test_models_without_a_public_tokenizer_are_refused() -> None:
    assert encoding_of("openai/gpt-4o-mini") == "o200k_base"
    with pytest.raises(UsageError, match="no public tokenizer"):
        encoding_of("claude-sonnet-4-5")
    with pytest.raises(UnknownNameError, match="did you mean o200k_base"):
        count_tokens("text", "o200k")
