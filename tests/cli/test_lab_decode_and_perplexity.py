"""`llmdrill lab decode` and `llmdrill lab perplexity` as they are called: output, and one line for what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

pytest.importorskip("torch")

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Call

pytestmark = pytest.mark.lab

SMALL = ("--steps", 3, "--tokens", 3, "--pp", 8, "--tg", 3, "--repeats", 1)


def test_decode_shows_tokens_and_json_has_them_too(call: Call) -> None:
    shown = call("lab", "decode", "--prompt", "import os\n", *SMALL)
    assert shown.status == 0
    assert "'<|endoftext|>' 'import' ' os' '\\n'" in shown.out
    assert "first_token_s" in shown.out
    found = call("lab", "decode", "--prompt", "import os\n", "--json", *SMALL)
    assert found.json["prompt"] == "import os\n"
    assert found.json["protocol"]["repeats"] == 1


def test_perplexity_of_a_file_and_of_standard_input_are_the_same(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io
    import sys

    file = tmp_path / "text.py"
    file.write_text("for name in names:\n    print(name)\n", encoding="utf-8")
    with file.open("rb") as stream:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(stream))
        piped = call("lab", "perplexity", "--text", "-", "--json").json
    named = call("lab", "perplexity", "--text", file, "--json").json
    assert piped["text"] == "standard input"
    assert piped["bits_per_byte"] == named["bits_per_byte"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (None, "cannot be read: No such file"),
        (b"", "is empty"),
        (b"ok\n\xff\xfe", "text.py:2:1: is not UTF-8"),
        (b"text \0 and more", "zero byte"),
    ],
)
def test_what_is_no_text_is_refused_in_one_line(call: Call, tmp_path: Path, data: bytes | None, words: str) -> None:
    file = tmp_path / "text.py"
    if data is not None:
        file.write_bytes(data)
    refused = call("lab", "perplexity", "--text", file)
    assert (refused.status, refused.out, refused.err.count("\n")) == (2, "", 1)
    assert words in refused.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("decode", "--shape", "tinny"), "did you mean tiny"),
        (("decode", "--shape", "tiny", "--prompt", "x"), "random weights say nothing"),
        (("decode", "--shape", "tiny", "--engine", "torch", "--precision", "int8"), "no int8"),
        (("decode", "--shape", "tiny", "--pp", 4096), "2048"),
        (("decode", "--model", "/nowhere"), "/nowhere"),
        (("decode", "--tokens", 1), "--tokens"),
        (("perplexity", "--model", "/nowhere"), "/nowhere"),
        (("perplexity", "--context", 1025), "1 to 1024"),
        (("perplexity", "--text", "x", "--all"), "--all"),
    ],
)
def test_a_wrong_call_is_refused_in_one_line(call: Call, arguments: tuple[object, ...], words: str) -> None:
    refused = call("lab", *arguments)
    assert (refused.status, refused.out, refused.err.count("\n")) == (2, "", 1)
    assert words in refused.err
