"""Sizes of GGUF files: exact block layouts, and the mixes of types that llama.cpp gives to the tensors of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llmdrill.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from llmdrill.catalog.architecture import ModelRecord

# Values and bytes of one block: ggml-org/llama.cpp@01243c58, ggml/src/ggml-common.h, read 2026-11-22.
BLOCKS: Final[Mapping[str, tuple[int, int]]] = {
    "f32": (1, 4),
    "f16": (1, 2),
    "bf16": (1, 2),
    "q4_0": (32, 18),
    "q4_1": (32, 20),
    "q5_0": (32, 22),
    "q5_1": (32, 24),
    "q8_0": (32, 34),
    "q2_k": (256, 84),
    "q3_k": (256, 110),
    "q4_k": (256, 144),
    "q5_k": (256, 176),
    "q6_k": (256, 210),
    "iq4_nl": (32, 18),
    "iq4_xs": (256, 136),
    "mxfp4": (32, 17),
}
# The type that most tensors of a file get.
FILE_TYPES: Final[Mapping[str, str]] = {
    "f32": "f32",
    "f16": "f16",
    "q4_0": "q4_0",
    "q4_1": "q4_1",
    "q5_0": "q5_0",
    "q5_1": "q5_1",
    "q8_0": "q8_0",
    "q2_k": "q2_k",
    "q3_k_s": "q3_k",
    "q3_k_m": "q3_k",
    "q3_k_l": "q3_k",
    "q4_k_s": "q4_k",
    "q4_k_m": "q4_k",
    "q5_k_s": "q5_k",
    "q5_k_m": "q5_k",
    "q6_k": "q6_k",
    "iq4_nl": "iq4_nl",
    "iq4_xs": "iq4_xs",
    "mxfp4_moe": "q8_0",
}
_FALLBACK: Final = {"q2_k": "q4_0", "q3_k": "q4_0", "q4_k": "q5_0", "q5_k": "q5_1", "q6_k": "q8_0", "iq4_xs": "iq4_nl"}
_FUSED: Final = frozenset({"falcon", "gpt2", "gpt_neox", "phi", "phi3"})  # queries, keys and values are one tensor


@dataclass(frozen=True, slots=True)
class _Tensor:
    """One tensor, or several alike: what it is, which of its kind it is, how large, and how long its rows are."""

    category: str
    index: int
    of: int
    parameters: int
    columns: int


def gguf_bytes(model: ModelRecord, *, file_type: str) -> float:
    """Return the bytes of the tensors of a model's GGUF file.

    Formula:
        sum over tensors of parameters * block bytes / block values (Q8_0: 34 bytes per 32; Q4_K: 144, Q5_K: 176,
        Q6_K: 210 per 256; norms, biases and routers 4 bytes each). The mixes give the head, and values and
        down-projections of some layers, a wider type: Q4_K_M and Q5_K_M give Q6_K to the first and last eighth of the
        layers and every third between.

    Args:
        model: Its parameters and linear_parameters must be known.
        file_type: Such as ``q4_k_m``, in any case.

    Returns:
        Bytes, metadata and tokenizer (some megabytes) left out.

    Raises:
        UsageError: If the type is not one of FILE_TYPES, or the model's parameters are unknown.

    Error:
        On Llama-3.1-8B against llama.cpp's own table: within 0.1 % for the eleven types that a test compares. Quantised
        with an importance matrix some types differ; for latent attention, whose tensors are split, up to 2 %.
    Source:
        ggml-org/llama.cpp@007dbbf3, src/llama-quant.cpp, llama_tensor_get_type_impl; its tools/quantize/README.md.

    >>> from llmdrill.catalog.load import find_model
    >>> model = find_model("llama-3.1-8b")
    >>> round(gguf_bytes(model, file_type="Q8_0") * 8 / model.parameters, 3)
    8.501
    """
    wanted = file_type.lower()
    if wanted not in FILE_TYPES:
        raise UsageError(f"unknown GGUF type '{file_type}'; one of {', '.join(FILE_TYPES)}")
    if model.parameters is None or model.linear_parameters is None:
        raise UsageError(f"the number of parameters of '{model.name}' is unknown")
    small = model.parameters - model.linear_parameters - (model.embedding_parameters or 0) - model.head_parameters
    total = sum(_tensor_bytes(model, wanted, tensor) for tensor in _tensors(model))
    return total + small * 4.0


def _tensor_bytes(model: ModelRecord, file_type: str, tensor: _Tensor) -> float:
    kind = _type_of(model, file_type, tensor)
    values, size = BLOCKS[kind]
    if tensor.columns % values:
        kind = _FALLBACK.get(kind, "f16")
        values, size = BLOCKS[kind]
    return tensor.parameters * size / values


def _tensors(model: ModelRecord) -> Iterator[_Tensor]:
    """Yield the tensors that a mix may treat apart, then all the rest of the layers' matrices as one."""
    hidden, shape, experts = model.hidden, model.attention, model.experts
    yield _Tensor("embedding", 0, 1, model.embedding_parameters or 0, hidden)
    if model.head_parameters:
        yield _Tensor("output", 0, 1, model.head_parameters, hidden)
    known = 0
    for tensor in (*_attention_tensors(model), *_down_tensors(model)):
        known += tensor.parameters
        yield tensor
    routed = experts.parameters * 2 // 3 if experts else 0  # gate and up, the same type as the rest except in mxfp4_moe
    if routed:
        yield _Tensor("experts", 0, 1, routed, hidden)
    columns = shape.head_dim if shape.latent_values else hidden
    yield _Tensor("rest", 0, 1, (model.linear_parameters or 0) - known - routed, columns if columns % 32 else hidden)


def _attention_tensors(model: ModelRecord) -> Iterator[_Tensor]:
    shape, hidden = model.attention, model.hidden
    if shape.latent_values is not None:
        return
    keys, queries = shape.kv_heads * shape.head_dim, (shape.heads or shape.kv_heads) * shape.head_dim
    fused = model.model_type in _FUSED
    for layer in range(shape.layers):
        if fused:
            yield _Tensor("values", layer, shape.layers, (queries + 2 * keys) * hidden, hidden)
        else:
            yield _Tensor("values", layer, shape.layers, keys * hidden, hidden)
            yield _Tensor("keys", layer, shape.layers, keys * hidden, hidden)
        yield _Tensor("attention_output", layer, shape.layers, queries * hidden, queries)


def _down_tensors(model: ModelRecord) -> Iterator[_Tensor]:
    """Yield the down-projections: dense layers first, then one tensor of all experts for each layer with experts."""
    experts = model.experts
    sparse = (experts.layers or 0) if experts else 0
    dense = model.layers - sparse if model.feed_forward else 0
    if model.state is not None and model.model_type == "nemotron_h":
        dense = model.layers - model.state.layers - model.attention.layers
    for layer in range(dense):
        width = model.feed_forward or 0
        yield _Tensor("down", layer, dense + sparse, width * model.hidden, width)
    for layer in range(sparse if experts and experts.hidden else 0):
        each = (experts.parameters // 3) // sparse if experts else 0
        yield _Tensor("expert_down", dense + layer, dense + sparse, each, (experts.hidden or 0) if experts else 0)


def _type_of(model: ModelRecord, file_type: str, tensor: _Tensor) -> str:
    """Return the type that llama.cpp's quantiser gives a tensor in a file of this type."""
    base = FILE_TYPES[file_type]
    eight = model.experts is not None and model.experts.count == 8
    if base in {"f32", "f16"}:
        return base
    match tensor.category:
        case "output":
            return _head_type(model, base)
        case "embedding":
            return _head_type(model, base) if model.tied_embeddings else base
        case "experts" | "expert_down" if file_type == "mxfp4_moe":
            return "mxfp4"
        case "values":
            return "q8_0" if eight else _values_type(model, file_type, tensor, base)
        case "keys":
            return "q8_0" if eight else base
        case "attention_output":
            return _attention_output_type(file_type, base, eight=eight)
        case "down" | "expert_down":
            return _down_type(file_type, tensor, base)
        case _:
            return base


def _head_type(model: ModelRecord, base: str) -> str:
    return "q8_0" if base == "q8_0" or model.model_type == "falcon" else "q6_k"


def _more_bits(tensor: _Tensor) -> bool:
    """Tell whether a layer is one of the first or last eighth, or every third between."""
    eighth = tensor.of // 8
    return tensor.index < eighth or tensor.index >= 7 * tensor.of // 8 or (tensor.index - eighth) % 3 == 2


def _values_type(model: ModelRecord, file_type: str, tensor: _Tensor, base: str) -> str:
    shape, grouped = model.attention, (model.attention.heads or 1) >= 4 * max(model.attention.kv_heads, 1)
    kinds = {
        "q2_k": "q4_k" if grouped else "q3_k",
        "q3_k_m": "q5_k" if tensor.index < 2 else "q4_k",
        "q3_k_l": "q5_k",
        "iq4_nl": "q5_k" if grouped else base,
        "iq4_xs": "q5_k" if grouped else base,
        "q4_k_m": "q6_k" if _more_bits(tensor) else base,
        "q5_k_m": "q6_k" if _more_bits(tensor) else base,
        "q4_k_s": "q5_k" if tensor.index < 4 else base,
    }
    kind = kinds.get(file_type, base)
    seventy = shape.layers == 80 and model.model_type in {"llama", "qwen2"}
    return "q5_k" if seventy and kind in {"q3_k", "q4_k"} else kind


def _attention_output_type(file_type: str, base: str, *, eight: bool) -> str:
    if eight:
        narrow = {"q2_k", "q3_k_s", "q3_k_m", "q4_k_s", "q4_k_m", "iq4_nl", "iq4_xs"}
        return "q5_k" if file_type in narrow else base
    return {"q2_k": "q3_k", "q3_k_m": "q4_k", "q3_k_l": "q5_k"}.get(file_type, base)


def _down_type(file_type: str, tensor: _Tensor, base: str) -> str:
    early = tensor.index < tensor.of // 8
    kinds = {
        "q2_k": "q3_k",
        "q3_k_m": "q5_k" if tensor.index < tensor.of // 16 else "q4_k",
        "q3_k_l": "q5_k",
        "q4_k_m": "q6_k" if _more_bits(tensor) else base,
        "q5_k_m": "q6_k" if _more_bits(tensor) else base,
        "q4_k_s": "q5_k" if early else base,
        "iq4_nl": "q5_k" if early else base,
        "iq4_xs": "q5_k" if early else base,
    }
    return kinds.get(file_type, base)
