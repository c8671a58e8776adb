"""What `llmdrill calc train` was asked for, and the figures of that plan: compute, device time, adapters, memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from llmdrill.estimate.explain import Explained, figure
from llmdrill.units import format_share

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmdrill.catalog.architecture import ModelRecord
    from llmdrill.catalog.records import Rental
    from llmdrill.estimate.lora import Matrix
    from llmdrill.estimate.training_compute import ScalingLaw
    from llmdrill.estimate.training_memory import Optimizer, Recomputation

Method = Literal["full", "lora", "qlora"]
_ARITHMETIC: Final = "Arithmetic"
_WORTH_SAYING: Final = 0.05  # of 6ND


@dataclass(frozen=True, slots=True)
class Parallelism:
    """How a training run is split over devices."""

    data: int
    tensor: int
    pipeline: int
    zero_stage: int
    microbatches: int
    sequence_parallel: bool

    @property
    def devices(self) -> int:
        """All of them."""
        return self.data * self.tensor * self.pipeline

    @property
    def in_flight(self) -> int:
        """Micro-batches whose activations a pipeline's first stage holds at once."""
        return min(self.pipeline, self.microbatches)


@dataclass(frozen=True, slots=True)
class Device:
    """What the run is done on; None where it was not said."""

    name: str | None
    peak_flops_per_s: float | None
    mfu: float
    mfu_assumed: bool
    usd_per_hour: float | None
    rental: Rental | None
    memory_bytes: float | None


@dataclass(frozen=True, slots=True)
class Adapters:
    """Low-rank adapters and the matrices they stand beside."""

    rank: int
    matrices: tuple[Matrix, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """What one device computes at once, and what of it twice."""

    sequence_tokens: int
    micro_batch: int
    recomputation: Recomputation


@dataclass(frozen=True, slots=True)
class Plan:
    """A training run.

    Attributes:
        active: Parameters that a token is multiplied with.
        tokens: None where nothing tells how much data an adapter is trained on.
        budget_flops: To split best by the scaling law; None for that of the run.
        adapters: None if all weights train.
    """

    record: ModelRecord | None
    parameters: float
    active: float
    tokens: float | None
    budget_flops: float | None
    method: Method
    adapters: Adapters | None
    law: ScalingLaw
    optimizer: Optimizer
    split: Parallelism
    step: Step
    device: Device

    @property
    def plain_blocks(self) -> bool:
        """Whether every block is attention and a dense MLP: those whose activations the formula counts."""
        record = self.record
        if record is None or record.experts is not None or record.attention.latent_values is not None:
            return False
        return record.attention.layers == record.layers

    @property
    def trainable(self) -> float:
        """Parameters that train."""
        from llmdrill.estimate.lora import lora_parameters

        if self.adapters is None:
            return self.parameters
        return lora_parameters(self.adapters.matrices, rank=self.adapters.rank)


def plain(name: str, value: float, formula: str, filled: str, source: str = _ARITHMETIC) -> Explained:
    """Return a count."""
    return Explained(name, value, "count", formula, filled, source)


def compute_figures(plan: Plan) -> list[Explained]:
    """Return operations, the rule of thumb, the loss to expect and the best split of the budget."""
    from llmdrill.estimate.training_compute import explain_training_flops, explain_training_loss

    found = []
    if plan.tokens is not None:
        adapters = plan.trainable if plan.adapters else None
        found.append(explain_training_flops(parameters=plan.active, tokens=plan.tokens, trainable_parameters=adapters))
    if plan.record is not None:
        found.append(_attention(plan, plan.record))
    if plan.adapters:
        return found
    found.append(_chinchilla(plan))
    if plan.tokens is not None:
        found.append(explain_training_loss(plan.law, parameters=plan.parameters, tokens=plan.tokens))
    budget = plan.budget_flops or (found[0].value if plan.tokens is not None else None)
    return found + (_optimal(plan.law, budget) if budget else [])


def _chinchilla(plan: Plan) -> Explained:
    from llmdrill.estimate.training_compute import CHINCHILLA_TOKENS_PER_PARAMETER, chinchilla_tokens

    return plain(
        "chinchilla_tokens",
        chinchilla_tokens(parameters=plan.parameters),
        "20 × parameters",
        f"{CHINCHILLA_TOKENS_PER_PARAMETER:g} × {figure(plan.parameters)} = "
        f"{figure(chinchilla_tokens(parameters=plan.parameters))}",
        "Hoffmann et al. 2022, arXiv:2203.15556",
    )


def _attention(plan: Plan, record: ModelRecord) -> Explained:
    from llmdrill.estimate.training_compute import attention_share

    shape, whole = record.attention, plan.step.sequence_tokens
    width = (shape.heads or shape.kv_heads) * (shape.head_dim + (shape.value_dim or shape.head_dim)) / 2
    seen = [(shape.full_layers, min(whole, shape.index_tokens or whole))]
    seen += [(group.layers, min(whole, group.window_tokens)) for group in shape.windows]
    value = sum(
        attention_share(parameters=plan.active, layers=layers, attention_width=width, sequence_tokens=tokens)
        for layers, tokens in seen
    )
    layers = " + ".join(f"{layers} × {tokens}" for layers, tokens in seen if layers)
    return Explained(
        name="attention_share",
        value=value,
        unit="share",
        formula="12 × heads × head_dim × Σ layers × tokens that they see / (6 × parameters)",
        filled=f"12 × {figure(width)} × ({layers or 0}) / (6 × {figure(plan.active)}) = {figure(value)} on top of 6ND",
        source="mosaicml/llm-foundry@8c8dd48f:scripts/train/benchmarking/README.md (its MFU counts it)",
    )


def _optimal(law: ScalingLaw, budget: float) -> list[Explained]:
    from llmdrill.estimate.training_compute import compute_optimal

    best = compute_optimal(law, flops=budget)
    both = f"({law.alpha} + {law.beta})"
    scale = f"({law.alpha} × {law.a} / ({law.beta} × {law.b}))^(1 / {both})"
    return [
        plain(
            "compute_optimal_parameters",
            best.parameters,
            "(α × A / (β × B))^(1 / (α + β)) × (flops / 6)^(β / (α + β))",
            f"{scale} × ({budget:.6g} / 6)^({law.beta} / {both}) = {best.parameters:.6g}",
            law.source,
        ),
        plain(
            "compute_optimal_tokens",
            best.tokens,
            "flops / (6 × compute_optimal_parameters)",
            f"{budget:.6g} / (6 × {best.parameters:.6g}) = {best.tokens:.6g}",
            law.source,
        ),
        plain(
            "compute_optimal_loss_nats",
            best.loss,
            "E + A / parameters^α + B / tokens^β",
            f"{law.entropy} + {law.a} / {best.parameters:.6g}^{law.alpha} + {law.b} / {best.tokens:.6g}^{law.beta}"
            f" = {figure(best.loss)} nats per token",
            law.source,
        ),
    ]


def time_figures(plan: Plan, flops: float) -> list[Explained]:
    """Return device hours, time on the wall and rent, as far as they are known."""
    from llmdrill.estimate.training_compute import explain_device_hours, training_usd

    device, devices = plan.device, plan.split.devices
    if device.peak_flops_per_s is None:
        return []
    hours = explain_device_hours(flops=flops, peak_flops_per_s=device.peak_flops_per_s, mfu=device.mfu)
    seconds = hours.value * 3600 / devices
    filled = f"{figure(hours.value)} × 3600 / {devices} = {figure(seconds)} s"
    wall = Explained("training_s", seconds, "seconds", "gpu_hours × 3600 / devices", filled, _ARITHMETIC)
    if device.usd_per_hour is None:
        return [hours, wall]
    usd = training_usd(device_hours=hours.value, usd_per_hour=device.usd_per_hour)
    filled = f"{figure(hours.value)} × ${figure(device.usd_per_hour)} = ${figure(usd)}"
    return [hours, wall, Explained("usd_total", usd, "usd", "gpu_hours × usd_per_hour", filled, _ARITHMETIC)]


def bubble_figures(plan: Plan) -> list[Explained]:
    """Return the pipeline's idle share, if there is a pipeline."""
    from llmdrill.estimate.training_compute import pipeline_bubble_share

    stages, parts = plan.split.pipeline, plan.split.microbatches
    if stages == 1:
        return []
    value = pipeline_bubble_share(stages=stages, microbatches=parts)
    return [
        Explained(
            name="pipeline_bubble_share",
            value=value,
            unit="share",
            formula="(stages − 1) / (microbatches + stages − 1)",
            filled=f"({stages} − 1) / ({parts} + {stages} − 1) = {figure(value)}",
            source="Huang et al. 2019, GPipe, arXiv:1811.06965, section 2",
        )
    ]


def time_notes(plan: Plan, value: Mapping[str, float]) -> list[str]:
    """Return what the time and the rent rest on."""
    notes, rental = [], plan.device.rental
    extra = value.get("attention_share", 0) * 6 * plan.active * (plan.tokens or 0) / value["training_flops"]
    if plan.device.mfu_assumed:
        notes.append(
            "assumed: MFU 0.4; 46 published bf16 runs of 1B to 13B models reached 0.26 to 0.46 on H100 (median 0.41) "
            "and 0.47 to 0.64 on A100 (median 0.52)"
        )
    if plan.step.recomputation == "full":
        notes.append("full recomputation repeats the forward pass, 2ND operations that no MFU counts")
    if extra > _WORTH_SAYING:
        of = "the frozen model's operations" if plan.adapters else "6ND"
        where = f"{format_share(extra)} to {of} at {plan.step.sequence_tokens:,} tokens"
        notes.append(f"attention adds {where}, and as much to the time")
    if "pipeline_bubble_share" in value:
        notes.append("the MFU is taken to hold with the pipeline's idle time included")
    if rental:
        notes.append(f"rent of {rental.provider}: ${rental.usd_per_hour:g} per hour on {rental.date} ({rental.source})")
    return notes


def memory_notes(plan: Plan, value: Mapping[str, float]) -> list[str]:
    """Return what the memory leaves out."""
    notes = ["memory is a floor: buffers, fragmentation and the CUDA context are not in it"]
    if plan.record and not plan.plain_blocks:
        notes.append("activations of experts, latent attention and state-space layers are not counted here")
    if plan.record and plan.record.experts and plan.adapters is None:
        notes.append(
            "the scaling laws are of dense models; all parameters are put in, while FLOP count the active ones"
        )
    if "activations_bytes" in value:
        step, s = plan.step, "" if plan.step.micro_batch == 1 else "s"
        notes.append(
            f"memory is that of {step.micro_batch:,} sequence{s} of {step.sequence_tokens:,} tokens at once, "
            f"recomputation {step.recomputation}; see --micro-batch, --seq and --recompute"
        )
        notes.append("activations are those of a GPT block; with a gated MLP expect 6 % less to 9 % more")
    if plan.method == "qlora":
        notes.append("the 4-bit base of LLaMA-7B measures 5,048 MB in QLoRA's paper; the arithmetic gives 3,866")
    if plan.device.name and plan.device.peak_flops_per_s is None:
        notes.append(f"the catalogue has no 16-bit peak of {plan.device.name}: no time and no cost")
    return notes
