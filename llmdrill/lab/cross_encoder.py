"""A cross-encoder: one BERT pass over query and text together, and a classification head that gives one score."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from llmdrill.errors import ModelFileError
from llmdrill.lab import bert
from llmdrill.lab.bert_shape import encoder_arrays, shape_of
from llmdrill.lab.embed import load_tokenizer, one_weights_file
from llmdrill.lab.length_batches import length_batches
from llmdrill.lab.load_decoder import find_model
from llmdrill.lab.model_files import read_config, read_tensors, take

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from tokenizers import Tokenizer
    from torch import Tensor

SPECIALS: Final = 3  # [CLS] query [SEP] text [SEP]


@dataclass(frozen=True, slots=True)
class CrossEncoder:
    """A loaded cross-encoder: a ``retrieval.rerank.Reranker``.

    Attributes:
        name: Its folder's name.
        sha256: Of the weights file.
        max_tokens: Of query and text together, special tokens included; a longer text loses its end.
        precision: What the matrices are held in.
    """

    name: str
    sha256: str
    max_tokens: int
    precision: str
    _tokenizer: Tokenizer = field(repr=False)
    _encoder: bert.Encoder = field(repr=False)
    _pooler: bert.Linear = field(repr=False)
    _head: bert.Linear = field(repr=False)
    _marks: tuple[int, int] = field(repr=False)  # ids of [CLS] and [SEP]

    def scores(self, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the logit of each pair of query and text, (N,): what a sigmoid would map to 0 … 1, in the same order.

        Source:
            Nogueira and Cho 2019, "Passage Re-ranking with BERT", arXiv:1901.04085.
        """
        rows = self._rows(query, texts)
        scores = np.empty(len(rows), dtype=np.float32)
        with torch.inference_mode():
            for picked in length_batches([len(row) for row in rows]):
                ids, mask = bert.pad_rows([rows[index] for index in picked])
                first = self._encoder(ids, mask)[:, 0]  # (B, C), of [CLS]
                scores[picked] = self._head(torch.tanh(self._pooler(first))).float()[:, 0].numpy()
        return scores

    def _rows(self, query: str, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each pair; those of the second segment are shifted by the vocabulary."""
        encoded = self._tokenizer.encode_batch_fast([query, *texts], add_special_tokens=False)
        cls, sep = self._marks
        question = encoded[0].ids[: self.max_tokens - SPECIALS]
        room = self.max_tokens - SPECIALS - len(question)
        shift = self._encoder.shape.vocab
        texts_ids = ([*encoding.ids[:room], sep] for encoding in encoded[1:])
        return [[cls, *question, sep, *(token + shift for token in ids)] for ids in texts_ids]


def load_cross_encoder(model: str | Path, *, dtype: torch.dtype = torch.float32) -> CrossEncoder:
    """Load a BERT cross-encoder: a folder with config.json, model.safetensors and tokenizer.json, or a cached hub id.

    Raises:
        MissingExtraError: If tokenizers or safetensors is not installed.
        ModelFileError: If it cannot be found, a file is absent or broken, it is no BERT, or its labels are not one.
    """
    folder = find_model(model)
    config = read_config(folder)
    shape = shape_of(config, folder)
    weights = one_weights_file(folder)
    data = weights.read_bytes()
    tensors = read_tensors(weights, data)
    _require_one_label(tensors, folder)
    plain = {name: tensor.float().numpy() for name, tensor in tensors.items()}
    encoder = bert.build_encoder(shape, encoder_arrays(shape, plain, folder=folder), dtype=dtype)
    tokenizer = load_tokenizer(folder, vocab=shape.vocab)

    def dense(name: str, rows: int) -> bert.Linear:
        weight = take(tensors, f"{name}.weight", (rows, shape.hidden), folder=folder).to(dtype)
        bias = take(tensors, f"{name}.bias", (rows,), folder=folder).to(dtype)
        return bert.Linear(weight, bias, packed=False)

    return CrossEncoder(
        name=str(model).rstrip("/").rpartition("/")[2],
        sha256=hashlib.sha256(data).hexdigest(),
        max_tokens=min(shape.positions, _stated_tokens(folder) or shape.positions),
        precision="bf16" if dtype == torch.bfloat16 else "fp32",
        _tokenizer=tokenizer,
        _encoder=_two_segments(encoder, tensors, folder),
        _pooler=dense("bert.pooler.dense", shape.hidden),
        _head=dense("classifier", 1),
        _marks=_marks(tokenizer, folder),
    )


def _two_segments(encoder: bert.Encoder, tensors: Mapping[str, Tensor], folder: Path) -> bert.Encoder:
    """Give the vocabulary a second half: the same words as the second segment has them.

    The encoder adds the first token type's vector to every position; the second half has the difference to the second
    type's in its words, so that a token's segment is told by its id alone.
    """
    width = encoder.shape.hidden
    first, second = take(tensors, "bert.embeddings.token_type_embeddings.weight", (2, width), folder=folder)
    return replace(encoder, words=torch.cat([encoder.words, encoder.words + (second - first).to(encoder.words.dtype)]))


def _require_one_label(tensors: Mapping[str, Tensor], folder: Path) -> None:
    head = tensors.get("classifier.weight")
    if head is None:
        raise ModelFileError(f"{folder}: the weights lack 'classifier.weight': this is no cross-encoder")
    if len(head) != 1:
        raise ModelFileError(f"{folder}: the head has {len(head)} labels: a reranker has one")


def _marks(tokenizer: Tokenizer, folder: Path) -> tuple[int, int]:
    ids = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    if ids[0] is None or ids[1] is None:
        raise ModelFileError(f"{folder}/tokenizer.json: has no [CLS] or no [SEP]: this is not BERT's")
    return ids[0], ids[1]


def _stated_tokens(folder: Path) -> int | None:
    """Return the limit that tokenizer_config.json states, if it states a plausible one."""
    if not (folder / "tokenizer_config.json").exists():
        return None
    stated = read_config(folder, "tokenizer_config.json").get("model_max_length")
    return stated if isinstance(stated, int) and SPECIALS < stated < 10**6 else None
