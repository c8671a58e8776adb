"""Load a decoder: the embedded one, a Hugging Face folder, the hub cache, or a named shape with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from llmdrill.errors import MissingExtraError, ModelFileError, UsageError
from llmdrill.lab.model_files import (
    embedded_folder,
    hub_snapshots,
    read_config,
    read_tensors,
    refuse_pickles,
    take,
    take_matrix,
    weight_files,
)
from llmdrill.lab.room import need_memory
from llmdrill.lab.shapes import named_shape, shape_from_config
from llmdrill.units import format_count

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from llmdrill.lab.decoder import Decoder, DecoderWeights, LayerWeights
    from llmdrill.lab.shapes import DecoderShape

Precision = Literal["fp32", "bf16"]
EMBEDDED_DECODER: Final = "python-8m"


def load_decoder(
    model: str | Path | None = None,
    *,
    shape: str | None = None,
    precision: Precision = "fp32",
    seed: int = 0,
) -> Decoder:
    """Return the decoder of a folder or a hub id (``owner/name``), or of a named shape with random weights.

    Without either it is the embedded decoder of Python source.

    Raises:
        MissingExtraError: If torch is not installed.
        ModelFileError: If the folder cannot be found, read, or run.
        UnknownNameError: If there is no such shape.
        UsageError: If both a model and a shape are named.
    """
    if model is not None and shape is not None:
        raise UsageError(f"{model} and the shape {shape}: name a model, or a shape for random weights, not both")
    try:
        import torch

        from llmdrill.lab.decoder import Decoder, random_decoder
    except ImportError as error:
        raise MissingExtraError("running a decoder", "lab") from error
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    if shape is not None:
        drawn = named_shape(shape)
        _need_room(drawn, dtype, shape)
        return random_decoder(drawn, seed=seed, dtype=dtype)
    folder = embedded_folder(EMBEDDED_DECODER) if model is None else find_model(model)
    refuse_pickles(folder)  # first: worth more to know than what else is absent
    found = shape_from_config(read_config(folder), file=str(folder / "config.json"))
    _check_tokenizer(folder, found)
    _need_room(found, dtype, str(folder))
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


def _need_room(shape: DecoderShape, dtype: torch.dtype, name: str) -> None:
    need_memory(shape.parameters * dtype.itemsize, what=f"{name}: a model of {format_count(shape.parameters)} weights")


def _check_tokenizer(folder: Path, shape: DecoderShape) -> None:
    """Refuse a tokenizer that can produce ids the embedding has no row for; a folder without one is fine."""
    for name, highest in (("tokenizer.json", _highest_token), ("tiktoken.json", _highest_special)):
        if (folder / name).is_file() and (token := highest(folder, name)) >= shape.vocab:
            raise ModelFileError(f"{folder / name}: has a token {token}, but config.json says {shape.vocab} tokens")


def _highest_token(folder: Path, name: str) -> int:
    vocabulary = read_config(folder, name)
    try:
        ids = (vocabulary.get("model") or {}).get("vocab") or {}
        added = [int(token["id"]) for token in vocabulary.get("added_tokens") or []]
        return max([*(ids.values() if isinstance(ids, dict) else [len(ids) - 1]), *added], default=-1)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ModelFileError(f"{folder / name}: not a tokenizer ({type(error).__name__}): fetch it again") from error


def _highest_special(folder: Path, name: str) -> int:
    """Return the highest special token: they follow the ranks."""
    special = read_config(folder, name).get("special_tokens")
    if not isinstance(special, dict) or not all(isinstance(token, int) for token in special.values()):
        raise ModelFileError(f"{folder / name}: special_tokens must give each name its number")
    return max(special.values(), default=-1)


def _read_weights(folder: Path, shape: DecoderShape, dtype: torch.dtype) -> DecoderWeights:
    import torch

    from llmdrill.lab.decoder import DecoderWeights, LayerWeights

    tensors: dict[str, Tensor] = {}
    for file in weight_files(folder):
        tensors |= read_tensors(file)
    width, inner = shape.hidden, shape.intermediate
    q_rows, kv_rows = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim

    def vector(name: str, size: int) -> Tensor:
        return take(tensors, f"model.{name}", (size,), folder=folder).to(dtype)

    def matrix(name: str, rows: int, columns: int) -> Tensor:
        return take_matrix(tensors, f"model.{name}", (rows, columns), folder=folder).to(dtype)

    def qk_norm(at: str) -> Tensor:
        gains = ((f"{at}.q_norm.weight", shape.heads), (f"{at}.k_norm.weight", shape.kv_heads))
        return torch.cat([vector(name, shape.head_dim).expand(heads, -1) for name, heads in gains])

    def layer(at: str) -> LayerWeights:
        parts = (("q_proj", q_rows), ("k_proj", kv_rows), ("v_proj", kv_rows))
        biases = [vector(f"{at}.self_attn.{part}.bias", rows) for part, rows in parts] if shape.qkv_bias else None
        return LayerWeights(
            attention_norm=vector(f"{at}.input_layernorm.weight", width),
            qkv=torch.cat([matrix(f"{at}.self_attn.{part}.weight", rows, width) for part, rows in parts]),
            qkv_bias=torch.cat(biases) if biases else None,
            out=matrix(f"{at}.self_attn.o_proj.weight", width, q_rows),
            mlp_norm=vector(f"{at}.post_attention_layernorm.weight", width),
            gate_up=torch.cat([matrix(f"{at}.mlp.{part}.weight", inner, width) for part in ("gate_proj", "up_proj")]),
            down=matrix(f"{at}.mlp.down_proj.weight", width, inner),
            qk_norm=qk_norm(f"{at}.self_attn") if shape.qk_norm else None,
        )

    embedding = matrix("embed_tokens.weight", shape.vocab, width)
    return DecoderWeights(
        embedding=embedding,
        layers=tuple(layer(f"layers.{index}") for index in range(shape.layers)),
        norm=vector("norm.weight", width),
        head=embedding
        if shape.tied
        else take_matrix(tensors, "lm_head.weight", (shape.vocab, width), folder=folder).to(dtype),
    )
