"""One face for the tokenizers of models: the embedded one, or the tokenizer.json of a Hugging Face folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from llmdrill.errors import MissingExtraError, ModelFileError, UsageError
from llmdrill.lab.byte_letters import byte_of_letter
from llmdrill.lab.embedded import embedded_tokenizer
from llmdrill.lab.load_decoder import find_model
from llmdrill.lab.model_files import embedded_file, read_config

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import tiktoken
    import tokenizers

RANKS_FILE: Final = "tokenizer.tiktoken"
BYTE_LEVEL: Final = "ByteLevel"  # the decoder whose tokens are spelled in letters that each stand for one byte


class Tokenizer(Protocol):
    """Text to tokens and back.

    Attributes:
        vocabulary: One more than the largest token.
        end_of_text_id: The token that ends a text; None where the model names none.
    """

    vocabulary: int
    end_of_text_id: int | None

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text; what looks like a special token in it is only text."""

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of tokens; bytes that are not whole characters become U+FFFD."""

    def token_bytes(self, token: int) -> bytes | None:
        """Return the bytes a token stands for; None where it has none of its own, such as a special token."""


class EmbeddedTokenizer:
    """The tokenizer of the embedded decoders."""

    def __init__(self, encoding: tiktoken.Encoding) -> None:
        self._encoding = encoding
        self.vocabulary: int = encoding.n_vocab
        self.end_of_text_id: int | None = encoding.eot_token

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text."""
        return self._encoding.encode_ordinary(text)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of tokens."""
        return self._encoding.decode(list(ids))

    def token_bytes(self, token: int) -> bytes | None:
        """Return the bytes a token stands for."""
        return None if token == self.end_of_text_id else self._encoding.decode_single_token_bytes(token)


class FolderTokenizer:
    """A tokenizer.json, without the special tokens that its template would add."""

    def __init__(self, tokenizer: tokenizers.Tokenizer, *, end_of_text_id: int | None, byte_level: bool) -> None:
        self._tokenizer = tokenizer
        self._byte_of_letter = byte_of_letter() if byte_level else {}
        self._special = frozenset(tokenizer.get_added_tokens_decoder())
        self.vocabulary: int = tokenizer.get_vocab_size(with_added_tokens=True)
        self.end_of_text_id = end_of_text_id

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a text."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of tokens."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=False)
        return text

    def token_bytes(self, token: int) -> bytes | None:
        """Return the bytes a token stands for, where the tokenizer is byte-level."""
        letters: str | None = self._tokenizer.id_to_token(token)
        if letters is None or token in self._special or not self._byte_of_letter:
            return None
        return bytes(self._byte_of_letter[letter] for letter in letters)


def load_tokenizer(model: str | Path | None = None) -> Tokenizer:
    """Return the embedded tokenizer, or that of a model's folder or hub id.

    Raises:
        MissingExtraError: If the package tokenizers is not installed.
        ModelFileError: If the model cannot be found, or its tokenizer cannot be read.
        UsageError: If the folder has no tokenizer.json.
    """
    if model is None or _has_embedded_ranks(find_model(model)):
        return EmbeddedTokenizer(embedded_tokenizer())
    path = find_model(model) / "tokenizer.json"
    if not path.is_file():
        raise UsageError(f"{path}: no such file, and text needs a tokenizer: put the model's tokenizer.json there")
    try:
        from tokenizers import Tokenizer as Read
    except ImportError as error:
        raise MissingExtraError("reading a tokenizer", "lab") from error
    try:
        tokenizer = Read.from_file(str(path))
    except Exception as error:  # the package raises nothing more special
        raise ModelFileError(f"{path}: not a tokenizer ({str(error).splitlines()[0]}): fetch it again") from error
    byte_level = BYTE_LEVEL in str(read_config(path.parent, path.name).get("decoder"))
    return FolderTokenizer(tokenizer, end_of_text_id=_end_of_text(path.parent), byte_level=byte_level)


def _has_embedded_ranks(folder: Path) -> bool:
    """Return whether a folder has the embedded tokenizer, as training writes it beside its checkpoints."""
    ranks = folder / RANKS_FILE
    return ranks.is_file() and ranks.read_bytes() == embedded_file(RANKS_FILE)


def _end_of_text(folder: Path) -> int | None:
    """Return the first end-of-text token that config.json names."""
    named: Any = read_config(folder).get("eos_token_id")
    first = named[0] if isinstance(named, list) and named else named
    return first if isinstance(first, int) else None
