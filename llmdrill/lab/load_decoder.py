"""Load a decoder: a Hugging Face folder, a model of the hub cache, or a named shape with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from llmdrill.errors import MissingExtraError, ModelFileError
from llmdrill.lab.model_files import hub_snapshots, read_config, read_tensors, take, weight_files
from llmdrill.lab.shapes import named_shape, shape_from_config

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from llmdrill.lab.decoder import Decoder, DecoderWeights, LayerWeights
    from llmdrill.lab.shapes import DecoderShape

Precision = Literal["fp32", "bf16"]


def load_decoder(
    model: str | Path | None = None,
    *,
    shape: str | None = None,
    precision: Precision = "fp32",
    seed: int = 0,
) -> Decoder:
    """Return the decoder of a folder or a hub id (``owner/name``), or of a named shape with random weights.

    Raises:
        MissingExtraError: If torch is not installed.
        ModelFileError: If the folder cannot be found, read, or run.
        UnknownNameError: If there is no such shape.
    """
    if (model is None) == (shape is None):
        raise ModelFileError("name either a model (a folder or a hub id) or a shape for random weights")
    try:
        import torch

        from llmdrill.lab.decoder import Decoder, random_decoder
    except ImportError as error:
        raise MissingExtraError("running a decoder", "lab") from error
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    if model is None:
        return random_decoder(named_shape(str(shape)), seed=seed, dtype=dtype)
    folder = find_model(model)
    found = shape_from_config(read_config(folder), file=str(folder / "config.json"))
    _check_tokenizer(folder, found)
    return Decoder(found, _read_weights(folder, found, dtype), random_weights=False)


def find_model(model: str | Path) -> Path:
    """Return the folder that ``model`` names: a folder on disk, else the newest snapshot of a hub id."""
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder
    snapshots = hub_snapshots(str(model)) if str(model).count("/") == 1 else ()
    if not snapshots:
        raise ModelFileError(f"{model}: neither a model folder nor in the Hugging Face cache: fetch it first")
    return snapshots[0]


def _check_tokenizer(folder: Path, shape: DecoderShape) -> None:
    """Refuse a tokenizer that can produce ids the embedding has no row for; a folder without one is fine."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        return
    vocabulary = read_config(folder, "tokenizer.json")
    ids = (vocabulary.get("model") or {}).get("vocab") or {}
    added = [int(token["id"]) for token in vocabulary.get("added_tokens") or []]
    highest = max([*(ids.values() if isinstance(ids, dict) else [len(ids) - 1]), *added], default=-1)
    if highest >= shape.vocab:
        raise ModelFileError(f"{path}: has a token {highest}, but config.json says {shape.vocab} tokens")


def _read_weights(folder: Path, shape: DecoderShape, dtype: torch.dtype) -> DecoderWeights:
    import torch

    from llmdrill.lab.decoder import DecoderWeights, LayerWeights

    tensors: dict[str, Tensor] = {}
    for file in weight_files(folder):
        tensors |= read_tensors(file)
    width, inner = shape.hidden, shape.intermediate
    q_rows, kv_rows = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim

    def get(name: str, *size: int) -> Tensor:
        return take(tensors, f"model.{name}", size, folder=folder).to(dtype)

    def layer(at: str) -> LayerWeights:
        parts = (("q_proj", q_rows), ("k_proj", kv_rows), ("v_proj", kv_rows))
        biases = [get(f"{at}.self_attn.{part}.bias", rows) for part, rows in parts] if shape.qkv_bias else None
        return LayerWeights(
            attention_norm=get(f"{at}.input_layernorm.weight", width),
            qkv=torch.cat([get(f"{at}.self_attn.{part}.weight", rows, width) for part, rows in parts]),
            qkv_bias=torch.cat(biases) if biases else None,
            out=get(f"{at}.self_attn.o_proj.weight", width, q_rows),
            mlp_norm=get(f"{at}.post_attention_layernorm.weight", width),
            gate_up=torch.cat([get(f"{at}.mlp.{part}.weight", inner, width) for part in ("gate_proj", "up_proj")]),
            down=get(f"{at}.mlp.down_proj.weight", width, inner),
        )

    embedding = get("embed_tokens.weight", shape.vocab, width)
    return DecoderWeights(
        embedding=embedding,
        layers=tuple(layer(f"layers.{index}") for index in range(shape.layers)),
        norm=get("norm.weight", width),
        head=embedding
        if shape.tied
        else take(tensors, "lm_head.weight", (shape.vocab, width), folder=folder).to(dtype),
    )
