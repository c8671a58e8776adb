"""Training memory of one device: weights, gradients, optimizer states and activations, however they are split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from llmdrill.errors import UnknownNameError
from llmdrill.estimate.checks import NumberError, require_not_negative, require_positive
from llmdrill.estimate.explain import Explained, figure

if TYPE_CHECKING:
    from collections.abc import Mapping

Recomputation = Literal["none", "selective", "full"]
LOGIT_BYTES: Final = 4.0  # the loss is computed in fp32


@dataclass(frozen=True, slots=True)
class Optimizer:
    """Bytes per trained parameter, and what they hold."""

    name: str
    weights_bytes: float
    gradients_bytes: float
    states_bytes: float
    holds: str

    @property
    def total_bytes(self) -> float:
        """Bytes of one parameter."""
        return self.weights_bytes + self.gradients_bytes + self.states_bytes


_ALL: Final = (
    Optimizer("adamw", 2, 2, 12, "16-bit weights and gradients; fp32 weights, momentum and variance"),
    Optimizer("adamw-8bit", 2, 2, 6, "16-bit weights and gradients; fp32 weights, 8-bit momentum and variance"),
    Optimizer("adamw-bf16", 2, 2, 4, "bf16 throughout, no fp32 weights"),
    Optimizer("adamw-fp32", 4, 4, 8, "fp32 throughout"),
    Optimizer("sgd-momentum", 2, 2, 8, "16-bit weights and gradients; fp32 weights and momentum"),
    Optimizer("sgd", 2, 2, 4, "16-bit weights and gradients; fp32 weights"),
)
OPTIMIZERS: Final[Mapping[str, Optimizer]] = {one.name: one for one in _ALL}


@dataclass(frozen=True, slots=True)
class ModelStates:
    """What one device holds of the model in training, in bytes."""

    weights_bytes: float
    gradients_bytes: float
    optimizer_bytes: float

    @property
    def total_bytes(self) -> float:
        """All three."""
        return self.weights_bytes + self.gradients_bytes + self.optimizer_bytes


def find_optimizer(name: str) -> Optimizer:
    """Return the optimizer called ``name``.

    Raises:
        UnknownNameError: With the nearest names.
    """
    if name.lower() not in OPTIMIZERS:
        raise UnknownNameError("optimizer", name, OPTIMIZERS)
    return OPTIMIZERS[name.lower()]


def model_states(
    *,
    parameters: float,
    optimizer: Optimizer = _ALL[0],
    zero_stage: int = 0,
    data_parallel: int = 1,
    tensor_parallel: int = 1,
    pipeline_parallel: int = 1,
) -> ModelStates:
    """Return the bytes of weights, gradients and optimizer states on one device.

    Formula:
        parameters / (tensor_parallel * pipeline_parallel) * bytes, where data parallelism divides the optimizer states
        from ZeRO stage 1, the gradients from stage 2 and the weights from stage 3 on.

    Args:
        parameters: Those that train.
        optimizer: Bytes per parameter; adamw is 2 + 2 + 12 = 16.
        zero_stage: 0 (plain data parallelism) to 3 (as fully sharded data parallelism, FSDP).
        data_parallel: Copies that see different data.
        tensor_parallel: Devices that share each matrix.
        pipeline_parallel: Devices that share the layers.

    Returns:
        Bytes of one device.

    Raises:
        NumberError: If parameters is negative, a count is below one or the stage is not 0 to 3.

    Error:
        Exact for evenly split states. Left out: activations, buffers, fragmentation, the weights that stage 3 gathers
        for the layer at work, fp32 copies of gradients that some frameworks keep (2 more bytes per parameter), norms
        that tensor parallelism copies, and the scales of 8-bit states (under 1 %).
    Source:
        Rajbhandari et al. 2020, ZeRO, arXiv:1910.02054, sections 3.1 and 5: 7.5B parameters over 64 devices need 120,
        31.4, 16.6 and 1.9 GB under stages 0 to 3.

    >>> [round(model_states(parameters=7.5e9, zero_stage=s, data_parallel=64).total_bytes / 1e9, 1) for s in range(4)]
    [120.0, 31.4, 16.6, 1.9]
    """
    require_not_negative(parameters=parameters)
    _require_counts(data_parallel=data_parallel, tensor_parallel=tensor_parallel, pipeline_parallel=pipeline_parallel)
    if zero_stage not in {0, 1, 2, 3}:
        raise NumberError(f"zero_stage must be 0, 1, 2 or 3, got {zero_stage}")
    own = parameters / (tensor_parallel * pipeline_parallel)

    def shared_from(stage: int) -> int:
        return data_parallel if zero_stage >= stage else 1

    return ModelStates(
        weights_bytes=own * optimizer.weights_bytes / shared_from(3),
        gradients_bytes=own * optimizer.gradients_bytes / shared_from(2),
        optimizer_bytes=own * optimizer.states_bytes / shared_from(1),
    )


def activation_bytes(
    *,
    layers: int,
    hidden: int,
    heads: int,
    sequence_tokens: float,
    micro_batch: float = 1,
    recomputation: Recomputation = "none",
    tensor_parallel: int = 1,
    sequence_parallel: bool = False,
    pipeline_parallel: int = 1,
    microbatches: int | None = None,
) -> float:
    """Return the activations that one device keeps for the backward pass.

    Formula:
        s * b * h * layers * (10 + 24 / t + 5 * a * s / (h * t)); with sequence parallelism the 10 is divided by t too;
        selective recomputation (as FlashAttention does) drops the last term; full recomputation keeps 2 in place of all
        (2 / t with sequence parallelism). In a pipeline the first stage holds min(stages, microbatches) micro-batches
        of its layers / stages.

    Args:
        layers: L, of the whole model.
        hidden: h, width of the residual stream.
        heads: a, query heads.
        sequence_tokens: s.
        micro_batch: b, sequences at once on one device.
        recomputation: none, selective (attention's scores) or full (all but each layer's input).
        tensor_parallel: t.
        sequence_parallel: Whether norms and dropouts are split along the sequence as well.
        pipeline_parallel: p, under the one-forward-one-backward schedule.
        microbatches: m, of one step; default at least as many as stages.

    Returns:
        Bytes on the device that holds most: a pipeline's first.

    Raises:
        NumberError: If a number is not positive or recomputation is none of the three.

    Error:
        Derived for 16-bit GPT blocks with dropout and an MLP four times as wide. Blocks with a gated MLP keep three
        inner tensors in place of two, and no dropout masks: 6 % less where it is 8/3 as wide as the model, 9 % more at
        3.5. Full recomputation needs one layer's activations more while it works. Logits: see logits_bytes.
    Source:
        Korthikanti et al. 2022, arXiv:2205.05198, equations 1 to 6 and table 2; section 5: for GPT-3 (a 96, s 2048,
        h 12288) the last term is 80, so selective recomputation saves 70 %.

    >>> gpt3 = {"layers": 96, "hidden": 12288, "heads": 96, "sequence_tokens": 2048}
    >>> round(1 - activation_bytes(**gpt3, recomputation="selective") / activation_bytes(**gpt3), 2)
    0.7
    """
    require_positive(hidden=hidden, heads=heads, sequence_tokens=sequence_tokens, micro_batch=micro_batch)
    _require_counts(layers=layers, tensor_parallel=tensor_parallel, pipeline_parallel=pipeline_parallel)
    in_flight = pipeline_parallel if microbatches is None else min(pipeline_parallel, microbatches)
    _require_counts(microbatches=in_flight)
    per_value = _activation_values(
        recomputation, heads * sequence_tokens / hidden, tensor_parallel, sequence_parallel=sequence_parallel
    )
    return sequence_tokens * micro_batch * hidden * layers * per_value * in_flight / pipeline_parallel


def _activation_values(recomputation: str, scores: float, tensor_parallel: int, *, sequence_parallel: bool) -> float:
    """Return the bytes that a layer keeps per token and unit of width."""
    replicated = tensor_parallel if sequence_parallel else 1
    if recomputation == "full":
        return 2 / replicated
    if recomputation not in {"none", "selective"}:
        raise NumberError(f"recomputation is none, selective or full, got {recomputation}")
    kept = 10 / replicated + 24 / tensor_parallel
    return kept if recomputation == "selective" else kept + 5 * scores / tensor_parallel


def logits_bytes(*, vocabulary: int, sequence_tokens: float, micro_batch: float = 1, tensor_parallel: int = 1) -> float:
    """Return the size of the logits of one micro-batch.

    Formula:
        4 * vocabulary * sequence_tokens * micro_batch / tensor_parallel

    Args:
        vocabulary: Tokens the model knows.
        sequence_tokens: Of one sequence.
        micro_batch: Sequences at once.
        tensor_parallel: Devices that share the output head.

    Returns:
        Bytes on a device that computes the loss.

    Raises:
        NumberError: If a number is not positive.

    Error:
        One fp32 copy. Frameworks that upcast and keep the gradient hold two or three; fused or chunked losses hold a
        fraction.
    Source:
        Arithmetic: one fp32 value per token and vocabulary entry.

    >>> logits_bytes(vocabulary=128_256, sequence_tokens=8192)
    4202692608.0
    """
    require_positive(vocabulary=vocabulary, sequence_tokens=sequence_tokens, micro_batch=micro_batch)
    _require_counts(tensor_parallel=tensor_parallel)
    return LOGIT_BYTES * vocabulary * sequence_tokens * micro_batch / tensor_parallel


def _require_counts(**counts: int) -> None:
    for name, value in counts.items():
        if value < 1 or value != int(value):
            raise NumberError(f"{name} must be a whole number from 1 on, got {value:g}")


def explain_model_states(
    *,
    parameters: float,
    optimizer: Optimizer,
    zero_stage: int,
    data_parallel: int,
    tensor_parallel: int,
    pipeline_parallel: int,
) -> tuple[Explained, ...]:
    """Return the three parts of model_states, each with its formula and the numbers put in."""
    states = model_states(
        parameters=parameters,
        optimizer=optimizer,
        zero_stage=zero_stage,
        data_parallel=data_parallel,
        tensor_parallel=tensor_parallel,
        pipeline_parallel=pipeline_parallel,
    )
    parts = (
        ("weights_bytes", states.weights_bytes, optimizer.weights_bytes, 3),
        ("gradients_bytes", states.gradients_bytes, optimizer.gradients_bytes, 2),
        ("optimizer_bytes", states.optimizer_bytes, optimizer.states_bytes, 1),
    )
    found = []
    for name, value, each, stage in parts:
        shared = zero_stage >= stage and data_parallel > 1
        divided = f"({tensor_parallel} × {pipeline_parallel}{f' × {data_parallel}' if shared else ''})"
        found.append(
            Explained(
                name=name,
                value=value,
                unit="bytes",
                formula=f"bytes × parameters / (tensor × pipeline{' × data' if shared else ''} parallelism)",
                filled=f"{figure(each)} × {figure(parameters)} / {divided} = {figure(value)} B per device",
                source="Rajbhandari et al. 2020, ZeRO, arXiv:1910.02054, sections 3.1 and 5",
            )
        )
    return tuple(found)
