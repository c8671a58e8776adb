"""Low-rank adapters: how many parameters train, and the size of a base model in 4-bit NormalFloat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from llmdrill.errors import UnknownNameError, UsageError
from llmdrill.estimate.checks import require_not_negative, require_positive
from llmdrill.estimate.explain import Explained, figure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdrill.catalog.architecture import ModelRecord

TARGETS: Final = ("q", "k", "v", "o", "gate", "up", "down")
NF4_BLOCK: Final = 64  # weights that share an 8-bit scale
NF4_SECOND_BLOCK: Final = 256  # scales that share an fp32 one


@dataclass(frozen=True, slots=True)
class Matrix:
    """A weight matrix that every layer has once."""

    target: str
    inputs: int
    outputs: int
    layers: int


def lora_matrices(
    model: ModelRecord, *, targets: Sequence[str] | None = None, intermediate: int | None = None
) -> tuple[Matrix, ...]:
    """Return the matrices of a model that adapters are put beside.

    Args:
        model: Its layers must all be plain attention; grouped-query attention makes k and v narrower than q.
        targets: Of q, k, v, o, gate, up, down; default all that the model has.
        intermediate: Inner width of the MLP, where the model's record does not tell it.

    Raises:
        UnknownNameError: If a target is none of the seven.
        UsageError: If the layers are latent attention, state-space or experts, or the width of the MLP is not known.
    """
    shape, hidden = model.attention, model.hidden
    for target in targets or ():
        if target not in TARGETS:
            raise UnknownNameError("LoRA target", target, TARGETS)
    if shape.latent_values is not None or shape.layers != model.layers or shape.heads is None:
        raise UsageError(f"adapters of '{model.name}' cannot be counted: its layers are not all plain attention")
    heads, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    sizes = {"q": (hidden, heads), "k": (hidden, kv), "v": (hidden, kv), "o": (heads, hidden)}
    if targets is None or not set(targets) <= set(sizes):
        width, gated = _mlp(model, intermediate)
        sizes |= {"gate": (hidden, width)} if gated else {}
        sizes |= {"up": (hidden, width), "down": (width, hidden)}
    missing = [target for target in targets or () if target not in sizes]
    if missing:
        raise UsageError(f"the MLP of '{model.name}' has no gate")
    return tuple(Matrix(target, *sizes[target], model.layers) for target in dict.fromkeys(targets or sizes))


def _mlp(model: ModelRecord, intermediate: int | None) -> tuple[int, bool]:
    """Return the width of the MLP and whether it has a gate."""
    width = model.feed_forward if intermediate is None else intermediate
    if model.experts:
        raise UsageError(f"adapters beside the experts of '{model.name}' are not counted: give --targets q,k,v,o")
    if width is None:
        raise UsageError(f"the width of the MLP of '{model.name}' is not known: give --intermediate or only q,k,v,o")
    if model.linear_parameters is None:
        return width, True
    shape, hidden = model.attention, model.hidden
    attention = 2 * hidden * ((shape.heads or 0) + shape.kv_heads) * shape.head_dim
    return width, model.linear_parameters > model.layers * (attention + 2.5 * hidden * width)


def lora_parameters(matrices: Sequence[Matrix], *, rank: int) -> int:
    """Return the parameters that low-rank adapters add, all of which train.

    Formula:
        rank * sum over matrices of (inputs + outputs) * layers

    Args:
        matrices: Those that get an adapter.
        rank: r, width of the adapter.

    Returns:
        Parameters.

    Raises:
        NumberError: If rank is not positive.

    Error:
        Exact for plain LoRA without biases.
    Source:
        Hu et al. 2021, LoRA, arXiv:2106.09685, equation 3 and section 7.1: rank 4 on q and v of GPT-3's 96 layers of
        width 12288 is 18M parameters, 35 MB in fp16.

    >>> lora_parameters([Matrix("q", 12288, 12288, 96), Matrix("v", 12288, 12288, 96)], rank=4)
    18874368
    """
    require_positive(rank=rank)
    return rank * sum((matrix.inputs + matrix.outputs) * matrix.layers for matrix in matrices)


def nf4_bits_per_parameter(*, double_quantization: bool = True) -> float:
    """Return the bits of one weight in 4-bit NormalFloat with its scales.

    Formula:
        4 + 8 / 64 + 32 / (64 * 256); without double quantisation 4 + 32 / 64.

    Args:
        double_quantization: Whether the scales are quantised too.

    Returns:
        Bits.

    Error:
        Exact for the quantised matrices; embeddings, norms and the output head stay in 16 bits.
    Source:
        Dettmers et al. 2023, QLoRA, arXiv:2305.14314, section 3: 0.127 bits in place of 0.5.

    >>> round(nf4_bits_per_parameter(), 3), nf4_bits_per_parameter(double_quantization=False)
    (4.127, 4.5)
    """
    return 4 + (8 / NF4_BLOCK + 32 / (NF4_BLOCK * NF4_SECOND_BLOCK) if double_quantization else 32 / NF4_BLOCK)


def nf4_base_bytes(*, parameters: float, plain_parameters: float, double_quantization: bool = True) -> float:
    """Return the size of a frozen base model in 4-bit NormalFloat.

    Formula:
        (parameters - plain_parameters) * nf4_bits_per_parameter / 8 + plain_parameters * 2

    Args:
        parameters: All of them.
        plain_parameters: Those that stay in 16 bits: embeddings, output head, norms and biases.
        double_quantization: Whether the scales are quantised too.

    Returns:
        Bytes.

    Raises:
        NumberError: If a number is negative.

    Error:
        A floor: the paper measures 5,048 MB for LLaMA-7B where this gives 3,865 MB (copies in higher precision and
        buffers are its framework's), and under 48 GB in all for 65B.
    Source:
        Dettmers et al. 2023, QLoRA, arXiv:2305.14314, sections 2 and 3.

    >>> round(nf4_base_bytes(parameters=6_738_415_616, plain_parameters=262_410_240) / 1e6)  # LLaMA-7B
    3866
    """
    require_not_negative(parameters=parameters, plain_parameters=plain_parameters)
    plain = min(parameters, plain_parameters)
    bits = nf4_bits_per_parameter(double_quantization=double_quantization)
    return (parameters - plain) * bits / 8 + plain * 2


def plain_parameters(model: ModelRecord) -> int | None:
    """Return the parameters that 4-bit quantisation leaves in 16 bits; None if they were not counted."""
    if model.parameters is not None and model.linear_parameters is not None:
        return model.parameters - model.linear_parameters
    return None if model.embedding_parameters is None else model.embedding_parameters + model.head_parameters


def explain_lora_parameters(matrices: Sequence[Matrix], *, rank: int) -> Explained:
    """Return lora_parameters with its formula and the numbers put in."""
    value = lora_parameters(matrices, rank=rank)
    terms = " + ".join(f"{one.inputs} + {one.outputs}" for one in matrices)
    return Explained(
        name="trainable_parameters",
        value=value,
        unit="count",
        formula=f"rank × layers × Σ (inputs + outputs) over {', '.join(one.target for one in matrices)}",
        filled=f"{rank} × {matrices[0].layers if matrices else 0} × ({terms}) = {figure(value)}",
        source="Hu et al. 2021, LoRA, arXiv:2106.09685, equation 3",
    )


def explain_nf4_base(*, parameters: float, plain_parameters: float) -> Explained:
    """Return nf4_base_bytes with its formula and the numbers put in."""
    value = nf4_base_bytes(parameters=parameters, plain_parameters=plain_parameters)
    return Explained(
        name="weights_bytes",
        value=value,
        unit="bytes",
        formula="(parameters − plain) × (4 + 8/64 + 32/(64 × 256)) bits / 8 + plain × 2",
        filled=(
            f"{figure(parameters - plain_parameters)} × {figure(nf4_bits_per_parameter())} / 8"
            f" + {figure(plain_parameters)} × 2 = {figure(value)} B"
        ),
        source="Dettmers et al. 2023, QLoRA, arXiv:2305.14314, section 3",
    )
