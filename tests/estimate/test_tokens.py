"""Token counts: published counts, the rough count's stated error, and no hanging without a network."""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdrill.errors import ModelFileError, UnknownNameError, UsageError
from llmdrill.estimate import tokens
from llmdrill.estimate.token_ratio import RATIOS, Kind, approximate_tokens
from llmdrill.estimate.tokens import RANK_FILES, count_tokens, encoding_of

ROOT = Path(__file__).parents[2]
RANKS = ROOT.parent / "shared" / "data" / "tiktoken"
CACHE_NAMES = {
    "cl100k_base": "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
    "o200k_base": "fb374d419588a4632f3f557e76b4b70aebbca790",
}
TEXTS = ROOT / "benchmarks" / "token_texts"
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


def test_the_files_we_look_for_are_the_ones_tiktoken_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    import tiktoken.load
    from tiktoken_ext import openai_public

    asked: list[tuple[str, str | None]] = []

    def note(url: str, expected_hash: str | None = None) -> bytes:
        asked.append((url, expected_hash))
        return b"{}"

    monkeypatch.setattr(tiktoken.load, "read_file_cached", note)
    for encoding, build in openai_public.ENCODING_CONSTRUCTORS.items():
        asked.clear()
        with contextlib.suppress(AssertionError, ValueError):  # the files are empty here: gpt2's two do not match
            build()
        assert asked == [(file.url, file.sha256) for file in RANK_FILES[encoding]]
    assert {name: RANK_FILES[name][0].cache_name for name in CACHE_NAMES} == CACHE_NAMES


@needs_ranks
@pytest.mark.parametrize("encoding", list(RATIOS))
def test_the_rough_count_is_as_wrong_as_its_docstring_says(
    rank_files: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(rank_files))
    articles = [file.read_text("utf-8") for file in sorted((ROOT / "scenarios" / "rag" / "corpus").rglob("*.md"))]
    modules = [file.read_text("utf-8") for file in sorted((ROOT / "llmdrill" / "cli").rglob("*.py"))]
    languages = [part for file in sorted(TEXTS.glob("*.txt")) for part in file.read_text("utf-8").split("\n\n")]
    for texts, inside_share, middle in ((articles, 0.85, 0.06), (modules, 0.75, 0.1), (languages, 0.95, 0.05)):
        counts = [(approximate_tokens(text, encoding=encoding), count_tokens(text, encoding)) for text in texts]
        errors = sorted(rough.tokens / exact - 1 for rough, exact in counts)
        assert len(errors) > 20
        assert abs(errors[len(errors) // 2]) < middle
        assert errors[0] > -0.45
        assert errors[-1] < 0.40
        inside = sum(rough.low <= exact <= rough.high for rough, exact in counts) / len(counts)
        assert inside >= inside_share


@given(text=st.text(min_size=1, max_size=200))
def test_a_token_is_one_byte_at_least(text: str) -> None:
    rough = approximate_tokens(text)
    assert 1 <= rough.low <= rough.tokens <= rough.high <= rough.text_bytes


@given(text=st.text("abc déф好한 .,{}", max_size=100), times=st.integers(2, 5))
def test_repeating_a_text_multiplies_the_rough_count(text: str, times: int) -> None:
    once, more = approximate_tokens(text), approximate_tokens(text * times)
    assert more.text_bytes == times * once.text_bytes
    assert times * (once.tokens - 1) <= more.tokens <= times * once.tokens


def test_the_rough_count_needs_no_tokenizer() -> None:
    assert approximate_tokens("").tokens == 0
    assert approximate_tokens("x" * 42).tokens == 10
    assert approximate_tokens("\ud800").tokens == 1
    assert approximate_tokens("x" * 42, kind="json").tokens == 15


@pytest.mark.parametrize(
    ("text", "kind", "measured"),
    [
        ("It costs what the tokens cost – no more.", "english", True),
        ("def f(x):\n    return {x: [x * 2]}  # (x)\n", "code", True),
        ('{"name": "gpt-4o", "price": 2.5}', "json", True),
        ("Der Bäcker öffnet früh, Frau Müller wartet schon.", "latin", True),
        ("Утром в деревне тихо.", "cyrillic", True),
        ("सुबह दूधवाले की घंटी।", "devanagari", True),
        ("清晨的菜市场最热闹。", "cjk", True),
        ("아침이 되면 골목 끝에.", "hangul", True),
        ("在命令行里运行 llmdrill，可以数出一段文字有多少个词元", "cjk", True),
        ("שלום לכולם, מה שלומכם?", "other", False),
    ],
)
def test_the_kind_is_seen_from_the_text(text: str, kind: Kind, measured: bool) -> None:
    rough = approximate_tokens(text)
    assert (rough.kind, rough.measured) == (kind, measured)


def test_an_encoding_without_measured_ratios_is_refused() -> None:
    with pytest.raises(UsageError, match="no bytes per token were measured for 'gpt2'"):
        approximate_tokens("text", encoding="gpt2")
    assert approximate_tokens("text", encoding="o200k_harmony") == approximate_tokens("text")


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    tokens._load.cache_clear()
    return tmp_path


def test_without_rank_file_and_network_the_error_offers_the_rough_count(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tiktoken.load

    def unreachable(url: str) -> bytes:
        raise ConnectionError(url)

    monkeypatch.setattr(tiktoken.load, "read_file", unreachable)
    with pytest.raises(ModelFileError, match=r"ConnectionError.*--approximate"):
        count_tokens("text", "p50k_base")


def test_a_network_that_never_answers_does_not_hang(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tiktoken.load

    monkeypatch.setattr(tiktoken.load, "read_file", lambda _: time.sleep(3))
    start = time.monotonic()
    with pytest.raises(ModelFileError, match=r"no answer within 0\.1 s"):
        count_tokens("text", "p50k_base", timeout_s=0.1)
    assert time.monotonic() - start < 2


@needs_ranks
def test_a_file_on_disk_is_never_fetched_however_short_the_wait(
    rank_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tiktoken.load

    def unreachable(url: str) -> bytes:
        raise AssertionError(url)

    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(rank_files))
    monkeypatch.setattr(tiktoken.load, "read_file", unreachable)
    tokens._load.cache_clear()
    assert count_tokens("hello world", "cl100k_base", timeout_s=0.001) == 2


def test_a_damaged_file_on_disk_is_not_used(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tiktoken.load

    monkeypatch.setattr(tiktoken.load, "read_file", lambda _: b"not the file")
    (empty_cache / RANK_FILES["r50k_base"][0].cache_name).write_bytes(b"damaged")
    with pytest.raises(ModelFileError, match="ValueError"):  # tiktoken's own check of the hash
        count_tokens("text", "r50k_base")


def test_a_cache_that_is_turned_off_is_said_to_be(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")
    with pytest.raises(ModelFileError, match="TIKTOKEN_CACHE_DIR is empty"):
        count_tokens("text", "r50k_base")


@pytest.mark.parametrize(
    ("model", "encoding"),
    [
        ("openai/gpt-4o-mini", "o200k_base"),
        ("gpt-4o-2024-05-13", "o200k_base"),
        ("GPT-4-0613", "cl100k_base"),
        ("gpt-3.5-turbo-0125", "cl100k_base"),
        ("o3-mini", "o200k_base"),
        ("ft:gpt-4o:acme::id", "o200k_base"),
        ("text-embedding-3-large", "cl100k_base"),
        ("gpt-oss-120b", "o200k_harmony"),
    ],
)
def test_a_model_has_its_encoding_dated_or_not(model: str, encoding: str) -> None:
    assert encoding_of(model) == encoding


def test_models_without_a_public_tokenizer_are_refused() -> None:
    with pytest.raises(UsageError, match=r"no public tokenizer of 'claude-sonnet-4-5' .*anthropic"):
        encoding_of("claude-sonnet-4-5")
    with pytest.raises(UsageError, match=r"open model llama-3\.1-8b"):
        encoding_of("meta-llama/Llama-3.1-8B")
    with pytest.raises(UnknownNameError, match="did you mean gpt-4o"):
        encoding_of("gtp-4o")
    with pytest.raises(UnknownNameError, match="did you mean o200k_base"):
        count_tokens("text", "o200k")
