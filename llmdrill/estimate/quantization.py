"""Weights as checkpoints really store them: which parameters are quantised, with what scales, and what stays 16-bit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from llmdrill.errors import UsageError, did_you_mean, nearest_names
from llmdrill.estimate.checks import require_positive
from llmdrill.estimate.explain import Explained, figure
from llmdrill.estimate.gguf import FILE_TYPES, gguf_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmdrill.catalog.architecture import ModelRecord

GROUP_VALUES: Final = 128  # of GPTQ and AWQ checkpoints, where nothing else is said
_SCALE_BYTES: Final = 2.0  # GPTQ and AWQ: fp16
_REST_BYTES: Final = 2.0  # embeddings, head, norms, biases, routers


@dataclass(frozen=True, slots=True)
class WeightFormat:
    """How a checkpoint stores a quantised weight.

    Attributes:
        value_bytes: Of the weight alone.
        group_bytes: Of the scale and the zero point that a group shares.
        group_values: Weights of a group; None if the checkpoint chooses (128 by default).
        scope: Which weights: ``all``, the layers' ``linear`` matrices, or the routed ``experts``.
        source: Where the layout was read.
    """

    value_bytes: float
    group_bytes: float = 0.0
    group_values: int | None = 1
    scope: Literal["all", "linear", "experts"] = "linear"
    source: str = "Arithmetic"

    def bytes_per_weight(self, group_values: int | None = None) -> float:
        """Return the bytes of one quantised weight with its part of the scales."""
        group = self.group_values if self.group_values is not None else group_values or GROUP_VALUES
        return self.value_bytes + self.group_bytes / group


_GPTQ: Final = "Frantar et al. 2023, arXiv:2210.17323; vLLM, vllm/model_executor/layers/quantization/awq.py"
_BLOCKS: Final = "ggml-org/llama.cpp@01243c58, ggml/src/ggml-common.h"
GGUF_SOURCE: Final = "ggml-org/llama.cpp@007dbbf3, src/llama-quant.cpp; ggml/src/ggml-common.h"
_QLORA: Final = "Dettmers et al. 2023, arXiv:2305.14314: 0.5 bits of constants per parameter, 0.127 quantised twice"


def _grouped(bits: int) -> WeightFormat:
    """Return GPTQ's and AWQ's layout: per group an fp16 scale and a zero point as wide as a weight."""
    return WeightFormat(bits / 8, _SCALE_BYTES + bits / 8, None, source=_GPTQ)


FORMATS: Final[Mapping[str, WeightFormat]] = {
    "fp32": WeightFormat(4.0, scope="all"),
    "fp16": WeightFormat(2.0, scope="all"),
    "bf16": WeightFormat(2.0, scope="all"),
    "fp8": WeightFormat(1.0),
    "fp8-block": WeightFormat(1.0, 4.0, 128 * 128, source="DeepSeek-V3's weight_block_size of 128 × 128, fp32 scales"),
    "int8": WeightFormat(1.0),
    "int4": _grouped(4),
    **{f"{method}-{bits}bit": _grouped(bits) for method in ("gptq", "awq") for bits in (2, 3, 4, 8)},
    "nf4": WeightFormat(0.5, 4.0, 64, source=_QLORA),
    "nf4-double": WeightFormat(0.5, 1.0 + 4.0 / 256, 64, source=_QLORA),
    "mxfp4": WeightFormat(0.5, 1.0, 32, source=_BLOCKS),
    "nvfp4": WeightFormat(0.5, 1.0, 16, source=_BLOCKS),
    "fp4": WeightFormat(0.5, 1.0, 16, source=_BLOCKS),
}
ALL_FORMATS: Final = (*FORMATS, *(name for name in FILE_TYPES if name not in FORMATS))


def checkpoint_bytes(
    model: ModelRecord, *, weight_format: str, group_values: int | None = None, experts_only: bool = False
) -> float:
    """Return the bytes of a model's weights as a checkpoint of this format stores them.

    Formula:
        quantised * (bits / 8 + group bytes / group) + the rest * 2 bytes. Quantised are the layers' matrices (with
        experts_only the routed experts); the rest are embeddings, head, norms, biases and routers. GPTQ and AWQ: per
        128 weights an fp16 scale and a zero point. NF4: an fp32 constant per 64, or 8 bits and an fp32 one per 256
        constants. mxfp4: a byte per 32. nvfp4: a byte per 16. fp8-block: 4 bytes per 128 × 128. A GGUF type: its mix.

    Args:
        model: Its parameters must be known, and for a quantised format its linear_parameters.
        weight_format: One of FORMATS, or a GGUF type such as ``q4_k_m``.
        group_values: Weights that share a scale in GPTQ and AWQ.
        experts_only: Quantise the routed experts and nothing else, as GPT-OSS does.

    Returns:
        Bytes.

    Raises:
        UsageError: If the format is unknown, or the model's parameters are.
        NumberError: If group_values is not positive.

    Error:
        GGUF: see gguf_bytes. mxfp4: GPT-OSS 20b and 120b come out within 0.5 % of their published 12.8 and 60.8 GiB.
        GPTQ's g_idx (4 bytes per matrix row) is left out: 0.1 %. A checkpoint may leave more layers in 16 bits.
    Source:
        Each format's own, in FORMATS; group size 128: Frantar et al. 2023, arXiv:2210.17323.

    >>> from llmdrill.catalog.load import find_model
    >>> checkpoint_bytes(find_model("llama-3.1-8b"), weight_format="awq-4bit")
    5727854592.0
    """
    name = weight_format.lower()
    if name in FILE_TYPES and name not in FORMATS:
        return gguf_bytes(model, file_type=name)
    layout = find_format(name)
    require_positive(group_values=GROUP_VALUES if group_values is None else group_values)
    if model.parameters is None:
        raise UsageError(f"the number of parameters of '{model.name}' is unknown; name a model of the catalogue")
    if layout.scope == "all":
        return model.parameters * layout.value_bytes
    quantised = _quantised_parameters(model, experts_only=experts_only)
    return quantised * layout.bytes_per_weight(group_values) + (model.parameters - quantised) * _REST_BYTES


def explain_checkpoint(
    model: ModelRecord, *, weight_format: str, group_values: int | None = None, experts_only: bool = False
) -> Explained:
    """Return checkpoint_bytes with its formula and the numbers put in."""
    name = weight_format.lower()
    size = checkpoint_bytes(model, weight_format=name, group_values=group_values, experts_only=experts_only)
    parameters = model.parameters or 0
    if name in FILE_TYPES and name not in FORMATS:
        wide = size * 8 / parameters
        formula, filled = "Σ tensors' parameters × bits of their type / 8", f"{figure(parameters)} × {wide:.7g} / 8"
        return _shown(size, f"{formula} = parameters × mean bits / 8", filled, GGUF_SOURCE)
    layout = FORMATS[name]
    if layout.scope == "all":
        filled = f"{figure(parameters)} × {layout.value_bytes:g}"
        return _shown(size, "parameters × bytes", filled, layout.source)
    quantised = _quantised_parameters(model, experts_only=experts_only)
    each, filled = _weight_shown(layout, group_values)
    filled = f"{figure(quantised)} × {filled} + {figure(parameters - quantised)} × {_REST_BYTES:g}"
    what = "routed experts" if experts_only else "layers' matrices"
    return _shown(size, f"{what} × {each} + the rest × {_REST_BYTES:g}", filled, layout.source)


def _weight_shown(layout: WeightFormat, group_values: int | None) -> tuple[str, str]:
    """Return the bytes of one quantised weight, in names and in numbers."""
    bits = f"{layout.value_bytes * 8:g} / 8"
    if not layout.group_bytes:
        return "bits / 8", bits
    group = layout.group_values if layout.group_values is not None else group_values or GROUP_VALUES
    return "(bits / 8 + scale bytes / group)", f"({bits} + {layout.group_bytes:.9g} / {group:,})"


def _shown(size: float, formula: str, filled: str, source: str) -> Explained:
    return Explained("weights_bytes", size, "bytes", formula, f"{filled} = {figure(size)} B", source)


def find_format(name: str) -> WeightFormat:
    """Return the layout of a format that is no GGUF mix.

    Raises:
        UsageError: With the nearest names.
    """
    if name not in FORMATS:
        hint = did_you_mean(nearest_names(name, ALL_FORMATS))
        raise UsageError(f"unknown weight format '{name}'{hint}; one of {', '.join(ALL_FORMATS)}")
    return FORMATS[name]


def _quantised_parameters(model: ModelRecord, *, experts_only: bool) -> int:
    if not experts_only:
        if model.linear_parameters is None:
            raise UsageError(f"which parameters of '{model.name}' a checkpoint quantises is unknown")
        return model.linear_parameters
    if model.experts is None:
        raise UsageError(f"'{model.name}' has no experts to quantise")
    return model.experts.parameters
