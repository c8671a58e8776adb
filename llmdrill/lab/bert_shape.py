"""What the files of a BERT encoder say: its shape, and its weights in the order of the forward pass; no torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from llmdrill.errors import ModelFileError
from llmdrill.lab.model_files import take

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class BertShape:
    """The figures of config.json that the forward pass needs."""

    layers: int
    hidden: int
    heads: int
    intermediate: int
    vocab: int
    positions: int
    norm_eps: float


@dataclass(frozen=True, slots=True)
class Affine:
    """A matrix (R, C) and its bias (R,), or gain and bias (C,) of a layer normalisation."""

    weight: Floats
    bias: Floats


@dataclass(frozen=True, slots=True)
class LayerArrays:
    """One encoder layer: query, key and value in one matrix (3C, C)."""

    qkv: Affine
    out: Affine
    attention_norm: Affine
    up: Affine
    down: Affine
    output_norm: Affine


@dataclass(frozen=True, slots=True)
class EncoderArrays:
    """All weights of an encoder."""

    words: Floats  # (V, C)
    positions: Floats  # (P, C), the first token type's vector added
    norm: Affine
    layers: tuple[LayerArrays, ...]


def shape_of(config: Mapping[str, Any], folder: Path) -> BertShape:
    """Read the shape from config.json, refusing encoders that this forward pass would get wrong."""
    for key, wanted in (("model_type", "bert"), ("hidden_act", "gelu"), ("position_embedding_type", "absolute")):
        if config.get(key, None if key == "model_type" else wanted) != wanted:
            raise ModelFileError(
                f"{folder}/config.json: {key} is '{config.get(key)}': only a BERT encoder with {wanted} is supported",
            )
    try:
        return BertShape(
            layers=int(config["num_hidden_layers"]),
            hidden=int(config["hidden_size"]),
            heads=int(config["num_attention_heads"]),
            intermediate=int(config["intermediate_size"]),
            vocab=int(config["vocab_size"]),
            positions=int(config["max_position_embeddings"]),
            norm_eps=float(config.get("layer_norm_eps", 1e-12)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(f"{folder}/config.json: missing or malformed figure {error}") from error


def encoder_arrays(shape: BertShape, tensors: Mapping[str, NDArray[Any]], *, folder: Path) -> EncoderArrays:
    """Sort the weights of a checkpoint, in fp32.

    Raises:
        ModelFileError: If one is absent or has another shape than config.json implies.
    """
    prefix = "bert." if any(name.startswith("bert.") for name in tensors) else ""
    width, inner = shape.hidden, shape.intermediate

    def get(name: str, *size: int) -> Floats:
        return np.asarray(take(tensors, prefix + name, size, folder=folder), dtype=np.float32)

    def linear(names: tuple[str, ...], rows: int, columns: int) -> Affine:
        weights = [get(f"{name}.weight", rows, columns) for name in names]
        return Affine(np.concatenate(weights), np.concatenate([get(f"{name}.bias", rows) for name in names]))

    def norm(name: str) -> Affine:
        return Affine(get(f"{name}.weight", width), get(f"{name}.bias", width))

    def layer(at: str) -> LayerArrays:
        return LayerArrays(
            qkv=linear(tuple(f"{at}.attention.self.{part}" for part in ("query", "key", "value")), width, width),
            out=linear((f"{at}.attention.output.dense",), width, width),
            attention_norm=norm(f"{at}.attention.output.LayerNorm"),
            up=linear((f"{at}.intermediate.dense",), inner, width),
            down=linear((f"{at}.output.dense",), width, inner),
            output_norm=norm(f"{at}.output.LayerNorm"),
        )

    types = get("embeddings.token_type_embeddings.weight", 2, width)
    return EncoderArrays(
        words=get("embeddings.word_embeddings.weight", shape.vocab, width),
        positions=get("embeddings.position_embeddings.weight", shape.positions, width) + types[0],
        norm=norm("embeddings.LayerNorm"),
        layers=tuple(layer(f"encoder.layer.{index}") for index in range(shape.layers)),
    )
