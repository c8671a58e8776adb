"""The embedder as its files describe it: the weights, and torch with them, load with the first text to embed."""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from llmdrill.errors import MissingExtraError
from llmdrill.folders import cache_folder
from llmdrill.lab import embed
from llmdrill.lab.bert_shape import shape_of
from llmdrill.lab.embed_engine import choose_embed_engine
from llmdrill.lab.model_files import read_config

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from llmdrill.lab.embed_engine import Held, Precision


@dataclass(frozen=True)
class LazyMiniLm:
    """all-MiniLM-L6-v2 before it is loaded; what it is, its files say (see ``embed.MiniLm``).

    With all vectors in a cache only the tokenizer is ever read: importing torch alone takes longer than a search.
    """

    folder: Path
    sha256: str
    dimensions: int
    vocab: int
    precision: Held
    pooling: Literal["mean", "cls"]
    name: str = embed.MINILM_NAME
    max_tokens: int = embed.MINILM_MODEL_TOKENS - 2

    @cached_property
    def loaded(self) -> embed.MiniLm:
        """The embedder with its weights."""
        return embed.load_minilm(self.folder, precision=self.precision)

    @cached_property
    def _tokenizer(self) -> Any:  # noqa: ANN401 - tokenizers ships no usable types
        return embed.load_tokenizer(self.folder, vocab=self.vocab)

    def token_spans(self, text: str) -> NDArray[np.int64]:
        """Return the character span [start, end) of every token of ``text`` (T, 2), special tokens left out."""
        offsets = self._tokenizer.encode(text, add_special_tokens=False).offsets
        return np.array(offsets, dtype=np.int64).reshape(-1, 2)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one vector of unit length per text (N, C); tokens beyond ``max_tokens`` are not seen."""
        return self.loaded.embed(texts)


def lazy_minilm(folder: Path | None = None, *, precision: Precision = "auto") -> LazyMiniLm | embed.MiniLm:
    """Return all-MiniLM-L6-v2 without loading it; another BERT encoder in ``folder`` is loaded, or refused, at once.

    Raises:
        MissingExtraError: If the embedding model is not installed.
        ModelFileError: As ``load_minilm`` says.
    """
    place = embed.find_minilm() if folder is None else folder
    if place is None:
        raise MissingExtraError("the embedding model", "lab")
    sha256 = _sha256(embed.one_weights_file(place))
    if sha256 != embed.MINILM_SHA256:
        return embed.load_minilm(folder, precision=precision)
    config = read_config(place)
    return LazyMiniLm(
        folder=place,
        sha256=sha256,
        dimensions=int(config["hidden_size"]),
        vocab=int(config["vocab_size"]),
        precision=choose_embed_engine(shape_of(config, place), precision=precision).precision,
        pooling=embed.pooling_of(place),
    )


def _sha256(path: Path) -> str:
    """Return the sha256 of a file: kept from an earlier time if its size and time of change are still the same.

    Whoever loads the weights checks their hash anew.
    """
    status = path.stat()
    about = f"{path.absolute()} {status.st_size} {status.st_mtime_ns}"
    kept = cache_folder() / "hashes" / f"{hashlib.sha256(about.encode()).hexdigest()}.txt"
    with suppress(OSError, UnicodeDecodeError):
        held = kept.read_text(encoding="ascii")
        if re.fullmatch(r"[0-9a-f]{64}", held):
            return held
    with path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    with suppress(OSError):  # where nothing can be kept it is computed each time
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_suffix(f".{os.getpid()}")
        part.write_text(sha256, encoding="ascii")
        part.replace(kept)
    return sha256
