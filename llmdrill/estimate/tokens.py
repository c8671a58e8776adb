"""Count tokens exactly, with the model's own tokenizer; for a rough count see token_ratio."""

from __future__ import annotations

import functools
import hashlib
import os
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from llmdrill.errors import LlmdrillError, ModelFileError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    import tiktoken

FETCH_TIMEOUT_S: Final = 8.0
_BLOBS: Final = "https://openaipublic.blob.core.windows.net"
_OFFLINE_REMEDY: Final = (
    "connect once, set TIKTOKEN_CACHE_DIR to a folder that holds it, or count roughly with --approximate"
)


@dataclass(frozen=True, slots=True)
class RankFile:
    """One of the files that an encoding is made of, as tiktoken names it."""

    url: str
    sha256: str

    @property
    def cache_name(self) -> str:
        """The file's name in tiktoken's cache: the sha1 of its address."""
        return hashlib.sha1(self.url.encode(), usedforsecurity=False).hexdigest()


def _blob(path: str, sha256: str) -> RankFile:
    return RankFile(f"{_BLOBS}/{path}", sha256)


_O200K: Final = (
    _blob("encodings/o200k_base.tiktoken", "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"),
)
_P50K: Final = (
    _blob("encodings/p50k_base.tiktoken", "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069"),
)
# tiktoken 0.14.0, tiktoken_ext/openai_public.py; a test compares.
RANK_FILES: Final[dict[str, tuple[RankFile, ...]]] = {
    "o200k_base": _O200K,
    "cl100k_base": (
        _blob("encodings/cl100k_base.tiktoken", "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"),
    ),
    "o200k_harmony": _O200K,
    "p50k_base": _P50K,
    "r50k_base": (
        _blob("encodings/r50k_base.tiktoken", "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"),
    ),
    "p50k_edit": _P50K,
    "gpt2": (
        _blob("gpt-2/encodings/main/vocab.bpe", "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"),
        _blob("gpt-2/encodings/main/encoder.json", "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783"),
    ),
}


def count_tokens(text: str, encoding: str, *, timeout_s: float = FETCH_TIMEOUT_S) -> int:
    """Return how many tokens ``text`` has, counted by the tokenizer itself.

    Formula:
        Length of the byte-pair encoding. Special tokens in the text are counted as plain text.

    Args:
        text: Any text.
        encoding: Such as o200k_base (gpt-4o and later) or cl100k_base (gpt-4, text-embedding-3).
        timeout_s: Longest wait for the rank file, which is fetched once and then kept on disk.

    Returns:
        Tokens. A chat request adds a few per message.

    Raises:
        UnknownNameError: If there is no such encoding.
        ModelFileError: If the rank file is neither on disk nor fetched within ``timeout_s``.

    Error:
        Exact for models with a public tokenizer; for others (Claude, Gemini) another model's count is an estimate.
    Source:
        tiktoken, the published rank files of OpenAI's models.
    """
    return len(_load(encoding, timeout_s).encode(text, disallowed_special=()))


def encoding_of(model: str) -> str:
    """Return the name of the encoding that a model counts its tokens in; dated names count as their model.

    Raises:
        UsageError: If the model is known and has no encoding in tiktoken.
        UnknownNameError: If it is not known; the nearest names are told.

    >>> encoding_of("gpt-4o-mini"), encoding_of("gpt-4-0613"), encoding_of("text-embedding-3-small")
    ('o200k_base', 'cl100k_base', 'cl100k_base')
    """
    from tiktoken.model import MODEL_TO_ENCODING, encoding_name_for_model

    name = model.strip().rsplit("/", 1)[-1].lower()
    try:
        return encoding_name_for_model(name)
    except KeyError:
        owner = _owner(model)
    if owner is None:
        raise UnknownNameError("model", model, MODEL_TO_ENCODING)
    if owner == "openai":
        raise UsageError(
            f"tiktoken does not say which encoding '{model}' has; name one with --encoding, or --approximate"
        )
    raise UsageError(
        f"no public tokenizer of '{model}' is in tiktoken (it is {owner}); use --approximate, or count with another "
        "model's --encoding and take it for an estimate"
    )


def _owner(model: str) -> str | None:
    """Return whose model it is, as the catalogue knows it; None if it does not."""
    from llmdrill.catalog.load import find_model, find_price

    finders: tuple[Callable[[], str], ...] = (
        lambda: find_price(model).provider,
        lambda: f"the open model {find_model(model).name}",
    )
    for find in finders:
        try:
            owner = find()
        except LlmdrillError:
            continue
        return owner if owner == "openai" or owner.startswith("the ") else f"a model of {owner}"
    return None


@functools.cache
def _load(encoding: str, timeout_s: float) -> tiktoken.Encoding:
    """Load an encoding: from the files on disk, after fetching those that are not there."""
    if encoding not in RANK_FILES:
        raise UnknownNameError("encoding", encoding, RANK_FILES)
    folder = cache_folder()
    absent = [file for file in RANK_FILES[encoding] if not _is_there(folder, file)]
    if absent:
        _fetch(encoding, absent, timeout_s)
    missing = [file for file in absent if not _is_there(folder, file)]
    if missing:  # or tiktoken would fetch it again, without any limit of time
        raise ModelFileError(f"the rank file of '{encoding}' could not be kept in {folder}; {_OFFLINE_REMEDY}")
    import tiktoken

    try:
        return tiktoken.get_encoding(encoding)
    except (OSError, ValueError) as error:
        raise ModelFileError(f"the rank file of '{encoding}' in {folder} cannot be read: {error}") from error


def cache_folder() -> Path:
    """Return the folder where tiktoken keeps rank files.

    Raises:
        ModelFileError: If its cache is turned off: every count would fetch megabytes.
    """
    for variable in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"):
        if variable in os.environ:
            if not os.environ[variable]:
                raise ModelFileError(f"{variable} is empty, which turns off tiktoken's cache; set it to a folder")
            return Path(os.environ[variable])
    return Path(tempfile.gettempdir()) / "data-gym-cache"


def _is_there(folder: Path, file: RankFile) -> bool:
    try:
        return hashlib.sha256((folder / file.cache_name).read_bytes()).hexdigest() == file.sha256
    except OSError:
        return False


def _fetch(encoding: str, files: list[RankFile], timeout_s: float) -> None:
    """Let tiktoken fetch files into its cache, in a thread, because it waits for a network without end."""
    ended: list[Exception | None] = []
    thread = threading.Thread(target=_fetch_into, args=(ended, files), daemon=True)
    thread.start()
    thread.join(timeout_s)
    error = ended[0] if ended else TimeoutError(f"no answer within {timeout_s:g} s")
    if error is not None:
        why = f"{type(error).__name__}: {error}" if isinstance(error, TimeoutError) else type(error).__name__
        raise ModelFileError(
            f"the rank file of '{encoding}' is not on this machine and could not be fetched ({why}): {_OFFLINE_REMEDY}"
        ) from error


def _fetch_into(ended: list[Exception | None], files: list[RankFile]) -> None:
    try:
        from tiktoken.load import read_file_cached

        for file in files:
            read_file_cached(file.url, file.sha256)
    except Exception as error:  # noqa: BLE001 - handed to the waiting thread, whatever it is
        ended.append(error)
    else:
        ended.append(None)
