"""The serving estimate: TTFT, TPOT, total and throughput of a decoder on a replica, each with band and floor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from llmdrill.errors import UsageError
from llmdrill.estimate.explain import Explained, figure
from llmdrill.estimate.serving_load import Load
from llmdrill.estimate.serving_point import (
    Point,
    closed_loop,
    most_output_tokens_per_s,
    most_resident,
    replica_bytes,
    sequence_bytes,
    static_batch,
)
from llmdrill.estimate.serving_steps import passes, prefill_floor, step_floor
from llmdrill.estimate.serving_work import device_weights_bytes

if TYPE_CHECKING:
    from llmdrill.catalog.architecture import ModelRecord
    from llmdrill.catalog.records import Accelerator, Band, ServingConstants
    from llmdrill.estimate.serving_point import Speculation
    from llmdrill.estimate.serving_steps import Floor

DEFAULT_ENGINE: Final = "default"
Batching = Literal["continuous", "static"]
_ROOFLINE: Final = "Williams et al. 2009, doi:10.1145/1498765.1498785"
_SOURCE: Final = "roofline (Williams et al. 2009) with constants fitted to published runs"


@dataclass(frozen=True, slots=True)
class Predicted:
    """A predicted time with its 80 % band and the least that physics allows.

    Attributes:
        value_s: The prediction.
        low_s: A tenth of the held-out runs were below this.
        high_s: A tenth were above it.
        floor_s: At full bandwidth and full rate, with no overhead and no wait.
    """

    value_s: float
    low_s: float
    high_s: float
    floor_s: float


@dataclass(frozen=True, slots=True)
class ServingEstimate:
    """What one replica does at one point of operation.

    Attributes:
        ttft_s: Time to first token, mean; under continuous batching the wait for a free slot included.
        tpot_s: Time per output token after the first, other requests' prefills included.
        total_s: Both together, for the whole answer.
        batching: ``continuous`` or ``static``: they differ several times in TTFT.
        step_s: One decode step alone.
        prefill_s: One prompt's prefill alone; of a static batch the prefill of all its prompts.
        wait_s: Of ttft_s, the wait for a free slot; 0 unless there are more clients than the memory holds, or than the
            engine admits.
        resident: Sequences that decode at once.
        weights_bytes: Of the whole model at its precision, on all devices.
        fixed_bytes: Weights and activations, over all devices.
        sequence_bytes: Cache and state of one full-length sequence, over the devices that hold it.
        memory_bytes: Weights, activations and the cache of the resident full-length sequences, over all devices.
        max_sequences: Full-length sequences that the devices hold; 0 if not even the weights fit.
        fits: Whether at least one sequence does; a static batch that is larger runs in waves.
        output_tokens_per_s: Of the whole replica at this load.
        max_output_tokens_per_s: While more requests wait than it can hold.
    """

    ttft_s: Predicted
    tpot_s: Predicted
    total_s: Predicted
    batching: Batching
    step_s: float
    prefill_s: float
    wait_s: float
    resident: float
    weights_bytes: float
    fixed_bytes: float
    sequence_bytes: float
    memory_bytes: float
    max_sequences: int
    fits: bool
    output_tokens_per_s: float
    max_output_tokens_per_s: float
    point: Point
    load: Load
    constants: ServingConstants
    mixture: bool
    step_floor: Floor
    prefill_floor: Floor
    speculation: Speculation | None

    @property
    def queues(self) -> bool:
        """Whether some of the clients wait outside for a free slot."""
        return self.fits and self.wait_s > 0

    @property
    def formulas(self) -> tuple[Explained, ...]:
        """TPOT, TTFT and total with the numbers put in."""
        return _explain_tpot(self), _explain_ttft(self), _explain_total(self)

    @property
    def floors(self) -> tuple[Explained, ...]:
        """The floors of TPOT and TTFT with the numbers put in."""
        return _explain_floors(self)


def serving_estimate(
    model: ModelRecord,
    accelerator: Accelerator,
    *,
    batch: float,
    input_tokens: float,
    output_tokens: float,
    tensor_parallel: int = 1,
    precision: str = "bf16",
    cache_bytes_per_value: float | None = None,
    engine: str = DEFAULT_ENGINE,
    batching: Batching = "continuous",
    data_parallel: int = 1,
    expert_parallel: int = 1,
    prefix_share: float = 0.0,
    speculation: Speculation | None = None,
) -> ServingEstimate:
    """Return latency, memory and throughput of one replica.

    Formula:
        closed_loop or static_batch over pass_s; most_resident and most_output_tokens_per_s for what it holds and can
        do. A prediction's band is the engine's record of runs held out; value and low are never below the floor.

    Args:
        model: A decoder whose parameters are known.
        accelerator: One of the replica's devices.
        batch: Clients in a closed loop, or the sequences of a static batch.
        input_tokens: Tokens of a prompt.
        output_tokens: Tokens of its answer.
        tensor_parallel: Devices that attention is split over.
        precision: Of the weights.
        cache_bytes_per_value: Of the cache; default 2, on this machine as its engine keeps it.
        engine: Which fitted constants.
        batching: ``continuous`` admits a newcomer into every step; ``static`` starts and ends a batch together.
        data_parallel: Groups of tensor_parallel devices that share out sequences but not experts.
        expert_parallel: Devices that whole experts are spread over.
        prefix_share: Share of a prompt read from a prefix cache.
        speculation: Speculative decoding; None: one token a pass.

    Returns:
        Predictions with 80 % bands and floors, memory, throughput, and the formulas with numbers put in.

    Raises:
        NumberError: If a number is out of range.
        UsageError: If the model is no decoder, or its parameters, the device's rate or the engine are unknown.

    Error:
        Measured by benchmarks/serving_accuracy.py, refitted fold by fold by benchmarks/fit_serving.py; the figures
        stand in the engine's record in the catalogue.
    Source:
        As the functions put together.

    >>> from llmdrill.catalog.load import find_accelerator, find_model
    >>> model, device = find_model("llama-3.1-8b"), find_accelerator("h100")
    >>> estimate = serving_estimate(model, device, batch=16, input_tokens=1024, output_tokens=256)
    >>> estimate.tpot_s.floor_s < estimate.tpot_s.value_s and estimate.fits
    True
    """
    from llmdrill.catalog.load import constants_of

    usual = accelerator.cache_bytes_per_value(precision)
    load = Load(
        batch=batch,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        tensor_parallel=tensor_parallel,
        precision=precision,
        cache_bytes_per_value=usual if cache_bytes_per_value is None else cache_bytes_per_value,
        data_parallel=data_parallel,
        expert_parallel=expert_parallel,
        prefix_share=prefix_share,
        prompt_bytes_per_weight=accelerator.prompt_bytes_per_weight(precision),
    )
    constants = constants_of(accelerator, engine)
    return estimate_load(model, accelerator, load, constants, batching=batching, speculation=speculation)


def estimate_load(
    model: ModelRecord,
    accelerator: Accelerator,
    load: Load,
    constants: ServingConstants,
    *,
    batching: Batching = "continuous",
    speculation: Speculation | None = None,
) -> ServingEstimate:
    """Return as serving_estimate, of a load and constants at hand.

    Raises:
        UsageError: If the model is no decoder, or its parameters or the device's rate are unknown.
    """
    if model.kind != "decoder":
        raise UsageError(f"'{model.name}' is an encoder: it writes no tokens")
    held = most_resident(model, accelerator, load)
    of = passes(model, accelerator, load, constants)
    worked = static_batch if batching == "static" else closed_loop
    point = worked(of, held=held, speculation=speculation)
    mixture = model.experts is not None
    tpot_band, ttft_band = (constants.band(metric, mixture=mixture) for metric in ("tpot", "ttft"))
    per_pass = speculation.tokens_per_pass if speculation else 1.0
    floors = step_floor(model, accelerator, _of(load, point)), prefill_floor(model, accelerator, load)
    tpot = _predicted(point.tpot_s, tpot_band, floors[0].seconds / per_pass)
    ttft = _predicted(point.ttft_s, ttft_band, floors[1].seconds)
    rest = max(load.output_tokens - 1.0, 0.0)
    total = _together(ttft, tpot, rest)
    weights = device_weights_bytes(model, load) * load.devices
    now = load.batch * load.output_tokens / _span_s(total.value_s, point, batching)
    return ServingEstimate(
        ttft_s=ttft,
        tpot_s=tpot,
        total_s=total,
        batching=batching,
        step_s=point.step_s,
        prefill_s=point.prefill_s,
        wait_s=point.wait_s if held >= 1 else 0.0,
        resident=point.resident,
        weights_bytes=weights,
        fixed_bytes=replica_bytes(model, load, resident=0.0),
        sequence_bytes=sequence_bytes(model, load) * load.tensor_parallel,
        memory_bytes=replica_bytes(model, load, resident=point.resident),
        max_sequences=int(min(held, 1e12)),
        fits=held >= 1,
        output_tokens_per_s=now,
        max_output_tokens_per_s=max(most_output_tokens_per_s(of, held=held), now if held >= 1 else 0.0),
        point=point,
        load=load,
        constants=constants,
        mixture=mixture,
        step_floor=floors[0],
        prefill_floor=floors[1],
        speculation=speculation,
    )


def _span_s(total_s: float, point: Point, batching: Batching) -> float:
    """Return the time in which each of the clients gets an answer."""
    return total_s if batching == "continuous" else (total_s - point.wait_s) * point.waves


def _of(load: Load, point: Point) -> Load:
    """Return the load of the sequences that are resident: the floor is theirs."""
    if point.resident == load.batch:
        return load
    from dataclasses import replace

    return replace(load, batch=point.resident)


def _predicted(value_s: float, band: Band, floor_s: float) -> Predicted:
    value = max(value_s, floor_s)
    return Predicted(value, max(value * band.low, floor_s), value * max(band.high, 1.0), floor_s)


def _together(ttft: Predicted, tpot: Predicted, rest: float) -> Predicted:
    """Return the whole answer's time; its band takes both errors to go the same way, which is wide."""
    return Predicted(
        ttft.value_s + rest * tpot.value_s,
        ttft.low_s + rest * tpot.low_s,
        ttft.high_s + rest * tpot.high_s,
        ttft.floor_s + rest * tpot.floor_s,
    )


def _explain_tpot(of: ServingEstimate) -> Explained:
    point, load = of.point, of.load
    formula, filled = "decode_step", figure(point.step_s)
    if of.speculation is not None:
        drafts, cost = of.speculation.draft_tokens, of.speculation.cost_ratio
        per_pass = of.speculation.tokens_per_pass
        verify = point.decode_s * per_pass - drafts * cost * point.step_s
        formula = "(verify_step + draft_tokens × cost_ratio × decode_step) / tokens_per_pass"
        filled = f"({figure(verify)} + {drafts} × {cost:g} × {figure(point.step_s)}) / {figure(per_pass)}"
    if of.batching == "continuous":
        formula += " + (resident - 1) / output_tokens × stall"
        others = max(point.resident - 1.0, 0.0)
        filled += f" + {figure(others)} / {figure(load.output_tokens)} × {figure(point.stall_s)}"
    return _predicted_figure(of, "tpot", formula, filled, point.tpot_s)


def _explain_ttft(of: ServingEstimate) -> Explained:
    point, load = of.point, of.load
    if of.batching == "static":
        formula, filled = "prefill of all prompts of the batch", figure(point.prefill_s)
        if point.waves > 1:
            formula, filled = f"{formula} + wait for earlier waves", f"{filled} + {figure(point.wait_s)}"
        return _predicted_figure(of, "ttft", formula, filled, point.ttft_s)
    formula = "overhead + prefill × (1 + (resident / groups - 1) / 20) + decode_step / 2"
    own = max(point.resident / load.data_parallel, 1.0)
    filled = (
        f"{figure(point.overhead_s)} + {figure(point.prefill_s)} × (1 + ({figure(own)} - 1) / 20) + "
        f"{figure(point.step_s)} / 2"
    )
    if point.wait_s:
        service = point.wait_s * point.resident / (load.batch - point.resident)
        formula += " + (clients - resident) / resident × service"
        clients, resident = figure(load.batch), figure(point.resident)
        filled += f" + ({clients} - {resident}) / {resident} × {figure(service)}"
    return _predicted_figure(of, "ttft", formula, filled, point.ttft_s)


def _predicted_figure(
    of: ServingEstimate, metric: Literal["tpot", "ttft"], formula: str, filled: str, unbounded_s: float
) -> Explained:
    """Return a prediction's derivation; one below its floor is lifted to it."""
    predicted = of.tpot_s if metric == "tpot" else of.ttft_s
    if unbounded_s < predicted.floor_s:
        formula, filled = f"max(floor, {formula})", f"max({figure(predicted.floor_s)}, {filled})"
    return Explained(
        name=f"{metric}_s",
        value=predicted.value_s,
        unit="seconds",
        formula=formula,
        filled=f"{filled} = {figure(predicted.value_s)} s",
        source=_source(of, metric),
    )


def _explain_floors(of: ServingEstimate) -> tuple[Explained, ...]:
    """Return both floors; nothing is read in prefill that bounds it."""
    per_pass = of.speculation.tokens_per_pass if of.speculation else 1.0
    formula, filled = "max(bytes read / bandwidth, FLOP / peak rate) / devices", of.step_floor.filled
    if of.speculation is not None:
        formula, filled = f"{formula} / tokens_per_pass", f"{filled} / {figure(per_pass)}"
    first, step = of.prefill_floor, of.tpot_s.floor_s
    reading = f"{figure(first.flops)} / {figure(first.flops_per_s)} / {first.devices}"
    return (
        Explained("tpot_floor_s", step, "seconds", formula, f"{filled} = {figure(step)} s", _ROOFLINE),
        Explained(
            "ttft_floor_s",
            first.seconds,
            "seconds",
            "FLOP of the fresh tokens / peak rate / devices",
            f"{reading} = {figure(first.seconds)} s",
            _ROOFLINE,
        ),
    )


def _explain_total(of: ServingEstimate) -> Explained:
    rest = max(of.load.output_tokens - 1.0, 0.0)
    return Explained(
        name="total_s",
        value=of.total_s.value_s,
        unit="seconds",
        formula="ttft + (output_tokens - 1) × tpot",
        filled=f"{figure(of.ttft_s.value_s)} + {figure(rest)} × {figure(of.tpot_s.value_s)}"
        f" = {figure(of.total_s.value_s)} s",
        source="Arithmetic",
    )


def _source(of: ServingEstimate, metric: str) -> str:
    band = of.constants.band(metric, mixture=of.mixture)
    kind = "mixtures of experts" if of.mixture else "dense models"
    error = f"held-out median error {band.median_error:.0%} on {band.rows} runs of {kind}"
    return f"{_SOURCE} ({of.constants.source}); {error}"
