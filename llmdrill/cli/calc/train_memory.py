"""The memory that one device of a training plan needs, part by part."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdrill.estimate.explain import Explained, figure

if TYPE_CHECKING:
    from llmdrill.catalog.architecture import ModelRecord
    from llmdrill.cli.calc.train_plan import Adapters, Plan
    from llmdrill.table import Table

_KORTHIKANTI = "Korthikanti et al. 2022, arXiv:2205.05198, equations 1 to 6 and table 2"


def memory_figures(plan: Plan) -> list[Explained]:
    """Return weights, gradients, optimizer states, adapters, activations and logits of one device, and their sum."""
    parts = _adapted(plan, plan.adapters) if plan.adapters else _states(plan)
    states = _sum("model_states_bytes", parts)
    if plan.record is None or not plan.plain_blocks:
        return [*parts, states]
    activations, logits = _activations(plan, plan.record), _logits(plan, plan.record)
    return [*parts, states, activations, logits, _memory(plan, states, activations, logits)]


def _states(plan: Plan) -> list[Explained]:
    from llmdrill.estimate.training_memory import explain_model_states

    split = plan.split
    return list(
        explain_model_states(
            parameters=plan.trainable,
            optimizer=plan.optimizer,
            zero_stage=split.zero_stage,
            data_parallel=split.data,
            tensor_parallel=split.tensor,
            pipeline_parallel=split.pipeline,
        )
    )


def _adapted(plan: Plan, adapters: Adapters) -> list[Explained]:
    """Return a frozen base and what trains beside it; ``weights_bytes`` is the base."""
    from dataclasses import replace

    from llmdrill.estimate.lora import explain_lora_parameters

    adapter, gradients, optimizer = _states(plan)
    trainable = explain_lora_parameters(adapters.matrices, rank=adapters.rank)
    return [trainable, _base(plan), replace(adapter, name="adapter_bytes"), gradients, optimizer]


def _base(plan: Plan) -> Explained:
    from dataclasses import replace

    from llmdrill.estimate.lora import explain_nf4_base, plain_parameters

    whole = Explained(
        name="weights_bytes",
        value=2 * plan.parameters,
        unit="bytes",
        formula="2 × parameters",
        filled=f"2 × {figure(plan.parameters)} = {figure(2 * plan.parameters)} B",
        source="Arithmetic: 16 bits",
    )
    if plan.method == "qlora":
        kept = None if plan.record is None else plain_parameters(plan.record)
        whole = explain_nf4_base(parameters=plan.parameters, plain_parameters=kept or 0)
    split = plan.split
    devices = split.tensor * split.pipeline * (split.data if split.zero_stage == 3 else 1)
    if devices == 1:
        return whole
    value = whole.value / devices
    return replace(
        whole,
        value=value,
        formula=f"{whole.formula} / devices that share it",
        filled=f"{figure(whole.value)} / {devices} = {figure(value)} B",
    )


def _activations(plan: Plan, record: ModelRecord) -> Explained:
    from llmdrill.estimate.training_memory import activation_bytes

    split, heads = plan.split, record.attention.heads or record.attention.kv_heads or 1
    value = activation_bytes(
        layers=record.layers,
        hidden=record.hidden,
        heads=heads,
        sequence_tokens=plan.step.sequence_tokens,
        micro_batch=plan.step.micro_batch,
        recomputation=plan.step.recomputation,
        tensor_parallel=split.tensor,
        sequence_parallel=split.sequence_parallel,
        pipeline_parallel=split.pipeline,
        microbatches=split.microbatches,
    )
    kept = {
        "none": "10{shared} + 24 / {tensor} + 5 × {heads} × {sequence} / ({hidden} × {tensor})",
        "selective": "10{shared} + 24 / {tensor}",
        "full": "2{shared}",
    }[plan.step.recomputation]
    line = f"{{sequence}} × {{micro_batch}} × {{hidden}} × {{layers}} × ({kept})".replace(
        "{shared}", " / {tensor}" if split.sequence_parallel else ""
    )
    line += " × {in_flight} / {stages}" if split.pipeline > 1 else ""
    numbers = {
        "sequence": plan.step.sequence_tokens,
        "micro_batch": plan.step.micro_batch,
        "hidden": record.hidden,
        "layers": record.layers,
        "heads": heads,
        "tensor": split.tensor,
        "in_flight": split.in_flight,
        "stages": split.pipeline,
    }
    return Explained(
        name="activations_bytes",
        value=value,
        unit="bytes",
        formula=line.format_map({name: name for name in numbers}),
        filled=f"{line.format_map(numbers)} = {figure(value)} B",
        source=_KORTHIKANTI,
    )


def _logits(plan: Plan, record: ModelRecord) -> Explained:
    from llmdrill.estimate.training_memory import logits_bytes

    tensor = plan.split.tensor
    value = logits_bytes(
        vocabulary=record.vocab_size,
        sequence_tokens=plan.step.sequence_tokens,
        micro_batch=plan.step.micro_batch,
        tensor_parallel=tensor,
    )
    return Explained(
        name="logits_bytes",
        value=value,
        unit="bytes",
        formula="4 × vocabulary × sequence × micro_batch / tensor",
        filled=(
            f"4 × {record.vocab_size} × {plan.step.sequence_tokens} × {plan.step.micro_batch} / {tensor}"
            f" = {figure(value)} B"
        ),
        source="Arithmetic: one fp32 copy",
    )


def _memory(plan: Plan, states: Explained, activations: Explained, logits: Explained) -> Explained:
    """Return what the fullest device holds: a pipeline's first stage has most activations, its last the logits."""
    split = plan.split
    if split.pipeline == 1:
        return _sum("memory_bytes", [states, activations, logits])
    value = states.value + max(activations.value, activations.value / split.in_flight + logits.value)
    first, head = figure(activations.value), figure(logits.value)
    return Explained(
        name="memory_bytes",
        value=value,
        unit="bytes",
        formula="model_states_bytes + max(activations_bytes, activations_bytes / in_flight + logits_bytes)",
        filled=(
            f"{figure(states.value)} + max({first}, {first} / {split.in_flight} + {head})"
            f" = {figure(value)} B on the fullest device"
        ),
        source="Arithmetic: the first stage of the pipeline against the last",
    )


def _sum(name: str, parts: list[Explained]) -> Explained:
    held = [one for one in parts if one.unit == "bytes"]
    value = sum(one.value for one in held)
    return Explained(
        name=name,
        value=value,
        unit="bytes",
        formula=" + ".join(one.name for one in held),
        filled=f"{' + '.join(figure(one.value) for one in held)} = {figure(value)} B per device",
        source="Arithmetic",
    )


def zero_table(plan: Plan) -> Table:
    """Return what one device holds of weights, gradients and optimizer states under each ZeRO stage."""
    from llmdrill.estimate.training_memory import model_states
    from llmdrill.table import Table

    split = plan.split
    rows = []
    for stage in range(4):
        states = model_states(
            parameters=plan.trainable,
            optimizer=plan.optimizer,
            zero_stage=stage,
            data_parallel=split.data,
            tensor_parallel=split.tensor,
            pipeline_parallel=split.pipeline,
        )
        parts = (states.weights_bytes, states.gradients_bytes, states.optimizer_bytes, states.total_bytes)
        rows.append((stage, *(part / 1e9 for part in parts)))
    columns = ("zero_stage", "weights_gb", "gradients_gb", "optimizer_gb", "total_gb")
    return Table("model states per device", columns, tuple(rows))
