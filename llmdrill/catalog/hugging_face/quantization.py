"""How a checkpoint stores its weights, from the ``quantization_config`` of its config."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from llmdrill.catalog.architecture import Quantization

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmdrill.catalog.hugging_face.keys import Config

GROUP: Final = 128


def read_quantization(config: Config) -> Quantization | None:
    """Return the checkpoint's format; None if all of it has one precision, or if the format is not known."""
    given = config.keys.get("quantization_config")
    if not isinstance(given, dict):
        return None
    method = str(given.get("quant_method") or given.get("quant_algo") or "").lower()
    bits = given.get("bits", given.get("w_bit"))
    found = _known(method, bits, given)
    if found is None:
        config.guessed.append(f"quantization_config: method '{method[:40]}' is not known, taken as not quantised")
    return found


def _known(method: str, bits: object, given: Mapping[str, Any]) -> Quantization | None:
    group = _group(given)
    if method in {"gptq", "awq"}:
        return Quantization(f"{method}-{bits}bit", group) if bits in {2, 3, 4, 8} else None
    if method == "mxfp4":
        return Quantization("mxfp4", experts_only=True)
    if method in {"fp8", "fbgemm_fp8"}:
        blocks = given.get("weight_block_size")
        return Quantization("fp8-block" if isinstance(blocks, list) else "fp8")
    if method == "bitsandbytes":
        if given.get("load_in_4bit"):
            return Quantization("nf4-double" if given.get("bnb_4bit_use_double_quant") else "nf4")
        return Quantization("int8")
    if method in {"modelopt", "nvfp4", "modelopt_fp4"}:
        return Quantization("nvfp4" if "fp4" in str(given.get("quant_algo", method)).lower() else "fp8")
    return _compressed_tensors(given) if method == "compressed-tensors" else None


def _group(given: Mapping[str, Any]) -> int | None:
    """Return the values of a group; -1 (one group per row) is left to the estimate as None."""
    group = given.get("group_size", given.get("q_group_size", GROUP))
    return group if type(group) is int and group > 0 else None


def _compressed_tensors(given: Mapping[str, Any]) -> Quantization | None:
    groups = given.get("config_groups")
    first = next(iter(groups.values()), None) if isinstance(groups, dict) else None
    weights = first.get("weights") if isinstance(first, dict) else None
    if not isinstance(weights, dict):
        return None
    bits, kind, group = weights.get("num_bits"), weights.get("type"), _group(weights)
    if kind == "float":
        return Quantization("nvfp4" if bits == 4 and group == 16 else "mxfp4" if bits == 4 else "fp8")
    return {8: Quantization("int8"), 4: Quantization("gptq-4bit", group)}.get(bits) if type(bits) is int else None
