"""The tokenizer: tiktoken's ranks cut text as the trained tokenizer does, and give it back."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

pytest.importorskip("tokenizers")

from training.tokenizer import Tokenizer, differing, export_ranks, train_bpe

pytestmark = pytest.mark.lab

PACKAGE = Path(__file__).resolve().parents[2] / "llmdrill"
TEXTS = [path.read_text(encoding="utf-8") for path in sorted(PACKAGE.glob("*.py"))]
HARD = [
    "",
    " ",
    "\n\n\n",
    "a\r\nb\r\n\tc\x0c\n",
    "x = 1234567  # naïve 🙂 中文 \u00a0\u2028 end",
    "def f(self):\n        return _a__b.c_d\n\n\n    # trailing   \n",
    "\ufeff# mark\n'\\x00\x00'",
]


@pytest.fixture(scope="module")
def trained() -> object:
    return train_bpe(TEXTS, vocabulary=700)


def test_tiktoken_and_the_trained_tokenizer_agree_on_every_text(trained: object) -> None:
    assert differing(trained, export_ranks(trained), TEXTS + HARD) == []


def test_a_wrong_order_of_merges_would_be_seen(trained: object) -> None:
    tokenizer = export_ranks(trained)
    merges = [token for token, rank in sorted(tokenizer.ranks.items(), key=lambda item: item[1]) if rank >= 256]
    turned = {bytes([byte]): byte for byte in range(256)}
    turned |= {token: 256 + at for at, token in enumerate(reversed(merges))}
    assert differing(trained, Tokenizer(turned), TEXTS) != []


def test_it_has_the_size_that_was_asked_for_and_knows_how_many_bytes_a_token_is(trained: object) -> None:
    tokenizer = export_ranks(trained)
    encoding, sizes = tokenizer.encoding(), tokenizer.token_bytes()
    assert tokenizer.vocabulary == encoding.n_vocab == 700
    for text in TEXTS + HARD:
        assert sum(sizes[encoding.encode_ordinary(text)]) == len(text.encode())
    assert sizes[tokenizer.end_of_text] == 0


def test_a_line_break_takes_the_indentation_with_it(trained: object) -> None:
    encoding = export_ranks(trained).encoding()
    pieces = [encoding.decode([token]) for token in encoding.encode_ordinary("if x:\n    return 1\n")]
    assert "\n    " in pieces


def test_what_was_saved_is_read_back_and_is_tiktokens_own_format(trained: object, tmp_path: Path) -> None:
    import tiktoken.load

    tokenizer = export_ranks(trained)
    tokenizer.save(tmp_path)
    assert Tokenizer.load(tmp_path) == tokenizer
    lines = (tmp_path / "tokenizer.tiktoken").read_text().splitlines()
    assert {base64.b64decode(line.split()[0]): int(line.split()[1]) for line in lines} == tokenizer.ranks
    assert tiktoken.load.load_tiktoken_bpe(str(tmp_path / "tokenizer.tiktoken")) == tokenizer.ranks
