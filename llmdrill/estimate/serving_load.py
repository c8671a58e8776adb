"""One point of operation of a replica, and the rate at which its devices multiply at a precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llmdrill.errors import UsageError
from llmdrill.estimate.checks import require_positive, require_share
from llmdrill.estimate.memory import bytes_per_value

if TYPE_CHECKING:
    from llmdrill.catalog.architecture import ModelRecord
    from llmdrill.catalog.records import Accelerator

# Share of the datasheet's rate that large matrix products reach. 16 bits and fp8: least absolute error on 900 GEMMs
# each of TensorRT-LLM on H100 (published with ai-dynamo/aiconfigurator@095f58a5, systems/data/h100_sxm/gemm), where
# 0.74 and 0.56 are the medians of products with over 50 MB of weights and 2,048 rows or more. fp4: no such table; the
# best product on B200 reaches 4,454 of 9,000 TFLOP/s (same source) and typical ones 0.91 of the best, as on H100.
MFU_16_BIT: Final = 0.75
MFU_8_BIT: Final = 0.56
MFU_4_BIT: Final = 0.45
# Energy sets a limit of its own: on those tables an H100 SXM reaches 1.06 TFLOP/J in 16 bits and 1.58 in 8, at 700 W. A
# device of no later generation (none that multiplies 4 bits) is taken to do no more per joule of its own power: that
# slows H100 NVL and PCIe, L4 and MI300X. On 6 MLPerf offline rows of H100 NVL the median error falls from 59 to 15 %.
FLOPS_PER_J_16_BIT: Final = 1.06e12
FLOPS_PER_J_8_BIT: Final = 1.58e12


# How the layouts of released checkpoints are served: by the width of their weights.
_SERVED_AS: Final = {
    "fp8-block": "fp8",
    "mxfp4": "fp4",
    "nvfp4": "fp4",
    "nf4": "int4",
    "nf4-double": "int4",
    **{f"{method}-{bits}bit": f"int{bits}" for method in ("gptq", "awq") for bits in (4, 8)},
}


@dataclass(frozen=True, slots=True)
class Load:
    """One point of operation of one replica.

    Attributes:
        batch: Clients that each keep one request in flight; under static batching the sequences of one batch.
        input_tokens: Tokens of a prompt.
        output_tokens: Tokens of its answer.
        tensor_parallel: Devices that attention is split over.
        precision: Of the weights, and of the arithmetic where the device has it.
        cache_bytes_per_value: Of the key-value cache.
        data_parallel: Groups of tensor_parallel devices that share out the sequences but not the experts (attention
            data parallelism); the replica has tensor_parallel * data_parallel devices.
        expert_parallel: Devices that whole experts are spread over; 1: each expert is split over all devices.
        prefix_share: Share of a prompt's tokens read from a prefix cache instead of prefilled.
        prompt_bytes_per_weight: Held of each weight beside those that decode, where prompts are read with other ones.
    """

    batch: float
    input_tokens: float
    output_tokens: float
    tensor_parallel: int = 1
    precision: str = "bf16"
    cache_bytes_per_value: float = 2.0
    data_parallel: int = 1
    expert_parallel: int = 1
    prefix_share: float = 0.0
    prompt_bytes_per_weight: float = 0.0

    def __post_init__(self) -> None:
        require_positive(batch=self.batch, output_tokens=self.output_tokens, tensor_parallel=self.tensor_parallel)
        require_positive(input_tokens=self.input_tokens, cache_bytes_per_value=self.cache_bytes_per_value)
        require_positive(data_parallel=self.data_parallel, expert_parallel=self.expert_parallel)
        require_share(prefix_share=self.prefix_share)
        bytes_per_value(self.precision)

    @property
    def devices(self) -> int:
        """Devices of the replica."""
        return self.tensor_parallel * self.data_parallel

    @property
    def context_tokens(self) -> float:
        """Tokens in the cache of a sequence half-way through its answer."""
        return self.input_tokens + self.output_tokens / 2

    @property
    def fresh_tokens(self) -> float:
        """Tokens of a prompt that are prefilled; at least the last one."""
        return max(self.input_tokens * (1 - self.prefix_share), min(self.input_tokens, 1.0))


def served_precision(model: ModelRecord, weight_format: str | None = None) -> str:
    """Return the precision that a layout of weights is served at; without a name, that of the released checkpoint.

    >>> from llmdrill.catalog.load import find_model
    >>> served_precision(find_model("gpt-oss-120b")), served_precision(find_model("llama-3.1-8b"), "awq-4bit")
    ('fp4', 'int4')
    """
    released = model.quantization.format if model.quantization else "bf16"
    name = (released if weight_format is None else weight_format).lower()
    return _SERVED_AS.get(name, name)


def peak_flops_per_s(accelerator: Accelerator, precision: str) -> float:
    """Return the dense rate a device multiplies at, at this precision of the weights.

    Formula:
        The rate of the weights' own width where the device multiplies it (fp8, fp4, int8), else the fp16 rate
        (narrower weights are widened first); half the fp16 rate for fp32.

    Args:
        accelerator: From the catalogue.
        precision: Of the weights.

    Returns:
        FLOP/s.

    Raises:
        UsageError: If no solid rate is known.

    Error:
        int4 and int8 weights are often only stored so and multiplied in 16 bits: int8 is then half as fast as this.
        fp32 on matrix units rounds its inputs (TF32); without them it is some eight times slower than this.
    Source:
        The accelerator's own source.

    >>> from llmdrill.catalog.load import find_accelerator
    >>> peak_flops_per_s(find_accelerator("h100"), "bf16")
    989000000000000.0
    """
    return _rate(accelerator, precision)[0]


def reached_flops_per_s(accelerator: Accelerator, precision: str) -> float:
    """Return the rate that large matrix products reach at a precision.

    Formula:
        peak_flops_per_s * MFU: 0.75 in 16 bits, 0.56 in 8, 0.45 in 4; at most 1.06 TFLOP/J (1.58 in 8 bits) * board
        power where the device multiplies no 4 bits and its power is known.

    Args:
        accelerator: From the catalogue.
        precision: Of the weights.

    Returns:
        FLOP/s.

    Raises:
        UsageError: If no solid rate is known.

    Error:
        On the H100 tables of the source a product of over 4 MB of weights is met within 5 % in the median and 13 % in
        nine of ten in 16 bits, 9 % and 32 % in fp8. A100 reaches 0.83 of its peak in 16 bits.
    Source:
        Fitted to ops tables of ai-dynamo/aiconfigurator@095f58a5; see the constants MFU_16_BIT and the two after it.

    >>> from llmdrill.catalog.load import find_accelerator
    >>> reached_flops_per_s(find_accelerator("h100"), "bf16") / peak_flops_per_s(find_accelerator("h100"), "bf16")
    0.75
    """
    peak, mfu = _rate(accelerator, precision)
    if accelerator.tdp_w is None or accelerator.fp4_flops_per_s is not None:
        return peak * mfu
    per_joule = FLOPS_PER_J_16_BIT if mfu == MFU_16_BIT else FLOPS_PER_J_8_BIT
    return min(peak * mfu, accelerator.tdp_w * per_joule)


def _rate(accelerator: Accelerator, precision: str) -> tuple[float, float]:
    narrow: tuple[float | None, float]
    if precision == "fp8":
        narrow = accelerator.fp8_flops_per_s, MFU_8_BIT
    elif precision == "fp4":
        narrow = accelerator.fp4_flops_per_s, MFU_4_BIT
    elif precision == "int8":
        narrow = accelerator.int8_ops_per_s, MFU_8_BIT
    else:
        narrow = None, MFU_16_BIT
    wide = accelerator.fp16_flops_per_s
    if narrow[0] is not None and narrow[0] > (wide or 0.0):
        return narrow[0], narrow[1]
    if wide is None:
        raise UsageError(f"no solid FLOP/s of '{accelerator.name}' is known: sources mix dense and sparse rates")
    return (wide / 2 if precision == "fp32" else wide), MFU_16_BIT


def expert_arithmetic(model: ModelRecord, accelerator: Accelerator, precision: str) -> str:
    """Return the precision that routed experts are multiplied in.

    mxfp4 weights meet activations of 8 bits where the device multiplies 4 bits at all, and of 16 bits elsewhere.
    """
    stored = model.quantization.format if model.quantization else ""
    if precision == "fp4" and stored == "mxfp4":
        return "fp8" if accelerator.fp4_flops_per_s else "bf16"
    return precision


def rest_arithmetic(model: ModelRecord, precision: str) -> str:
    """Return the precision of what is not a routed expert: a 4-bit mixture keeps the rest in 16 bits.

    So do GPT-OSS (experts in mxfp4), Kimi-K2.5 (int4) and the nvfp4 checkpoints of DeepSeek-R1.
    """
    return "bf16" if model.experts is not None and precision in {"fp4", "int4"} else precision
