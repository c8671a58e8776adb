"""`llmdrill calc train`: what training or fine-tuning a model takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmdrill.cli.calc import train_options as option  # noqa: TC001 - typer resolves annotations
from llmdrill.cli.calc.answer import Answer
from llmdrill.cli.calc.options import Config, Model, On, model_record, quantity, share, whole
from llmdrill.errors import UsageError
from llmdrill.units import format_bytes, format_count, format_seconds, format_share, format_usd, parse_quantity

if TYPE_CHECKING:
    from llmdrill.catalog.architecture import ModelRecord
    from llmdrill.cli.calc.train_plan import Adapters, Device, Method, Parallelism, Plan

_MOST_FLOPS = 1e32


def train(
    *,
    model: Model = None,
    config: Config = None,
    parameters: option.Parameters = None,
    active: option.Active = None,
    tokens: option.Tokens = None,
    budget: option.Budget = None,
    fit: option.Fit = "besiroglu",
    method: option.How = "full",
    rank: option.Rank = "16",
    targets: option.Targets = None,
    intermediate: option.Intermediate = None,
    optimizer: option.OptimizerName = "adamw",
    zero: option.Zero = "0",
    dp: option.Data = "1",
    tp: option.Tensor = "1",
    pp: option.Pipeline = "1",
    microbatches: option.Microbatches = None,
    sequence_parallel: option.SequenceParallel = False,
    seq: option.Sequence = "2048",
    micro_batch: option.MicroBatch = "1",
    recompute: option.Recompute = "full",
    on: On = None,
    memory: option.Memory = None,
    mfu: option.Mfu = None,
    usd_per_hour: option.Rent = None,
) -> Answer:
    """Compute, memory, time and cost of training a model."""
    from llmdrill.cli.calc.train_plan import Plan, Step
    from llmdrill.estimate.training_compute import find_scaling_law
    from llmdrill.estimate.training_memory import find_optimizer

    record = model_record(model, config)
    size = _size(record, parameters)
    plan = Plan(
        record=record,
        parameters=size,
        active=_active(record, active, size),
        tokens=_tokens(tokens, size, method),
        budget_flops=None if budget is None else _flops(budget),
        method=method,
        adapters=_adapters(record, method, rank, targets, intermediate),
        law=find_scaling_law(fit),
        optimizer=find_optimizer(optimizer),
        split=_split(zero, dp, tp, pp, microbatches, sequence_parallel=sequence_parallel),
        step=Step(whole("seq", seq), whole("micro-batch", micro_batch), recompute),
        device=_device(on, memory, mfu, usd_per_hour),
    )
    _require_sense(plan)
    return _answer(plan)


def _require_sense(plan: Plan) -> None:
    if plan.adapters and plan.budget_flops:
        raise UsageError("--budget is for --method full: a scaling law knows nothing of adapters")
    if plan.record and plan.split.pipeline > plan.record.layers:
        raise UsageError(
            f"--pp {plan.split.pipeline} is too many stages for the {plan.record.layers} layers of '{plan.record.name}'"
        )


def _split(zero: str, dp: str, tp: str, pp: str, microbatches: str | None, *, sequence_parallel: bool) -> Parallelism:
    from llmdrill.cli.calc.train_plan import Parallelism

    stage = whole("zero", zero, zero=True)
    if stage > 3:
        raise UsageError(f"--zero is the stage, 0 to 3, got {zero}")
    stages = whole("pp", pp)
    parts = 4 * stages if microbatches is None else whole("microbatches", microbatches)
    return Parallelism(whole("dp", dp), whole("tp", tp), stages, stage, parts, sequence_parallel)


def _adapters(
    record: ModelRecord | None, method: Method, rank: str, targets: str | None, intermediate: str | None
) -> Adapters | None:
    from llmdrill.cli.calc.train_plan import Adapters
    from llmdrill.estimate.lora import lora_matrices

    if method == "full":
        if (targets, intermediate) != (None, None):
            raise UsageError("--targets and --intermediate are for --method lora or qlora")
        return None
    if record is None:
        raise UsageError(f"--method {method} needs the model's matrices: give --model or --config")
    wanted = None if targets is None else [one.strip() for one in targets.split(",")]
    width = None if intermediate is None else whole("intermediate", intermediate)
    return Adapters(whole("rank", rank), lora_matrices(record, targets=wanted, intermediate=width))


def _device(on: str | None, memory: str | None, mfu: str | None, usd_per_hour: str | None) -> Device:
    from llmdrill.catalog.load import find_accelerator
    from llmdrill.cli.calc.train_plan import Device
    from llmdrill.estimate.training_compute import ASSUMED_MFU

    found = None if on is None else find_accelerator(on)
    rental = found.rental if found and usd_per_hour is None else None
    rent = rental.usd_per_hour if rental else None
    own_memory = found.memory_bytes if found else None
    return Device(
        name=found.name if found else None,
        peak_flops_per_s=found.fp16_flops_per_s if found else None,
        mfu=ASSUMED_MFU if mfu is None else share("mfu", mfu, zero=False),
        mfu_assumed=mfu is None,
        usd_per_hour=rent if usd_per_hour is None else quantity("usd-per-hour", usd_per_hour, "usd"),
        rental=rental,
        memory_bytes=own_memory if memory is None else quantity("memory", memory, "bytes"),
    )


def _size(record: ModelRecord | None, parameters: str | None) -> float:
    if (record is None) == (parameters is None):
        raise UsageError("which model? give --model NAME, --config PATH or --parameters 70B: one of the three")
    if parameters is not None:
        return quantity("parameters", parameters, "count")
    if record is None or record.parameters is None:
        raise UsageError(f"the parameters of '{record.name if record else ''}' could not be counted: give --parameters")
    return float(record.parameters)


def _active(record: ModelRecord | None, active: str | None, size: float) -> float:
    if active is None:
        return float(record.active_parameters or size) if record else size
    value = quantity("active", active, "count")
    if value > size:
        raise UsageError(f"--active {active} is more than all parameters ({format_count(size)})")
    return value


def _tokens(tokens: str | None, size: float, method: Method) -> float | None:
    from llmdrill.estimate.training_compute import chinchilla_tokens

    if tokens is not None:
        return quantity("tokens", tokens, "count")
    return chinchilla_tokens(parameters=size) if method == "full" else None


def _flops(budget: str) -> float:
    """Return a budget, which is larger than any other count."""
    try:
        value = parse_quantity(budget, "count")
    except UsageError as error:
        raise UsageError(f"--budget: {error}") from None
    if not 0 < value <= _MOST_FLOPS:
        raise UsageError(f"--budget must be above zero and at most {_MOST_FLOPS:g} FLOP, got {budget}")
    return value


def _answer(plan: Plan) -> Answer:
    from llmdrill.cli.calc.train_memory import memory_figures, zero_table
    from llmdrill.cli.calc.train_plan import bubble_figures, compute_figures, time_figures

    compute = compute_figures(plan)
    flops = next((one.value for one in compute if one.name == "training_flops"), None)
    time = [] if flops is None else time_figures(plan, flops)
    figures = (*compute, *time, *bubble_figures(plan), *memory_figures(plan))
    value = {one.name: one.value for one in figures}
    wanted = ("training_flops", "gpu_hours", "training_s", "usd_total", "activations_bytes", "logits_bytes")
    return Answer(
        calculator="train",
        lines=tuple(_lines(plan, value)),
        figures=figures,
        inputs=_inputs(plan, value.get("memory_bytes")),
        notes=tuple(_notes(plan, value)),
        unknown=tuple(name for name in (*wanted, "memory_bytes") if name not in value),
        tables=(zero_table(plan),) if plan.split.data > 1 and plan.adapters is None else (),
    )


def _inputs(plan: Plan, needed: float | None) -> dict[str, Any]:
    split, device, adapters = plan.split, plan.device, plan.adapters
    known = needed is not None and device.memory_bytes is not None
    return {
        "model": plan.record.name if plan.record else None,
        "parameters": plan.parameters,
        "active_parameters": plan.active,
        "training_tokens": plan.tokens,
        "budget_flops": plan.budget_flops,
        "method": plan.method,
        "scaling_law": plan.law.name,
        "optimizer": plan.optimizer.name,
        "optimizer_holds": plan.optimizer.holds,
        "zero_stage": split.zero_stage,
        "data_parallel": split.data,
        "tensor_parallel": split.tensor,
        "pipeline_parallel": split.pipeline,
        "microbatches": split.microbatches,
        "devices": split.devices,
        "sequence_tokens": plan.step.sequence_tokens,
        "micro_batch": plan.step.micro_batch,
        "recomputation": plan.step.recomputation,
        "rank": adapters.rank if adapters else None,
        "targets": [one.target for one in adapters.matrices] if adapters else None,
        "accelerator": device.name,
        "mfu": device.mfu,
        "usd_per_hour": device.usd_per_hour,
        "device_memory_bytes": device.memory_bytes,
        "fits": (needed or 0) <= (device.memory_bytes or 0) if known else None,
    }


def _lines(plan: Plan, value: dict[str, float]) -> list[str]:
    lines = []
    if plan.adapters:
        part = format_share(plan.trainable / plan.parameters)
        lines.append(f"{format_count(plan.trainable)} trainable parameters, {part} of {format_count(plan.parameters)}")
    if plan.tokens is not None:
        each = f"{plan.tokens / plan.parameters:.3g} per parameter"
        size = f"{format_count(plan.active)} parameters"
        lines.append(f"{value['training_flops']:.3g} FLOP: {size}, {format_count(plan.tokens)} tokens ({each})")
    if "compute_optimal_parameters" in value:
        best = f"{format_count(value['compute_optimal_parameters'])} on {format_count(value['compute_optimal_tokens'])}"
        lines.append(f"compute-optimal for the budget: {best} tokens ({plan.law.name})")
    return [*lines, *_time_lines(plan, value), _memory_line(plan, value)]


def _time_lines(plan: Plan, value: dict[str, float]) -> list[str]:
    if "gpu_hours" not in value:
        return []
    hours, devices = value["gpu_hours"], plan.split.devices
    spent = f"{hours:,.0f}" if hours >= 100 else f"{hours:.3g}"
    days = value["training_s"] / 86400
    wall = f"{days:,.{0 if days >= 100 else 1}f} days" if days >= 2 else format_seconds(value["training_s"])
    rent = f", {format_usd(value['usd_total'])}" if "usd_total" in value else ""
    where = f"{plan.device.name} at an MFU of {format_share(plan.device.mfu)}"
    return [f"{spent} GPU-hours on {where}: {wall} on {devices} device{'s' if devices > 1 else ''}{rent}"]


def _memory_line(plan: Plan, value: dict[str, float]) -> str:
    needed, own = value.get("memory_bytes"), plan.device.memory_bytes
    if needed is None:
        return f"{format_bytes(value['model_states_bytes'])} per device for weights, gradients and optimizer states"
    if own is None:
        return f"{format_bytes(needed)} per device"
    verdict = f"fits, {format_bytes(own - needed)} to spare" if needed <= own else "does not fit"
    return f"{format_bytes(needed)} per device of {format_bytes(own)}: {verdict}"


def _notes(plan: Plan, value: dict[str, float]) -> list[str]:
    from llmdrill.cli.calc.train_plan import memory_notes, time_notes

    return [*(time_notes(plan, value) if "gpu_hours" in value else []), *memory_notes(plan, value)]
