"""What is packaged: a decoder of Python source (8M), a draft model (1M) for it, and their tokenizer. No network."""

from __future__ import annotations

import base64
import json
from functools import cache
from typing import TYPE_CHECKING, Final

from llmdrill.lab.load_decoder import Precision, load_decoder
from llmdrill.lab.model_files import embedded_file, embedded_folder

if TYPE_CHECKING:
    import tiktoken

    from llmdrill.lab.decoder import Decoder

DRAFT: Final = "python-1m"
END_OF_TEXT: Final = "<|endoftext|>"  # stands before every text


def embedded_decoder(precision: Precision = "fp32") -> Decoder:
    """Return the embedded decoder.

    Raises:
        MissingExtraError: If torch is not installed.
        ModelFileError: If a packaged file is absent or changed.
    """
    return load_decoder(precision=precision)


def draft_decoder(precision: Precision = "fp32") -> Decoder:
    """Return the small decoder that drafts for the embedded one: the same tokens, an eighth of the weights."""
    return load_decoder(embedded_folder(DRAFT), precision=precision)


@cache
def embedded_tokenizer() -> tiktoken.Encoding:
    """Return the tokenizer of both decoders."""
    import tiktoken

    rows = (line.split() for line in embedded_file("tokenizer.tiktoken").decode("ascii").splitlines())
    ranks = {base64.b64decode(token): int(rank) for token, rank in rows}
    settings = json.loads(embedded_file("tiktoken.json"))
    return tiktoken.Encoding(
        "llmdrill-python",
        pat_str=settings["pat_str"],
        mergeable_ranks=ranks,
        special_tokens=settings["special_tokens"],
    )


def end_of_text_id() -> int:
    """Return the token that stands before every text that the embedded decoders have seen."""
    return embedded_tokenizer().encode_single_token(END_OF_TEXT)
